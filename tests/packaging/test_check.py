#!/usr/bin/env python3
"""What `lipsyncd check` says of packages as people have them: made by tools/package/make_package.py, then one thing spoilt.

Needs numpy and opencv-python-headless, and the program:

  LIPSYNCD=target/release/lipsyncd python tests/packaging/test_check.py
"""

import hashlib
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

import cv2
import numpy as np

import networks

ROOT = pathlib.Path(__file__).parents[2]
LIPSYNCD = os.environ.get("LIPSYNCD", str(ROOT / "target/release/lipsyncd"))
TOOL = ROOT / "tools/package/make_package.py"
SIDE = 200  # of a frame, pixels; the crop of a face in it is 168


def segment(marker, data):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def exif(orientation, order=b"II"):
    sign = "<" if order == b"II" else ">"
    tiff = order + struct.pack(sign + "HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return segment(0xE1, b"Exif\0\0" + tiff)


def behind_start(jpeg, *segments):
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def without_jfif(jpeg):
    return jpeg.replace(b"JFIF\0", b"XFIF\0")


class Check(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.scratch.cleanup)
        root = pathlib.Path(cls.scratch.name)
        for folder in ("frames", "landmarks"):
            (root / folder).mkdir()
        rng = np.random.default_rng(7)
        cls.pictures = []
        for number in range(3):
            picture = cv2.resize(rng.integers(0, 255, (9, 9, 3), np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(root / f"frames/{number}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
            cls.pictures.append((root / f"frames/{number}.jpg").read_bytes())
            lines = [f"{100 + k % 9} {100 + k % 7}" for k in range(110)]
            lines[1], lines[52], lines[31] = "10 100", "100 20", "178 100"
            (root / f"landmarks/{number}.lms").write_text("\n".join(lines))
        loudness = np.sin(np.arange(12))[:, None, None]
        np.save(root / "features.npy", (loudness + rng.normal(0, 0.1, (12, 2, 1024))).astype(np.float32))
        (root / "unet.onnx").write_bytes(networks.working_unet())
        command = [sys.executable, TOOL, "--family", "ultralight", "--name", "face", "--out", "models", "--unet", "unet.onnx",
                   "--features", "features.npy", "--frames", "frames", "--landmarks", "landmarks"]
        subprocess.run(command, cwd=root, check=True, capture_output=True)
        cls.good = root / "models/face"

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.models = pathlib.Path(scratch.name)
        self.folder = self.models / "face"
        shutil.copytree(self.good, self.folder)

    def edit(self, change):
        file = self.folder / "manifest.json"
        manifest = json.loads(file.read_text())
        change(manifest)
        file.write_text(json.dumps(manifest))

    def replace(self, name, content):
        (self.folder / name).write_bytes(content)
        stated = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        self.edit(lambda manifest: manifest["files"].update({name: stated}))

    def network(self, **more):
        self.replace("unet.onnx", networks.working_unet(**more))

    def features(self, values):
        file = self.models / "features.npy"
        np.save(file, values)
        self.replace("features.npy", file.read_bytes())

    def frame(self, number, content):
        pictures = [*self.pictures[:number], content, *self.pictures[number + 1:]]
        index = json.loads((self.folder / "frames.json").read_text())
        index["offsets"] = [0, *np.cumsum([len(picture) for picture in pictures]).tolist()]
        self.replace("frames.bin", b"".join(pictures))
        self.replace("frames.json", json.dumps(index).encode())

    def check(self, *options):
        return subprocess.run([LIPSYNCD, "check", *options, self.folder], capture_output=True, text=True, timeout=120)

    def passes(self, *words, options=()):
        run = self.check(*options)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        for word in words:
            self.assertRegex(run.stdout, word)
        return run.stdout

    def refused(self, *words, options=()):
        run = self.check(*options)
        self.assertEqual(run.returncode, 1, run.stdout + run.stderr)
        for word in words:
            self.assertRegex(run.stderr, word)
        self.assertNotRegex(run.stderr, r'panicked|tract|\{ |Err\(|Val\(', "words for people")

    # Networks

    def test_a_good_package_is_told_what_it_is(self):
        self.passes("face: good", r"\bms\b")

    def test_a_network_of_nan_weights_is_refused(self):
        for more in ({"scale": [1, 1, np.nan]}, {"scale": [np.nan] * 3}, {"image": np.nan}, {"image": np.inf}):
            self.network(**more)
            self.refused(r"unet\.onnx", "holds (NaN|inf)", "checkpoint")

    def test_nan_weights_that_the_last_operator_hides_are_refused(self):
        self.network(scale=[1, 1, np.nan], ending="Relu")
        self.refused(r"unet\.onnx", "(?i)nan|not a number|not finite")

    def test_a_picture_out_of_range_is_refused(self):
        for image in (255.0, -3.0):
            self.network(image=image, ending="Identity")
            self.refused(r"unet\.onnx|output", "0 (to|and|\\.\\.) ?1|0\\.\\.1|range")

    def test_a_picture_of_one_colour_is_told(self):
        self.network(image=0.0)
        run = self.check()
        self.assertRegex(run.stdout + run.stderr, "(?i)constant|one colour|same value|flat")

    def test_a_network_that_hears_nothing_is_told(self):
        self.network(sound=0.0)
        self.passes("(?i)note.*(sound|audio)")

    def test_the_shape_that_the_file_declares_is_compared(self):
        self.network(audio=(1, 32, 32, 32))
        self.refused(r"unet\.onnx.*`audio` is \[1,32,32,32\], the package says \[1,16,32,32\]",
                     "--audio-shape 1,32,32,32")
        self.network(side=144)
        self.refused(r"unet\.onnx.*`input` is \[1,6,144,144\], the package says \[1,6,160,160\]")

    def test_wenet_is_refused(self):
        def change(manifest):
            manifest["unet"]["audio_shape"] = [1, 128, 16, 32]
            manifest["audio"].update(rows=8, first_row=-4)
        self.edit(change)
        self.network(audio=(1, 128, 16, 32))
        self.features(np.random.default_rng(1).normal(0, 1, (40, 16, 512)).astype(np.float32))
        self.refused("wenet", "20 a second", "only 25")

    def test_weights_beside_the_network_that_are_missing_are_named(self):
        self.replace("unet.onnx", networks.unet(beside="unet.onnx.data"))
        self.refused(r"unet\.onnx\.data", "external_data=False|copy")

    # Features

    def test_features_that_are_not_finite_are_refused(self):
        for value in (np.nan, np.inf):
            values = np.ones((12, 2048), np.float32)
            values[5, 7] = value
            self.features(values)
            self.refused(r"features\.npy", "(?i)row 5|not finite|NaN|inf")

    def test_the_features_are_counted(self):
        self.passes("(?i)features.*12 rows")

    # Frames

    def test_jpegs_that_are_read_alike_everywhere_pass(self):
        picture = cv2.imdecode(np.frombuffer(self.pictures[1], np.uint8), cv2.IMREAD_COLOR)
        encode = lambda image, *options: cv2.imencode(".jpg", image, options)[1].tobytes()
        for content in (encode(picture, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), encode(picture, cv2.IMWRITE_JPEG_RST_INTERVAL, 3),
                        encode(picture[..., 1]), behind_start(self.pictures[1], exif(1)), self.pictures[1] + b"what follows",
                        behind_start(self.pictures[1], b"\xff\xff", segment(0xFE, b"a comment")),
                        encode(picture, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
                        encode(picture, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411)):
            self.frame(1, content)
            self.passes("face: good")

    def test_jpegs_that_are_cut_off_are_named(self):
        whole = self.pictures[1]
        for content in (whole[:len(whole) * 2 // 3], whole[:-2], whole[:40], whole[:len(whole) * 2 // 3] + b"\xff\xd9"):
            self.frame(1, content)
            self.refused("frame 1", "ends early|cut|missing")

    def test_pictures_of_other_kinds_are_named(self):
        picture = cv2.imdecode(np.frombuffer(self.pictures[1], np.uint8), cv2.IMREAD_COLOR)
        for ending, name in ((".png", "PNG"), (".webp", "WebP"), (".bmp", "BMP")):
            self.frame(1, cv2.imencode(ending, picture)[1].tobytes())
            self.refused("frame 1", name, "JPEG")
        self.frame(1, b"rubbish")
        self.refused("frame 1", "JPEG")

    def test_pictures_that_are_turned_are_refused(self):
        for orientation in range(2, 9):
            for order in (b"II", b"MM"):
                self.frame(1, behind_start(self.pictures[1], exif(orientation, order)))
                self.refused("frame 1", f"EXIF orientation {orientation}", "upright|again")

    def test_colours_that_are_read_differently_are_refused(self):
        adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")  # "the components are stored as they are"
        header = self.pictures[1].index(b"\xff\xc0") + 10  # of the components: an id and two bytes each
        named = bytearray(self.pictures[1])
        for component, scan_at in enumerate((header, header + 3, header + 6)):
            named[scan_at] = b"RGB"[component]
        scan = named.index(b"\xff\xda") + 5
        named[scan:scan + 6:2] = b"RGB"
        # Libraries do not agree on which of these words has the last one.
        for content in (behind_start(without_jfif(self.pictures[1]), adobe), behind_start(self.pictures[1], adobe),
                        without_jfif(bytes(named)), bytes(named)):
            self.frame(1, content)
            self.refused("frame 1", "RGB")

    def test_depths_and_codings_that_are_not_read_are_refused(self):
        whole = self.pictures[1]
        header = whole.index(b"\xff\xc0")
        self.frame(1, whole[:header + 4] + b"\x0c" + whole[header + 5:])
        self.refused("frame 1", "12 bits")
        for coding in (0xC3, 0xC9):
            self.frame(1, whole[:header + 1] + bytes([coding]) + whole[header + 2:])
            self.refused("frame 1", "JPEG")

    def test_frames_of_another_size_are_named(self):
        picture = cv2.imdecode(np.frombuffer(self.pictures[1], np.uint8), cv2.IMREAD_COLOR)
        self.frame(1, cv2.imencode(".jpg", picture[:, :-1])[1].tobytes())
        self.refused("frame 1", "199x200", "200x200")

    # Limits and links

    def test_what_is_refused_by_a_limit_names_its_flag(self):
        total = sum(file.stat().st_size for file in self.folder.iterdir() if file.name != "manifest.json")
        self.passes(options=("--max-package-bytes", str(max(total, 1 << 20))))
        self.refused("--max-frames", options=("--max-frames", "2"))

    def test_the_files_of_a_package_are_limited_together(self):
        # Each file is smaller than the limit, together they are not.
        padded = networks.working_unet() + networks.field(100, bytes(900_000))
        self.replace("unet.onnx", padded)
        self.features(np.ones((60, 2048), np.float32))
        self.refused("--max-package-bytes", options=("--max-package-bytes", str(1 << 20)))

    def test_links_that_lead_out_say_what_to_do(self):
        (self.folder / "unet.onnx").rename(self.models / "unet.onnx")
        (self.folder / "unet.onnx").symlink_to("../unet.onnx")
        self.refused(r"unet\.onnx", "link", "copy|cp -L")
        (self.models / "unet.onnx").unlink()
        self.refused(r"unet\.onnx", "link")

    def test_a_link_to_nowhere_is_named_by_the_server(self):
        models = self.models / "models"
        models.mkdir()
        (models / "face").symlink_to("/nowhere/face")
        run = subprocess.run([LIPSYNCD, "--models", models, "--port", "0"], capture_output=True, text=True, timeout=60)
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertRegex(run.stderr, "face.*link|link.*face")


if __name__ == "__main__":
    unittest.main()
