"""The renderer's own pictures of the test's mouths: what a perfect server would have shown.

    python tools/fidelity/truth.py --face FOLDER --clips CLIPS --out TRUTH [--only PATTERN,PATTERN...]

writes TRUTH/NAME.npz for each clip: `bgr` [n, S, S, 3] u8, the inner squares; `inside` [n, S, S] u8,
how much of each pixel shows the inside of the mouth (teeth, tongue, the dark), from the renderer's
own knowledge of which surface is in front; `frame` [n], the idle frame beneath; `units` [n, 10].

    python tools/fidelity/truth.py --face FOLDER --units train_units.npy --count 400 --out RENDERS.npz

renders mouths from training, for opening.py to learn from.
"""

import argparse
import fnmatch
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "train" / "render"))

import idle  # noqa: E402
from character import CROP, Character, area_crop  # noqa: E402
from rig import f32, ptr  # noqa: E402

TEETH, TONGUE = 2, 3  # the renderer's materials
SAMPLES = 3


class Truth:
    def __init__(self, face: str):
        self.character = Character(face)
        rig = self.character.rig
        # Skin that the mask calls inside of the mouth, by triangle.
        uv = rig.UV.reshape(-1, 3, 2).mean(1)
        size = rig.masks.shape[0]
        rows = np.clip(((1 - uv[:, 1]) * size).astype(int), 0, size - 1)
        columns = np.clip((uv[:, 0] * size).astype(int), 0, size - 1)
        skin_inside = (rig.M == 0) & (rig.masks[rows, columns, 1] > 128)
        self.inside_triangles = np.isin(rig.M, (TEETH, TONGUE)) | skin_inside

    def inside(self, frame: int, units: np.ndarray) -> np.ndarray:
        """[S, S] f32: the share of each pixel of the inner square that is inside of the mouth."""
        rig, pose = self.character.rig, self.character.poses[frame]
        x0, y0, w, h = idle.window(self.character.bounds[frame])
        vertices, _, _ = rig._pose_vertices(units, pose)
        points = rig.project(vertices)
        points[:, :2] = (points[:, :2] - [x0, y0]) * SAMPLES
        points = f32(points)
        height, width = h * SAMPLES, w * SAMPLES
        depth, front = np.full((height, width), 1e9, np.float32), np.full((height, width), -1, np.int32)
        rig.lib.raster(ptr(points), ptr(rig.T), len(rig.T), 0, width, height, ptr(depth), ptr(front))
        share = np.where(front >= 0, self.inside_triangles[front], False)
        share = share.reshape(h, SAMPLES, w, SAMPLES).mean((1, 3)).astype(np.float32)
        return area_crop(share[:, :, None], self.character.bounds[frame], origin=(x0, y0))[:, :, 0]

    def render(self, units: np.ndarray, frames: np.ndarray) -> dict:
        """Frame by frame of the idle video, since preparing one takes as long as several mouths."""
        bgr = np.zeros((len(units), CROP, CROP, 3), np.uint8)
        inside = np.zeros((len(units), CROP, CROP), np.uint8)
        frames = np.asarray(frames)
        for frame in np.unique(frames).tolist():
            still = self.character.still(frame)
            for i in np.nonzero(frames == frame)[0]:
                bgr[i] = self.character.crop(still, frame, units[i])
                inside[i] = np.round(255 * np.clip(self.inside(frame, units[i]), 0, 1))
            if frame % 10 == 0:
                print(f"idle frame {frame}", flush=True)
        return dict(bgr=bgr, inside=inside, frame=frames, units=units)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--face", required=True)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--clips", type=Path)
    options.add_argument("--only", default="*")
    options.add_argument("--units", type=Path)
    options.add_argument("--count", type=int, default=400)
    options = options.parse_args()
    truth = Truth(options.face)
    if options.units:
        random = np.random.default_rng(3)
        speech = np.load(options.units)
        units = speech[random.choice(len(speech), options.count, replace=False)]
        # Some mouths beyond speech's middle, and some quite shut.
        units[::5] = np.clip(units[::5] * 1.3, 0, 1)
        frames = np.sort(random.choice(idle.FRAMES, 20, replace=False))[np.arange(options.count) * 20 // options.count]
        made = truth.render(units, frames)
        mix = random.permutation(options.count)
        np.savez(options.out, **{k: v[mix] for k, v in made.items()})
        return
    options.out.mkdir(parents=True, exist_ok=True)
    mouths = np.load(options.clips / "truth.npz")
    names = [c["name"] for c in json.loads((options.clips / "clips.json").read_text())]
    names = [n for n in names if any(fnmatch.fnmatch(n, p) for p in options.only.split(","))]
    # A clip plays over idle frames to and fro from the first on, as the server would.
    frames = []
    for name in names:
        clock = np.arange(len(mouths[name])) % (2 * (idle.FRAMES - 1))
        frames.append(np.where(clock < idle.FRAMES, clock, 2 * (idle.FRAMES - 1) - clock))
    made = truth.render(np.concatenate([mouths[n] for n in names]), np.concatenate(frames))
    start = 0
    for name in names:
        stop = start + len(mouths[name])
        np.savez(options.out / f"{name}.npz", **{k: v[start:stop] for k, v in made.items()})
        start = stop
    print(f"{options.out}: {len(names)} clips, {start} frames")


if __name__ == "__main__":
    main()
