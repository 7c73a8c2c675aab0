#!/usr/bin/env python3
"""Makes the small networks of tests/data/networks that tests/networks.rs runs: forms of files that users were reported
to bring, with what onnxruntime computes of them.

Each takes an image and a vector of sound; their values follow from their places (see `ramp`), so only outputs are kept.
Needs numpy, onnx and onnxruntime (tried with 2.4.6, 1.23.2, 1.32.0). The same command gives the same files:

  python tools/golden/networks.py tests/data/networks
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization

AUDIO = 8


def ramp(shape):
    """Numbers between 0 and 1 that change from place to place."""
    at = np.arange(np.prod(shape), dtype=np.uint64)
    return (((at * 2654435761) % 2**32 >> 8) / 2.0**24).astype("f4").reshape(shape)


class Graph:
    """An ONNX graph under construction: every method adds a node and returns its output's name."""

    def __init__(self, seed, opset=17, side=17):
        self.rng, self.nodes, self.weights = np.random.default_rng(seed), [], []
        self.opset, self.side = opset, side

    def constant(self, array):
        self.weights.append(numpy_helper.from_array(np.asarray(array), f"weight_{len(self.weights)}"))
        return self.weights[-1].name

    def noise(self, *shape, scale=1.0):
        return self.constant((self.rng.standard_normal(shape) * scale).astype("f4"))

    def node(self, op, *inputs, **attributes):
        name = f"/{op}_{len(self.nodes)}"
        outputs = attributes.pop("outputs", [f"{name}.out"])
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        return outputs[0]

    def conv(self, x, ins, outs, kernel=3, stride=1):
        weight = self.noise(outs, ins, kernel, kernel, scale=1.5 / (ins * kernel**2) ** 0.5)
        return self.node("Conv", x, weight, self.noise(outs, scale=0.2), kernel_shape=[kernel, kernel],
                         pads=[kernel // 2] * 4, strides=[stride] * 2)

    def spread(self, height):
        """The vector of sound, as six images."""
        row = self.conv("audio", AUDIO, 6, 1)
        return self.node("Expand", row, self.constant(np.array([1, 6, height, height], "i8")))

    def model(self, output, side=None):
        image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 6, self.side, self.side])
        audio = helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, AUDIO, 1, 1])
        self.node("Identity", output, outputs=["output"])
        out = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3, side or self.side, side or self.side])
        graph = helper.make_graph(self.nodes, "network", [image, audio], [out], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def sigmoid_then_padded_conv():
    g = Graph(1)
    x = g.node("Add", g.conv("input", 6, 20), g.conv("audio", AUDIO, 20, 1))
    return g.model(g.conv(g.node("Sigmoid", x), 20, 3))


def bilinear_by_1_5():
    g = Graph(2)
    x = g.node("Concat", g.conv("input", 6, 10), g.spread(17), axis=1)
    scales = g.constant(np.array([1, 1, 1.5, 1.5], "f4"))
    x = g.node("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
    return g.model(g.conv(x, 16, 3), side=25)


def vector_beside_image():
    g = Graph(3)
    x = g.node("Concat", g.node("Relu", g.conv("input", 6, 10)), g.spread(17), axis=1)
    return g.model(g.node("Sigmoid", g.conv(x, 16, 3, 1)))


def group_norm(seed=4):
    """Sums over an image of numbers near 100, which f16 cannot hold."""
    g = Graph(seed, side=40)
    x = g.node("Add", g.conv("input", 6, 8), g.conv("audio", AUDIO, 8, 1))
    x = g.node("Add", x, g.constant(np.full((1, 1, 1, 1), 100, "f4")))
    groups = g.node("Reshape", x, g.constant(np.array([1, 4, -1], "i8")))
    normal = g.node("InstanceNormalization", groups, g.constant(np.ones(4, "f4")), g.constant(np.zeros(4, "f4")))
    x = g.node("Reshape", normal, g.constant(np.array([1, 8, 40, 40], "i8")))
    return g.model(g.node("Sigmoid", g.conv(x, 8, 3)))


def halve(model, kind, keep_io):
    """The same with weights (and inputs and outputs, unless `keep_io`) of half-precision floats."""
    graph, bits = model.graph, {"f16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}[kind]
    for weight in graph.initializer:
        if weight.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(weight)
            if kind == "f16":
                half = numpy_helper.from_array(values.astype("f2"), weight.name)
            else:
                half = helper.make_tensor(weight.name, bits, weight.dims, values.ravel())
            weight.CopyFrom(half)
    if not keep_io:
        for value in [*graph.input, *graph.output]:
            value.type.tensor_type.elem_type = bits
        return model
    for name in ("input", "audio"):
        cast = helper.make_node("Cast", [name], [f"{name}.half"], name=f"/Cast_{name}", to=bits)
        for node in graph.node:
            node.input[:] = [f"{name}.half" if given == name else given for given in node.input]
        graph.node.insert(0, cast)
    last = graph.node[-1]
    last.CopyFrom(helper.make_node("Cast", list(last.input), ["output"], name="/Cast_output", to=TensorProto.FLOAT))
    return model


def upsample_of_opset_9():
    g = Graph(5, opset=9)
    x = g.node("Relu", g.node("Add", g.conv("input", 6, 8), g.conv("audio", AUDIO, 8, 1)))
    x = g.node("Upsample", x, g.constant(np.array([1, 1, 2, 2], "f4")), mode="nearest")
    x = g.conv(x, 8, 8, stride=2)
    x = g.node("Upsample", x, g.constant(np.array([1, 1, 2, 2], "f4")), mode="linear")
    return g.model(g.conv(x, 8, 3), side=34)


def resize_of_opset_10():
    g = Graph(6, opset=10)
    x = g.node("Relu", g.node("Add", g.conv("input", 6, 8), g.conv("audio", AUDIO, 8, 1)))
    x = g.node("Resize", x, g.constant(np.array([1, 1, 2, 2], "f4")), mode="linear")
    return g.model(g.conv(x, 8, 3), side=34)


def quantisable():
    g = Graph(7)
    x = g.node("Add", g.conv("input", 6, 16), g.conv("audio", AUDIO, 16, 1))
    x = g.node("Relu", g.conv(g.node("Relu", x), 16, 16))
    pooled = g.node("GlobalAveragePool", x)
    x = g.node("Mul", x, g.node("Sigmoid", g.conv(pooled, 16, 16, 1)))
    return g.model(g.conv(x, 16, 3))


class Calibration(quantization.CalibrationDataReader):
    def __init__(self):
        self.rest = [{"input": ramp((1, 6, 17, 17)) * k, "audio": ramp((1, AUDIO, 1, 1)) * k} for k in (1, 0.7, 0.2)]

    def get_next(self):
        return self.rest.pop() if self.rest else None


def integers(folder, per_channel, form):
    source, target = folder / "f32.onnx", folder / "int8.onnx"
    onnx.save(quantisable(), source)
    quantization.quantize_static(source, target, Calibration(), quant_format=form, per_channel=per_channel)
    model = onnx.load(target)
    source.unlink(), target.unlink()
    return model


def training_form():
    g = Graph(8, opset=17)
    x = g.node("Add", g.conv("input", 6, 8), g.conv("audio", AUDIO, 8, 1))
    ones, zeros = g.constant(np.ones(8, "f4")), g.constant(np.zeros(8, "f4"))
    x = g.node("BatchNormalization", x, ones, zeros, zeros, ones, training_mode=1, outputs=["y", "mean", "variance"])
    return g.model(g.conv(x, 8, 3))


def unknown_operator():
    g = Graph(9)
    x = g.node("Add", g.conv("input", 6, 8), g.conv("audio", AUDIO, 8, 1))
    return g.model(g.conv(g.node("FusedTriton", x, domain="com.example"), 8, 3))


def cubic_to_one_pixel():
    g = Graph(10)
    x = g.node("Add", g.conv("input", 6, 8), g.conv("audio", AUDIO, 8, 1))
    sizes = g.constant(np.array([1, 8, 1, 1], "i8"))
    x = g.node("Resize", x, "", "", sizes, mode="cubic", coordinate_transformation_mode="pytorch_half_pixel")
    return g.model(g.conv(x, 8, 3, 1), side=1)


def compute(model):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {tensor.name: ramp(tensor.shape) for tensor in session.get_inputs()})[0]


def main(folder):
    def keep(name, model, like=None):
        onnx.save(model, folder / f"{name}.onnx")
        np.save(folder / f"{name}.output.npy", compute(like or model))

    for make in (sigmoid_then_padded_conv, bilinear_by_1_5, vector_beside_image, upsample_of_opset_9, resize_of_opset_10):
        keep(make.__name__, make())
    # What half-precision networks are to compute is what the same weights compute in f32.
    keep("group_norm_f16", halve(group_norm(), "f16", keep_io=True), group_norm())
    keep("group_norm_f16_inputs", halve(group_norm(), "f16", keep_io=False), group_norm())
    keep("group_norm_bf16", halve(group_norm(), "bf16", keep_io=True), group_norm())
    pairs, operators = quantization.QuantFormat.QDQ, quantization.QuantFormat.QOperator
    keep("int8_pairs", integers(folder, False, pairs))
    keep("int8_pairs_per_channel", integers(folder, True, pairs))
    onnx.save(integers(folder, False, operators), folder / "int8_operators.onnx")
    onnx.save(training_form(), folder / "training_form.onnx")
    onnx.save(unknown_operator(), folder / "unknown_operator.onnx")
    onnx.save(cubic_to_one_pixel(), folder / "cubic_to_one_pixel.onnx")
    model = vector_beside_image()
    (folder / "external").mkdir(exist_ok=True)
    (folder / "external" / "unet.onnx.data").unlink(missing_ok=True)
    onnx.save(model, folder / "external" / "unet.onnx", save_as_external_data=True, location="unet.onnx.data",
              size_threshold=64)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
