"""The idle movement: 160 frames that can be played to and fro. Every curve has velocity zero at both ends."""
import numpy as np

FRAMES = 160
# inner square of the crop, in mesh units of the head: it follows the head, its size in pixels is fixed
ANCHOR = np.array([0.0, 5.965, 1.22])
INNER = 200.0  # pixels


def poses(seed=21):
    rng = np.random.default_rng(seed)
    t = np.arange(FRAMES) / (FRAMES - 1)

    def drift(amplitude, orders):
        c = rng.normal(0, 1, len(orders)) / np.sqrt(np.array(orders, float))
        x = sum(a * np.cos(np.pi * k * t) for a, k in zip(c, orders))
        x = x - x.mean()
        return amplitude * x / np.abs(x).max()

    yaw, pitch, roll = drift(0.050, [1, 2, 3, 5]), drift(0.020, [1, 2, 3, 4, 6]), drift(0.016, [1, 2, 3, 4])
    sx, sy = drift(0.030, [1, 2, 3]), drift(0.010, [2, 3, 5])
    breath = 0.5 - 0.5 * np.cos(np.pi * 4 * t)
    blink = np.zeros(FRAMES)
    for at in (44, 117):
        for k, b in enumerate([0.18, 0.62, 0.97, 1.0, 0.86, 0.58, 0.32, 0.14, 0.05]):
            blink[at + k] = b
    gaze = np.zeros((FRAMES, 2))
    marks = [(0, 0.0, 0.0), (27, 0.035, -0.012), (47, -0.02, 0.01), (86, -0.05, -0.02), (101, 0.012, 0.0), (120, 0.0, 0.015), (141, 0.0, 0.0)]
    for (at, x, y), prev in zip(marks[1:], marks[:-1]):
        gaze[at:] = (x, y)
        gaze[at] = (0.4 * prev[1] + 0.6 * x, 0.4 * prev[2] + 0.6 * y)
    brow = 0.10 * np.maximum(drift(1, [2, 3, 4]), 0)
    return [dict(yaw=0.02 + yaw[i], pitch=pitch[i], roll=-0.012 + roll[i], shift=(sx[i], sy[i] + 0.004 * breath[i], 0), breath=breath[i], blink=blink[i],
                 gaze=tuple(gaze[i]), brow=brow[i]) for i in range(FRAMES)]


def bounds(rig, pose):
    """x1, y1, x2, y2 of the inner square in full-frame pixels."""
    rot, pivot, shift = rig.head_transform(pose)
    c = rig.project((rot @ (ANCHOR - pivot) + pivot + shift)[None])[0]
    h = INNER / 2
    return np.array([c[0] - h, c[1] - h, c[0] + h, c[1] + h])


def window(b, margin=6):
    """Whole pixels around the bounds: x, y, w, h."""
    x0, y0 = int(np.floor(b[0])) - margin, int(np.floor(b[1])) - margin
    n = int(np.ceil(b[2] - b[0])) + 2 * margin + 1
    return x0, y0, n, n
