"""What goes over the wire and what is made of it: frames, errors, binary layouts. Without input and output."""

import dataclasses
import struct

BINARY, STREAM = "lipsync.v1", "lipsync.v2"  # subprotocols
AUDIO_TYPE, FRAME_TYPE = 0x01, 0x81  # first byte of a binary message of version 2
IDLE, HELD, LAST = 1, 2, 4  # flags of a frame
FRAME_HEAD = struct.Struct("<BBHIIIQII4f")
AUDIO_HEAD = struct.Struct("<BBHIQ")

MAX_NAME_BYTES = 128
MAX_FRAME_ID = (1 << 32) - 1
MAX_REQUEST_AUDIO_BYTES = 960_000

PASSING = frozenset({"busy", "not_loaded", "shutting_down"})
"""Error codes that pass by themselves."""


class LipsyncError(Exception):
    """The server refused: `code` is one of docs/PROTOCOL.md, or one of the subclasses'. `details`: the whole message."""

    def __init__(self, code, text, details=None):
        super().__init__(f"{code}: {text}")
        self.code = code
        self.details = details or {}


class Disconnected(LipsyncError):
    """The connection broke, or none could be made in time."""

    def __init__(self, text):
        super().__init__("disconnected", text)


class Refused(LipsyncError):
    """The handshake was answered with something that does not change by itself. `status`: of HTTP, or None."""

    def __init__(self, text, status=None):
        super().__init__("refused", text)
        self.status = status


class StreamClosed(LipsyncError):
    """The stream is closed; `reason` is the server's, or `client`."""

    def __init__(self, reason):
        super().__init__("closed", f"the stream was closed ({reason})")
        self.reason = reason


def error_of(message):
    """The error that a JSON message tells."""
    return LipsyncError(message["code"], message["error"], message)


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame. Without `jpeg`, show idle frame `avatar_frame` (`idle`), or the image before (`held`)."""

    sequence: int
    avatar_frame: int | None
    bounds: tuple[float, float, float, float]
    jpeg: bytes | None
    idle: bool = False
    held: bool = False
    last: bool = False
    sample: int = 0
    """Show the frame while this sample of the audio is heard."""
    compute_ms: float = 0.0


def encode_request(model, frame_id, pcm):
    """A request of version 1. What could not be matched with its answer, or would end the connection, is refused here."""
    name = model.encode()
    if len(name) > MAX_NAME_BYTES:
        raise LipsyncError("too_large", f"the model name has {len(name)} bytes; at most {MAX_NAME_BYTES} are taken")
    if not 0 <= frame_id <= MAX_FRAME_ID:
        raise LipsyncError("bad_value", f"frame_id is {frame_id}; it must be from 0 to {MAX_FRAME_ID}")
    if len(pcm) > MAX_REQUEST_AUDIO_BYTES:
        text = f"{len(pcm)} bytes of audio for one frame; at most {MAX_REQUEST_AUDIO_BYTES} are taken, use speak()"
        raise LipsyncError("too_large", text)
    return struct.pack("<I", len(name)) + name + struct.pack("<II", frame_id, len(pcm)) + pcm


def decode_reply(message):
    """(frame_id, Frame or LipsyncError) of a binary reply of version 1."""
    status, frame_id, length = struct.unpack_from("<BII", message)
    body = message[9 : 9 + length]
    if status == 1:
        return frame_id, Frame(frame_id, None, struct.unpack_from("<4f", message, 9 + length + 4), body)
    code, _, text = body.decode().partition(": ")
    return frame_id, LipsyncError(code, text)


def encode_audio(stream, epoch, first_sample, pcm):
    return AUDIO_HEAD.pack(AUDIO_TYPE, 0, stream, epoch, first_sample) + pcm


def decode_stream_frame(message):
    """(stream, epoch, Frame) of a binary message of version 2; None where it is none."""
    if message[0] != FRAME_TYPE:
        return None
    _, flags, stream, epoch, sequence, avatar, sample, _, compute_us, *bounds = FRAME_HEAD.unpack_from(message)
    frame = Frame(
        sequence,
        avatar,
        tuple(bounds),
        message[FRAME_HEAD.size :] or None,
        idle=bool(flags & IDLE),
        held=bool(flags & HELD),
        last=bool(flags & LAST),
        sample=sample,
        compute_ms=compute_us / 1000,
    )
    return stream, epoch, frame
