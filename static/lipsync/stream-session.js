// Speech over stream mode (v2): audio flows in as it is had, frames flow out as they become due.
// The same interface as RequestSession, so that a player does not care which it has.

import { parse } from "./json.js";
import { pcmBytes, WIRE_RATE } from "./pcm.js";
import * as v2 from "./v2.js";

const STREAM = 1;
/** Frames that may be on their way before the first credit. */
const CREDITS = 50;
/** Credits are given back in lots of this size. */
const CREDIT_LOT = 10;
/** Audio in one message, in samples: 100 ms. */
const CHUNK = WIRE_RATE / 10;
/** How long after its instant, look-ahead aside, a frame is still worth sending, in ms. */
const MAX_DELAY_MS = 150;
/** What a frame needs between the server's sending it and its being seen, in ms. */
const DELIVERY_MS = 60;
/** Marks of when audio was sent, kept for measuring latency. */
const KEPT_MARKS = 200;

/** Codes after which opening again cannot help. */
const FATAL = new Set(["unknown_model", "bad_value", "bad_field"]);
/** Codes that say: this server, or this package, has no stream mode. */
const NO_STREAMS = new Set(["unsupported", "unknown_type", "wrong_mode", "protocol_disabled"]);
/** Which method takes a message, by its type. */
const TAKES = { opened: "began", dropped: "dropped", busy: "busy", closed: "closed", error: "refused" };
/** An `open` that is not answered by then counts as refused, in ms. */
const OPEN_WAIT_MS = 4000;
/** How long to wait before asking a busy server again, and one that still loads its packages, in ms. */
const BUSY_WAIT_MS = 2000;
const LOADING_WAIT_MS = 300;

/**
 * Events: `frame` (detail: a TimedFrame with image, bounds, …), `problem` ({text, code}), `dropped`,
 * `opened`, `unsupported` (stream mode does not work here; requests may).
 */
export class StreamSession extends EventTarget {
  constructor(connection, { model, frameRate = 25, lookAheadMs = 320, now = () => performance.now() }) {
    super();
    Object.assign(this, { connection, model, frameRate, lookAheadMs, now });
    this.sampleRate = WIRE_RATE;
    this.samplesPerFrame = WIRE_RATE / frameRate;
    this.active = false;
    /** the server's answer to `open`; null while there is no stream */
    this.opened = null;
    this.token = undefined;
    this.timer = undefined;
    this.epoch = 0;
    this.epochUsed = false;
    /** frames since the stream was opened */
    this.received = 0;
    /** of the utterance, as startEpoch() sets them */
    this.audio = undefined;
    this.firstAvatarFrame = 0;
    this.startEpoch(0);
    this.onMessage = (event) => this.receive(event.detail.data, event.detail.at);
    this.onOpen = () => this.openStream();
    connection.addEventListener("message", this.onMessage);
    connection.addEventListener("open", this.onOpen);
    if (connection.wire === "stream") this.openStream();
  }

  get maxDelayMs() {
    return Math.ceil(this.lookAheadMs) + MAX_DELAY_MS;
  }

  /**
   * The sound of a recording starts this long after its first samples were sent, in ms: then even a
   * frame that the server sends at its last moment is in time.
   */
  get startDelayMs() {
    return this.maxDelayMs + DELIVERY_MS;
  }

  close() {
    this.active = false;
    clearTimeout(this.timer);
    this.connection.removeEventListener("message", this.onMessage);
    this.connection.removeEventListener("open", this.onOpen);
    const open = this.opened && this.connection.wire === "stream";
    if (open) this.connection.sendText({ type: "close", stream: STREAM });
    this.opened = null;
  }

  /** Opens the stream, or takes up the one that broke. */
  openStream() {
    clearTimeout(this.timer);
    this.opened = null;
    if (this.connection.wire !== "stream") return;
    this.connection.sendText({
      type: "open",
      stream: STREAM,
      model_name: this.model,
      sample_rate: WIRE_RATE,
      image: "mouth",
      frame_rate: this.frameRate,
      credits: CREDITS,
      avatar_frame: 0,
      max_delay_ms: this.maxDelayMs,
      ...(this.token ? { token: this.token } : {}),
    });
    this.timer = setTimeout(() => this.dispatchEvent(new CustomEvent("unsupported")), OPEN_WAIT_MS);
  }

  /** As RequestSession.begin. */
  begin({ audio, avatarFrame }) {
    this.interrupt();
    this.audio = audio;
    this.active = true;
    this.firstAvatarFrame = avatarFrame;
    this.startEpoch(0);
  }

  /** From here on (a sample of the utterance, a multiple of a frame) audio goes into a new epoch. */
  startEpoch(base) {
    this.base = base;
    this.sent = base;
    this.endSent = false;
    this.finished = false;
    this.marks = [];
    this.started = false;
  }

  /** Stops the utterance; what the server still computes for it is void. */
  interrupt() {
    if (this.active && this.started && this.opened && !this.finished) {
      this.epoch++;
      this.epochUsed = false;
      this.connection.sendText({ type: "interrupt", stream: STREAM, epoch: this.epoch });
    }
    this.active = false;
  }

  /** The server's clock of the stream stands still while the player's does. */
  pause() {
    if (this.opened) this.connection.sendText({ type: "pause", stream: STREAM });
  }

  resume() {
    if (this.opened) this.connection.sendText({ type: "resume", stream: STREAM });
  }

