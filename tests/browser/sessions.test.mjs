// The client library's sessions and its connection, in Node, over fakes.
//
//   node --test tests/browser/sessions.test.mjs

import assert from "node:assert/strict";
import { test } from "node:test";

import { Connection, offersFor } from "../../static/lipsync/connection.js";
import * as json from "../../static/lipsync/json.js";
import { PcmBuffer, pcmBytes } from "../../static/lipsync/pcm.js";
import { RequestSession } from "../../static/lipsync/request-session.js";
import { StreamSession } from "../../static/lipsync/stream-session.js";
import { Backoff } from "../../static/lipsync/timing.js";
import * as v1 from "../../static/lipsync/v1.js";
import * as v2 from "../../static/lipsync/v2.js";

// Node 18 has none.
globalThis.CustomEvent ??= class extends Event {
  constructor(type, { detail } = {}) {
    super(type);
    this.detail = detail;
  }
};

const JPEG = new Uint8Array([0xff, 0xd8, 0xff, 0xd9]);
const BOUNDS = [1.5, 2, 3.25, 4];

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
