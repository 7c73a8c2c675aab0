// Stream mode, version 2: audio and frames are binary, everything else is JSON.
// docs/PROTOCOL.md has the layout; all integers are little-endian.
//
// audio: u8 0x01 | u8 flags (0) | u16 stream | u32 epoch | u64 first_sample | PCM16
// frame: u8 0x81 | u8 flags | u16 stream | u32 epoch | u32 sequence | u32 avatar_frame | u64 sample |
//        u32 sample_rate | u32 compute_us | f32 x1 y1 x2 y2 | JPEG

import { ByteReader, ByteWriter, ProtocolError } from "./bytes.js";

export const TYPE_AUDIO = 0x01;
export const TYPE_FRAME = 0x81;

/** No image: show the idle frame as it is. */
export const FLAG_IDLE = 1;
/** No image: show the picture of the frame before once more. */
export const FLAG_HELD = 2;
/** The last frame of its utterance. */
export const FLAG_LAST = 4;

/** @param {{stream: number, epoch: number, firstSample: number, pcm: Uint8Array}} chunk */
export function encodeAudio({ stream, epoch, firstSample, pcm }) {
  return new ByteWriter(16 + pcm.length)
    .u8(TYPE_AUDIO)
    .u8(0)
    .u16(stream)
    .u32(epoch)
    .u64(firstSample)
    .raw(pcm)
    .finish();
}

/** The inverse of encodeAudio, for the debugger and the tests. */
export function decodeAudio(data) {
  const reader = new ByteReader(data);
  const type = reader.u8("type");
  if (type !== TYPE_AUDIO) throw new ProtocolError(`type is ${type}, not audio`, 0);
  reader.u8("flags");
  const stream = reader.u16("stream");
  const epoch = reader.u32("epoch");
  const firstSample = reader.u64("first_sample");
  return { stream, epoch, firstSample, pcm: reader.take(reader.left, "pcm") };
}

/** A frame of a stream; `image` is a view of `data`, empty for idle and held frames. */
export function decodeFrame(data) {
  const reader = new ByteReader(data);
  const type = reader.u8("type");
  if (type !== TYPE_FRAME) throw new ProtocolError(`type is ${type}, not a frame`, 0);
  const flags = reader.u8("flags");
  return {
    idle: (flags & FLAG_IDLE) !== 0,
    held: (flags & FLAG_HELD) !== 0,
    last: (flags & FLAG_LAST) !== 0,
    stream: reader.u16("stream"),
    epoch: reader.u32("epoch"),
    sequence: reader.u32("sequence"),
    avatarFrame: reader.u32("avatar_frame"),
    sample: reader.u64("sample"),
    sampleRate: reader.u32("sample_rate"),
    computeMs: reader.u32("compute_us") / 1000,
    bounds: [reader.f32("x1"), reader.f32("y1"), reader.f32("x2"), reader.f32("y2")],
    image: reader.take(reader.left, "image"),
  };
}

/** Builds a frame as the server does, for the tests. */
export function encodeFrame(frame) {
  const image = frame.image ?? new Uint8Array(0);
  const flags = (frame.idle ? FLAG_IDLE : 0) | (frame.held ? FLAG_HELD : 0) | (frame.last ? FLAG_LAST : 0);
  const writer = new ByteWriter(48 + image.length)
    .u8(TYPE_FRAME)
    .u8(flags)
    .u16(frame.stream)
    .u32(frame.epoch)
    .u32(frame.sequence)
    .u32(frame.avatarFrame)
    .u64(frame.sample)
    .u32(frame.sampleRate)
    .u32(Math.round(frame.computeMs * 1000));
  for (const edge of frame.bounds) writer.f32(edge);
  return writer.raw(image).finish();
}
