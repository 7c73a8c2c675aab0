"""Frames and their crops, paired by their own numbers: what does not pair is refused, never passed over."""

import json
import math
import re

LANDMARKS = 110
LEFT, TOP, RIGHT = 1, 52, 31  # landmarks that bound the crop
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
LANDMARK_FILES = (".lms", ".txt")


class PairingError(ValueError):
    """Frames and crops do not belong together, in words."""


def numbered(folder, suffixes, what):
    """The folder's files of these endings by their number."""
    if not folder.is_dir():
        raise PairingError(f"{folder}: there is no such folder of {what}")
    files, named, others = {}, [], []  # by number; of another name; of another kind
    for file in sorted(folder.iterdir()):
        if file.name.startswith("."):
            continue
        if file.suffix.lower() not in suffixes:
            others.append(file.name)
        elif not re.fullmatch(r"[0-9]+", file.stem):
            named.append(file.name)
        elif int(file.stem) in files:
            raise PairingError(f"{folder}: {files[int(file.stem)].name} and {file.name} have the same number")
        elif not file.is_file():
            raise PairingError(f"{file}: is not a file" + (" (a link to nothing)" if file.is_symlink() else ""))
        else:
            files[int(file.stem)] = file
    if not files and named:
        raise PairingError(f"{folder}: {named[0]}{more(named)} has no number for a name: call the {what} 0{suffixes[0]}, 1{suffixes[0]}, …")
    if not files:
        found = f"; {others[0]}{more(others)} is of another kind" if others else "; it is empty"
        raise PairingError(f"{folder}: there are no numbered {what} ({', '.join(suffixes)}){found}")
    if named:
        raise PairingError(f"{folder}: {named[0]}{more(named)} has no number for a name, as the other {what} have")
    return files


def more(items):
    return f" (and {len(items) - 1} more)" if len(items) > 1 else ""


def some(numbers):
    """A few numbers, in words."""
    numbers = sorted(numbers)
    shown = ", ".join(map(str, numbers[:8]))
    return shown + (f", … ({len(numbers)} in all)" if len(numbers) > 8 else "")


def crop_of_landmarks(file):
    """The square crop of a file of 110 landmarks `x y`."""
    points = []
    for at, line in enumerate(file.read_text("utf-8-sig", errors="replace").splitlines(), 1):
        words = line.replace(",", " ").split()
        if not words:
            continue
        try:
            x, y = (float(word) for word in words)
        except ValueError:
            raise PairingError(f"{file}: line {at} must be `x y`, is {line.strip()[:40]!r}") from None
        if not (math.isfinite(x) and math.isfinite(y)):
            raise PairingError(f"{file}: line {at} is {line.strip()[:40]!r}: the tracker lost the face in this frame; "
                               "mend it, or leave the frame and its landmarks out")
        points.append((int(x), int(y)))
    if len(points) != LANDMARKS:
        scheme = " (the scheme of face_alignment and dlib)" if len(points) == 68 else ""
        raise PairingError(f"{file}: has {len(points)} points{scheme}, {LANDMARKS} are needed: the landmarks of the "
                           "network's own training code, whose crop the network knows; other crops can be given by --bounds")
    x1, y1, x2 = points[LEFT][0], points[TOP][1], points[RIGHT][0]
    if x2 <= x1:
        raise PairingError(f"{file}: point {RIGHT} (x {x2}) must lie to the right of point {LEFT} (x {x1})")
    return [x1, y1, x2, y1 + (x2 - x1)]


def crops_of_bounds(file, numbers):
    """Crops by frame number: from a list, one a frame in their order, or from an object of numbers."""
    try:
        crops = json.loads(file.read_text())
    except ValueError as error:
        raise PairingError(f"{file}: is not JSON: {error}") from None
    if isinstance(crops, list):
        if len(crops) != len(numbers):
            raise PairingError(f"{file}: has {len(crops)} crops for {len(numbers)} frames; one a frame is needed")
        crops = dict(zip(sorted(numbers), crops))
    elif isinstance(crops, dict) and all(re.fullmatch(r"[0-9]+", key) for key in crops):
        crops = {int(key): crop.get("rect") if isinstance(crop, dict) else crop for key, crop in crops.items()}
    else:
        raise PairingError(f"{file}: must be a list of crops [x1, y1, x2, y2], or an object of them by frame number")
    for number, crop in crops.items():
        is_crop = isinstance(crop, list) and len(crop) == 4 and all(
            isinstance(side, (int, float)) and math.isfinite(side) for side in crop)
        if not is_crop or crop[0] >= crop[2] or crop[1] >= crop[3]:
            raise PairingError(f"{file}: the crop of frame {number} must be [x1, y1, x2, y2] with x1 < x2 and y1 < y2, "
                               f"is {str(crop)[:60]}")
    return crops


def paired(frames, crops, leave_out, say):
    """The numbers that frames and crops have in common, in order: all of them, unless `leave_out`."""
    without_crop, without_frame = set(frames) - set(crops), set(crops) - set(frames)
    holes = set(range(min(frames), max(frames) + 1)) - set(frames)
    if not (without_crop or without_frame or holes):
        return sorted(frames)
    both = sorted(set(frames) & set(crops))
    words = f"{len(frames)} frames ({min(frames)} to {max(frames)}) and {len(crops)} crops ({min(crops)} to {max(crops)}) "
    words += f"have {len(both)} numbers in common; " if without_crop or without_frame else "do not follow each other; "
    if without_crop:
        words += f"frames without landmarks or crop: {some(without_crop)}; "
    if without_frame:
        words += f"landmarks or crops without frame: {some(without_frame)}; "
    if holes:
        words += f"frames that are missing: {some(holes)}; "
    shift = min(frames) - min(crops)
    if shift and len(frames) == len(crops) and max(frames) - max(crops) == shift:
        raise PairingError(words + f"one is numbered from {min(frames)}, the other from {min(crops)}: number them alike "
                           f"(ffmpeg numbers from 1; `-start_number {min(crops)}` changes it)")
    if not leave_out:
        raise PairingError(words + "number them alike, or give --leave-out unpaired to go without these")
    if not both:
        raise PairingError(words + "nothing is left")
    say(words + f"{len(both)} are taken")
    return both
