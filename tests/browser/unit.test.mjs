// The client library's pure parts, in Node: codecs against the golden bytes of tests/data/protocol,
// the jitter buffer, clocks and the resampler.
//
//   node --test tests/browser/unit.test.mjs

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { explain, hexRows } from "../../static/page/explain.js";
import { featherMask } from "../../static/lipsync/compositor.js";
import { fromBase64, ProtocolError, toBase64 } from "../../static/lipsync/bytes.js";
import { pingPong } from "../../static/lipsync/frames.js";
import * as json from "../../static/lipsync/json.js";
import { Microphone, microphoneError } from "../../static/lipsync/microphone.js";
import { PcmBuffer, pcmBytes } from "../../static/lipsync/pcm.js";
import * as protobuf from "../../static/lipsync/protobuf.js";
import { Recorder } from "../../static/page/recorder.js";
import { StreamResampler, toPcm16 } from "../../static/lipsync/resample.js";
import { FrameTimeline } from "../../static/lipsync/timeline.js";
import { AdaptiveDelay, Backoff, percentile, SmoothClock } from "../../static/lipsync/timing.js";
import * as v1 from "../../static/lipsync/v1.js";
import * as v2 from "../../static/lipsync/v2.js";

const golden = (name) => new Uint8Array(readFileSync(new URL(`../data/protocol/${name}.bin`, import.meta.url)));
const JPEG = new Uint8Array([0xff, 0xd8, 0xff, 0xd9]);
const BOUNDS = [1.5, 2, 3.25, 4];
const PCM = pcmBytes(Int16Array.of(1, -1));

/** Every cut of a message must be refused, and with a ProtocolError. */
function refusesEveryCut(message, decode) {
  for (let length = 0; length < message.length; length++) {
    assert.throws(() => decode(message.slice(0, length)), ProtocolError, `cut at ${length}`);
  }
}

test("v1 requests are the golden bytes", () => {
  assert.deepEqual(v1.encodeRequest({ model: "face", frameId: 7, audio: PCM }), golden("v1-request"));
  assert.deepEqual(v1.encodeRequest({ model: "face", frameId: 7 }), golden("v1-request-own-audio"));
  assert.deepEqual(v1.decodeRequest(golden("v1-request")), { model: "face", frameId: 7, audio: PCM });
});

test("v1 replies are read, plain and timed, and every cut is refused", () => {
  for (const [name, timed] of [["v1-reply", false], ["v1-timed-reply", true]]) {
    const reply = v1.decodeReply(golden(name), timed);
    assert.deepEqual(reply, { ok: true, frameId: 7, computeMs: timed ? 21 : undefined, image: JPEG, bounds: BOUNDS });
    assert.deepEqual(v1.encodeReply(reply, timed), golden(name));
    refusesEveryCut(golden(name), (data) => v1.decodeReply(data, timed));
  }
  assert.equal(v1.decodeReply(golden("v1-error")).message, "busy: try again");
  assert.equal(v1.decodeReply(golden("v1-timed-error"), true).frameId, 7);
  assert.throws(() => v1.decodeReply(Uint8Array.of(...golden("v1-reply"), 0)), /1 bytes too many/);
  assert.throws(() => v1.decodeReply(Uint8Array.of(2, 0, 0, 0, 0)), /neither 0 nor 1/);
});

test("protobuf is the golden bytes, and cuts do not crash it", () => {
  const reply = protobuf.decodeReply(golden("protobuf-response"));
  assert.deepEqual([reply.ok, reply.frameId, reply.computeMs, reply.model], [true, 7, 21, "face"]);
  assert.deepEqual([reply.image, reply.bounds], [JPEG, BOUNDS]);
  const error = protobuf.decodeReply(golden("protobuf-error"));
  assert.deepEqual([error.ok, error.code, error.message], [false, "busy", "try again"]);
  const base64 = protobuf.encodeRequest({ model: "face", frameId: 7, audio: PCM, base64: true });
  assert.deepEqual(base64, golden("protobuf-request-base64"));
  const raw = golden("protobuf-request");
  const request = protobuf.encodeRequest({ model: "face", frameId: 7, audio: PCM });
  assert.deepEqual(request, raw.slice(0, request.length)); // the golden one goes on with optional fields
  const message = golden("protobuf-response");
  for (let length = 1; length < message.length; length++) {
    try {
      protobuf.decodeReply(message.slice(0, length));
    } catch (thrown) {
      assert.ok(thrown instanceof ProtocolError, `cut at ${length}: ${thrown}`);
    }
  }
});

