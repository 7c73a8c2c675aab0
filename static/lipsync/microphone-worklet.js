// Runs on the audio thread: takes what the microphone gives at the device's own rate, converts
// it to the wire's rate and posts chunks of 20 ms.
//
// out: {pcm: Int16Array, level: RMS 0..1, start?: context time of the first sample, in seconds}

import { WIRE_RATE } from "./pcm.js";
import { StreamResampler, toPcm16 } from "./resample.js";

const CHUNK = WIRE_RATE / 50;

class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new StreamResampler(sampleRate, WIRE_RATE);
    this.pending = new Float32Array(0);
    this.running = true;
    this.start = undefined;
    this.port.onmessage = () => (this.running = false);
  }

  process([input]) {
    if (!this.running) return false;
    // Without an input (the device is being switched) time goes on as silence.
    const samples = input[0] ?? new Float32Array(128);
    const start = this.start === undefined ? (this.start = currentTime) : undefined;
    const fresh = this.resampler.process(samples);
    const pending = new Float32Array(this.pending.length + fresh.length);
    pending.set(this.pending);
    pending.set(fresh, this.pending.length);
    this.pending = pending;
    if (start !== undefined) this.port.postMessage({ start });
    while (this.pending.length >= CHUNK) {
      const chunk = this.pending.subarray(0, CHUNK);
      let energy = 0;
      for (const sample of chunk) energy += sample * sample;
      const pcm = toPcm16(chunk);
      this.port.postMessage({ pcm, level: Math.sqrt(energy / CHUNK) }, [pcm.buffer]);
      this.pending = this.pending.slice(CHUNK);
    }
    return true;
  }
}

registerProcessor("lipsync-microphone", Microphone);
