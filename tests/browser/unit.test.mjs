// The client library's pure parts, in Node: codecs against the golden bytes of tests/data/protocol,
// the jitter buffer, clocks, resampler and the sessions over a fake connection.
//
//   node --test tests/browser/unit.test.mjs

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { offersFor, Connection } from "../../static/lipsync/connection.js";
import { explain, hexRows } from "../../static/lipsync/explain.js";
import { featherMask } from "../../static/lipsync/compositor.js";
import { fromBase64, ProtocolError, toBase64 } from "../../static/lipsync/bytes.js";
import { pingPong } from "../../static/lipsync/frames.js";
import * as json from "../../static/lipsync/json.js";
import { Microphone, microphoneError } from "../../static/lipsync/microphone.js";
import { PcmBuffer, pcmBytes } from "../../static/lipsync/pcm.js";
import * as protobuf from "../../static/lipsync/protobuf.js";
import { Recorder } from "../../static/lipsync/recorder.js";
import { StreamResampler, toPcm16 } from "../../static/lipsync/resample.js";
import { RequestSession } from "../../static/lipsync/request-session.js";
import { StreamSession } from "../../static/lipsync/stream-session.js";
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

// --- sessions over a fake connection ---------------------------------------------------------

class FakeConnection extends EventTarget {
  constructor(wire) {
    super();
    this.wire = wire;
    this.writable = true;
    this.sent = [];
  }
  send(data) {
    this.sent.push(data);
    return true;
  }
  sendText(message) {
    this.sent.push(JSON.stringify(message));
  }
  deliver(data, at = 0) {
    this.dispatchEvent(new CustomEvent("message", { detail: { data, at } }));
  }
  opened() {
    this.dispatchEvent(new CustomEvent("open", { detail: { wire: this.wire } }));
  }
  take() {
    return this.sent.splice(0);
  }
}

function recording(seconds) {
  const audio = new PcmBuffer();
  audio.push(Int16Array.from({ length: seconds * 24000 }, (_, at) => at % 1000));
  audio.ended = true;
  return audio;
}

test("request mode: windows centred on their frames, bounded in flight, each frame once", () => {
  const connection = new FakeConnection("binary");
  const session = new RequestSession(connection, { model: "face", frameCount: 10, now: () => 0 });
  const audio = recording(1);
  const frames = [];
  session.addEventListener("frame", ({ detail }) => frames.push(detail));
  session.begin({ audio, avatarFrame: 4 });
  for (let round = 0; round < 20; round++) {
    session.pump(0, 24000);
    const requests = connection.take().map(v1.decodeRequest);
    assert.ok(requests.length <= 8);
    for (const { frameId, audio: window } of requests.reverse()) {
      const sample = (frameId - 4) * 960;
      assert.deepEqual(window, pcmBytes(audio.window(sample - 7680, sample + 7680)));
      connection.deliver(v1.encodeReply({ frameId, image: JPEG, bounds: BOUNDS }));
    }
  }
  assert.deepEqual(frames.map(({ index }) => index).sort((a, b) => a - b), [...Array(25).keys()]);
  assert.ok(frames.every(({ index, sample, avatarFrame }) => sample === index * 960 && avatarFrame === index + 4));
  // A second utterance uses other ids that mean the same avatar frames (the walk repeats every 18).
  session.begin({ audio, avatarFrame: 4 });
  session.pump(0, 960);
  const [again] = connection.take().map(v1.decodeRequest);
  assert.ok(again.frameId > 28 && again.frameId % 18 === 4);
});

