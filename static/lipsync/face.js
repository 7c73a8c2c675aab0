// One face on one canvas: its connection, the session that computes its mouth, the jitter
// buffer, the idle animation. It has no clock: a Player tells it which sample is being heard.

import { Connection } from "./connection.js";
import { Decoder, release } from "./decoder.js";
import { Display } from "./display.js";
import { pingPong } from "./frames.js";
import { IdleFrames } from "./idle-frames.js";
import { Meter } from "./meter.js";
import { WIRE_RATE } from "./pcm.js";
import { RequestSession } from "./request-session.js";
import { fetchJson, serverAddress } from "./server.js";
import { StreamSession } from "./stream-session.js";
import { FrameTimeline } from "./timeline.js";

/** Frames decoded ahead of their time. Each holds a bitmap of the whole face (2 MB at 720 x 720). */
const DECODE_AHEAD = 8;
/** Frames in the decoder at the same time: more would only wait for each other. */
const MOST_DECODING = 3;
/** Most idle frames fetched ahead of need; the worker stops earlier at its budget of bytes. */
const PREFETCHED = 300;
/** When no frame came for so long while speaking, the face goes on with idle frames. */
const STALL_MS = 240;
/** Speech begins this many frames of the idle walk from now: about the time until it starts. */
const LEAD_FRAMES = 8;
/** Asking for a package's metadata again after a failure. */
const RETRY_MS = 1500;
/** Shortest and longest time that frames are asked for ahead of the sound, in ms. */
const HORIZON_MS = [450, 1500];
/** It is reckoned anew after so many frames. */
const HORIZON_EVERY = 8;

/** Events: `status` ({text, tone: "good" | "wait" | "bad", code}), `trace`, `loaded`. */
export class Face extends EventTarget {
  /**
   * @param {{canvas: HTMLCanvasElement, server?: string | URL, model: string, mode?: string}} options
   *   server: the http(s) address of lipsyncd; where this library came from by default
   */
  constructor({ canvas, server, model, mode = "auto" }) {
    super();
    this.server = serverAddress(server);
    this.model = model;
    /** of the package; undefined until it is loaded */
    this.metadata = undefined;
    this.frameRate = 25;
    /** @type {StreamSession | RequestSession | undefined} */
    this.session = undefined;
    /** what is spoken: {audio, avatarFrame} */
    this.utterance = null;
    /** called with each frame that can be drawn, or that came too late */
    this.onReady = undefined;
    this.display = new Display(canvas);
    this.decoder = new Decoder();
    this.idleFrames = new IdleFrames(this.decoder, (number) => this.frameUrl(number));
    this.meter = new Meter();
    this.timeline = new FrameTimeline(WIRE_RATE / 25);
    this.number = 0; // of the idle walk: what is shown
    this.idleAt = undefined; // when the newest idle frame was due, ms; undefined before the first
    this.hold = Infinity; // the idle walk waits here for speech
    this.decoding = 0; // frames in the decoder
    this.decodeMs = 0; // usual time until a frame is decoded
    this.horizonMs = undefined; // how far ahead of the sound frames are asked for
    this.lastFreshAt = 0; // when a frame that had not been seen was shown, ms
    this.still = false;
    this.closed = false;
    const socket = new URL("ws", this.server);
    socket.protocol = this.server.protocol === "https:" ? "wss:" : "ws:";
    this.connection = new Connection({ url: socket.href, mode });
    this.connection.addEventListener("state", (event) => this.connectionChanged(event.detail));
    this.connection.addEventListener("open", () => this.chooseSession());
    this.connection.addEventListener("trace", (event) => this.emit("trace", event.detail));
  }

  emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** Fetches the package's metadata, shows its first frame, connects. Tries until it works. */
  async load() {
    while (!this.closed) {
      try {
        const metadata = await fetchJson(new URL(`models/${encodeURIComponent(this.model)}/metadata`, this.server));
        if (this.closed) return;
        this.metadata = metadata;
        break;
      } catch (error) {
        this.emit("status", { text: `The face cannot be loaded: ${error.message}. Trying again…`, tone: "bad", code: "no_metadata" });
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
    if (this.closed) return;
    this.frameRate = this.metadata.frame_rate ?? this.frameRate;
    this.timeline = new FrameTimeline(WIRE_RATE / this.frameRate);
    this.emit("loaded", this.metadata);
    const count = Math.min(this.metadata.frame_count, PREFETCHED);
    this.decoder.prefetch(Array.from({ length: count }, (_, index) => this.frameUrl(index)));
    this.connection.open();
  }

  frameUrl(number) {
    const index = pingPong(number, this.metadata.frame_count);
    return new URL(`models/${encodeURIComponent(this.model)}/frames/${index}.jpg`, this.server).href;
  }

  connectionChanged({ state, text }) {
    const tone = { open: "good", waiting: "bad" }[state] ?? "wait";
    this.emit("status", { text, tone, code: state });
  }

  /** Stream mode where there is one, requests otherwise; an utterance under way is handed over. */
  chooseSession() {
    const Kind = this.connection.wire === "stream" ? StreamSession : RequestSession;
    if (this.session instanceof Kind) return;
    this.session?.close();
    const { metadata, frameRate } = this;
    this.session = new Kind(this.connection, {
      model: this.model,
      frameCount: metadata.frame_count,
      frameRate,
      lookAheadMs: metadata.look_ahead_ms,
    });
    this.session.addEventListener("frame", (event) => this.arrived(event.detail));
    this.session.addEventListener("opened", () => this.connectionChanged({ state: "open", text: "Connected (stream)." }));
    this.session.addEventListener("unsupported", () => this.connection.avoid("stream"));
    this.session.addEventListener("dropped", ({ detail }) => this.meter.count("serverDropped", detail.count ?? 1));
    this.session.addEventListener("problem", ({ detail }) =>
      this.emit("status", { text: detail.text, tone: "bad", code: detail.code }),
    );
    if (this.utterance) this.session.begin(this.utterance);
  }

  /** Begins to speak `audio`, which may still grow. */
  begin(audio) {
    this.interrupt();
    this.utterance = { audio, avatarFrame: this.number + LEAD_FRAMES };
    this.hold = this.utterance.avatarFrame - 1;
    this.meter.reset();
    this.session?.begin(this.utterance);
  }

  /** Stops speaking; the face goes on idle from where it is. */
  interrupt() {
    if (!this.utterance) return;
    this.session?.interrupt();
    this.utterance = null;
    this.hold = Infinity;
    for (const frame of this.timeline.drain()) this.discard(frame);
  }

  pause() {
    this.session?.pause?.();
  }

  resume() {
    this.session?.resume?.();
  }

  arrived(frame) {
    this.meter.count("received");
    this.meter.record("latencyMs", frame.latencyMs);
    if (frame.image) this.meter.record("computeMs", frame.computeMs);
    const outcome = this.timeline.insert(frame);
    if (outcome === "kept") return;
    this.meter.count("late");
    this.onReady?.(frame); // a delay that is too short is learnt from frames that come too late
  }

  discard(frame) {
    frame.gone = true;
    // The mouth last shown is still being blended out; it is released with the next one.
    if (frame.picture && frame.picture !== this.display.picture) release(frame.picture);
  }

  /** How far ahead of the sound frames are asked for, in samples. */
  get horizon() {
    // Sorting latencies at every step of the display would cost more than all the rest of it.
    if (this.meter.counts.received % HORIZON_EVERY === 0 || this.horizonMs === undefined) {
      const usual = 2 * (this.meter.quantile("latencyMs", 0.95, 100) || 0) + 300;
      this.horizonMs = Math.min(HORIZON_MS[1], Math.max(HORIZON_MS[0], usual));
    }
    return (this.horizonMs / 1000) * WIRE_RATE;
  }

  /** Decoded frames from the start of the utterance on, without a gap. */
  get readyAtStart() {
    let ready = 0;
    for (const frame of this.timeline.waiting) {
      if (frame.index !== ready || !this.drawable(frame)) break;
      ready++;
    }
    return ready;
  }

  /** How long after begin() a recording's sound may start at the earliest, in ms. */
  get startDelayMs() {
    return this.session?.startDelayMs ?? 0;
  }

  drawable(frame) {
    return frame.held === true || frame.picture !== undefined;
  }

  /** Asks for frames and decodes what will be due; `horizon` in samples. */
  pump(position, horizon = this.horizon) {
    if (!this.utterance) return;
    this.session?.pump(position, horizon);
    // Where decoding is slower than speech, frames that cannot be ready in time are passed over: then some are seen,
    // instead of all of them decoded a little too late.
    const soonest = position < 0 ? 0 : position + (this.decodeMs / 1000) * WIRE_RATE;
    while (this.decoding < MOST_DECODING) {
      const frame = this.timeline.nextToDecode(soonest, DECODE_AHEAD);
      if (!frame) break;
      frame.asked = true;
      if (!frame.held) this.decodeFrame(frame);
    }
  }

  async decodeFrame(frame) {
    this.decoding++;
    const began = performance.now();
    const picture = await this.decoder.decode({ url: this.frameUrl(frame.avatarFrame), image: frame.image });
    const took = performance.now() - began;
    this.decodeMs += (took - this.decodeMs) / (took > this.decodeMs ? 3 : 12); // sooner too long than too short
    this.decoding--;
    if (frame.gone || this.closed) return release(picture);
    if (picture.error) {
      this.meter.count("undecodable");
      frame.held = true; // the picture before stays
      return;
    }
    frame.picture = picture;
    this.onReady?.(frame);
  }

  /** One step of the display while speaking. `position`: the sample heard now; `now`: ms. */
  speak(position, now) {
    this.pump(position);
    const step = this.timeline.advance(position, (frame) => this.drawable(frame));
    for (const frame of step.dropped) {
      this.meter.count("overtaken");
      this.discard(frame);
    }
    const total = this.utterance.audio.ended ? this.utterance.audio.end : Infinity;
    if (position >= 0 && position < total) this.account(step, position);
    if (step.fresh && step.frame.picture) {
      this.display.showSpeech(step.frame.picture, step.frame.bounds);
      this.number = step.frame.avatarFrame;
      this.idleAt = now;
    } else if (now - this.lastFreshAt > STALL_MS) {
      this.hold = position < 0 ? this.hold : Infinity;
      this.rest(now);
    }
    if (step.fresh) this.lastFreshAt = now;
  }

  account(step, position) {
    this.meter.count("due", step.due);
    this.meter.count("shown", step.shown);
    if (step.due > 0 && step.frame) {
      this.meter.record("offsetMs", ((position - step.frame.sample) / WIRE_RATE) * 1000);
    }
  }

  /** One step of the display while not speaking. */
  rest(now) {
    if (!this.metadata) return;
    const period = 1000 / this.frameRate;
    const first = this.idleAt === undefined;
    if (!first && now - this.idleAt < period) return;
    // Reduced motion: once the mouth is closed, nothing moves.
    if (!first && this.still && this.display.isIdle) return;
    const wanted = first ? this.number : Math.min(this.hold, this.number + 1);
    this.idleFrames.prepare(wanted);
    if (wanted === this.number && !first) return;
    const picture = this.idleFrames.take(wanted);
    if (!picture) return;
    this.display.showIdle(picture);
    this.number = wanted;
    // Keeps the pace of the idle walk, without a rush after a pause.
    this.idleAt = first || now - this.idleAt > 4 * period ? now : this.idleAt + period;
  }

  /** Releases everything; the face cannot be used again. */
  close() {
    this.closed = true;
    this.interrupt();
    this.session?.close();
    this.connection.close();
    this.decoder.close();
    this.idleFrames.close();
    this.display.close();
  }
}
