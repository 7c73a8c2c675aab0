"""A client that heals: connects again, asks again what passes by itself, and goes on where it was."""

import asyncio
import base64
import contextlib
import dataclasses

import websockets

from .audio import LEAD_FRAMES, AudioFailed, Utterance, pcm_bytes
from .connection import Connection, refusal
from .messages import BINARY, PASSING, STREAM, Disconnected, Frame, LipsyncError, StreamClosed
from .stream import Stream
from .waiting import Inbox, Patience, race

IN_FLIGHT = 4  # requests sent ahead, frame by frame
CREDITS = 50  # frames that a stream may be ahead of its reader
CHUNK_MS = 40  # of audio, as it comes
CONNECT_PAUSE_S, BUSY_PAUSE_S = 0.25, 0.1  # before the second try
REOPENED = frozenset({"shutting_down", "timeout"})
"""Reasons for which a server closes a stream that speak() opens again."""


def _passes(error):
    if isinstance(error, StreamClosed):
        return error.reason in REOPENED
    is_passing = error.code in PASSING or isinstance(error, Disconnected)
    return is_passing and not _has_no_room_ever(error)


def _has_no_room_ever(error):
    """This machine is too slow for even one stream; requests bring as many frames as it can compute."""
    return error.code == "busy" and error.details.get("capacity") == 0


