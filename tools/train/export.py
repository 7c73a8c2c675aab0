"""Builds the package `models/default_model` from what was rendered and trained.

    export.py --frames FOLDER --unet unet.pt --encoder audio_encoder.onnx --sample FILE.wav --out models/default_model

Everything that the server needs, with sizes, checksums, a golden output and the provenance. Files are written beside
the target folder first and swapped in at the end.
"""
import argparse
import hashlib
import json
import os
import platform
import shutil
import sys
import warnings

import numpy as np
import onnx
import onnxruntime as ort
import scipy
import torch
from scipy.io import wavfile
from scipy.signal import resample_poly

HERE = os.path.dirname(os.path.abspath(__file__))
for folder in ("render", "unet", "speech"):
    sys.path.insert(0, os.path.join(HERE, folder))
from data import MASK, QUALITY, jpeg, network_input  # noqa: E402
from mel import encoder_windows, mel_rows  # noqa: E402
from net import UNet, folded  # noqa: E402

MEL_ROWS, MEL_OFFSET = 36, -22


def session(path):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def write_unet(checkpoint, path):
    state = torch.load(checkpoint, map_location="cpu")
    net = folded(UNet()) if state.get("folded") else UNet()
    net.load_state_dict(state["ema"])
    net = net if state.get("folded") else folded(net)
    net = net.eval().float().to(memory_format=torch.contiguous_format)
    x, u = torch.rand(1, 6, 160, 160), torch.rand(1, net.audio1.in_channels, 1, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (x, u), path, input_names=["input", "audio"], output_names=["output"], opset_version=17, dynamo=False)
    model = onnx.load(path)
    model.producer_name, model.producer_version, model.doc_string = "lipsyncd tools/train", "", ""
    for node in model.graph.node:
        node.doc_string = ""
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    with torch.no_grad():
        want = net(x, u).numpy()
    got = session(path).run(None, {"input": x.numpy(), "audio": u.numpy()})[0]
    assert np.abs(want - got).max() < 1e-4, np.abs(want - got).max()
    return state.get("step")


def windows_of(path):
    """A sound file's encoder windows [n,80,36], one a video frame."""
    rate, pcm = wavfile.read(path)
    pcm = pcm.astype(np.float64) / 32768
    g = np.gcd(rate, 16000)
    return encoder_windows(mel_rows(resample_poly(pcm, 16000 // g, rate // g)), rows=MEL_ROWS, offset=MEL_OFFSET)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--frames", required=True, help="folder of frames.npy and bounds.npy")
    p.add_argument("--unet", required=True)
    p.add_argument("--encoder", required=True)
    p.add_argument("--sample", required=True, help="speech that the package plays when a request brings none")
    p.add_argument("--out", required=True)
    p.add_argument("--note", default="", help="one line for the provenance")
    p.add_argument("--commands", help="file of the command lines that made the inputs, for the provenance")
    a = p.parse_args()
    name = os.path.basename(os.path.normpath(a.out))
    tmp = os.path.normpath(a.out) + ".new"
    shutil.rmtree(tmp, ignore_errors=True)
    os.makedirs(tmp)
    at = lambda f: os.path.join(tmp, f)  # noqa: E731

    frames, bounds = np.load(os.path.join(a.frames, "frames.npy"), mmap_mode="r"), np.load(os.path.join(a.frames, "bounds.npy"))
    offsets = [0]
    with open(at("frames.bin"), "wb") as f:
        for frame in frames:
            f.write(jpeg(frame))
            offsets.append(f.tell())
    with open(at("frames.json"), "w") as f:
        json.dump({"width": frames.shape[2], "height": frames.shape[1], "offsets": offsets, "bounds": [[round(float(v), 3) for v in b] for b in bounds]}, f)

    step = write_unet(a.unet, at("unet.onnx"))
    shutil.copyfile(a.encoder, at("audio_encoder.onnx"))
    encoder, unet = session(at("audio_encoder.onnx")), session(at("unet.onnx"))
    mel = windows_of(a.sample)
    features = np.concatenate([encoder.run(["embedding"], {"mel": m[None, None]})[0] for m in mel]).astype(np.float32)
    np.save(at("features.npy"), features)
    width = features.shape[1]
    # golden: an open mouth of the sample
    frame = 10
    loud = int(np.argmax(features[:, 0]))
    golden = mel[loud][None, None].astype(np.float32)
    embedding = encoder.run(["embedding"], {"mel": golden})[0]
    bounds3 = np.round(bounds[frame].astype(float), 3)
    output = unet.run(["output"], {"input": network_input(frames[frame], bounds3)[None], "audio": embedding.reshape(1, width, 1, 1)})[0]
    np.save(at("golden.mel.npy"), golden)
    np.save(at("golden.output.npy"), output.astype(np.float32))

    commands = open(a.commands).read().split("\n") if a.commands else []
    manifest = {
        "format": 1, "name": name, "title": "Mara", "license": "CC0-1.0", "family": "lipsyncd",
        "description": "The default face: a rendered woman in a room, 160 idle frames of 720x720. Look-ahead 188 ms.",
        "provenance": {
            "likeness": "No real person: the CC0 base mesh hm08 of the MakeHuman community, drawn by tools/train/render.",
            "mesh": "MakeHuman base mesh, targets, clothes and masks, CC0 1.0 (makehumancommunity.org); the data itself is not part of this package",
            "speech": "Synthetic and free voices, listed with their licences in tools/train/speech/README.md",
            "made_by": "tools/train/export.py", "note": a.note, "unet_steps": step,
            "seeds": {"hair": 11, "room": 3, "idle": 21, "crops": 1, "unet": 7},
            "commands": [c for c in commands if c.strip()],
            "versions": {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__, "torch": torch.__version__, "onnx": onnx.__version__, "onnxruntime": ort.__version__},
            "jpeg_quality": QUALITY, "look_ahead_ms": 187.5,
        },
        "frame_rate": 25,
        "frames": {"file": "frames.bin", "index": "frames.json"},
        "geometry": {"crop_size": 168, "inner_size": 160, "border": 4, "mask": list(MASK), "channel_order": "bgr"},
        "unet": {"file": "unet.onnx", "image_input": "input", "audio_input": "audio", "output": "output", "audio_shape": [1, width, 1, 1]},
        "audio": {"kind": "mel", "encoder": {"file": "audio_encoder.onnx", "input": "mel", "output": "embedding", "mel_rows": MEL_ROWS, "mel_offset": MEL_OFFSET, "width": width},
                  "first_row": 0, "rows": 1, "edge_rows": 0, "outside": "silence", "features": "features.npy"},
        "files": {},
        "golden": {"frame": frame, "mel": "golden.mel.npy", "output": "golden.output.npy", "max_abs_error": 0.03},
    }
    total = 0
    for f in sorted(os.listdir(tmp)):
        data = open(at(f), "rb").read()
        manifest["files"][f] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        total += len(data)
        print(f"{f:24} {len(data):10}")
    with open(at("manifest.json"), "w") as f:
        json.dump(manifest, f, indent=1)
        f.write("\n")
    assert total < 22e6, f"package of {total} bytes"
    shutil.rmtree(a.out, ignore_errors=True)
    os.rename(tmp, a.out)
    print(f"{a.out}: {total / 1e6:.1f} MB, {len(frames)} frames, {len(features)} rows of own audio")


main()
