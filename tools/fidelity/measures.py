"""The figures of the fidelity test, as plain functions on arrays."""

import numpy as np
from scipy.ndimage import gaussian_filter

RATE = 25  # frames a second


def correlation(a, b) -> float:
    """Pearson's r; nan where one of the two does not vary."""
    a, b = np.asarray(a, float) - np.mean(a), np.asarray(b, float) - np.mean(b)
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1e-30))


def best_offset(predicted: list, true: list, reach: int = 6) -> tuple[float, float]:
    """(milliseconds, r there): how much later than the truth the prediction is, at its best match.

    Each item of the lists is one clip; the curve of r over whole frames is refined by a parabola.
    """
    lags = np.arange(-reach, reach + 1)
    curve = []
    for lag in lags:
        pairs = [(p[max(0, lag) : len(p) + min(0, lag)], t[max(0, -lag) : len(t) - max(0, lag)]) for p, t in zip(predicted, true)]
        curve.append(correlation(np.concatenate([p for p, _ in pairs]), np.concatenate([t for _, t in pairs])))
    top = int(np.argmax(curve))
    shift = 0.0
    if 0 < top < len(curve) - 1:
        low, mid, high = curve[top - 1 : top + 2]
        shift = 0.5 * (low - high) / (low - 2 * mid + high - 1e-12)
    return float((lags[top] + shift) * 1000 / RATE), float(curve[top])


def psnr(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """(of all pixels together, mean of the frames' own) in dB, for u8 pictures [n, h, w, 3]."""
    each = np.array([((x.astype(np.float32) - y) ** 2).mean() for x, y in zip(a, b)])
    return float(10 * np.log10(255**2 / each.mean())), float((10 * np.log10(255**2 / np.maximum(each, 1e-2))).mean())


def grey(pictures: np.ndarray) -> np.ndarray:
    """BGR → luma, f64, 0..255."""
    return pictures @ np.array([0.114, 0.587, 0.299])


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Mean structural similarity of luma, Gaussian window of 1.5 px, K = 0.01, 0.03."""
    c1, c2, total = (0.01 * 255) ** 2, (0.03 * 255) ** 2, []

    def blur(x):
        return gaussian_filter(x, 1.5, truncate=3.34)

    for x, y in zip(grey(a), grey(b)):
        mx, my = blur(x), blur(y)
        vx, vy, cov = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
        total.append((((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))[5:-5, 5:-5].mean())
    return float(np.mean(total))


def movement(pictures: np.ndarray) -> float:
    """Mean absolute change of luma from frame to frame, in grey levels."""
    levels = grey(pictures)
    return float(np.abs(np.diff(levels, axis=0)).mean())


def box(marked: np.ndarray, margin: int = 0) -> tuple:
    """(x, y, w, h) of the true pixels of [h, w], with a margin, within the picture."""
    rows, columns = np.nonzero(marked.any(1))[0], np.nonzero(marked.any(0))[0]
    left, top = max(0, columns[0] - margin), max(0, rows[0] - margin)
    right, bottom = min(marked.shape[1], columns[-1] + 1 + margin), min(marked.shape[0], rows[-1] + 1 + margin)
    return int(left), int(top), int(right - left), int(bottom - top)


LIP = 12  # a lip's height with a little to spare, in pixels of 160


def lips_box(inside: np.ndarray) -> tuple:
    """The lips' full range of motion: around wherever the inside of the mouth shows in at least 0.5 %
    of the true renders [n, h, w], and a lip's height more on every side."""
    return box((inside > 127).mean(0) > 0.005, LIP)


def moving_box(pictures: np.ndarray, still: np.ndarray, heights: np.ndarray) -> tuple:
    """All that speech moves, chin and cheeks too: around the pixels that differ from the idle frame by
    6 grey levels more in the most open twentieth of the true renders than in the closed ones. (That
    much more: a render and the idle frame, a JPEG, also differ where nothing moves, in the hair.)"""
    difference = np.abs(grey(pictures) - grey(still))
    opened, closed = heights > np.quantile(heights, 0.95), heights < 0.5
    return box(difference[opened].mean(0) - difference[closed].mean(0) > 6)


def seam(pictures: np.ndarray, still: np.ndarray, width: int = 4) -> tuple[float, float]:
    """(mean absolute difference, largest mean step of a side and colour) in grey levels, between
    prediction and idle frame along the inner square's border, `width` pixels wide."""
    difference = pictures.astype(np.float64) - still
    sides = [difference[:, :width], difference[:, -width:], difference[:, :, :width], difference[:, :, -width:]]
    return (
        float(np.mean([np.abs(s).mean() for s in sides])),
        float(max(np.abs(s.mean((0, 1, 2))).max() for s in sides)),
    )
