"""Renders training crops: for every second idle frame, `--count` settings of the mouth.

    crops.py --face FOLDER --frames FOLDER --out FOLDER --units train_units.npy [--count 36] [--seed 1] [--part K/N]

Per idle frame, two thirds are runs of four consecutive moments of speech (so that the loss can compare changes), one
third single moments, most of them exaggerated, blended or thinned out, so that the network knows the whole range.
One file per idle frame: crops [count,160,160,3] uint8 BGR, units [count,10], rows [count] (the row of the units file
that each came from, -1 where altered). Frames whose file exists are skipped: a broken run can be taken up again.
"""
import argparse
import os

import numpy as np

from character import Character
from idle import FRAMES

p = argparse.ArgumentParser()
p.add_argument("--face", required=True)
p.add_argument("--frames", required=True, help="folder of frames.npy")
p.add_argument("--out", required=True)
p.add_argument("--units", required=True)
p.add_argument("--count", type=int, default=36)
p.add_argument("--seed", type=int, default=1)
p.add_argument("--part", default="0/1")
p.add_argument("--first", type=int, default=0)
a = p.parse_args()
k, n = map(int, a.part.split("/"))
os.makedirs(a.out, exist_ok=True)
speech = np.load(a.units).astype(np.float32)
images = np.load(os.path.join(a.frames, "frames.npy"), mmap_mode="r")
c = Character(a.face)
for f in list(range(a.first, FRAMES, 2))[k::n]:
    path = os.path.join(a.out, f"frame{f:03d}.npz")
    if os.path.exists(path):
        continue
    rng = np.random.default_rng([a.seed, f])
    runs = a.count * 2 // 3 // 4
    start = rng.integers(0, len(speech) - 4, runs)
    rows = (start[:, None] + np.arange(4)).ravel()
    single = rng.integers(0, len(speech), a.count - len(rows))
    rows = np.concatenate([rows, single])
    units = speech[rows].copy()
    for i in range(4 * runs, a.count):
        how = rng.random()
        if how < 0.25:
            units[i] = np.clip(units[i] * (1 + 0.4 * rng.random()), 0, 1)
        elif how < 0.5:
            t = rng.random()
            units[i] = t * units[i] + (1 - t) * speech[rng.integers(len(speech))]
        elif how < 0.75:
            units[i] = rng.random(10) ** 2 * (rng.random(10) < 0.3) * np.array([0.8] + [1] * 9)
        else:
            continue
        rows[i] = -1
    crops = c.quick_crops(f, images[f], units)
    np.savez(path + ".part.npz", crops=crops, units=units, rows=rows, frame=f)
    os.replace(path + ".part.npz", path)
    print(f"frame {f}", flush=True)
