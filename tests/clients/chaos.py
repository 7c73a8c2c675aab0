#!/usr/bin/env python3
"""Stream mode under clients that do everything wrong, beside one that does everything right.

    python3 tests/clients/chaos.py target/release/lipsyncd [--seconds 60] [--clients 6] [--seed 1] [-- SERVER ARGUMENTS]

Random chunk sizes, pauses, duplicates, out-of-order and overlapping samples, interrupts at any moment, nonsense,
messages in fragments, connections cut at any byte, streams taken up again. Every message of the server is checked
against docs/PROTOCOL.md; at the end no stream, connection, thread or memory may be left over. Exits 1 if a rule was
broken; the seed makes the clients do the same again.
"""

import argparse
import asyncio
import base64
import collections
import contextlib
import json
import os
import random
import struct
import sys
import time

import wire
from server import Server, server_arguments

RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000)
# Errors that a client like these asks for. Anything else, `internal` above all, is a fault of the server.
EXPECTED = {
    "bad_sequence", "too_large", "unknown_stream", "stream_exists", "busy", "bad_value", "bad_field", "bad_json",
    "bad_length", "odd_pcm", "unknown_type", "unknown_model", "unsupported", "bad_token",
}  # fmt: skip


class Broken(Exception):
    """The server broke a rule."""


class Cut(Exception):
    """The connection is gone."""


