"""From phonemes with times to the ten weights of the mouth (tools/train/visemes.json).

Coarticulation by dominance: each phoneme pulls every unit towards its viseme's value with a
strength of its own (a /p/ insists on closed lips, a /k/ hardly cares), which fades exponentially
before and after it; the mouth is the weighted mean of all pulls. Smoothed, then two things are made
sure of: lips that must touch do touch, long enough to fall on a video frame, and pauses close the
mouth. Nothing is random: the same phonemes always give the same mouth, so all of it can be learnt.
"""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

TABLE = json.loads((Path(__file__).parent.parent / "visemes.json").read_text())
UNITS = TABLE["units"]
JAW, PRESSED, ROUND, WIDE, FUNNEL, UPPER, LOWER, TUCK, TIP, OUT = range(10)

# Pressing and tucking are done by gates below, sharp in time, and so left out of the slow blend.
_VALUES = {name: np.array(v["units"], np.float64) for name, v in TABLE["visemes"].items()}
_BLEND = {name: value * np.isin(np.arange(10), (PRESSED, TUCK), invert=True) for name, value in _VALUES.items()}

# How strongly a viseme insists: on the jaw, on the lips' shape, on the tongue; then exceptions.
_STRENGTH = {
    "PP": (1.2, 0.4, 0.3, {UPPER: 1, LOWER: 1}),
    "FF": (1.2, 0.4, 0.3, {UPPER: 1, LOWER: 1}),
    "TH": (1.2, 0.5, 4.0, {}),
    "DD": (0.7, 0.25, 3.0, {}),
    "LL": (0.7, 0.3, 3.0, {}),
    "SS": (2.2, 0.7, 0.5, {LOWER: 1.3, UPPER: 1.0, ROUND: 0.4}),
    "CH": (2.0, 1.2, 0.5, {FUNNEL: 2.5}),
    "KK": (0.4, 0.2, 0.4, {}),
    "XX": (0.3, 0.15, 0.2, {}),
    "RR": (0.8, 0.7, 0.6, {}),
    "WW": (1.5, 1.5, 0.4, {ROUND: 3.5}),
    "UW": (1.1, 1.3, 0.6, {ROUND: 2.2}),
    "YY": (1.1, 1.3, 0.6, {ROUND: 1.8}),
    "AX": (0.7, 0.6, 0.6, {}),
    "sil": (1.0, 1.0, 1.0, {}),
}
_VOWEL = (1.1, 1.0, 0.7, {})


@lru_cache
def _pull(name: str) -> np.ndarray:
    jaw, lips, tongue, exceptions = _STRENGTH.get(name, _VOWEL)
    strength = np.array([jaw] + [lips] * 7 + [tongue] * 2, np.float64)
    for unit, value in exceptions.items():
        strength[unit] = value
    return strength


def _symbols() -> dict[str, tuple[str, ...]]:
    """Symbol → visemes. IPA, flite's ASCII names (two letters or unambiguous), and Kokoro's."""
    table: dict[str, tuple[str, ...]] = {}
    for name, viseme in TABLE["visemes"].items():
        for symbol in viseme["phonemes"]["ipa"]:
            table.setdefault(symbol, (name,))
    for symbol, pair in TABLE["diphthongs"].items():
        table.setdefault(symbol, tuple(pair))
    kokoro = {"A": "eɪ", "I": "aɪ", "O": "oʊ", "W": "aʊ", "Y": "ɔɪ", "Q": "əʊ"}
    table |= {symbol: table[ipa] for symbol, ipa in kokoro.items()}
    table |= {s: ("CH",) for s in ("ʤ", "ʧ", "ʨ", "ʥ")} | {s: ("SS",) for s in ("ʦ", "ʣ", "ɬ", "ɮ")}
    table |= {"T": ("DD",), "ᵻ": ("IH",), "ᵊ": ("AX",), "ʈ": ("DD",), "ʉ": ("UW",), "ɞ": ("ER",),
              "ɶ": ("AE",), "ʌ": ("AH",), "ʟ": ("LL",), "ɫ": ("LL",), "ʙ": ("PP",), "ɓ": ("PP",),
              "ɗ": ("DD",), "ɠ": ("KK",), "ʛ": ("KK",), "ʝ": ("IY",), "ɧ": ("CH",), "ᵝ": ("UH",)}
    return table


_IPA = _symbols()
_FLITE = {s: (name,) for name, v in TABLE["visemes"].items() for s in v["phonemes"]["flite"]}
_FLITE |= {s: tuple(TABLE["diphthongs"][s]) for s in ("ay", "aw", "oy", "ey", "ow")}


@lru_cache(maxsize=None)
def visemes_of(symbol: str, flite: bool) -> tuple[str, ...]:
    """The visemes of one phoneme symbol, in order; unknown marks (stress, length, tone) are skipped."""
    if not symbol:
        return ("sil",)
    if flite:
        return _FLITE.get(symbol, ())
    out: list[str] = []
    i = 0
    while i < len(symbol):
        for size in (3, 2, 1):
            found = _IPA.get(symbol[i : i + size])
            if found and i + size <= len(symbol):
                out += found
                i += size
                break
        else:
            i += 1
    return tuple(out)


