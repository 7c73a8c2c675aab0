"""Writes the small networks of tests/data/networks: every block that the kernels know, with odd channel counts.

    python tools/compare/make_fixtures.py

Needs numpy and onnx. The weights are noise of a fixed seed, so the files come out the same every time.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOLDER = "tests/data/networks"


class Builder:
    """Nodes and weights of one graph."""

    def __init__(self):
        self.random = np.random.default_rng(7)
        self.nodes, self.weights = [], []

    def constant(self, array):
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def node(self, kind, inputs, **attributes):
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def conv(self, x, inputs, outputs, kernel=1, stride=1, pad=None, group=1):
        pad = kernel // 2 if pad is None else pad
        depth = inputs // group * kernel * kernel
        weights = self.random.normal(0, depth**-0.5, (outputs, inputs // group, kernel, kernel))
        bias = self.random.normal(0, 0.1, outputs)
        inputs = [x, self.constant(weights.astype("f4")), self.constant(bias.astype("f4"))]
        shape = dict(kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, group=group)
        return self.node("Conv", inputs, **shape)

    def relu(self, x):
        return self.node("Relu", [x])

    def inverted_residual(self, x, inputs, outputs, stride=1, skip=False):
        middle = 2 * inputs
        y = self.relu(self.conv(x, inputs, middle))
        y = self.relu(self.conv(y, middle, middle, 3, stride, group=middle))
        y = self.conv(y, middle, outputs)
        return self.node("Add", [x, y]) if skip else y

    def separable(self, x, inputs, outputs, stride=1, skip=False):
        y = self.relu(self.conv(x, inputs, inputs, 3, stride, group=inputs))
        y = self.relu(self.conv(y, inputs, outputs))
        return self.node("Add", [x, y]) if skip else y

    def upsample(self, x):
        scales = self.constant(np.array([1, 1, 2, 2], "f4"))
        mode = dict(mode="linear", coordinate_transformation_mode="align_corners")
        return self.node("Resize", [x, "", scales], **mode)

    def concat(self, *parts):
        return self.node("Concat", list(parts), axis=1)

    def save(self, name, inputs, output, shape):
        self.nodes.append(helper.make_node("Sigmoid", [output], ["output"]))
        values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs]
        result = [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)]
        graph = helper.make_graph(self.nodes, name, values, result, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, f"{FOLDER}/{name}.onnx")


def unet(name, unknown=False):
    """Two levels of encoder and decoder with an audio branch; `unknown` puts an Elu in its middle."""
    b = Builder()
    level_0 = b.inverted_residual("input", 6, 20)
    level_1 = b.inverted_residual(level_0, 20, 24, stride=2)
    level_1 = b.inverted_residual(level_1, 24, 24, skip=True)
    level_2 = b.separable(level_1, 24, 40, stride=2)
    level_2 = b.separable(level_2, 40, 40, skip=True)
    audio = b.relu(b.conv("audio", 5, 18, 3, 2, pad=3))
    residual = b.node("Add", [b.conv(audio, 18, 18, 3), audio])
    audio = b.relu(residual)
    flat = b.relu(b.conv(b.relu(b.conv("audio", 5, 12, 8, 8, pad=0)), 12, 160))
    spread = b.node("Reshape", [flat, b.constant(np.array([1, 2, 10, 8], "i8"))])
    x = b.concat(level_2, b.inverted_residual(audio, 18, 16), spread)
    if unknown:
        x = b.node("Elu", [x])
    x = b.inverted_residual(x, 58, 40)
    x = b.separable(b.concat(b.upsample(x), level_1), 64, 24)
    x = b.inverted_residual(b.concat(b.upsample(x), level_0), 44, 16)
    x = b.inverted_residual(x, 16, 16, skip=True)
    b.save(name, [("input", [1, 6, 40, 32]), ("audio", [1, 5, 15, 11])], b.conv(x, 16, 3), [1, 3, 40, 32])


if __name__ == "__main__":
    unet("small_unet")
    unet("small_unet_with_elu", unknown=True)
