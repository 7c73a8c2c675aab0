"""Trains the audio encoder: mel rows → the ten units of the mouth.

    python train.py SHARDS OUT --minutes 60 [--eval CLIPS]

The encoder sees 36 mel rows. For training it runs over long stretches at once, its second stride
turned into dilation (the same weights give the same numbers), so that the windows at every other
row share their work: one core learns from about a minute of sound a second. Shards that appear while it
runs are taken in. OUT/encoder.pt is written every few minutes, `best` by the test's own measure is
never chosen: the last average of weights is what is exported.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from scipy.io import wavfile
from torch import nn
from torch.nn import functional as F

from mel import MARGIN, encoder_windows, mel_rows

ROWS = 36  # mel rows that one output depends on: row - 22 .. row + 13


class Encoder(nn.Module):
    """`dense=True`: [B, 1, 80, T] → [B, 10, (T - 36) // 2 + 1]. `dense=False`: [B, 1, 80, 36] → [B, 10, 1]."""

    def __init__(self, front=(24, 40), project=256, middle=256, upper=320, top=512):
        super().__init__()
        self.options = dict(front=front, project=project, middle=middle, upper=upper, top=top)

        def norm1(conv):
            return nn.Sequential(conv, nn.BatchNorm1d(conv.out_channels))

        def norm2(conv):
            return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels))

        self.front1 = norm2(nn.Conv2d(1, front[0], (5, 3), (2, 1), (2, 0), bias=False))  # 36 → 34
        self.front2 = norm2(nn.Conv2d(front[0], front[1], (3, 3), (2, 1), (1, 0), bias=False))  # → 32
        self.project = norm1(nn.Conv1d(front[1] * 20, project, 1, bias=False))
        self.down1 = norm1(nn.Conv1d(project, middle, 4, bias=False))  # stride 2 → 15
        self.res1 = norm1(nn.Conv1d(middle, middle, 3, bias=False))  # → 13
        self.down2 = norm1(nn.Conv1d(middle, upper, 3, bias=False))  # stride 2 → 6
        self.res2 = norm1(nn.Conv1d(upper, upper, 3, bias=False))  # → 4
        self.top = norm1(nn.Conv1d(upper, top, 4, bias=False))  # → 1
        self.hidden = nn.Conv1d(top, 256, 1)
        self.units = nn.Conv1d(256, 10, 1)
        self.drop = nn.Dropout(0.1)

    @staticmethod
    def _conv(block, x, dense, dilation, stride):
        conv, norm = block
        if dense:
            x = F.conv1d(x, conv.weight, conv.bias, 1, 0, dilation)
        else:
            x = F.conv1d(x, conv.weight, conv.bias, stride)
        return norm(x)

    def forward(self, mel, dense=True):
        x = F.relu(self.front1(mel))
        x = F.relu(self.front2(x))
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        x = F.relu(self.project(x))
        x = F.relu(self._conv(self.down1, x, False, 1, 2))
        x = F.relu(x[..., 1:-1] + self._conv(self.res1, x, dense, 1, 1))
        x = F.relu(self._conv(self.down2, x, dense, 1, 2))
        skip = x[..., 2:-2] if dense else x[..., 1:-1]
        x = F.relu(skip + self._conv(self.res2, x, dense, 2, 1))
        x = self.drop(F.relu(self._conv(self.top, x, dense, 2, 1)))
        return self.units(F.relu(self.hidden(x)))


