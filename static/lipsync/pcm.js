// PCM16 with absolute positions: the sound of an utterance, from which windows are cut and with
// which a broken connection is taken up again.

/** The sample rate of all audio on the wire, Hz. */
export const WIRE_RATE = 24000;

export class PcmBuffer {
  /** @param {number} capacity most samples kept; the oldest are forgotten beyond it */
  constructor(capacity = Infinity) {
    this.capacity = capacity;
    this.samples = new Int16Array(4096);
    this.first = 0; // position of samples[0]
    this.length = 0;
    /** no more will come */
    this.ended = false;
  }

  /** Position one past the last sample. */
  get end() {
    return this.first + this.length;
  }

  /** @param {Int16Array} samples appended at `end` */
  push(samples) {
    if (this.length + samples.length > this.samples.length) {
      this.forget();
      if (this.length + samples.length > this.samples.length) {
        const grown = new Int16Array(Math.max(this.length + samples.length, this.samples.length * 2));
        grown.set(this.samples.subarray(0, this.length));
        this.samples = grown;
      }
    }
    this.samples.set(samples, this.length);
    this.length += samples.length;
  }

  forget() {
    const excess = this.length - this.capacity;
    if (excess <= 0) return;
    this.samples.copyWithin(0, excess, this.length);
    this.first += excess;
    this.length -= excess;
  }

  /** Samples [from, to), with silence where there is none (before, after, forgotten). */
  window(from, to) {
    const window = new Int16Array(to - from);
    const start = Math.max(from, this.first);
    const end = Math.min(to, this.end);
    if (end > start) window.set(this.samples.subarray(start - this.first, end - this.first), start - from);
    return window;
  }
}

/** PCM16 as the little-endian bytes that the wire wants. */
export function pcmBytes(samples) {
  const bytes = new Uint8Array(samples.length * 2);
  const view = new DataView(bytes.buffer);
  for (let index = 0; index < samples.length; index++) view.setInt16(index * 2, samples[index], true);
  return bytes;
}
