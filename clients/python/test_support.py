"""What the tests of lipsync.py share: speech, and proxies that break or refuse."""

import asyncio
import contextlib
import json
import math
import struct
import time

import websockets

from lipsync.messages import AUDIO_TYPE, BINARY, STREAM

SECONDS = 2.0


def speech(rate, seconds=SECONDS):
    samples = (
        int(5000 * math.sin(2 * math.pi * 150 * n / rate) * (1 + math.sin(2 * math.pi * 3 * n / rate)))
        for n in range(int(rate * seconds))
    )
    return struct.pack(f"<{int(rate * seconds)}h", *samples)


class Proxy:
    """A TCP proxy that can cut its connections."""

    def __init__(self, port):
        self.target, self.writers = port, []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        self.cut()

    def cut(self):
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()

    async def serve(self, reader, writer):
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self.writers += [writer, other_writer]

        async def copy(source, sink):
            with contextlib.suppress(OSError):
                while data := await source.read(4096):
                    sink.write(data)
                    await sink.drain()
            sink.close()

        await asyncio.gather(copy(reader, other_writer), copy(other_reader, writer))


def complete(sequences):
    """Every frame of the speech, and in stream mode a few more while the mouth closes."""
    wanted = math.ceil(SECONDS * 25)
    assert wanted <= len(sequences) <= wanted + 5, sequences
    assert sequences == list(range(len(sequences))), sequences


class Gate:
    """A WebSocket proxy that answers the first requests for speech itself: `refusals` are codes."""

    def __init__(self, server, refusals):
        self.server, self.refusals = server, list(refusals)

    async def __aenter__(self):
        self.listener = await websockets.serve(self.serve, "127.0.0.1", 0, subprotocols=[STREAM, BINARY])
        self.url = f"ws://127.0.0.1:{self.listener.sockets[0].getsockname()[1]}/ws"
        return self

    async def __aexit__(self, *_):
        self.listener.close()

    async def serve(self, client):
        async with websockets.connect(self.server.url(), subprotocols=[client.subprotocol]) as behind:
            back = asyncio.create_task(self.copy(behind, client))
            async for message in client:
                if self.refusals and (answer := self.refuse(message)):
                    await client.send(answer)
                else:
                    await behind.send(message)
            back.cancel()

    @staticmethod
    async def copy(source, sink):
        with contextlib.suppress(websockets.ConnectionClosed):
            async for message in source:
                await sink.send(message)

    def refuse(self, message):
        if isinstance(message, bytes) and message[0] != AUDIO_TYPE:
            (name_bytes,) = struct.unpack_from("<I", message)
            frame_id = message[4 + name_bytes : 8 + name_bytes]
            text = f"{self.refusals.pop(0)}: not now".encode()
            return b"\0" + frame_id + struct.pack("<I", len(text)) + text
        if isinstance(message, str) and (asked := json.loads(message))["type"] == "open":
            code = self.refusals.pop(0)
            kind = "busy" if code == "busy" else "error"
            return json.dumps({"type": kind, "success": False, "code": code, "error": "not now", "stream": asked["stream"]})
        return None


MODES = {"stream": ("stream", "binary"), "binary": ("binary",), "json": ()}
PATIENT = {"stream": {"max_delay_ms": 60_000}, "binary": {}, "json": {}}


def tone(rate, seconds, hertz):
    count = int(rate * seconds)
    return struct.pack(f"<{count}h", *(int(8000 * math.sin(2 * math.pi * hertz * n / rate)) for n in range(count)))


TWO_PIECES = [tone(24_000, 0.64, 120), tone(24_000, 0.64, 900)]


async def said(client, model, audio, **options):
    return [(f.sequence, f.jpeg) async for f in client.speak(model, audio, **PATIENT[client.mode], **options)]


async def nothing_left(client):
    """Answers to what was given up come yet; then nothing is kept."""
    connection = client._connection
    deadline = time.monotonic() + 10
    while any(left := [connection._replies, connection._frames, connection._streams]):
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.05)
