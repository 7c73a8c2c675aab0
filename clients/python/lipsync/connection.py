"""One WebSocket: gives each reply to the request that it belongs to. It does not connect again; Client does."""

import asyncio
import base64
import json
import re
import socket as sockets
import ssl

import websockets
from websockets.protocol import State

from .messages import BINARY, STREAM, Disconnected, Frame, LipsyncError, Refused
from .messages import decode_reply, decode_stream_frame, encode_request, error_of

ANSWER_S = 10  # for what the server answers at once
CLOSE_S = 5
MAX_MESSAGE_BYTES = 64 << 20
DEFAULT_RATE = 24_000
PASSING_STATUS = frozenset({408, 425, 429})  # besides 5xx
SHOWN_BODY_CHARS = 300


def refusal(url, error, is_first):
    """What an attempt to connect failed with, if it is nothing that passes by itself; else None."""
    if isinstance(error, websockets.InvalidStatus):
        status, body = error.response.status_code, error.response.body or b""
        if status >= 500 or status in PASSING_STATUS:
            return None
        return Refused(f"{url} was answered with HTTP {status}: {_words(body) or 'no words'}", status)
    if isinstance(error, ssl.SSLError):
        # A wss:// address where plain ws:// is spoken, or a certificate that this machine does not trust.
        return Refused(f"{url}: no secure connection: {error}")
    if isinstance(error, (websockets.InvalidURI, websockets.NegotiationError)):
        return Refused(f"{url}: {error}")
    if isinstance(error, sockets.gaierror) and error.errno == sockets.EAI_NONAME and is_first:
        return Refused(f"{url}: no machine of that name is known: {error.strerror}")
    return None


def _words(body):
    """The text of an HTTP answer, also of a proxy's page."""
    text = re.sub(r"<(head|style|script)\b.*?</\1>|<[^>]*>", " ", body.decode("utf-8", "replace"), flags=re.S | re.I)
    return " ".join(text.split())[:SHOWN_BODY_CHARS]


