#!/usr/bin/env python3
"""Makes a lipsyncd package of networks that were trained elsewhere. Needs Python 3.9 and nothing else.

  python tools/package/make_package.py --family synctalk --name anna --out models \\
      --unet unet.onnx --encoder audio_encoder.onnx --frames data/full_body_img --landmarks data/landmarks

  python tools/package/make_package.py --family ultralight --name ben --out models \\
      --unet unet.onnx --features data/aud_hu.npy --audio-shape 1,32,32,32 \\
      --frames data/full_body_img --landmarks data/landmarks

The networks are ONNX files with fixed shapes (torch.onnx.export without dynamic_axes) and the tensor names `input`,
`audio`, `output`, and for the encoder `mel`, `embedding`; other names can be given. Frames are JPEGs of one size,
numbered; landmarks are text files of 110 lines `x y`, numbered alike (the crop goes from point 1's x and point 52's y
to point 31's x, and is square), or give --bounds with a JSON list of crops [x1, y1, x2, y2]. Afterwards run
`lipsyncd check models/NAME`.
"""

import argparse
import ast
import hashlib
import json
import pathlib
import shutil
import struct
import sys

FAMILIES = {  # crop, inner square, border, mask x y w h, default audio shape
    "synctalk": (328, 320, 4, [5, 5, 310, 305], [1, 32, 16, 16]),
    "ultralight": (168, 160, 4, [5, 5, 150, 145], [1, 32, 32, 32]),
}
LEFT, TOP, RIGHT = 1, 52, 31  # landmarks that bound the crop
FRAMES_OF_1_GIB = 1 << 30  # the server's limit for a package's frames


def fail(words):
    sys.exit(f"make_package: {words}")


def numbered(folder, *suffixes):
    """The folder's files by their number."""
    files = [f for f in folder.iterdir() if f.suffix.lower() in suffixes and f.stem.isdigit()]
    return {int(f.stem): f for f in files} or fail(f"{folder}: no numbered {' or '.join(suffixes)} files")


