#!/usr/bin/env python3
"""The picture that is served is the one that OpenCV (which training code reads pictures with) sees, whatever the frames are.

Needs numpy, opencv-python-headless, websockets and the program:

  LIPSYNCD=target/release/lipsyncd python tests/packaging/test_served.py
"""

import base64
import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
import tempfile
import unittest
import urllib.request

import cv2
import numpy as np
from websockets.sync.client import connect

import networks

ROOT = pathlib.Path(__file__).parents[2]
LIPSYNCD = os.environ.get("LIPSYNCD", str(ROOT / "target/release/lipsyncd"))
TOOL = ROOT / "tools/package/make_package.py"
CROP = (30, 20, 198, 188)  # x1, y1, x2, y2, pixels; 168 wide, so that the square inside is not scaled
BORDER = 4


def picture(width, height):
    """Smooth, of another colour in every corner, and no symmetry."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    wave = 0.1 * np.sin(9 * x + 4 * y * y)
    return (np.stack([x * 0.8 + wave, y * 0.7 + 0.2 - wave, 0.9 - x * y * 0.8], -1) * 255).clip(0, 255).astype(np.uint8)


def oriented(jpeg, orientation):
    tiff = b"MM" + struct.pack(">HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff + jpeg[2:]


def rgb(jpeg):
    """Says that the three components are red, green and blue as they are."""
    adobe = b"Adobe\0\x64\0\0\0\0\0"
    jpeg = jpeg.replace(b"JFIF\0", b"XFIF\0")
    return jpeg[:2] + b"\xff\xee" + struct.pack(">H", len(adobe) + 2) + adobe + jpeg[2:]


def frames():
    """Name of the situation -> ending and bytes of its one frame."""
    upright = picture(240, 220)
    encode = lambda ending, image, *options: cv2.imencode(ending, image, options)[1].tobytes()
    jpeg = lambda image, *options: encode(".jpg", image, cv2.IMWRITE_JPEG_QUALITY, 97, *options)
    yield "plain", ".jpg", jpeg(upright)
    yield "grey", ".jpg", jpeg(upright[..., 1])
    yield "grey_16_levels", ".jpg", jpeg(upright[..., 1] // 16 * 16)
    yield "progressive", ".JPG", jpeg(upright, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    yield "restarts", ".jpeg", jpeg(upright, cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
    yield "odd_size", ".jpg", jpeg(picture(241, 223))
    yield "rgb", ".jpg", rgb(jpeg(upright))
    yield "png", ".png", encode(".png", upright)
    yield "png_16_bits", ".png", encode(".png", upright.astype(np.uint16) * 257)
    yield "png_alpha", ".png", encode(".png", np.dstack([upright, upright[..., :1]]))
    yield "png_grey", ".png", encode(".png", upright[..., 2])
    yield "webp", ".webp", encode(".webp", upright, cv2.IMWRITE_WEBP_QUALITY, 101)
    yield "bmp", ".bmp", encode(".bmp", upright)
    for orientation in range(1, 9):
        stored = picture(220, 240) if orientation > 4 else upright
        yield f"exif_{orientation}", ".jpg", oriented(jpeg(stored), orientation)


class Served(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        root = pathlib.Path(scratch.name)
        cls.seen = {}
        # Gives the picture that it is given: what is served is what it saw.
        (root / "unet.onnx").write_bytes(networks.working_unet(ending="Identity", sound=0.0))
        np.save(root / "features.npy", np.zeros((4, 2, 1024), np.float32))
        (root / "crops.json").write_text(json.dumps([CROP]))
        for name, ending, content in frames():
            folder = root / name
            folder.mkdir()
            file = folder / f"0{ending}"
            file.write_bytes(content)
            cls.seen[name] = cv2.imread(str(file), cv2.IMREAD_COLOR)
            command = [sys.executable, TOOL, "--family", "ultralight", "--name", name, "--out", "models", "--unet", "unet.onnx",
                       "--features", "features.npy", "--frames", folder, "--bounds", "crops.json"]
            made = subprocess.run(command, cwd=root, capture_output=True, text=True)
            assert made.returncode == 0, f"{name}: {made.stderr}"
        command = [LIPSYNCD, "--models", root / "models", "--port", "0", "--workers", "1", "--quality", "100"]
        cls.server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        cls.addClassCleanup(cls.server.stderr.close)
        cls.addClassCleanup(cls.server.wait)
        cls.addClassCleanup(cls.server.send_signal, signal.SIGTERM)
        cls.port, log = None, []
        for line in cls.server.stderr:
            log.append(line)
            found = re.search(r"http://[\d.]+:(\d+)", line)
            cls.port = cls.port or (found and found.group(1))
            if " ready" in line:
                return
            assert "not served" not in line, line
        raise AssertionError("the server ended: " + "".join(log))

    def assert_alike(self, got, want, name, most):
        self.assertEqual(got.shape, want.shape, name)
        worst = np.abs(got.astype(int) - want.astype(int)).mean()
        self.assertLess(worst, most, f"{name}: mean difference")

    def test_what_is_computed_is_what_opencv_sees(self):
        x1, y1, x2, y2 = CROP
        with connect(f"ws://127.0.0.1:{self.port}/ws", max_size=1 << 26) as client:
            for name, whole in self.seen.items():
                client.send(json.dumps({"model_name": name, "frame_id": 0}))
                reply = json.loads(client.recv(timeout=60))
                self.assertTrue(reply["success"], f"{name}: {reply}")
                jpeg = np.frombuffer(base64.b64decode(reply["prediction_data"]), np.uint8)
                inner = whole[y1 + BORDER:y2 - BORDER, x1 + BORDER:x2 - BORDER]
                self.assert_alike(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), inner, name, 3)

    def test_the_frame_that_a_page_shows_is_the_same(self):
        for name, whole in self.seen.items():
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/models/{name}/frames/0.jpg", timeout=60) as reply:
                content = np.frombuffer(reply.read(), np.uint8)
            # Turned by nobody: a page draws it as it is stored, and so it must stand upright.
            self.assert_alike(cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION), whole, name, 3)


if __name__ == "__main__":
    unittest.main()
