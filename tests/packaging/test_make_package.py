#!/usr/bin/env python3
"""What tools/package/make_package.py makes of what people give it. Needs numpy and opencv-python-headless.

  python tests/packaging/test_make_package.py
"""

import json
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import cv2
import numpy as np

from networks import model as onnx
from networks import unet

TOOL = pathlib.Path(__file__).parents[2] / "tools/package/make_package.py"


def with_orientation(jpeg, orientation):
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff + jpeg[2:]


class MakePackage(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = pathlib.Path(scratch.name)
        (self.root / "frames").mkdir()
        (self.root / "landmarks").mkdir()
        (self.root / "unet.onnx").write_bytes(unet())
        np.save(self.root / "features.npy", np.zeros((12, 2, 1024), np.float32))
        for number in range(3):
            self.frame(number)
            self.landmarks(number)

    def frame(self, number, size=(360, 360), ending=".jpg", grey=False):
        width, height = size
        picture = np.zeros((height, width, 3), np.uint8)
        picture[: height // 2] = (40, 90, 200)
        picture[:, : width // 4] = (200, 10, 60 + len(str(number)))
        picture = picture[..., 0] if grey else picture
        file = self.root / "frames" / f"{number}{ending}"
        cv2.imwrite(str(file), picture)
        return file

    def landmarks(self, number, left=90, top=110, right=258, points=110):
        lines = [f"{150 + k} {200 + k}" for k in range(points)]
        for point, line in ((1, f"{left} 120"), (52, f"160 {top}"), (31, f"{right} 140")):
            lines[point] = line
        file = self.root / "landmarks" / f"{number}.lms"
        file.write_text("\n".join(lines) + "\n")
        return file

    def run_tool(self, *options, family="ultralight", name="face", features=True, crops=("--landmarks", "landmarks")):
        command = [sys.executable, TOOL, "--family", family, "--name", name, "--out", "out", "--unet", "unet.onnx",
                   "--frames", "frames", *crops, *options]
        if features:
            command += ["--features", "features.npy"]
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, timeout=120)

    def made(self, *options, **more):
        run = self.run_tool(*options, **more)
        self.assertEqual(run.returncode, 0, run.stderr)
        folder = self.root / "out" / more.get("name", "face")
        manifest = json.loads((folder / "manifest.json").read_text())
        self.assertEqual(sorted(manifest["files"]), sorted(f.name for f in folder.iterdir() if f.name != "manifest.json"))
        return folder, manifest, json.loads((folder / "frames.json").read_text()), run

    def refused(self, *words, options=(), **more):
        before = sorted((self.root / "out").iterdir()) if (self.root / "out").exists() else []
        run = self.run_tool(*options, **more)
        self.assertEqual(run.returncode, 1, run.stdout + run.stderr)
        self.assertTrue(run.stderr.startswith("make_package: "), run.stderr)
        self.assertEqual(run.stderr.strip().count("\n"), 0, run.stderr)
        for word in words:
            self.assertIn(word, run.stderr)
        after = sorted((self.root / "out").iterdir()) if (self.root / "out").exists() else []
        self.assertEqual(before, after, "nothing half-made stays")

    def test_a_whole_folder_becomes_a_package(self):
        _, manifest, index, _ = self.made()
        self.assertEqual(manifest["unet"]["audio_shape"], [1, 16, 32, 32])
        self.assertEqual((manifest["audio"]["first_row"], manifest["audio"]["rows"]), (-4, 8))
        self.assertEqual((index["width"], index["height"]), (360, 360))
        self.assertEqual(index["bounds"], [[94.0, 114.0, 254.0, 274.0]] * 3)

    # Frames and landmarks

    def test_frames_from_1_and_landmarks_from_0_are_refused(self):
        self.frame(3)
        (self.root / "frames/0.jpg").unlink()
        self.refused("3 frames (1 to 3)", "3 crops (0 to 2)", "2 numbers in common", "-start_number 0")

    def test_a_hole_or_a_surplus_is_refused_and_may_be_left_out(self):
        for folder, ending in (("frames", ".jpg"), ("landmarks", ".lms")):
            (self.root / folder / f"1{ending}").rename(self.root / "kept")
            self.refused("numbers in common", ": 1;", "--leave-out unpaired")
            folder_made, _, index, run = self.made("--leave-out", "unpaired", name=f"no-{folder}")
            self.assertEqual(len(index["bounds"]), 2)
            self.assertIn("2 are taken", run.stderr)
            for file in sorted(folder_made.iterdir()):
                file.unlink()
            folder_made.rmdir()
            (self.root / "kept").rename(self.root / folder / f"1{ending}")
        self.frame(4)
        self.landmarks(4)
        self.refused("do not follow each other", "frames that are missing: 3")

    def test_a_number_twice_is_refused(self):
        self.frame("01")
        self.refused("01.jpg and 1.jpg", "same number")

    def test_a_name_without_a_number_is_refused(self):
        self.frame("frame_9")
        self.refused("frame_9.jpg", "has no number")

    def test_landmarks_of_68_points_are_refused(self):
        self.landmarks(0, points=68)
        self.refused("landmarks/0.lms", "68 points", "110 are needed")

    def test_landmarks_that_are_no_numbers_are_refused(self):
        for text in ("inf inf", "nan 3", "1", "1 2 3", "a b"):
            file = self.landmarks(1)
            lines = file.read_text().splitlines()
            lines[1] = text
            file.write_text("\n".join(lines))
            self.refused("landmarks/1.lms", "line 2", text)

    def test_landmarks_with_a_byte_order_mark_are_read(self):
        file = self.landmarks(1)
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
        self.made()

    def test_landmarks_with_commas_and_windows_line_ends_are_read(self):
        file = self.landmarks(1)
        file.write_bytes(file.read_bytes().replace(b" ", b",").replace(b"\n", b"\r\n"))
        self.assertEqual(self.made()[2]["bounds"][1], [94.0, 114.0, 254.0, 274.0])

    def test_a_face_turned_inside_out_is_refused(self):
        self.landmarks(2, left=300)
        self.refused("landmarks/2.lms", "to the right of point 1")

    def test_a_face_at_the_border_is_refused_and_may_be_left_out_and_a_second_try_works(self):
        self.landmarks(1, left=-6, right=162)
        self.refused("frames/1.jpg", "[-6, 110, 162, 278]", "360x360", "--leave-out border")
        _, _, index, run = self.made("--leave-out", "border")
        self.assertEqual(len(index["bounds"]), 2)
        self.assertIn("1 left out", run.stderr)
        self.assertEqual(len(self.made("--limit", "1", name="short")[2]["bounds"]), 1)

    def test_bounds_are_paired_with_frames(self):
        bounds = self.root / "bounds.json"
        crop = [90, 110, 258, 278]
        for text, words in (([crop] * 2, "2 crops for 3 frames"), ("x", "list of crops"), ([crop, crop, [1, 2]], "frame 2"),
                            ([crop, crop, [9, 9, 1, 1]], "x1 < x2"), ({"0": crop, "1": crop}, "without landmarks or crop: 2")):
            bounds.write_text(json.dumps(text))
            self.refused(words, crops=("--bounds", "bounds.json"))
        rect = {str(number): {"rect": crop} for number in range(3)}
        bounds.write_text(json.dumps(rect))
        self.assertEqual(self.made(crops=("--bounds", "bounds.json"))[2]["bounds"][2], [94.0, 114.0, 254.0, 274.0])

    # Pictures

    def test_pngs_are_converted(self):
        for number in range(3):
            self.frame(number).unlink()
            self.frame(number, ending=".PNG" if number else ".png")
        folder, _, index, _ = self.made()
        first = (folder / "frames.bin").read_bytes()[: index["offsets"][1]]
        self.assertEqual(cv2.imdecode(np.frombuffer(first, np.uint8), cv2.IMREAD_UNCHANGED).shape, (360, 360, 3))

    def test_pictures_turned_by_exif_are_made_upright(self):
        for orientation in (2, 3, 6, 8):
            for number in range(3):
                file = self.frame(number, size=(300, 360))
                file.write_bytes(with_orientation(file.read_bytes(), orientation))
                self.landmarks(number, left=60, top=90, right=180)
            shown = cv2.imread(str(file))
            folder, _, index, _ = self.made(name=f"turned{orientation}")
            self.assertEqual((index["height"], index["width"]), shown.shape[:2])
            last = (folder / "frames.bin").read_bytes()[index["offsets"][2]:]
            found = cv2.imdecode(np.frombuffer(last, np.uint8), cv2.IMREAD_COLOR)
            self.assertLess(np.abs(found.astype(int) - shown).mean(), 2)

    def test_broken_pictures_are_named(self):
        whole = self.frame(1).read_bytes()
        for content, words in ((whole[: len(whole) * 2 // 3], "cut off"), (whole[:-2], "cut off"), (b"", "is empty"),
                               (b"<html>", "cannot be read as a picture"), (whole[:100], "cut off")):
            (self.root / "frames/1.jpg").write_bytes(content)
            self.refused("frames/1.jpg", words)
        (self.root / "frames/1.jpg").write_bytes(whole + b"trailing")
        self.made()

    def test_grey_pictures_stay_as_they_are(self):
        for number in range(3):
            file = self.frame(number, grey=True)
        folder, _, index, _ = self.made()
        self.assertEqual((folder / "frames.bin").read_bytes()[index["offsets"][2]:], file.read_bytes())

    def test_jpegs_that_nobody_reads_are_refused(self):
        file = self.root / "frames/1.jpg"
        whole = file.read_bytes()
        header = whole.index(b"\xff\xc0")
        for coding in (0xC3, 0xC9):  # lossless, arithmetic
            file.write_bytes(whole[:header + 1] + bytes([coding]) + whole[header + 2:])
            # Some builds of OpenCV know arithmetic coding.
            self.assertRegex(self.run_tool().stderr, "1.jpg: cannot be read|frames 1 are encoded anew")

    def test_progressive_jpegs_stay_as_they_are(self):
        picture = cv2.imread(str(self.frame(1)))
        cv2.imwrite(str(self.root / "frames/1.jpg"), picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
        content = (self.root / "frames/1.jpg").read_bytes()
        folder, _, index, _ = self.made()
        self.assertEqual((folder / "frames.bin").read_bytes()[index["offsets"][1]:index["offsets"][2]], content)

    def test_frames_and_crops_of_no_size_are_refused(self):
        for number in range(3):
            self.frame(number, size=(300, 12))
        self.refused("0.jpg: is 300x12", "16 to 4096 pixels", "larger")
        for number in range(3):
            self.frame(number)
        (self.root / "crops.json").write_text("[[90, 110, 90.5, 110.5], [90, 110, 258, 278], [90, 110, 258, 278]]")
        self.refused("0.jpg: the crop", "too small", crops=("--bounds", "crops.json"))

    def test_folders_without_pictures_say_what_is_there(self):
        for number in range(3):
            (self.root / f"frames/{number}.jpg").unlink()
        self.refused("no numbered frames", "it is empty")
        (self.root / "frames/0.heic").write_bytes(b"heic")
        self.refused("no numbered frames", "0.heic is of another kind")
        (self.root / "frames/frame_0001.jpg").write_bytes(b"jpeg")
        self.refused("frame_0001.jpg has no number for a name: call the frames 0.jpg, 1.jpg")

    def test_pictures_of_another_size_are_refused(self):
        self.frame(2, size=(320, 360))
        self.refused("frames/2.jpg", "320x360", "360x360")

    # Networks

    def test_the_audio_shape_is_the_networks(self):
        (self.root / "unet.onnx").write_bytes(unet(audio=(1, 32, 32, 32)))
        self.assertEqual(self.made()[1]["audio"]["rows"], 16)
        self.refused("[1,32,32,32]", "--audio-shape says [1,16,32,32]", options=("--audio-shape", "1,16,32,32"), name="other")

    def test_a_network_of_another_size_names_its_family(self):
        (self.root / "unet.onnx").write_bytes(unet(144, (1, 40, 1024)))
        self.refused("[1,6,144,144]", "[1,6,160,160]", "--family feathertalk")
        _, manifest, _, _ = self.made(family="feathertalk")
        self.assertEqual((manifest["audio"]["first_row"], manifest["audio"]["rows"]), (-10, 20))
        self.assertEqual(manifest["geometry"]["mask"], [4, 4, 135, 130])

    def test_wenet_is_refused(self):
        for channels in (128, 256):
            (self.root / "unet.onnx").write_bytes(unet(audio=(1, channels, 16, 32)))
            self.refused(f"[1,{channels},16,32]", "wenet features are 20 a second, only 25 is served")
        (self.root / "unet.onnx").write_bytes(unet(audio=(1, 65536)))
        np.save(self.root / "features.npy", np.zeros((40, 16, 512), np.float32))
        self.refused("features.npy: is [40,16,512]", "wenet features are 20 a second")

    def test_tensors_of_other_names_are_found_by_their_shape(self):
        (self.root / "unet.onnx").write_bytes(unet(names=("face", "sound")))
        unet_section = self.made()[1]["unet"]
        self.assertEqual((unet_section["image_input"], unet_section["audio_input"]), ("face", "sound"))
        self.refused("no tensor 'x'", "face, sound", options=("--image-input", "x"), name="other")

    def test_open_sides_are_asked_for_and_never_guessed(self):
        (self.root / "unet.onnx").write_bytes(unet(audio=("batch", 16, 32, 32)))
        self.assertEqual(self.made(name="a")[1]["unet"]["audio_shape"], [1, 16, 32, 32])
        for audio in (("batch", "channels", 32, 32), ()):
            (self.root / "unet.onnx").write_bytes(unet(audio=audio))
            self.refused("does not fix the sides of its input `audio`", "--audio-shape", "1,16,32,32 is usual")
        self.assertEqual(self.made("--audio-shape", "1,32,32,32", name="b")[1]["unet"]["audio_shape"], [1, 32, 32, 32])

    def test_an_output_that_is_no_picture_of_the_size_is_refused(self):
        inputs = [("input", (1, 6, 160, 160)), ("audio", (1, 16, 32, 32))]
        for sides in ((1, 6, 160, 160), (1, 3, 320, 320), (1, 160, 160, 3)):
            (self.root / "unet.onnx").write_bytes(onnx(inputs, [("output", sides)]))
            self.refused("as `output`, a picture of [1,3,160,160] is needed")

    def test_weights_beside_the_network_are_taken_along(self):
        (self.root / "unet.onnx").write_bytes(unet(beside="unet.onnx.data"))
        self.refused("keeps its weights in unet.onnx.data", "external_data=False")
        (self.root / "unet.onnx.data").write_bytes(b"weights")
        folder, _, _, _ = self.made()
        self.assertEqual((folder / "unet.onnx.data").read_bytes(), b"weights")
        (self.root / "unet.onnx").write_bytes(unet(beside="../unet.onnx.data"))
        self.refused("which is not beside it", name="other")

    def test_what_is_no_network_is_refused(self):
        for content, words in ((b"", "is empty"), (b"<html>not found</html>", "a web page"), (unet()[:-5], "ends early"),
                               (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"), (b"PK\3\4", "torch.onnx.export")):
            (self.root / "unet.onnx").write_bytes(content)
            self.refused("unet.onnx: it ", words)

    def test_an_encoder_is_compared(self):
        encoder = self.root / "encoder.onnx"
        (self.root / "unet.onnx").write_bytes(unet(320, (1, 32, 16, 16)))
        encoder.write_bytes(onnx([("mel", (1, 1, 80, 20))], [("embedding", (1, 512))]))
        options = ("--encoder", "encoder.onnx")
        self.refused("[1,1,80,20]", "[1,1,80,16]", options=options, family="synctalk", features=False)
        encoder.write_bytes(onnx([("mel", (1, 1, 80, 16))], [("embedding", (1, 256))]))
        self.refused("256 values", options=options, family="synctalk", features=False)
        encoder.write_bytes(onnx([("mel", (1, 1, 80, 16))], [("embedding", (1, 512))]))
        self.assertEqual(self.made(*options, family="synctalk", features=False)[1]["audio"]["kind"], "mel")

    # Features and options

    def test_features_are_checked(self):
        for values, words in ((np.full((4, 2, 1024), np.nan, np.float32), "row 0 holds nan"),
                              (np.zeros((4, 3), np.float32) * 1, "rows of 3 values"), (np.zeros(4, np.float32), "rows of values"),
                              (np.zeros((4, 2, 1024), np.int32), "f32 in C order"), (np.zeros((0, 2, 1024), np.float32), "is [0,2,1024]")):
            if words.startswith("rows of 3"):
                values = np.zeros((4, 3), np.float32)
            np.save(self.root / "features.npy", values)
            self.refused("features.npy", words)
        content = (self.root / "features.npy").read_bytes()
        np.save(self.root / "features.npy", np.zeros((4, 2, 1024), np.float32))
        whole = (self.root / "features.npy").read_bytes()
        (self.root / "features.npy").write_bytes(whole[:-100])
        self.refused("ends early")
        (self.root / "features.npy").write_bytes(content[:5])
        self.refused("is not a .npy file")

    def test_features_of_another_kind_are_refused(self):
        np.save(self.root / "features.npy", np.zeros((12, 512), np.float32))
        self.refused("features of the `ave` kind", "hubert")
        np.save(self.root / "features.npy", np.zeros((12, 32), np.float32))
        self.refused("512 rows of 32 values", "the server takes 64 at most")
        np.save(self.root / "features.npy", np.zeros((1, 24, 1024), np.float32))
        self.refused("rows of 24576 values", "save features[0]")
        np.save(self.root / "features.npy", np.zeros((12, 4096), np.float32))
        self.assertIn("4 of them are taken for one frame", self.made()[3].stderr)

    def test_tokens_are_paired(self):
        tokens = np.arange(9 * 1024, dtype=np.float32).reshape(9, 1024)
        np.save(self.root / "features.npy", tokens)
        folder, _, _, _ = self.made()
        np.testing.assert_array_equal(np.load(folder / "features.npy"), tokens[:8].reshape(4, 2048))

    def test_names_that_the_server_refuses_are_refused(self):
        for name in ("my face", ".hidden", "a/b", "", "x" * 65, "ümlaut"):
            self.refused("--name", "letters, digits", name=name)

    def test_missing_files_are_named(self):
        self.refused("nothing.npy", "no such file", features=False, options=("--features", "nothing.npy"))
        self.refused("empty", "no such folder", crops=("--landmarks", "empty"))
        self.refused("give --encoder", features=False)

    def test_an_interrupted_run_leaves_nothing(self):
        for number in range(3, 400):
            (self.root / f"frames/{number}.jpg").symlink_to("0.jpg")
            (self.root / f"landmarks/{number}.lms").symlink_to("0.lms")
        command = [sys.executable, TOOL, "--family", "ultralight", "--name", "face", "--out", "out", "--unet", "unet.onnx",
                   "--frames", "frames", "--landmarks", "landmarks", "--features", "features.npy"]
        run = subprocess.Popen(command, cwd=self.root, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        out = self.root / "out"
        while run.poll() is None and not (out.exists() and any(out.iterdir())):
            time.sleep(0.001)
        run.send_signal(signal.SIGTERM)
        run.wait(60)
        left = [file.name for file in out.iterdir()]
        self.assertIn(left, ([], ["face"]), "a whole package or nothing")


if __name__ == "__main__":
    unittest.main()
