"""A picture of the visemes, for the docs.

    strip.py --face FOLDER --out visemes.jpg [--frame 10] [--names sil PP ...]
"""
import argparse
import json
import os

import numpy as np
from PIL import Image, ImageDraw

from character import CROP, Character

SHOWN = ["sil", "PP", "FF", "TH", "DD", "LL", "SS", "CH", "RR", "AA", "AE", "EH", "IY", "AO", "OH", "UW"]
p = argparse.ArgumentParser()
p.add_argument("--face", required=True)
p.add_argument("--out", required=True)
p.add_argument("--frame", type=int, default=10)
p.add_argument("--names", nargs="*", default=SHOWN)
p.add_argument("--columns", type=int, default=8)
a = p.parse_args()
table = json.load(open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "visemes.json")))["visemes"]
crops = Character(a.face).crops(np.array([table[n]["units"] for n in a.names]), np.full(len(a.names), a.frame))
rows = -(-len(a.names) // a.columns)
out = Image.new("RGB", (CROP * a.columns, CROP * rows), "white")
for i, (n, c) in enumerate(zip(a.names, crops)):
    im = Image.fromarray(c[:, :, ::-1])
    ImageDraw.Draw(im).text((5, 4), n, fill=(20, 20, 20))
    out.paste(im, (CROP * (i % a.columns), CROP * (i // a.columns)))
out.save(a.out, quality=88)
