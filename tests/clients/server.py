"""A server for a test: started on a free port, stopped at the end."""

import contextlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, binary, *arguments, port=None, start_s=60):
        self.port = port or free_port()
        command = [binary, "--port", str(self.port), *arguments]
        self.process = subprocess.Popen(command)
        deadline = time.monotonic() + start_s
        while self.status("/readyz") != 200:
            if self.process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended with {self.process.returncode}")
            if time.monotonic() > deadline:
                self.stop()
                raise SystemExit(f"the server was not ready after {start_s} s")
            time.sleep(0.1)

    def url(self, path="/ws"):
        return f"ws://127.0.0.1:{self.port}{path}"

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:
            return response.read()

    def status(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:
                return response.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def resident_kib(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    def threads(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("Threads"))

    def stop(self):
        """Stops the server; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
            self.process.kill()
        return self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def server_arguments(parser):
    """Parses the command line: `arguments` is what comes after --, for the server."""
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:end])
    options.arguments = arguments[end + 1 :]
    return options
