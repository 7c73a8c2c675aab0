#!/usr/bin/env python3
"""Makes a lipsyncd package of networks that were trained elsewhere. Needs Python 3.9; OpenCV where frames are no JPEGs.

  python tools/package/make_package.py --family synctalk --name anna --out models \\
      --unet unet.onnx --encoder audio_encoder.onnx --frames data/full_body_img --landmarks data/landmarks

  python tools/package/make_package.py --family ultralight --name ben --out models \\
      --unet unet.onnx --features data/aud_hu.npy --frames data/full_body_img --landmarks data/landmarks

The networks are ONNX files; their inputs are found by name or by shape. Frames are pictures of one size, numbered;
landmarks are text files of 110 lines `x y`, numbered alike (the crop goes from point 1's x and point 52's y to point
31's x, and is square), or give --bounds with crops [x1, y1, x2, y2]: a JSON list, one a frame, or an object by frame
number. Everything is looked at before anything is written, and what does not fit is refused. Afterwards run
`lipsyncd check models/NAME`.
"""

import argparse
import dataclasses
import hashlib
import json
import math
import os
import pathlib
import re
import shutil
import signal
import sys

from jpeg_file import PictureError, served
from npy_file import NpyError, NpyFile
from onnx_file import OnnxError, OnnxFile
from pairing import LANDMARK_FILES, PICTURES, PairingError, crop_of_landmarks, crops_of_bounds, numbered, paired, some


@dataclasses.dataclass(frozen=True)
class Family:
    crop: int  # side of the resized crop, pixels
    inner: int  # of the square in it that the network sees
    mask: list  # x, y, width, height of the inner square
    audio: list  # usual shape of the audio input
    features: tuple  # values of one frame's features that its networks are trained with
    border: int = 4


HUBERT_TOKEN = 1024  # values of one of the two tokens of a frame
HUBERT, AVE, WENET = 2 * HUBERT_TOKEN, 512, 16 * 512  # values of a row of features


FAMILIES = {
    "synctalk": Family(328, 320, [5, 5, 310, 305], [1, 32, 16, 16], (AVE, HUBERT)),
    "ultralight": Family(168, 160, [5, 5, 150, 145], [1, 16, 32, 32], (HUBERT,)),
    "feathertalk": Family(152, 144, [4, 4, 135, 130], [1, 40, 1024], (HUBERT,)),
}
ENCODER_ROWS, MEL_ROWS = 16, 16  # encoder rows that a frame sees, mel rows that one of them sees
# What the server takes: sides of a frame and of a crop in pixels, rows of features that one frame sees.
MIN_SIDE, MAX_SIDE, MIN_CROP, MAX_ROWS = 16, 4096, 2, 64
# What it takes where --max-package-bytes and --max-frames say nothing else.
SERVED_BYTES, SERVED_FRAMES = 512 << 20, 20_000


WENET_REFUSED = ("wenet features are 20 a second, only 25 is served, and mouth and film would run too fast; train with hubert, or "
                 "wait for a version that serves 20")


class Refused(Exception):
    """What is wrong, and what to do."""


def say(words):
    print(f"make_package: {words}", file=sys.stderr)


def check_texts(arguments):
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}", arguments.name):
        raise Refused(f"--name {arguments.name!r}: must be 1 to 64 letters, digits, `_`, `-` or `.`, and not begin with `.`")
    for option, value in (("title", arguments.title), ("license", arguments.license)):
        if value and (len(value.encode()) > 200 or not value.isprintable()):
            raise Refused(f"--{option}: must be at most 200 bytes of text without control characters")
    if arguments.limit is not None and arguments.limit < 1:
        raise Refused(f"--limit {arguments.limit}: must be 1 or more")
    folder = arguments.out / arguments.name
    if folder.exists() or folder.is_symlink():
        raise Refused(f"{folder} exists: remove it, or choose another --name")
    return folder


