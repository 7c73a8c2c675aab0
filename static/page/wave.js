// The waveform of what is spoken, with the part already heard in colour.

import { themeColour } from "./plot.js";

const BARS = 120;
/** Chunks of the microphone (20 ms each) that make one bar. */
const CHUNKS_PER_BAR = 4;

export class Wave {
  constructor(canvas) {
    this.canvas = canvas;
    this.clear();
  }

  clear() {
    this.peaks = new Array(BARS).fill(0);
    this.live = false;
    this.levels = [];
    this.progress = 0;
    this.draw();
  }

  /** @param {AudioBuffer} sound */
  setSound(sound) {
    const samples = sound.getChannelData(0);
    const step = samples.length / BARS;
    this.live = false;
    this.progress = 0;
    this.peaks = Array.from({ length: BARS }, (_, bar) => {
      let energy = 0;
      const from = Math.floor(bar * step);
      const to = Math.max(from + 1, Math.floor((bar + 1) * step));
      for (let at = from; at < to; at += 8) energy += samples[at] ** 2;
      return Math.sqrt(energy / Math.max(1, (to - from) / 8));
    });
    const loudest = Math.max(...this.peaks, 1e-4);
    this.peaks = this.peaks.map((peak) => (peak / loudest) ** 0.7);
    this.draw();
  }

  /** @param {number} level RMS of the newest chunk, 0..1 */
  pushLevel(level) {
    if (!this.live) this.clear();
    this.live = true;
    this.progress = 1;
    this.levels.push(level);
    if (this.levels.length < CHUNKS_PER_BAR) return;
    this.peaks.push(Math.min(1, (Math.max(...this.levels.splice(0)) * 6) ** 0.7));
    this.peaks.shift();
    this.draw();
  }

  setProgress(share) {
    const moved = Math.round(share * BARS) !== Math.round(this.progress * BARS);
    this.progress = share;
    if (moved) this.draw();
  }

  draw() {
    const { canvas } = this;
    const scale = devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (width === 0) return;
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const pitch = width / BARS;
    const [heard, ahead] = [themeColour("--accent"), themeColour("--line")];
    this.peaks.forEach((peak, bar) => {
      const tall = Math.max(2, peak * (height - 4));
      context.fillStyle = (bar + 0.5) / BARS <= this.progress ? heard : ahead;
      context.beginPath();
      context.roundRect(bar * pitch, (height - tall) / 2, Math.max(1, pitch * 0.6), tall, 2);
      context.fill();
    });
  }
}
