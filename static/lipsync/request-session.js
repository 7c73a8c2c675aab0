// Speech over request mode (wire v1): cuts the 640 ms window of each frame out of the audio,
// keeps a few requests in flight, and hands the replies on as timed frames. Binary, timed,
// protobuf and JSON differ in one pair of functions only.

import * as v1 from "./v1.js";
import * as json from "./json.js";
import * as protobuf from "./protobuf.js";
import { pcmBytes, WIRE_RATE } from "./pcm.js";
import { pingPongPeriod } from "./frames.js";

/** Half of a request's window: the frame lies at the start of chunk 8 of 16 chunks of 40 ms. */
const HALF_WINDOW = 0.32 * WIRE_RATE;
/** Requests in flight: enough for 25 frames a second over replies of 320 ms. */
const MAX_IN_FLIGHT = 8;
/** From a reply to a picture that can be drawn, in ms. */
const DECODE_MS = 40;
/** A reply that has not come by then is asked for again, if it can still be in time. */
const REPLY_WAIT_MS = 3000;
/** Refusals that pass by themselves, and how long no more is asked after one, in ms. */
const PASSING = new Set(["busy", "not_loaded", "shutting_down"]);
const PASSING_WAIT_MS = 200;
/** Errors in a row after which the utterance is given up. */
const ERRORS_UNTIL_GIVEN_UP = 10;

const CODECS = {
  binary: { encode: v1.encodeRequest, decode: (data) => v1.decodeReply(data, false) },
  timed: { encode: v1.encodeRequest, decode: (data) => v1.decodeReply(data, true) },
  protobuf: { encode: protobuf.encodeRequest, decode: protobuf.decodeReply },
  json: { encode: (request) => json.encodeRequest({ ...request, sampleRate: WIRE_RATE }), decode: null },
};

/**
 * Encodes a request for a wire, and decodes replies from it. Text is JSON on every wire;
 * a text that is no inference reply decodes to null.
 */
export function encodeFor(wire, request) {
  return CODECS[wire].encode(request);
}
export function decodeFrom(wire, data) {
  if (typeof data === "string") {
    const message = json.parse(data);
    return json.isReply(message) ? json.readReply(message) : null;
  }
  return CODECS[wire].decode(data);
}

/** Events: `frame` (detail: a TimedFrame with image, bounds, …), `problem` (detail {text, code}). */
export class RequestSession extends EventTarget {
  constructor(connection, { model, frameCount, frameRate = 25, lookAheadMs = 320, now = () => performance.now() }) {
    super();
    Object.assign(this, { connection, model, frameRate, now });
    this.period = pingPongPeriod(frameCount);
    this.sampleRate = WIRE_RATE;
    this.samplesPerFrame = WIRE_RATE / frameRate;
    this.lookAhead = Math.min(HALF_WINDOW, Math.ceil((lookAheadMs / 1000) * WIRE_RATE));
    this.nextWireFrame = 0;
    this.active = false;
    /** of the utterance, as begin() sets them */
    this.audio = undefined;
    this.next = 0;
    this.errors = 0;
    this.quietUntil = 0;
    this.replyMs = 0;
    this.firstWireFrame = 0;
    this.firstAvatarFrame = 0;
    this.inFlight = new Map(); // wire frame id → {index, askedAt}
    this.again = []; // indices to ask for once more
    this.onMessage = (event) => this.receive(event.detail.data, event.detail.at);
    this.onOpen = () => this.restart();
    connection.addEventListener("message", this.onMessage);
    connection.addEventListener("open", this.onOpen);
  }

  close() {
    this.interrupt();
    this.connection.removeEventListener("message", this.onMessage);
    this.connection.removeEventListener("open", this.onOpen);
  }

  /**
   * Starts an utterance, or takes it over from another session.
   * @param {{audio: import("./pcm.js").PcmBuffer, avatarFrame: number}} utterance audio: at the wire's
   *   rate, may still grow; avatarFrame: the frame of the idle walk on which it begins
   */
  begin({ audio, avatarFrame }) {
    this.interrupt();
    this.audio = audio;
    this.next = 0;
    this.errors = 0;
    this.quietUntil = 0;
    this.active = true;
    /** usual time from a request to its reply, ms */
    this.replyMs = 0;
    // Ids never repeat while an old reply may be on its way, yet mean the same avatar frame.
    const behind = this.nextWireFrame - avatarFrame;
    this.firstWireFrame = avatarFrame + Math.max(0, Math.ceil(behind / this.period)) * this.period;
    this.firstAvatarFrame = avatarFrame;
  }

  interrupt() {
    this.active = false;
    this.inFlight.clear();
    this.again = [];
  }