test("v2 audio and frames are the golden bytes", () => {
  const audio = { stream: 1, epoch: 2, firstSample: 48000, pcm: PCM };
  assert.deepEqual(v2.encodeAudio(audio), golden("v2-audio"));
  assert.deepEqual(v2.decodeAudio(golden("v2-audio")), audio);
  const frame = v2.decodeFrame(golden("v2-frame"));
  assert.deepEqual(frame, {
    idle: false, held: false, last: true, stream: 1, epoch: 2, sequence: 3, avatarFrame: 9, sample: 2880,
    sampleRate: 24000, computeMs: 17.5, bounds: BOUNDS, image: JPEG,
  });
  assert.deepEqual(v2.encodeFrame(frame), golden("v2-frame"));
  const idle = v2.decodeFrame(golden("v2-frame-idle"));
  assert.deepEqual([idle.idle, idle.image.length], [true, 0]);
  refusesEveryCut(golden("v2-frame-idle"), v2.decodeFrame);
});

test("JSON replies are read; control messages are none", () => {
  const text = JSON.stringify({ success: true, frame_id: 7, prediction_data: toBase64(JPEG), bounds: BOUNDS, processing_time_ms: 21 });
  assert.deepEqual(json.decodeReply(text), { ok: true, frameId: 7, computeMs: 21, image: JPEG, bounds: BOUNDS });
  assert.equal(json.isReply({ type: "metadata", success: true }), false);
  assert.equal(json.isReply({ type: "error", success: false, frame_id: 1 }), true);
  for (const bad of ["", "[]", "nul", '{"success":true,"frame_id":1,"bounds":[1]}']) {
    assert.throws(() => json.decodeReply(bad), ProtocolError);
  }
  assert.throws(() => fromBase64("%"), ProtocolError);
});

test("the debugger accounts for every byte of every golden message", () => {
  const cases = [
    ["v1-request", "sent", "lipsync.v1"], ["v1-reply", "received", "lipsync.v1"], ["v1-error", "received", ""],
    ["v1-timed-reply", "received", "lipsync.v1.timed"], ["v2-audio", "sent", "lipsync.v2"],
    ["v2-frame", "received", "lipsync.v2"], ["v2-frame-idle", "received", "lipsync.v2"],
    ["protobuf-request", "sent", "lipsync.protobuf"], ["protobuf-response", "received", "lipsync.protobuf"],
  ];
  for (const [name, direction, protocol] of cases) {
    const data = golden(name);
    const { fields, error } = explain({ direction, protocol, kind: "binary", data });
    assert.equal(error, undefined, name);
    assert.equal(fields.reduce((sum, field) => sum + field.length, 0), data.length, name);
    const cut = explain({ direction, protocol, kind: "binary", data: data.slice(0, data.length - 1) });
    if (!name.startsWith("v2-")) assert.ok(cut.error, `${name}, cut`);
  }
  assert.ok(explain({ direction: "sent", kind: "text", protocol: "", data: "{" }).error);
  assert.equal(hexRows(golden("v1-request"))[0].hex.slice(0, 11), "04 00 00 00");
});

test("a recording is bounded, and its lines give the bytes back", () => {
  const recorder = new Recorder({ messages: 3, bytes: 100 });
  for (let count = 0; count < 5; count++) {
    recorder.add({ at: count, direction: "sent", kind: "binary", protocol: "lipsync.v1", data: golden("v1-request") });
  }
  recorder.add({ at: 9, direction: "received", kind: "text", protocol: "lipsync.v1", data: "{}" });
  const lines = recorder.export().trim().split("\n").map((line) => JSON.parse(line));
  assert.equal(lines.length, 3);
  assert.deepEqual(fromBase64(lines[0].data), golden("v1-request"));
  assert.deepEqual(lines[2], { t_ms: 9, direction: "received", protocol: "lipsync.v1", kind: "text", data: "{}" });
  recorder.add({ at: 10, direction: "sent", kind: "text", protocol: "", data: "x".repeat(500) });
  assert.equal(recorder.entries.length, 1);
});