class Socket:
    """A WebSocket by hand, so that frames can be split and cut anywhere."""

    async def open(self, port, subprotocol="lipsync.v2"):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        key = base64.b64encode(os.urandom(16)).decode()
        self.writer.write(
            f"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n".encode()
        )
        head = await self.reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise Cut(head[:60])
        return self

    @staticmethod
    def frame(opcode, payload, final=True):
        size = len(payload)
        head = bytes([opcode | (0x80 if final else 0)])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 65536:
            head += bytes([0xFE]) + struct.pack(">H", size)
        else:
            head += bytes([0xFF]) + struct.pack(">Q", size)
        mask = os.urandom(4)
        key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        return head + mask + (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")

    async def send(self, message, dice):
        opcode = 1 if isinstance(message, str) else 2
        payload = message.encode() if isinstance(message, str) else message
        if dice.random() < 0.1 and len(payload) > 1:  # in fragments, with a ping between
            middle = dice.randrange(1, len(payload))
            data = self.frame(opcode, payload[:middle], False) + self.frame(9, b"hi") + self.frame(0, payload[middle:])
        else:
            data = self.frame(opcode, payload)
        if dice.random() < 0.1:  # in two pieces on the wire
            at = dice.randrange(len(data))
            self.writer.write(data[:at])
            await self.drain()
            await asyncio.sleep(dice.random() * 0.02)
            data = data[at:]
        self.writer.write(data)
        await self.drain()

    async def drain(self):
        try:
            await self.writer.drain()
        except OSError as error:
            raise Cut(error) from error

    async def receive(self):
        """A whole message; pongs are passed over."""
        try:
            while True:
                first, second = await self.reader.readexactly(2)
                size = second & 0x7F
                if size == 126:
                    (size,) = struct.unpack(">H", await self.reader.readexactly(2))
                elif size == 127:
                    (size,) = struct.unpack(">Q", await self.reader.readexactly(8))
                payload = await self.reader.readexactly(size)
                opcode = first & 0x0F
                if opcode == 8:
                    raise Cut(f"closed by the server: {payload!r}")
                if opcode == 9:
                    self.writer.write(self.frame(10, payload))
                elif opcode == 1:
                    return payload.decode()
                elif opcode == 2:
                    return payload
        except (asyncio.IncompleteReadError, OSError) as error:
            raise Cut(error) from error

    def abort(self):
        self.writer.transport.abort()


class Stream:
    """What a client knows of one of its streams, and the rules for what the server says of it."""

    def __init__(self, rate, image, credits):
        self.rate, self.image, self.credits, self.granted = rate, image, credits, credits
        self.opened = None
        self.epoch = 0  # the highest that was sent
        self.floor = 0  # no frame of a lower epoch may come
        self.position = 0
        self.seen = {}  # epoch -> last sequence
        self.ended = set()  # epochs whose last frame has come
        self.frames = self.idle = 0

    def take_frame(self, frame):
        epoch, sequence = frame["epoch"], frame["sequence"]
        where = f"epoch {epoch} sequence {sequence}"
        if not self.opened:
            raise Broken(f"{where}: a frame before the stream was opened")
        if epoch < self.floor:
            raise Broken(f"{where}: a frame of a void epoch, {self.floor} counts")
        if epoch > self.epoch:
            raise Broken(f"{where}: a frame of an epoch that was never sent")
        if epoch < max(self.seen, default=0):
            raise Broken(f"{where}: epochs out of order")
        if sequence <= self.seen.get(epoch, -1):
            raise Broken(f"{where}: sequence out of order")
        if epoch in self.ended:
            raise Broken(f"{where}: a frame after the last")
        if frame["sample"] != sequence * self.rate // 25 or frame["rate"] != self.rate:
            raise Broken(f"{where}: sample {frame['sample']} at {frame['rate']} Hz")
        if frame["avatar_frame"] >= self.opened["frame_count"]:
            raise Broken(f"{where}: avatar frame {frame['avatar_frame']}")
        self.frames += 1
        self.idle += frame["flags"] & wire.IDLE
        if self.frames > self.granted:
            raise Broken(f"{where}: more frames than credits, {self.frames} > {self.granted}")
        self.seen[epoch] = sequence
        if frame["flags"] & wire.LAST:
            self.ended.add(epoch)

    def take_update(self, message):
        kind = message["type"]
        if kind in ("opened", "changed"):
            self.model = message["model_name"]  # what it is resumed with
        if kind == "opened":
            self.opened = message
            self.epoch = self.floor = message["epoch"]
            self.position = 0
        elif kind == "interrupted":
            if message["epoch"] > self.epoch:
                raise Broken(f"{message}: an epoch that was never sent")
            last = self.seen.get(message["last_epoch"])
            if message["last_sequence"] != last:
                raise Broken(f"{message}: {last} was the last frame that came")
            self.floor = max(self.floor, message["epoch"])


class Tally:
    def __init__(self):
        self.counts = collections.Counter()
        self.broken = []
        self.tokens = []  # of streams whose connection was cut


class Client:
    """One connection that does things at random until it is cut or the time is up."""

    def __init__(self, options, port, models, dice, tally):
        self.port, self.models, self.dice, self.tally = port, models, dice, tally
        self.options = options
        self.streams = {}

    async def run(self, until):
        self.socket = await Socket().open(self.port)
        reading = asyncio.create_task(self.read())
        try:
            while time.monotonic() < until and not reading.done():
                action = self.dice.choices(ACTIONS, WEIGHTS)[0]
                self.tally.counts[action.__name__] += 1
                await action(self)
        except Cut:
            self.tally.counts["cut by the server"] += 1
        finally:
            for stream in self.streams.values():
                if stream.opened:
                    self.tally.tokens.append((stream.opened["token"], stream.model, stream.rate, stream.image))
            self.socket.abort()
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, Cut):
                await reading

    async def read(self):
        try:
            while True:
                message = await self.socket.receive()
                self.tally.counts["messages received"] += 1
                if isinstance(message, bytes):
                    frame = wire.stream_frame(message)
                    if stream := self.streams.get(frame["stream"]):
                        stream.take_frame(frame)
                    self.tally.counts["frames received"] += 1
                    self.tally.counts["idle frames received"] += frame["flags"] & wire.IDLE
                    self.tally.counts["held frames received"] += bool(frame["flags"] & wire.HELD)
                    continue
                message = json.loads(message)
                if message["type"] in ("error", "busy"):
                    self.tally.counts[f"error {message['code']}"] += 1
                    if message["code"] not in EXPECTED:
                        raise Broken(message)
                elif message["type"] == "dropped":
                    self.tally.counts[f"dropped {message['reason']}"] += 1
                    if message["count"] < 1 or message["last"] < message["first"]:
                        raise Broken(message)
                if message["type"] == "closed":
                    self.streams.pop(message["stream"], None)
                elif stream := self.streams.get(message.get("stream")):
                    stream.take_update(message)
        except (Broken, ValueError, KeyError) as error:
            self.tally.broken.append(repr(error))
            self.socket.abort()

    async def say(self, kind, stream, **fields):
        await self.socket.send(json.dumps({"type": kind, "stream": stream, **fields}), self.dice)

    def some_stream(self):
        return self.dice.choice(list(self.streams.items())) if self.streams else (None, None)

    # What a client may do

    async def open(self):
        number = self.dice.randrange(3)
        if number in self.streams:
            return
        rate, credits = self.dice.choice(RATES), self.dice.choice((0, 1, 10, 100, 5_000))
        fields = {"model_name": self.dice.choice(self.models), "sample_rate": rate, "credits": credits}
        fields["image"] = self.dice.choice(("mouth", "mouth", "full"))
        if self.dice.random() < 0.3:
            fields["max_delay_ms"] = self.dice.choice((0, 200, 2_000, 60_000))
        if self.tally.tokens and self.dice.random() < 0.5:
            fields["token"], fields["model_name"], rate, fields["image"] = self.tally.tokens.pop()
            fields["sample_rate"] = rate
        # A server caps what is saved up; granted is what it may never pass.
        self.streams[number] = Stream(rate, fields["image"], credits)
        await self.say("open", number, **fields)
        for _ in range(200):
            stream = self.streams.get(number)
            if stream is None or stream.opened:
                return
            await asyncio.sleep(0.01)
        self.streams.pop(number, None)  # refused: busy, or an old token

    async def audio(self):
        number, stream = self.some_stream()
        if stream is None or not stream.opened:
            return
        for _ in range(self.dice.randrange(1, 12)):
            count = self.dice.choice((0, 1, 7, 160, 960, 4_000, 20_000))
            first = stream.position
            trick = self.dice.random()
            if trick < 0.1:  # a duplicate, or an overlap
                first = max(0, first - self.dice.randrange(1, 2_000))
            elif trick < 0.2:  # a hole, or the next chunk before this one
                first += self.dice.choice((1, 100, 5_000, 100_000, 1 << 40, (1 << 63)))
            loud = self.dice.choice((0, 30, 8_000))
            pcm = bytes(2 * count) if not loud else struct.pack(
                f"<{count}h", *(self.dice.randrange(-loud, loud + 1) for _ in range(count))
            )
            if trick > 0.97 and stream.epoch:  # audio of an epoch that is over
                await self.socket.send(wire.stream_audio(number, stream.epoch - 1, first, pcm), self.dice)
            else:
                await self.socket.send(wire.stream_audio(number, stream.epoch, first, pcm), self.dice)
                if first < stream.position + 100_000:
                    stream.position = max(stream.position, first + count)

    async def next_epoch(self):
        number, stream = self.some_stream()
        if stream and stream.opened and stream.epoch < 1 << 30:
            stream.epoch, stream.position = stream.epoch + self.dice.choice((1, 1, 5)), 0
            if self.dice.random() < 0.5:
                await self.say("start", number, epoch=stream.epoch, avatar_frame=self.dice.randrange(1 << 20))
            await self.audio()

    async def end(self):
        number, stream = self.some_stream()
        if stream:
            await self.say("end", number, epoch=stream.epoch)

    async def interrupt(self):
        number, stream = self.some_stream()
        if stream and stream.opened:
            stream.epoch, stream.position = stream.epoch + 1, 0
            await self.say("interrupt", number, epoch=stream.epoch)

    async def old_interrupt(self):
        number, stream = self.some_stream()
        if stream and stream.opened:
            await self.say("interrupt", number, epoch=self.dice.randrange(stream.epoch + 1))

    async def credit(self):
        number, stream = self.some_stream()
        if stream and stream.opened:
            frames = self.dice.choice((1, 5, 25, 100))
            stream.granted += frames
            await self.say("credit", number, frames=frames)

    async def pause(self):
        number, _ = self.some_stream()
        if number is not None:
            await self.say("pause", number)
            await asyncio.sleep(self.dice.random() * 0.3)
            await self.say("resume", number)

    async def change(self):
        number, _ = self.some_stream()
        if number is not None:
            await self.say("change", number, model_name=self.dice.choice([*self.models, "no such face"]))

    async def stats(self):
        number, _ = self.some_stream()
        if number is not None:
            await self.say("stats", number)

    async def nonsense(self):
        number = self.dice.randrange(5)
        message = self.dice.choice((
            b"", b"\x01", b"\x02abc", os.urandom(self.dice.randrange(200)),
            wire.stream_audio(number, 0, 0, b"\0\0\0"), wire.stream_audio(99, 0, 0, b"\0\0"),
            "{", "[]", '{"type":"dance"}', '{"type":"open","stream":9}', '{"type":"credit","stream":1,"frames":-1}',
            '{"type":"end","stream":1}', '{"type":"interrupt","stream":77,"epoch":3}',
        ))  # fmt: skip
        if isinstance(message, bytes) and message[:2] == b"\x01\x00" and len(message) >= 16:
            message = message[:15]  # random bytes that would be audio confuse only this client's own count
        await self.socket.send(message, self.dice)

    async def rest(self):
        await asyncio.sleep(self.dice.random() * 0.5)

    async def close(self):
        number, stream = self.some_stream()
        if stream:
            await self.say("close", number)
            for _ in range(200):
                if self.streams.get(number) is not stream:
                    return
                await asyncio.sleep(0.01)
            self.streams.pop(number, None)

    async def cut(self):
        """Cuts the connection in the middle of a message."""
        data = Socket.frame(2, wire.stream_audio(0, 0, 0, bytes(self.dice.randrange(0, 4_000, 2))))
        self.socket.writer.write(data[: self.dice.randrange(len(data))])
        await self.socket.drain()
        raise Cut("by the client")


