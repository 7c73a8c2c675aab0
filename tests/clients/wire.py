"""The wire, written from docs/PROTOCOL.md alone: encoders of requests, decoders of replies.

A decoder raises ValueError where a reply does not have exactly the layout of the document.
"""

import base64
import json
import struct


# Binary, version 1


def v1_request(model, frame, pcm=b""):
    name = model.encode() if isinstance(model, str) else model
    return struct.pack("<I", len(name)) + name + struct.pack("<II", frame, len(pcm)) + pcm


def v1_reply(message, timed=False):
    """A frame as dict(frame, image, bounds), an error as dict(frame, code, error)."""
    take = Taker(message)
    status, frame = take.unpack("<BI")
    reply = {"frame": frame}
    if timed:
        (reply["ms"],) = take.unpack("<I")
    if status == 1:
        reply["image"] = take.bytes(*take.unpack("<I"))
        (length,) = take.unpack("<I")
        if length != 16:
            raise ValueError(f"bounds_len is {length}")
        reply["bounds"] = take.unpack("<4f")
    elif status == 0:
        text = take.bytes(*take.unpack("<I")).decode()
        reply["code"], reply["error"] = text.split(": ", 1)
    else:
        raise ValueError(f"status is {status}")
    take.end()
    return reply


# JSON


def json_request(model, frame, pcm=None, rate=None, **more):
    message = {"model_name": model, "frame_id": frame, **more}
    if pcm is not None:
        message["audio_override"] = base64.b64encode(pcm).decode()
    if rate is not None:
        message["sample_rate"] = rate
    return json.dumps(message)


def json_reply(text):
    """As v1_reply, with everything else under "json"."""
    message = json.loads(text)
    reply = {"frame": message.get("frame_id"), "json": message}
    if message.get("success") is False:
        return reply | {"code": message["code"], "error": message["error"]}
    if "prediction_data" in message:
        reply["image"] = base64.b64decode(message["prediction_data"], validate=True)
        # The shortest digits that name the f32: as an f32 they are the number that the other protocols carry.
        reply["bounds"] = struct.unpack("<4f", struct.pack("<4f", *message["bounds"]))
    return reply


# Protobuf: as much as the messages of lipsyncsrv.proto need


def varint(value):
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(message):
    take = Taker(message)
    while take.left():
        key = take.varint()
        if key & 7 == 0:
            yield key >> 3, take.varint()
        elif key & 7 == 2:
            yield key >> 3, take.bytes(take.varint())
        else:
            raise ValueError(f"wire type {key & 7} is not used by lipsyncsrv.proto")


def protobuf_request(model, frame, pcm=None, as_base64=False, rate=None, request_id=None):
    out = field(1, model) + (field(2, frame) if frame else b"")
    if pcm is not None:
        out += field(3, base64.b64encode(pcm)) if as_base64 else field(4, pcm)
    if rate:
        out += field(5, rate)
    return out + (field(6, request_id) if request_id else b"")


def protobuf_batch(model, frames, pcm=None):
    out = field(1, model) + field(2, b"".join(map(varint, frames)))
    return out + (field(4, pcm) if pcm is not None else b"")


def protobuf_reply(message):
    """One reply, or for a batch dict(batch=[replies])."""
    if message[:1] == b"\x0a":
        return {"batch": [protobuf_response(value) for number, value in fields(message) if number == 1]}
    return protobuf_response(message)


def protobuf_response(message):
    values = dict(fields(message))
    reply = {"frame": values.get(6, 0), "request_id": values.get(11, b"").decode()}
    if values.get(1):
        reply["image"] = values[2]
        reply["bounds"] = struct.unpack("<4f", values[3])
        reply["model"] = values[5].decode()
        reply["shape"] = values[8].decode()
    else:
        reply["error"], reply["code"] = values[9].decode(), values[10].decode()
    return reply


# Stream mode, version 2

IDLE, HELD, LAST = 1, 2, 4


def stream_audio(stream, epoch, first_sample, pcm):
    return struct.pack("<BBHIQ", 0x01, 0, stream, epoch, first_sample) + pcm


def stream_frame(message):
    names = ("type", "flags", "stream", "epoch", "sequence", "avatar_frame", "sample", "rate", "compute_us")
    head = Taker(message)
    frame = dict(zip(names, head.unpack("<BBHIIIQII")))
    if frame["type"] != 0x81:
        raise ValueError(f"message type {frame['type']:#x}")
    frame["bounds"] = head.unpack("<4f")
    frame["image"] = head.bytes(head.left())
    if bool(frame["image"]) == bool(frame["flags"] & (IDLE | HELD)):
        raise ValueError(f"flags {frame['flags']} with an image of {len(frame['image'])} bytes")
    return frame


class Taker:
    """Takes a message apart from front to back."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def left(self):
        return len(self.data) - self.at

    def bytes(self, count):
        if count > self.left():
            raise ValueError(f"{count} bytes wanted at {self.at}, {self.left()} left")
        self.at += count
        return self.data[self.at - count : self.at]

    def unpack(self, layout):
        return struct.unpack(layout, self.bytes(struct.calcsize(layout)))

    def varint(self):
        value = shift = 0
        while True:
            (byte,) = self.bytes(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def end(self):
        if self.left():
            raise ValueError(f"{self.left()} bytes left over")
