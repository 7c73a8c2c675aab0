// The JSON form of the same request and reply, and the control messages.

import { fromBase64, toBase64, ProtocolError } from "./bytes.js";

/** @param {{model: string, frameId: number, audio?: Uint8Array, sampleRate?: number, requestId?: string}} request */
export function encodeRequest({ model, frameId, audio, sampleRate, requestId }) {
  const message = { model_name: model, frame_id: frameId };
  if (audio?.length) message.audio_override = toBase64(audio);
  if (sampleRate) message.sample_rate = sampleRate;
  if (requestId !== undefined) message.request_id = requestId;
  return JSON.stringify(message);
}

/** Any text message as an object. */
export function parse(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ProtocolError(`not JSON: ${error.message}`);
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new ProtocolError("a message must be a JSON object");
  }
  return value;
}

/** True for the reply to an inference request, or an error that answers one; not for control messages. */
export function isReply(message) {
  const kind = message.type === undefined || (message.type === "error" && message.stream === undefined);
  return typeof message.success === "boolean" && kind && message.batch === undefined;
}

/** A parsed reply in the same form as v1.decodeReply gives. */
export function readReply(message) {
  if (!isReply(message)) throw new ProtocolError("not an inference reply");
  const frameId = Number(message.frame_id ?? 0);
  const computeMs = message.processing_time_ms;
  if (!message.success) {
    return { ok: false, frameId, computeMs, message: String(message.error ?? "unknown error"), code: message.code };
  }
  const bounds = message.bounds;
  if (!Array.isArray(bounds) || bounds.length !== 4 || !bounds.every(Number.isFinite)) {
    throw new ProtocolError("bounds must be four numbers");
  }
  return { ok: true, frameId, computeMs, image: fromBase64(message.prediction_data), bounds };
}

export function decodeReply(text) {
  return readReply(parse(text));
}
