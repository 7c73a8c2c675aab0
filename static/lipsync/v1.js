// Wire version 1, binary. One message asks for one frame; docs/PROTOCOL.md has the layout.
//
// request: u32 name_len | name | u32 frame_id | u32 audio_len | PCM16
// reply:   u8 1 | u32 frame_id | [u32 processing_ms] | u32 image_len | JPEG | u32 bounds_len | f32[4]
// error:   u8 0 | u32 frame_id | [u32 processing_ms] | u32 message_len | message
//
// processing_ms is there in the timed layout (subprotocol lipsync.v1.timed) only.

import { ByteReader, ByteWriter, ProtocolError, utf8 } from "./bytes.js";

/** @param {{model: string, frameId: number, audio?: Uint8Array}} request audio: PCM16, mono */
export function encodeRequest({ model, frameId, audio }) {
  const name = utf8(model);
  const audioBytes = audio ?? new Uint8Array(0);
  return new ByteWriter(12 + name.length + audioBytes.length)
    .u32(name.length)
    .raw(name)
    .u32(frameId)
    .u32(audioBytes.length)
    .raw(audioBytes)
    .finish();
}

/** The inverse of encodeRequest, for the debugger and the tests. */
export function decodeRequest(data) {
  const reader = new ByteReader(data);
  const model = reader.text(reader.u32("name_len"), "name");
  const frameId = reader.u32("frame_id");
  const audio = reader.take(reader.u32("audio_len"), "audio");
  reader.end();
  return { model, frameId, audio };
}

/**
 * A reply or an error. The image is a view of `data`, not a copy.
 * @returns {{ok: boolean, frameId: number, computeMs?: number, image?: Uint8Array, bounds?: number[], message?: string}}
 */
export function decodeReply(data, timed = false) {
  const reader = new ByteReader(data);
  const status = reader.u8("status");
  if (status > 1) throw new ProtocolError(`status is ${status}, neither 0 nor 1`, 0);
  const frameId = reader.u32("frame_id");
  const computeMs = timed ? reader.u32("processing_ms") : undefined;
  if (status === 0) {
    const message = reader.text(reader.u32("message_len"), "message");
    reader.end();
    return { ok: false, frameId, computeMs, message };
  }
  const image = reader.take(reader.u32("image_len"), "image");
  const boundsLength = reader.u32("bounds_len");
  if (boundsLength !== 16) throw new ProtocolError(`bounds_len is ${boundsLength}, not 16`, reader.offset - 4);
  const bounds = [reader.f32("x1"), reader.f32("y1"), reader.f32("x2"), reader.f32("y2")];
  reader.end();
  return { ok: true, frameId, computeMs, image, bounds };
}

/**
 * Builds a reply as the server does: for the comparison of protocols and the tests.
 * @param {{frameId: number, image: Uint8Array, bounds: number[], computeMs?: number}} reply
 */
export function encodeReply({ frameId, image, bounds, computeMs }, timed = false) {
  const writer = new ByteWriter(32 + image.length).u8(1).u32(frameId);
  if (timed) writer.u32(computeMs ?? 0);
  writer.u32(image.length).raw(image).u32(16);
  for (const edge of bounds) writer.f32(edge);
  return writer.finish();
}
