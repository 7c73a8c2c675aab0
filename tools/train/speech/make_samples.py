"""Writes the page's two samples of speech: static/samples/english.wav and second.wav (Catalan).

    python tools/train/speech/make_samples.py static/samples

24 kHz, mono, PCM16, peak at -3 dBFS, a third of a second of silence at both ends.
"""

import sys
from math import gcd
from pathlib import Path

import numpy as np
from scipy.io import wavfile
from scipy.signal import resample_poly

import voices

RATE = 24000
ENGLISH = (
    "Hello, and welcome! I am a face that moves its mouth to whatever it hears. "
    "Send me speech, and I answer with twenty-five pictures a second, "
    "on an ordinary processor, without any network. Please, say something!"
)
CATALAN = [
    "Hola, bon dia, i benvinguts.",
    "Sóc una cara que mou la boca seguint la veu que escolta.",
    "Envia'm paraules, i et responc amb vint-i-cinc imatges per segon.",
    "Prova-ho, parla'm!",
]


def trim(samples: np.ndarray, rate: int) -> np.ndarray:
    loud = np.nonzero(np.abs(samples) > 0.01 * np.abs(samples).max())[0]
    margin = int(0.03 * rate)
    return samples[max(0, loud[0] - margin) : loud[-1] + 4 * margin]


def write(path: Path, pieces: list[np.ndarray], rate: int) -> None:
    pause = np.zeros(int(0.33 * rate), np.float32)
    joined = [pause]
    for piece in pieces:
        joined += [trim(piece, rate), pause]
    samples = np.concatenate(joined)
    common = gcd(RATE, rate)
    samples = resample_poly(samples, RATE // common, rate // common)
    samples *= 10 ** (-3 / 20) / np.abs(samples).max()
    wavfile.write(path, RATE, np.round(samples * 32767).astype("<i2"))
    print(f"{path}: {len(samples) / RATE:.2f} s, {path.stat().st_size} bytes")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    spoken = voices.Hibari().speak(ENGLISH, 1.0, seed=7)
    write(folder / "english.wav", [spoken.samples], spoken.rate)
    parts = voices.festival(CATALAN, "upc_ca_ona_hts", 1.0)
    write(folder / "second.wav", [p.samples for p in parts], parts[0].rate)
