#!/usr/bin/env python3
"""Writes the golden messages of this folder from docs/PROTOCOL.md's tables alone, without the server's code.

Run it in this folder when the protocol gains a message; the tests compare the code with the files.
"""
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
JPEG = bytes.fromhex("ffd8ffd9")  # the shortest thing that begins and ends like a JPEG
BOUNDS = (1.5, 2.0, 3.25, 4.0)
PCM = struct.pack("<2h", 1, -1)


def sized(data):
    return struct.pack("<I", len(data)) + data


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def v1_request(name, frame, audio):
    return sized(name) + struct.pack("<I", frame) + sized(audio)


def v1_reply(frame, timed=None):
    head = b"\x01" + struct.pack("<I", frame) + (struct.pack("<I", timed) if timed is not None else b"")
    return head + sized(JPEG) + sized(struct.pack("<4f", *BOUNDS))


def v1_error(frame, text, timed=None):
    head = b"\x00" + struct.pack("<I", frame) + (struct.pack("<I", timed) if timed is not None else b"")
    return head + sized(text)


def pb_response(frame):
    return (
        field(1, 1)
        + field(2, JPEG)
        + field(3, struct.pack("<4f", *BOUNDS))
        + field(4, 21)
        + field(5, b"face")
        + field(6, frame)
        + field(8, b"160x160")
        + field(11, b"r1")
    )


def pb_error(frame):
    return field(4, 21) + field(6, frame) + field(9, b"try again") + field(10, b"busy") + field(11, b"r1")


def v2_frame(flags, compute, image):
    head = struct.pack("<BBHIIIQII4f", 0x81, flags, 1, 2, 3, 9, 2880, 24000, compute, *BOUNDS)
    assert len(head) == 48
    return head + image


FILES = {
    "v1-request": v1_request(b"face", 7, PCM),
    "v1-request-own-audio": v1_request(b"face", 7, b""),
    "v1-reply": v1_reply(7),
    "v1-timed-reply": v1_reply(7, 21),
    "v1-error": v1_error(7, b"busy: try again"),
    "v1-timed-error": v1_error(7, b"busy: try again", 21),
    "protobuf-request": field(1, b"face") + field(2, 7) + field(4, PCM) + field(5, 16000) + field(6, b"r1"),
    "protobuf-request-base64": field(1, b"face") + field(2, 7) + field(3, b"AQD//w=="),
    "protobuf-batch-request": field(1, b"face") + field(2, varint(7) + varint(300)) + field(6, b"r1"),
    "protobuf-response": pb_response(7),
    "protobuf-error": pb_error(7),
    "protobuf-batch-response": field(1, pb_response(7)) + field(1, pb_error(300)) + field(2, 42) + field(3, b"r1"),
    "v2-audio": struct.pack("<BBHIQ", 1, 0, 1, 2, 48000) + PCM,
    "v2-frame": v2_frame(4, 17500, JPEG),
    "v2-frame-idle": v2_frame(1, 0, b""),
}

for name, data in FILES.items():
    (HERE / f"{name}.bin").write_bytes(data)
