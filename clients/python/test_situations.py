"""Situations that were reported, each a function whose first line says which. Run by test_lipsync.py."""

import array
import asyncio
import json
import pathlib
import shutil
import subprocess
import tempfile
import time

import lipsync
import websockets
from server import Server
from test_support import MODES, PATIENT, TWO_PIECES, Gate, Proxy, complete, nothing_left, said, speech, tone


async def two_at_once(url, model, mode):
    """Two speak() on one client at the same time, at one rate or two: each gets its own pictures."""
    for rates in ((24_000, 24_000), (8_000, 48_000)):
        sounds = [tone(rate, 1.5, hertz) for rate, hertz in zip(rates, (120, 900))]
        async with lipsync.Client(url, protocols=MODES[mode]) as client:
            speeches = list(zip(sounds, rates))
            alone = [await said(client, model, sound, sample_rate=rate) for sound, rate in speeches]
            assert alone[0] != alone[1], "the two are heard apart"
            for _ in range(3):
                both = await asyncio.gather(*(said(client, model, sound, sample_rate=rate) for sound, rate in speeches))
                assert both == alone, f"{mode}, {rates}"
            await nothing_left(client)


async def one_number_twice(url, model):
    """Requests for one frame number at the same time, and one that was given up: none takes the other's answer."""
    async with lipsync.Client(url, protocols=("binary",)) as client:
        alone = [(await client.frame(model, 3, piece)).jpeg for piece in TWO_PIECES]
        assert (await client.frame(model, 3, array.array("h", TWO_PIECES[0]))).jpeg == alone[0]
        for _ in range(20):
            both = await asyncio.gather(*(client.frame(model, 3, piece) for piece in TWO_PIECES))
            assert [frame.jpeg for frame in both] == alone
            given_up = asyncio.create_task(client.frame(model, 3, TWO_PIECES[0]))
            await asyncio.sleep(0.001)
            given_up.cancel()
            assert (await client.frame(model, 3, TWO_PIECES[1])).jpeg == alone[1]
        speaking = client.speak(model, tone(24_000, 2, 120))
        await anext(speaking)
        await speaking.aclose()  # an utterance that is cancelled, with requests under way
        assert await said(client, model, tone(24_000, 1, 900)) == await said(client, model, tone(24_000, 1, 900))
        await client.control("configure", sample_rate=16_000)  # the user's own does not disturb a frame's rate
        assert (await client.frame(model, 3, TWO_PIECES[0])).jpeg == alone[0]
        await nothing_left(client)


async def long_speech(binary, arguments, model):
    """Much more audio at hand at once than the server takes: speak() and Stream.send() pace themselves."""
    seconds = 60
    with Server(binary, "--max-ahead-ms", "1000", *arguments) as server:
        async with lipsync.Client(server.url()) as client:
            sound = speech(24_000, seconds)
            frames = [f.sequence async for f in client.speak(model, sound, max_delay_ms=60_000)]
            assert frames[: seconds * 25] == list(range(seconds * 25)), len(frames)
            stream = await client.open_stream(model, max_delay_ms=60_000)

            async def send():
                await stream.send(sound)
                await stream.end()

            sending = asyncio.create_task(send())
            count = 0
            async for frame in stream:
                count += 1
                if frame.last:
                    break
            await sending
            assert count >= seconds * 25, count
            await stream.close()


async def cut_in_samples(url, model):
    """TTS bytes in pieces that end in the middle of a sample, through speak() and Stream.send()."""
    sound = tone(24_000, 2, 400)

    async def by_hand(size):
        stream = await client.open_stream(model, max_delay_ms=60_000, credits=500)
        for begin in range(0, len(sound), size):
            await stream.send(sound[begin : begin + size])
        await stream.send(b"x")  # half a sample at the end is none
        await stream.end()
        frames = []
        async for frame in stream:
            frames.append((frame.sequence, frame.jpeg))
            if frame.last:
                break
        await stream.close()
        return frames

    async with lipsync.Client(url) as client:
        whole = await by_hand(1920)
        for size in (1021, 333, 4063):
            assert await by_hand(size) == whole, size
            pieces = [sound[at : at + size] for at in range(0, len(sound), size)]
            assert await said(client, model, pieces) == whole, size


