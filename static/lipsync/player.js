// Speaks: owns the sound and the clock, and lets its faces follow. The sound is the master: the
// frame shown is the one whose sample is being heard, output latency included.

import { Microphone } from "./microphone.js";
import { PcmBuffer, WIRE_RATE } from "./pcm.js";
import { toPcm16 } from "./resample.js";
import { AdaptiveDelay, SmoothClock } from "./timing.js";

/** Frames that must be ready before a recording starts: the smallest jitter buffer. */
const START_FRAMES = 4;
/** Longest wait for them, in ms. */
const START_WAIT_MS = 8000;
/** Sound starts so much after the decision, in s: the audio thread needs a moment. */
const START_LEAD = 0.06;
/** After the sound's end the mouth still closes for so long, in s. */
const TAIL = 0.2;
/** A browser that has not started its sound by then has no output to play it on, in ms. */
const WAKE_WAIT_MS = 4000;
/** Longest recording, in s: its samples are held in memory. */
const LONGEST_SECONDS = 30 * 60;
/** Audio of a microphone that is kept, in s. */
const LIVE_SECONDS = 10;
/** What a live picture's delay needs beyond the look-ahead, at least, and at most, in ms. */
const LIVE_FLOOR_MS = 60;
const LIVE_CEILING_MS = 2500;

/**
 * Firefox is not asked for the output's latency: it holds the lock of its sound graph while it asks the sound thread, which
 * may be waiting for the graph, and then the page stands still for good. This is about what it has, in s.
 */
const IS_FIREFOX = /firefox/i.test(globalThis.navigator?.userAgent);
const FIREFOX_LATENCY = 0.03;

/** Events: `change` (detail {state}), `level` (detail {level}), `tick`. */
export class Player extends EventTarget {
  /** @param {{context?: AudioContext}} options a context is made on first use otherwise */
  constructor({ context } = {}) {
    super();
    this.context = context;
    /** the gain that sounds go through */
    this.output = undefined;
    this.faces = new Set();
    this.clock = new SmoothClock();
    /** idle, preparing, speaking */
    this.state = "idle";
    this.hidden = false;
    /** what is prepared, spoken or listened to; undefined when idle. It is set before anything is waited for, and whatever
     * waited looks whether it is still the same: so stop() always wins. */
    this.turn = undefined;
    /** recordings that wait for their turn, in the order in which they were asked for */
    this.queue = [];
    /** the sound of this turn as the faces hear it */
    this.utterance = undefined;
    /** of a recording: its node, and when it starts, by the context's clock */
    this.source = undefined;
    this.startAt = 0;
    /** of a microphone: itself, and the delay of its picture */
    this.microphone = undefined;
    this.live = undefined;
    this.step = this.step.bind(this);
    this.request = requestAnimationFrame(this.step);
  }

  add(face) {
    this.faces.add(face);
    face.onReady = (frame) => this.observeTransit(frame);
    if (this.utterance) face.begin(this.utterance);
  }

  remove(face) {
    this.faces.delete(face);
    face.close();
  }

  emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  setState(state) {
    if (this.state === state) return;
    this.state = state;
    this.emit("change", { state });
  }

  /** Must be called from a click or key press the first time: browsers start sound from one only. */
  async wake() {
    this.context ??= new AudioContext({ latencyHint: "interactive" });
    if (!this.output) {
      this.output = this.context.createGain();
      this.output.connect(this.context.destination);
    }
    if (this.context.state !== "running") {
      // The promise stays open for ever where there is no sound output.
      await Promise.race([this.context.resume(), new Promise((resolve) => setTimeout(resolve, WAKE_WAIT_MS))]);
    }
    if (this.context.state !== "running") {
      throw new Error("The browser did not start its sound. Check that there is a sound output, then press the button again.");
    }
    return this.context;
  }

  /** @param {ArrayBuffer} file anything the browser decodes  @returns {Promise<AudioBuffer>} */
  async decode(file) {
    // An offline context decodes without a gesture, so that a page can prepare a sound.
    const context = new OfflineAudioContext(1, 1, this.context?.sampleRate ?? 48000);
    let sound;
    try {
      sound = await context.decodeAudioData(file);
    } catch {
      throw new Error("This browser cannot decode the sound of that file. Try WAV, MP3, OGG or M4A.");
    }
    if (sound.duration > LONGEST_SECONDS) throw new Error("Recordings may last 30 minutes at most.");
    return sound;
  }

