#!/usr/bin/env python3
"""Checks a running server against docs/PROTOCOL.md, with clients written from that document alone (wire.py).

    python3 tests/clients/conformance.py target/release/lipsyncd [--model NAME] [-- SERVER ARGUMENTS]

Starts the server on a free port, prints one line a check, exits 1 if one failed.
"""

import argparse
import base64
import json
import os
import socket
import struct
import sys
import threading
import time
import traceback

import wire
from client import BINARY, PROTOBUF, STREAM, TIMED, Client, holds, same, speech
from server import Server, server_arguments

JPEG_BEGIN, JPEG_END = b"\xff\xd8", b"\xff\xd9"

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


@check
def every_protocol_gives_the_same_image(world):
    server, model, pcm = world.server, world.model, world.pcm
    with Client(server) as client:
        plain = client.ask(wire.v1_request(model, 5, pcm))
        binary_bytes = client.bytes_in
        text = client.ask(wire.json_request(model, 5, pcm))
        json_bytes = client.bytes_in
    image = plain["image"]
    holds(image.startswith(JPEG_BEGIN) and image.endswith(JPEG_END), "the image is a JPEG")
    holds(plain["bounds"][0] < plain["bounds"][2] and plain["bounds"][1] < plain["bounds"][3], "bounds are a box")
    same(text["image"], image, "image of JSON")
    same(text["bounds"], plain["bounds"], "bounds of JSON")
    same(text["json"]["model_name"], model, "model_name")
    holds(text["json"]["metadata"]["audio"] == "request", "the request's audio is used")
    with Client(server, BINARY) as client:
        same(client.ask(wire.v1_request(model, 5, pcm))["image"], image, "image of lipsync.v1")
    with Client(server, TIMED) as client:
        timed = client.ask(wire.v1_request(model, 5, pcm))
        same(timed["image"], image, "image of lipsync.v1.timed")
        holds(timed["ms"] < 60_000, "a processing time")
    with Client(server, PROTOBUF) as client:
        for as_base64 in (False, True):
            reply = client.ask(wire.protobuf_request(model, 5, pcm, as_base64, request_id="mine"))
            same(reply["image"], image, "image of protobuf")
            same(reply["bounds"], plain["bounds"], "bounds of protobuf")
            same((reply["request_id"], reply["model"]), ("mine", model), "echo of protobuf")
        batch = client.ask(wire.protobuf_batch(model, [5, 6], pcm))["batch"]
        same([reply["frame"] for reply in batch], [5, 6], "frames of a protobuf batch")
        same(batch[0]["image"], image, "image of a protobuf batch")
    with Client(server, STREAM) as client:
        same(client.ask(wire.json_request(model, 5, pcm))["image"], image, "image of JSON under lipsync.v2")
    ratio = binary_bytes / json_bytes
    holds(ratio <= 0.75, f"binary reply is {ratio:.3f} of JSON's bytes")
    return f"binary {binary_bytes} bytes, JSON {json_bytes}: {ratio:.3f}"


@check
def audio_decides_the_image(world):
    with Client(world.server) as client:
        loud = client.ask(wire.v1_request(world.model, 5, world.pcm))["image"]
        quiet = client.ask(wire.v1_request(world.model, 5, bytes(len(world.pcm))))["image"]
    holds(loud != quiet, "speech and silence give different images")


@check
def the_packages_own_audio(world):
    with Client(world.server) as client:
        plain = client.ask(wire.v1_request(world.model, 3))
        text = client.ask(wire.json_request(world.model, 3))
    same(plain["image"], text["image"], "image without audio")
    same(text["json"]["metadata"]["audio"], "own", "audio")


@check
def frames_walk_to_and_fro(world):
    count = world.metadata["frame_count"]
    far = 2 * (count - 1) + 1 if count > 1 else 7  # one whole walk to and fro, and one step
    with Client(world.server) as client:
        reply = client.ask(wire.json_request(world.model, far, world.pcm))["json"]
        same(reply["frame_id"], far, "frame_id")
        same(reply["metadata"]["avatar_frame"], min(1, count - 1), "avatar_frame")
        reply = client.ask(wire.v1_request(world.model, 0xFFFF_FFFF, world.pcm))
        same(reply["frame"], 0xFFFF_FFFF, "the largest frame_id")