class Connection:
    """`mode` is `stream`, `binary` or `json`: the best of what was offered that the server has switched on."""

    def __init__(self, socket, on_event):
        self.mode = None
        self.on_event = on_event
        self._socket = socket
        self._serial = 0
        self._replies = {}  # request_id -> future of a JSON reply
        self._frames = {}  # frame_id -> future of a binary reply: one request for each number at a time
        self._streams = {}  # number -> Stream
        self._last_stream = -1
        self._rate, self._known_rates = DEFAULT_RATE, {DEFAULT_RATE}  # of binary requests
        self._sending_frame = asyncio.Lock()
        self._error = Disconnected("the connection is closed")
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, url, offers, on_event):
        socket = await websockets.connect(
            url,
            subprotocols=offers or None,
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
            open_timeout=ANSWER_S,
            close_timeout=CLOSE_S,
        )
        connection = cls(socket, on_event)
        try:
            await asyncio.wait_for(connection._negotiate(), ANSWER_S)
        except BaseException:
            await connection.close()
            raise
        return connection

    @property
    def is_open(self):
        return not self._reader.done() and self._socket.state is State.OPEN

    async def close(self):
        await self._socket.close()
        await self.wait_closed()

    async def wait_closed(self):
        await asyncio.wait({self._reader})

    # Requests

    async def send(self, message):
        try:
            await self._socket.send(message)
        except websockets.ConnectionClosed as error:
            raise Disconnected(str(error)) from error

    async def ask(self, message):
        """Sends a JSON message; returns the reply that carries its request_id."""
        self._serial += 1
        request_id = f"c{self._serial}"
        future = self._replies[request_id] = asyncio.get_running_loop().create_future()
        try:
            await self.send(json.dumps({**message, "request_id": request_id}))
            if self._reader.done():
                raise self._error  # it has looked through what waits already
            return await future
        finally:
            self._replies.pop(request_id, None)

    async def frame(self, model, frame_id, pcm, rate):
        if self.mode == "binary":
            return await self._binary_frame(model, frame_id, pcm, rate)
        message = {"model_name": model, "frame_id": frame_id, "sample_rate": rate}
        if pcm:
            message["audio_override"] = base64.b64encode(pcm).decode()
        reply = await self.ask(message)
        return Frame(
            frame_id,
            reply["metadata"]["avatar_frame"],
            tuple(reply["bounds"]),
            base64.b64decode(reply["prediction_data"]),
            compute_ms=reply["processing_time_ms"],
        )

    async def _binary_frame(self, model, frame_id, pcm, rate):
        # A binary reply names nothing but the frame, so a number is asked for again only after its answer has come,
        # even when nobody waits for that any more.
        message = encode_request(model, frame_id, pcm)
        while before := self._frames.get(frame_id):
            await asyncio.wait({before})
        future = self._frames[frame_id] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.exception())  # seen, should nobody wait any more
        # Not cancelled half-way: whether an answer will come must be known.
        sending = asyncio.create_task(self._send_frame(message, rate))
        sending.add_done_callback(lambda sent: self._frame_sent(frame_id, future, sent))
        return await asyncio.shield(future)

    async def _send_frame(self, message, rate):
        # The rate belongs to the session: nothing may come between its change and the request that it is for.
        async with self._sending_frame:
            if rate != self._rate:
                await self._configure(rate)
            await self.send(message)
            if self._reader.done():
                raise self._error

    async def _configure(self, rate):
        message = {"type": "configure", "sample_rate": rate}
        if rate in self._known_rates:
            await self.send(json.dumps(message))  # the server takes messages in order
        else:
            await self.ask(message)
            self._known_rates.add(rate)
        self._rate = rate

    async def configure(self, fields):
        """The control message `configure` of the client's user."""
        async with self._sending_frame:
            reply = await self.ask({"type": "configure", **fields})
            self._rate = reply["sample_rate"]
            self._known_rates.add(self._rate)
            return reply

    def _frame_sent(self, frame_id, future, sent):
        error = self._error if sent.cancelled() else sent.exception()
        if error and not future.done():
            if self._frames.get(frame_id) is future:
                del self._frames[frame_id]
            future.set_exception(error)

    # Streams

    def add_stream(self, stream):
        """Its number on this connection. Numbers go round, so that nothing meant for a closed stream finds a new one."""
        self._last_stream = next(
            number
            for step in range(1, 1 << 16)
            if (number := (self._last_stream + step) % (1 << 16)) not in self._streams
        )
        self._streams[self._last_stream] = stream
        if self._reader.done():
            stream.connection_lost(self._error)
        return self._last_stream

    def remove_stream(self, number):
        """Whether it was there."""
        return self._streams.pop(number, None) is not None

    # What comes

    async def _negotiate(self):
        # What is on is told by the answer; a notice of what is off has come before it.
        info = await self.ask({"type": "switch_to_binary"})
        on, chosen = info["protocols"], self._socket.subprotocol
        if chosen == STREAM and "stream" in on:
            self.mode = "stream"
        elif chosen == BINARY and "binary" in on:
            self.mode = "binary"
        else:
            self.mode = "json"

    async def _read(self):
        try:
            async for message in self._socket:
                if isinstance(message, str):
                    self._take_text(json.loads(message))
                elif self._socket.subprotocol == STREAM:
                    self._take_stream_frame(message)
                else:
                    self._take_reply(message)
        except websockets.ConnectionClosed as closed:
            self._error = Disconnected(str(closed))
        except Exception as error:
            self._error = Disconnected(f"a message could not be read: {error!r}")
            await self._socket.close()
        finally:
            self._end()

    def _end(self):
        for future in [*self._replies.values(), *self._frames.values()]:
            if not future.done():
                future.set_exception(self._error)
                future.exception()  # seen, should nobody wait any more
        for stream in [*self._streams.values()]:
            stream.connection_lost(self._error)
        self._replies.clear()
        self._frames.clear()
        self._streams.clear()
        if self.mode:
            self.on_event("disconnected", str(self._error))

    def _take_text(self, message):
        future = self._replies.get(message.get("request_id"))
        if future and not future.done():
            if message.get("success") is False:
                future.set_exception(error_of(message))
            else:
                future.set_result(message)
        elif stream := self._streams.get(message.get("stream")):
            stream.take_message(message)

    def _take_stream_frame(self, message):
        if (taken := decode_stream_frame(message)) and (stream := self._streams.get(taken[0])):
            stream.take_frame(*taken[1:])

    def _take_reply(self, message):
        frame_id, result = decode_reply(message)
        future = self._frames.pop(frame_id, None)
        if future is None or future.done():
            return
        if isinstance(result, LipsyncError):
            future.set_exception(result)
        else:
            future.set_result(result)
