// The two protobuf messages that a browser needs (package lipsyncsrv, proto/lipsyncsrv.proto),
// written by hand: a generated codec would be a dependency and twenty times this size.

import { ByteReader, ByteWriter, ProtocolError, toBase64 } from "./bytes.js";

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

function writeVarint(writer, value) {
  // Negative int32 values are sent as ten bytes of a 64-bit two's complement.
  let rest = BigInt.asUintN(64, BigInt(value));
  while (rest > 127n) {
    writer.u8(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  writer.u8(Number(rest));
}

function writeKey(writer, field, wire) {
  writeVarint(writer, (field << 3) | wire);
}

function writeBytes(writer, field, bytes) {
  writeKey(writer, field, BYTES);
  writeVarint(writer, bytes.length);
  writer.raw(bytes);
}

function writeInt(writer, field, value) {
  if (value === 0) return; // proto3: zero is the default and is not sent
  writeKey(writer, field, VARINT);
  writeVarint(writer, value);
}

/** Reads a varint as a number; beyond 2^53 only the low bits matter to an int32. */
function readVarint(reader) {
  const start = reader.offset;
  let value = 0;
  let scale = 1;
  for (let count = 0; count < 10; count++) {
    const byte = reader.u8("varint");
    value += (byte & 127) * scale;
    if (byte < 128) return value;
    scale *= 128;
  }
  throw new ProtocolError("varint is longer than ten bytes", start);
}

/** Splits a message into its fields: [{field, wire, value, start, end}]; value is a number or bytes. */
export function readFields(data) {
  const reader = new ByteReader(data);
  const fields = [];
  while (reader.left > 0) {
    const start = reader.offset;
    const key = readVarint(reader);
    const field = Math.floor(key / 8);
    const wire = key % 8;
    if (field === 0) throw new ProtocolError("field number 0", start);
    let value;
    if (wire === VARINT) value = readVarint(reader);
    else if (wire === BYTES) value = reader.take(readVarint(reader), `field ${field}`);
    else if (wire === FIXED32) value = reader.take(4, `field ${field}`);
    else if (wire === FIXED64) value = reader.take(8, `field ${field}`);
    else throw new ProtocolError(`wire type ${wire} is not used`, start);
    fields.push({ field, wire, value, start, end: reader.offset });
  }
  return fields;
}

const AUDIO_BASE64 = 3;
/** The added field with raw PCM16, beside the base64 one. */
const AUDIO_PCM = 4;

/** @param {{model: string, frameId: number, audio?: Uint8Array, base64?: boolean}} request */
export function encodeRequest({ model, frameId, audio, base64 = false }) {
  const name = new TextEncoder().encode(model);
  const writer = new ByteWriter(32 + name.length + (audio?.length ?? 0));
  writeBytes(writer, 1, name);
  writeInt(writer, 2, frameId);
  if (audio?.length) {
    if (base64) writeBytes(writer, AUDIO_BASE64, new TextEncoder().encode(toBase64(audio)));
    else writeBytes(writer, AUDIO_PCM, audio);
  }
  return writer.finish();
}

export function decodeReply(data) {
  const reply = { ok: false, frameId: 0, computeMs: 0, image: new Uint8Array(0), bounds: [] };
  const text = (bytes) => new TextDecoder().decode(bytes);
  for (const { field, wire, value } of readFields(data)) {
    const bytes = typeof value === "number" ? undefined : value;
    if (field === 1 && wire === VARINT) reply.ok = value !== 0;
    else if (field === 2 && bytes) reply.image = bytes;
    else if (field === 3 && bytes) {
      // Packed (one field of many floats) or one field a float: both are valid protobuf.
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      if (bytes.length % 4 !== 0) throw new ProtocolError("bounds are not whole floats");
      for (let at = 0; at < bytes.length; at += 4) reply.bounds.push(view.getFloat32(at, true));
    } else if (field === 4 && wire === VARINT) reply.computeMs = value | 0;
    else if (field === 5 && bytes) reply.model = text(bytes);
    else if (field === 6 && wire === VARINT) reply.frameId = Number(BigInt.asIntN(32, BigInt(value)));
    else if (field === 9 && bytes) reply.message = text(bytes);
    else if (field === 10 && bytes) reply.code = text(bytes);
  }
  if (reply.ok && reply.bounds.length !== 4) throw new ProtocolError("bounds must be four floats");
  if (!reply.ok) reply.message ??= "unknown error";
  return reply;
}

/** Builds a reply as the server does: for the comparison of protocols and the tests. */
export function encodeReply({ frameId, image, bounds, computeMs = 0, model = "" }) {
  const writer = new ByteWriter(64 + image.length);
  writeInt(writer, 1, 1);
  writeBytes(writer, 2, image);
  const floats = new ByteWriter(16);
  for (const edge of bounds) floats.f32(edge);
  writeBytes(writer, 3, floats.finish());
  writeInt(writer, 4, computeMs);
  if (model) writeBytes(writer, 5, new TextEncoder().encode(model));
  writeInt(writer, 6, frameId);
  return writer.finish();
}