def read_network(file):
    if not file.is_file():
        raise Refused(f"{file}: there is no such file")
    try:
        network = OnnxFile(file)
    except OnnxError as error:
        raise Refused(f"{file}: {error}") from None
    for beside in network.beside:
        if pathlib.PurePath(beside).name != beside or not beside:
            raise Refused(f"{file}: keeps weights in {beside!r}, which is not beside it: export it with external_data=False")
        if not (file.parent / beside).is_file():
            raise Refused(f"{file}: keeps its weights in {beside}, which is not there: copy it too, or export with external_data=False")
    return network


def fits(declared, wanted):
    """Whether sides that a network declares, None where open, allow these."""
    return len(declared) == len(wanted) and all(side in (None, want) for side, want in zip(declared, wanted))


def shown(sides):
    return "[" + ",".join("?" if side is None else str(side) for side in sides) + "]"


def tensor(network, tensors, option, given, default, is_it):
    """Name of a tensor: the one that was asked for, the usual one, or the only one of its shape."""
    if given:
        if given not in tensors:
            raise Refused(f"{network.file}: has no tensor {given!r} (--{option}); it has {', '.join(tensors) or 'none'}")
        return given
    if default in tensors:
        return default
    found = [name for name, sides in tensors.items() if is_it(sides)]
    if len(found) != 1:
        has = ", ".join(f"{name} {shown(sides)}" for name, sides in tensors.items()) or "none"
        raise Refused(f"{network.file}: which tensor is `{default}`? It has {has}; give --{option}")
    return found[0]


def plan_unet(arguments, family):
    """The manifest's section of the picture network."""
    network = read_network(arguments.unet)
    is_image = lambda sides: len(sides) == 4 and sides[1] == 6
    image = tensor(network, network.inputs, "image-input", arguments.image_input, "input", is_image)
    others = {name: sides for name, sides in network.inputs.items() if name != image}
    audio = tensor(network, others, "audio-input", arguments.audio_input, "audio", lambda sides: True)
    output = tensor(network, network.outputs, "output", arguments.output, "output", lambda sides: True)
    if set(others) - {audio}:
        raise Refused(f"{network.file}: has a further input {', '.join(set(others) - {audio})}; an image and audio are served")
    declared, wanted = network.inputs[image], [1, 6, family.inner, family.inner]
    if set(network.outputs) - {output}:
        say(f"{network.file}: of its outputs {', '.join(network.outputs)}, `{output}` is the picture")
    picture = network.outputs[output]
    if picture and not fits(picture, [1, 3, family.inner, family.inner]) and fits(declared, wanted):
        raise Refused(f"{network.file} gives {shown(picture)} as `{output}`, a picture of {shown([1, 3, family.inner, family.inner])} is needed")
    if declared and not fits(declared, wanted):
        other = [name for name, one in FAMILIES.items() if fits(declared, [1, 6, one.inner, one.inner])]
        cure = f": give --family {other[0]}" if other else ""
        raise Refused(f"{network.file} takes {shown(declared)} as `{image}`, --family {arguments.family} is {shown(wanted)}{cure}")
    return network, {"file": "unet.onnx", "image_input": image, "audio_input": audio, "output": output,
                     "audio_shape": audio_shape(arguments, family, network, audio)}


def audio_shape(arguments, family, network, audio):
    """The shape of the audio input: what the network declares, else what was given, else what is usual."""
    declared = network.inputs[audio]
    given = None
    if arguments.audio_shape:
        try:
            given = [int(side) for side in arguments.audio_shape.split(",")]
        except ValueError:
            raise Refused(f"--audio-shape {arguments.audio_shape}: give sides such as 1,16,32,32") from None
        if given[0] != 1 or min(given) < 1:
            raise Refused(f"--audio-shape {arguments.audio_shape}: sides must be positive, and the first must be 1")
    if declared and given:
        if not fits(declared, given):
            raise Refused(f"{network.file}'s input `{audio}` is {shown(declared)}, --audio-shape says {shown(given)}")
    shape = given or [1 if at == 0 and side is None else side for at, side in enumerate(declared)]
    if not shape or None in shape:
        usual = ",".join(map(str, family.audio))
        raise Refused(f"{network.file} does not fix the sides of its input `{audio}` ({shown(declared)}): give --audio-shape, as the "
                      f"network was trained; {usual} is usual for {arguments.family}")
    if len(shape) == 4 and shape[1] > 32 and shape[2:] == [16, 32]:
        raise Refused(f"{network.file}'s audio is {shown(shape)}: {WENET_REFUSED}")
    return shape


