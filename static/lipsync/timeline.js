// The jitter buffer: frames wait here, ordered by the sample they belong to, until the
// sound reaches them. Pure: no clock, no canvas, so that the tests can drive it.

/**
 * A frame as it waits: `index` is its number in the utterance, `sample` the audio sample
 * that it belongs to (at the session's rate). Everything else is the caller's.
 * @typedef {{index: number, sample: number}} TimedFrame
 */

export class FrameTimeline {
  /**
   * @param {number} samplesPerFrame samples from one frame to the next
   * @param {number} capacity most frames held; the latest are refused beyond it
   */
  constructor(samplesPerFrame, capacity = 128) {
    this.samplesPerFrame = samplesPerFrame;
    this.capacity = capacity;
    this.reset();
  }

  reset() {
    /** @type {TimedFrame[]} sorted by index */
    this.waiting = [];
    this.current = null;
    /** index of the newest frame that has become due */
    this.dueIndex = -1;
  }

  /** @returns {"kept" | "late" | "duplicate" | "full"} */
  insert(frame) {
    if (frame.index < this.dueIndex || (this.current && frame.index <= this.current.index)) return "late";
    let at = this.waiting.length;
    while (at > 0 && this.waiting[at - 1].index > frame.index) at--;
    if (at > 0 && this.waiting[at - 1].index === frame.index) return "duplicate";
    if (this.waiting.length >= this.capacity) return "full";
    this.waiting.splice(at, 0, frame);
    return "kept";
  }

  /**
   * The first frame at or after the sample `soonest` that is not yet `asked` for, or the newest of all when even that is
   * earlier; undefined while `most` waiting frames have been asked for.
   */
  nextToDecode(soonest, most) {
    const open = this.waiting.filter((frame) => !frame.asked);
    if (this.waiting.length - open.length >= most) return undefined;
    const newest = this.waiting.at(-1);
    return open.find((frame) => frame.sample >= soonest) ?? (newest?.asked ? undefined : newest);
  }

  /**
   * Moves to `position` (a sample) and chooses what to show.
   *
   * @param {number} position the sample that is heard
   * @param {(frame: TimedFrame) => boolean} ready whether a frame can be drawn at once
   * @returns {{frame: TimedFrame | null, fresh: boolean, due: number, shown: number, dropped: TimedFrame[]}}
   *   `frame`: what to show (the one before is held when nothing newer is ready);
   *   `fresh`: it has not been shown before; `due`: frames that became due by this step;
   *   `shown`: 1 when the fresh frame is the newest due one; `dropped`: frames that came, but
   *   too late to be seen or overtaken by a newer one.
   */
  advance(position, ready = () => true) {
    const dueIndex = Math.floor(position / this.samplesPerFrame);
    const due = Math.max(0, dueIndex - this.dueIndex);
    this.dueIndex = Math.max(this.dueIndex, dueIndex);
    let newest = -1;
    let passed = 0;
    while (passed < this.waiting.length && this.waiting[passed].index <= dueIndex) {
      if (ready(this.waiting[passed])) newest = passed;
      passed++;
    }
    if (newest < 0) {
      // Nothing ready. A frame that is due now may yet become ready before the next one.
      const stale = this.waiting.filter((frame) => frame.index < dueIndex);
      this.waiting = this.waiting.filter((frame) => frame.index >= dueIndex);
      return { frame: this.current, fresh: false, due, shown: 0, dropped: stale };
    }
    const frame = this.waiting[newest];
    const dropped = this.waiting.slice(0, newest);
    // Frames after the chosen one that are due but not ready stay until they are overtaken.
    this.waiting = this.waiting.slice(newest + 1);
    this.current = frame;
    return { frame, fresh: true, due, shown: frame.index === dueIndex ? 1 : 0, dropped };
  }

  /** How far the unbroken run of waiting frames reaches beyond `position`, in samples. */
  depth(position) {
    let next = Math.max(this.current?.index ?? -1, Math.floor(position / this.samplesPerFrame)) + 1;
    if (!this.current && this.waiting.length > 0) next = this.waiting[0].index;
    for (const frame of this.waiting) {
      if (frame.index < next) continue;
      if (frame.index !== next) break;
      next++;
    }
    return Math.max(0, next * this.samplesPerFrame - position);
  }

  /** Takes everything out, for the caller to release. */
  drain() {
    const frames = this.current ? [this.current, ...this.waiting] : this.waiting;
    this.reset();
    return frames;
  }
}
