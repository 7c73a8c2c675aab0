"""Renders training crops: for every idle frame, `--count` settings of the mouth.

    crops.py --face FOLDER --out FILE.npz --units train_units.npy --kind sequence|mixed --count 8 --seed 1 [--part K/N]

sequence: `count` stretches of speech run along the idle frames, so that neighbours in time are neighbours on file.
mixed: single moments of speech from everywhere, half of them exaggerated, blended or thinned out, so that the network
knows the whole range. The file holds crops [frames,count,160,160,3] uint8 BGR, units [frames,count,10], frame [frames].
"""
import argparse

import numpy as np

from character import CROP, Character
from idle import FRAMES

p = argparse.ArgumentParser()
p.add_argument("--face", required=True)
p.add_argument("--out", required=True)
p.add_argument("--units", required=True)
p.add_argument("--kind", choices=["sequence", "mixed"], required=True)
p.add_argument("--count", type=int, default=8)
p.add_argument("--seed", type=int, default=1)
p.add_argument("--part", default="0/1")
a = p.parse_args()
k, n = map(int, a.part.split("/"))
speech = np.load(a.units).astype(np.float32)
rng = np.random.default_rng(a.seed)
units = np.zeros((FRAMES, a.count, 10), np.float32)
rows = np.zeros((FRAMES, a.count), np.int64)
if a.kind == "sequence":
    start = rng.integers(0, len(speech) - FRAMES, a.count)
    rows[:] = start[None] + np.arange(FRAMES)[:, None]
    units[:] = speech[rows]
else:
    rows[:] = rng.integers(0, len(speech), rows.shape)
    units[:] = speech[rows]
    change = rng.random(rows.shape)
    other = speech[rng.integers(0, len(speech), rows.shape)]
    sparse = rng.random(units.shape) ** 2 * (rng.random(units.shape) < 0.3) * [0.8, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    t = rng.random(rows.shape)[..., None]
    units = np.where((change < 0.15)[..., None], np.clip(units * (1 + 0.4 * t), 0, 1), units)
    units = np.where(((change >= 0.15) & (change < 0.30))[..., None], units * t + other * (1 - t), units)
    units = np.where(((change >= 0.30) & (change < 0.50))[..., None], sparse, units).astype(np.float32)
    rows[change < 0.5] = -1
mine = np.arange(k, FRAMES, n)
c = Character(a.face)
out = np.zeros((len(mine), a.count, CROP, CROP, 3), np.uint8)
for j, f in enumerate(mine):
    still = c.still(f)
    for i in range(a.count):
        out[j, i] = c.crop(still, f, units[f, i])
    print(f"{a.kind} {j + 1}/{len(mine)}", flush=True)
np.savez(a.out, crops=out, units=units[mine], rows=rows[mine], frame=mine)
