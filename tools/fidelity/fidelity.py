"""The fidelity test: does the face say what is heard? Figures and pictures, from a package's output.

    python tools/fidelity/fidelity.py --package models/default_model --clips CLIPS --truth TRUTH \
        --out docs/images --report report.json

CLIPS comes from clips.py (and human.py), TRUTH from truth.py. README.md beside this file tells the
whole recipe and defines every figure.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "train" / "speech"))

import measures  # noqa: E402
import opening  # noqa: E402
import pictures  # noqa: E402
from package import Package, read_sound  # noqa: E402

TOUCH = 0.75  # lips touch where less than this many pixels (of 160) are seen open in the middle
JAW, PRESSED = 0, 1


def in_viseme(clip: dict, count: int, name: str) -> np.ndarray:
    """Which of the frames 0..count lie within a viseme of this name."""
    times = np.arange(count) / measures.RATE
    inside = np.zeros(count, bool)
    for viseme, start, end in clip["visemes"]:
        if viseme == name:
            inside |= (times >= start) & (times < end)
    return inside


def unit_figures(clips: list, guesses: dict, truth) -> dict:
    """The encoder alone: estimated units against the true ones, by voice."""
    groups: dict[str, list] = {}
    for clip in clips:
        groups.setdefault(f"{clip['voice']} ({clip['treatment']})", []).append(clip["name"])
    held_out = [c["name"] for c in clips if c["engine"] != "human"]
    out = {}
    for group, names in {"all synthetic": held_out, **groups}.items():
        pairs = [(guesses[n][: len(truth[n])], truth[n][: len(guesses[n])]) for n in names]
        guess, true = (np.concatenate(side) for side in zip(*pairs))
        shut = true[:, PRESSED] > 0.8
        out[group] = {
            "seconds": len(true) / measures.RATE,
            "jaw_r": measures.correlation(guess[:, JAW], true[:, JAW]),
            "jaw_rmse": float(np.sqrt(((guess - true)[:, JAW] ** 2).mean())),
            "offset_ms": measures.best_offset([g[:, JAW] for g, _ in pairs], [t[:, JAW] for _, t in pairs])[0],
            "jaw_while_pressed": float(guess[shut, JAW].mean()) if shut.any() else None,
        }
    return out


def picture_figures(package: Package, eye: opening.Eye, clips: list, guesses: dict, folder: Path):
    """Predicted pictures against the renderer's, clip by clip and together."""
    seen = {}
    for clip in clips:
        path = folder / f"{clip['name']}.npz"
        if not path.exists():
            continue
        with np.load(path) as data:
            true = {k: data[k] for k in data.files}
        count = min(len(true["frame"]), len(guesses[clip["name"]]))
        true = {k: v[:count] for k, v in true.items()}
        made = package.pictures(guesses[clip["name"]][:count], true["frame"])
        still = np.stack([package.inner(int(f)) for f in true["frame"]])
        # The same network on the true mouth: what of the error is the encoder's, what the U-Net's.
        given = package.pictures(true["units"][::4], true["frame"][::4])
        seen[clip["name"]] = {
            "clip": clip, "true": true, "made": made, "still": still, "given": given,
            "units": guesses[clip["name"]][:count],
            "height": opening.height(eye.inside(made)), "area": opening.area(eye.inside(made)),
            "true_height": opening.height(true["inside"] / 255.0), "true_area": opening.area(true["inside"] / 255.0),
            "eye_height": opening.height(eye.inside(true["bgr"])),
        }  # fmt: skip
        print(f"{clip['name']}: r {measures.correlation(seen[clip['name']]['height'], seen[clip['name']]['true_height']):.3f}", flush=True)

    everything = list(seen.values())
    lips = measures.lips_box(np.concatenate([s["true"]["inside"] for s in everything]))
    moving = measures.moving_box(
        np.concatenate([s["true"]["bgr"] for s in everything]),
        np.concatenate([s["still"] for s in everything]),
        np.concatenate([s["true_height"] for s in everything]),
    )

    def within(rectangle, items, *path):
        x, y, w, h = rectangle
        out = []
        for item in items:
            value = item
            for key in path:
                value = value[key]
            out.append(value[:, y : y + h, x : x + w])
        return np.concatenate(out)

    def figures(items: list) -> dict:
        made, true = within(lips, items, "made"), within(lips, items, "true", "bgr")
        quarter = np.concatenate([np.arange(len(s["height"])) % 4 == 0 for s in items])
        speaking = np.concatenate([~in_viseme(s["clip"], len(s["height"]), "sil") for s in items])
        wide_made, wide_true = within(moving, items, "made"), within(moving, items, "true", "bgr")
        heights, true_heights = [s["height"] for s in items], [s["true_height"] for s in items]
        offset, r_there = measures.best_offset(heights, true_heights)
        bilabial, shown, rendered, opened, missed = [], [], [], [], []
        for s in items:
            frames = in_viseme(s["clip"], len(s["height"]), "PP") & (s["true_height"] < 0.5)
            bilabial.append(frames.sum())
            shown.append((s["height"][frames] < TOUCH).sum())
            rendered.append((s["eye_height"][frames] < TOUCH).sum())
            opened.append((s["true_height"] > 2).sum())
            missed.append((s["height"][s["true_height"] > 2] < TOUCH).sum())
        return {
            "seconds": len(made) / measures.RATE,
            "opening_r": measures.correlation(np.concatenate(heights), np.concatenate(true_heights)),
            "area_r": measures.correlation(
                np.concatenate([s["area"] for s in items]), np.concatenate([s["true_area"] for s in items])
            ),
            "offset_ms": offset,
            "r_at_offset": r_there,
            "lips_psnr_mean_db": measures.psnr(made, true)[1],
            "lips_psnr_mean_speaking_db": measures.psnr(made[speaking], true[speaking])[1],
            "lips_psnr_pooled_db": measures.psnr(made, true)[0],
            "lips_psnr_pooled_given_true_units_db": measures.psnr(within(lips, items, "given"), true[quarter])[0],
            "lips_ssim": measures.ssim(made, true),
            "moving_psnr_mean_db": measures.psnr(wide_made, wide_true)[1],
            "moving_psnr_mean_speaking_db": measures.psnr(wide_made[speaking], wide_true[speaking])[1],
            "moving_psnr_pooled_db": measures.psnr(wide_made, wide_true)[0],
            "moving_ssim": measures.ssim(wide_made, wide_true),
            "bilabial_frames": int(sum(bilabial)),
            "closure": float(sum(shown) / max(1, sum(bilabial))),
            "closed_when_open": float(sum(missed) / max(1, sum(opened))),
            "closure_of_renders": float(sum(rendered) / max(1, sum(bilabial))),
        }

    by_voice: dict[str, list] = {}
    for s in everything:
        by_voice.setdefault(f"{s['clip']['voice']} ({s['clip']['treatment']})", []).append(s)
    result = {
        "lips_rectangle": lips,
        "moving_rectangle": moving,
        "picture_size": package.size,
        "eye_on_renders_r": measures.correlation(
            np.concatenate([s["eye_height"] for s in everything]), np.concatenate([s["true_height"] for s in everything])
        ),
        "all": figures(everything),
        "by_voice": {voice: figures(items) for voice, items in by_voice.items()},
    }
    result["seam"] = dict(
        zip(
            ("border_difference_grey", "largest_side_step_grey"),
            measures.seam(np.concatenate([s["made"] for s in everything]), np.concatenate([s["still"] for s in everything])),
        )
    )
    result["flicker_outside_grey"] = flicker(package, everything[0])
    return result, seen


