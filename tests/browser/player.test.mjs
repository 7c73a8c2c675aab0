// The client library's player, its addresses and what it says of a server that refuses, in Node, over fakes.
//
//   node --test tests/browser/player.test.mjs

import assert from "node:assert/strict";
import { test } from "node:test";

// What a browser has and Node has not.
globalThis.CustomEvent ??= class extends Event {
  constructor(type, { detail } = {}) {
    super(type);
    this.detail = detail;
  }
};
globalThis.requestAnimationFrame = () => 0;
globalThis.cancelAnimationFrame = () => undefined;
class FakeSource {
  connect() {}
  disconnect() {}
  start() {
    FakeSource.heard.push(this.buffer?.name);
  }
  stop() {}
}
globalThis.OfflineAudioContext = class {
  createBufferSource() {
    return new FakeSourceOfConversion();
  }
  async startRendering() {
    return { getChannelData: () => new Float32Array(24000) };
  }
};
class FakeSourceOfConversion extends FakeSource {
  start() {}
}
const context = () => ({
  state: "running", currentTime: 0, sampleRate: 48000, baseLatency: 0, destination: {},
  createGain: () => ({ connect() {} }),
  createBufferSource: () => new FakeSource(),
});

const { Player } = await import("../../static/lipsync/player.js");
const { fetchJson, HOME, serverAddress, whyRefused } = await import("../../static/lipsync/server.js");
const { readSound } = await import("../../static/page/sounds.js");

const later = (value, ms) => new Promise((resolve) => setTimeout(resolve, ms, value));
const sound = (name) => ({ name, duration: 1 });

function player() {
  FakeSource.heard = [];
  const made = new Player({ context: context() });
  made.states = [];
  made.addEventListener("change", ({ detail }) => made.states.push(detail.state));
  return made;
}

/** Lets the newest sound come to its end. */
async function end(player) {
  assert.equal(player.state, "speaking");
  player.context.currentTime = player.startAt + 2;
  player.clock.reset();
  player.step();
}

test("stop wins over whatever was asked for before it, in the same task too", async () => {
  const one = player();
  const started = [one.speak(sound("a")), one.speak(later(sound("b"), 5))];
  assert.equal(one.state, "preparing");
  one.stop();
  assert.equal(one.state, "idle");
  assert.deepEqual(await Promise.all(started), [false, false]);
  await later(null, 20);
  assert.deepEqual([FakeSource.heard, one.states], [[], ["preparing", "idle"]]);
  // What comes after it is heard.
  assert.equal(await one.speak(sound("c")), true);
  assert.deepEqual(FakeSource.heard, ["c"]);
  one.stop();
});

test("sentences are spoken one after the other, in the order asked for, however long each is decoded", async () => {
  const one = player();
  const first = one.speak(later(sound("first"), 30));
  const second = one.speak(sound("second"));
  assert.equal(await first, true);
  await later(null, 20);
  assert.deepEqual(FakeSource.heard, ["first"], "the second waits for the end of the first");
  await end(one);
  assert.equal(await second, true);
  assert.deepEqual(FakeSource.heard, ["first", "second"]);
  await end(one);
  assert.deepEqual(one.states, ["preparing", "speaking", "preparing", "speaking", "idle"]);
});

test("a sound that cannot be decoded is told, and does not hold up the next one", async () => {
  const one = player();
  const bad = one.speak(later(null, 5).then(() => Promise.reject(new Error("no sound"))));
  const good = one.speak(sound("good"));
  await assert.rejects(bad, /no sound/);
  assert.equal(await good, true);
  assert.deepEqual(FakeSource.heard, ["good"]);
  one.stop();
  assert.equal(one.state, "idle");
});

test("the server is where the library came from, and a folder with or without its last slash", () => {
  assert.equal(HOME, new URL("../../static/", import.meta.url).href);
  assert.equal(serverAddress().href, HOME);
  assert.equal(serverAddress("https://x.example/avatar").href, "https://x.example/avatar/");
  assert.equal(serverAddress("https://x.example/avatar/?a#b").href, "https://x.example/avatar/");
  assert.equal(serverAddress(new URL("https://x.example")).href, "https://x.example/");
  globalThis.location = { href: "https://shop.example/page.html", origin: "https://shop.example" };
  assert.equal(serverAddress("/avatar").href, "https://shop.example/avatar/");
  delete globalThis.location;
});