@check
def batches(world):
    frames = [{"frame_id": 4, "audio_override": base64.b64encode(world.pcm).decode()}, {"frame_id": 1}]
    with Client(world.server) as client:
        reply = client.ask(json.dumps({"model_name": world.model, "batch_frames": frames, "request_id": 77}))["json"]
        single = client.ask(wire.v1_request(world.model, 4, world.pcm))
    same([reply["success"], reply["batch"], reply["batch_size"]], [True, True, 2], "batch")
    same(reply["request_id"], "77", "request_id")
    same([frame["frame_id"] for frame in reply["frames"]], [4, 1], "order")
    same(base64.b64decode(reply["frames"][0]["prediction_data"]), single["image"], "image")
    for key in ("total_processing_time_ms", "average_frame_time_ms", "batch_fps"):
        holds(reply[key] > 0, key)


@check
def sample_rates(world):
    pcm = speech(16_000)
    with Client(world.server) as client:
        told = client.ask(wire.json_request(world.model, 2, pcm, rate=16_000))["image"]
        other = client.ask(wire.v1_request(world.model, 2, pcm))["image"]
        reply = client.control("configure", sample_rate=16_000)
        same((reply["type"], reply["success"], reply["sample_rate"]), ("configured", True, 16_000), "configured")
        configured = client.ask(wire.v1_request(world.model, 2, pcm))["image"]
    with Client(world.server, PROTOBUF) as client:
        protobuf = client.ask(wire.protobuf_request(world.model, 2, pcm, rate=16_000))["image"]
    same(configured, told, "image after configure")
    same(protobuf, told, "image of protobuf with a rate")
    holds(other != told, "the rate matters")


@check
def pipelining(world):
    wanted = list(range(8))
    with Client(world.server) as client:
        for frame in wanted:
            client.send(wire.v1_request(world.model, frame, world.pcm))
        pong = client.socket.ping()
        holds(pong.wait(5), "a ping is answered while frames are computed")
        replies = [client.receive() for _ in wanted]
    same(sorted(reply["frame"] for reply in replies), wanted, "frames answered")
    holds(all("image" in reply for reply in replies), "every frame has an image")


@check
def too_many_in_flight_is_busy(world):
    count = 200
    with Client(world.server) as client:
        for frame in range(count):
            client.send(wire.v1_request(world.model, frame, world.pcm))
        replies = [client.receive() for _ in range(count)]
        codes = {reply.get("code") for reply in replies}
        same(sorted(reply["frame"] for reply in replies), list(range(count)), "every request is answered once")
        holds(codes <= {None, "busy"}, f"codes {codes}")
        holds("image" in client.ask(wire.v1_request(world.model, 1, world.pcm)), "then it goes on")
    return f"{sum('code' in reply for reply in replies)} of {count} were busy"


@check
def control_messages(world):
    with Client(world.server) as client:
        stats = client.control("get_stats", request_id="s")
        same((stats["type"], stats["request_id"]), ("stats", "s"), "stats")
        for key in ("total_requests", "binary_requests", "json_requests", "protobuf_requests"):
            holds(isinstance(stats[key], int), key)
        holds(0 <= stats["binary_percentage"] <= 100 and stats["average_time_ms"] >= 0, "figures")
        holds(stats["connected_clients"] >= 1, "connected_clients")
        holds(stats["total_requests"] >= stats["binary_requests"] > 0, "requests were counted")
        info = client.control("switch_to_binary")
        same((info["type"], info["binary_supported"], info["binary_protocol_version"], info["protocol"]),
             ("protocol_info", True, "1.0", "binary"), "protocol_info")
        models = client.control("list_models")
        same((models["type"], models["count"]), ("model_list", len(models["models"])), "model_list")
        holds(world.model in [model["name"] for model in models["models"]], "the model is listed")
        data = client.control("get_metadata", model_name=world.model)
        same((data["type"], data["success"], data["model_name"]), ("metadata", True, world.model), "metadata")
        same(len(data["bounds"]), data["frame_count"], "one bounds for each frame")
        holds(data["look_ahead_ms"] >= 0 and len(data["frame_size"]) == 2, "figures of metadata")
        frame = client.control("get_video_frame", model_name=world.model, frame_id=2)
        same((frame["type"], frame["frame_id"]), ("video_frame", 2), "video_frame")
        holds(base64.b64decode(frame["frame_data"]).startswith(JPEG_BEGIN), "the frame is a JPEG")
        reply = client.ask(json.dumps({"type": "load_model", "model_name": world.model}))
        holds(reply.get("code") in ("forbidden", None), "load_model is refused or done")


