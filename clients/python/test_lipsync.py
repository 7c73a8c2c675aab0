#!/usr/bin/env python3
"""Tests lipsync.py against a server: python3 clients/python/test_lipsync.py SERVER_BINARY [-- SERVER ARGUMENTS]"""

import argparse
import asyncio
import contextlib
import math
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "tests" / "clients")]

import lipsync  # noqa: E402
from server import Server, server_arguments  # noqa: E402

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


async def all_frames(client, model, audio, rate, **options):
    frames = [frame async for frame in client.speak(model, audio, sample_rate=rate, **options)]
    complete([frame.sequence for frame in frames])
    assert [frame.sample for frame in frames] == [n * rate // 25 for n in range(len(frames))]
    assert frames[-1].last and not any(frame.last for frame in frames[:-1])
    assert all(frame.idle or frame.held or frame.jpeg.startswith(b"\xff\xd8") for frame in frames)
    return frames


async def speaks(url, mode, model, **options):
    async with lipsync.Client(url, **options) as client:
        assert client.mode == mode, client.mode
        assert model in [entry["name"] for entry in await client.models()]
        for rate in (24_000, 16_000):
            await all_frames(client, model, speech(rate), rate, **({"max_delay_ms": 60_000} if mode == "stream" else {}))
        single = await client.frame(model, 3, speech(24_000, 0.64))
        assert single.jpeg.startswith(b"\xff\xd8")
        try:
            await client.frame("no such face", 3)
        except lipsync.LipsyncError as error:
            assert error.code == "unknown_model", error
        else:
            raise AssertionError("an unknown model is refused")


async def takes_audio_as_it_comes(url, model):
    async def live():
        pcm = speech(24_000)
        for begin in range(0, len(pcm), 3_210):
            await asyncio.sleep(0.02)
            yield pcm[begin : begin + 3_210]

    async with lipsync.Client(url) as client:
        await all_frames(client, model, live(), 24_000, max_delay_ms=60_000)


async def survives_a_cut(port, model, **options):
    events = []
    async with Proxy(port) as proxy:
        on_event = lambda kind, details: events.append(kind)  # noqa: E731
        url = f"ws://127.0.0.1:{proxy.port}/ws"
        async with lipsync.Client(url, on_event=on_event, **options) as client:
            seen = []
            more = {"max_delay_ms": 60_000} if client.mode == "stream" else {}
            async for frame in client.speak(model, speech(24_000), **more):
                seen.append(frame.sequence)
                if frame.sequence in (10, 30):
                    proxy.cut()
            complete(seen)
    assert events.count("connected") >= 2, events


async def asks_again_after_a_break(port, model):
    """A request that was begun on a broken connection takes nothing from one on the next."""
    async with Proxy(port) as proxy:
        async with lipsync.Client(f"ws://127.0.0.1:{proxy.port}/ws", protocols=("binary",)) as client:
            proxy.cut()
            await client._reader
            try:
                await client.frame(model, 3)
            except lipsync.Disconnected:
                pass
            else:
                raise AssertionError("a broken connection brings no frame")
            await client._connect()
            frame = await asyncio.wait_for(client.frame(model, 3), 30)
            assert frame.jpeg.startswith(b"\xff\xd8")


async def survives_a_restart(binary, arguments, model):
    server = Server(binary, *arguments)
    try:
        async with lipsync.Client(server.url()) as client:
            first = await client.frame(model, 0)
            server.stop()
            again = Server(binary, *arguments, port=server.port)
            try:
                seen = [f.sequence async for f in client.speak(model, speech(24_000), max_delay_ms=60_000)]
                complete(seen)
            finally:
                again.stop()
        assert first.jpeg
    finally:
        server.stop()


async def interrupts(url, model):
    async with lipsync.Client(url) as client:
        stream = await client.open_stream(model, sample_rate=24_000)
        await stream.send(speech(24_000))
        first = await anext(stream)
        assert first.sequence == 0
        await stream.interrupt()
        await stream.send(speech(24_000, 0.5))
        await stream.end()
        sequences = []
        async for frame in stream:
            sequences.append(frame.sequence)
            if frame.last:
                break
        assert sequences == sorted(set(sequences)) and 12 <= sequences[-1] <= 17, sequences
        await stream.close()


async def main(options):
    binary, arguments = options.binary, options.arguments
    with Server(binary, *arguments) as server:
        async with lipsync.Client(server.url()) as client:
            model = options.model or (await client.models())[0]["name"]
        await speaks(server.url(), "binary", model, protocols=("binary",))
        print("ok    binary")
        await survives_a_cut(server.port, model, protocols=("binary",))
        print("ok    a cut connection, frame by frame")
        await asks_again_after_a_break(server.port, model)
        print("ok    asking again after a break")
        await speaks(server.url(), "stream", model)
        print("ok    stream")
        await takes_audio_as_it_comes(server.url(), model)
        print("ok    audio as it comes")
        await interrupts(server.url(), model)
        print("ok    interrupt")
        await survives_a_cut(server.port, model)
        print("ok    a cut connection, streaming")
    with Server(binary, "--protocols", "json", *arguments) as server:
        await speaks(server.url(), "json", model)
        print("ok    fall-back to JSON")
    await survives_a_restart(binary, arguments, model)
    print("ok    a server that was restarted")
    print("all held")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary")
    parser.add_argument("--model")
    asyncio.run(main(server_arguments(parser)))