test("everything that the library exports has a type", async () => {
  const types = readFileSync(new URL("../../static/lipsync.d.ts", import.meta.url), "utf8");
  for (const name of Object.keys(await import("../../static/lipsync.js"))) {
    assert.match(types, new RegExp(`^export (class|function|const|namespace) ${name}\\b`, "m"));
  }
});

test("ping-pong walks to and fro", () => {
  assert.deepEqual([0, 1, 2, 3, 4, 5, 6].map((number) => pingPong(number, 4)), [0, 1, 2, 3, 2, 1, 0]);
  assert.equal(pingPong(9, 1), 0);
});

test("the timeline orders, drops what is overtaken, holds what is missing", () => {
  const timeline = new FrameTimeline(960, 4);
  const frame = (index) => ({ index, sample: index * 960 });
  for (const index of [2, 0, 1]) assert.equal(timeline.insert(frame(index)), "kept");
  assert.equal(timeline.insert(frame(1)), "duplicate");
  assert.equal(timeline.depth(0), 3 * 960);
  const first = timeline.advance(10);
  assert.deepEqual([first.frame.index, first.fresh, first.due, first.shown], [0, true, 1, 1]);
  assert.equal(timeline.insert(frame(0)), "late");
  const jump = timeline.advance(2 * 960);
  assert.deepEqual([jump.frame.index, jump.due, jump.shown, jump.dropped.map(({ index }) => index)], [2, 2, 1, [1]]);
  const held = timeline.advance(3 * 960);
  assert.deepEqual([held.frame.index, held.fresh, held.due, held.shown], [2, false, 1, 0]);
  // A frame that becomes ready within its own period still counts as shown.
  timeline.insert(frame(3));
  const later = timeline.advance(3 * 960 + 500);
  assert.deepEqual([later.frame.index, later.due, later.shown], [3, 0, 1]);
  for (const index of [4, 5, 6, 7]) timeline.insert(frame(index));
  assert.equal(timeline.insert(frame(8)), "full");
  assert.equal(timeline.drain().length, 5);
});

test("what cannot be decoded in time is passed over, and something is always decoded", () => {
  const timeline = new FrameTimeline(960);
  for (let index = 0; index < 6; index++) timeline.insert({ index, sample: index * 960 });
  const next = (soonest, most = 8) => {
    const frame = timeline.nextToDecode(soonest, most);
    if (frame) frame.asked = true;
    return frame?.index;
  };
  assert.deepEqual([next(0), next(0), next(3000)], [0, 1, 4], "in order, then from the first that can be in time");
  assert.equal(next(0, 3), undefined, "three are asked for already");
  assert.equal(next(1e6), 5, "all are too late: the newest");
  assert.equal(next(1e6), undefined, "what was passed over stays so");
});

test("frames that are not decoded in time are dropped, later ones are not", () => {
  const timeline = new FrameTimeline(960);
  const frames = [0, 1, 2].map((index) => ({ index, sample: index * 960, ready: index === 2 }));
  frames.forEach((frame) => timeline.insert(frame));
  const ready = (frame) => frame.ready;
  const step = timeline.advance(960, ready);
  assert.deepEqual([step.frame, step.due, step.dropped.map(({ index }) => index)], [null, 2, [0]]);
  assert.equal(timeline.advance(1920, ready).frame.index, 2);
});

test("delays grow at once and shrink slowly, within bounds", () => {
  const delay = new AdaptiveDelay({ floorMs: 100, ceilingMs: 400, marginMs: 20, memory: 10 });
  assert.equal(delay.step(0), 100);
  delay.observe(200);
  assert.equal(delay.step(10), 220);
  for (let count = 0; count < 10; count++) delay.observe(110);
  assert.equal(delay.step(1010), 202); // 90 too long: a fifth of it in a second
  delay.observe(5000);
  assert.equal(delay.step(1020), 400);
});

