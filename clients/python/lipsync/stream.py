"""One open stream of version 2."""

import asyncio
import contextlib
import json

from .audio import pcm_bytes
from .connection import ANSWER_S
from .messages import Disconnected, LipsyncError, StreamClosed, encode_audio, error_of
from .waiting import Inbox

PIECE_MS = 250  # audio of one message, at most
UNREAD_S = 30  # a send that waits for room fails when frames lie unread for so long


class _SamplesAhead:
    """Samples that were sent and whose frames have not come yet, over all epochs."""

    def __init__(self):
        self._epochs = {}  # epoch -> [samples sent, samples whose frames have come]

    @property
    def count(self):
        return sum(sent - reached for sent, reached in self._epochs.values())

    def sent(self, epoch, count):
        self._epochs.setdefault(epoch, [0, 0])[0] += count

    def reached(self, epoch, sample):
        """Frames come in order: older epochs are over."""
        self.void(epoch)
        if counts := self._epochs.get(epoch):
            counts[1] = max(counts[1], min(sample, counts[0]))

    def finished(self, epoch):
        self.void(epoch + 1)

    def void(self, epoch):
        """Older epochs do not count any more."""
        for old in [other for other in self._epochs if other < epoch]:
            del self._epochs[old]


class Stream:
    """One open stream: send audio, iterate over frames. Made by Client.open_stream.

    `opened` is the server's answer (look_ahead_ms, limits …). Each frame taken gives the server a credit back, so take
    frames while you send: send() waits once `max_ahead_ms` of audio are under way.
    """

    def __init__(self, connection, credits):
        self.opened = None
        self.epoch = 0
        self.position = 0  # sample of the epoch that is sent next
        self._connection = connection
        self._credits = credits
        self._inbox = Inbox()
        self._answer = asyncio.get_running_loop().create_future()  # to `open`
        self._answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen
        self._number = connection.add_stream(self)
        self._taken = 0  # frames, since credits were last given back
        self._half = b""  # the first byte of a sample that came without its second
        self._ahead = _SamplesAhead()
        self._moved = asyncio.Event()  # frames came, or the stream ended
        self._reads = 0
        self._paused = False
        self._sending = asyncio.Lock()
        self._closed = None  # why

    @classmethod
    async def open(cls, connection, message, *, credits, token=None):
        """Opens a stream. `token` is that of an earlier one; one that is too old opens anew."""
        for more in [{"token": token}, {}] if token else [{}]:
            stream = cls(connection, credits)
            try:
                stream.opened = await stream._ask_open(message | more)
                stream.epoch = stream.opened["epoch"]
                return stream
            except LipsyncError as error:
                connection.remove_stream(stream._number)
                if not more or error.code != "bad_token":
                    raise
            except BaseException:
                with contextlib.suppress(LipsyncError):
                    await stream.close()  # it may be open by now
                raise

    async def _ask_open(self, message):
        await self._control("open", credits=self._credits, **message)
        try:
            return await asyncio.wait_for(asyncio.shield(self._answer), ANSWER_S)
        except TimeoutError:
            await self.close()
            raise Disconnected(f"no answer to `open` for {ANSWER_S} s") from None

    # Speaking

    async def send(self, pcm):
        """Sends the next samples of the current epoch; waits while the server has as much audio as it takes.

        Pieces may be of any length, cut anywhere. What an interrupt() overtakes is not sent.
        """
        pcm = pcm_bytes(pcm)
        async with self._sending:
            epoch = self.epoch
            pcm = self._half + pcm
            even = len(pcm) - len(pcm) % 2
            self._half = pcm[even:]
            limits, rate = self.opened["limits"], self.opened["sample_rate"]
            room = limits["max_ahead_ms"] * rate // 1000
            piece = 2 * max(1, min(limits["max_chunk_bytes"] // 2, PIECE_MS * rate // 1000, room // 4))
            for begin in range(0, even, piece):
                part = pcm[begin : min(even, begin + piece)]
                await self._wait_for_room(len(part) // 2, room)
                if self.epoch != epoch:
                    return
                message = encode_audio(self._number, epoch, self.position, part)
                self.position += len(part) // 2
                self._ahead.sent(epoch, len(part) // 2)
                await self._connection.send(message)

    async def _wait_for_room(self, count, room):
        epoch, reads = self.epoch, self._reads
        while self._closed is None and self.epoch == epoch and self._ahead.count + count > room:
            self._moved.clear()
            try:
                await asyncio.wait_for(self._moved.wait(), UNREAD_S)
            except TimeoutError:
                if len(self._inbox) > 0 and self._reads == reads and not self._paused:
                    limit = f"{self.opened['limits']['max_ahead_ms']} ms of audio wait for their frames"
                    text = f"{limit}, and {len(self._inbox)} frames lie unread; iterate over the stream while sending"
                    raise LipsyncError("too_large", text) from None
            reads = self._reads
        if self._closed is not None:
            raise self._closed

    async def end(self):
        """No more audio comes in this epoch; its last frame is marked."""
        async with self._sending:
            self._half = b""
            await self._control("end", epoch=self.epoch)

    async def next_utterance(self):
        """Further audio belongs to the next epoch."""
        async with self._sending:
            self._begin_epoch()

    async def start(self, avatar_frame):
        """Where on the idle walk this epoch begins; before its first audio."""
        await self._control("start", epoch=self.epoch, avatar_frame=avatar_frame)

    async def interrupt(self):
        """Voids what was said so far. Frames of older epochs that were sent already are not returned any more."""
        self._begin_epoch()
        self._ahead.void(self.epoch)
        self._moved.set()
        await self._control("interrupt", epoch=self.epoch)

    def _begin_epoch(self):
        self.epoch, self.position, self._half = self.epoch + 1, 0, b""

    async def pause(self):
        self._paused = True
        await self._control("pause")

    async def resume(self):
        self._paused = False
        await self._control("resume")

    async def close(self):
        """Ends the iteration, and whatever waits in send()."""
        self._end(StreamClosed("client"), at_once=True)
        if self._connection.remove_stream(self._number):
            await self._control("close")

    def fail(self, error):
        """The iteration raises `error` at once."""
        self._end(error, at_once=True)

    async def _control(self, kind, **fields):
        await self._connection.send(json.dumps({"type": kind, "stream": self._number, **fields}))

    # Hearing

    def __aiter__(self):
        return self

    async def __anext__(self):
        while True:
            try:
                item = await self._inbox.get()
            except StreamClosed as closed:
                if closed.reason == "client":
                    raise StopAsyncIteration from None
                raise
            if isinstance(item, LipsyncError):
                raise item
            epoch, frame = item
            self._reads += 1
            self._taken += 1
            if self._taken >= max(1, self._credits // 4):
                taken, self._taken = self._taken, 0
                await self._control("credit", frames=taken)
            if epoch == self.epoch:
                return frame

    def take_frame(self, epoch, frame):
        """A frame came."""
        if frame.last:
            self._ahead.finished(epoch)
        else:
            self._ahead.reached(epoch, frame.sample)
        self._moved.set()
        self._inbox.put((epoch, frame))

    def take_message(self, message):
        """A JSON message about this stream came."""
        kind = message["type"]
        if not self._answer.done() and kind in ("opened", "busy", "error"):
            if kind == "opened":
                self._answer.set_result(message)
            else:
                self._answer.set_exception(error_of(message))
        elif kind == "dropped":
            if message["reason"] not in ("old_epoch", "duplicate"):  # those count samples
                sample = message["last"] * self.opened["sample_rate"] // self.opened["frame_rate"]
                self._ahead.reached(message["epoch"], sample)
                self._moved.set()
            self._connection.on_event("dropped", message)
        elif kind == "closed":
            self._connection.remove_stream(self._number)
            self._end(StreamClosed(message["reason"]))
        elif message.get("code") == "internal":
            self._connection.on_event("failed", message)  # a `held` frame comes in place of the one that failed
        elif message.get("success") is False:
            self._inbox.put(error_of(message))

    def connection_lost(self, error):
        """No more comes."""
        if not self._answer.done():
            self._answer.set_exception(error)
        self._end(error)

    def _end(self, error, at_once=False):
        self._closed = self._closed or error
        if at_once:
            self._inbox.fail(error)
        else:
            self._inbox.end(error)
        self._moved.set()
