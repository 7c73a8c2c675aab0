"""The test's speech: sentences and voices that training has never heard, with the true mouth.

    python tools/fidelity/clips.py OUT

writes NAME.wav (16 kHz) and, in OUT/clips.json, for each: its voice and language, the sound's
treatment, its visemes with times; and OUT/truth.npz with the units of each clip at 25 frames a
second. Deterministic. The sentences are in sentences.json; training reads other text altogether
(random words), and other voices.
"""

import json
import sys
from pathlib import Path

import numpy as np
from scipy.io import wavfile

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "train" / "speech"))

import augment  # noqa: E402
import mouth  # noqa: E402
import voices  # noqa: E402

# (engine, voice, language of the sentences, how many, treatment)
PLAN = (
    ("flite", "rms", "en", 16, "clean"),
    ("flite", "rms", "en", 8, "noisy"),
    ("espeak", "en-us+f4", "en", 6, "clean"),
    ("espeak", "en+m7", "en", 6, "clean"),
    ("espeak", "en-us+klatt3", "en", 4, "noisy"),
    ("espeak", "de+Andrea", "de", 3, "clean"),
    ("espeak", "fr+steph2", "fr", 3, "clean"),
    ("espeak", "es+f4", "es", 3, "clean"),
    ("espeak", "sv", "sv", 5, "clean"),
    ("espeak", "sv+f4", "sv", 3, "noisy"),
    ("festival", "upc_ca_ona_hts", "ca", 4, "clean"),
)


def make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sentences = json.loads((HERE / "sentences.json").read_text())
    espeak = voices.Espeak()
    random = np.random.default_rng(7)
    clips, truth = [], {}
    for engine, voice, language, count, treatment in PLAN:
        for i in range(count):
            words = sentences[language][i % len(sentences[language])]
            if engine == "espeak":
                spoken, flite = espeak.speak(words, voice, 160, 50, 55), False
            elif engine == "flite":
                spoken, flite = voices.flite(words, voice), True
            else:
                spoken, flite = voices.festival([words], voice)[0], False
            lead = 0.5
            samples = augment.resample(spoken.samples, spoken.rate)
            samples = np.concatenate([np.zeros(int(lead * 16000)), samples, np.zeros(16000)])
            duration = len(samples) / 16000
            phones = [("", 0.0, lead)] + voices.shifted(spoken.phones, lead)
            phones = voices.close_gaps(phones, duration)
            samples = samples * 10 ** (-6 / 20) / np.abs(samples).max()
            if treatment == "noisy":
                samples = augment.spoil(samples, random, None, 1.0)
            name = f"{voice.replace('+', '_')}-{treatment}-{i:02d}"
            wavfile.write(folder / f"{name}.wav", 16000, np.round(samples * 32767).astype(np.int16))
            frames = np.arange(int(duration * 25)) / 25
            truth[name] = mouth.trajectory(phones, duration, frames, flite)
            clips.append(
                {
                    "name": name,
                    "voice": voice,
                    "engine": engine,
                    "language": language,
                    "treatment": treatment,
                    "text": words,
                    "visemes": [[n, round(a, 4), round(b, 4)] for n, a, b in mouth.segments(phones, flite)],
                }
            )
    (folder / "clips.json").write_text(json.dumps(clips, ensure_ascii=False, indent=0))
    np.savez(folder / "truth.npz", **truth)
    print(f"{folder}: {len(clips)} clips, {sum(map(len, truth.values())) / 25:.0f} s")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
