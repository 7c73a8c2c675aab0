"""The audio of an utterance, read as it is needed and kept for as long as it may be needed again."""

import asyncio
import contextlib

FRAME_RATE = 25
WINDOW_MS = 640  # audio of one request, its frame in the middle
LEAD_FRAMES = 10  # audio sent again before the first frame after a break, for the networks to hear
KEPT_FRAMES = LEAD_FRAMES + 10  # before the next frame: the lead, and half a window
PCM16_FORMATS = {"b", "B", "c", "h", "<h"}  # of a memoryview: bytes, or 16-bit samples


class AudioFailed(Exception):
    """Where the audio comes from raised `error`."""

    def __init__(self, error):
        super().__init__(repr(error))
        self.error = error


class Utterance:
    """Audio that comes piece by piece. `failed` is a future that holds AudioFailed once its source has raised."""

    def __init__(self, audio, rate):
        self.rate = rate
        self.next_frame = 0
        self.token = None  # of the stream that speaks it
        self.failed = asyncio.get_running_loop().create_future()
        self.failed.add_done_callback(lambda failed: failed.cancelled() or failed.exception())  # seen
        self._source = _chunks(audio, rate)
        self._kept = bytearray()
        self._kept_from = 0  # sample
        self._wanted = 0  # sample up to which to read
        self._ended = False
        self._changed = asyncio.Condition()
        # A task of its own: a connection that breaks must not cancel the source in the middle of a piece.
        self._reader = asyncio.create_task(self._read_source())

    async def close(self):
        self._reader.cancel()
        await asyncio.wait({self._reader})
        with contextlib.suppress(Exception):
            await self._source.aclose()

    def sample(self, frame):
        return frame * self.rate // FRAME_RATE

    async def has(self, frame):
        """Whether the frame begins within the audio."""
        await self._read_to(self.sample(frame) + 1)
        return self._end() > self.sample(frame)

    async def window(self, frame):
        """The 640 ms around a frame, silence where there is no audio; None past the end."""
        if not await self.has(frame):
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
        return self._kept_from + len(self._kept) // 2  # of whole samples: the half of one waits for the next piece

    def _slice(self, begin, end):
        last = min(end, self._end())
        return bytes(self._kept[2 * (begin - self._kept_from) : 2 * (last - self._kept_from)])

    async def _read_to(self, sample):
        async with self._changed:
            if sample > self._wanted:
                self._wanted = sample
                self._changed.notify_all()
            await self._changed.wait_for(lambda: self._end() >= sample or self._ended or self.failed.done())
            if self.failed.done():
                self.failed.result()
            # Never needed again: what lies before the lead of the next frame.
            old = self.sample(max(0, self.next_frame - KEPT_FRAMES)) - self._kept_from
            if old > self.rate:
                del self._kept[: 2 * old]
                self._kept_from += old

    async def _read_source(self):
        error = None
        try:
            async for chunk in self._source:
                async with self._changed:
                    self._kept += chunk
                    self._changed.notify_all()
                    await self._changed.wait_for(lambda: self._wanted > self._end())
        except BaseException as caught:  # a source may be cancelled, too
            error = caught
        async with self._changed:
            self._ended = True
            if error is not None:
                self.failed.set_exception(AudioFailed(error))
            self._changed.notify_all()


def pcm_bytes(chunk):
    """A piece of audio (bytes, or an array of 16-bit samples) as bytes; TypeError for anything else."""
    view = memoryview(chunk)
    if view.format not in PCM16_FORMATS:
        raise TypeError(f"audio must be PCM16 (bytes, or samples of 16 bits), not samples of the format {view.format!r}")
    return view.tobytes()


def _pieces(chunk, size):
    """A piece of audio as bytes, at most `size` at a time."""
    pcm = memoryview(chunk if isinstance(chunk, bytes) else pcm_bytes(chunk))
    for begin in range(0, len(pcm), size):
        yield bytes(pcm[begin : begin + size])


def _is_buffer(audio):
    with contextlib.suppress(TypeError):
        memoryview(audio).release()
        return True
    return False


async def _chunks(audio, rate):
    size = 2 * rate  # a second
    if _is_buffer(audio):
        for piece in _pieces(audio, size):
            yield piece
    elif hasattr(audio, "__aiter__"):
        source = aiter(audio)
        try:
            async for chunk in source:
                for piece in _pieces(chunk, size):
                    yield piece
        finally:
            if hasattr(source, "aclose"):
                await source.aclose()
    else:
        for chunk in audio:
            for piece in _pieces(chunk, size):
                yield piece