  /** Sends the audio that is due. `position`: the sample heard now; `horizon`: how far ahead, samples. */
  pump(position, horizon) {
    if (!this.active || !this.opened || !this.connection.writable) return;
    if (!this.started) {
      // After a break the utterance goes on with the frame that comes next.
      if (position > this.base) this.startEpoch(Math.ceil(position / this.samplesPerFrame) * this.samplesPerFrame);
      if (this.epochUsed) this.epoch++;
      this.epochUsed = true;
      this.started = true;
      const avatarFrame = this.firstAvatarFrame + this.base / this.samplesPerFrame;
      this.connection.sendText({ type: "start", stream: STREAM, epoch: this.epoch, avatar_frame: avatarFrame });
    }
    const lookAhead = (this.lookAheadMs / 1000) * WIRE_RATE;
    const until = Math.min(this.audio.end, position + horizon + lookAhead);
    while (this.sent < until && this.connection.writable) {
      const to = Math.min(this.audio.end, this.sent + CHUNK);
      const pcm = pcmBytes(this.audio.window(this.sent, to));
      const firstSample = this.sent - this.base;
      this.connection.send(v2.encodeAudio({ stream: STREAM, epoch: this.epoch, firstSample, pcm }));
      this.sent = to;
      this.marks.push({ sample: to, at: this.now() });
      if (this.marks.length > KEPT_MARKS) this.marks.shift();
    }
    if (this.audio.ended && !this.endSent && this.sent >= this.audio.end) {
      this.endSent = true;
      this.connection.sendText({ type: "end", stream: STREAM, epoch: this.epoch });
    }
  }

  receive(data, at) {
    try {
      if (typeof data === "string") this.control(parse(data));
      else this.frame(v2.decodeFrame(data), at);
    } catch (error) {
      this.problem(`A message could not be read: ${error.message}`, "bad_reply");
    }
  }

  control(message) {
    if (message.stream !== undefined && message.stream !== STREAM) return;
    const take = TAKES[message.type] ?? (message.success === false ? "refused" : undefined);
    if (take) this[take](message);
  }

  /** The stream is open. */
  began(message) {
    clearTimeout(this.timer);
    this.opened = message;
    // Since the stream was opened, not since an utterance began: a credit that is not given back is lost for good.
    this.received = 0;
    this.token = message.token;
    this.epoch = message.epoch;
    this.epochUsed = false;
    this.lookAheadMs = message.look_ahead_ms;
    if (this.active) this.startEpoch(this.base);
    this.dispatchEvent(new CustomEvent("opened"));
  }

  dropped(message) {
    this.dispatchEvent(new CustomEvent("dropped", { detail: message }));
  }

  closed(message) {
    this.opened = null;
    this.token = undefined;
    if (message.reason !== "client" && message.reason !== "shutting_down") this.openStream();
  }

  busy(message) {
    clearTimeout(this.timer);
    // Too slow a machine for even one stream: requests still bring as many frames as it can.
    if (message.capacity === 0) return this.dispatchEvent(new CustomEvent("unsupported"));
    this.problem(message.error ?? "the server is busy", "busy");
    if (!this.opened) this.timer = setTimeout(() => this.openStream(), BUSY_WAIT_MS);
    return undefined;
  }

  refused(message) {
    if (message.code === "busy") return this.busy(message);
    clearTimeout(this.timer);
    if (message.code === "bad_token") {
      // A server that was restarted knows nothing of the stream: begin afresh.
      this.token = undefined;
      return this.openStream();
    }
    // Audio that crossed with the stream's closing; the closing is dealt with by itself.
    if (message.code === "unknown_stream" || message.code === "shutting_down") return undefined;
    if (!this.opened && message.code === "not_loaded") {
      this.timer = setTimeout(() => this.openStream(), LOADING_WAIT_MS);
      return undefined;
    }
    if (!this.opened && NO_STREAMS.has(message.code)) return this.dispatchEvent(new CustomEvent("unsupported"));
    if (FATAL.has(message.code)) this.active = false;
    return this.problem(message.error ?? "the server refused", message.code ?? "refused");
  }

  frame(frame, at) {
    if (++this.received % CREDIT_LOT === 0) {
      this.connection.sendText({ type: "credit", stream: STREAM, frames: CREDIT_LOT });
    }
    if (!this.active || frame.stream !== STREAM || frame.epoch !== this.epoch || !this.started) return;
    this.finished ||= frame.last;
    const sample = this.base + (frame.sample / frame.sampleRate) * WIRE_RATE;
    this.dispatchEvent(
      new CustomEvent("frame", {
        detail: {
          index: this.base / this.samplesPerFrame + frame.sequence,
          sample,
          avatarFrame: frame.avatarFrame,
          image: frame.image.length > 0 ? frame.image : null,
          held: frame.held,
          bounds: frame.bounds,
          computeMs: frame.computeMs,
          latencyMs: this.latencyOf(sample, at),
        },
      }),
    );
  }

  /** From sending the last sample that a frame needs until the frame's arrival, in ms. */
  latencyOf(sample, at) {
    const needed = Math.min(sample + (this.lookAheadMs / 1000) * WIRE_RATE, this.audio.end);
    const mark = this.marks.find((entry) => entry.sample >= needed);
    return mark ? at - mark.at : undefined;
  }

  problem(text, code) {
    this.dispatchEvent(new CustomEvent("problem", { detail: { text, code } }));
  }
}