test("the smooth clock is even over a stepping one, and follows a jump", () => {
  const clock = new SmoothClock();
  let worst = 0;
  for (let ms = 0; ms < 2000; ms++) {
    const stepping = Math.floor(ms / 10) / 100;
    const read = clock.read(stepping, 50 + ms / 1000);
    if (ms > 500) worst = Math.max(worst, Math.abs(read - (ms - 5) / 1000));
  }
  assert.ok(worst < 0.004, `off by ${worst}`);
  assert.ok(Math.abs(clock.read(9, 52) - 9) < 1e-9);
});

test("backoff doubles with jitter up to its limit", () => {
  const backoff = new Backoff({ firstMs: 100, longestMs: 1000, random: () => 1 });
  assert.deepEqual([1, 2, 3, 4, 5].map(() => backoff.next()), [100, 200, 400, 800, 1000]);
  backoff.reset();
  backoff.random = () => 0;
  assert.equal(backoff.next(), 50);
  assert.ok(Number.isNaN(percentile([], 0.5)));
});

test("the resampler gives the same for any chunking, keeps speech and removes what would fold", () => {
  for (const from of [48000, 44100, 16000]) {
    const tone = (hertz) => Float32Array.from({ length: from / 2 }, (_, at) => 0.5 * Math.sin((2 * Math.PI * hertz * at) / from));
    const whole = new StreamResampler(from, 24000).process(tone(1000));
    const pieces = new StreamResampler(from, 24000);
    const joined = [];
    for (let at = 0; at < from / 2; at += 128) joined.push(...pieces.process(tone(1000).subarray(at, at + 128)));
    assert.deepEqual(Float32Array.from(joined), whole, `${from}`);
    let error = 0;
    for (let at = 1000; at < whole.length - 1000; at++) {
      error = Math.max(error, Math.abs(whole[at] - 0.5 * Math.sin((2 * Math.PI * 1000 * at) / 24000)));
    }
    assert.ok(error < 2e-3, `${from}: ${error}`);
    if (from < 30000) continue;
    const folded = new StreamResampler(from, 24000).process(tone(16000));
    assert.ok(Math.max(...folded.subarray(1000, -1000).map(Math.abs)) < 1e-3, `${from}`);
  }
  assert.deepEqual(toPcm16(Float32Array.of(0, 1, -1, 3)), Int16Array.of(0, 32767, -32767, 32767));
});

test("PCM windows are padded with silence, and old samples are forgotten", () => {
  const audio = new PcmBuffer(5000);
  audio.push(Int16Array.of(1, 2, 3));
  assert.deepEqual(audio.window(-2, 5), Int16Array.of(0, 0, 1, 2, 3, 0, 0));
  for (let count = 0; count < 10; count++) audio.push(new Int16Array(3000).fill(count));
  assert.equal(audio.end, 30003);
  assert.ok(audio.samples.length < 16384);
  assert.deepEqual(audio.window(30001, 30004), Int16Array.of(9, 9, 0));
});

test("the feather is clear at the rim, solid inside, and rises evenly", () => {
  const mask = featherMask(100, 80);
  const row = mask.subarray(40 * 100, 41 * 100);
  assert.ok(row[0] < 10 && row[99] < 10 && row[50] === 255);
  for (let x = 1; x < 50; x++) assert.ok(row[x] >= row[x - 1]);
});

test("a microphone that cannot be had is told in words of its own for each reason", async () => {
  await assert.rejects(Microphone.open({}, {}), { reason: "insecure", message: /secure pages/ });
  const names = ["NotAllowedError", "NotFoundError", "NotReadableError", "SomethingElse"];
  const errors = names.map((name) => microphoneError({ name }));
  assert.deepEqual(errors.map(({ reason }) => reason), ["denied", "missing", "taken", "failed"]);
  assert.equal(new Set(errors.map(({ message }) => message)).size, 4);
});
