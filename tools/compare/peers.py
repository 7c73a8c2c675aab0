"""The programs that compare.py times, one class each: made for a network and its inputs, called for a round of passes.

Each computes on one thread, in f32 where its name does not say int8, and returns milliseconds of its shortest pass, or None
where it has no such figure.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

# Outputs may differ by this from onnxruntime's: more, and the peer computes something else.
TOLERANCE = 5e-3
# Removed at the end of the program.
SCRATCH = tempfile.TemporaryDirectory()


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

    def output(self):
        return self.session.run(None, self.inputs)[0]

    def __call__(self, passes):
        return shortest(self.output, passes)


class OpenVino:
    package = "openvino"

    def __init__(self, file, inputs):
        import openvino

        settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        self.model = openvino.Core().compile_model(file, "CPU", settings)
        self.inputs = inputs

    def output(self):
        return self.model(self.inputs)[0]

    def __call__(self, passes):
        return shortest(self.output, passes)


class Mnn:
    """MNN has a file format of its own; the wheel's converter is called in a process of its own.

    It is called by its function: its command, `mnnconvert`, installs further packages and reports its use.
    """

    package = "MNN"
    CONVERT = "import sys, _tools; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"

    def __init__(self, file, inputs):
        import MNN

        with tempfile.TemporaryDirectory() as folder:
            converted = f"{folder}/network.mnn"
            arguments = ["-f", "ONNX", "--modelFile", file, "--MNNModel", converted, "--bizCode", "compare"]
            command = [sys.executable, "-c", self.CONVERT, *arguments]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            self.interpreter = MNN.Interpreter(converted)
        self.session = self.interpreter.createSession({"backend": "CPU", "precision": "high", "numThread": 1})
        self.inputs, self.arrays = [], list(inputs.values())
        for name, value in inputs.items():
            tensor = self.interpreter.getSessionInput(self.session, name)
            self.interpreter.resizeTensor(tensor, value.shape)
            self.inputs.append((tensor, self.tensor(value)))
        self.interpreter.resizeSession(self.session)
        tensor = self.interpreter.getSessionOutput(self.session)
        self.arrays.append(np.zeros(tensor.getShape(), "float32"))
        self.result = (tensor, self.tensor(self.arrays[-1]))

    @staticmethod
    def tensor(array):
        """A tensor of the host that borrows the array's memory, so that the array must be kept."""
        import MNN

        return MNN.Tensor(array.shape, MNN.Halide_Type_Float, array, MNN.Tensor_DimensionType_Caffe)

    def output(self):
        # Inputs lie in memory that a pass uses again.
        for tensor, value in self.inputs:
            tensor.copyFrom(value)
        self.interpreter.runSession(self.session)
        tensor, result = self.result
        tensor.copyToHostTensor(result)
        return result.getNumpyData()

    def __call__(self, passes):
        return shortest(self.output, passes)


class Lipsyncd:
    """`lipsyncd bench`, in a process of its own; `field` is which of its figures."""

    def __init__(self, program, file, field="min_ms", simd="", calibration=None):
        self.command = [program, "bench", "--unet", file, "--json"]
        self.command += ["--int8", calibration] if calibration else []
        self.environment = {**os.environ, "LIPSYNCD_SIMD": simd}
        self.field = field

    def __call__(self, passes):
        command = self.command + ["--iterations", str(passes)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)[self.field]


def calibrate(program, file):
    """A calibration of the network with noise: times do not depend on what the images hold."""
    calibration = f"{SCRATCH.name}/{Path(file).stem}.json"
    command = [program, "quantize", "--unet", file, "--output", calibration]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return calibration


def random_inputs(file):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(1)
    return {i.name: random.random(i.shape, dtype="float32") for i in session.get_inputs()}


def peers_of(file, program):
    """Every peer that is installed, by the name of its column. Those that are not are named on stderr."""
    file = str(Path(file))
    inputs = random_inputs(file)
    peers = {"onnxruntime": Onnxruntime(file, inputs), "lipsyncd": Lipsyncd(program, file)}
    if len(inputs) > 1:
        peers["lipsyncd kept"] = Lipsyncd(program, file, field="kept_min_ms")
        calibration = calibrate(program, file)
        peers["lipsyncd int8"] = Lipsyncd(program, file, calibration=calibration)
        peers["lipsyncd int8 kept"] = Lipsyncd(program, file, field="kept_min_ms", calibration=calibration)
    expected = peers["onnxruntime"].output()
    for name, peer in {"OpenVINO": OpenVino, "MNN": Mnn}.items():
        if not importlib.util.find_spec(peer.package):
            print(f"{name} is left out: not installed (pip install {peer.package})", file=sys.stderr)
            continue
        peers[name] = peer(file, inputs)
        difference = np.abs(peers[name].output() - expected).max()
        if difference > TOLERANCE:
            raise SystemExit(f"{name} differs from onnxruntime by {difference} on {file}")
    peers["plain tract"] = Lipsyncd(program, file, simd="off")
    return peers