def jpeg_size(content, file):
    """Width and height from the frame header."""
    at = 2
    while content[:2] == b"\xff\xd8" and at + 9 < len(content) and content[at] == 0xFF:
        marker, length = content[at + 1], struct.unpack(">H", content[at + 2:at + 4])[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", content[at + 5:at + 9])
            return width, height
        at += 2 + length
    fail(f"{file}: not a JPEG")


def npy_shape(file):
    """Shape of a .npy file of little-endian f32 or f64."""
    with open(file, "rb") as f:
        head = f.read(10)
        if head[:6] != b"\x93NUMPY" or head[6] != 1:
            fail(f"{file}: not a .npy file of version 1")
        header = ast.literal_eval(f.read(struct.unpack("<H", head[8:])[0]).decode("latin1"))
    if header["descr"] not in ("<f4", "<f8") or header["fortran_order"]:
        fail(f"{file}: must hold f32 or f64 in C order, holds {header['descr']}")
    return header["shape"]


def crop_of_landmarks(file):
    points = [line.split() for line in file.read_text().splitlines() if line.strip()]
    try:
        x1, y1, x2 = (int(float(points[i][axis])) for i, axis in ((LEFT, 0), (TOP, 1), (RIGHT, 0)))
    except (IndexError, ValueError):
        fail(f"{file}: needs lines `x y` for at least {TOP + 1} landmarks")
    return [x1, y1, x2, y1 + (x2 - x1)]


def inner_bounds(crop, crop_size, border, width, height, what):
    """From the whole crop to the square that the network sees, both in pixels of the frame."""
    x1, y1, x2, y2 = crop
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        fail(f"{what}: the crop {crop} is not inside the frame of {width}x{height}")
    dx, dy = border * (x2 - x1) / crop_size, border * (y2 - y1) / crop_size
    return [round(v, 4) for v in (x1 + dx, y1 + dy, x2 - dx, y2 - dy)]


def write_frames(arguments, folder):
    crop_size, _, border, _, _ = FAMILIES[arguments.family]
    frames = numbered(arguments.frames, ".jpg", ".jpeg")
    numbers = sorted(frames)
    if arguments.bounds:
        crops = dict(zip(numbers, json.loads(arguments.bounds.read_text())))
    else:
        crops = {n: crop_of_landmarks(f) for n, f in numbered(arguments.landmarks, ".lms", ".txt").items()}
    numbers = [n for n in numbers if n in crops][:arguments.limit]
    if not numbers:
        fail("no frame has a crop: frames and landmarks must be numbered alike")
    size, offsets, bounds = None, [0], []
    with open(folder / "frames.bin", "wb") as out:
        for n in numbers:
            content = frames[n].read_bytes()
            found = jpeg_size(content, frames[n])
            size = size or found
            if found != size:
                fail(f"{frames[n]}: is {found[0]}x{found[1]}, the first frame is {size[0]}x{size[1]}")
            bounds.append(inner_bounds(crops[n], crop_size, border, *size, frames[n]))
            out.write(content)
            offsets.append(out.tell())
    if offsets[-1] > FRAMES_OF_1_GIB:
        fail(f"the frames are {offsets[-1] >> 20} MiB, the server takes 1024: use --limit, or a lower quality")
    index = {"width": size[0], "height": size[1], "offsets": offsets, "bounds": bounds}
    (folder / "frames.json").write_text(json.dumps(index) + "\n")
    return len(numbers)


def audio_section(arguments, folder, shape):
    values = 1
    for side in shape:
        values *= side
    features = {}
    if arguments.features:
        shutil.copyfile(arguments.features, folder / "features.npy")
        features = {"features": "features.npy"}
    if arguments.encoder:
        shutil.copyfile(arguments.encoder, folder / "audio_encoder.onnx")
        rows = 16
        encoder = {"file": "audio_encoder.onnx", "input": arguments.encoder_input, "output": arguments.encoder_output,
                   "mel_rows": 16, "mel_offset": 0, "width": values // rows}
        return {"kind": "mel", "encoder": encoder, "first_row": -9, "rows": rows, "edge_rows": 1,
                "outside": "zero_features", **features}
    if not arguments.features:
        fail("give --encoder (it hears), --features (it only plays its own audio), or both")
    width = 1
    for side in npy_shape(arguments.features)[1:]:
        width *= side
    if width == 0 or values % width:
        fail(f"{arguments.features}: rows of {width} values do not fill the audio input {shape}")
    rows = values // width
    return {"kind": "features", "first_row": -(rows // 2), "rows": rows, "edge_rows": 0,
            "outside": "zero_features", **features}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", required=True, choices=FAMILIES)
    parser.add_argument("--name", required=True, help="folder and model name: letters, digits, _ - .")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("models"))
    parser.add_argument("--unet", required=True, type=pathlib.Path)
    parser.add_argument("--encoder", type=pathlib.Path, help="audio encoder of the ave family")
    parser.add_argument("--features", type=pathlib.Path, help="own audio's features, [rows, ...]")
    parser.add_argument("--frames", required=True, type=pathlib.Path)
    crops = parser.add_mutually_exclusive_group(required=True)
    crops.add_argument("--landmarks", type=pathlib.Path)
    crops.add_argument("--bounds", type=pathlib.Path, help="JSON list of crops [x1, y1, x2, y2], one a frame")
    parser.add_argument("--limit", type=int, help="use the first frames only")
    parser.add_argument("--audio-shape", help="of the U-Net's audio input, 1,32,16,16 for example")
    parser.add_argument("--title")
    parser.add_argument("--license", default="LicenseRef-unknown", help="SPDX expression")
    for option, name in (("image-input", "input"), ("audio-input", "audio"), ("output", "output"),
                         ("encoder-input", "mel"), ("encoder-output", "embedding")):
        parser.add_argument(f"--{option}", default=name, metavar="TENSOR")
    arguments = parser.parse_args()

    crop_size, inner, border, mask, shape = FAMILIES[arguments.family]
    if arguments.audio_shape:
        shape = [int(side) for side in arguments.audio_shape.split(",")]
    folder = arguments.out / arguments.name
    if folder.exists():
        fail(f"{folder} exists: remove it, or choose another --name")
    folder.mkdir(parents=True)
    frames = write_frames(arguments, folder)
    shutil.copyfile(arguments.unet, folder / "unet.onnx")
    audio = audio_section(arguments, folder, shape)
    files = {}
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        files[file.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {
        "format": 1, "name": arguments.name, "title": arguments.title or arguments.name, "description": "",
        "family": arguments.family, "license": arguments.license,
        "provenance": {"made_by": "tools/package/make_package.py"},
        "frame_rate": 25, "frames": {"file": "frames.bin", "index": "frames.json"},
        "geometry": {"crop_size": crop_size, "inner_size": inner, "border": border, "mask": mask,
                     "channel_order": "bgr"},
        "unet": {"file": "unet.onnx", "image_input": arguments.image_input, "audio_input": arguments.audio_input,
                 "output": arguments.output, "audio_shape": shape},
        "audio": audio, "files": files,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    print(f"{folder}: {frames} frames; now run: lipsyncd check {folder}")


if __name__ == "__main__":
    main()