async def failing_audio(server, model, mode):
    """The generator of TTS chunks raises in the middle: speak() closes the mouth and raises, at once."""

    async def slow():
        sound = speech(24_000, 1)
        for begin in range(0, len(sound), 9_600):
            yield sound[begin : begin + 9_600]
            await asyncio.sleep(0.02)
        raise RuntimeError("quota exceeded")

    def plain(error):
        yield speech(24_000, 1)
        raise error

    def empty():
        raise RuntimeError("quota exceeded")
        yield b""

    sources = [slow(), plain(RuntimeError("quota exceeded")), empty(), plain(lipsync.Disconnected("quota exceeded"))]
    async with lipsync.Client(server.url(), protocols=MODES[mode]) as client:
        for source in sources:
            frames = []
            try:
                async with asyncio.timeout(10):
                    async for frame in client.speak(model, source):
                        frames.append(frame)
            except (RuntimeError, lipsync.Disconnected) as error:
                assert "quota exceeded" in str(error), error
            else:
                raise AssertionError("the error is passed on")
            assert not frames or (frames[-1].idle and not any(frame.last for frame in frames[:-1])), frames[-1]
        await nothing_left(client)
        # What is no sound is said at once, too.
        for audio in ("text", [1.0, 2.0], array.array("f", [0.0])):
            try:
                async for frame in client.speak(model, audio):
                    raise AssertionError("nothing to speak")
            except TypeError:
                pass