  /**
   * Speaks a recording, after those that were asked for before; ends listening.
   * @param {AudioBuffer | Promise<AudioBuffer>} sound  it keeps its place in the order while it is still being decoded
   * @returns {Promise<boolean>} true when it has started, false when stop() came before
   */
  speak(sound) {
    if (this.turn?.isLive) this.stop();
    this.wake().catch(() => undefined); // within the click or key press; looked at when the turn has come
    const turn = { sound: Promise.resolve(sound), isLive: false };
    turn.pcm = turn.sound.then(atWireRate).then(toPcm16);
    turn.pcm.catch(() => undefined); // told when the turn has come
    const started = new Promise((resolve, reject) => Object.assign(turn, { resolve, reject }));
    this.queue.push(turn);
    if (!this.turn) this.takeTurn();
    return started;
  }

  /** Goes on with the next recording that waits, or rests. */
  takeTurn() {
    this.turn = this.queue.shift();
    if (!this.turn) return this.setState("idle");
    this.setState("preparing");
    return this.play(this.turn);
  }

  async play(turn) {
    try {
      const sound = await turn.sound;
      const pcm = await turn.pcm;
      if (this.turn !== turn) return;
      const context = await this.wake();
      if (this.turn !== turn) return;
      const audio = new PcmBuffer();
      audio.push(pcm);
      audio.ended = true;
      this.begin(audio);
      const ready = await this.framesReady(turn);
      if (this.turn !== turn) return;
      if (!ready) throw new Error("The server sent no frames in time. It may be busy or gone; try again in a moment.");
      this.startSound(context, sound);
      turn.resolve(true);
    } catch (error) {
      turn.reject(error);
      if (this.turn === turn) this.finish();
    }
  }

  startSound(context, sound) {
    this.source = context.createBufferSource();
    this.source.buffer = sound;
    this.source.connect(this.output);
    this.clock.reset();
    this.startAt = context.currentTime + START_LEAD;
    this.source.start(this.startAt);
    this.setState("speaking");
  }

  begin(audio) {
    this.utterance = audio;
    for (const face of this.faces) face.begin(audio);
  }

  /** Waits until every face has a few frames ready; false when that takes too long. */
  async framesReady(turn) {
    const { end } = this.utterance;
    const enough = ({ timeline, readyAtStart }) => readyAtStart >= Math.min(START_FRAMES, Math.floor(end / timeline.samplesPerFrame));
    const began = performance.now();
    while (performance.now() < began + START_WAIT_MS) {
      if (this.turn !== turn) return false;
      const waited = performance.now() - began;
      if ([...this.faces].every((face) => enough(face) && waited >= face.startDelayMs)) return true;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return false;
  }

  /**
   * Lets the faces follow the microphone, in place of whatever is spoken.
   * @param {{deviceId?: string, echoCancellation?: boolean, monitor?: boolean}} options
   * @returns {Promise<boolean>} true when it listens, false when something else was asked for before
   */
  async listen({ deviceId, echoCancellation = true, monitor = false } = {}) {
    this.stop();
    const turn = (this.turn = { isLive: true, resolve() {} });
    this.setState("preparing");
    try {
      const context = await this.wake();
      if (this.turn !== turn) return false;
      const audio = new PcmBuffer(LIVE_SECONDS * WIRE_RATE);
      const microphone = await Microphone.open(context, {
        deviceId,
        echoCancellation,
        onChunk: (pcm, level) => {
          audio.push(pcm);
          this.emit("level", { level });
          for (const face of this.faces) face.pump(this.position() ?? 0, LIVE_SECONDS * WIRE_RATE);
        },
        onEnd: () => {
          this.stop();
          this.emit("lost", {});
        },
      });
      if (this.turn !== turn) {
        microphone.close();
        return false;
      }
      this.follow(microphone, audio, monitor);
      return true;
    } catch (error) {
      if (this.turn !== turn) return false; // nobody waits for it any more
      this.finish();
      throw error;
    }
  }

  follow(microphone, audio, monitor) {
    this.microphone = microphone;
    microphone.setMonitor(monitor);
    const lookAheadMs = Math.max(0, ...[...this.faces].map((face) => face.metadata?.look_ahead_ms ?? 0));
    this.live = new AdaptiveDelay({ floorMs: lookAheadMs + LIVE_FLOOR_MS, ceilingMs: LIVE_CEILING_MS });
    this.begin(audio);
    this.clock.reset();
    this.setState("speaking");
  }

  observeTransit(frame) {
    if (this.microphone?.start === undefined) return;
    const heardAt = this.microphone.start + frame.sample / WIRE_RATE;
    this.live.observe((this.now() - heardAt) * 1000);
  }

  /** From the instant of a spoken sound until its picture, in ms; undefined unless listening. */
  get liveDelayMs() {
    return this.live?.delayMs;
  }

  /** From the context's clock to the ear, in seconds, as far as the browser tells it. */
  get outputLatency() {
    if (IS_FIREFOX) return FIREFOX_LATENCY;
    return this.context.outputLatency || this.context.baseLatency || 0;
  }

  /** The time that is being heard, in seconds of the audio context. */
  now() {
    const { context } = this;
    const running = context.state === "running";
    const time = running ? this.clock.read(context.currentTime, performance.now() / 1000) : context.currentTime;
    return time - this.outputLatency;
  }

  /** The sample of the utterance that is being heard; negative before it starts; null when silent. */
  position() {
    if (this.state === "preparing" && this.utterance) return -1;
    if (this.state !== "speaking") return null;
    const now = this.now();
    if (!this.microphone) return (now - this.startAt) * WIRE_RATE;
    if (this.microphone.start === undefined) return -1;
    return (now - this.microphone.start - this.live.delayMs / 1000) * WIRE_RATE;
  }

  step() {
    this.request = requestAnimationFrame(this.step);
    if (this.hidden) return;
    const now = performance.now();
    if (this.microphone) {
      this.live.step(now);
      this.microphone.setDelay(this.live.delayMs / 1000);
    }
    const position = this.position();
    const ended = this.utterance?.ended && position !== null && position >= this.utterance.end + TAIL * WIRE_RATE;
    if (ended) this.finish();
    for (const face of this.faces) {
      if (face.utterance && position !== null && !ended) face.speak(position, now);
      else face.rest(now);
    }
    this.emit("tick", { position: ended ? null : position });
  }

  /** Stops sound and faces at once, and forgets what waits for its turn. */
  stop() {
    for (const turn of this.queue.splice(0)) turn.resolve(false);
    this.turn?.resolve(false); // of no effect where it has started
    this.finish();
  }

  /** Ends this turn; the next one is taken. */
  finish() {
    this.source?.stop();
    this.source?.disconnect();
    this.source = undefined;
    this.microphone?.close();
    this.microphone = undefined;
    this.live = undefined;
    this.utterance = undefined;
    for (const face of this.faces) face.interrupt();
    this.takeTurn();
  }

  /** Stands still while nobody looks: sound, requests and drawing. */
  async setHidden(hidden) {
    if (this.hidden === hidden) return;
    this.hidden = hidden;
    for (const face of this.faces) hidden ? face.pause() : face.resume();
    if (!this.context || this.context.state === "closed") return;
    await (hidden ? this.context.suspend() : this.context.resume());
    this.clock.reset();
  }

  /** Releases everything; the player cannot be used again. */
  close() {
    cancelAnimationFrame(this.request);
    this.stop();
    for (const face of this.faces) face.close();
    this.faces.clear();
    if (this.context?.state !== "closed") this.context?.close();
  }
}

/** One channel at the wire's rate, by the browser's own converter. */
async function atWireRate(sound) {
  const length = Math.max(1, Math.ceil(sound.duration * WIRE_RATE));
  const offline = new OfflineAudioContext(1, length, WIRE_RATE);
  const source = offline.createBufferSource();
  source.buffer = sound;
  source.connect(offline.destination);
  source.start();
  return (await offline.startRendering()).getChannelData(0);
}
