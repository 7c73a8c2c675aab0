"""Training pictures: idle crops as the server will see them (through the JPEG of the package) and rendered mouths."""
import glob
import io
import os
import sys

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter, maximum_filter

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "render"))
from character import area_crop, to_bytes  # noqa: E402

MASK = (5, 5, 150, 145)  # x, y, width, height of the black rectangle, pixels of the inner square
QUALITY = 85


def jpeg(frame, quality=QUALITY):
    """A frame [h,w,3] BGR as JPEG bytes, 4:4:4."""
    out = io.BytesIO()
    Image.fromarray(frame[:, :, ::-1]).save(out, "JPEG", quality=quality, subsampling=0, optimize=True)
    return out.getvalue()


def network_input(frame, bounds, quality=QUALITY):
    """[6,160,160] f32: the idle crop and the same with the mask rectangle black, from the frame's JPEG."""
    decoded = np.array(Image.open(io.BytesIO(jpeg(frame, quality))).convert("RGB"))[:, :, ::-1]
    real = to_bytes(area_crop(decoded, bounds)).astype(np.float32) / 255
    masked = real.copy()
    x, y, w, h = MASK
    masked[y:y + h, x:x + w] = 0
    return np.concatenate([real, masked], 2).transpose(2, 0, 1).copy()


class Crops:
    """All rendered crops of a folder; `refresh` takes in files that came since."""

    def __init__(self, folder, frames, speech, held=()):
        """`held`: idle frames that stand first, for validation."""
        self.folder, self.files, self.held, self.predicted = folder, {}, held, None
        self.frames = np.load(os.path.join(frames, "frames.npy"), mmap_mode="r")
        self.bounds = np.load(os.path.join(frames, "bounds.npy"))
        self.speech = speech
        self.inputs, self.crops, self.units, self.rows, self.heard = [], [], [], [], []

    def blend(self):
        """[160,160] f32: 1 where any crop differs from its idle frame, feathered over a few pixels to 0."""
        changed = np.zeros((160, 160), np.float32)
        for x, crops in zip(self.inputs, self.crops):
            # idle crops went through JPEG, so compare the crops of one frame with each other
            d = crops.float().amax(0) - crops.float().amin(0)
            changed = np.maximum(changed, d.amax(0).numpy())
        m = maximum_filter((changed > 2.5).astype(np.float32), 7)
        m = np.clip(gaussian_filter(m, 2.5) * 2 - 0.15, 0, 1) * np.clip(gaussian_filter(m, 1.5) * 1.3, 0, 1)
        i = np.arange(160)
        edge = np.clip((np.minimum(i, 159 - i) - 2) / 6, 0, 1)
        return (m * edge[:, None] * edge[None]).astype(np.float32)

    def refresh(self, predicted=None):
        """`predicted` [n,10]: the units that the audio encoder hears, row by row of the training units."""
        kept = [os.path.join(self.folder, f"frame{f:03d}.npz") for f in self.held]
        for path in kept + sorted(set(glob.glob(os.path.join(self.folder, "frame???.npz"))) - set(kept)):
            if path not in self.files:
                d = np.load(path)
                f = int(d["frame"])
                self.files[path] = f
                self.inputs.append(torch.from_numpy(network_input(self.frames[f], self.bounds[f])))
                self.crops.append(torch.from_numpy(d["crops"].transpose(0, 3, 1, 2).copy()))
                self.units.append(torch.from_numpy(d["units"]))
                self.rows.append(d["rows"])
                self.heard.append(None)
        if predicted is not None and predicted is not self.predicted:
            self.predicted, self.heard = predicted, [None] * len(self.heard)
        if predicted is not None:
            for i, rows in enumerate(self.rows):
                if self.heard[i] is None:
                    u = self.units[i].numpy()
                    p = predicted[np.clip(rows, 0, len(predicted) - 1)].copy()
                    true = self.speech[np.clip(rows, 0, len(self.speech) - 1)]
                    # the jaw's scale in the labels was once changed; the picture that belongs to a unit was not
                    big = (rows >= 0) & (np.abs(u[:, 0] - true[:, 0]) > 1e-3)
                    ratio = np.where(big, u[:, 0] / np.maximum(true[:, 0], 1e-6), 1)
                    p[:, 0] = np.clip(p[:, 0] * ratio, 0, 1)
                    p[rows < 0] = u[rows < 0]
                    self.heard[i] = torch.from_numpy(p.astype(np.float32))
        return len(self.crops)
