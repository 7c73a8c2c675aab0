"""The audio front end in numpy: what the server's `audio` room computes, for training and checks.

16 kHz mono; pre-emphasis 0.97; STFT with n_fft = window = 800 (periodic Hann), hop 200, centred,
zeros outside; magnitude; 80 Slaney mel bands 55-7600 Hz with Slaney's normalisation; decibels
(floor 1e-5, reference 20 dB) mapped from -100..0 dB to -4..4 and clipped. All in f64.
"""

import numpy as np
from scipy.fft import rfft

RATE, FFT, HOP, BANDS = 16000, 800, 200, 80
FLOOR = -4.0  # what digital silence gives in every band


def _hz_to_mel(hz):
    hz = np.asarray(hz, np.float64)
    linear = hz * 3 / 200
    return np.where(hz >= 1000, 15 + np.log(np.maximum(hz, 1e-9) / 1000) * 27 / np.log(6.4), linear)


def _mel_to_hz(mel):
    mel = np.asarray(mel, np.float64)
    return np.where(mel >= 15, 1000 * np.exp((mel - 15) * np.log(6.4) / 27), mel * 200 / 3)


def filter_bank() -> np.ndarray:
    """[80, 401]: triangles equally spaced in mel, each with unit area in Hz."""
    edges = _mel_to_hz(np.linspace(_hz_to_mel(55), _hz_to_mel(7600), BANDS + 2))
    bins = np.arange(FFT // 2 + 1) * RATE / FFT
    low, mid, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.maximum(0, np.minimum((bins - low) / (mid - low), (high - bins) / (high - mid)))
    return triangles * 2 / (high - low)


_BANK = filter_bank()
_WINDOW = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)


MARGIN = 2  # rows before the first and after the last sample that still reach into the signal


def mel_rows(pcm: np.ndarray, margin: int = 0) -> np.ndarray:
    """Samples at 16 kHz in -1..1 → [1 + len // 200 + 2 margin, 80] f32.

    Row margin + r is centred on sample 200 r; outside the signal (after pre-emphasis) are zeros.
    """
    signal = np.asarray(pcm, np.float64)
    signal = np.append(signal[:1], signal[1:] - 0.97 * signal[:-1])
    count = 1 + len(signal) // HOP + 2 * margin
    padded = np.pad(signal, FFT // 2 + margin * HOP)
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT)[::HOP][:count]
    rows = np.empty((count, BANDS), np.float32)
    for start in range(0, count, 2048):  # in blocks: a long file would take gigabytes
        magnitude = np.abs(rfft(frames[start : start + 2048] * _WINDOW, axis=1))
        level = 20 * np.log10(np.maximum(1e-5, magnitude @ _BANK.T)) - 20
        rows[start : start + 2048] = np.clip(8 * (level + 100) / 100 - 4, -4, 4)
    return rows


def encoder_windows(mel: np.ndarray, margin: int = 0, rows: int = 36, offset: int = -22) -> np.ndarray:
    """Rows of `mel_rows(pcm, margin)` → [n, 80, rows]: window k holds rows floor(3.2 k) + offset ...

    There is one window for each video frame (25 a second) that begins within the sound; rows
    further out are those of digital silence.
    """
    count = max(1, -(-(len(mel) - 2 * margin - 1) * 10 // 32))
    padded = np.full((len(mel) + 2 * rows, BANDS), FLOOR, np.float32)
    padded[rows : rows + len(mel)] = mel
    starts = (np.arange(count) * 16 // 5) + offset + rows + margin
    return np.stack([padded[s : s + rows].T for s in starts])


if __name__ == "__main__":  # python mel.py FILE.wav GOLDEN.npy
    import sys

    from scipy.io import wavfile

    rate, pcm = wavfile.read(sys.argv[1])
    assert rate == RATE
    ours, golden = mel_rows(pcm / 32768.0), np.load(sys.argv[2])
    print("shapes", ours.shape, golden.shape, "max abs error", np.abs(ours - golden).max())