def flicker(package: Package, item: dict) -> float:
    """Mean change from frame to frame outside the mouth, speaking, on one idle frame held still."""
    made = package.pictures(item["units"], np.zeros(len(item["made"]), int))
    # The chin goes with the jaw: where the true renders themselves move does not count.
    moved = (np.abs(measures.grey(item["true"]["bgr"]) - measures.grey(item["still"])) > 2).any(0)
    return float(np.abs(np.diff(measures.grey(made), axis=0))[:, ~moved].mean())


def silence_figures(package: Package, eye: opening.Eye) -> dict:
    """Three seconds each of digital silence, faint hiss, and a room at -50 dB; idle frame held still."""
    random = np.random.default_rng(5)
    out = {}
    for name, level in (("digital silence", None), ("hiss at -70 dB", -70), ("room noise at -50 dB", -50)):
        count = 3 * 16000
        sound = np.zeros(count)
        if level is not None:
            spectrum = np.fft.rfft(random.standard_normal(count)) / np.maximum(1, np.arange(count // 2 + 1) / 300) ** 0.5
            sound = np.fft.irfft(spectrum, count)
            sound *= 10 ** (level / 20) / sound.std()
        units = package.units(np.round(sound * 32767) / 32767)
        held = package.pictures(units, np.zeros(len(units), int))
        x, y, w, h = package.mask
        out[name] = {
            "movement_grey": measures.movement(held[:, y : y + h, x : x + w]),
            "opening_px": float(opening.height(eye.inside(held)).mean()),
            "largest_unit": float(units.max()),
        }
    return out


def human_figures(package: Package, eye: opening.Eye, clips: list, guesses: dict, truth) -> dict:
    """Opening seen in the pictures while a person speaks, by what the aligner says is being said."""
    vowels = ("AA", "AE", "AH", "AX", "EH", "IH", "AO", "OH", "ER")
    seen: dict[str, list] = {"open vowels": [], "bilabials": [], "pauses": []}
    heights, jaws, nuclei, opened = [], [], 0, 0
    for clip in clips:
        if clip["engine"] != "human":
            continue
        units = guesses[clip["name"]]
        frames = [package.idle_frame(i) for i in range(len(units))]
        height = opening.height(eye.inside(package.pictures(units, frames)))
        target = truth[clip["name"]][: len(height), JAW]
        heights.append(height[: len(target)])
        jaws.append(target)
        times = np.arange(len(height)) / measures.RATE
        for viseme, start, end in clip["visemes"]:
            inside = (times >= start) & (times < end)
            if viseme in vowels and end - start > 0.06:
                near = (times > start - 0.04) & (times < end + 0.04)
                nuclei += 1
                opened += bool(near.any() and height[near].max() > 2.0)
            if viseme in ("AA", "AE", "AO", "EH"):
                seen["open vowels"] += height[inside].tolist()
            elif viseme == "PP" and inside.any():
                # One closure each: the most closed frame within 40 ms of it.
                near = (times > start - 0.04) & (times < end + 0.04)
                seen["bilabials"].append(height[near].min())
            elif viseme == "sil" and end - start > 0.45:
                seen["pauses"] += height[(times >= start + 0.25) & (times < end - 0.2)].tolist()
    if not heights:
        return {}
    offset, r = measures.best_offset(heights, jaws)
    return {
        "seconds": sum(map(len, heights)) / measures.RATE,
        "opening_px": {k: float(np.mean(v)) for k, v in seen.items()},
        "closed_share_of_bilabials": float(np.mean(np.array(seen["bilabials"]) < TOUCH)),
        "closed_share_of_pauses": float(np.mean(np.array(seen["pauses"]) < TOUCH)),
        "vowels_that_open": opened / max(1, nuclei),
        "opening_r_with_aligned_jaw": measures.correlation(np.concatenate(heights), np.concatenate(jaws)),
        "offset_ms": offset,
        "r_at_offset": r,
    }


def by_server(options, sound: Path) -> np.ndarray:
    """The encoder's output as the server computes it: front end in Rust, network in tract."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "features.npy")
        where = ["--models", options.package.parent, "--model", options.package.name]
        command = [options.server, "features", *where, "--audio", sound, "--output", out]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return np.load(out)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--package", type=Path, default=Path("models/default_model"))
    options.add_argument("--clips", type=Path, required=True)
    options.add_argument("--truth", type=Path, required=True)
    options.add_argument("--eye", type=Path, default=HERE / "opening.onnx")
    options.add_argument("--server", type=Path, help="let this lipsyncd compute the encoder's output")
    options.add_argument("--out", type=Path, help="folder for the pictures; none without it")
    options.add_argument("--report", type=Path)
    options = options.parse_args()

    package, eye = Package(options.package), opening.Eye(options.eye)
    clips = json.loads((options.clips / "clips.json").read_text())
    truth = np.load(options.clips / "truth.npz")
    guesses = {}
    for clip in clips:
        sound = options.clips / f"{clip['name']}.wav"
        guesses[clip["name"]] = by_server(options, sound) if options.server else package.units(read_sound(sound))
    report = {"units": unit_figures(clips, guesses, truth)}
    print(json.dumps(report["units"], indent=1), flush=True)
    report["silence"] = silence_figures(package, eye)
    report["human"] = human_figures(package, eye, clips, guesses, truth)
    report["pictures"], seen = picture_figures(package, eye, clips, guesses, options.truth)
    print(json.dumps({k: v for k, v in report.items() if k != "units"}, indent=1))
    if options.report:
        options.report.write_text(json.dumps(report, indent=1) + "\n")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        pictures.viseme_strip(seen, options.out / "fidelity-visemes.jpg")
        pictures.opening_plot(seen, options.out / "fidelity-opening.svg")
        pictures.seam_picture(package, seen, options.out / "fidelity-seam.jpg")


if __name__ == "__main__":
    main()
