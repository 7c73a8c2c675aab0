#!/usr/bin/env python3
"""Tests lipsync.py against a server: python3 clients/python/test_lipsync.py SERVER_BINARY [-- SERVER ARGUMENTS]"""

import argparse
import asyncio
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "tests" / "clients")]

import lipsync  # noqa: E402
import test_situations as situations  # noqa: E402
from server import Server, server_arguments  # noqa: E402
from test_support import MODES, TWO_PIECES, Proxy, complete, speech  # noqa: E402


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
    """A request of a broken connection takes nothing from one on the next; one that finds it broken connects first."""
    async with Proxy(port) as proxy:
        async with lipsync.Client(f"ws://127.0.0.1:{proxy.port}/ws", protocols=("binary",)) as client:
            alone = [(await client.frame(model, 3, piece)).jpeg for piece in TWO_PIECES]
            under_way = asyncio.create_task(client.frame(model, 3, TWO_PIECES[0]))
            await asyncio.sleep(0)
            proxy.cut()
            again = await asyncio.wait_for(client.frame(model, 3, TWO_PIECES[1]), 30)
            assert [(await asyncio.wait_for(under_way, 30)).jpeg, again.jpeg] == alone


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
    only = options.only

    async def hold(name, test, *values, **more):
        if only in name:
            await test(*values, **more)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            if left:
                await asyncio.wait(left, timeout=5)
            print(f"ok    {name}", flush=True)

    with Server(binary, *arguments) as server:
        url, port = server.url(), server.port
        async with lipsync.Client(url) as client:
            model = options.model or (await client.models())[0]["name"]
        await hold("binary", speaks, url, "binary", model, protocols=("binary",))
        await hold("a cut connection, frame by frame", survives_a_cut, port, model, protocols=("binary",))
        await hold("asking again after a break", asks_again_after_a_break, port, model)
        await hold("stream", speaks, url, "stream", model)
        await hold("audio as it comes", takes_audio_as_it_comes, url, model)
        await hold("interrupt", interrupts, url, model)
        await hold("a cut connection, streaming", survives_a_cut, port, model)
        await hold("a cut connection, live audio", situations.live_audio_survives_a_cut, port, model)
        for mode in MODES:
            await hold(f"two at once, {mode}", situations.two_at_once, url, model, mode)
            await hold(f"audio that fails, {mode}", situations.failing_audio, server, model, mode)
        await hold("one frame number twice", situations.one_number_twice, url, model)
        await hold("pieces cut in samples", situations.cut_in_samples, url, model)
        await hold("busy and not loaded", situations.passes_by_itself, server, model)
        await hold("handshakes that are refused", situations.refused_handshakes, server)
        await hold("giving up while connecting", situations.gives_up_while_connecting, port, model)
    with Server(binary, "--protocols", "json", *arguments) as server:
        await hold("fall-back to JSON", speaks, server.url(), "json", model)
    await hold("more requests than are taken", situations.more_requests_than_taken, binary, arguments, model)
    await hold("a long speech at once", situations.long_speech, binary, arguments, model)
    await hold("sends that wait", situations.sends_that_wait, binary, arguments, model)
    await hold("a server that was restarted", survives_a_restart, binary, arguments, model)
    await hold("a restart in mid-sentence", situations.restarts_while_loading, binary, arguments, model)
    print("all held")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary")
    parser.add_argument("--model")
    parser.add_argument("--only", default="", help="run the tests whose names contain this")
    asyncio.run(main(server_arguments(parser)))