class Client:
    """A connection that heals. `mode` is `stream`, `binary` or `json`: what the server offers, best first.

    `protocols` restricts the choice: any of "stream" and "binary". `patience_s` is how long a server that is away,
    loading or busy is tried again. `on_event(kind, details)` hears what happens: `connected`, `disconnected`,
    `waiting` (with the reason), `dropped` and `failed` (frames of a stream).
    """

    def __init__(self, url, *, protocols=("stream", "binary"), patience_s=60.0, on_event=None):
        self.url = url
        self.mode = None
        self._offers = [name for word, name in (("stream", STREAM), ("binary", BINARY)) if word in protocols]
        self._patience_s = patience_s
        self._on_event = on_event or (lambda kind, details: None)
        self._connection = None
        self._connecting = asyncio.Lock()
        self._closing = None  # a future that holds an error once the client is closed

    async def __aenter__(self):
        self._closing = asyncio.get_running_loop().create_future()
        self._closing.add_done_callback(lambda closed: closed.cancelled() or closed.exception())  # seen
        await self._connect()
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def close(self):
        """Ends whatever waits, attempts to connect too."""
        if self._closing and not self._closing.done():
            self._closing.set_exception(Disconnected("the client is closed"))
        if self._connection:
            await self._connection.close()

    # Asking

    async def models(self):
        """The packages that are served, as docs/PROTOCOL.md lists their fields."""
        return (await self._patiently(lambda connection: connection.ask({"type": "list_models"})))["models"]

    async def metadata(self, model):
        message = {"type": "get_metadata", "model_name": model}
        return await self._patiently(lambda connection: connection.ask(message))

    async def video_frame(self, model, frame_id):
        """An idle frame as JPEG."""
        message = {"type": "get_video_frame", "model_name": model, "frame_id": frame_id}
        reply = await self._patiently(lambda connection: connection.ask(message))
        return base64.b64decode(reply["frame_data"])

    async def control(self, kind, **fields):
        """Sends a control message once; returns the reply."""
        connection = await self._connect()
        if kind == "configure":
            return await connection.configure(fields)
        return await connection.ask({"type": kind, **fields})

    async def frame(self, model, frame_id, pcm=None, *, sample_rate=24_000):
        """One frame with the audio around it: PCM16 mono, the frame in the middle; None: the package's own."""
        pcm = b"" if pcm is None else pcm_bytes(pcm)
        return await self._patiently(lambda connection: connection.frame(model, frame_id, pcm, sample_rate))

    async def _patiently(self, ask):
        """Asks until there is an answer that does not pass by itself."""
        patience = self._patience()
        while True:
            connection = await self._connect()
            try:
                return await ask(connection)
            except LipsyncError as error:
                await self._wait_after(error, patience)

    def _patience(self):
        return Patience(self._patience_s, BUSY_PAUSE_S, self._closing)

    async def _wait_after(self, error, patience):
        if not _passes(error):
            raise error
        if not isinstance(error, Disconnected):
            self._on_event("waiting", str(error))
        await patience.wait(error)

    # Speaking

    async def speak(self, model, audio, *, sample_rate=24_000, **options):
        """Yields the frames of an utterance, in order.

        `audio` is PCM16 mono: bytes, or an iterable or async iterable of bytes as they come, cut anywhere. `options` go
        into `open` (image, quality, avatar_frame, max_delay_ms …). Survives breaks of the connection. A stream may
        give a few frames past the audio's end, while the mouth closes. Frames that the server dropped as late are
        missing; `max_delay_ms` says how late they may be. When `audio` raises, an idle frame that closes the mouth
        follows at once, then the exception.
        """
        speech = Utterance(audio, sample_rate)
        newest = failure = None
        try:
            async with contextlib.aclosing(self._speak_patiently(model, speech, options)) as frames:
                async for newest in frames:
                    yield newest
        except AudioFailed as failed:
            failure = failed.error
        finally:
            await speech.close()
        if failure is None:
            return
        if newest is not None and not newest.idle:
            yield self._closing_frame(newest, speech, options)
        raise failure

    @staticmethod
    def _closing_frame(newest, speech, options):
        sequence = newest.sequence + 1
        avatar_frame = newest.avatar_frame
        if avatar_frame is None:
            avatar_frame = options.get("avatar_frame", 0) + sequence
        bounds = (0.0, 0.0, 0.0, 0.0)
        return Frame(sequence, avatar_frame, bounds, None, idle=True, last=True, sample=speech.sample(sequence))

    async def _speak_patiently(self, model, speech, options):
        patience = self._patience()
        by_requests = False
        while True:
            connection = await race(self._connect(), speech.failed)
            is_stream = connection.mode == "stream" and not by_requests
            way = self._speak_stream if is_stream else self._speak_requests
            frames = way(connection, model, speech, options)
            try:
                while (frame := await race(_next_or_none(frames), speech.failed)) is not None:
                    speech.next_frame = frame.sequence + 1
                    patience.reset()
                    yield frame
                return
            except LipsyncError as error:
                if is_stream and _has_no_room_ever(error):
                    by_requests = True
                else:
                    await race(self._wait_after(error, patience), speech.failed)
            finally:
                await frames.aclose()

    async def _speak_requests(self, connection, model, speech, options):
        first_avatar_frame = options.get("avatar_frame", 0)
        asked = Inbox()  # (sequence, task), in order; None: that is all
        tasks = set()
        room = asyncio.Semaphore(IN_FLIGHT)

        async def ask_all():
            sequence = speech.next_frame
            while (window := await speech.window(sequence)) is not None:
                await room.acquire()
                frame = self.frame(model, first_avatar_frame + sequence, window, sample_rate=speech.rate)
                tasks.add(task := asyncio.create_task(frame))
                asked.put((sequence, task))
                sequence += 1
            asked.put(None)

        asking = asyncio.create_task(ask_all())
        asking.add_done_callback(lambda done: _pass_on(done, asked.fail))
        try:
            while (item := await asked.get()) is not None:
                sequence, task = item
                frame = await task
                tasks.discard(task)
                room.release()
                last = not await speech.has(sequence + 1)
                yield dataclasses.replace(frame, sequence=sequence, sample=speech.sample(sequence), last=last)
        finally:
            await _cancel({asking, *tasks})

    async def _speak_stream(self, connection, model, speech, options):
        message = {"model_name": model, "sample_rate": speech.rate, **options}
        stream = await Stream.open(connection, message, credits=CREDITS, token=speech.token)
        sending = None
        try:
            speech.token = stream.opened["token"]
            first = max(0, speech.next_frame - LEAD_FRAMES)
            if speech.next_frame:
                await stream.start(options.get("avatar_frame", 0) + first)
            sending = asyncio.create_task(self._send_speech(stream, speech, first))
            sending.add_done_callback(lambda done: _pass_on(done, stream.fail))
            async for frame in stream:
                sequence = first + frame.sequence
                if sequence >= speech.next_frame:
                    yield dataclasses.replace(frame, sequence=sequence, sample=speech.sample(sequence))
                if frame.last:
                    break
        finally:
            if sending:
                await _cancel({sending})
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

        async def ask(connection):
            if connection.mode != "stream":
                raise LipsyncError("wrong_mode", f"this connection is in {connection.mode} mode")
            message = {"model_name": model, "sample_rate": sample_rate, **options}
            return await Stream.open(connection, message, credits=credits, token=resume)

        return await self._patiently(ask)

    # The connection

    async def _connect(self):
        """The connection; makes one where there is none, or none any more."""
        if self._closing is None:
            raise Disconnected("use the client in `async with`")
        if self._closing.done():
            self._closing.result()
        if self._connection and self._connection.is_open:
            return self._connection
        async with self._connecting:
            if self._connection and self._connection.is_open:
                return self._connection
            if self._connection:
                await self._connection.wait_closed()
            self._connection = await self._try_to_connect()
            self.mode = self._connection.mode
            self._on_event("connected", self.mode)
            return self._connection

    async def _try_to_connect(self):
        patience = Patience(self._patience_s, CONNECT_PAUSE_S, self._closing)
        while True:
            try:
                return await race(Connection.open(self.url, self._offers, self._on_event), self._closing)
            except (OSError, TimeoutError, websockets.WebSocketException, LipsyncError) as error:
                if self._closing.done():
                    raise
                if refused := refusal(self.url, error, is_first=self._connection is None):
                    raise refused from error
                lost = Disconnected(f"{self.url} cannot be reached: {error}")
                lost.__cause__ = error
                self._on_event("waiting", str(lost))
                await patience.wait(lost)


async def _next_or_none(frames):
    return await anext(frames, None)


def _pass_on(done, fail):
    """A task that failed is told to whoever waits for what it makes."""
    if not done.cancelled() and done.exception():
        fail(done.exception())


async def _cancel(tasks):
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen
