// Types of lipsync.js, lipsyncd's client library.

/** What may be asked for; `auto` takes the best that the server has and falls back by itself. */
export type Mode = "auto" | "stream" | "timed" | "binary" | "protobuf" | "json";
/** What a connection ended up with. */
export type Wire = "stream" | "timed" | "binary" | "protobuf" | "json";
export const MODES: readonly Mode[];
/** The sample rate of all audio on the wire, Hz. */
export const WIRE_RATE: 24000;

/** x1, y1, x2, y2 in pixels of the full frame; fractional. */
export type Bounds = [number, number, number, number] | number[];

/** A reply or an error, the same for every protocol of request mode. */
export interface Reply {
  ok: boolean;
  frameId: number;
  computeMs?: number;
  /** JPEG; a view of the message where the protocol allows. */
  image?: Uint8Array;
  bounds?: Bounds;
  /** Of an error, for people. */
  message?: string;
  /** Of an error, stable; in the binary layouts it stands before the message's colon. */
  code?: string;
}

export interface Request {
  model: string;
  frameId: number;
  /** PCM16, little-endian, mono, at WIRE_RATE; absent: the package's own audio. */
  audio?: Uint8Array;
}

/** A frame and the sample that it belongs to. */
export interface TimedFrame {
  /** Number in the utterance. */
  index: number;
  /** Sample of the utterance, at WIRE_RATE, that is heard while this frame is seen. */
  sample: number;
  /** Place on the idle walk. */
  avatarFrame: number;
  /** null: the idle frame alone (or, when held, the picture before). */
  image: Uint8Array | null;
  bounds: Bounds;
  held?: boolean;
  computeMs?: number;
  latencyMs?: number;
}

export interface Metadata {
  model_name: string;
  title?: string;
  frame_count: number;
  frame_rate: number;
  frame_size: [number, number];
  look_ahead_ms: number;
  [field: string]: unknown;
}

export interface Status {
  /** In words, for a user. */
  text: string;
  tone: "good" | "wait" | "bad";
  /** connecting, waiting, open, closed, no_metadata, or an error code of the protocol. */
  code: string;
}

export interface TraceEntry {
  /** performance.now() when it was sent or received. */
  at: number;
  direction: "sent" | "received";
  kind: "text" | "binary";
  /** The connection's subprotocol; "" for none. */
  protocol: string;
  data: string | ArrayBuffer | Uint8Array;
}