@check
def broadcasts(world):
    with Client(world.server) as client:
        client.control("get_stats", subscribe=True)
        again = client.receive(timeout=12)["json"]
        same(again["type"], "stats", "a broadcast")
        holds("request_id" not in again, "a broadcast answers nobody")


@check
def subprotocols(world):
    for offers, wanted in (
        ([PROTOBUF, BINARY, STREAM], STREAM),
        ([PROTOBUF, BINARY, TIMED], TIMED),
        ([PROTOBUF, BINARY], BINARY),
        ([PROTOBUF], PROTOBUF),
        (None, None),
    ):
        with Client(world.server, offers) as client:
            same(client.subprotocol, wanted, f"choice among {offers}")
    with Client(world.server, path="/") as client:
        holds("image" in client.ask(wire.v1_request(world.model, 0, world.pcm)), "a socket at / works")


def bad_messages(world):
    """(subprotocol, message, code, frame or None)"""
    model, u32 = world.model, lambda value: struct.pack("<I", value)
    good = wire.v1_request(model, 7, b"\1\0")
    yield BINARY, b"", "bad_length", 0
    yield BINARY, good[:-1], "bad_length", 7
    yield BINARY, good + b"x", "bad_length", 7
    yield BINARY, good[: 4 + len(model) + 2], "bad_length", 0
    yield BINARY, u32(0xFFFF_FFFF) + b"abc", "bad_length", 0
    yield BINARY, u32(4) + b"face" + u32(7) + u32(0xFFFF_FFFF), "bad_length", 7
    yield BINARY, wire.v1_request(b"\xff\xfe", 7), "bad_utf8", 7
    yield BINARY, wire.v1_request(b"", 7), "bad_field", 7
    yield BINARY, wire.v1_request("no such face", 7), "unknown_model", 7
    yield BINARY, wire.v1_request("../" + model, 7), "unknown_model", 7
    yield BINARY, wire.v1_request("x" * 500, 7), "too_large", 7
    yield BINARY, wire.v1_request(model, 7, b"\1\0\2"), "odd_pcm", 7
    yield BINARY, wire.v1_request(model, 7, bytes(2_000_000)), "too_large", 7
    yield BINARY, "hello", "bad_json", None
    yield BINARY, "[1, 2]", "bad_json", None
    yield BINARY, "[" * 50_000, "bad_json", None
    yield BINARY, '{"frame_id": 7}', "bad_field", 7
    yield BINARY, '{"frame_id": "seven", "model_name": "x"}', "bad_field", None
    yield BINARY, '{"frame_id": -7, "model_name": "x"}', "bad_value", None
    yield BINARY, wire.json_request("no such face", 7), "unknown_model", 7
    yield BINARY, wire.json_request(model, 7, b"\1\0\2"), "odd_pcm", 7
    yield BINARY, wire.json_request(model, 7, audio_override="***"), "bad_base64", 7
    yield BINARY, wire.json_request(model, 7, b"\1\0", rate=7), "bad_value", 7
    yield BINARY, '{"type": "dance", "frame_id": 7}', "unknown_type", 7
    yield BINARY, json.dumps({"model_name": model, "batch_frames": []}), "bad_field", None
    yield BINARY, json.dumps({"model_name": model, "batch_frames": [{"frame_id": 1}] * 5000}), "too_large", None
    yield BINARY, json.dumps({"model_name": "no such face", "batch_frames": [{"frame_id": 1}]}), "unknown_model", None
    yield BINARY, '{"type": "open", "stream": 1}', "wrong_mode", None
    yield TIMED, good[:-1], "bad_length", 7
    yield TIMED, wire.v1_request("no such face", 7), "unknown_model", 7
    yield PROTOBUF, b"\x0b", "bad_protobuf", 0
    yield PROTOBUF, b"\x0a\xff\xff\xff\xff\x0fx", "bad_length", 0
    yield PROTOBUF, wire.protobuf_request("no such face", 7), "unknown_model", 7
    yield PROTOBUF, wire.protobuf_request("", 7), "bad_field", 7
    yield PROTOBUF, wire.protobuf_request(model, -7), "bad_value", 0
    yield PROTOBUF, wire.protobuf_request(model, 7, b"\1\0\2"), "odd_pcm", 7
    yield PROTOBUF, wire.protobuf_batch(model, [1] * 5000), "too_large", 0
    yield PROTOBUF, wire.protobuf_batch("no such face", [1]), "unknown_model", 1
    yield PROTOBUF, wire.field(1, b"\xff\xfe") + wire.field(2, 7), "bad_protobuf", 0
    yield STREAM, b"", "bad_length", None
    yield STREAM, b"\x02", "unknown_type", None
    yield STREAM, wire.stream_audio(1, 0, 0, b"\1\0")[:9], "bad_length", None
    yield STREAM, wire.stream_audio(1, 0, 0, b"\1\0\2"), "odd_pcm", None
    yield STREAM, wire.stream_audio(1, 0, 0, b"\1\0"), "unknown_stream", None
    yield STREAM, '{"type": "pause", "stream": 1}', "unknown_stream", None
    yield STREAM, '{"type": "open", "stream": 70000}', "bad_value", None
    yield STREAM, '{"type": "open", "stream": 1, "model_name": "no such face", "sample_rate": 24000, "credits": 1}', "unknown_model", None
    yield STREAM, '{"type": "open", "stream": 1, "model_name": "x", "sample_rate": 1, "credits": 1}', "bad_value", None


