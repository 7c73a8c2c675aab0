"""Recordings as other programs write them, for the tests of src/recording: tests/data/recordings.

    python3 tools/golden/recordings.py tests/data/recordings [FFMPEG]

Needs numpy and soundfile (libsndfile 1.2), and the program ffmpeg for two of the files. What is written beside FILE as
FILE.s16 are the samples that libsndfile reads from it, rounded to 16 bits (little endian).
"""

import io
import struct
import subprocess
import sys

import numpy
import soundfile

RATE = 24_000


def voice(count):
    """Harmonics of a falling pitch under a tremolo: speech-like, and never digital silence."""
    t = numpy.arange(count) / RATE
    phase = 2 * numpy.pi * (140 * t - 30 * t * t)
    sound = sum(numpy.sin(k * phase) / k for k in range(1, 12))
    return 0.25 * sound * (0.6 + 0.4 * numpy.sin(2 * numpy.pi * 5 * t))


def g711(tag):
    """Every code of A-law (6) or of mu-law (7)."""
    fmt = struct.pack("<HHIIHHH", tag, 1, 8_000, 8_000, 1, 8, 0)
    data = bytes(range(256))
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def main():
    out = sys.argv[1]
    ffmpeg = sys.argv[2] if len(sys.argv) > 2 else "ffmpeg"

    def write(name, data, readable=True):
        with open(f"{out}/{name}", "wb") as file:
            file.write(data)
        if readable:
            samples, _ = soundfile.read(io.BytesIO(data), dtype="float64")
            samples = numpy.clip(numpy.floor(samples * 32768 + 0.5), -32768, 32767)
            with open(f"{out}/{name}.s16", "wb") as file:
                file.write(samples.astype("<i2").tobytes())

    def by_soundfile(name, sound, readable=True, **how):
        file = io.BytesIO()
        soundfile.write(file, sound, RATE, **how)
        write(name, file.getvalue(), readable)

    short = numpy.round(voice(480) * 32768) / 32768
    write("alaw.wav", g711(6))
    write("mulaw.wav", g711(7))
    by_soundfile("u8.wav", short, format="WAV", subtype="PCM_U8")
    by_soundfile("pcm24.wav", short, format="WAV", subtype="PCM_24")
    by_soundfile("pcm32.wav", short, format="WAV", subtype="PCM_32")
    by_soundfile("float.wav", short, format="WAV", subtype="FLOAT")
    by_soundfile("double.wav", short, format="WAV", subtype="DOUBLE")
    by_soundfile("extensible24.wav", short, format="WAVEX", subtype="PCM_24")
    by_soundfile("rifx.wav", short, format="WAV", subtype="PCM_16", endian="BIG")
    by_soundfile("rf64.wav", short, format="RF64", subtype="PCM_16")
    by_soundfile("stereo.wav", numpy.stack([short, short], 1), readable=False, format="WAV", subtype="PCM_16")
    by_soundfile("ima_adpcm.wav", short, readable=False, format="WAV", subtype="IMA_ADPCM")
    long = voice(RATE // 2)
    by_soundfile("voice.flac", long, format="FLAC", subtype="PCM_16")
    by_soundfile("voice.ogg", long, format="OGG", subtype="VORBIS")
    by_soundfile("voice.mp3", long, format="MP3")
    by_soundfile("voice.opus", short, readable=False, format="OGG", subtype="OPUS")
    by_soundfile("voice.aiff", short, readable=False, format="AIFF")
    by_soundfile("voice.caf", short, readable=False, format="CAF")
    by_soundfile("voice.w64", short, readable=False, format="W64")
    wav = io.BytesIO()
    soundfile.write(wav, short, RATE, format="WAV")
    for name, options in [("ffmpeg_pipe.wav", ["-f", "wav"]), ("ffmpeg_rf64.wav", ["-f", "wav", "-rf64", "always"])]:
        command = [ffmpeg, "-loglevel", "error", "-f", "wav", "-i", "pipe:0", *options, "pipe:1"]
        data = subprocess.run(command, input=wav.getvalue(), stdout=subprocess.PIPE, check=True).stdout
        write(name, data, readable=False)
        with open(f"{out}/{name}.s16", "wb") as file:
            file.write((short * 32768).astype("<i2").tobytes())


if __name__ == "__main__":
    main()
