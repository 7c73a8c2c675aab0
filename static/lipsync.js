// lipsyncd's client library: an ES module without dependencies. See lipsync.d.ts and
// docs/PROTOCOL.md; embed.html and index.html are examples.

export { Face } from "./lipsync/face.js";
export { Player } from "./lipsync/player.js";
export { Connection, MODES } from "./lipsync/connection.js";
export { RequestSession, encodeFor, decodeFrom } from "./lipsync/request-session.js";
export { StreamSession } from "./lipsync/stream-session.js";
export { Microphone, MicrophoneError, listMicrophones } from "./lipsync/microphone.js";
export { listModels } from "./lipsync/models.js";
export { HOME } from "./lipsync/server.js";
export { Meter } from "./lipsync/meter.js";
export { FrameTimeline } from "./lipsync/timeline.js";
export { PcmBuffer, pcmBytes, WIRE_RATE } from "./lipsync/pcm.js";
export { StreamResampler, toPcm16 } from "./lipsync/resample.js";
export { AdaptiveDelay, Backoff, SmoothClock, percentile } from "./lipsync/timing.js";
export { ProtocolError } from "./lipsync/bytes.js";
export { pingPong } from "./lipsync/frames.js";
export * as v1 from "./lipsync/v1.js";
export * as v2 from "./lipsync/v2.js";
export * as json from "./lipsync/json.js";
export * as protobuf from "./lipsync/protobuf.js";
