"""The room behind the character, far out of focus: linear light [SIZE,SIZE,3] RGB."""
import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve


def background(size, seed=3):
    rng = np.random.default_rng(seed)
    pad = 120
    n = size + 2 * pad
    y, x = np.mgrid[0:n, 0:n].astype(float)
    y, x = (y - pad) / size, (x - pad) / size
    img = np.zeros((n, n, 3))
    wall = np.array([0.085, 0.088, 0.092]) * (1.15 - 0.55 * y)[..., None] * (1.25 - 0.5 * x)[..., None]
    img += wall

    def box(x0, x1, y0, y1, color, add=False):
        m = ((x > x0) & (x < x1) & (y > y0) & (y < y1))[..., None]
        img[:] = np.where(m, (img if add else 0) + np.array(color), img)

    # a tall window at the left, a door frame, a shelf with books and a plant at the right, a table edge
    box(-0.06, 0.20, -0.1, 0.62, [0.62, 0.70, 0.80])
    box(0.055, 0.072, -0.1, 0.62, [0.16, 0.16, 0.17])
    box(-0.06, 0.20, 0.26, 0.28, [0.16, 0.16, 0.17])
    box(0.20, 0.245, -0.1, 0.75, [0.20, 0.165, 0.135])
    for k, yy in enumerate((0.16, 0.40, 0.64)):
        box(0.70, 1.2, yy, yy + 0.022, [0.16, 0.105, 0.065])
        xx = 0.72
        while xx < 1.1:
            w = rng.uniform(0.014, 0.034)
            h = rng.uniform(0.10, 0.17)
            c = np.array([[0.22, 0.08, 0.05], [0.06, 0.10, 0.14], [0.20, 0.17, 0.12], [0.05, 0.11, 0.09], [0.26, 0.19, 0.08]])[rng.integers(5)]
            if rng.random() < 0.82:
                box(xx, xx + w, yy - h, yy, c * rng.uniform(0.5, 1.1))
            xx += w + 0.003
    box(-0.2, 1.2, 0.86, 1.2, [0.06, 0.045, 0.035])
    for _ in range(90):  # leaves of a plant
        cx, cy = rng.normal(0.86, 0.05), rng.normal(0.70, 0.06)
        m = ((x - cx) ** 2 / 0.014**2 + (y - cy) ** 2 / 0.020**2 < 1)[..., None]
        img[:] = np.where(m, np.array([0.03, 0.09, 0.035]) * rng.uniform(0.5, 1.8), img)
    img = np.stack([gaussian_filter(img[..., c], 3) for c in range(3)], 2)
    # small lamps, which the lens spreads to discs
    for cx, cy, p, c in [(0.66, 0.14, 28, [1, 0.62, 0.28]), (0.78, 0.07, 22, [1, 0.70, 0.36]), (0.90, 0.20, 26, [1, 0.58, 0.25]), (0.97, 0.33, 16, [1, 0.66, 0.34]),
                         (0.60, 0.30, 10, [0.9, 0.72, 0.5]), (0.30, 0.12, 9, [0.8, 0.85, 1.0]), (0.34, 0.40, 7, [1, 0.75, 0.5])]:
        img[int(cy * size) + pad, int(cx * size) + pad] += np.array(c) * p * 3.2
    r = 25
    yy, xx = np.mgrid[-r - 2:r + 3, -r - 2:r + 3]
    d = np.hypot(yy, xx)
    disc = np.clip(r + 0.5 - d, 0, 1) * (0.85 + 0.15 * (d / r) ** 2)
    disc /= disc.sum()
    img = np.stack([np.maximum(fftconvolve(img[..., c], disc, mode="same"), 0) for c in range(3)], 2)
    img = np.stack([gaussian_filter(img[..., c], 2.0) for c in range(3)], 2)
    img = img[pad:-pad, pad:-pad]
    yy, xx = np.mgrid[0:size, 0:size] / size - 0.5
    img *= (1 - 0.55 * (xx**2 + yy**2))[..., None]
    return (img * 0.9).astype(np.float32)
