// Figures over the last seconds, in bounded memory: what the dashboard shows and tests read.

import { percentile } from "./timing.js";

/** Values kept of each series. */
const KEPT = 1500;

export class Meter {
  constructor() {
    this.reset();
  }

  reset() {
    this.counts = { due: 0, shown: 0, late: 0, overtaken: 0, undecodable: 0, serverDropped: 0, received: 0 };
    this.series = { offsetMs: [], latencyMs: [], computeMs: [] };
  }

  count(name, by = 1) {
    this.counts[name] += by;
  }

  /** @param {"offsetMs" | "latencyMs" | "computeMs"} name */
  record(name, value) {
    if (!Number.isFinite(value)) return;
    const values = this.series[name];
    values.push(value);
    if (values.length > KEPT) values.splice(0, values.length - KEPT);
  }

  /** Quantile of the newest `count` values. */
  quantile(name, share, count = KEPT) {
    return percentile(this.series[name].slice(-count), share);
  }

  /** Frames that came, or would have come, but were not seen. */
  get lost() {
    return Math.max(0, this.counts.due - this.counts.shown);
  }

  /** Share of the due frames that were shown, 0..1; NaN before the first. */
  get shownShare() {
    return this.counts.due > 0 ? this.counts.shown / this.counts.due : NaN;
  }
}
