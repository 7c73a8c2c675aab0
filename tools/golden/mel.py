#!/usr/bin/env python3
"""Writes the audio fixtures of tests/data/audio, with nothing but numpy.

It is written from the definition of the front end (docs of src/audio/mel.rs), not from the Rust code, so that
each checks the other:

    python3 tools/golden/mel.py tests/data/audio        # write the fixtures
    python3 tools/golden/mel.py --check FILE.wav FILE.mel.npy   # compare with anyone's [T, 80] or [80, T] values
"""

import sys
import wave

import numpy as np

RATE_HZ, N_FFT, HOP, BANDS = 16_000, 800, 200, 80
LOWEST_HZ, HIGHEST_HZ, PRE_EMPHASIS = 55.0, 7600.0, 0.97


def hz_to_mel(hz):
    """Slaney's scale: linear below 1 kHz, logarithmic above it."""
    hz = np.asarray(hz, dtype=np.float64)
    return np.where(hz < 1000.0, hz * 3 / 200, 15 + np.log(np.maximum(hz, 1e-9) / 1000.0) / (np.log(6.4) / 27))


def mel_to_hz(mel):
    mel = np.asarray(mel, dtype=np.float64)
    return np.where(mel < 15, mel * 200 / 3, 1000.0 * np.exp((mel - 15) * (np.log(6.4) / 27)))


def filter_bank():
    """[80, 401] triangles of unit area per Hz."""
    edges = mel_to_hz(np.linspace(hz_to_mel(LOWEST_HZ), hz_to_mel(HIGHEST_HZ), BANDS + 2))
    bins = np.arange(N_FFT // 2 + 1) * RATE_HZ / N_FFT
    bank = np.zeros((BANDS, len(bins)))
    for band in range(BANDS):
        low, peak, high = edges[band : band + 3]
        rise, fall = (bins - low) / (peak - low), (high - bins) / (high - peak)
        bank[band] = np.maximum(0, np.minimum(rise, fall)) * 2 / (high - low)
    return bank


def mel(x, rows_before=0, rows_after=0):
    """x: mono samples at 16 kHz, -1..1. Returns f64 [rows, 80]; row r is centred on sample 200 (r - rows_before)."""
    y = np.append(x[:1], x[1:] - PRE_EMPHASIS * x[:-1])
    y = np.pad(y, (N_FFT // 2 + HOP * rows_before, N_FFT // 2 + HOP * rows_after))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    count = 1 + (len(y) - N_FFT) // HOP
    frames = np.stack([y[r * HOP : r * HOP + N_FFT] * hann for r in range(count)])
    level = 20 * np.log10(np.maximum(1e-5, np.abs(np.fft.rfft(frames)) @ filter_bank().T)) - 20
    return np.clip(8 * (level + 100) / 100 - 4, -4, 4)


def read_wav(path):
    with wave.open(path) as file:
        assert file.getframerate() == RATE_HZ and file.getnchannels() == 1 and file.getsampwidth() == 2
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64) / 32768


def write_wav(path, rate, x):
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(np.clip(x, -1, 32767 / 32768) * 32768).astype("<i2").tobytes())


def speech_like(rate, seconds=1.0):
    """Voiced syllables with moving formants, a hiss and a pause: every partial is below 7 kHz and is computed at the
    rate asked for, so the same sound exists exactly at any rate above 14 kHz."""
    t = np.arange(int(rate * seconds)) / rate
    # The phase is the exact integral of a pitch of 118 Hz that swings by 14 Hz.
    swing = 2 * np.pi * 1.7
    phase = 2 * np.pi * (118 * t + 14 / swing * (1 - np.cos(swing * t)))
    syllable = np.clip(np.sin(2 * np.pi * 2.6 * t), 0, 1) ** 0.7 * (t < 0.8)
    first, second = 550 + 200 * np.sin(2 * np.pi * 1.1 * t), 1500 + 600 * np.sin(2 * np.pi * 1.9 * t + 1)
    x = np.zeros_like(t)
    for harmonic in range(1, 52):
        hz = harmonic * 118
        gain = sum(a / (1 + ((hz - f) / w) ** 2) for f, w, a in ((first, 90, 1.0), (second, 130, 0.5), (2600, 250, 0.2)))
        x += (gain + 0.004) * np.sin(harmonic * phase) * syllable
    random = np.random.default_rng(7)
    for hz, angle in zip(random.uniform(3500, 6900, 60), random.uniform(0, 2 * np.pi, 60)):
        x += 0.02 * np.sin(2 * np.pi * hz * t + angle) * np.clip(1 - np.abs(t - 0.62) / 0.07, 0, 1)
    return 0.8 * x / 3.2


def main():
    if sys.argv[1] == "--check":
        theirs = np.load(sys.argv[3])
        ours = mel(read_wav(sys.argv[2]))
        theirs = theirs if theirs.shape == ours.shape else theirs.T
        print("max abs difference", np.abs(theirs - ours).max())
        return
    out = sys.argv[1]
    for rate in (16_000, 24_000):
        write_wav(f"{out}/speech_like_{rate // 1000}k.wav", rate, speech_like(rate))
    golden = mel(read_wav(f"{out}/speech_like_16k.wav"), rows_before=4, rows_after=4)
    np.save(f"{out}/speech_like_16k.mel_from_row_-4.npy", golden.astype("<f4"))


main()
