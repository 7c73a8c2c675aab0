"""Renders the idle frames: frames.npy [160,720,720,3] uint8 BGR and bounds.npy [160,4].

    frames.py --face FOLDER --out FOLDER [--part K/N]      one of N processes renders every N-th frame
"""
import argparse
import os

import numpy as np

from character import Character
from idle import FRAMES
from rig import SIZE

p = argparse.ArgumentParser()
p.add_argument("--face", required=True)
p.add_argument("--out", required=True)
p.add_argument("--part", default="0/1")
a = p.parse_args()
k, n = map(int, a.part.split("/"))
os.makedirs(a.out, exist_ok=True)
path = os.path.join(a.out, "frames.npy")
c = Character(a.face)
np.save(os.path.join(a.out, "bounds.npy"), c.bounds.astype(np.float32))
if not os.path.exists(path):
    np.lib.format.open_memmap(path, "w+", np.uint8, (FRAMES, SIZE, SIZE, 3)).flush()
out = np.load(path, mmap_mode="r+")
for i in range(k, FRAMES, n):
    out[i] = c.rig.render(None, pose=c.poses[i], background=c.room)
    out.flush()
    print(f"frame {i + 1}/{FRAMES}", flush=True)