ACTIONS = (
    Client.open, Client.audio, Client.next_epoch, Client.end, Client.interrupt, Client.old_interrupt, Client.credit,
    Client.pause, Client.change, Client.stats, Client.nonsense, Client.rest, Client.close, Client.cut,
)  # fmt: skip
WEIGHTS = (6, 30, 3, 4, 4, 1, 15, 2, 2, 2, 4, 8, 1, 1)


async def misbehave(options, server, models, dice, tally, until):
    while time.monotonic() < until:
        try:
            await Client(options, server.port, models, dice, tally).run(until)
        except (Cut, OSError) as error:
            tally.counts[f"no connection: {type(error).__name__}"] += 1
            await asyncio.sleep(0.1)


async def behave(server, model, tally, until):
    """One request after another, by a client that does nothing wrong: always the same image."""
    socket, dice = await Socket().open(server.port, "lipsync.v1"), random.Random(0)
    pcm = struct.pack("<7680h", *(dice.randrange(-4_000, 4_000) for _ in range(7_680)))
    images, slowest = set(), 0.0
    while time.monotonic() < until:
        begun = time.monotonic()
        await socket.send(wire.v1_request(model, 3, pcm), random.Random(1))
        reply = wire.v1_reply(await socket.receive())
        slowest = max(slowest, time.monotonic() - begun)
        if "image" in reply:
            images.add(reply["image"])
            tally.counts["good requests"] += 1
        else:
            tally.counts[f"good requests: {reply['code']}"] += 1
            if reply["code"] != "busy":
                tally.broken.append(f"a good request was answered {reply}")
        await asyncio.sleep(0.05)
    socket.abort()
    if len(images) != 1:
        tally.broken.append(f"the same request gave {len(images)} images")
    tally.counts["slowest good request, ms"] = round(slowest * 1000)


