"""What a JPEG says of itself, and whether it is whole; other pictures, and those that the server does not take as they
are, are made JPEGs of three colours by OpenCV."""

import os
import struct

QUALITY = 95  # of pictures that have to be encoded anew
HUFFMAN = (0xC0, 0xC1, 0xC2)  # frame headers of baseline, extended and progressive JPEGs; the others nobody reads


class PictureError(ValueError):
    """The picture cannot be used, in words."""


class Jpeg:
    """Size, components and orientation of a whole JPEG."""

    def __init__(self, content):
        self.size, self.components, self.orientation, self.is_rgb, self.coding = None, 0, 1, False, None
        if content[:2] != b"\xff\xd8":
            raise PictureError("is not a JPEG")
        at, is_whole = 2, False
        while not is_whole:
            marker, at = self._marker(content, at)
            if marker == 0xD9:
                is_whole = True
            elif 0xD0 <= marker <= 0xD7 or marker == 0x01:
                continue
            else:
                if at + 2 > len(content):
                    raise PictureError("ends early: the JPEG is cut off")
                length = struct.unpack(">H", content[at:at + 2])[0]
                if at + length > len(content):
                    raise PictureError("ends early: the JPEG is cut off")
                self._segment(marker, content[at + 2:at + length])
                at += length
                if marker == 0xDA:
                    at = self._end_of_scan(content, at)
        if self.size is None:
            raise PictureError("is a JPEG without a picture")

    @staticmethod
    def _marker(content, at):
        if at + 2 > len(content):
            raise PictureError("ends early: the JPEG is cut off")
        if content[at] != 0xFF:
            raise PictureError("is a broken JPEG")
        while at + 1 < len(content) and content[at + 1] == 0xFF:
            at += 1
        if at + 1 >= len(content):
            raise PictureError("ends early: the JPEG is cut off")
        return content[at + 1], at + 2

    @staticmethod
    def _end_of_scan(content, at):
        """Where the next marker after compressed data is: 0xFF not followed by 0 or a restart marker."""
        while True:
            at = content.find(b"\xff", at)
            if at < 0 or at + 1 >= len(content):
                raise PictureError("ends early: the JPEG is cut off")
            follows = content[at + 1]
            if follows != 0 and not 0xD0 <= follows <= 0xD7 and follows != 0xFF:
                return at
            at += 1 if follows == 0xFF else 2

    def _segment(self, marker, data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if len(data) < 6:
                raise PictureError("is a broken JPEG")
            precision, height, width, self.components = struct.unpack(">BHHB", data[:6])
            if precision != 8:
                raise PictureError(f"has {precision} bits a colour, 8 are served")
            if not width or not height:
                raise PictureError("is a JPEG of no size")
            self.size, self.coding = (width, height), marker
            if self.components == 3 and data[6::3][:3] == b"RGB":
                self.is_rgb = True
        elif marker == 0xEE and data[:5] == b"Adobe" and len(data) >= 12:
            self.is_rgb = self.is_rgb or data[11] == 0
        elif marker == 0xE1 and data[:6] == b"Exif\0\0":
            self.orientation = exif_orientation(data[6:]) or self.orientation

    def is_served_as_it_is(self):
        """Upright, grey or YCbCr, Huffman-coded: what the server and a browser read alike."""
        return self.orientation == 1 and self.coding in HUFFMAN and (self.components == 1 or (self.components == 3 and not self.is_rgb))


def exif_orientation(tiff):
    """1 to 8, or None where it is not said."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return None
    at = struct.unpack(order + "I", tiff[4:8])[0]
    if at + 2 > len(tiff):
        return None
    for entry in range(struct.unpack(order + "H", tiff[at:at + 2])[0]):
        field = tiff[at + 2 + 12 * entry:at + 14 + 12 * entry]
        if len(field) == 12 and struct.unpack(order + "H", field[:2])[0] == 0x0112:
            value = struct.unpack(order + "H", field[8:10])[0]
            return value if 1 <= value <= 8 else None
    return None


def served(file):
    """The file as a JPEG that the server takes, its size, and whether it had to be encoded anew."""
    content = file.read_bytes()
    if not content:
        raise PictureError("is empty")
    if content[:2] == b"\xff\xd8":
        jpeg = Jpeg(content)
        if jpeg.is_served_as_it_is():
            return content, jpeg.size, False
    return encoded_anew(file) + (True,)


def encoded_anew(file):
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what is wrong is told here
    try:
        import cv2
    except ImportError:
        raise PictureError("is not a JPEG that is served as it is (a PNG, turned by EXIF, CMYK or RGB): `pip install "
                           "opencv-python-headless`, and it is converted, or convert the frames to upright JPEGs") from None
    # As training code reads it: turned upright, three colours of 8 bits.
    picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if picture is None:
        raise PictureError("cannot be read as a picture: it is damaged, or of a kind that OpenCV does not know")
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    if hasattr(cv2, "IMWRITE_JPEG_SAMPLING_FACTOR"):
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    is_made, jpeg = cv2.imencode(".jpg", picture, options)
    if not is_made:
        raise PictureError("cannot be encoded as a JPEG")
    return jpeg.tobytes(), (picture.shape[1], picture.shape[0])
