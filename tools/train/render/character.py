"""Everything in one place: the posed rig with hair and room, stills, crops."""
import os
import sys

import numpy as np
from scipy.ndimage import maximum_filter

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import groom  # noqa: E402
import idle  # noqa: E402
import rig as rig_module  # noqa: E402
import room  # noqa: E402

CROP = 160  # inner square that the network sees, pixels
# middle of the lips: base vertices of the upper lip's lower edge and of the lower lip's upper edge
UPPER_LIP, LOWER_LIP = [468, 474, 509, 523], [493, 494, 495, 513]


def area_weights(start, stop, n, size):
    """Matrix [n,size]: share of each source pixel in n equal pieces of start..stop (exact area coverage)."""
    edges = np.linspace(start, stop, n + 1)
    i = np.arange(size)
    w = np.minimum(edges[1:, None], i + 1) - np.maximum(edges[:-1, None], i)
    w = np.maximum(w, 0)
    return (w / w.sum(1, keepdims=True)).astype(np.float32)


def area_crop(image, bounds, n=CROP, origin=(0, 0)):
    """The square `bounds` of an image [h,w,3] as n x n pixels, float32 0..255, by area interpolation."""
    x1, y1, x2, y2 = np.asarray(bounds, float) - [origin[0], origin[1], origin[0], origin[1]]
    wx, wy = area_weights(x1, x2, n, image.shape[1]), area_weights(y1, y2, n, image.shape[0])
    t = np.tensordot(wy, image.astype(np.float32), (1, 0))
    return np.einsum("xw,hwc->hxc", wx, t, optimize=True)


def to_bytes(x):
    return np.clip(x + 0.5, 0, 255).astype(np.uint8)


class Character:
    def __init__(self, face, hair=True):
        self.rig = rig_module.Rig(face)
        if hair:
            self.rig.hair = groom.Hair(self.rig)
        self.room = room.background(rig_module.SIZE)
        self.poses = idle.poses()
        self.bounds = np.array([idle.bounds(self.rig, p) for p in self.poses])

    def still(self, frame):
        return self.rig.prepare(self.poses[frame], idle.window(self.bounds[frame]))

    def crop(self, still, frame, units, ss=3):
        """The inner square of one idle frame with the mouth set to ten units: uint8 [160,160,3] BGR."""
        w = idle.window(self.bounds[frame])
        im = self.rig.render(units, window=w, background=self.room, still=still, ss=ss)
        return to_bytes(area_crop(im, self.bounds[frame], origin=w[:2]))

    def quick_crops(self, frame, image, units):
        """Like crops, at half the cost: four samples a pixel, and where nothing moves the pixels of the idle frame
        `image` itself. uint8 [n,160,160,3]."""
        still, out = self.still(frame), []
        real = area_crop(image, self.bounds[frame])
        rest = self.crop(still, frame, None, ss=2).astype(np.float32)
        for u in units:
            c = self.crop(still, frame, u, ss=2).astype(np.float32)
            change = maximum_filter(np.abs(c - rest).max(2), 5)
            w = np.clip((change - 1) / 4, 0, 1)[:, :, None]
            out.append(to_bytes(real + w * (c - real)))
        return np.array(out)

    def crops(self, units, frames):
        """units [n,10], frames [n] -> uint8 [n,160,160,3]; frames alike share their preparation (one second each)."""
        out = np.zeros((len(units), CROP, CROP, 3), np.uint8)
        for f in np.unique(frames):
            still = self.still(f)
            for i in np.where(np.asarray(frames) == f)[0]:
                out[i] = self.crop(still, f, units[i])
        return out

    def opening(self, units):
        """Height of the gap between the lips at their middle, in full-frame pixels, of units [n,10]."""
        out = []
        for u in np.atleast_2d(units):
            y = self.rig.shape(u, {})[:, 1]
            out.append(max(0.0, y[UPPER_LIP].min() - y[LOWER_LIP].max()) * rig_module.SCALE)
        return np.array(out)
