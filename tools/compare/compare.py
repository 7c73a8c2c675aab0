"""Forward-pass times of one network: lipsyncd, plain tract, onnxruntime, and OpenVINO where it is installed.

    python tools/compare/compare.py --lipsyncd target/release/lipsyncd NETWORK.onnx [NETWORK.onnx ...]

One thread, f32. The programs take turns, round after round, so that whatever else the machine does hits all alike;
reported is the median over the rounds of each program's shortest pass in a round, and its ratio to onnxruntime's.
"kept" is lipsyncd with the encoder half of the frame kept from an earlier pass (see docs/KERNELS.md): never compare it
with a pass over a frame that was not seen before.

Needs numpy and onnxruntime; OpenVINO is used if it can be imported.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import onnxruntime


def shortest(run, passes):
    """Milliseconds of the shortest of `passes` calls."""
    best = float("inf")
    for _ in range(passes):
        started = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - started)
    return best * 1e3


class Onnxruntime:
    def __init__(self, file, inputs):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.inputs = inputs

    def __call__(self, passes):
        return shortest(lambda: self.session.run(None, self.inputs), passes)


class OpenVino:
    def __init__(self, file, inputs):
        import openvino

        settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        self.model = openvino.Core().compile_model(file, "CPU", settings)
        self.inputs = inputs

    def __call__(self, passes):
        return shortest(lambda: self.model(self.inputs), passes)


class Lipsyncd:
    """`lipsyncd bench`, in a process of its own; `kept` picks the other of its two figures."""

    def __init__(self, program, file, simd="", kept=False):
        self.command = [program, "bench", "--unet", file, "--json"]
        self.environment = {**os.environ, "LIPSYNCD_SIMD": simd}
        self.field = "kept_min_ms" if kept else "min_ms"

    def __call__(self, passes):
        command = self.command + ["--iterations", str(passes)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)[self.field]


def random_inputs(file):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(1)
    return {i.name: random.random(i.shape, dtype="float32") for i in session.get_inputs()}


def compare(file, program, rounds, passes):
    """Median milliseconds by name of program."""
    inputs = random_inputs(file)
    peers = {
        "onnxruntime": Onnxruntime(file, inputs),
        "lipsyncd": Lipsyncd(program, file),
        "tract": Lipsyncd(program, file, simd="off"),
    }
    if len(inputs) > 1:
        peers["lipsyncd kept"] = Lipsyncd(program, file, kept=True)
    if importlib.util.find_spec("openvino"):
        peers["openvino"] = OpenVino(file, inputs)
    times = {name: [] for name in peers}
    for _ in range(rounds):
        for name, peer in peers.items():
            times[name].append(peer(passes))
    # A network that is not one program keeps nothing.
    return {name: statistics.median(values) for name, values in times.items() if None not in values}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", metavar="NETWORK.onnx")
    parser.add_argument("--lipsyncd", default="target/release/lipsyncd", help="the program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--passes", type=int, default=10, help="passes of each program in a round")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = {}
    for file in arguments.networks:
        results[Path(file).stem] = compare(file, arguments.lipsyncd, arguments.rounds, arguments.passes)
    if arguments.json:
        print(json.dumps(results, indent=1))
        return
    columns = list(dict.fromkeys(name for times in results.values() for name in times))
    print("| network | " + " | ".join(f"{name} ms (÷ onnxruntime)" for name in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for network, times in results.items():
        base = times["onnxruntime"]
        cells = [f"{times[n]:.2f} ({times[n] / base:.2f})" if n in times else "–" for n in columns]
        print(f"| {network} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