def segments(phones, flite: bool) -> list[tuple[str, float, float]]:
    """Phonemes → (viseme, start, end): diphthongs split in two, neighbouring pauses joined."""
    out: list[tuple[str, float, float]] = []
    for symbol, start, end in phones:
        names = visemes_of(symbol, flite)
        if not names:  # an unknown sound: its time goes to the one before it
            if out:
                out[-1] = (out[-1][0], out[-1][1], end)
            continue
        step = (end - start) / len(names)
        for i, name in enumerate(names):
            piece = (name, start + i * step, start + (i + 1) * step)
            if out and name == "sil" and out[-1][0] == "sil":
                out[-1] = ("sil", out[-1][1], piece[2])
            else:
                out.append(piece)
    return out


# The visemes are said clearly; talk is smaller. What the jaw does of what its viseme asks for:
CONVERSATIONAL = 0.78

FINE = 400  # the trajectory is worked out at this rate (Hz), then sampled

ANTICIPATION, CARRY_OVER = 0.060, 0.050  # seconds in which a phoneme's pull falls to 1/e
SMOOTHING = 0.016  # standard deviation of the Gaussian, seconds
SHORTEST_CLOSURE = 0.055  # a bilabial is held so long that one frame in 40 ms shows it
CLOSING, OPENING = 0.065, 0.055  # seconds from free to closed, and back
PAUSE_CLOSING, PAUSE_OPENING = 0.20, 0.13  # how a pause closes the mouth and speech opens it


def _gate(time, start, end, rise, fall):
    """1 within start..end, a raised cosine over `rise` before and `fall` after, 0 elsewhere."""
    before = np.clip((time - (start - rise)) / rise, 0, 1)
    after = np.clip(((end + fall) - time) / fall, 0, 1)
    return 0.5 - 0.5 * np.cos(np.pi * np.minimum(before, after))


def trajectory(phones, duration: float, times: np.ndarray, flite: bool = False) -> np.ndarray:
    """Units at `times` (seconds, each in 0..duration): [len(times), 10] f32, 0..1."""
    pieces = segments(phones, flite)
    fine = np.arange(int(np.ceil(duration * FINE)) + 2) / FINE
    weighted = np.zeros((len(fine), 10))
    total = np.full((len(fine), 10), 1e-6)
    for name, start, end in pieces:
        core = 0.2 * (end - start)
        low, high = np.searchsorted(fine, (start - 0.45, end + 0.45))
        t = fine[low:high, None]
        away = np.maximum((start + core - t) / ANTICIPATION, (t - (end - core)) / CARRY_OVER)
        pull = _pull(name) * np.exp(-np.maximum(away, 0))
        weighted[low:high] += pull * _BLEND[name]
        total[low:high] += pull
    units = gaussian_filter1d(weighted / total, SMOOTHING * FINE, axis=0, mode="nearest")

    for name, start, end in pieces:
        if name == "sil":
            # In a pause everything relaxes; a short one is passed over without closing.
            first = 0.0 if start <= 0.001 else start + PAUSE_CLOSING
            last = duration + 1 if end >= duration - 0.001 else end - PAUSE_OPENING
            if start <= 0.001 and end >= duration - 0.001:
                units[:] = 0
            elif last > first - PAUSE_CLOSING:
                middle = max(first, last) if first <= last else (first + last) / 2
                depth = 1.0 if first <= last else 1 - (first - last) / (PAUSE_CLOSING + PAUSE_OPENING)
                gate = _gate(fine, min(first, middle), max(last, middle), PAUSE_CLOSING, PAUSE_OPENING)
                units *= 1 - depth * gate[:, None]
    for name, start, end in pieces:
        if name == "PP":
            hold = max(SHORTEST_CLOSURE, end - start - 0.015)
            end = max(end - 0.008, start + 0.02)
            gate = _gate(fine, end - hold, end, CLOSING, OPENING)[:, None]
            keep = np.ones(10)
            keep[[JAW, UPPER, LOWER, TUCK, OUT]] = 0
            keep[[ROUND, FUNNEL]] = 0.3, 0.2
            keep[WIDE] = 0.4
            units = units * (1 - gate * (1 - keep))
            units[:, PRESSED] = np.maximum(units[:, PRESSED], gate[:, 0])
        elif name == "FF":
            hold = max(0.05, end - start - 0.02)
            gate = _gate(fine, end - hold, end, 0.06, 0.05)[:, None]
            aim = _VALUES["FF"].copy()
            aim[[ROUND, WIDE, FUNNEL, TIP, OUT]] = (units * 0.5)[:, [ROUND, WIDE, FUNNEL, TIP, OUT]].min(0)
            free = np.ones(10, bool)
            free[[JAW, PRESSED, UPPER, LOWER, TUCK]] = False
            blended = units * (1 - gate) + aim * gate
            units = np.where(free, units * (1 - 0.5 * gate), blended)
    units[:, JAW] *= CONVERSATIONAL
    units = np.clip(units, 0, 1)
    at = np.clip(times * FINE, 0, len(fine) - 1)
    low = np.minimum(at.astype(int), len(fine) - 2)
    share = (at - low)[:, None]
    return (units[low] * (1 - share) + units[low + 1] * share).astype(np.float32)