async def live_audio_survives_a_cut(port, model):
    """The connection breaks while the next chunk of live speech is waited for: the generator is not cancelled."""
    sound = speech(24_000)
    go_on = asyncio.Event()

    async def live():
        yield sound[: len(sound) // 2]
        await go_on.wait()
        yield sound[len(sound) // 2 :]

    async with Proxy(port) as proxy:
        async with lipsync.Client(f"ws://127.0.0.1:{proxy.port}/ws") as client:
            seen = []
            async for frame in client.speak(model, live(), max_delay_ms=60_000):
                seen.append(frame.sequence)
                if frame.sequence == 10:
                    proxy.cut()
                    asyncio.get_running_loop().call_later(0.5, go_on.set)
            complete(seen)


async def passes_by_itself(server, model):
    """`busy` and `not_loaded` are asked again, for as long as patience_s allows."""
    for mode in ("stream", "binary"):
        events = []
        on_event = lambda kind, details, events=events: events.append(kind)  # noqa: E731
        async with Gate(server, ["not_loaded", "busy", "not_loaded"]) as gate:
            async with lipsync.Client(gate.url, protocols=MODES[mode], on_event=on_event) as client:
                assert len(await said(client, model, speech(24_000, 1))) >= 25
        assert events.count("waiting") == 3, events
        async with Gate(server, ["busy"] * 1000) as gate:
            async with lipsync.Client(gate.url, protocols=MODES[mode], patience_s=0.5) as client:
                try:
                    await asyncio.wait_for(said(client, model, speech(24_000, 1)), 20)
                except lipsync.LipsyncError as error:
                    assert error.code == "busy", error
                else:
                    raise AssertionError("patience has an end")
                await nothing_left(client)


async def more_requests_than_taken(binary, arguments, model):
    """A server that takes one request at a time answers `busy` to the others; all come in the end."""
    with Server(binary, "--max-in-flight", "1", *arguments) as server:
        async with lipsync.Client(server.url(), protocols=("binary",)) as client:
            assert [n for n, _ in await said(client, model, speech(24_000, 1))] == list(range(25))
            frames = await asyncio.gather(*(client.frame(model, n) for n in range(6)))
            assert [frame.sequence for frame in frames] == list(range(6))


async def refused_handshakes(server):
    """An answer that will not change (a typo in the path, a refused origin) is told at once, in the server's words."""

    async def words_of(url, status):
        began = time.monotonic()
        try:
            async with lipsync.Client(url):
                raise AssertionError(f"{url} lets nobody in")
        except lipsync.Refused as error:
            assert error.code == "refused" and error.status == status, error
            assert time.monotonic() - began < 20
            return str(error)

    assert "/ws" in await words_of(server.url("/wss"), 404)
    answers = []

    def answer(connection, request):
        if not answers:
            return None
        status, text = answers.pop(0)
        return connection.respond(status, text)

    async def serve(socket):
        async for message in socket:
            request_id = json.loads(message)["request_id"]
            await socket.send(json.dumps({"type": "protocol_info", "protocols": [], "request_id": request_id}))

    async with websockets.serve(serve, "127.0.0.1", 0, process_request=answer) as listener:
        url = f"ws://127.0.0.1:{listener.sockets[0].getsockname()[1]}/ws"
        answers.append((403, "start the server with --allow-origin"))
        assert "--allow-origin" in await words_of(url, 403)
        page = "<html><head><title>x</title></head><body><h1>426</h1>\n<p>Upgrade needed</p></body></html>"
        answers.append((426, page))
        assert "426 Upgrade needed" in await words_of(url, 426)
        events = []
        answers.extend([(503, "starting"), (502, "bad gateway"), (429, "slowly")])
        async with lipsync.Client(url, protocols=(), on_event=lambda kind, details: events.append(kind)) as client:
            assert client.mode == "json"
        assert events.count("waiting") == 3, events


async def gives_up_while_connecting(port, model):
    """An utterance is cancelled, and the client closed, while a server that is away is tried again."""
    async with Proxy(port) as proxy:
        async with lipsync.Client(f"ws://127.0.0.1:{proxy.port}/ws") as client:
            seen = asyncio.Event()

            async def speak():
                async for _ in client.speak(model, speech(24_000, 20)):
                    seen.set()

            speaking = asyncio.create_task(speak())
            other = asyncio.create_task(speak())
            await seen.wait()
            proxy.server.close()
            proxy.cut()
            await asyncio.sleep(0.5)
            speaking.cancel()
            await asyncio.wait({speaking}, timeout=5)
            assert speaking.cancelled()
            await asyncio.wait_for(client.close(), 5)
            try:
                await asyncio.wait_for(other, 5)
            except lipsync.Disconnected as error:
                assert "closed" in str(error), error
            else:
                raise AssertionError("a closed client does not speak")


async def sends_that_wait(binary, arguments, model):
    """A send() waits for room: interrupt() voids it, close() of the stream or the client ends it."""
    with Server(binary, "--max-ahead-ms", "1000", *arguments) as server:
        async with lipsync.Client(server.url()) as client:
            stream = await client.open_stream(model, credits=5)
            sending = asyncio.create_task(stream.send(speech(24_000, 30)))
            await asyncio.sleep(0.5)
            assert not sending.done(), "nobody takes frames"
            await stream.interrupt()
            await asyncio.wait_for(sending, 5)
            await stream.send(speech(24_000, 0.4))
            await stream.end()
            async for frame in stream:
                if frame.last:
                    break
            sending = asyncio.create_task(stream.send(b""))  # nothing is nothing
            await sending
            await stream.next_utterance()
            sending = asyncio.create_task(stream.send(speech(24_000, 30)))
            await asyncio.sleep(0.5)
            await stream.close()
            await expect_closed(sending)
            assert [frame async for frame in stream] == []
            stream = await client.open_stream(model, credits=5)
            sending = asyncio.create_task(stream.send(speech(24_000, 30)))
            reading = asyncio.create_task(drain(stream))
            await asyncio.sleep(0.2)
            await client.close()
            await expect_closed(sending)
            await expect_closed(reading)
            await nothing_left(client)


async def drain(stream):
    async for _ in stream:
        await asyncio.sleep(1)


async def expect_closed(task):
    try:
        await asyncio.wait_for(task, 10)
    except lipsync.LipsyncError as error:
        assert error.code in ("closed", "disconnected"), error
    else:
        raise AssertionError("it was closed")


async def restarts_while_loading(binary, arguments, model):
    """The server is restarted in mid-sentence, and listens before the package is loaded, which is the last of many."""
    if "--models" not in arguments:
        arguments = [*arguments, "--models", "models"]
    at = arguments.index("--models") + 1
    models = pathlib.Path(arguments[at])
    with tempfile.TemporaryDirectory() as folder:
        for name in [*(f"a{n}" for n in range(8)), model]:
            package = pathlib.Path(shutil.copytree(models / model, pathlib.Path(folder) / name))
            manifest = json.loads((package / "manifest.json").read_text())
            (package / "manifest.json").write_text(json.dumps({**manifest, "name": name}))
        arguments = [*arguments[:at], folder, *arguments[at + 1 :]]
        for mode in ("stream", "binary"):
            for kill in (True, False):
                await restarts_once(binary, arguments, model, mode, kill)


async def restarts_once(binary, arguments, model, mode, kill):
    again = None
    with Server(binary, *arguments) as server:
        try:
            async with lipsync.Client(server.url(), protocols=MODES[mode]) as client:
                seen = []
                async for frame in client.speak(model, speech(24_000), **PATIENT[mode]):
                    seen.append(frame.sequence)
                    if frame.sequence == 10:
                        if kill:
                            server.process.kill()
                        await asyncio.to_thread(server.stop)
                        again = subprocess.Popen([binary, "--port", str(server.port), *arguments])
                complete(seen)
        finally:
            if again:
                again.terminate()
                await asyncio.to_thread(again.wait, 20)
