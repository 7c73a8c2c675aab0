// The live figures beside the face.

import { percentile } from "../lipsync.js";
import { Plot } from "./plot.js";

const PERIOD_MS = 250;

export class Dashboard {
  /** @param {import("../lipsync.js").Player} player */
  constructor(player, { parent, words }) {
    this.player = player;
    this.words = words;
    this.plots = {
      latency: new Plot(parent, { title: "Latency", unit: "ms", ceiling: 120, colour: "--accent" }),
      offset: new Plot(parent, { title: "Picture behind sound", unit: "ms", floor: -60, ceiling: 60, band: [-40, 40], colour: "--calm" }),
      buffer: new Plot(parent, { title: "Buffer", unit: "ms", ceiling: 500, colour: "--calm" }),
      lost: new Plot(parent, { title: "Frames not shown", unit: "/s", ceiling: 5, colour: "--bad" }),
      bandwidth: new Plot(parent, { title: "Bandwidth", unit: "kB/s", ceiling: 400, colour: "--warn" }),
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
    plots.buffer.push(speaking && position !== null ? (face.timeline.depth(Math.max(0, position)) / 24000) * 1000 : NaN);
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
  const cost = Number.isFinite(compute) ? `, ${compute.toFixed(0)} ms of computing a frame` : "";
  const live = player.liveDelayMs ? `, picture ${player.liveDelayMs.toFixed(0)} ms after your voice` : "";
  return `${shown}${cost}${live}.`;
}
