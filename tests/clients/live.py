#!/usr/bin/env python3
"""Streams speech at the pace it is spoken, and measures whether every frame comes in time.

    python3 tests/clients/live.py target/release/lipsyncd [--streams 4] [--seconds 60] [--silence] [-- SERVER ARGUMENTS]

Reports, per stream: frames, drops, how long after its instant a frame arrived (look-ahead and one chunk are part of
it), how late against its deadline; then the time from an interrupt to the first new frame, and the server's share of
a core. Exits 1 if a frame was dropped or late. With --silence nobody speaks.
"""

import argparse
import asyncio
import json
import os
import sys
import time
import wave

from websockets.asyncio.client import connect

import wire
from server import Server, server_arguments

CHUNK_MS = 40
SAMPLE = os.path.join(os.path.dirname(__file__), "..", "..", "static", "samples", "english.wav")


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


class Run:
    """One stream, spoken in real time."""

    def __init__(self, options, url, pcm, rate):
        self.options, self.url, self.pcm, self.rate = options, url, pcm, rate
        self.delays, self.late, self.drops, self.interrupts, self.errors = [], [], {}, [], []
        self.frames = self.idle = self.received = 0
        self.begun = {}  # epoch -> when its first sample was spoken

    async def run(self, model):
        async with connect(self.url, subprotocols=["lipsync.v2"], compression=None, max_size=64 << 20) as self.socket:
            await self.say("open", model_name=model, sample_rate=self.rate, credits=1000)
            self.opened = json.loads(await self.socket.recv())
            if self.opened["type"] != "opened":
                self.errors.append(self.opened)
                return self
            reading = asyncio.create_task(self.read())
            await self.speak(0, self.options.seconds)
            for epoch in range(1, self.options.interrupts + 1):
                await self.interrupt(epoch)
            await asyncio.sleep(1)
            reading.cancel()
        return self

    async def say(self, kind, **fields):
        await self.socket.send(json.dumps({"type": kind, "stream": 0, **fields}))

    async def speak(self, epoch, seconds):
        count = self.rate * CHUNK_MS // 1000
        begun = self.begun[epoch] = time.monotonic()
        for n in range(int(seconds * 1000 / CHUNK_MS)):
            # A chunk can be sent once its last sample was spoken.
            await asyncio.sleep(max(0, begun + (n + 1) * CHUNK_MS / 1000 - time.monotonic()))
            at = 2 * count * n % (len(self.pcm) - 2 * count)
            at -= at % 2
            await self.socket.send(wire.stream_audio(0, epoch, n * count, self.pcm[at : at + 2 * count]))

    async def interrupt(self, epoch):
        """A new utterance cuts the old one off; its audio is there at once, as from a speech synthesiser."""
        self.first, asked = asyncio.Event(), time.monotonic()
        await self.say("interrupt", epoch=epoch)
        count = self.rate
        begin = 2 * (self.rate * epoch * 7 // 10) % (len(self.pcm) - 2 * count)
        self.begun[epoch] = None
        await self.socket.send(wire.stream_audio(0, epoch, 0, self.pcm[begin : begin + 2 * count]))
        await asyncio.wait_for(self.first.wait(), 10)
        self.interrupts.append((time.monotonic() - asked) * 1000)
        await asyncio.sleep(0.3)

    async def read(self):
        while True:
            message = await self.socket.recv()
            now = time.monotonic()
            if isinstance(message, str):
                message = json.loads(message)
                if message["type"] == "dropped" and message["reason"] != "interrupted":
                    self.drops[message["reason"]] = self.drops.get(message["reason"], 0) + message["count"]
                elif message["type"] == "error":
                    self.errors.append(message)
                continue
            frame = wire.stream_frame(message)
            self.received += 1
            if self.received % 25 == 0:
                await self.say("credit", frames=25)
            begun = self.begun[frame["epoch"]]
            if begun is None:
                self.first.set()
                continue
            self.frames += 1
            self.idle += bool(frame["flags"] & wire.IDLE)
            delay = (now - begun - frame["sample"] / frame["rate"]) * 1000
            self.delays.append(delay)
            self.late.append(max(0.0, delay - self.opened["max_delay_ms"] - CHUNK_MS))


async def measure(options, server, pcm, rate, model):
    cpu, begun = server.cpu_s(), time.monotonic()
    runs = await asyncio.gather(*(Run(options, server.url(), pcm, rate).run(model) for _ in range(options.streams)))
    return runs, (server.cpu_s() - cpu) / (time.monotonic() - begun)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--model", default="default_model")
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--interrupts", type=int, default=20)
    parser.add_argument("--audio", default=SAMPLE, help="WAV, PCM16 mono")
    parser.add_argument("--silence", action="store_true")
    options = server_arguments(parser)
    with wave.open(options.audio) as wav:
        rate, pcm = wav.getframerate(), wav.readframes(wav.getnframes())
    if options.silence:
        pcm, options.interrupts = bytes(len(pcm)), 0
    with Server(options.binary, *options.arguments) as server:
        runs, share = asyncio.run(measure(options, server, pcm, rate, options.model))
    opened = [run for run in runs if run.opened["type"] == "opened"]
    print("stream  frames   idle  drops  after its instant, ms: p50    p99    max   past its deadline, ms: p99")
    failed = False
    for number, run in enumerate(runs):
        if run not in opened:
            print(f"{number:6}  refused: {run.opened['error']}")
            continue
        drops = sum(run.drops.values())
        late = percentile(run.late, 0.99)
        failed |= bool(drops or late or run.errors)
        p50, p99 = percentile(run.delays, 0.5), percentile(run.delays, 0.99)
        print(f"{number:6}  {run.frames:6} {run.idle:6} {drops:6}  {p50:27.1f} {p99:6.1f} {max(run.delays):6.1f} {late:28.1f}")
        for error in run.errors:
            print(f"        {error}")
    if opened:
        first = opened[0].opened
        print(f"look-ahead {first['look_ahead_ms']} ms, max_delay {first['max_delay_ms']} ms, capacity {first['limits']['capacity']}")
    interrupts = [value for run in opened for value in run.interrupts]
    if interrupts:
        median, p99 = percentile(interrupts, 0.5), percentile(interrupts, 0.99)
        print(f"interrupt to first new frame: median {median:.1f} ms, p99 {p99:.1f} ms ({len(interrupts)} interrupts)")
    print(f"the server used {100 * share:.1f} % of a core")
    return 1 if failed or not opened else 0


if __name__ == "__main__":
    sys.exit(main())