def plan_audio(arguments, family, shape):
    """The manifest's section of audio, the encoder's network and the features as they are to be written."""
    values = math.prod(shape)
    features = read_features(arguments.features, arguments, shape) if arguments.features else None
    section = {"features": "features.npy"} if features else {}
    if arguments.encoder:
        network = read_network(arguments.encoder)
        mel = tensor(network, network.inputs, "encoder-input", arguments.encoder_input, "mel", lambda sides: True)
        embedding = tensor(network, network.outputs, "encoder-output", arguments.encoder_output, "embedding", lambda sides: True)
        if network.inputs[mel] and not fits(network.inputs[mel], [1, 1, 80, MEL_ROWS]):
            raise Refused(f"{network.file}'s input `{mel}` is {shown(network.inputs[mel])}, an `ave` encoder takes [1,1,80,{MEL_ROWS}]")
        if values % ENCODER_ROWS:
            raise Refused(f"the audio input {shown(shape)} is not {ENCODER_ROWS} rows of an encoder")
        width = values // ENCODER_ROWS
        declared = network.outputs[embedding]
        if declared and None not in declared and math.prod(declared) != width:
            raise Refused(f"{network.file} gives {math.prod(declared)} values, {ENCODER_ROWS} rows of them are not the audio input {shown(shape)}")
        if features and features[1][1] != width:
            raise Refused(f"{arguments.features}: has rows of {features[1][1]} values, the encoder gives {width}")
        encoder = {"file": "audio_encoder.onnx", "input": mel, "output": embedding,
                   "mel_rows": MEL_ROWS, "mel_offset": 0, "width": width}
        return {"kind": "mel", "encoder": encoder, "first_row": -9, "rows": ENCODER_ROWS, "edge_rows": 1,
                "outside": "zero_features", **section}, network, features
    if not features:
        raise Refused("give --encoder (it hears), --features (it only plays its own audio), or both")
    rows = values // features[1][1]
    if rows > MAX_ROWS:
        raise Refused(f"{arguments.features}: {rows} rows of {features[1][1]} values fill the audio input {shown(shape)}, the server takes "
                      f"{MAX_ROWS} at most: save one row a frame, [frames, values]")
    if features[1][1] not in family.features:
        say(f"{arguments.features}: rows of {features[1][1]} values are no features that --family {arguments.family} usually has; {rows} of "
            "them are taken for one frame")
    return {"kind": "features", "first_row": -(rows // 2), "rows": rows, "edge_rows": 0,
            "outside": "zero_features", **section}, None, features


def read_features(file, arguments, shape):
    """The features and the shape [frames, width] that they are written in."""
    if not file.is_file():
        raise Refused(f"{file}: there is no such file")
    try:
        features = NpyFile(file)
    except NpyError as error:
        raise Refused(f"{file}: {error}") from None
    if len(features.shape) < 2 or not math.prod(features.shape):
        raise Refused(f"{file}: is {shown(features.shape)}; rows of values, one a frame, are needed")
    wrong = features.first_not_finite()
    if wrong:
        raise Refused(f"{file}: row {wrong[0]} holds {wrong[1]}: compute the features anew")
    rows, width = features.shape[0], math.prod(features.shape[1:])
    if width == WENET:
        raise Refused(f"{file}: is {shown(features.shape)}: {WENET_REFUSED}")
    if width == HUBERT_TOKEN:
        # Tokens, two a frame, as the audio network gives them; an odd last one belongs to no frame.
        rows, width = rows // 2, HUBERT
        say(f"{file}: {features.shape[0]} tokens are {rows} frames of two")
    if not rows or math.prod(shape) % width:
        cure = "; save features[0], one row a frame" if features.shape[0] == 1 and len(features.shape) > 2 else ""
        raise Refused(f"{file}: rows of {width} values do not fill the audio input {shown(shape)}{cure}")
    if width == AVE and AVE not in FAMILIES[arguments.family].features:
        raise Refused(f"{file}: rows of {width} values are features of the `ave` kind, --family {arguments.family} is trained with "
                      f"hubert ({HUBERT} values a frame)")
    return features, [rows, width]


def plan_frames(arguments, family):
    """(file, crop) of every frame, in order, all of them known to be usable; and their size."""
    frames = numbered(arguments.frames, PICTURES, "frames")
    if arguments.bounds:
        if not arguments.bounds.is_file():
            raise Refused(f"{arguments.bounds}: there is no such file")
        crops = crops_of_bounds(arguments.bounds, frames)
    else:
        files = numbered(arguments.landmarks, LANDMARK_FILES, "landmarks")
        crops = {number: crop_of_landmarks(file) for number, file in files.items()}
    numbers = paired(frames, crops, "unpaired" in arguments.leave_out, say)[:arguments.limit]
    size, outside, anew = None, {}, []
    for done, number in enumerate(progress(numbers, "looked at")):
        try:
            _, found, is_anew = served(frames[number])
        except PictureError as error:
            raise Refused(f"{frames[number]}: {error}") from None
        if max(found) > MAX_SIDE or min(found) < MIN_SIDE:
            cure = "smaller" if max(found) > MAX_SIDE else "larger"
            raise Refused(f"{frames[number]}: is {found[0]}x{found[1]}; the server takes sides of {MIN_SIDE} to {MAX_SIDE} pixels: make the frames {cure}")
        size = size or found
        if found != size:
            raise Refused(f"{frames[number]}: is {found[0]}x{found[1]}, the first frame is {size[0]}x{size[1]}")
        x1, y1, x2, y2 = crops[number]
        if min(x2 - x1, y2 - y1) < MIN_CROP:
            raise Refused(f"{frames[number]}: the crop {crops[number]} is too small: a face is {MIN_CROP} pixels wide at least")
        if not (0 <= x1 and 0 <= y1 and x2 <= size[0] and y2 <= size[1]):
            outside[number] = crops[number]
        if is_anew:
            anew.append(number)
    if outside:
        number, crop = next(iter(outside.items()))
        words = f"{frames[number]}: the crop {crop} is not inside the frame of {size[0]}x{size[1]}"
        words += f" (so are frames {some(list(outside)[1:])})" if len(outside) > 1 else ""
        if "border" not in arguments.leave_out:
            raise Refused(words + ": the face is too near to the edge; give --leave-out border to go without such frames, "
                          "--limit to use those before, or pictures with more around the face")
        numbers = [number for number in numbers if number not in outside]
        if not numbers:
            raise Refused(words + ": no frame is left")
        say(words + f": {len(outside)} left out, {len(numbers)} are taken")
    if anew:
        say(f"frames {some(anew)} are encoded anew as upright JPEGs of three colours")
    return [(frames[number], crops[number]) for number in numbers], size


def progress(items, done):
    """The items, told on a terminal as they go by."""
    for count, item in enumerate(items, 1):
        yield item
        if sys.stderr.isatty() and (count % 50 == 0 or count == len(items)):
            print(f"\r{count} of {len(items)} frames {done}", end="" if count < len(items) else "\n", file=sys.stderr)


def inner_bounds(crop, family):
    """From the whole crop to the square that the network sees, both in pixels of the frame."""
    x1, y1, x2, y2 = crop
    dx, dy = family.border * (x2 - x1) / family.crop, family.border * (y2 - y1) / family.crop
    return [round(side, 4) for side in (x1 + dx, y1 + dy, x2 - dx, y2 - dy)]


def write_frames(frames, size, family, folder):
    offsets, bounds = [0], []
    with open(folder / "frames.bin", "wb") as out:
        for file, crop in progress(frames, "written"):
            out.write(served(file)[0])
            offsets.append(out.tell())
            bounds.append(inner_bounds(crop, family))
    index = {"width": size[0], "height": size[1], "offsets": offsets, "bounds": bounds}
    (folder / "frames.json").write_text(json.dumps(index) + "\n")


def write_network(network, name, folder):
    shutil.copyfile(network.file, folder / name)
    for beside in network.beside:
        if (folder / beside).exists():
            raise Refused(f"{network.file}: keeps weights in {beside}, a name that the package uses otherwise: rename it by exporting anew")
        shutil.copyfile(network.file.parent / beside, folder / beside)


def checksums(folder):
    files = {}
    for file in sorted(folder.iterdir()):
        digest = hashlib.sha256()
        with open(file, "rb") as content:
            for piece in iter(lambda: content.read(1 << 20), b""):
                digest.update(piece)
        files[file.name] = {"bytes": file.stat().st_size, "sha256": digest.hexdigest()}
    return files


def write_manifest(arguments, family, sections, folder):
    manifest = {
        "format": 1, "name": arguments.name, "title": arguments.title or arguments.name, "description": "",
        "family": arguments.family, "license": arguments.license,
        "provenance": {"made_by": "tools/package/make_package.py"},
        "frame_rate": 25, "frames": {"file": "frames.bin", "index": "frames.json"},
        "geometry": {"crop_size": family.crop, "inner_size": family.inner, "border": family.border,
                     "mask": family.mask, "channel_order": "bgr"},
        **sections,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def make(arguments):
    """Looks at everything, then writes the package beside its place and moves it there."""
    folder = check_texts(arguments)
    family = FAMILIES[arguments.family]
    network, unet = plan_unet(arguments, family)
    audio, encoder, features = plan_audio(arguments, family, unet["audio_shape"])
    frames, size = plan_frames(arguments, family)
    scratch = arguments.out / f".{arguments.name}.{os.getpid()}"  # the server passes over folders in such a folder
    try:
        made = scratch / arguments.name
        made.mkdir(parents=True)
        write_frames(frames, size, family, made)
        write_network(network, "unet.onnx", made)
        if encoder:
            write_network(encoder, "audio_encoder.onnx", made)
        if features:
            features[0].write(made / "features.npy", features[1])
        files = checksums(made)
        write_manifest(arguments, family, {"unet": unet, "audio": audio, "files": files}, made)
        made.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    total = sum(file["bytes"] for file in files.values())
    if total > SERVED_BYTES:
        say(f"{folder}: {total} bytes are more than the server takes unasked: start it and `lipsyncd check` with --max-package-bytes {total}")
    if len(frames) > SERVED_FRAMES:
        say(f"{folder}: {len(frames)} frames are more than the server takes unasked: start it and `lipsyncd check` with --max-frames {len(frames)}")
    print(f"{folder}: {len(frames)} frames; now run: lipsyncd check {folder}")


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", required=True, choices=FAMILIES)
    parser.add_argument("--name", required=True, help="folder and model name: letters, digits, _ - .")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("models"))
    parser.add_argument("--unet", required=True, type=pathlib.Path)
    parser.add_argument("--encoder", type=pathlib.Path, help="audio encoder of the ave family")
    parser.add_argument("--features", type=pathlib.Path, help="own audio's features, [frames, ...]")
    parser.add_argument("--frames", required=True, type=pathlib.Path)
    crops = parser.add_mutually_exclusive_group(required=True)
    crops.add_argument("--landmarks", type=pathlib.Path)
    crops.add_argument("--bounds", type=pathlib.Path, help="JSON of crops [x1, y1, x2, y2]")
    parser.add_argument("--leave-out", action="append", default=[], choices=("unpaired", "border"),
                        help="go without frames that have no partner, or whose crop leaves the picture")
    parser.add_argument("--limit", type=int, help="use the first frames only")
    parser.add_argument("--audio-shape", help="of the U-Net's audio input where the network leaves it open, 1,32,16,16 for example")
    parser.add_argument("--title")
    parser.add_argument("--license", default="LicenseRef-unknown", help="SPDX expression")
    for option in ("image-input", "audio-input", "output", "encoder-input", "encoder-output"):
        parser.add_argument(f"--{option}", metavar="TENSOR", help="name of the tensor where it is not the usual one")
    return parser


def main():
    arguments = options().parse_args()
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    try:
        make(arguments)
    except (Refused, PairingError, PictureError) as error:
        sys.exit(f"make_package: {error}")
    except OSError as error:
        sys.exit(f"make_package: {error.filename or arguments.out}: {error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