async def round_of(options, server, models, seed, seconds, tally):
    until = time.monotonic() + seconds
    clients = [
        misbehave(options, server, models, random.Random(seed * 1_000 + n), tally, until)
        for n in range(options.clients)
    ]
    await asyncio.gather(behave(server, models[0], tally, until), *clients)


def settle(server, seconds):
    """Waits until no stream is left; the figures then."""
    deadline = time.monotonic() + seconds
    while True:
        stats = json.loads(server.get("/stats"))
        if stats["streams"]["open"] == 0 and stats["connected_clients"] == 0 and stats["queue_depth"] == 0:
            return stats
        if time.monotonic() > deadline:
            return stats
        time.sleep(0.2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    options = server_arguments(parser)
    tally = Tally()
    # Small caches: what they keep is no leak, and would hide one.
    limits = ["--resume-ms", "1000", "--max-crop-cache-bytes", "1048576", "--max-row-cache-bytes", "65536"]
    with Server(options.binary, *limits, *options.arguments) as server:
        models = [model["name"] for model in json.loads(server.get("/models"))["models"]]
        # A first part fills caches and pools; what is left after it is the server's normal size.
        asyncio.run(round_of(options, server, models, options.seed, options.seconds / 3, tally))
        settle(server, 10)
        memory, threads = server.resident_kib(), server.threads()
        asyncio.run(round_of(options, server, models, options.seed + 1, options.seconds, tally))
        stats = settle(server, 10)
        time.sleep(1)
        more, threads_more = server.resident_kib() - memory, server.threads() - threads
        if server.process.poll() is not None:
            tally.broken.append(f"the server ended with {server.process.returncode}")
        for what, left in (("streams", stats["streams"]["open"]), ("clients", stats["connected_clients"])):
            if left:
                tally.broken.append(f"{left} {what} are left over")
        if threads_more > 0:
            tally.broken.append(f"{threads_more} threads are left over")
        if more > 16_384:
            tally.broken.append(f"{more} KiB of memory are left over ({memory} KiB before)")
        code = server.stop()
        if code != 0:
            tally.broken.append(f"the server ended with {code}")
    for name, count in sorted(tally.counts.items()):
        print(f"{count:9}  {name}")
    print(f"memory {memory} KiB, {more:+} KiB after; threads {threads}, {threads_more:+}")
    for fault in collections.Counter(tally.broken).most_common():
        print(f"FAIL  {fault[1]} times: {fault[0]}")
    print("all held" if not tally.broken else f"{len(tally.broken)} rules broken (seed {options.seed})")
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