const answer = (status, text = "", type = "text/plain") => async () => new Response(text, { status, headers: { "content-type": type } });
const absent = async () => {
  throw new TypeError("Failed to fetch");
};

test("a handshake that is refused is told apart from a server that is away", async () => {
  globalThis.location = { href: "https://shop.example/", origin: "https://shop.example" };
  const own = "wss://shop.example/avatar/ws";
  const other = "ws://localhost:8765/ws";
  assert.equal(await whyRefused(own, absent), "the server cannot be reached");
  assert.equal(await whyRefused(other, absent), "the server cannot be reached");
  const hidden = async (_, { mode }) => (mode === "no-cors" ? {} : absent());
  for (const url of [own, other]) assert.match(await whyRefused(url, answer(426)), /proxy.*Upgrade, Connection and Host/);
  for (const fetch of [hidden, answer(426), answer(403, "not you")]) {
    assert.match(await whyRefused(other, fetch), /--allow-origin https:\/\/shop\.example/);
  }
  assert.match(await whyRefused(own, answer(404, "nothing here")), /no lipsyncd at https:\/\/shop\.example\/avatar\/ws .*nothing here.*path taken off/);
  assert.match(await whyRefused(own, answer(404, "<h1>nginx</h1>", "text/html")), /HTTP 404\)/);
  assert.match(await whyRefused(own, answer(502)), /proxy does not reach the server/);
  assert.match(await whyRefused(own, answer(503, "full")), /no more connections.*full/);
  delete globalThis.location;
});

test("what is no JSON of lipsyncd's is told in words", async () => {
  const asked = globalThis.fetch;
  const rejects = async (fetch, words) => {
    globalThis.fetch = fetch;
    await assert.rejects(fetchJson(new URL("http://x/models")), words);
  };
  await rejects(absent, /cannot be reached/);
  await rejects(answer(200, "<html>", "text/html"), /no lipsyncd at http:\/\/x\/models/);
  await rejects(answer(404, '{"error":"no such package"}', "application/json"), /^Error: no such package$/);
  await rejects(answer(503, "starting"), /away or not ready \(HTTP 503: starting\)/);
  globalThis.fetch = answer(200, '{"models":[]}', "application/json");
  assert.deepEqual(await fetchJson(new URL("http://x/models")), { models: [] });
  globalThis.fetch = asked;
});

test("a sound is taken in many forms, and what is none is told what would be", async () => {
  globalThis.AudioBuffer = class {
    constructor(options) {
      Object.assign(this, options);
    }
    copyToChannel(samples) {
      this.samples = samples;
    }
  };
  const bytes = Uint8Array.of(82, 73, 70, 70);
  const decode = async (file) => new Uint8Array(file);
  for (const value of [bytes, bytes.buffer, new Blob([bytes]), new DataView(bytes.buffer), "UklGRg==", "UklGRg", "data:audio/wav;base64,UklGRg=="]) {
    assert.deepEqual(await readSound(value, undefined, decode), bytes);
  }
  assert.deepEqual(await readSound(bytes.subarray(1, 3), undefined, decode), bytes.slice(1, 3));
  const pcm = Int16Array.of(16384, -32768);
  for (const value of [Float32Array.of(0.5, -1), pcm, pcm.buffer, new Uint8Array(pcm.buffer), new Blob([pcm])]) {
    const { samples, sampleRate, length } = await readSound(value, 16000, decode);
    assert.deepEqual([[...samples], sampleRate, length], [[0.5, -1], 16000, 2]);
  }
  const refused = { "speech.wav": /address is not fetched/, "https://x/speech.wav": /address is not fetched/, "": /empty/ };
  for (const [text, words] of Object.entries(refused)) await assert.rejects(readSound(text, undefined, decode), words);
  for (const value of [new Float32Array(3), pcm]) await assert.rejects(readSound(value, undefined, decode), /sampleRate/);
  for (const value of [[1, 2], {}, null, undefined, 7, new Map()]) await assert.rejects(readSound(value, undefined, decode), /no sound.*ArrayBuffer/);
  for (const rate of [0, "24000", NaN, 1e9]) await assert.rejects(readSound(pcm, rate, decode), /sampleRate is/);
  await assert.rejects(readSound(new ArrayBuffer(0), undefined, decode), /empty/);
  const undecodable = () => Promise.reject(new Error("This browser cannot decode it."));
  await assert.rejects(readSound(pcm.buffer, undefined, undecodable), /cannot decode it.*sampleRate: 24000/);
});