test("request mode: what a broken connection lost is asked again, what is past is not", () => {
  const connection = new FakeConnection("json");
  let now = 0;
  const session = new RequestSession(connection, { model: "face", frameCount: 10, now: () => now });
  session.begin({ audio: recording(2), avatarFrame: 0 });
  session.pump(0, 48000);
  assert.equal(connection.take().length, 8);
  connection.opened();
  session.pump(3 * 960, 48000);
  const ids = connection.take().map((text) => JSON.parse(text).frame_id);
  assert.deepEqual(ids, [3, 4, 5, 6, 7, 8, 9, 10]);
  const problems = [];
  session.addEventListener("problem", ({ detail }) => problems.push(detail.code));
  connection.deliver(JSON.stringify({ type: "error", success: false, error: "later", code: "busy", frame_id: 4 }));
  session.pump(3 * 960, 48000);
  assert.equal(connection.take().length, 0, "a busy server is left alone for a moment");
  now = 500;
  session.pump(3 * 960, 48000);
  assert.deepEqual(connection.take().map((text) => JSON.parse(text).frame_id), [4]);
  assert.deepEqual(problems, ["busy"]);
});

test("request mode: behind slow replies it asks ahead, and for fewer frames", () => {
  const connection = new FakeConnection("binary");
  let now = 0;
  const session = new RequestSession(connection, { model: "face", frameCount: 10, now: () => now });
  session.begin({ audio: recording(20), avatarFrame: 0 });
  session.pump(0, 48000);
  now = 1000;
  for (const { frameId } of connection.take().map(v1.decodeRequest)) {
    connection.deliver(v1.encodeReply({ frameId, image: JPEG, bounds: BOUNDS }), now);
  }
  session.pump(24000, 48000);
  const ids = connection.take().map((data) => v1.decodeRequest(data).frameId);
  // About a second ahead of frame 25, and every third.
  assert.ok(ids[0] >= 50 && ids[0] <= 60, `${ids}`);
  assert.deepEqual([ids[1] - ids[0], ids[2] - ids[1]], [3, 3]);
});

test("request mode: a live frame waits for its look-ahead", () => {
  const connection = new FakeConnection("timed");
  const session = new RequestSession(connection, { model: "face", frameCount: 10, lookAheadMs: 200, now: () => 0 });
  const audio = new PcmBuffer();
  session.begin({ audio, avatarFrame: 0 });
  audio.push(new Int16Array(4799));
  session.pump(-1, Infinity);
  assert.equal(connection.take().length, 0);
  audio.push(new Int16Array(1));
  session.pump(-1, Infinity);
  assert.equal(connection.take().length, 1);
});

const OPENED = { type: "opened", stream: 1, success: true, token: "t", resumed: false, epoch: 0, look_ahead_ms: 200 };
const parsed = (messages) => messages.map((data) => (typeof data === "string" ? JSON.parse(data) : v2.decodeAudio(data)));

test("stream mode: open, start, audio, end; frames carry their place; credit is given back", () => {
  const connection = new FakeConnection("stream");
  const session = new StreamSession(connection, { model: "face", now: () => 0 });
  const frames = [];
  session.addEventListener("frame", ({ detail }) => frames.push(detail));
  assert.equal(parsed(connection.take())[0].type, "open");
  const audio = recording(1);
  session.begin({ audio, avatarFrame: 5 });
  session.pump(-1, 48000);
  assert.equal(connection.take().length, 0, "nothing before the stream is open");
  connection.deliver(JSON.stringify(OPENED));
  session.pump(-1, 48000);
  const messages = parsed(connection.take());
  assert.deepEqual(messages[0], { type: "start", stream: 1, epoch: 0, avatar_frame: 5 });
  assert.deepEqual(messages.at(-1), { type: "end", stream: 1, epoch: 0 });
  const pcm = Buffer.concat(messages.slice(1, -1).map((chunk) => chunk.pcm));
  assert.deepEqual(new Uint8Array(pcm), pcmBytes(audio.window(0, 24000)));
  for (let sequence = 0; sequence < 10; sequence++) {
    connection.deliver(v2.encodeFrame({ stream: 1, epoch: 0, sequence, avatarFrame: 5 + sequence, sample: sequence * 960, sampleRate: 24000, computeMs: 1, bounds: BOUNDS, image: JPEG }));
  }
  assert.deepEqual(frames.map(({ index, sample }) => [index, sample])[9], [9, 9 * 960]);
  assert.deepEqual(parsed(connection.take()), [{ type: "credit", stream: 1, frames: 10 }]);
});

