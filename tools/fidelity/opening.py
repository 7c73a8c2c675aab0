"""How far the mouth is open, seen in a picture: a small network that finds the inside of the mouth.

    python opening.py RENDERS.npz opening.onnx        (trains it: two minutes on one core)

For each pixel it says how likely teeth, tongue or the dark between them is what one sees there,
from the 13x13 pixels around. It learns from true renders, whose renderer knows which surface is in
front, and is judged on renders it has not seen. The same eye then looks at renders and at predicted
pictures, so neither is favoured.
"""

import sys

import numpy as np

# The opening is measured in these columns, as shares of the picture's width: about the middle.
MIDDLE = (0.44, 0.56)


class Eye:
    def __init__(self, path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options)

    def inside(self, pictures: np.ndarray) -> np.ndarray:
        """BGR u8 [n, S, S, 3] → share of each pixel that is inside of the mouth, f32 [n, S, S]."""
        x = pictures.transpose(0, 3, 1, 2).astype(np.float32) / 255
        return np.concatenate([self.session.run(None, {"picture": x[i : i + 1]})[0][:, 0] for i in range(len(x))])


def height(inside: np.ndarray) -> np.ndarray:
    """Mean opening in the middle columns, in pixels of the inner square: [n]."""
    size = inside.shape[-1]
    return inside[:, :, int(MIDDLE[0] * size) : int(MIDDLE[1] * size)].sum(1).mean(1)


def area(inside: np.ndarray) -> np.ndarray:
    """The visible inside of the mouth, in pixels of the inner square: [n]."""
    return inside.sum((1, 2))


def train(renders: str, out: str) -> None:
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(1)
    with np.load(renders) as data:
        pictures, inside = data["bgr"], data["inside"].astype(np.float32) / 255
    count = len(pictures)
    held = count // 5
    x = torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    y = torch.from_numpy(inside[:, None])
    # Only where a mouth may be; the rest of the face has no inside.
    seen = np.nonzero(inside.mean(0) > 0)
    top, bottom = max(0, seen[0].min() - 12), seen[0].max() + 13
    left, right = max(0, seen[1].min() - 12), seen[1].max() + 13
    random = np.random.default_rng(0)

    def layer(a, b, dilation):
        return [nn.Conv2d(a, b, 3, padding=dilation, dilation=dilation), nn.ReLU()]

    net = nn.Sequential(*layer(3, 16, 1), *layer(16, 16, 1), *layer(16, 16, 2), *layer(16, 16, 2), nn.Conv2d(16, 1, 1))
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    steps = 900
    for step in range(steps):
        pick = random.integers(held, count, 8)
        crop = x[pick][:, :, top:bottom, left:right].clone()
        # Predicted pictures are a little softer, and their light a little off: be used to it.
        if step % 3 == 0:
            crop = torch.nn.functional.avg_pool2d(crop, 3, 1, 1)
        crop = (crop * (1 + 0.1 * torch.randn(8, 3, 1, 1)) + 0.03 * torch.randn(8, 3, 1, 1)).clamp(0, 1)
        loss = nn.functional.binary_cross_entropy_with_logits(net(crop), y[pick][:, :, top:bottom, left:right])
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * (1 - step / steps)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 150 == 0:
            print(step, round(loss.item(), 5), flush=True)

    size = pictures.shape[1]

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, picture):
            found = torch.sigmoid(self.net(picture[:, :, top:bottom, left:right]))
            return nn.functional.pad(found, (int(left), int(size - right), int(top), int(size - bottom)))

    torch.onnx.export(
        Whole().eval(), (x[:1],), out, input_names=["picture"], output_names=["inside"], opset_version=17, dynamo=False
    )
    guess, true = Eye(out).inside(pictures[:held]), inside[:held]
    a, b = height(guess), height(true)
    shut = b < 0.5
    print(
        f"on {held} renders not learnt from: height r {np.corrcoef(a, b)[0, 1]:.4f}, "
        f"mean abs error {np.abs(a - b).mean():.2f} px, area r {np.corrcoef(area(guess), area(true))[0, 1]:.4f}; "
        f"closed ones ({shut.sum()}) measure {a[shut].mean():.2f} px"
    )


if __name__ == "__main__":
    train(sys.argv[1], sys.argv[2])
