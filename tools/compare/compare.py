"""Forward-pass times of networks: lipsyncd beside onnxruntime, OpenVINO, MNN and plain tract.

    python3 -m venv venv && venv/bin/pip install numpy onnxruntime openvino MNN
    venv/bin/python tools/compare/compare.py [--plot FILE.svg] NETWORK.onnx ["default face=models/default_model/unet.onnx" ...]

One thread, f32; and lipsyncd in int8. The programs take turns, round after round, so that whatever else the machine does
hits all alike; reported is the median over the rounds of each program's shortest pass in a round, and its ratio to onnxruntime's.
"kept" is lipsyncd with the encoder half of the frame kept from an earlier pass (see docs/KERNELS.md): never compare it
with a pass over a frame that was not seen before.

Needs numpy and onnxruntime. OpenVINO and MNN are left out, with a line that says so, where they are not installed.
"""

import argparse
import json
import os
import statistics
from pathlib import Path

from peers import peers_of
from plot import bars


def compare(file, program, rounds, passes):
    """Median milliseconds by name of program."""
    peers = peers_of(file, program)
    times = {name: [] for name in peers}
    for _ in range(rounds):
        for name, peer in peers.items():
            times[name].append(peer(passes))
    # A network that is not one program keeps nothing.
    return {name: statistics.median(values) for name, values in times.items() if None not in values}


def table(results):
    """The results as a table in Markdown, each time with its ratio to onnxruntime's."""
    columns = list(dict.fromkeys(name for times in results.values() for name in times))
    lines = ["| network | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for network, times in results.items():
        base = times["onnxruntime"]
        cells = [f"{times[n]:.2f} ({times[n] / base:.2f})" if n in times else "–" for n in columns]
        lines.append(f"| {network} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", metavar="[NAME=]NETWORK.onnx")
    parser.add_argument("--lipsyncd", default="target/release/lipsyncd", help="the program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--passes", type=int, default=10, help="passes of each program in a round")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the ratios")
    arguments = parser.parse_args()
    # Some peers print to the standard output: they get the standard error's.
    report = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    results = {}
    for network in arguments.networks:
        name, _, file = network.rpartition("=")
        results[name or Path(file).stem] = compare(file, arguments.lipsyncd, arguments.rounds, arguments.passes)
    print(json.dumps(results, indent=1) if arguments.json else table(results), file=report)
    if arguments.plot:
        arguments.plot.write_text(bars(results), encoding="utf-8")


if __name__ == "__main__":
    main()