test("stream mode: every frame's credit is given back, however short the utterances are", () => {
  const connection = new FakeConnection("stream");
  const session = new StreamSession(connection, { model: "face", now: () => 0 });
  connection.deliver(JSON.stringify(OPENED));
  connection.take();
  let given = 0;
  for (let epoch = 0; epoch < 20; epoch++) {
    session.begin({ audio: recording(0.28), avatarFrame: 0 });
    session.pump(-1, 48000);
    for (let sequence = 0; sequence < 7; sequence++) {
      connection.deliver(v2.encodeFrame({ stream: 1, epoch, sequence, avatarFrame: 0, sample: sequence * 960, sampleRate: 24000, computeMs: 1, bounds: BOUNDS, image: JPEG, last: sequence === 6 }));
    }
    for (const message of parsed(connection.take())) given += message.type === "credit" ? message.frames : 0;
  }
  assert.equal(given, 20 * 7);
});

test("stream mode: a broken stream goes on from what is heard, in a new epoch", () => {
  const connection = new FakeConnection("stream");
  const session = new StreamSession(connection, { model: "face", now: () => 0 });
  const frames = [];
  session.addEventListener("frame", ({ detail }) => frames.push(detail));
  connection.deliver(JSON.stringify(OPENED));
  session.begin({ audio: recording(4), avatarFrame: 5 });
  session.pump(0, 9600);
  connection.take();
  connection.opened();
  assert.equal(parsed(connection.take())[0].token, "t");
  connection.deliver(JSON.stringify({ ...OPENED, resumed: true, epoch: 1 }));
  session.pump(10 * 960 + 5, 9600);
  const [start, chunk] = parsed(connection.take());
  assert.deepEqual(start, { type: "start", stream: 1, epoch: 1, avatar_frame: 16 });
  assert.deepEqual([chunk.epoch, chunk.firstSample], [1, 0]);
  const frame = { stream: 1, sequence: 0, avatarFrame: 16, sample: 0, sampleRate: 24000, computeMs: 1, bounds: BOUNDS, image: JPEG };
  connection.deliver(v2.encodeFrame({ ...frame, epoch: 0 }));
  assert.equal(frames.length, 0, "frames of the old epoch are not shown");
  connection.deliver(v2.encodeFrame({ ...frame, epoch: 1 }));
  assert.deepEqual([frames[0].index, frames[0].sample], [11, 11 * 960]);
  // A server that does not know the token any more is asked for a new stream.
  connection.opened();
  connection.take();
  connection.deliver(JSON.stringify({ type: "error", success: false, stream: 1, code: "bad_token", error: "old" }));
  assert.equal("token" in parsed(connection.take())[0], false);
});

test("stream mode: a server that is still loading is asked again, and nothing is said", async () => {
  const connection = new FakeConnection("stream");
  const session = new StreamSession(connection, { model: "face", now: () => 0 });
  session.addEventListener("problem", () => assert.fail("no problem of the user's"));
  session.begin({ audio: recording(1), avatarFrame: 0 });
  connection.take();
  connection.deliver(JSON.stringify({ type: "error", success: false, stream: 1, code: "not_loaded", error: "loading" }));
  await new Promise((resolve) => setTimeout(resolve, 400));
  assert.equal(parsed(connection.take())[0].type, "open");
  connection.deliver(JSON.stringify(OPENED));
  session.pump(0, 9600);
  assert.equal(parsed(connection.take())[0].type, "start");
});

