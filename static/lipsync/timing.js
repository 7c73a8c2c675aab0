// Clocks, delays and waits as pure arithmetic.

/**
 * An even clock over AudioContext.currentTime, which moves in steps of up to 20 ms in some
 * browsers. Follows the audio clock's mean and never runs away from it by more than `limit`.
 */
export class SmoothClock {
  constructor(limit = 0.03) {
    this.limit = limit;
    this.offset = undefined;
  }

  /**
   * @param {number} audioSeconds the audio clock
   * @param {number} wallSeconds a monotonic clock with fine steps (performance.now() / 1000)
   * @returns {number} the audio time, smoothed, in seconds
   */
  read(audioSeconds, wallSeconds) {
    const offset = audioSeconds - wallSeconds;
    if (this.offset === undefined || Math.abs(offset - this.offset) > this.limit) this.offset = offset;
    else this.offset += (offset - this.offset) * 0.05;
    return wallSeconds + this.offset;
  }

  reset() {
    this.offset = undefined;
  }
}

/**
 * The delay between a sound's instant and its picture in live use: as short as the transit
 * times of recent frames allow. Grows at once, shrinks slowly, stays within its bounds.
 */
export class AdaptiveDelay {
  constructor({ floorMs, ceilingMs, marginMs = 25, memory = 150, shrinkMsPerSecond = 8 }) {
    Object.assign(this, { floorMs, ceilingMs, marginMs, memory, shrinkMsPerSecond });
    this.transits = [];
    this.targetMs = floorMs;
    this.delayMs = floorMs;
    this.changedAt = undefined;
  }

  /** @param {number} transitMs from the instant of a frame's sample until it can be drawn */
  observe(transitMs) {
    this.transits.push(transitMs);
    if (this.transits.length > this.memory) this.transits.shift();
    const needed = percentile(this.transits, 0.98) + this.marginMs;
    this.targetMs = Math.min(this.ceilingMs, Math.max(this.floorMs, needed));
  }

  /** @returns {number} the delay to use from now on, in ms */
  step(nowMs) {
    const seconds = (nowMs - (this.changedAt ?? nowMs)) / 1000;
    this.changedAt = nowMs;
    const excess = this.delayMs - this.targetMs;
    // A small excess goes unnoticed, a large one (after a stall) is a fifth shorter each second.
    if (excess <= 0) this.delayMs = this.targetMs;
    else this.delayMs -= Math.min(excess, seconds * Math.max(this.shrinkMsPerSecond, excess / 5));
    return this.delayMs;
  }
}

/** Waits before the next attempt to connect: doubling, with jitter, bounded. */
export class Backoff {
  constructor({ firstMs = 200, longestMs = 5000, random = Math.random } = {}) {
    Object.assign(this, { firstMs, longestMs, random });
    this.attempt = 0;
  }

  /** Between half and the whole of the doubled wait, so that clients do not return in step. */
  next() {
    const whole = Math.min(this.longestMs, this.firstMs * 2 ** this.attempt);
    this.attempt++;
    return whole * (0.5 + this.random() / 2);
  }

  reset() {
    this.attempt = 0;
  }
}

/** The value below which `share` of the values lie (nearest rank); NaN for none. */
export function percentile(values, share) {
  if (values.length === 0) return NaN;
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))];
}