@check
def bad_messages_get_clear_errors_and_the_connection_lives(world):
    clients, table = {}, list(bad_messages(world))
    for subprotocol, message, code, frame in table:
        if subprotocol not in clients:
            clients[subprotocol] = Client(world.server, subprotocol)
        client = clients[subprotocol]
        what = f"{subprotocol} {message[:60]!r}"
        try:
            reply = client.ask(message)
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error
        if isinstance(message, str) and "batch_frames" in message:
            frame = reply["frame"]  # of several frames, any may be told
        same((reply.get("code"), reply["frame"]), (code, frame), what)
        holds(len(reply["error"]) > 10, f"{what}: says what is wrong")
        if code == "unknown_model":
            holds(world.model in reply["error"], f"{what}: names the loaded packages")
        # The same connection goes on: a good request is served.
        if subprotocol == PROTOBUF:
            good = client.ask(wire.protobuf_request(world.model, 1))
        elif subprotocol == STREAM:
            good = client.ask(wire.json_request(world.model, 1))
        else:
            good = client.ask(wire.v1_request(world.model, 1))
        holds("image" in good, f"after {what}: {good}")
    for client in clients.values():
        client.close()
    return f"{len(table)} bad messages"


def raw_websocket(server):
    """A WebSocket by hand, for frames that no library sends."""
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    key = base64.b64encode(os.urandom(16)).decode()
    raw.sendall(
        f"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += raw.recv(4096)
    holds(answer.startswith(b"HTTP/1.1 101"), answer[:60])
    return raw


def close_code(raw):
    data = b""
    while chunk := raw.recv(4096):
        data += chunk
    holds(data[:1] == b"\x88" and len(data) >= 4, f"a close frame, not {data[:20]!r}")
    return struct.unpack(">H", data[2:4])[0]


@check
def broken_frames_close_with_the_standard_codes(world):
    mask = b"\0\0\0\0"
    for what, frame, code in (
        ("text that is not UTF-8", b"\x81\x82" + mask + b"\xff\xfe", 1007),
        ("a frame that claims 2^62 bytes", b"\x82\xff" + struct.pack(">Q", 1 << 62) + mask, 1009),
        ("an unmasked frame", b"\x82\x01x", 1002),
        ("a reserved opcode", b"\x83\x80" + mask, 1002),
    ):
        before = world.server.resident_kib()
        with raw_websocket(world.server) as raw:
            raw.sendall(frame)
            same(close_code(raw), code, what)
        holds(world.server.resident_kib() < before + 20_000, f"{what}: nothing is allocated for a claim")


@check
def other_clients_are_undisturbed(world):
    stop, failures = threading.Event(), []

    def disturb():
        table = [row for row in bad_messages(world) if row[0] == BINARY]
        try:
            with Client(world.server) as client:
                while not stop.is_set():
                    for _, message, _, _ in table:
                        client.ask(message)
        except Exception as error:
            failures.append(error)

    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        with Client(world.server) as client:
            images = {client.ask(wire.v1_request(world.model, 5, world.pcm))["image"] for _ in range(20)}
    finally:
        stop.set()
        disturber.join()
    same(failures, [], "the disturber's own failures")
    same(len(images), 1, "every reply is the same image")


@check
def cut_connections_leave_nothing_behind(world):
    with Client(world.server) as client:
        before = client.control("get_stats")["connected_clients"]
    message = wire.v1_request(world.model, 7, world.pcm)
    frame = b"\x82\xfe" + struct.pack(">H", min(len(message), 65535)) + b"\0\0\0\0" + message
    for cut in range(0, 40, 3):
        with raw_websocket(world.server) as raw:
            raw.sendall(frame[:cut])
    for _ in range(50):
        with Client(world.server) as client:
            now = client.control("get_stats")["connected_clients"]
        if now <= before:
            return f"{now} connected"
        time.sleep(0.1)
    raise AssertionError(f"{now} connected, {before} before")


@check
def what_is_switched_off_is_told_and_json_goes_on(world):
    with Server(world.binary, "--protocols", "json", *world.arguments) as server:
        with Client(server) as client:
            reply = client.ask(wire.v1_request(world.model, 7))
            same(reply["code"], "protocol_disabled", "binary")
            holds("image" in client.ask(wire.json_request(world.model, 7)), "JSON goes on")
            holds(client.control("switch_to_binary")["binary_supported"] is False, "binary_supported")
        for subprotocol in (BINARY, TIMED, PROTOBUF, STREAM):
            with Client(server, subprotocol) as client:
                same(client.subprotocol, subprotocol, "the subprotocol is echoed, or a browser would hang up")
                same(client.receive()["code"], "protocol_disabled", f"{subprotocol} is told at once")
                holds("image" in client.ask(wire.json_request(world.model, 7)), "JSON goes on")
                same(client.ask(b"\x01\0\0\0")["code"], "protocol_disabled", f"binary under {subprotocol}")
    with Server(world.binary, "--protocols", "binary", *world.arguments) as server, Client(server) as client:
        same(client.ask(wire.json_request(world.model, 7))["code"], "protocol_disabled", "JSON inference")
        holds(client.control("list_models")["count"] > 0, "control messages go on")
        holds("image" in client.ask(wire.v1_request(world.model, 7)), "binary goes on")


@check
def stopping_closes_with_1001(world):
    server = Server(world.binary, *world.arguments)
    try:
        with Client(server) as client:
            client.ask(wire.v1_request(world.model, 1))
            stopped = []
            stopper = threading.Thread(target=lambda: stopped.append(server.stop()))
            stopper.start()
            try:
                client.socket.recv(timeout=10)
            except Exception:
                pass
            stopper.join()
            same(client.socket.close_code, 1001, "close code")
            same(stopped, [0], "exit code")
    finally:
        server.stop()


class World:
    def __init__(self, options):
        self.binary, self.arguments = options.binary, options.arguments
        self.server = Server(self.binary, *self.arguments)
        self.pcm = speech(24_000)
        with Client(self.server) as client:
            names = [model["name"] for model in client.control("list_models")["models"]]
            self.model = options.model or names[0]
            self.metadata = client.control("get_metadata", model_name=self.model)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--model", help="default: the first that the server lists")
    parser.add_argument("--only", help="run the checks whose name contains this")
    options = server_arguments(parser)
    world, failed = World(options), 0
    try:
        for function in CHECKS:
            name = function.__name__.replace("_", " ")
            if options.only and options.only not in name:
                continue
            started = time.monotonic()
            try:
                note = function(world)
                print(f"ok    {name} ({time.monotonic() - started:.1f} s){': ' + note if note else ''}", flush=True)
            except Exception as error:
                failed += 1
                print(f"FAIL  {name}: {error}", flush=True)
                if not isinstance(error, AssertionError):
                    traceback.print_exc()
            if world.server.process.poll() is not None:
                print("FAIL  the server is gone")
                return 1
    finally:
        world.server.stop()
    print(f"{failed} failed" if failed else "all held")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
