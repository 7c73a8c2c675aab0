// Streaming sample-rate conversion for the microphone's worklet: a windowed sinc, read from
// a table. Output sample k lies at input position k * from / to: no delay in position, only
// in availability (half a kernel).

const ZERO_CROSSINGS = 16;
const STEPS_PER_CROSSING = 256;

/** The right half of a sinc under a Blackman window, STEPS_PER_CROSSING points a crossing. */
function kernelTable() {
  const length = ZERO_CROSSINGS * STEPS_PER_CROSSING;
  const table = new Float64Array(length + 2);
  for (let step = 0; step <= length; step++) {
    const x = step / STEPS_PER_CROSSING;
    const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
    const phase = (Math.PI * x) / ZERO_CROSSINGS;
    table[step] = sinc * (0.42 + 0.5 * Math.cos(phase) + 0.08 * Math.cos(2 * phase));
  }
  return table;
}

export class StreamResampler {
  /** Rates in Hz. */
  constructor(from, to) {
    this.step = from / to;
    // Below half of the lower rate nothing may fold back; 0.94 leaves the filter its slope.
    this.cutoff = Math.min(1, to / from) * 0.94;
    this.reach = Math.ceil(ZERO_CROSSINGS / this.cutoff);
    this.table = kernelTable();
    this.history = new Float32Array(this.reach); // silence before the first sample
    this.start = -this.reach; // input position of history[0]
    this.produced = 0;
  }

  /** @param {Float32Array} input  @returns {Float32Array} the samples that became complete */
  process(input) {
    const samples = new Float32Array(this.history.length + input.length);
    samples.set(this.history);
    samples.set(input, this.history.length);
    const end = this.start + samples.length;
    // Output k needs input up to k * step + reach.
    const last = Math.floor((end - 1 - this.reach) / this.step);
    const output = new Float32Array(Math.max(0, last - this.produced + 1));
    for (let index = 0; index < output.length; index++) {
      output[index] = this.sampleAt((this.produced + index) * this.step, samples);
    }
    this.produced += output.length;
    const keepFrom = Math.max(0, Math.floor(this.produced * this.step) - this.reach - this.start);
    this.history = samples.slice(keepFrom);
    this.start += keepFrom;
    return output;
  }

  sampleAt(position, samples) {
    const first = Math.ceil(position - this.reach);
    const last = Math.floor(position + this.reach);
    let sum = 0;
    for (let at = first; at <= last; at++) {
      const place = Math.abs(at - position) * this.cutoff * STEPS_PER_CROSSING;
      const step = Math.floor(place);
      if (step >= ZERO_CROSSINGS * STEPS_PER_CROSSING) continue;
      const weight = this.table[step] + (this.table[step + 1] - this.table[step]) * (place - step);
      sum += weight * (samples[at - this.start] ?? 0);
    }
    return sum * this.cutoff;
  }
}

/** Floats -1..1 as PCM16, clipped. */
export function toPcm16(samples) {
  const pcm = new Int16Array(samples.length);
  for (let index = 0; index < samples.length; index++) {
    pcm[index] = Math.max(-32768, Math.min(32767, Math.round(samples[index] * 32767)));
  }
  return pcm;
}
