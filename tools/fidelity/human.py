"""Recorded human speech for the test, with phonemes found by forced alignment.

    pip install pocketsphinx; apt-get install pocketsphinx-testdata
    python tools/fidelity/human.py OUT [FOLDER]

The recordings are those of Debian's package pocketsphinx-testdata: five sentences of a LibriVox
reading (public domain). Their transcripts are known; PocketSphinx says when each phoneme sounds, to
10 ms; from there the true mouth is worked out as for the synthetic voices. It is a truth of a lesser
kind: the aligner errs by some 20 ms, and nobody saw the speaker's mouth. Adds to OUT/clips.json and
OUT/truth.npz (made by clips.py before).
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
from pocketsphinx import Decoder
from scipy.io import wavfile

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "train" / "speech"))

import mouth  # noqa: E402
import voices  # noqa: E402

RECORDINGS = Path("/usr/share/pocketsphinx/test/data/librivox")
_FLITE = {"AH": "ah", "SIL": "", "+NSN+": "", "+SPN+": ""}


def align(pcm: np.ndarray, words: str) -> list:
    """PCM16 at 16 kHz and what is said → phonemes with times, in flite's names."""
    decoder = Decoder(loglevel="FATAL", bestpath=False)
    decoder.set_align_text(words)
    for second in (False, True):
        if second:
            decoder.set_alignment()
        decoder.start_utt()
        decoder.process_raw(pcm.tobytes(), full_utt=True)
        decoder.end_utt()
    phones = []
    for word in decoder.get_alignment():
        for phone in word:
            name = _FLITE.get(phone.name, phone.name.lower())
            # An unstressed AH is a schwa; the dictionary does not tell, but its length does.
            name = "ax" if name == "ah" and phone.duration < 7 else name
            phones.append((name, phone.start / 100, (phone.start + phone.duration) / 100))
    return phones


def main(out: Path, folder: Path) -> None:
    clips = [c for c in json.loads((out / "clips.json").read_text()) if c["engine"] != "human"]
    truth = dict(np.load(out / "truth.npz"))
    for line in (folder / "transcription").read_text().splitlines():
        words, name = re.match(r"<s> (.*) </s> \((.*)\)", line).groups()
        _, pcm = wavfile.read(folder / f"{name}.wav")
        phones = align(pcm, words)
        padded = np.concatenate([np.zeros(4000, np.int16), pcm, np.zeros(12000, np.int16)])
        duration = len(padded) / 16000
        phones = voices.close_gaps(voices.shifted(phones, 0.25), duration)
        short = f"human-librivox-{name[-4:]}"
        wavfile.write(out / f"{short}.wav", 16000, padded)
        truth[short] = mouth.trajectory(phones, duration, np.arange(int(duration * 25)) / 25, True)
        clips.append(
            {
                "name": short,
                "voice": "human",
                "engine": "human",
                "language": "en",
                "treatment": "librivox",
                "text": words,
                "visemes": [[n, round(a, 4), round(b, 4)] for n, a, b in mouth.segments(phones, True)],
            }
        )
        print(short, f"{duration:.1f} s", words)
    (out / "clips.json").write_text(json.dumps(clips, ensure_ascii=False, indent=0))
    np.savez(out / "truth.npz", **truth)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else RECORDINGS)
