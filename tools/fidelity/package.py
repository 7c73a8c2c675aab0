"""A face package, run in Python with onnxruntime: sound in, pictures of the mouth out.

Does what the server does (docs/PROTOCOL.md, tools/train/speech/mel.py), on purpose a second time and
independently: whoever doubts the server's figures can compare the two.
"""

import io
import json
from math import gcd
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from scipy.io import wavfile
from scipy.signal import resample_poly

from mel import MARGIN, encoder_windows, mel_rows


def read_sound(path) -> np.ndarray:
    """A WAV (or headerless .raw, 16 kHz PCM16) as mono f64 at 16 kHz."""
    if str(path).endswith(".raw"):
        rate, pcm = 16000, np.fromfile(path, "<i2")
    else:
        rate, pcm = wavfile.read(path)
    pcm = pcm.astype(np.float64) / 32768
    pcm = pcm.mean(1) if pcm.ndim == 2 else pcm
    common = gcd(16000, rate)
    return resample_poly(pcm, 16000 // common, rate // common) if rate != 16000 else pcm


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options)


class Package:
    def __init__(self, folder: Path):
        self.folder = folder
        self.manifest = json.loads((folder / "manifest.json").read_text())
        self.index = json.loads((folder / self.manifest["frames"]["index"]).read_text())
        self.jpegs = (folder / self.manifest["frames"]["file"]).read_bytes()
        self.size = self.manifest["geometry"]["inner_size"]
        self.mask = self.manifest["geometry"]["mask"]
        self.frame_count = len(self.index["bounds"])
        encoder = self.manifest["audio"]["encoder"]
        self.encoder = session(folder / encoder["file"])
        self.unet = session(folder / self.manifest["unet"]["file"])
        self._inner: dict[int, np.ndarray] = {}

    def idle_frame(self, clock: int) -> int:
        """Frame of the idle video at a moment: it is played to and fro."""
        period = 2 * (self.frame_count - 1)
        step = clock % period
        return step if step < self.frame_count else period - step

    def full(self, frame: int) -> Image.Image:
        low, high = self.index["offsets"][frame : frame + 2]
        return Image.open(io.BytesIO(self.jpegs[low:high])).convert("RGB")

    def inner(self, frame: int) -> np.ndarray:
        """The inner square of an idle frame, BGR u8 [S, S, 3]."""
        if frame not in self._inner:
            square = self.full(frame).resize((self.size, self.size), Image.Resampling.BOX, tuple(self.index["bounds"][frame]))
            self._inner[frame] = np.asarray(square)[:, :, ::-1].copy()
        return self._inner[frame]

    def units(self, pcm: np.ndarray) -> np.ndarray:
        """The encoder's output for each video frame of a sound at 16 kHz: [n, width]."""
        windows = encoder_windows(mel_rows(pcm, MARGIN), MARGIN)
        name = self.encoder.get_inputs()[0].name
        return np.concatenate([self.encoder.run(None, {name: w[None, None]})[0].reshape(1, -1) for w in windows])

    def pictures(self, embeddings: np.ndarray, frames) -> np.ndarray:
        """The U-Net's pictures, BGR u8 [n, S, S, 3], for embeddings [n, width] over idle frames [n]."""
        unet = self.manifest["unet"]
        shape = unet["audio_shape"]
        x, y, w, h = self.mask
        out = np.empty((len(embeddings), self.size, self.size, 3), np.uint8)
        for i, (embedding, frame) in enumerate(zip(embeddings, frames)):
            real = self.inner(int(frame)).astype(np.float32).transpose(2, 0, 1) / 255
            masked = real.copy()
            masked[:, y : y + h, x : x + w] = 0
            feed = {
                unet["image_input"]: np.concatenate([real, masked])[None],
                unet["audio_input"]: embedding.reshape(shape).astype(np.float32),
            }
            out[i] = np.round(self.unet.run(None, feed)[0][0].transpose(1, 2, 0) * 255)
        return out

    def composed(self, picture: np.ndarray, frame: int) -> np.ndarray:
        """The picture set into its full frame, RGB u8, without a feathered edge (the harder case)."""
        full = self.full(frame)
        x1, y1, x2, y2 = self.index["bounds"][frame]
        left, top, right, bottom = (int(round(v)) for v in (x1, y1, x2, y2))
        patch = Image.fromarray(picture[:, :, ::-1]).resize((right - left, bottom - top), Image.Resampling.BICUBIC)
        full.paste(patch, (left, top))
        return np.asarray(full)
