"""The picture network: idle crop and mouth units in, crop with the mouth speaking out.

input [1,6,160,160] (real and masked crop, BGR, 0..1) and audio [1,10,1,1] (the mouth's units) -> [1,3,160,160].
A U-Net of inverted residual blocks (1x1 expand + ReLU, 3x3 depthwise + ReLU, 1x1 project, + skip where shapes allow).
The last step keeps the idle crop's own pixels wherever the mouth never changes anything: there can be no seam.
The audio becomes a small picture of its own (20x20) that joins the decoder; the encoder sees the frame alone.
"""
import copy

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, cin, cout, hidden, stride=1):
        super().__init__()
        self.skip = stride == 1 and cin == cout
        self.expand = nn.Conv2d(cin, hidden, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.depth = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.project = nn.Conv2d(hidden, cout, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(cout)

    def forward(self, x):
        y = F.relu(self.bn1(self.expand(x)))
        y = F.relu(self.bn2(self.depth(y)))
        y = self.bn3(self.project(y))
        return x + y if self.skip else y


class UNet(nn.Module):
    """`channels` at 160, 80, 40, 20 and 10 pixels; `units` is the length of the audio embedding."""

    AUDIO = 24  # channels of the audio's picture

    def __init__(self, units=10, channels=(8, 16, 32, 64, 96)):
        super().__init__()
        c = channels
        self.stem = nn.Conv2d(6, c[0], 3, 1, 1, bias=False)
        self.stem_bn = nn.BatchNorm2d(c[0])
        self.down1 = nn.Sequential(Block(c[0], c[1], 2 * c[0], 2), Block(c[1], c[1], 2 * c[1]))
        self.down2 = nn.Sequential(Block(c[1], c[2], 2 * c[1], 2), Block(c[2], c[2], 2 * c[2]))
        self.down3 = nn.Sequential(Block(c[2], c[3], 2 * c[2], 2), Block(c[3], c[3], 2 * c[3]))
        self.down4 = nn.Sequential(Block(c[3], c[4], 2 * c[3], 2), Block(c[4], c[4], 2 * c[4]))
        self.audio1 = nn.Conv2d(units, 64, 1)
        self.audio2 = nn.Conv2d(64, 64, 1)
        self.audio3 = nn.Conv2d(64, self.AUDIO * 400, 1)
        self.up4 = nn.Sequential(Block(c[4] + c[3] + self.AUDIO, c[3], 2 * c[3]), Block(c[3], c[3], 2 * c[3]), Block(c[3], c[3], 2 * c[3]))
        self.up3 = nn.Sequential(Block(c[3] + c[2], c[2], 2 * c[2]), Block(c[2], c[2], 2 * c[2]))
        self.up2 = nn.Sequential(Block(c[2] + c[1], c[1], 3 * c[1]), Block(c[1], 2 * c[0], 3 * c[1]))
        self.up1 = Block(3 * c[0], c[0], 2 * c[0])
        self.last = nn.Conv2d(c[0] + 6, 3, 3, 1, 1)
        for m in self.modules():
            if isinstance(m, nn.Conv2d) and m.groups == 1:
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
        nn.init.normal_(self.audio3.weight, 0, 0.05)
        # 1 where the mouth may change the picture, 0 where the idle crop must stay as it is (data.py measures it)
        self.register_buffer("blend", torch.ones(1, 1, 160, 160))
        # start from the idle crop itself: sigmoid(4 (x - 1/2)) is close to x
        with torch.no_grad():
            self.last.weight.mul_(0.1)
            self.last.weight[:, c[0]:] = 0
            for k in range(3):
                self.last.weight[k, c[0] + k, 1, 1] = 4
            self.last.bias.fill_(-2)

    def up(self, x, window=None):
        """Bilinear x2 with aligned corners; of a window (top, left in 160ths of the full picture), the same samples
        that the full picture would have there."""
        if window is None:
            return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        full = 160 * x.shape[2] // window[2]
        rows, cols = (self.up_matrix(full, o * full // 160, n, x) for o, n in ((window[0], x.shape[2]), (window[1], x.shape[3])))
        return torch.matmul(torch.matmul(rows, x), cols.t())

    @staticmethod
    def up_matrix(full, offset, n, like):
        """Weights [2n,n] of one axis: the window of n from `offset` of an axis of `full` samples."""
        at = torch.arange(2 * offset, 2 * (offset + n), dtype=torch.float32) * (full - 1) / (2 * full - 1) - offset
        w = (1 - (at[:, None] - torch.arange(n)[None]).abs()).clamp(min=0)
        return (w / w.sum(1, keepdim=True)).to(like.dtype)

    def encode(self, x):
        s0 = F.relu(self.stem_bn(self.stem(x)))
        s1 = self.down1(s0)
        s2 = self.down2(s1)
        s3 = self.down3(s2)
        return x, s0, s1, s2, s3, self.down4(s3)

    def decode(self, skips, audio, window=None):
        """`window` = (top, left, size), multiples of 16: the part of the picture that `skips` were made of."""
        x, s0, s1, s2, s3, s4 = skips
        a = F.relu(self.audio2(F.relu(self.audio1(audio))))
        a = F.relu(self.audio3(a)).reshape(-1, self.AUDIO, 20, 20)
        if window is not None:
            top, left, n = (v // 8 for v in window)
            a = a[:, :, top:top + n, left:left + n]
        y = self.up4(torch.cat([self.up(s4, window), s3, a], 1))
        y = self.up3(torch.cat([self.up(y, window), s2], 1))
        y = self.up2(torch.cat([self.up(y, window), s1], 1))
        y = self.up1(torch.cat([self.up(y, window), s0], 1))
        y = torch.sigmoid(self.last(torch.cat([y, x], 1)))
        blend = self.blend
        if window is not None:
            top, left, n = window
            blend = blend[:, :, top:top + n, left:left + n]
        return x[:, :3] + blend * (y - x[:, :3])

    def forward(self, x, audio):
        return self.decode(self.encode(x), audio)


def fold(conv, bn):
    """Convolution with the batch normalisation that follows it folded in."""
    k = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    out = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, groups=conv.groups)
    out.weight.data = (conv.weight * k[:, None, None, None]).detach().clone()
    out.bias.data = (bn.bias - bn.running_mean * k).detach().clone()
    return out


def folded(net):
    """The same network without batch normalisation."""
    net = copy.deepcopy(net).eval()
    net.stem, net.stem_bn = fold(net.stem, net.stem_bn), nn.Identity()
    for m in net.modules():
        if isinstance(m, Block):
            m.expand, m.bn1 = fold(m.expand, m.bn1), nn.Identity()
            m.depth, m.bn2 = fold(m.depth, m.bn2), nn.Identity()
            m.project, m.bn3 = fold(m.project, m.bn3), nn.Identity()
    return net
