// Takes a message apart, field by field, with offsets: for the debugger. What cannot be read is
// said where it went wrong; nothing here throws.

import { asBytes, ByteReader } from "../lipsync/bytes.js";
import { parse } from "../lipsync/json.js";
import { readFields } from "../lipsync/protobuf.js";
import * as v2 from "../lipsync/v2.js";

/**
 * @typedef {{offset: number, length: number, name: string, value: string}} Field
 * @typedef {{title: string, fields: Field[], error?: string}} Explanation
 */

const REPLY_FIELDS = {
  1: "success", 2: "prediction_data", 3: "bounds", 4: "processing_time_ms", 5: "model_name",
  6: "frame_id", 7: "auto_loaded", 8: "prediction_shape", 9: "error", 10: "code", 11: "request_id",
};
const REQUEST_FIELDS = { 1: "model_name", 2: "frame_id", 3: "audio_override", 4: "audio_pcm", 5: "sample_rate", 6: "request_id" };
const TEXT_FIELDS = new Set(["model_name", "prediction_shape", "error", "code", "request_id"]);

/** Reads fields one after the other and notes where each was. */
class Notes {
  constructor(data) {
    this.reader = new ByteReader(data);
    this.fields = [];
  }

  note(name, read, show = String) {
    const offset = this.reader.offset;
    const value = read(this.reader);
    this.fields.push({ offset, length: this.reader.offset - offset, name, value: show(value) });
    return value;
  }

  u8(name, show) {
    return this.note(name, (reader) => reader.u8(name), show);
  }

  u16(name) {
    return this.note(name, (reader) => reader.u16(name));
  }

  u32(name, show) {
    return this.note(name, (reader) => reader.u32(name), show);
  }

  u64(name) {
    return this.note(name, (reader) => reader.u64(name));
  }

  text(name, length) {
    return this.note(name, (reader) => reader.text(length, name), (text) => JSON.stringify(text));
  }

  bounds() {
    for (const edge of ["x1", "y1", "x2", "y2"]) {
      this.note(edge, (reader) => reader.f32(edge), (value) => `${value.toFixed(2)} px`);
    }
  }

  blob(name, length, describe) {
    if (length > 0) this.note(name, (reader) => reader.take(length, name), describe);
  }
}

const jpeg = (bytes) => `JPEG, ${bytes.length} bytes`;
const pcm = (bytes) => `PCM16, ${bytes.length / 2} samples`;

function v1Request(notes) {
  const nameLength = notes.u32("name_len");
  notes.text("name", nameLength);
  notes.u32("frame_id");
  const audioLength = notes.u32("audio_len");
  notes.blob("audio", audioLength, (bytes) => `${pcm(bytes)}, ${(bytes.length / 48).toFixed(0)} ms at 24 kHz`);
  return "request";
}

function v1Reply(notes, timed) {
  const status = notes.u8("status", (value) => (value === 1 ? "1 (frame)" : "0 (error)"));
  notes.u32("frame_id");
  if (timed) notes.u32("processing_ms", (value) => `${value} ms`);
  if (status !== 1) {
    notes.text("message", notes.u32("message_len"));
    return "error";
  }
  notes.blob("image", notes.u32("image_len"), jpeg);
  notes.u32("bounds_len");
  notes.bounds();
  return "frame";
}

function streamMessage(notes) {
  const type = notes.u8("type", (value) => `0x${value.toString(16).padStart(2, "0")}`);
  if (type === v2.TYPE_AUDIO) {
    notes.u8("flags");
    notes.u16("stream");
    notes.u32("epoch");
    notes.u64("first_sample");
    notes.blob("pcm", notes.reader.left, pcm);
    return "audio";
  }
  notes.u8("flags", (flags) => {
    const words = [[v2.FLAG_IDLE, "idle"], [v2.FLAG_HELD, "held"], [v2.FLAG_LAST, "last"]];
    return [flags, ...words.filter(([bit]) => flags & bit).map(([, word]) => word)].join(" ");
  });
  notes.u16("stream");
  for (const name of ["epoch", "sequence", "avatar_frame"]) notes.u32(name);
  notes.u64("sample");
  notes.u32("sample_rate", (value) => `${value} Hz`);
  notes.u32("compute_us", (value) => `${value} µs`);
  notes.bounds();
  notes.blob("image", notes.reader.left, jpeg);
  return "frame";
}

function protobufMessage(notes, direction) {
  const names = direction === "sent" ? REQUEST_FIELDS : REPLY_FIELDS;
  for (const { field, value, start, end } of readFields(notes.reader.bytes)) {
    const name = names[field] ?? `field ${field}`;
    notes.fields.push({ offset: start, length: end - start, name: `${name} = ${field}`, value: protobufValue(name, value) });
  }
  return direction === "sent" ? "InferenceRequest" : "InferenceResponse";
}

function protobufValue(name, value) {
  if (typeof value === "number") return name === "success" ? String(value !== 0) : String(value);
  if (name === "prediction_data") return jpeg(value);
  if (name === "audio_pcm") return pcm(value);
  if (TEXT_FIELDS.has(name)) return JSON.stringify(new TextDecoder().decode(value));
  if (name !== "bounds" || value.length % 4 !== 0) return `${value.length} bytes`;
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  return Array.from({ length: value.length / 4 }, (_, at) => view.getFloat32(at * 4, true).toFixed(2)).join(", ");
}

const LONG_TEXT = 120;

function textMessage(text) {
  const message = parse(text);
  const fields = Object.entries(message).map(([name, value]) => {
    const shown = JSON.stringify(value);
    const long = shown.length > LONG_TEXT;
    return {
      offset: Math.max(0, text.indexOf(`"${name}"`)),
      length: shown.length,
      name,
      value: long ? `${shown.slice(0, LONG_TEXT - 20)}… (${shown.length} characters)` : shown,
    };
  });
  return { title: String(message.type ?? (message.batch_frames ? "batch" : "inference")), fields };
}

/**
 * @param {{direction: "sent" | "received", kind: "text" | "binary", protocol: string, data: string | ArrayBuffer | Uint8Array}} entry
 * @returns {Explanation}
 */
export function explain({ direction, kind, protocol, data }) {
  if (kind === "text") {
    try {
      return textMessage(data);
    } catch (error) {
      return { title: "text", fields: [], error: error.message };
    }
  }
  const notes = new Notes(asBytes(data));
  let title = "binary";
  try {
    if (protocol === "lipsync.v2") title = streamMessage(notes);
    else if (protocol === "lipsync.protobuf") return { title: protobufMessage(notes, direction), fields: notes.fields };
    else if (direction === "sent") title = v1Request(notes);
    else title = v1Reply(notes, protocol === "lipsync.v1.timed");
    notes.reader.end();
    return { title, fields: notes.fields };
  } catch (error) {
    return { title, fields: notes.fields, error: error.message };
  }
}

/** Rows of a hex view: offset, sixteen bytes, their characters. At most `limit` bytes. */
export function hexRows(data, limit = 256) {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data.slice(0, limit)) : asBytes(data);
  const rows = [];
  for (let offset = 0; offset < Math.min(bytes.length, limit); offset += 16) {
    const row = [...bytes.subarray(offset, Math.min(offset + 16, limit))];
    rows.push({
      offset: offset.toString(16).padStart(6, "0"),
      hex: row.map((byte) => byte.toString(16).padStart(2, "0")).join(" "),
      text: row.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : "·")).join(""),
    });
  }
  return rows;
}
