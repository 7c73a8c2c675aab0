"""The corpus's mouths for the image side, and what the encoder makes of the same frames.

    python units.py SHARDS OUT [encoder.onnx]

OUT/train_units.npy [N, 10] f32 at 25 frames a second, OUT/train_utt.npy [N] the utterance of each;
with an encoder, OUT/pred_units_train.npy [N, 10]: its estimates for the same frames.
"""

import sys
from pathlib import Path

import numpy as np

from mel import encoder_windows


def main(shards: Path, out: Path, encoder: str | None, limit: int = 4) -> None:
    mouths, ids, guesses, count = [], [], [], 0
    for path in sorted(shards.glob("shard-??.npz"))[:limit]:
        with np.load(path) as shard:
            mouth, utterance = shard["mouth25"], shard["utterance25"]
            mouths.append(mouth.astype(np.float32))
            ids.append(utterance + count)
            count += int(utterance.max()) + 1
            if encoder:
                guesses.append(estimates(encoder, shard["mel"], shard["utterance"], utterance))
    np.save(out / "train_units.npy", np.concatenate(mouths))
    np.save(out / "train_utt.npy", np.concatenate(ids))
    if encoder:
        np.save(out / "pred_units_train.npy", np.concatenate(guesses))
    print(f"{sum(map(len, mouths))} frames, {count} utterances")


def estimates(encoder: str, mel, mel_utterance, frame_utterance) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(encoder, options)
    out = np.zeros((len(frame_utterance), 10), np.float32)
    starts = np.searchsorted(mel_utterance, np.arange(mel_utterance[-1] + 2))
    frame = 0
    for i in range(len(starts) - 1):
        count = int((frame_utterance == i).sum())
        windows = encoder_windows(mel[starts[i] : starts[i + 1]].astype(np.float32))[:count]
        for k, window in enumerate(windows):
            out[frame + k] = session.run(None, {"mel": window[None, None]})[0]
        frame += count
    return out


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