/** An EventTarget that knows the `detail` of its events. */
declare class Emitter<Details> extends EventTarget {
  addEventListener<Name extends keyof Details & string>(
    type: Name,
    listener: ((event: CustomEvent<Details[Name]>) => void) | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
}
export {}; // what has no `export` before it is not exported

export interface Model {
  name: string;
  title?: string;
  frame_count: number;
  loaded: boolean;
  [field: string]: unknown;
}
/** The server that this library came from, as the browser sees it: the base of its addresses, with its last slash. */
export const HOME: string;
/** The faces that a server has, the one to begin with first. `server`: its http(s) address, HOME by default. */
export function listModels(server?: string | URL): Promise<Model[]>;

/** One face on one canvas. */
export class Face extends Emitter<{ status: Status; loaded: Metadata; trace: TraceEntry }> {
  /** `server`: its http(s) address, with or without the last slash; HOME by default. */
  constructor(options: { canvas: HTMLCanvasElement; server?: string | URL; model: string; mode?: Mode });
  /** Fetches the package, shows its first frame, connects. Resolves when the package is known. */
  load(): Promise<void>;
  readonly model: string;
  readonly metadata?: Metadata;
  readonly connection: Connection;
  readonly meter: Meter;
  readonly timeline: FrameTimeline;
  /** true: no idle movement (reduced motion). */
  still: boolean;
  close(): void;
}

/**
 * Owns sound and clock; its faces follow. `level`: RMS of the microphone's newest chunk, 0..1; `lost`: the microphone went
 * away; `tick`: at every refresh of the display, with position().
 */
export class Player extends Emitter<{
  change: { state: Player["state"] };
  level: { level: number };
  lost: object;
  tick: { position: number | null };
}> {
  constructor(options?: { context?: AudioContext });
  /** Made when it is first needed. */
  readonly context?: AudioContext;
  readonly state: "idle" | "preparing" | "speaking";
  readonly faces: Set<Face>;
  add(face: Face): void;
  /** Takes a face away and closes it. */
  remove(face: Face): void;
  /** Starts the audio context; call it from a click or key press the first time. */
  wake(): Promise<AudioContext>;
  decode(file: ArrayBuffer): Promise<AudioBuffer>;
  /**
   * Speaks after the recordings that were asked for before, in the order of the calls; a sound that is still being decoded
   * keeps its place. Resolves with true when the sound has started, with false when stop() came before.
   */
  speak(sound: AudioBuffer | Promise<AudioBuffer>): Promise<boolean>;
  /**
   * Follows the microphone, in place of whatever is spoken. Resolves with false when something else was asked for before it
   * listened. Rejects with MicrophoneError.
   */
  listen(options?: { deviceId?: string; echoCancellation?: boolean; monitor?: boolean }): Promise<boolean>;
  /** From a spoken sound to its picture, ms; undefined unless listening. */
  readonly liveDelayMs?: number;
  /** The sample heard now; negative before the start, null when silent. */
  position(): number | null;
  /** At once, whatever was asked for before, also what waits for its turn. */
  stop(): void;
  /** Stands still (sound, requests, drawing) while nobody looks. */
  setHidden(hidden: boolean): Promise<void>;
  /** Releases everything. */
  close(): void;
}

/** A WebSocket that negotiates, falls back and reconnects. */
export class Connection extends Emitter<{
  /** `text`: in words, for a user. */
  state: { state: Connection["state"]; text: string };
  open: { wire: Wire };
  /** `at`: performance.now() when it came. */
  message: { data: string | ArrayBuffer; at: number };
  trace: TraceEntry;
}> {
  /** `fetch` asks why a WebSocket was refused, which browsers hide. */
  constructor(options: { url: string; mode?: Mode; WebSocket?: typeof WebSocket; fetch?: typeof fetch; backoff?: Backoff });
  readonly state: "closed" | "connecting" | "open" | "waiting";
  readonly wire?: Wire;
  readonly writable: boolean;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  open(): void;
  close(): void;
  switchTo(mode: Mode): void;
  /** Does without a wire that turned out not to work. */
  avoid(wire: Wire): void;
  send(data: string | Uint8Array): boolean;
  sendText(message: string | object): void;
}

export interface Utterance {
  audio: PcmBuffer;
  /** Place on the idle walk of the first frame. */
  avatarFrame: number;
}

export interface SessionEvents {
  frame: TimedFrame;
  problem: { text: string; code: string };
}
/** What both kinds of session do. */
export interface Session extends EventTarget {
  begin(utterance: Utterance): void;
  /** Sends what is due. position: the sample heard now; horizon: how far ahead, in samples. */
  pump(position: number, horizon: number): void;
  interrupt(): void;
  close(): void;
}
export class RequestSession extends Emitter<SessionEvents> implements Session {
  constructor(connection: Connection, options: { model: string; frameCount: number; frameRate?: number; lookAheadMs?: number; now?: () => number });
  begin(utterance: Utterance): void;
  pump(position: number, horizon: number): void;
  interrupt(): void;
  close(): void;
}
/** `opened`: the stream is; `unsupported`: it cannot be, requests may; `dropped`: what the server tells that it dropped. */
export class StreamSession extends Emitter<SessionEvents & { opened: null; unsupported: null; dropped: Record<string, unknown> }> implements Session {
  constructor(connection: Connection, options: { model: string; frameRate?: number; lookAheadMs?: number; now?: () => number });
  begin(utterance: Utterance): void;
  pump(position: number, horizon: number): void;
  interrupt(): void;
  pause(): void;
  resume(): void;
  close(): void;
}
export function encodeFor(wire: Exclude<Wire, "stream">, request: Request): string | Uint8Array;
/** null: a text that is no inference reply. */
export function decodeFrom(wire: Exclude<Wire, "stream">, data: string | ArrayBuffer | Uint8Array): Reply | null;

export class MicrophoneError extends Error {
  readonly reason: "insecure" | "unsupported" | "denied" | "missing" | "taken" | "failed";
}
export function listMicrophones(): Promise<MediaDeviceInfo[]>;
export class Microphone {
  static open(
    context: AudioContext,
    options: { deviceId?: string; echoCancellation?: boolean; onChunk: (pcm: Int16Array, level: number) => void; onEnd: () => void },
  ): Promise<Microphone>;
  readonly start?: number;
  readonly deviceId?: string;
  setMonitor(on: boolean): void;
  setDelay(seconds: number): void;
  close(): void;
}

/** The jitter buffer. */
export class FrameTimeline {
  constructor(samplesPerFrame: number, capacity?: number);
  insert(frame: { index: number; sample: number }): "kept" | "late" | "duplicate" | "full";
  advance(position: number, ready?: (frame: TimedFrame) => boolean): {
    frame: TimedFrame | null;
    fresh: boolean;
    due: number;
    shown: number;
    dropped: TimedFrame[];
  };
  depth(position: number): number;
  drain(): TimedFrame[];
}

/** PCM16 with absolute positions. */
export class PcmBuffer {
  constructor(capacity?: number);
  readonly first: number;
  readonly end: number;
  /** Set it when no more will come. */
  ended: boolean;
  push(samples: Int16Array): void;
  window(from: number, to: number): Int16Array;
}
export function pcmBytes(samples: Int16Array): Uint8Array;
export function toPcm16(samples: Float32Array): Int16Array;
export class StreamResampler {
  constructor(from: number, to: number);
  process(input: Float32Array): Float32Array;
}

/** Figures of a face. */
export class Meter {
  readonly counts: Record<"due" | "shown" | "late" | "overtaken" | "undecodable" | "serverDropped" | "received", number>;
  /** The newest values, oldest first. */
  readonly series: Record<"offsetMs" | "latencyMs" | "computeMs", number[]>;
  /** Share of the due frames that were shown, 0..1; NaN before the first. */
  readonly shownShare: number;
  /** Due frames that were not seen. */
  readonly lost: number;
  quantile(series: "offsetMs" | "latencyMs" | "computeMs", share: number, count?: number): number;
}

export class AdaptiveDelay {
  constructor(options: { floorMs: number; ceilingMs: number; marginMs?: number; memory?: number; shrinkMsPerSecond?: number });
  readonly delayMs: number;
  observe(transitMs: number): void;
  step(nowMs: number): number;
}
export class Backoff {
  constructor(options?: { firstMs?: number; longestMs?: number; random?: () => number });
  next(): number;
  reset(): void;
}
export class SmoothClock {
  constructor(limit?: number);
  read(audioSeconds: number, wallSeconds: number): number;
  reset(): void;
}
export function percentile(values: ArrayLike<number>, share: number): number;
/** Walks `count` frames to and fro. */
export function pingPong(number: number, count: number): number;

/** A message that does not follow the protocol. */
export class ProtocolError extends Error {
  readonly offset: number;
}

export namespace v1 {
  function encodeRequest(request: Request): Uint8Array;
  function decodeRequest(data: ArrayBuffer | Uint8Array): Required<Request>;
  function decodeReply(data: ArrayBuffer | Uint8Array, timed?: boolean): Reply;
  function encodeReply(reply: { frameId: number; image: Uint8Array; bounds: Bounds; computeMs?: number }, timed?: boolean): Uint8Array;
}
export namespace json {
  function encodeRequest(request: Request & { sampleRate?: number; requestId?: string }): string;
  function decodeReply(text: string): Reply;
  function parse(text: string): Record<string, unknown>;
  function isReply(message: object): boolean;
  function readReply(message: object): Reply;
}
export namespace protobuf {
  function encodeRequest(request: Request & { base64?: boolean }): Uint8Array;
  function decodeReply(data: ArrayBuffer | Uint8Array): Reply;
}
export namespace v2 {
  const TYPE_AUDIO: 1;
  const TYPE_FRAME: 129;
  const FLAG_IDLE: 1;
  const FLAG_HELD: 2;
  const FLAG_LAST: 4;
  interface Audio {
    stream: number;
    epoch: number;
    firstSample: number;
    pcm: Uint8Array;
  }
  interface Frame {
    stream: number;
    epoch: number;
    sequence: number;
    avatarFrame: number;
    sample: number;
    sampleRate: number;
    computeMs: number;
    bounds: Bounds;
    image: Uint8Array;
    idle: boolean;
    held: boolean;
    last: boolean;
  }
  function encodeAudio(audio: Audio): Uint8Array;
  function decodeAudio(data: ArrayBuffer | Uint8Array): Audio;
  function decodeFrame(data: ArrayBuffer | Uint8Array): Frame;
  function encodeFrame(frame: Partial<Frame>): Uint8Array;
}