class Corpus:
    """All shards in memory, f16; random stretches of them, changed a little in the mel domain."""

    # Formant voices are many and cheap, but people sound like the others: most of what is heard.
    NATURAL = ("heart", "joe", "slt", "awb", "kal16", "cmu_us_slt_arctic_hts", "lp_diphone", "ked_diphone", "kal_diphone")
    NATURAL_SHARE = 0.5

    def __init__(self, folder: Path):
        self.folder, self.mel, self.units, self.known = folder, [], [], set()
        self.natural: list[tuple[int, int, int]] = []  # shard, first and last row of an utterance
        self.rescan()

    def rescan(self) -> None:
        for path in sorted(self.folder.glob("shard-*.npz")):
            if path.name not in self.known and ".tmp" not in path.name:
                with np.load(path) as shard:
                    self.mel.append(shard["mel"])
                    self.units.append(shard["units"])
                    ends = np.searchsorted(shard["utterance"], np.arange(shard["utterance"][-1] + 2))
                    for i, voice in enumerate(json.loads(str(shard["voices"]))):
                        if voice in self.NATURAL:
                            self.natural.append((len(self.mel) - 1, int(ends[i]), int(ends[i + 1])))
                self.known.add(path.name)
        self.weights = np.array([len(m) for m in self.mel], float)
        self.weights /= self.weights.sum()
        lengths = np.array([end - start for _, start, end in self.natural], float)
        self.natural_weights = np.cumsum(lengths / lengths.sum())

    def hours(self) -> float:
        return sum(map(len, self.mel)) / 80 / 3600

    def batch(self, random, size, length):
        rows = length + ROWS - 1
        mel = np.empty((size, rows, 80), np.float32)
        units = np.empty((size, (length + 1) // 2, 10), np.float32)
        for i in range(size):
            if random.random() < self.NATURAL_SHARE:
                pick = min(int(np.searchsorted(self.natural_weights, random.random())), len(self.natural) - 1)
                shard, first, last = self.natural[pick]
                start = int(random.integers(first - 60, max(first - 59, last - rows + 60)))
                start = min(max(0, start), len(self.mel[shard]) - rows)
            else:
                shard = random.choice(len(self.mel), p=self.weights)
                start = int(random.integers(len(self.mel[shard]) - rows))
            piece = self.mel[shard][start : start + rows].astype(np.float32)
            silent = piece <= -3.999
            if random.random() < 0.5:  # another vocal tract: stretch the mel axis
                bands = np.arange(80) * random.uniform(0.94, 1.06) + random.uniform(-1.4, 1.4)
                bands = np.clip(bands, 0, 78.999)
                low = bands.astype(int)
                share = (bands - low).astype(np.float32)
                piece = piece[:, low] * (1 - share) + piece[:, low + 1] * share
            change = np.float32(0.08 * random.uniform(-12, 8))  # 8 units of mel are 100 dB
            if random.random() < 0.6:  # another microphone
                knots = 0.08 * random.normal(0, 2.5, 7)
                change = change + np.interp(np.arange(80), np.linspace(0, 79, 7), knots).astype(np.float32)
            piece = np.where(silent, -4, np.clip(piece + change, -4, 4))
            if random.random() < 0.2:  # a few bands say nothing
                low = int(random.integers(80))
                piece[:, low : low + int(random.integers(1, 14))] = piece.mean()
            if random.random() < 0.2:
                piece = piece + random.normal(0, random.uniform(0, 0.25), piece.shape).astype(np.float32)
                piece = np.where(silent, -4, piece)
            if random.random() < 0.15:  # the stream has only just begun
                piece[: int(random.integers(1, 120))] = -4
            mel[i] = piece
            units[i] = self.units[shard][start + 22 : start + 22 + length : 2]
        return torch.from_numpy(mel.transpose(0, 2, 1)[:, None].copy()), torch.from_numpy(units.transpose(0, 2, 1).copy())


# What each unit's squared error is worth: chiefly what it changes in the picture (mean squared change
# of the inner square for a full unit, rendered about a dozen mouths of speech: jaw 0.093, pressed
# 0.011, round 0.008, tuck 0.006, lower 0.0043, funnel 0.0040, upper 0.0031, tip 0.0015, out 0.0009,
# wide 0.0007), and a little for what an eye sees more readily than a mean of squares does.
WORTH = torch.tensor([8.0, 1.6, 1.1, 0.5, 0.7, 0.5, 0.8, 1.0, 0.25, 0.3])[:, None]
# And how much more while the lips are pressed: a mouth that does not close is what one notices.
CLOSED = torch.tensor([8.0, 2.0, 0.5, 0.0, 0.5, 1.0, 1.5, 1.0, 0.0, 0.3])[:, None]


def loss_of(raw, units):
    """Squared error and that of the change over 50 ms. Past 0..1 only a weak pull remains."""
    inside = raw.clamp(0, 1)
    # Overshooting in the right direction costs nothing in the picture, since the export clips.
    out = inside + 0.1 * (raw - inside)
    weight = WORTH + CLOSED * (units[:, 1:2] > 0.6)
    error = weight * (out - units) ** 2
    steps = WORTH * ((out[..., 2:] - out[..., :-2]) - (units[..., 2:] - units[..., :-2])) ** 2
    return error.mean() + 0.6 * steps.mean()


class Clips:
    """The fidelity test's clips, to watch progress by."""

    def __init__(self, folder: Path):
        self.clips = json.loads((folder / "clips.json").read_text())
        truth = np.load(folder / "truth.npz")
        self.windows, self.truth, self.group = [], [], []
        for clip in self.clips:
            _, pcm = wavfile.read(folder / f"{clip['name']}.wav")
            windows = encoder_windows(mel_rows(pcm / 32768.0, MARGIN), MARGIN)
            count = min(len(windows), len(truth[clip["name"]]))
            self.windows.append(torch.from_numpy(windows[:count, None]))
            self.truth.append(truth[clip["name"]][:count])
            self.group.append(f"{clip['voice']}/{clip['treatment']}")

    def measure(self, model) -> str:
        model.eval()
        with torch.no_grad():
            guesses = [model(w, dense=False)[..., 0].clamp(0, 1).numpy() for w in self.windows]
        rows = []
        for name in ["all", *dict.fromkeys(self.group)]:
            pick = [i for i, g in enumerate(self.group) if name in ("all", g)]
            guess, truth = np.concatenate([guesses[i] for i in pick]), np.concatenate([self.truth[i] for i in pick])
            r = [np.corrcoef(guess[:, u], truth[:, u])[0, 1] for u in range(10)]
            closed = truth[:, 1] > 0.8
            rows.append(
                f"{name:24s} jaw r {r[0]:.3f} rmse {np.sqrt(((guess - truth) ** 2).mean()):.3f} jaw rmse "
                f"{np.sqrt(((guess - truth)[:, 0] ** 2).mean()):.3f} closed: jaw {guess[closed, 0].mean():.3f} pressed "
                f"{guess[closed, 1].mean():.2f}  r " + " ".join(f"{v:.2f}" for v in r)
            )
        return "\n".join(rows)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("shards", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--minutes", type=float, default=60)
    options.add_argument("--eval", type=Path)
    options.add_argument("--batch", type=int, default=14)
    options.add_argument("--length", type=int, default=320)
    options.add_argument("--rate", type=float, default=1.5e-3)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--resume", type=Path)
    options = options.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    random = np.random.default_rng(options.seed)
    corpus = Corpus(options.shards)
    clips = Clips(options.eval) if options.eval else None
    model = Encoder()
    if options.resume:
        model.load_state_dict(torch.load(options.resume)["state"])
    average = Encoder()
    average.load_state_dict(model.state_dict())
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=0.03, betas=(0.9, 0.98))
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M weights, {corpus.hours():.2f} h", flush=True)
    begun = spoken_of = time.time()
    steps, running = 0, 0.0
    while True:
        share = (time.time() - begun) / (60 * options.minutes)
        if share >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = options.rate * min(1, (steps + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * share)))
        mel, units = corpus.batch(random, options.batch, options.length)
        model.train()
        with torch.autocast("cpu", torch.bfloat16):
            raw = model(mel)
        loss = loss_of(raw.float(), units)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        steps += 1
        running = 0.99 * running + 0.01 * loss.item() if steps > 1 else loss.item()
        keep = min(0.998, 1 - 1 / (steps / 10 + 1))
        with torch.no_grad():
            for a, b in zip(average.state_dict().values(), model.state_dict().values()):
                if a.dtype.is_floating_point:
                    a.lerp_(b, 1 - keep)
                else:
                    a.copy_(b)
        if time.time() - spoken_of > 150 or steps == 20:
            spoken_of = time.time()
            corpus.rescan()
            torch.save({"state": average.state_dict(), "options": model.options}, options.out / "encoder.pt")
            print(f"{time.time() - begun:6.0f} s step {steps} loss {running:.5f} hours {corpus.hours():.1f}", flush=True)
            if clips and steps > 20:
                print(clips.measure(average), flush=True)
    torch.save({"state": average.state_dict(), "options": model.options}, options.out / "encoder.pt")
    if clips:
        print(clips.measure(average))


if __name__ == "__main__":
    main()
