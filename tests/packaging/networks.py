"""ONNX files for the tests of packaging, written field by field: small, and without any library."""

import numpy as np

INT, FLOATS, INTS = 2, 6, 7  # AttributeProto.AttributeType


def varint(value):
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number, value):
    """One protobuf field: an integer, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def value_info(name, sides):
    dims = b"".join(field(1, field(2, side.encode()) if isinstance(side, str) else field(1, side)) for side in sides)
    return field(1, name.encode()) + field(2, field(1, field(1, 1) + field(2, dims)))


def initializer(name, values):
    """A TensorProto of f32."""
    values = np.asarray(values, np.float32)
    return b"".join(field(1, side) for side in values.shape) + field(2, 1) + field(8, name.encode()) + field(9, values.tobytes())


def node(kind, inputs, output, **attributes):
    """A NodeProto; attributes are integers or lists of them."""
    out = b"".join(field(1, name.encode()) for name in inputs) + field(2, output.encode()) + field(4, kind.encode())
    for name, value in attributes.items():
        if isinstance(value, int):
            content = field(3, value) + field(20, INT)
        else:
            content = b"".join(field(8, one) for one in value) + field(20, INTS)
        out += field(5, field(1, name.encode()) + content)
    return out


def model(inputs, outputs, nodes=(), weights=(), beside=None):
    """An ONNX file of opset 13; `beside` names a file that a weight is said to be kept in."""
    graph = b"".join(field(1, one) for one in nodes) + field(2, b"test")
    graph += b"".join(field(5, one) for one in weights)
    if beside:
        entry = field(1, b"location") + field(2, beside.encode())
        graph += field(5, field(1, 1) + field(2, 1) + field(8, b"weight") + field(13, entry) + field(14, 1))
    graph += b"".join(field(11, value_info(*one)) for one in inputs)
    graph += b"".join(field(12, value_info(*one)) for one in outputs)
    return field(1, 8) + field(7, graph) + field(8, field(1, b"") + field(2, 13))


def unet(side=160, audio=(1, 16, 32, 32), names=("input", "audio"), **more):
    """The inputs and outputs of a picture network, and nothing between them."""
    return model([(names[0], (1, 6, side, side)), (names[1], audio)], [("output", (1, 3, side, side))], **more)


def working_unet(side=160, audio=(1, 16, 32, 32), image=1.0, sound=1.0, scale=None, ending="Sigmoid", output_names=("output",)):
    """A picture network that computes: `image` times the real picture plus `sound` times the mean of the audio.

    `scale` is what the three colours are multiplied by (NaN, for one); `ending` the last operator.
    """
    pick = np.zeros((3, 6, 1, 1), np.float32)
    for colour in range(3):
        pick[colour, colour] = image
    weights = [initializer("pick", pick), initializer("loud", np.full((1, 1, 1, 1), sound))]
    nodes = [
        node("Conv", ["input", "pick"], "picture", kernel_shape=[1, 1]),
        node("ReduceMean", ["audio"], "mean", axes=list(range(1, len(audio))), keepdims=1),
        node("Mul", ["mean", "loud"], "level"),
        node("Add", ["picture", "level"], "sum"),
    ]
    last = "sum"
    if scale is not None:
        weights.append(initializer("scale", np.reshape(scale, (1, 3, 1, 1))))
        nodes.append(node("Mul", ["sum", "scale"], "scaled"))
        last = "scaled"
    nodes.append(node(ending, [last], "output"))
    sides = [("input", (1, 6, side, side)), ("audio", audio)]
    return model(sides, [(name, (1, 3, side, side)) for name in output_names], nodes, weights)