  restart() {
    // Whatever was under way on the old connection is asked for again.
    for (const { index } of this.inFlight.values()) this.again.push(index);
    this.inFlight.clear();
    this.again.sort((a, b) => a - b);
  }

  /** Number of frames of the utterance so far. */
  get frameCount() {
    return Math.ceil(this.audio.end / this.samplesPerFrame);
  }

  /**
   * Sends what is due. `position`: the sample heard now; `horizon`: how far ahead to ask, samples.
   */
  pump(position, horizon) {
    if (!this.active || !this.connection.wire || !CODECS[this.connection.wire]) return;
    const now = this.now();
    if (now < this.quietUntil) return;
    const firstUseful = Math.max(0, Math.ceil(position / this.samplesPerFrame));
    const stride = this.stride;
    for (const [id, request] of this.inFlight) {
      if (now - request.askedAt < REPLY_WAIT_MS) continue;
      this.inFlight.delete(id);
      this.again.push(request.index);
    }
    this.again = this.again.filter((index) => index >= firstUseful);
    if (this.next < firstUseful) {
      // Fallen behind: a frame asked for now comes a reply's time later, so only that one is of use.
      const arrival = position + ((this.replyMs * 1.2 + DECODE_MS) / 1000) * WIRE_RATE;
      const wanted = Math.ceil(arrival / this.samplesPerFrame / stride) * stride;
      // Live, the newest frame that can be computed is asked for even if it comes too late: from
      // late frames a player learns that its delay is too short.
      const newest = this.audio.ended ? wanted : Math.floor((this.audio.end - this.lookAhead) / this.samplesPerFrame);
      this.next = Math.max(this.next, Math.min(wanted, newest));
    }
    while (this.inFlight.size < MAX_IN_FLIGHT && this.connection.writable) {
      const index = this.again.length > 0 ? this.again.shift() : this.next;
      const sample = index * this.samplesPerFrame;
      const complete = this.audio.ended ? index < this.frameCount : sample + this.lookAhead <= this.audio.end;
      if (!complete || sample > position + horizon) break;
      if (index === this.next) this.next += stride;
      this.ask(index, sample, now);
    }
  }

  /** 1, or more where replies come too slowly for every frame: then every second or third is asked for. */
  get stride() {
    const framesPerSecond = (MAX_IN_FLIGHT * 1000) / Math.max(1, this.replyMs);
    return Math.min(4, Math.max(1, Math.ceil((0.9 * this.frameRate) / framesPerSecond)));
  }

  ask(index, sample, now) {
    const frameId = this.firstWireFrame + index;
    const audio = pcmBytes(this.audio.window(sample - HALF_WINDOW, sample + HALF_WINDOW));
    this.inFlight.set(frameId, { index, askedAt: now });
    this.nextWireFrame = Math.max(this.nextWireFrame, frameId + 1);
    this.connection.send(encodeFor(this.connection.wire, { model: this.model, frameId, audio }));
  }

  receive(data, at) {
    let reply;
    try {
      reply = decodeFrom(this.connection.wire, data);
    } catch (error) {
      return this.problem(`A reply could not be read: ${error.message}`, "bad_reply");
    }
    const request = reply && this.inFlight.get(reply.frameId);
    if (!request) return; // a control message, or a reply to something given up
    this.inFlight.delete(reply.frameId);
    if (!reply.ok) return this.refused(reply, request);
    this.errors = 0;
    const latencyMs = at - request.askedAt;
    // Follows a rise quickly and a fall slowly: asking too late is worse than asking early.
    this.replyMs += (latencyMs - this.replyMs) / (latencyMs > this.replyMs ? 2 : 12);
    this.dispatchEvent(
      new CustomEvent("frame", {
        detail: {
          index: request.index,
          sample: request.index * this.samplesPerFrame,
          avatarFrame: this.firstAvatarFrame + request.index,
          image: reply.image,
          bounds: reply.bounds,
          computeMs: reply.computeMs,
          latencyMs,
        },
      }),
    );
  }

  refused(reply, request) {
    // In the binary layouts the text begins with the code.
    const [, code = reply.code ?? "refused", text = reply.message] = /^([a-z_0-9]+): (.*)$/s.exec(reply.message) ?? [];
    if (PASSING.has(code)) {
      this.again.push(request.index);
      this.quietUntil = this.now() + PASSING_WAIT_MS;
    } else if (++this.errors >= ERRORS_UNTIL_GIVEN_UP) {
      this.interrupt();
    }
    if (code !== "not_loaded") this.problem(text, code);
  }

  problem(text, code) {
    this.dispatchEvent(new CustomEvent("problem", { detail: { text, code } }));
  }
}
