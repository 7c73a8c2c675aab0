#!/usr/bin/env python3
"""Records what onnxruntime computes of the random graphs of src/model/fuse/tests/random.rs.

    python tools/golden/random_graphs.py [--check COUNT]      needs numpy onnxruntime, and cargo

Has the test suite write the graphs, runs each without optimisations, and writes tests/data/networks/random_graphs.npy:
of each graph a number that tells it from others, then 32 values spread over its outputs. With --check, that many
graphs are compared once and nothing is recorded."""
import argparse
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime as ort

ROOT = Path(__file__).resolve().parents[2]
VALUES = 32


def compute(file):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    values, feed = np.fromfile(file.with_suffix(".inputs"), "<f4"), {}
    for tensor in session.get_inputs():
        count = int(np.prod(tensor.shape))
        feed[tensor.name], values = values[:count].reshape(tensor.shape), values[count:]
    return np.concatenate([output.ravel() for output in session.run(None, feed)])


def cargo_test(name, *more, **environment):
    subprocess.run(["cargo", "test", "--lib", name, "--", *more], cwd=ROOT, env=os.environ | environment, check=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", type=int, default=0)
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        count = {"LIPSYNCD_RANDOM_GRAPHS": str(check)} if check else {}
        cargo_test("write_random_graphs", "--ignored", LIPSYNCD_GRAPHS_FOLDER=folder, **count)
        rows = []
        for seed in range(len(list(Path(folder).glob("*.onnx")))):
            file = Path(folder) / f"{seed}.onnx"
            values = compute(file)
            places = np.arange(VALUES) * len(values) // VALUES
            rows.append([float(file.with_suffix(".fingerprint").read_text()), *values[places]])
        file = Path(folder) / "recorded.npy" if check else ROOT / "tests/data/networks/random_graphs.npy"
        np.save(file, np.array(rows, "f4"))
        print(len(rows), "graphs computed by onnxruntime", ort.__version__)
        cargo_test("random_graphs_mean_what_onnxruntime_computes", LIPSYNCD_RECORDED=str(file))


if __name__ == "__main__":
    main()
