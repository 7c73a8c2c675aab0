// One WebSocket that keeps itself alive: negotiates the protocol, falls back by itself
// (stream, binary, JSON), reconnects with backoff and jitter, and says in words what happens.

import { parse } from "./json.js";
import { whyRefused } from "./server.js";
import { Backoff } from "./timing.js";

/** What may be asked for. `auto` takes the best that the server has. */
export const MODES = ["auto", "stream", "timed", "binary", "protobuf", "json"];

const SUBPROTOCOL = {
  stream: "lipsync.v2",
  timed: "lipsync.v1.timed",
  binary: "lipsync.v1",
  protobuf: "lipsync.protobuf",
};
const WIRE_OF = Object.fromEntries(Object.entries(SUBPROTOCOL).map(([wire, name]) => [name, wire]));

/** How long the answer to "is binary switched on?" may take before it is taken for yes. */
const PROTOCOL_INFO_WAIT_MS = 2000;
/** A connection that does not open within this time is given up. */
const OPEN_WAIT_MS = 8000;
/** Nothing more is sent while this much waits in the browser: a WebSocket cannot push back. */
const SEND_BUFFER_LIMIT = 1 << 20;

/** Lists of subprotocols to offer, tried one after the other. */
export function offersFor(mode) {
  if (mode === "json") return [[]];
  const all = [SUBPROTOCOL.stream, SUBPROTOCOL.timed, SUBPROTOCOL.binary];
  const asked = SUBPROTOCOL[mode] ? [[SUBPROTOCOL[mode]]] : [all];
  // Last resort: none offered. A browser refuses a server that answers an offer with nothing.
  const rest = mode === "auto" ? [] : [[SUBPROTOCOL.timed, SUBPROTOCOL.binary]];
  return [...asked, ...rest, []];
}

/** What a close code means, in words for a user. */
function closeReason(code, reason) {
  if (reason) return reason;
  if (code === 1001) return "the server is shutting down or restarting";
  if (code === 1008) return "the server refused this client";
  if (code === 1009) return "a message was too large for the server";
  if (code === 1013) return "the server is busy";
  return "the connection was lost";
}

/**
 * Events: `state` (detail {state, text}), `open` (detail {wire}), `message` (detail {data, at}),
 * `trace` (detail {at, direction, kind, protocol, data}).
 */
export class Connection extends EventTarget {
  /**
   * @param {{url: string, mode?: string, WebSocket?: typeof WebSocket, fetch?: typeof fetch, backoff?: Backoff}} options
   *   fetch: asks why a WebSocket was refused
   */
  constructor({ url, mode = "auto", WebSocket: Socket = globalThis.WebSocket, fetch, backoff = new Backoff({ longestMs: 2000 }) }) {
    super();
    this.url = url;
    this.Socket = Socket;
    this.fetch = fetch;
    this.backoff = backoff;
    this.socket = undefined;
    this.timer = undefined;
    /** waits for protocol_info */
    this.asking = false;
    /** counts attempts to connect, to tell late answers apart */
    this.attempt = 0;
    this.state = "closed";
    /** stream, timed, binary, protobuf or json; undefined until open */
    this.wire = undefined;
    this.bytesReceived = 0;
    this.bytesSent = 0;
    this.setMode(mode);
  }

  setMode(mode) {
    if (!MODES.includes(mode)) throw new RangeError(`mode must be one of ${MODES.join(", ")}`);
    this.mode = mode;
    this.offers = offersFor(mode);
    this.offer = 0;
  }

  /** Changes the protocol; reconnects when needed. */
  switchTo(mode) {
    this.setMode(mode);
    if (this.state === "closed") return;
    this.drop();
    this.connect();
  }

  /** Does without a wire that turned out not to work, and connects anew. */
  avoid(wire) {
    const without = this.offers.map((offer) => offer.filter((name) => name !== SUBPROTOCOL[wire]));
    this.offers = without.filter((offer, at) => offer.length > 0 || at === without.length - 1);
    this.offer = 0;
    if (this.state === "closed") return;
    this.drop();
    this.connect();
  }

  open() {
    if (this.state !== "closed") return;
    this.connect();
  }

