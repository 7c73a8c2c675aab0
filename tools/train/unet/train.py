"""Trains the picture network.

    train.py --frames FOLDER --crops FOLDER --units train_units.npy [--heard pred_units_train.npy] --out FOLDER --minutes 60

Most steps look at a window of 96x96 around the mouth (the network's samples there are the same as in the whole
picture), every sixth at the whole picture. One frame's encoder serves all its mouths of a batch. With --heard, part
of the batches see the units as the audio encoder hears them, so that the picture is the best one for those.
"""
import argparse
import copy
import os
import time

import numpy as np
import torch
from torch.nn import functional as F

from data import Crops
from net import UNet, folded

p = argparse.ArgumentParser()
p.add_argument("--frames", required=True)
p.add_argument("--crops", required=True)
p.add_argument("--units", required=True)
p.add_argument("--heard")
p.add_argument("--out", required=True)
p.add_argument("--minutes", type=float, default=60)
p.add_argument("--threads", type=int, default=1, help="one is best where other work shares the machine")
p.add_argument("--rate", type=float, default=3e-3)
p.add_argument("--seed", type=int, default=7)
p.add_argument("--resume")
p.add_argument("--fold", type=float, default=0.15, help="share of the time after which batch normalisation is folded in: a third faster")
p.add_argument("--held", type=int, nargs="*", default=[20, 60], help="idle frames kept for validation")
p.add_argument("--hear", type=float, nargs=2, default=[0.25, 0.75], help="share of batches with heard units, at first and in the end")
p.add_argument("--square", type=float, default=6, help="weight of the squared error")
a = p.parse_args()
torch.manual_seed(a.seed)
torch.set_num_threads(a.threads)
rng = np.random.default_rng(a.seed)
os.makedirs(a.out, exist_ok=True)
net, is_folded, step = UNet(), False, 0
if a.resume:
    state = torch.load(a.resume)
    is_folded = state.get("folded", False)
    net = folded(net) if is_folded else net
    net.load_state_dict(state["raw"], strict=False)
    step = state["step"]
    net.train()


def prepare(net):
    net = net.to(memory_format=torch.channels_last)
    return net, copy.deepcopy(net), torch.optim.AdamW(net.parameters(), a.rate, betas=(0.9, 0.98), weight_decay=1e-4)


net, ema, optimizer = prepare(net)
data = Crops(a.crops, a.frames, np.load(a.units), a.held)
HELD = len(a.held)


hearing = {}


def heard():
    """The heard units; read again when the file is replaced by those of a better encoder."""
    if a.heard and os.path.exists(a.heard):
        stamp = os.stat(a.heard).st_mtime_ns
        if stamp not in hearing:
            hearing.clear()
            hearing[stamp] = np.load(a.heard)
        return hearing[stamp]


while not all(os.path.exists(os.path.join(a.crops, f"frame{f:03d}.npz")) for f in a.held) or data.refresh(heard()) < HELD + 3:
    time.sleep(20)
net.blend.copy_(torch.from_numpy(data.blend()))
ema.blend.copy_(net.blend)
yy, xx = torch.meshgrid(torch.arange(160.0), torch.arange(160.0), indexing="ij")
weight = 1 + 5 * torch.exp(-(((xx - 80) / 36) ** 4) - ((yy - 62) / 36) ** 4)
weight = weight + 4 * torch.sigmoid((44 - (xx - 80.5).abs()) / 2) * torch.sigmoid((25 - (yy - 56).abs()) / 2)  # the lips
PLACES = [(16, 32), (32, 32), (16, 16), (16, 48), (48, 32), (32, 48), (32, 16), (0, 32)]
EVERY = 100
ODDS = np.array([5, 5, 1.5, 1.5, 2, 1, 1, 1]) / 18


def batch(frames=3, singles=4):
    x, u, t = [], [], []
    for f in rng.integers(HELD, len(data.crops), frames):
        r = 4 * rng.integers(0, 6)
        i = np.r_[r:r + 4, rng.integers(0, len(data.crops[f]), singles)]
        v = data.units[f][i]
        if data.heard[f] is not None and rng.random() < a.hear[0] + (a.hear[1] - a.hear[0]) * progress:
            v = data.heard[f][i]
        else:
            v = v + 0.015 * torch.randn(v.shape)
        x.append(data.inputs[f])
        u.append(v)
        t.append(data.crops[f][i])
    return torch.stack(x), torch.cat(u)[:, :, None, None], torch.cat(t).float() / 255, 4 + singles


