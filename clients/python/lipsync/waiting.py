"""Waiting for one of several things, in order, or for as long as it is worth while."""

import asyncio
import collections
import random

LONGEST_PAUSE_S = 8.0


async def race(awaitable, stop):
    """The result of `awaitable`. As soon as the future `stop` is done, `awaitable` is cancelled and stop's result counts."""
    task = asyncio.ensure_future(awaitable)
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        return stop.result() if stop.done() else task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen


class Inbox:
    """A queue with an end. Bounded by what its sender may send (credits, requests in flight)."""

    def __init__(self):
        self._items = collections.deque()
        self._error = None
        self._changed = asyncio.Event()

    def __len__(self):
        return len(self._items)

    def put(self, item):
        if self._error is None:
            self._items.append(item)
            self._changed.set()

    def end(self, error):
        """After what waits, every get() raises `error`."""
        self._error = self._error or error
        self._changed.set()

    def fail(self, error):
        """Every get() raises `error`, from now on."""
        self._items.clear()
        self.end(error)

    async def get(self):
        while not self._items:
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()
        return self._items.popleft()


class Patience:
    """Bounds how long something is tried again without getting on: growing pauses, `limit_s` in all."""

    def __init__(self, limit_s, first_pause_s, closing):
        self._limit_s, self._first_pause_s, self._closing = limit_s, first_pause_s, closing
        self.reset()

    def reset(self):
        self._deadline, self._pause = None, self._first_pause_s

    async def wait(self, error):
        """Waits before the next try; raises `error` when there is to be none."""
        now = asyncio.get_running_loop().time()
        self._deadline = self._deadline or now + self._limit_s
        if now + self._pause > self._deadline:
            raise error
        # Half to all of the pause: clients of a server that came back must not come at once.
        await race(asyncio.sleep(self._pause * (0.5 + random.random() / 2)), self._closing)
        self._pause = min(LONGEST_PAUSE_S, self._pause * 2)
