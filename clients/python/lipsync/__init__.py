"""A client of lipsyncd for asyncio: docs/PROTOCOL.md, versions 1 and 2. Needs the package `websockets`.

    async with lipsync.Client("ws://localhost:8765/ws") as client:
        async for frame in client.speak("default_model", pcm, sample_rate=24000):
            show(frame)

It streams where the server streams, asks frame by frame where it does not (binary, or JSON where binary is
switched off), and connects again with growing pauses when the connection breaks.
"""

from .client import Client
from .messages import Disconnected, Frame, LipsyncError, Refused, StreamClosed
from .stream import Stream

__all__ = ["Client", "Disconnected", "Frame", "LipsyncError", "Refused", "Stream", "StreamClosed"]
