// The live figures beside the face.

import { percentile, WIRE_RATE } from "../lipsync.js";
import { Plot } from "./plot.js";

const PERIOD_MS = 250;

export class Dashboard {
  /** @param {import("../lipsync.js").Player} player */
  constructor(player, { parent, words }) {
    this.player = player;
    this.words = words;
    const plot = (options) => new Plot(parent, options);
    this.plots = {
      latency: plot({ title: "Latency", about: "From the sound that a frame needs to the frame; with a microphone, from the voice to its picture", unit: "ms", ceiling: 100, colour: "--accent" }),
      offset: plot({ title: "A/V offset", about: "How far the picture is behind the sound; within 40 ms nobody notices", unit: "ms", floor: -60, ceiling: 60, band: [-40, 40], colour: "--calm" }),
      buffer: plot({ title: "Buffer", about: "Frames that are ready ahead of the sound, as time", unit: "ms", ceiling: 500, colour: "--calm" }),
      lost: plot({ title: "Dropped", about: "Frames that were due and not seen", unit: "frames/s", ceiling: 5, colour: "--bad" }),
      bandwidth: plot({ title: "Bandwidth", about: "Bytes sent and received", unit: "kB/s", ceiling: 200, colour: "--warn" }),
    };
    this.before = new WeakMap();
    this.timer = setInterval(() => this.sample(), PERIOD_MS);
  }

  get face() {
    return this.player.faces.values().next().value;
  }

  sample() {
    const { player, face, plots } = this;
    if (!face || player.hidden) return;
    const speaking = player.state === "speaking";
    const { meter, connection } = face;
    const recent = meter.series.latencyMs.slice(-25);
    const position = player.position();
    const latency = player.liveDelayMs ?? percentile(recent, 0.5);
    plots.latency.push(speaking ? latency : NaN);
    plots.offset.push(speaking ? percentile(meter.series.offsetMs.slice(-12), 0.5) : NaN);
    plots.buffer.push(speaking && position !== null ? (face.timeline.depth(Math.max(0, position)) / WIRE_RATE) * 1000 : NaN);
    const now = { lost: meter.lost, bytes: connection.bytesReceived + connection.bytesSent, at: performance.now() };
    const before = this.before.get(face) ?? now;
    const seconds = (now.at - before.at) / 1000 || 1;
    plots.lost.push(speaking ? Math.max(0, now.lost - before.lost) / seconds : NaN);
    plots.bandwidth.push(Math.max(0, now.bytes - before.bytes) / 1000 / seconds);
    this.before.set(face, now);
    this.words.textContent = speaking ? words(player, meter) : "The last minute, measured in this browser.";
  }

  redraw() {
    for (const plot of Object.values(this.plots)) plot.draw();
  }

  close() {
    clearInterval(this.timer);
  }
}

function words(player, meter) {
  const shown = Number.isFinite(meter.shownShare) ? `${(meter.shownShare * 100).toFixed(1)} % shown` : "";
  const compute = meter.quantile("computeMs", 0.5, 50);
  const cost = Number.isFinite(compute) ? `, ${compute.toFixed(0)} ms to compute a frame` : "";
  const live = player.liveDelayMs ? `, picture ${player.liveDelayMs.toFixed(0)} ms after your voice` : "";
  return `${shown}${cost}${live}.`;
}
