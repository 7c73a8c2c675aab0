"""A client of the WebSocket for tests, written from docs/PROTOCOL.md alone, and what tests say of its replies."""

import contextlib
import json
import math
import struct

from websockets.sync.client import connect

import wire

BINARY, TIMED, PROTOBUF, STREAM = "lipsync.v1", "lipsync.v1.timed", "lipsync.protobuf", "lipsync.v2"


def speech(rate, seconds=0.64):
    """Something like a vowel: a pitch of 140 Hz with overtones, louder and softer at 4 Hz."""
    samples = []
    for n in range(int(rate * seconds)):
        t = n / rate
        tone = sum(math.sin(2 * math.pi * 140 * k * t) / k for k in range(1, 12))
        samples.append(int(6000 * tone * (0.6 + 0.4 * math.sin(2 * math.pi * 4 * t))))
    return struct.pack(f"<{len(samples)}h", *samples)


class Client:
    """One connection. ask() sends one message and takes one reply, read as its protocol says."""

    def __init__(self, server, subprotocol=None, path="/ws"):
        offers = [subprotocol] if isinstance(subprotocol, str) else subprotocol
        self.stack = contextlib.ExitStack()
        opening = connect(
            server.url(path), subprotocols=offers, compression=None, max_size=64 << 20, open_timeout=10
        )
        self.socket = self.stack.enter_context(opening)
        self.subprotocol = self.socket.subprotocol
        self.bytes_in = 0

    def send(self, message):
        self.socket.send(message)

    def receive(self, timeout=30):
        message = self.socket.recv(timeout=timeout)
        self.bytes_in = len(message)
        if isinstance(message, str):
            return wire.json_reply(message)
        if self.subprotocol == PROTOBUF:
            return wire.protobuf_reply(message)
        if self.subprotocol == STREAM:
            return wire.stream_frame(message)
        return wire.v1_reply(message, timed=self.subprotocol == TIMED)

    def ask(self, message):
        self.send(message)
        return self.receive()

    def control(self, kind, **fields):
        return self.ask(json.dumps({"type": kind, **fields}))["json"]

    def __enter__(self):
        return self

    def close(self):
        self.stack.close()

    def __exit__(self, *_):
        self.close()


def same(found, wanted, what):
    if found != wanted:
        raise AssertionError(f"{what}: {str(found)[:200]!r}, not {str(wanted)[:200]!r}")


def holds(condition, what):
    if not condition:
        raise AssertionError(what)