def validate(model):
    model.eval()
    err, err_m, n = 0.0, 0.0, 0
    with torch.no_grad():
        for f in range(HELD):
            for src in (data.units[f], data.heard[f]):
                if src is None:
                    continue
                i = np.arange(0, 24, 2)
                s = model.encode(data.inputs[f][None].to(memory_format=torch.channels_last))
                y = model.decode([k.expand(len(i), -1, -1, -1) for k in s], src[i][:, :, None, None])
                d = ((y - data.crops[f][i].float() / 255) ** 2).mean(1)
                if src is data.units[f]:
                    err += d.mean().item()
                    err_m += d[:, 30:110, 40:120].mean().item()
                    n += 1
                else:
                    heard_err.append(d[:, 30:110, 40:120].mean().item())
    model.train()
    return -10 * np.log10(err / n), -10 * np.log10(err_m / n)


start, first, loss_sum = time.time(), step, 0.0
progress = 0.0
while progress < 1:
    progress = (time.time() - start) / (60 * a.minutes)
    if not is_folded and progress >= a.fold:
        net, ema, optimizer = prepare(folded(net).train())
        is_folded, first = True, step
        print("batch normalisation folded into the weights", flush=True)
    lr = a.rate * (0.6 if is_folded else 1) * min(1, (step - first + 1) / 60) * (0.5 + 0.5 * np.cos(np.pi * min(1, progress)) * 0.98)
    for g in optimizer.param_groups:
        g["lr"] = lr
    x, u, t, per = batch()
    if step % 6 == 5:
        window, w = None, weight
    else:
        top, left = PLACES[rng.choice(len(PLACES), p=ODDS)]
        window = (top, left, 96)
        cut = (slice(None), slice(None), slice(top, top + 96), slice(left, left + 96))
        x, t, w = x[cut], t[cut], weight[cut[2:]]
    x, t = x.contiguous(memory_format=torch.channels_last), t.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        s = [k.repeat_interleave(per, 0) for k in net.encode(x)]
        y = net.decode(s, u, window)
    y = y.float()
    d = y - t
    w = w / weight.mean()
    loss = (w * (d.abs() + a.square * d * d)).mean()
    gx, gy = (d[:, :, :, 1:] - d[:, :, :, :-1]).abs(), (d[:, :, 1:] - d[:, :, :-1]).abs()
    loss = loss + 0.7 * ((w[:, 1:] * gx).mean() + (w[1:] * gy).mean())
    half = F.avg_pool2d(d, 4)
    loss = loss + 0.5 * half.abs().mean()
    runs = d.reshape(-1, per, *d.shape[1:])[:, :4]
    loss = loss + 0.5 * (w * (runs[:, 1:] - runs[:, :-1]).abs()).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    loss_sum += loss.item()
    step += 1
    k = min(0.995, 1 - 1 / (0.15 * (step - first) + 1.5))
    with torch.no_grad():
        for e, q in zip(ema.state_dict().values(), net.state_dict().values()):
            if e.dtype.is_floating_point:
                e.lerp_(q, 1 - k)
            else:
                e.copy_(q)
    if step % EVERY == 0 or progress >= 1:
        heard_err = []
        whole, mouth = validate(ema)
        tail = f", as heard {-10 * np.log10(np.mean(heard_err)):.2f}" if heard_err else ""
        print(f"step {step}, {(time.time() - start) / 60:.1f} min, rate {lr:.5f}, loss {loss_sum / EVERY:.4f}, PSNR {whole:.2f}, mouth {mouth:.2f}{tail}, {len(data.crops)} frames", flush=True)
        loss_sum = 0.0
        torch.save({"raw": net.state_dict(), "ema": ema.state_dict(), "step": step, "folded": is_folded}, os.path.join(a.out, "unet.pt.part"))
        os.replace(os.path.join(a.out, "unet.pt.part"), os.path.join(a.out, "unet.pt"))
        data.refresh(heard())
