#!/usr/bin/env python3
"""Makes the small packages of tests/data/packages, with golden outputs computed by onnxruntime, and a hostile network.

The networks have the layers of the real ones (strided and depthwise convolutions, a bilinear upsample, a
concatenated skip, a sigmoid) with random weights, and the three ways in which a package gets its audio:

  tiny       mel rows through an encoder, one row a frame (like the default package)
  tiny_ave   mel rows through an encoder, 16 rows a frame (like SyncTalk_2D)
  tiny_own   features that came with the package only (like the hubert and wenet ones)

Needs numpy, onnx, onnxruntime and Pillow (tried with 2.4.6, 1.23.2, 1.32.0, 13.0.0). The same command gives the same
files, as far as those packages' versions are the same:

  python tools/golden/make_packages.py tests/data/packages
"""

import argparse
import hashlib
import io
import json
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SIDE, FRAMES = 64, 6  # of a full frame, pixels; of the idle video
INNER, BORDER, MASK = 32, 4, [4, 4, 24, 23]
MEL_BANDS = 80


class Graph:
    """An ONNX graph under construction: every method adds a node and returns its output's name."""

    def __init__(self, seed):
        self.rng, self.nodes, self.weights = np.random.default_rng(seed), [], []

    def weight(self, array):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, op, inputs, output=None, **attributes):
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"{op}_{output}", **attributes))
        return output

    def conv(self, x, cin, cout, kernel, stride=1, group=1, pads=None, gain=1.4, output=None):
        kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        fan_in = cin // group * kh * kw
        w = self.rng.normal(0, gain / np.sqrt(fan_in), (cout, cin // group, kh, kw)).astype(np.float32)
        b = self.rng.normal(0, 0.1, cout).astype(np.float32)
        pad = [kh // 2, kw // 2, kh // 2, kw // 2] if pads is None else pads
        return self.add("Conv", [x, self.weight(w), self.weight(b)], output, kernel_shape=[kh, kw],
                        strides=[stride, stride], pads=pad, group=group)

    def relu(self, x):
        return self.add("Relu", [x])

    def save(self, inputs, outputs, file):
        value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "tiny", [value(*i) for i in inputs], [value(*o) for o in outputs],
                                  self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        file.write_bytes(model.SerializeToString())


def unet(seed, audio_shape, file):
    """input [1,6,S,S], audio -> output [1,3,S,S]."""
    g = Graph(seed)
    channels = audio_shape[1]
    # Encoder: an inverted residual block with stride 2, and one with a skip.
    a = g.relu(g.conv("input", 6, 8, 3))
    e = g.relu(g.conv(a, 8, 16, 1))
    e = g.relu(g.conv(e, 16, 16, 3, stride=2, group=16))
    b = g.conv(e, 16, 12, 1)
    e = g.relu(g.conv(b, 12, 24, 1))
    e = g.relu(g.conv(e, 24, 24, 3, group=24))
    b = g.add("Add", [g.conv(e, 24, 12, 1), b])
    # Audio: to a vector, laid over the bottom of the U.
    s = g.conv("audio", channels, 12, tuple(audio_shape[2:]), pads=[0, 0, 0, 0], gain=3.0)
    b = g.relu(g.add("Add", [b, s]))
    # Decoder: upsample, concatenate, mix.
    scales = g.weight(np.array([1, 1, 2, 2], np.float32))
    u = g.add("Resize", [b, "", scales], mode="linear", coordinate_transformation_mode="align_corners")
    u = g.add("Concat", [u, a], axis=1)
    u = g.relu(g.conv(u, 20, 10, 3))
    g.add("Sigmoid", [g.conv(u, 10, 3, 1, gain=2.0)], "output")
    g.save([("input", [1, 6, INNER, INNER]), ("audio", audio_shape)], [("output", [1, 3, INNER, INNER])], file)


def encoder(seed, mel_rows, width, file):
    """mel [1,1,80,W] -> embedding [1,width]."""
    g = Graph(seed)
    x = g.relu(g.conv("mel", 1, 4, 3, stride=2))
    x = g.relu(g.conv(x, 4, 8, 3, stride=2))
    h, w = [-(-(-(-n // 2)) // 2) for n in (MEL_BANDS, mel_rows)]
    x = g.conv(x, 8, width, (h, w), pads=[0, 0, 0, 0])
    g.add("Flatten", [x], "embedding", axis=1)
    g.save([("mel", [1, 1, MEL_BANDS, mel_rows])], [("embedding", [1, width])], file)


def frames(seed):
    """The idle video: a disc with two eyes and a mouth that sways a little; JPEGs and the bounds of the mouth's square."""
    rng = np.random.default_rng(seed)
    jpegs, bounds = [], []
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    for i in range(FRAMES):
        cx, cy = 32 + 2.3 * np.sin(i), 34 + 1.1 * np.cos(i)
        picture = np.stack([60 + x, 90 + y, np.full_like(x, 140)], -1).astype(np.float32)
        ellipse = lambda dx, dy, rx, ry: ((x - cx - dx) / rx) ** 2 + ((y - cy - dy) / ry) ** 2 < 1
        picture[ellipse(0, 0, 22, 26)] = [222, 180, 150]
        for dx in (-9, 9):
            picture[ellipse(dx, -8, 3, 2)] = [40, 40, 60]
        picture[ellipse(0, 10, 8, 2.5)] = [170, 60, 70]
        picture += rng.normal(0, 2, picture.shape)
        buffer = io.BytesIO()
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=88)
        jpegs.append(buffer.getvalue())
        bounds.append([round(float(v), 3) for v in (cx - 19.3, cy - 13.2, cx + 19.1, cy + 25.2)])
    return jpegs, bounds


def area(array, start, end, count):
    """Area interpolation of axis 0: the mean under each of `count` equal parts of [start, end)."""
    step = (end - start) / count
    weights = np.zeros((count, array.shape[0]))
    for i in range(count):
        a, b = start + i * step, start + (i + 1) * step
        for k in range(int(np.floor(a)), int(np.ceil(b))):
            weights[i, min(max(k, 0), array.shape[0] - 1)] += (min(b, k + 1) - max(a, k)) / step
    return np.tensordot(weights, array, 1)


def image_input(jpeg, bounds):
    """[1,6,S,S]: the inner square, and the same with the mask black; BGR, 0..1."""
    picture = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))[..., ::-1].astype(np.float64)
    x1, y1, x2, y2 = np.float32(bounds)
    crop = area(area(picture, y1, y2, INNER).swapaxes(0, 1), x1, x2, INNER).swapaxes(0, 1)
    real = (np.floor(crop + 0.5) / 255).astype(np.float32).transpose(2, 0, 1)
    masked = real.copy()
    x, y, w, h = MASK
    masked[:, y:y + h, x:x + w] = 0
    return np.concatenate([real, masked])[None]


def run(file, **inputs):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def package(folder, seed, family, title, audio, audio_shape, features):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows, golden_frame = audio["rows"], 3
    width = int(np.prod(audio_shape)) // rows
    unet(seed + 1, audio_shape, folder / "unet.onnx")
    jpegs, bounds = frames(seed)
    (folder / "frames.bin").write_bytes(b"".join(jpegs))
    offsets = [0, *np.cumsum([len(j) for j in jpegs]).tolist()]
    (folder / "frames.json").write_text(
        json.dumps({"width": SIDE, "height": SIDE, "offsets": offsets, "bounds": bounds}) + "\n")
    golden = {"frame": golden_frame, "output": "golden.output.npy", "max_abs_error": 0.02}
    if audio["kind"] == "mel":
        spec = audio["encoder"]
        encoder(seed + 2, spec["mel_rows"], width, folder / "audio_encoder.onnx")
        mel = rng.uniform(-4, 4, (rows, MEL_BANDS, spec["mel_rows"])).astype(np.float32)
        np.save(folder / "golden.mel.npy", mel)
        golden["mel"] = "golden.mel.npy"
        vector = np.concatenate([run(folder / "audio_encoder.onnx", mel=row[None, None]) for row in mel])
    else:
        vector = rng.normal(0, 1, (rows, width)).astype(np.float32)
        np.save(folder / "golden.audio.npy", vector)
        golden["audio"] = "golden.audio.npy"
    if features:
        np.save(folder / "features.npy", rng.normal(0, 1, (features, width)).astype(np.float32))
        audio["features"] = "features.npy"
    output = run(folder / "unet.onnx", input=image_input(jpegs[golden_frame], bounds[golden_frame]),
                 audio=vector.reshape(audio_shape))
    np.save(folder / "golden.output.npy", output)
    files = {}
    for file in sorted(folder.iterdir()):
        if file.name != "manifest.json":
            content = file.read_bytes()
            files[file.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {
        "format": 1, "name": folder.name, "title": title, "description": "Random weights, for tests.",
        "family": family, "license": "CC0-1.0",
        "provenance": {"made_by": "tools/golden/make_packages.py", "seed": seed,
                       "onnxruntime": onnxruntime.__version__},
        "frame_rate": 25, "frames": {"file": "frames.bin", "index": "frames.json"},
        "geometry": {"crop_size": INNER + 2 * BORDER, "inner_size": INNER, "border": BORDER, "mask": MASK,
                     "channel_order": "bgr"},
        "unet": {"file": "unet.onnx", "image_input": "input", "audio_input": "audio", "output": "output",
                 "audio_shape": audio_shape},
        "audio": audio, "files": files, "golden": golden,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def hostile(file):
    """A network of some hundred bytes that asks for a constant of 8 GiB: it must cost the server nothing."""
    g = Graph(0)
    index = lambda *values: g.weight(np.array(values, np.int64))
    huge = g.add("ConstantOfShape", [index(1, 2, 1 << 15, 1 << 15)])
    huge = g.add("ReduceMax", [huge], axes=[1, 2, 3], keepdims=1)
    audio = g.add("ReduceMax", ["audio"], axes=[1, 2, 3], keepdims=1)
    picture = g.add("Slice", ["input", index(0), index(3), index(1)])
    g.add("Add", [g.add("Add", [picture, huge]), audio], "output")
    file.parent.mkdir(parents=True, exist_ok=True)
    g.save([("input", [1, 6, INNER, INNER]), ("audio", [1, 10, 1, 1])], [("output", [1, 3, INNER, INNER])], file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    out = parser.parse_args().folder
    names = {"file": "audio_encoder.onnx", "input": "mel", "output": "embedding"}
    package(out / "tiny", 100, "lipsyncd", "Tiny face", {
        "kind": "mel", "encoder": {**names, "mel_rows": 36, "mel_offset": -22, "width": 10},
        "first_row": 0, "rows": 1, "edge_rows": 0, "outside": "silence"}, [1, 10, 1, 1], 8)
    package(out / "tiny_ave", 200, "synctalk", "Tiny face, windows of 16 rows", {
        "kind": "mel", "encoder": {**names, "mel_rows": 16, "mel_offset": 0, "width": 8},
        "first_row": -9, "rows": 16, "edge_rows": 1, "outside": "zero_features"}, [1, 2, 8, 8], 0)
    package(out / "tiny_own", 300, "ultralight", "Tiny face with its own features only", {
        "kind": "features", "first_row": -4, "rows": 8, "edge_rows": 0, "outside": "zero_features"},
        [1, 4, 4, 4], 12)
    hostile(out.parent / "networks" / "huge_constant.onnx")


if __name__ == "__main__":
    main()
