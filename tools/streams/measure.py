#!/usr/bin/env python3
"""Measures a running server's stream mode from a client's side, with nothing but `websockets`.

    python3 tools/streams/measure.py live      [--streams 4] [--seconds 60]   # speech as a microphone sends it
    python3 tools/streams/measure.py interrupt [--count 50]                   # interrupt to the first new frame
    python3 tools/streams/measure.py silence   [--seconds 60] --pid PID       # what a silent stream costs

Each prints one JSON object. Times are in ms, on this client's clock; a frame's *delay* is from the moment its own sample
was sent to the moment its frame came, of which `look_ahead_ms` is the part that no server can save.
"""

import argparse
import asyncio
import json
import os
import struct
import time
import wave

import websockets

CHUNK_MS = 20
FRAME = struct.Struct("<BBHIIIQIIffff")


def percentile(values, share):
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) if ordered else None


def read_wav(path):
    with wave.open(path) as file:
        assert file.getnchannels() == 1 and file.getsampwidth() == 2, "a mono 16-bit WAV, please"
        return file.getframerate(), file.readframes(file.getnframes())


class Client:
    """One connection with one stream."""

    def __init__(self, args, rate):
        self.args, self.rate = args, rate
        self.frames, self.dropped, self.opened = [], {}, None
        self.ready, self.new_epoch = asyncio.Event(), asyncio.Event()

    async def connect(self):
        self.socket = await websockets.connect(
            self.args.url, subprotocols=["lipsync.v2"], max_size=1 << 24, compression=None
        )
        self.reader = asyncio.create_task(self.read())
        await self.say(type="open", stream=0, model_name=self.args.model, sample_rate=self.rate, credits=500)
        await self.ready.wait()
        return self.opened["type"] == "opened"

    async def say(self, **message):
        await self.socket.send(json.dumps(message))

    async def audio(self, epoch, first, pcm):
        await self.socket.send(struct.pack("<BBHIQ", 1, 0, 0, epoch, first) + pcm)

    async def read(self):
        async for message in self.socket:
            now = time.perf_counter()
            if isinstance(message, bytes):
                _, flags, _, epoch, sequence, _, sample, _, compute_us, *_ = FRAME.unpack_from(message)
                self.frames.append((now, flags, epoch, sequence, sample, compute_us))
                self.new_epoch.set()
                if len(self.frames) % 25 == 0:
                    await self.say(type="credit", stream=0, frames=25)
                continue
            body = json.loads(message)
            if body["type"] in ("opened", "busy", "error"):
                self.opened = self.opened or body
                self.ready.set()
            if body["type"] == "dropped":
                self.dropped[body["reason"]] = self.dropped.get(body["reason"], 0) + body["count"]

    async def live(self, pcm, seconds):
        """Sends `pcm` over and over, in real time. Returns the start, when sample 0 began to be spoken."""
        size = self.rate * CHUNK_MS // 1000
        start, first = time.perf_counter(), 0
        while first < seconds * self.rate:
            at = first * 2 % (len(pcm) - 2 * size)
            first += size
            await asyncio.sleep(max(0, start + first / self.rate - time.perf_counter()))
            await self.audio(0, first - size, pcm[at : at + 2 * size])
        await self.say(type="end", stream=0, epoch=0)
        await asyncio.sleep(1.5)
        return start

    async def close(self):
        await self.say(type="close", stream=0)
        await self.socket.close()
        self.reader.cancel()


async def live(args):
    rate, pcm = read_wav(args.audio)
    clients = [Client(args, rate) for _ in range(args.streams)]
    admitted = [client for client in clients if await client.connect()]
    starts = await asyncio.gather(*(client.live(pcm, args.seconds) for client in admitted))
    delays, late, images, dropped, compute = [], 0, 0, {}, []
    for client, start in zip(admitted, starts):
        allowed = client.opened["max_delay_ms"] / 1000
        for now, flags, _, sequence, sample, compute_us in client.frames:
            if sample < args.seconds * rate:
                delays.append((now - start - sample / rate) * 1000)
                late += now - start - sample / rate > allowed
            if not flags & 3:
                images += 1
                compute.append(compute_us / 1000)
        for reason, count in client.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
    for client in clients:
        await client.close()
    return {
        "streams": len(admitted),
        "refused": args.streams - len(admitted),
        "capacity": clients[0].opened.get("limits", clients[0].opened).get("capacity"),
        "look_ahead_ms": admitted[0].opened["look_ahead_ms"] if admitted else None,
        "frames": len(delays),
        "with_image": images,
        "dropped": dropped,
        "late": late,
        "delay_p50": percentile(delays, 0.5),
        "delay_p99": percentile(delays, 0.99),
        "compute_p50": percentile(compute, 0.5),
        "compute_p99": percentile(compute, 0.99),
    }


async def interrupt(args):
    rate, pcm = read_wav(args.audio)
    client = Client(args, rate)
    assert await client.connect(), client.opened
    ahead = int((client.opened["look_ahead_ms"] + 200) * rate / 1000) * 2
    times = []
    for epoch in range(1, args.count + 1):
        # Half a second of speech is on its way; then the person is interrupted, and the answer is there at once.
        await client.audio(epoch - 1, 0 if epoch == 1 else ahead // 2, pcm[: rate * 4])
        await asyncio.sleep(0.12)
        client.new_epoch.clear()
        start = time.perf_counter()
        await client.say(type="interrupt", stream=0, epoch=epoch)
        await client.audio(epoch, 0, pcm[rate : rate + ahead])
        while not any(frame[2] == epoch for frame in client.frames[-8:]):
            client.new_epoch.clear()
            await asyncio.wait_for(client.new_epoch.wait(), 10)
        first = next(frame for frame in client.frames if frame[2] == epoch)
        times.append((first[0] - start) * 1000)
    await client.close()
    return {"interrupts": len(times), "first_frame_p50": percentile(times, 0.5), "first_frame_p99": percentile(times, 0.99)}


async def silence(args):
    rate, _ = read_wav(args.audio)
    client = Client(args, rate)
    assert await client.connect(), client.opened

    def cpu_seconds():
        fields = open(f"/proc/{args.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, start = cpu_seconds(), time.perf_counter()
    await client.live(bytes(rate * 4), args.seconds)
    used = (cpu_seconds() - before) / (time.perf_counter() - start)
    await client.close()
    idle = sum(1 for frame in client.frames if frame[1] & 1)
    return {"frames": len(client.frames), "idle": idle, "share_of_a_core_percent": round(100 * used, 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["live", "interrupt", "silence"])
    parser.add_argument("--url", default="ws://127.0.0.1:8765/ws")
    parser.add_argument("--model", default="default_model")
    parser.add_argument("--audio", default="static/samples/english.wav", help="a mono 16-bit WAV of speech")
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--pid", help="the server's process, for `silence`")
    args = parser.parse_args()
    print(json.dumps(asyncio.run(globals()[args.what](args))))


main()
