"""Starts the release binary as systemd would, speaks to it as a client would, and stops it.

usage: smoke.py LIPSYNCD MODELS
"""

import asyncio
import base64
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import websockets

LIMIT_S = 60


def http(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


async def frames(port, model):
    """One binary and one JSON request for the same frame and sound: the same picture."""
    pcm = b"".join(struct.pack("<h", (i * i // 7) % 8000 - 4000) for i in range(15360))
    name = model.encode()
    async with websockets.connect(f"ws://127.0.0.1:{port}/") as client:
        await client.send(struct.pack("<I", len(name)) + name + struct.pack("<II", 12, len(pcm)) + pcm)
        reply = await client.recv()
        success, frame, size = struct.unpack_from("<BII", reply)
        assert (success, frame) == (1, 12), reply[:200]
        image = reply[9 : 9 + size]
        assert image[:2] == b"\xff\xd8", image[:8]
        await client.send(json.dumps({
            "model_name": model, "frame_id": 12, "audio_override": base64.b64encode(pcm).decode(),
        }))
        text = await client.recv()
        answer = json.loads(text)
        assert answer["success"] and base64.b64decode(answer["prediction_data"]) == image
        share = len(reply) / len(text)
        print(f"binary {len(reply)} bytes, JSON {len(text)} bytes: {share:.2f}")
        assert share <= 0.75 or size < 4000, "the binary reply is to be at most 0.75 of the JSON reply"


def main():
    binary, models = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notified.bind(os.path.join(folder, "notify"))
        notified.settimeout(LIMIT_S)
        server = subprocess.Popen(
            [binary, "--port", "0", "--models", models],
            stderr=subprocess.PIPE, text=True,
            env={**os.environ, "NOTIFY_SOCKET": os.path.join(folder, "notify")},
        )
        try:
            port = None
            for line in server.stderr:
                print(line, end="")
                found = re.search(r"listening on http://127\.0\.0\.1:(\d+)/", line)
                if found:
                    port = int(found[1])
                    break
            assert port, "it never said where it listens"
            assert notified.recv(100).startswith(b"READY=1")
            assert http(port, "/healthz") == (200, b"ok\n")
            assert http(port, "/readyz")[0] == 200
            status, page = http(port, "/")
            assert status == 200 and b"<html" in page, page[:100]
            listed = json.loads(http(port, "/models")[1])
            model = next((m["name"] for m in listed["models"] if m["name"] in ("default_model", "tiny")))
            asyncio.run(frames(port, model))
            server.send_signal(signal.SIGTERM)
            rest = server.stderr.read()
            print(rest, end="")
            assert server.wait(LIMIT_S) == 0, server.returncode
            assert notified.recv(100).startswith(b"STOPPING=1")
        finally:
            server.kill()
    print("smoke: ok")


main()