  close() {
    this.drop();
    this.setState("closed", "Disconnected.");
  }

  /** Forgets the socket without any event from it. */
  drop() {
    clearTimeout(this.timer);
    this.attempt++;
    this.wire = undefined;
    const socket = this.socket;
    this.socket = undefined;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
      socket.close();
    }
  }

  setState(state, text) {
    this.state = state;
    this.emit("state", { state, text });
  }

  emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  connect() {
    this.attempt++;
    // While it tries again, the reason why stays to be read.
    if (this.state !== "waiting") this.setState("connecting", "Connecting to the server…");
    const offer = this.offers[this.offer];
    const socket = offer.length > 0 ? new this.Socket(this.url, offer) : new this.Socket(this.url);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    let opened = false;
    this.timer = setTimeout(() => socket.close(), OPEN_WAIT_MS);
    socket.onopen = () => {
      opened = true;
      clearTimeout(this.timer);
      this.negotiate(socket);
    };
    socket.onmessage = (event) => this.receive(event.data);
    socket.onclose = (event) => {
      this.drop();
      this.retry(opened, event);
    };
  }

  async retry(opened, event) {
    if (!opened) {
      // Refused before it opened: perhaps because of what was offered. The next offer is tried
      // at once; after the last one the reason is asked for.
      this.offer = (this.offer + 1) % this.offers.length;
      if (this.offer !== 0) return this.connect();
    }
    const { attempt } = this;
    const reason = opened ? closeReason(event.code, event.reason) : await whyRefused(this.url, this.fetch);
    if (this.attempt !== attempt) return;
    this.setState("waiting", `Not connected: ${reason}. Trying again…`);
    this.timer = setTimeout(() => this.connect(), this.backoff.next());
  }

  /**
   * A server accepts a subprotocol that is switched off (a browser could not read a refusal) and
   * lists in protocol_info those that are on. So every connection asks before it is used.
   */
  negotiate(socket) {
    this.asking = true;
    this.sendText({ type: "switch_to_binary" });
    this.timer = setTimeout(() => this.answered({}, socket), PROTOCOL_INFO_WAIT_MS);
  }

  answered(info, socket) {
    clearTimeout(this.timer);
    this.asking = false;
    const asked = WIRE_OF[socket.protocol];
    const enabled = Array.isArray(info.subprotocols) ? info.subprotocols.includes(socket.protocol) : true;
    if (asked && enabled) return this.ready(asked);
    const binary = this.mode !== "json" && info.binary_supported !== false;
    if (!binary) return this.ready("json");
    if (!asked) return this.ready("binary");
    // Accepted with a subprotocol that is off: binary needs another connection.
    this.drop();
    this.offer = (this.offer + 1) % this.offers.length;
    this.connect();
  }

  ready(wire) {
    this.wire = wire;
    this.backoff.reset();
    this.setState("open", `Connected (${wire}).`);
    this.emit("open", { wire });
  }

  receive(data) {
    const at = performance.now();
    this.bytesReceived += typeof data === "string" ? data.length : data.byteLength;
    this.trace("received", data, at);
    if (!this.asking) return this.emit("message", { data, at });
    if (typeof data !== "string") return;
    let message;
    try {
      message = parse(data);
    } catch {
      return;
    }
    if (message.type === "protocol_info") this.answered(message, this.socket);
  }

  trace(direction, data, at = performance.now()) {
    const kind = typeof data === "string" ? "text" : "binary";
    this.emit("trace", { at, direction, kind, protocol: this.socket?.protocol ?? "", data });
  }

  /** Whether a session may send now: negotiated, and not too much waiting in the browser. */
  get writable() {
    return this.wire !== undefined && this.socket?.readyState === 1 && this.socket.bufferedAmount < SEND_BUFFER_LIMIT;
  }

  sendText(message) {
    this.send(typeof message === "string" ? message : JSON.stringify(message));
  }

  /** Sends when connected; what cannot be sent is lost (sessions ask again by themselves). */
  send(data) {
    if (this.socket?.readyState !== 1) return false;
    this.socket.send(data);
    this.bytesSent += typeof data === "string" ? data.length : data.byteLength;
    this.trace("sent", data);
    return true;
  }
}