test("stream mode: a server without it is told apart from one that is busy", () => {
  const connection = new FakeConnection("stream");
  const session = new StreamSession(connection, { model: "face", now: () => 0 });
  const heard = [];
  for (const type of ["unsupported", "problem"]) session.addEventListener(type, () => heard.push(type));
  connection.deliver(JSON.stringify({ type: "busy", stream: 1, success: false, code: "busy", error: "full", capacity: 2, active: 2 }));
  connection.deliver(JSON.stringify({ type: "error", success: false, code: "unsupported", error: "no streams" }));
  assert.deepEqual(heard, ["problem", "unsupported"]);
  connection.deliver(JSON.stringify({ type: "busy", stream: 1, success: false, code: "busy", error: "slow", capacity: 0, active: 0 }));
  assert.deepEqual(heard, ["problem", "unsupported", "unsupported"]);
  session.close();
});

// --- the connection over a fake WebSocket ------------------------------------------------------

class FakeSocket {
  static made = [];
  constructor(url, offers = []) {
    Object.assign(this, { url, offers, readyState: 0, bufferedAmount: 0, protocol: "", sent: [] });
    FakeSocket.made.push(this);
  }
  send(data) {
    this.sent.push(data);
  }
  close() {
    this.closed = true;
  }
  accept(protocol, info) {
    this.protocol = protocol;
    this.readyState = 1;
    this.onopen();
    this.onmessage({ data: JSON.stringify({ type: "protocol_info", ...info }) });
  }
  refuse() {
    this.onclose({ code: 1006, reason: "" });
  }
}

function connectionFor(mode) {
  FakeSocket.made = [];
  const connection = new Connection({ url: "ws://x/ws", mode, WebSocket: FakeSocket, backoff: new Backoff({ firstMs: 1, longestMs: 1 }) });
  connection.open();
  return connection;
}

test("negotiation: stream, then binary, then JSON, by itself", () => {
  let connection = connectionFor("auto");
  Object.assign(FakeSocket.made[0], { readyState: 1 });
  assert.equal(connection.writable, false, "nothing is sent before the protocol is agreed");
  FakeSocket.made[0].accept("lipsync.v2", { binary_supported: true, subprotocols: ["lipsync.v2", "lipsync.v1"] });
  assert.equal(connection.wire, "stream");
  assert.equal(connection.writable, true);
  connection.close();
  connection = connectionFor("auto");
  FakeSocket.made[0].accept("lipsync.v1.timed", { binary_supported: true, subprotocols: ["lipsync.v1", "lipsync.v1.timed"] });
  assert.equal(connection.wire, "timed");
  connection.close();
  connection = connectionFor("auto");
  FakeSocket.made[0].accept("lipsync.v2", { binary_supported: false, subprotocols: [] });
  assert.equal(connection.wire, "json");
  connection.close();
  // Asked for what is off, while binary is on: another connection, with another offer.
  connection = connectionFor("protobuf");
  FakeSocket.made[0].accept("lipsync.protobuf", { binary_supported: true, subprotocols: ["lipsync.v1"] });
  FakeSocket.made[1].accept("lipsync.v1", { binary_supported: true, subprotocols: ["lipsync.v1"] });
  assert.equal(connection.wire, "binary");
  connection.close();
  assert.deepEqual(offersFor("json"), [[]]);
});

test("a refused offer is followed by the next at once; a lost connection comes back", async () => {
  const connection = connectionFor("auto");
  FakeSocket.made[0].refuse();
  assert.deepEqual(FakeSocket.made[1].offers, []);
  FakeSocket.made[1].accept("", { binary_supported: true, subprotocols: [] });
  assert.equal(connection.wire, "binary");
  const words = [];
  connection.addEventListener("state", ({ detail }) => words.push(detail));
  FakeSocket.made[1].onclose({ code: 1001, reason: "" });
  assert.match(words[0].text, /shutting down or restarting/);
  assert.equal(connection.writable, false);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(FakeSocket.made.length, 3);
  connection.close();
});
