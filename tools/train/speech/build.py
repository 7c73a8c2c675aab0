"""Builds one shard of the corpus: mel rows and the mouth at each of them.

    python build.py OUT/shard-00.npz --hours 1 --seed 0

A shard holds `mel` [N, 80] f16 and `units` [N, 10] f16 at 80 rows a second, the utterances one after
another; `utterance` [N] i32; `mouth25` [M, 10] f32 and `utterance25` [M]: the same mouths at 25
frames a second; `voices`: the voice of each utterance. The same arguments give the same shard.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import augment
import mouth
import text
import voices
from mel import HOP, RATE, mel_rows

# Kept out of training altogether, for the test.
HELD_OUT = {"espeak": ("f4", "m7", "klatt3", "Andrea", "steph2"), "flite": ("rms",), "festival": ("upc_ca_ona_hts",)}

ESPEAK_VARIANTS = (
    "", "", "", "", "m1", "m2", "m3", "m4", "m5", "m6", "m8", "f1", "f2", "f3", "f5", "Alex", "Alicia",
    "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky", "Lee", "Marco", "Mario", "Michael",
    "Mike", "Nguyen", "Storm", "adam", "anika", "antonio", "aunty", "belinda", "benjamin", "boris",
    "david", "edward", "grandma", "grandpa", "iven", "iven3", "john", "kaukovalta", "klatt",
    "klatt2", "klatt4", "klatt5", "linda", "marcelo", "max", "michel", "miguel", "norbert", "pablo",
    "paul", "pedro", "quincy", "rob", "robert", "sandro", "shelby", "steph", "steph3", "travis",
    "victor", "whisper", "zac",
)
FESTIVAL = (
    ("cmu_us_slt_arctic_hts", "en"), ("ked_diphone", "en"), ("kal_diphone", "en"), ("lp_diphone", "it"),
)
SHARES = {"espeak": 0.42, "hibari": 0.18, "piper": 0.16, "flite": 0.13, "festival": 0.08, "noise": 0.03}


class Speakers:
    """All engines behind one call; an engine whose package is missing is left out."""

    def __init__(self) -> None:
        self.espeak = voices.Espeak()
        self.engines = dict(SHARES)
        try:
            self.hibari = voices.Hibari()
            self.piper = voices.Piper(self.espeak)
        except ImportError as missing:
            print(f"without the neural voices: {missing}")
            del self.engines["hibari"], self.engines["piper"]
        self._festival: list = []

    def say(self, engine: str, random: np.random.Generator):
        """(Spoken, is it in flite's symbols, voice name)"""
        if engine == "espeak":
            language = list(text.LANGUAGES)[int(random.integers(len(text.LANGUAGES)))]
            if random.random() < 0.3:
                language = "en-us"
            variant = ESPEAK_VARIANTS[int(random.integers(len(ESPEAK_VARIANTS)))]
            voice = language + ("+" + variant if variant else "")
            words = text.sentence(text.LANGUAGES[language], random)
            pitch, wide = random.integers(15, 90), random.integers(20, 90)
            spoken = self.espeak.speak(words, voice, random.integers(115, 225), pitch, wide)
            return spoken, False, voice
        if engine == "hibari":
            words = text.sentence("en", random, 18)
            spoken = self.hibari.speak(words, float(random.uniform(0.75, 1.25)), int(random.integers(1 << 30)))
            return spoken, False, "heart"
        if engine == "piper":
            words = text.sentence("en", random, 18)
            return self.piper.speak(words, float(random.uniform(0.85, 1.4))), False, "joe"
        if engine == "flite":
            voice = ("slt", "awb", "kal16")[int(random.integers(3))]
            words = text.sentence("en", random, 18)
            return voices.flite(words, voice, float(random.uniform(0.85, 1.35))), True, voice
        while not self._festival:
            voice, language = FESTIVAL[int(random.integers(len(FESTIVAL)))]
            batch = [text.sentence(language, random) for _ in range(12)]
            stretch = float(random.uniform(0.9, 1.3))
            self._festival = [(s, language == "en", voice) for s in voices.festival(batch, voice, stretch)]
        return self._festival.pop()


def place(spoken, flite: bool, random: np.random.Generator, factor_range, times_after=0.8):
    """Samples at 16 kHz with silence around them, and a function from times to units."""
    factor = float(random.uniform(*factor_range))
    samples = augment.resample(spoken.samples, spoken.rate, factor)
    factor = augment.true_factor(spoken.rate, factor)
    before, after = random.uniform(0, 0.5), random.uniform(0.05, times_after)
    samples = np.concatenate([np.zeros(int(before * RATE)), samples, np.zeros(int(after * RATE))])
    before = int(before * RATE) / RATE
    duration = len(samples) / RATE
    phones = [("", 0.0, before)] if before else []
    phones += [(s, before + a / factor, before + b / factor) for s, a, b in spoken.phones]
    phones = voices.close_gaps(phones, duration)
    return samples, lambda times: mouth.trajectory(phones, duration, times, flite)


def silent_clip(random: np.random.Generator, babble):
    """Seconds without speech: noise at any level, breath, a knock. The mouth stays closed."""
    count = int(random.uniform(1.5, 5) * RATE)
    samples = augment.noise(count, random, None) * 10 ** (random.uniform(-75, -28) / 20)
    if random.random() < 0.4:  # breath: a swell of dull noise
        start, size = int(random.integers(count // 2)), int(random.uniform(0.3, 0.9) * RATE)
        swell = np.hanning(size) * augment.coloured_noise(size, 0.3, random)
        piece = samples[start : start + size]
        piece += swell[: len(piece)] * 10 ** (random.uniform(-55, -30) / 20)
    if random.random() < 0.3:  # clicks, knocks
        for _ in range(int(random.integers(1, 5))):
            start = int(random.integers(count - 800))
            samples[start : start + 800] += (
                random.standard_normal(800) * np.exp(-np.arange(800) / 120) * 10 ** (random.uniform(-40, -12) / 20)
            )
    return np.round(np.clip(samples, -1, 1) * 32767) / 32767


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("out", type=Path)
    options.add_argument("--hours", type=float, default=1.0)
    options.add_argument("--seed", type=int, default=0)
    options = options.parse_args()

    random = np.random.default_rng([20, options.seed])
    speakers = Speakers()
    names = list(speakers.engines)
    target = {n: s / sum(speakers.engines.values()) for n, s in speakers.engines.items()}
    made = dict.fromkeys(names, 1e-3)
    mels, units, utterance, mouth25, utterance25, tags = [], [], [], [], [], []
    babble, total = np.zeros(0), 0.0
    while total < options.hours * 3600:
        engine = min(names, key=lambda n: made[n] / target[n])
        if engine == "noise":
            samples, units_at, tag = silent_clip(random, babble), lambda t: np.zeros((len(t), 10), np.float32), "noise"
        else:
            try:
                spoken, flite, tag = speakers.say(engine, random)
            except (ValueError, OSError, KeyError) as fault:
                print(f"{engine}: {fault}")
                made[engine] += 1
                continue
            if not 0.5 < len(spoken.samples) / spoken.rate < 25 or np.abs(spoken.samples).max() < 1e-3:
                made[engine] += 1
                continue
            # The few natural speakers are turned into many by playing them faster or slower.
            wide = engine in ("hibari", "piper", "flite")
            samples, units_at = place(spoken, flite, random, (0.82, 1.22) if wide else (0.92, 1.1))
            if len(babble) < 120 * RATE and random.random() < 0.2:
                babble = np.concatenate([babble, samples / (samples.std() + 1e-9)])
            samples = augment.spoil(samples, random, babble, 0.25 if random.random() < 0.4 else 1.0)
        seconds = len(samples) / RATE
        rows = mel_rows(samples)
        mels.append(rows.astype(np.float16))
        units.append(units_at(np.arange(len(rows)) * HOP / RATE).astype(np.float16))
        utterance.append(np.full(len(rows), len(tags), np.int32))
        frames = np.arange(int(seconds * 25)) / 25
        mouth25.append(units_at(frames))
        utterance25.append(np.full(len(frames), len(tags), np.int32))
        tags.append(tag)
        made[engine] += seconds
        total += seconds
        if len(tags) % 200 == 0:
            print(f"{options.out.name}: {total / 3600:.2f} of {options.hours} h, {len(tags)} utterances", flush=True)

    options.out.parent.mkdir(parents=True, exist_ok=True)
    scratch = options.out.with_suffix(".tmp.npz")
    np.savez(
        scratch,
        mel=np.concatenate(mels),
        units=np.concatenate(units),
        utterance=np.concatenate(utterance),
        mouth25=np.concatenate(mouth25),
        utterance25=np.concatenate(utterance25),
        voices=json.dumps(tags),
    )
    scratch.rename(options.out)
    print(f"{options.out}: {total / 3600:.2f} h; seconds by engine {({k: round(v) for k, v in made.items()})}")


if __name__ == "__main__":
    main()
