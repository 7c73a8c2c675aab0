"""What happens to speech on its way to a server: level, noise, rooms, narrow bands, other clocks.

All functions take and return mono f64 at 16 kHz; none changes the time of anything, except `speed`,
whose factor the caller applies to the labels as well.
"""

import numpy as np
from scipy.signal import butter, fftconvolve, lfilter, resample_poly, sosfilt

RATE = 16000


def resample(samples: np.ndarray, rate: int, factor: float = 1.0) -> np.ndarray:
    """To 16 kHz, and `factor` times as fast (pitch goes along)."""
    source = round(rate * factor / 50) * 50
    common = np.gcd(RATE, source)
    return resample_poly(np.asarray(samples, np.float64), RATE // common, source // common)


def true_factor(rate: int, factor: float) -> float:
    """The factor that `resample` really applies, after rounding."""
    return round(rate * factor / 50) * 50 / rate


def coloured_noise(count: int, slope: float, random: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls as f^-slope: 0 white, 0.5 pink, 1 brown. Unit power."""
    spectrum = np.fft.rfft(random.standard_normal(count))
    f = np.fft.rfftfreq(count, 1 / RATE)
    spectrum *= np.maximum(f, 40.0) ** -slope
    noise = np.fft.irfft(spectrum, count)
    return noise / (noise.std() + 1e-12)


def hum(count: int, random: np.random.Generator) -> np.ndarray:
    base = float(random.choice([50.0, 60.0])) * (1 + 0.002 * random.standard_normal())
    t = np.arange(count) / RATE
    total = sum(
        random.random() / k * np.sin(2 * np.pi * (base * k * t + random.random()))
        for k in range(1, int(random.integers(3, 14)))
    )
    return total / (total.std() + 1e-12)


def noise(count: int, random: np.random.Generator, babble: np.ndarray | None) -> np.ndarray:
    """One of the kinds above, or other people talking, at unit power."""
    kind = random.random()
    if kind < 0.2 and babble is not None and len(babble) > count + 1:
        total = np.zeros(count)
        for _ in range(int(random.integers(4, 9))):
            start = int(random.integers(len(babble) - count))
            total += babble[start : start + count]
        return total / (total.std() + 1e-9)
    if kind < 0.35:
        return 0.9 * hum(count, random) + 0.3 * coloured_noise(count, 0.5, random)
    made = coloured_noise(count, float(random.uniform(0, 1.1)), random)
    if random.random() < 0.3:  # wind, traffic: it comes and goes
        slow = np.interp(np.arange(count), np.linspace(0, count, 8), random.uniform(0.2, 1.5, 8))
        made = made * slow
    return made


def room(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A synthetic room: the direct sound, then a decaying tail that dulls with time."""
    decay = float(random.uniform(0.08, 0.55))
    count = int(decay * RATE)
    t = np.arange(count) / RATE
    tail = random.standard_normal(count) * np.exp(-6.9 * t / decay)
    tail = lfilter([1 - 0.5], [1, -0.5], tail)
    tail[: int(random.uniform(0.001, 0.012) * RATE)] = 0
    ratio = 10 ** (-random.uniform(1, 16) / 20)  # reverberant to direct
    tail *= ratio / (np.sqrt((tail**2).sum()) + 1e-9)
    tail[0] += 1
    return fftconvolve(samples, tail)[: len(samples)]


def band(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Telephone, cheap microphone, dull loudspeaker; or a gentle tilt."""
    kind = random.random()
    if kind < 0.25:
        edges = [float(random.uniform(150, 350)), float(random.uniform(3000, 3800))]
        return sosfilt(butter(3, edges, "band", fs=RATE, output="sos"), samples)
    if kind < 0.5:
        return sosfilt(butter(4, random.uniform(3800, 7500), fs=RATE, output="sos"), samples)
    if kind < 0.7:
        return sosfilt(butter(2, random.uniform(60, 320), "high", fs=RATE, output="sos"), samples)
    tilt = random.uniform(-0.6, 0.6)
    return lfilter([1, -tilt], [1], samples)


def level(samples: np.ndarray, random: np.random.Generator, quietest=-35.0) -> np.ndarray:
    """To a peak between `quietest` and -3 dB of full scale."""
    peak = 10 ** (random.uniform(quietest, -3) / 20)
    return samples * (peak / (np.abs(samples).max() + 1e-9))


def spoil(samples: np.ndarray, random: np.random.Generator, babble, strength: float) -> np.ndarray:
    """A random way through the world. `strength` 0: only the level changes."""
    if random.random() < 0.45 * strength:
        samples = room(samples, random)
    if random.random() < 0.45 * strength:
        samples = band(samples, random)
    if random.random() < 0.08 * strength:
        samples = np.tanh(samples / (np.abs(samples).max() + 1e-9) * random.uniform(1, 4))
    samples = level(samples, random)
    if random.random() < 0.65 * strength:
        loud = np.sqrt((samples**2)[np.abs(samples) > 0.05 * np.abs(samples).max()].mean())
        snr = random.uniform(6, 40)
        samples = samples + noise(len(samples), random, babble) * loud * 10 ** (-snr / 20)
    elif random.random() < 0.5:
        samples = samples + random.standard_normal(len(samples)) * 10 ** (random.uniform(-96, -70) / 20)
    samples = np.clip(samples, -1, 1)
    return np.round(samples * 32767) / 32767  # PCM16, as it arrives
