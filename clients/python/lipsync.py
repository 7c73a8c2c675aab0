"""A client of lipsyncd for asyncio: docs/PROTOCOL.md, versions 1 and 2. Needs the package `websockets`.

    async with lipsync.Client("ws://localhost:8765/ws") as client:
        async for frame in client.speak("default_model", pcm, sample_rate=24000):
            show(frame)

It streams where the server streams, asks frame by frame where it does not (binary, or JSON where binary is
switched off), and connects again with growing pauses when the connection breaks.
"""

import asyncio
import base64
import collections
import contextlib
import dataclasses
import json
import random
import struct

import websockets

STREAM, BINARY = "lipsync.v2", "lipsync.v1"
IDLE, HELD, LAST = 1, 2, 4

WINDOW_MS = 640  # audio of one request, its frame in the middle
IN_FLIGHT = 4  # requests sent ahead, frame by frame
CREDITS = 50  # frames that a stream may be ahead of its reader
CHUNK_MS = 40
ANSWER_S = 10  # for what the server answers at once
LEAD_FRAMES = 10  # audio sent again before the first frame after a break, for the networks to hear


class LipsyncError(Exception):
    """The server refused: `code` is one of docs/PROTOCOL.md, or `disconnected`."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code


class Disconnected(LipsyncError):
    """The connection broke, or none could be made in time."""

    def __init__(self, text):
        super().__init__("disconnected", text)


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


class Client:
    """A connection that heals. `mode` is `stream`, `binary` or `json`: what the server offers, best first.

    `protocols` restricts the choice: any of "stream" and "binary". `patience_s` is how long a broken connection
    is tried again. `on_event(kind, details)` hears what happens: `connected`, `disconnected`, `dropped`.
    """

    def __init__(self, url, *, protocols=("stream", "binary"), patience_s=60.0, on_event=None):
        self.url = url
        self.mode = None
        self._offers = [name for word, name in (("stream", STREAM), ("binary", BINARY)) if word in protocols]
        self._patience_s = patience_s
        self._on_event = on_event or (lambda kind, details: None)
        self._socket = None
        self._reader = None
        self._waiting = {}  # request_id -> future of a JSON reply
        self._frames = collections.defaultdict(collections.deque)  # frame_id -> futures of binary replies
        self._streams = {}  # stream -> queue of what the server says about it
        self._tokens = {}  # stream -> token
        self._serial = 0
        self._rate = 24_000  # of the session
        self._connecting = asyncio.Lock()

    async def __aenter__(self):
        await self._connect()
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def close(self):
        if self._socket:
            await self._socket.close()
        if self._reader:
            await self._reader

    # Asking

    async def models(self):
        """The packages that are served, as docs/PROTOCOL.md lists their fields."""
        return (await self.control("list_models"))["models"]

    async def metadata(self, model):
        return await self.control("get_metadata", model_name=model)

    async def video_frame(self, model, frame_id):
        """An idle frame as JPEG."""
        reply = await self.control("get_video_frame", model_name=model, frame_id=frame_id)
        return base64.b64decode(reply["frame_data"])

    async def control(self, kind, **fields):
        """Sends a control message; returns the reply."""
        return await self._ask({"type": kind, **fields})

    async def frame(self, model, frame_id, pcm=None, *, sample_rate=24_000):
        """One frame with the audio around it: PCM16 mono, the frame in the middle; None: the package's own."""
        if self.mode != "binary":
            message = {"model_name": model, "frame_id": frame_id, "sample_rate": sample_rate}
            if pcm:
                message["audio_override"] = base64.b64encode(pcm).decode()
            reply = await self._ask(message)
            return Frame(
                frame_id,
                reply["metadata"]["avatar_frame"],
                tuple(reply["bounds"]),
                base64.b64decode(reply["prediction_data"]),
                compute_ms=reply["processing_time_ms"],
            )
        if sample_rate != self._rate:
            await self.control("configure", sample_rate=sample_rate)
            self._rate = sample_rate
        future = asyncio.get_running_loop().create_future()
        self._frames[frame_id].append(future)
        name, pcm = model.encode(), pcm or b""
        head = struct.pack("<I", len(name)) + name + struct.pack("<II", frame_id, len(pcm))
        await self._send(head + pcm)
        return await future

    # Speaking

    async def speak(self, model, audio, *, sample_rate=24_000, **options):
        """Yields the frames of an utterance, in order.

        `audio` is PCM16 mono: bytes, or an iterable or async iterable of bytes as they come. `options` go into
        `open` (image, quality, avatar_frame, max_delay_ms …). Survives breaks of the connection. A stream may give
        a few frames past the audio's end, while the mouth closes. Frames that the server dropped as late are
        missing; `max_delay_ms` says how late they may be.
        """
        speech = _Speech(audio, sample_rate)
        while True:
            way = self._speak_stream if self.mode == "stream" else self._speak_requests
            frames = way(model, speech, options)
            try:
                async for frame in frames:
                    speech.next_frame = frame.sequence + 1
                    yield frame
                return
            except Disconnected:
                await self._connect()
            finally:
                await frames.aclose()

    async def _speak_requests(self, model, speech, options):
        begin = options.get("avatar_frame", 0)
        pending = collections.deque()

        async def take():
            sequence, asked = pending.popleft()
            frame = await asked
            last = not pending and await speech.samples(sequence + 1) is None
            position = speech.sample(sequence)
            return dataclasses.replace(frame, sequence=sequence, sample=position, last=last)

        try:
            sequence = speech.next_frame
            while (window := await speech.window(sequence)) is not None:
                ask = self.frame(model, begin + sequence, window, sample_rate=speech.rate)
                pending.append((sequence, asyncio.ensure_future(ask)))
                sequence += 1
                if len(pending) >= IN_FLIGHT:
                    yield await take()
            while pending:
                yield await take()
        finally:
            for _, asked in pending:
                asked.cancel()

    async def _speak_stream(self, model, speech, options):
        stream = await self.open_stream(model, sample_rate=speech.rate, resume=speech.token, **options)
        speech.token = stream.opened["token"]
        first = max(0, speech.next_frame - LEAD_FRAMES)
        if speech.next_frame:
            await stream.start(options.get("avatar_frame", 0) + first)
        sending = asyncio.create_task(self._send_speech(stream, speech, first))
        try:
            async for frame in stream:
                sequence = first + frame.sequence
                if sequence >= speech.next_frame:
                    yield dataclasses.replace(frame, sequence=sequence, sample=speech.sample(sequence))
                if frame.last:
                    break
            await sending
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, LipsyncError):
                await sending
            with contextlib.suppress(LipsyncError):
                await stream.close()

    async def _send_speech(self, stream, speech, first_frame):
        position = speech.sample(first_frame)
        while chunk := await speech.read(position, speech.rate * CHUNK_MS // 1000):
            await stream.send(chunk)
            position += len(chunk) // 2
        await stream.end()

    async def open_stream(self, model, *, sample_rate=24_000, resume=None, credits=CREDITS, **options):
        """Opens a stream (`lipsync.v2`). `resume` is the token of an earlier one; an old token opens anew."""
        if self.mode != "stream":
            raise LipsyncError("wrong_mode", f"this connection is in {self.mode} mode")
        number = next(n for n in range(1 << 16) if n not in self._streams)
        stream = Stream(self, number, credits)
        self._streams[number] = stream._inbox
        message = {"type": "open", "stream": number, "model_name": model, "sample_rate": sample_rate}
        message |= {"credits": credits, **options}
        try:
            try:
                await stream._open(message | ({"token": resume} if resume else {}))
            except LipsyncError as error:
                if not resume or error.code != "bad_token":
                    raise
                await stream._open(message)
        except BaseException:
            self._streams.pop(number, None)
            raise
        return stream

    # The connection

    async def _connect(self):
        async with self._connecting:
            if self._reader and not self._reader.done():
                if self._socket.state is websockets.State.OPEN:
                    return
                await self._reader  # it ends, now that the connection has
            loop = asyncio.get_running_loop()
            deadline, pause = loop.time() + self._patience_s, 0.25
            while True:
                try:
                    await self._connect_once()
                    self._on_event("connected", self.mode)
                    return
                except (OSError, TimeoutError, websockets.WebSocketException, Disconnected) as error:
                    if loop.time() + pause > deadline:
                        raise Disconnected(f"{self.url} cannot be reached: {error}") from error
                # Half to all of the pause: clients of a server that came back must not come at once.
                await asyncio.sleep(pause * (0.5 + random.random() / 2))
                pause = min(8.0, pause * 2)

    async def _connect_once(self):
        opening = websockets.connect(
            self.url, subprotocols=self._offers or None, compression=None, max_size=64 << 20, open_timeout=10
        )
        self._socket = await opening.__aenter__()
        self._rate = 24_000
        # Requests that were begun after the old connection broke wait here still; none may take an answer of this one.
        self._frames.clear()
        self._reader = asyncio.create_task(self._read(self._socket))
        # What is on is told by the answer; a notice of what is off has come before it.
        info = await asyncio.wait_for(self.control("switch_to_binary"), ANSWER_S)
        on, chosen = info["protocols"], self._socket.subprotocol
        if chosen == STREAM and "stream" in on:
            self.mode = "stream"
        elif chosen == BINARY and "binary" in on:
            self.mode = "binary"
        else:
            self.mode = "json"

    async def _send(self, message):
        try:
            await self._socket.send(message)
        except websockets.ConnectionClosed as error:
            raise Disconnected(str(error)) from error

    async def _ask(self, message):
        self._serial += 1
        request_id = f"c{self._serial}"
        future = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = future
        try:
            await self._send(json.dumps({**message, "request_id": request_id}))
            return await future
        finally:
            self._waiting.pop(request_id, None)

    async def _read(self, socket):
        error = Disconnected("the connection is closed")
        try:
            async for message in socket:
                if isinstance(message, str):
                    self._take_text(json.loads(message))
                elif socket.subprotocol == STREAM:
                    stream, frame = _stream_frame(message)
                    if inbox := self._streams.get(stream):
                        inbox.put_nowait(frame)
                else:
                    self._take_binary(message)
        except websockets.ConnectionClosed as closed:
            error = Disconnected(str(closed))
        waiting = [*self._waiting.values(), *(f for queue in self._frames.values() for f in queue)]
        for future in waiting:
            if not future.done():
                future.set_exception(error)
        for future in waiting:
            if future.done() and not future.cancelled():
                future.exception()  # seen, should nobody wait any more
        for inbox in self._streams.values():
            inbox.put_nowait(error)
        self._waiting.clear()
        self._frames.clear()
        self._streams.clear()
        self._on_event("disconnected", str(error))

    def _take_text(self, message):
        future = self._waiting.get(message.get("request_id"))
        failed = message.get("success") is False
        if future:
            if not future.done():
                if failed:
                    future.set_exception(LipsyncError(message["code"], message["error"]))
                else:
                    future.set_result(message)
        elif inbox := self._streams.get(message.get("stream")):
            if message["type"] == "dropped":
                self._on_event("dropped", message)
            inbox.put_nowait(LipsyncError(message["code"], message["error"]) if failed else message)

    def _take_binary(self, message):
        status, frame_id, length = struct.unpack_from("<BII", message)
        body = message[9 : 9 + length]
        queue = self._frames.get(frame_id)
        if not queue:
            return
        future = queue.popleft()
        if not queue:
            del self._frames[frame_id]
        if future.done():
            return
        if status == 1:
            bounds = struct.unpack_from("<4f", message, 9 + length + 4)
            future.set_result(Frame(frame_id, None, bounds, body))
        else:
            code, _, text = body.decode().partition(": ")
            future.set_exception(LipsyncError(code, text))


class Stream:
    """One open stream: send audio, iterate over frames. Made by Client.open_stream.

    `opened` is the server's answer (look_ahead_ms, limits …). Each frame taken gives the server a credit back.
    """

    def __init__(self, client, number, credits):
        self._client = client
        self._number = number
        self._inbox = asyncio.Queue()
        self._return_at = max(1, credits // 4)
        self._taken = 0
        self._ended_epoch = None
        self.opened = None
        self.epoch = 0
        self.position = 0

    async def send(self, pcm):
        """Sends the next samples of the current epoch."""
        head = struct.pack("<BBHIQ", 1, 0, self._number, self.epoch, self.position)
        self.position += len(pcm) // 2
        await self._client._send(head + pcm)

    async def end(self):
        """No more audio comes in this epoch; its last frame is marked."""
        await self._control("end", epoch=self.epoch)

    async def next_utterance(self):
        """Further audio belongs to the next epoch."""
        self.epoch, self.position = self.epoch + 1, 0

    async def start(self, avatar_frame):
        """Where on the idle walk this epoch begins; before its first audio."""
        await self._control("start", epoch=self.epoch, avatar_frame=avatar_frame)

    async def interrupt(self):
        """Voids what was said so far. Frames of older epochs that were sent already are not returned any more."""
        self.epoch, self.position = self.epoch + 1, 0
        await self._control("interrupt", epoch=self.epoch)

    async def pause(self):
        await self._control("pause")

    async def resume(self):
        await self._control("resume")

    async def close(self):
        if self._client._streams.pop(self._number, None):
            await self._control("close")

    def __aiter__(self):
        return self

    async def __anext__(self):
        while True:
            item = await self._inbox.get()
            if isinstance(item, LipsyncError):
                raise item
            if isinstance(item, dict):
                if item["type"] == "closed":
                    raise LipsyncError("closed", f"the server closed the stream: {item['reason']}")
                continue
            epoch, frame = item
            self._taken += 1
            if self._taken >= self._return_at:
                await self._control("credit", frames=self._taken)
                self._taken = 0
            if epoch == self.epoch:
                return frame

    async def _open(self, message):
        await self._client._send(json.dumps(message))
        item = None
        while not isinstance(item, LipsyncError) and not (isinstance(item, dict) and item["type"] == "opened"):
            try:
                item = await asyncio.wait_for(self._inbox.get(), ANSWER_S)
            except TimeoutError:
                item = Disconnected(f"no answer for {ANSWER_S} s")
        if isinstance(item, LipsyncError):
            raise item
        self.opened, self.epoch = item, item["epoch"]

    async def _control(self, kind, **fields):
        await self._client._send(json.dumps({"type": kind, "stream": self._number, **fields}))


class _Speech:
    """The audio of an utterance, read as it is needed and kept as long as it may be needed again."""

    def __init__(self, audio, rate, frame_rate=25):
        self.rate, self.frame_rate = rate, frame_rate
        self.next_frame = 0
        self.token = None
        self._source = _chunks(audio)
        self._kept = bytearray()
        self._kept_from = 0  # sample
        self._ended = False
        self._reading = asyncio.Lock()

    def sample(self, frame):
        return frame * self.rate // self.frame_rate

    async def samples(self, frame):
        """Something if the frame begins within the audio, None if the audio ends before it."""
        await self._read_to(self.sample(frame) + 1)
        return True if self._end() > self.sample(frame) else None

    async def window(self, frame):
        """The 640 ms around a frame, silence where there is no audio; None past the end."""
        if await self.samples(frame) is None:
            return None
        half = self.rate * WINDOW_MS // 2000
        begin, end = self.sample(frame) - half, self.sample(frame) + half
        await self._read_to(end)
        head = max(0, self._kept_from - begin)
        body = self._slice(max(begin, self._kept_from), end)
        window = bytes(2 * head) + body
        return window + bytes(4 * half - len(window))

    async def read(self, begin, count):
        """Up to `count` samples from `begin` on; nothing at the end."""
        await self._read_to(begin + count)
        return self._slice(begin, begin + count)

    def _end(self):
        return self._kept_from + len(self._kept) // 2

    def _slice(self, begin, end):
        return bytes(self._kept[2 * (begin - self._kept_from) : 2 * (end - self._kept_from)])

    async def _read_to(self, sample):
        async with self._reading:
            while self._end() < sample and not self._ended:
                chunk = await anext(self._source, None)
                if chunk is None:
                    self._ended = True
                    if len(self._kept) % 2:
                        self._kept.pop()
                    return
                self._kept += chunk
            # Never needed again: what lies before the lead of the next frame.
            old = self.sample(max(0, self.next_frame - LEAD_FRAMES - 10)) - self._kept_from
            if old > self.rate:
                del self._kept[: 2 * old]
                self._kept_from += old


async def _chunks(audio):
    if isinstance(audio, (bytes, bytearray, memoryview)):
        yield bytes(audio)
    elif hasattr(audio, "__aiter__"):
        async for chunk in audio:
            yield chunk
    else:
        for chunk in audio:
            yield chunk


def _stream_frame(message):
    """(stream, (epoch, frame)) of a binary message of version 2."""
    kind, flags, stream, epoch, sequence, avatar, sample, _, compute_us, *bounds = struct.unpack_from(
        "<BBHIIIQII4f", message
    )
    if kind != 0x81:
        return None, None
    frame = Frame(
        sequence,
        avatar,
        tuple(bounds),
        message[48:] or None,
        idle=bool(flags & IDLE),
        held=bool(flags & HELD),
        last=bool(flags & LAST),
        sample=sample,
        compute_ms=compute_us / 1000,
    )
    return stream, (epoch, frame)
