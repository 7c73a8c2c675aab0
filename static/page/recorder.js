// Keeps the last messages of a connection, within a number and a budget of bytes, and writes
// them as a recording that `lipsyncd inspect` reads: JSON lines, one message a line.

import { asBytes, toBase64 } from "../lipsync/bytes.js";

const MOST_MESSAGES = 400;
const MOST_BYTES = 12 << 20;

export class Recorder {
  constructor({ messages = MOST_MESSAGES, bytes = MOST_BYTES } = {}) {
    this.limits = { messages, bytes };
    this.clear();
  }

  clear() {
    this.entries = [];
    this.bytes = 0;
    this.count = 0;
  }

  /** @param {{at: number, direction: string, kind: string, protocol: string, data: string | ArrayBuffer}} entry */
  add(entry) {
    const size = typeof entry.data === "string" ? entry.data.length : entry.data.byteLength;
    this.entries.push({ ...entry, size, number: ++this.count });
    this.bytes += size;
    while (this.entries.length > this.limits.messages || (this.bytes > this.limits.bytes && this.entries.length > 1)) {
      this.bytes -= this.entries.shift().size;
    }
  }

  /** The recording as text. */
  export() {
    return this.entries.map((entry) => `${JSON.stringify(recordingLine(entry))}\n`).join("");
  }
}

/** One message as a line of a recording (docs/PROTOCOL.md, "Recordings"). */
export function recordingLine({ at, direction, kind, protocol, data }) {
  return {
    t_ms: Math.round(at * 1000) / 1000,
    direction,
    protocol,
    kind,
    data: kind === "text" ? data : toBase64(asBytes(data)),
  };
}
