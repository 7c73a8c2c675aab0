"""encoder.pt → audio_encoder.onnx: mel [1, 1, 80, 36] → embedding [1, 10], the units in 0..1.

    python export.py OUT/encoder.pt audio_encoder.onnx

The graph is written node by node: batch normalisation folded into the convolutions, fixed shapes,
opset 17, nothing but Conv, Relu, Slice, Add, Reshape and Clip. Checked against PyTorch.
"""

import sys

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from train import ROWS, Encoder

# Silence must be still: what the network gives below this is no movement (units, of 1).
DEAD_ZONE = 0.012


def folded(block):
    conv, norm = block
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    weight = conv.weight * scale.reshape(-1, *[1] * (conv.weight.dim() - 1))
    return weight.detach().numpy(), (norm.bias - norm.running_mean * scale).detach().numpy()


class Graph:
    def __init__(self):
        self.nodes, self.constants, self.count = [], [], 0

    def constant(self, value) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind, inputs, output=None, **attributes) -> str:
        self.count += 1
        output = output or f"t{self.count}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def conv(self, x, weight, bias, relu=True, **attributes) -> str:
        x = self.add("Conv", [x, self.constant(weight), self.constant(bias)], **attributes)
        return self.add("Relu", [x]) if relu else x


def build(model: Encoder) -> onnx.ModelProto:
    g = Graph()
    x = g.conv("mel", *folded(model.front1), strides=[2, 1], pads=[2, 0, 2, 0])
    x = g.conv(x, *folded(model.front2), strides=[2, 1], pads=[1, 0, 1, 0])
    channels = model.project[0].in_channels
    x = g.add("Reshape", [x, g.constant(np.array([1, channels, 32]))])
    x = g.conv(x, *folded(model.project))
    x = g.conv(x, *folded(model.down1), strides=[2])

    def residual(x, block, length):
        ends = [np.array([1]), np.array([length - 1]), np.array([2])]
        skip = g.add("Slice", [x, *(g.constant(e.astype(np.int64)) for e in ends)])
        return g.add("Relu", [g.add("Add", [skip, g.conv(x, *folded(block), relu=False)])])

    x = residual(x, model.res1, 15)
    x = g.conv(x, *folded(model.down2), strides=[2])
    x = residual(x, model.res2, 6)
    x = g.conv(x, *folded(model.top))
    x = g.conv(x, model.hidden.weight.detach().numpy(), model.hidden.bias.detach().numpy())
    # Stretch DEAD_ZONE..1 to 0..1, within the last layer's weights.
    stretch = 1 / (1 - DEAD_ZONE)
    bias = (model.units.bias.detach().numpy() - DEAD_ZONE) * stretch
    x = g.conv(x, model.units.weight.detach().numpy() * stretch, bias.astype(np.float32), relu=False)
    x = g.add("Reshape", [x, g.constant(np.array([1, 10]))])
    limits = [g.constant(np.float32(0)), g.constant(np.float32(1))]
    g.add("Clip", [x, *limits], output="embedding")
    graph = helper.make_graph(
        g.nodes,
        "audio_encoder",
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, [1, 1, 80, ROWS])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 10])],
        g.constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="lipsyncd")
    made.ir_version = 8
    onnx.checker.check_model(made, full_check=True)
    return onnx.shape_inference.infer_shapes(made)


def load(path) -> Encoder:
    saved = torch.load(path)
    model = Encoder(**saved["options"])
    model.load_state_dict(saved["state"])
    return model.eval()


if __name__ == "__main__":
    model = load(sys.argv[1])
    onnx.save(build(model), sys.argv[2])
    session = onnxruntime.InferenceSession(sys.argv[2])
    mel = np.random.default_rng(0).uniform(-4, 4, (20, 1, 80, ROWS)).astype(np.float32)
    ours = np.concatenate([session.run(None, {"mel": m[None]})[0] for m in mel])
    with torch.no_grad():
        theirs = model(torch.from_numpy(mel), dense=False)[..., 0].numpy()
    theirs = np.clip((theirs - DEAD_ZONE) / (1 - DEAD_ZONE), 0, 1)
    print(f"{sys.argv[2]}: max abs difference from PyTorch {np.abs(ours - theirs).max():.2e}")
    assert np.abs(ours - theirs).max() < 1e-4
