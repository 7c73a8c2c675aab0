// Cases about speech: in time, over every protocol, whatever happens to the server.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { openPage, pause, SPEECH, until } from "./harness.mjs";
import {
  choose, figuresOf, loaded, mouthMoves, notice, onPage, quantile, sight, speak, state, status, TINY, untilDue, untilFrames, untilSpeaking, wire,
} from "./page.mjs";

/** Runs that a figure of time may take on a machine that others use too. */
const ATTEMPTS = 3;
/** Due frames in a second of speech. */
const RATE = 25;

/** A mouth that speaks differs so much from the idle one at some time, in levels of 256. */
const MOVES = 2;

const percent = (share) => `${(share * 100).toFixed(1)} %`;

export async function speaks(world) {
  return onPage(world, async (page) => {
    for (let attempt = 1; ; attempt++) {
      await speak(page);
      const mouths = [];
      for (let second = 1; second <= 10; second++) {
        await untilDue(page, second * RATE);
        mouths.push(await mouthMoves(page));
      }
      const { share, offsets, due } = await figuresOf(page);
      const p95 = quantile(offsets, 0.95);
      const moved = Math.max(...mouths);
      const words = `${percent(share)} of ${due} due frames shown, |A/V offset| p95 ${p95.toFixed(0)} ms, ${await wire(page)}`;
      if (moved >= MOVES && share >= world.limits.shown && p95 <= world.limits.offsetMs) return words;
      if (attempt === ATTEMPTS) throw new Error(`${words}, the mouth moves by ${moved.toFixed(1)}`);
      console.log(`     speaks, attempt ${attempt}: ${words}, the mouth moves by ${moved.toFixed(1)}; ${await sight(page)}`);
      await page.click("#speak");
      await until("silence", async () => (await state(page)) === "idle");
    }
  });
}

export const fallback = (protocols, expected) => (world) =>
  onPage(world, async (page) => {
    assert.equal(await wire(page), expected);
    await speak(page);
    await untilDue(page, 3 * RATE);
    const { share } = await figuresOf(page);
    assert.ok(share >= world.limits.share, `${percent(share)} of the due frames shown over ${expected}`);
    return `${percent(share)} of the due frames shown in 3 s`;
  }, { options: ["--protocols", protocols] });

/** Speaks through every protocol the page offers, switching while it speaks. */
export async function switches(world) {
  return onPage(world, async (page) => {
    await speak(page);
    const seen = [];
    for (const mode of ["json", "protobuf", "binary", "timed", "stream", "auto"]) {
      await choose(page, `input[name="mode"][value="${mode}"]`);
      // A machine without room for a stream answers it by requests.
      const settled = (wire) => wire === mode || (["stream", "auto"].includes(mode) && wire !== undefined);
      await until(`the switch to ${mode}`, async () => settled(await wire(page)));
      await untilFrames(page, `frames over ${mode}`);
      seen.push(await wire(page));
    }
    return seen.join(", ");
  });
}

/** The sample several times over as one recording: it lasts for as long as a slow machine needs. */
function longSpeech(folder) {
  const wav = readFileSync(SPEECH);
  const HEADER = 44; // of the sample's WAV; byte 40: the length of what follows
  const sound = Buffer.concat(Array(8).fill(wav.subarray(HEADER, HEADER + wav.readUInt32LE(40))));
  const head = Buffer.from(wav.subarray(0, HEADER));
  head.writeUInt32LE(sound.length + HEADER - 8, 4);
  head.writeUInt32LE(sound.length, 40);
  const file = path.join(folder, "long.wav");
  writeFileSync(file, Buffer.concat([head, sound]));
  return file;
}

/** What browsers themselves write about a server that is away; no page can keep them from it. */
function aboutLostServer(text, { host }) {
  const socket = `ws://${host}/ws`;
  return [
    `WebSocket connection to '${socket}' failed`, // Chromium
    `The connection to ${socket} was interrupted while the page was loading`, // Firefox
    `establish a connection to the server at ${socket}`, // Firefox
  ].some((words) => text.includes(words)) || (text.startsWith("Failed to load resource: net::ERR_CONNECTION") && text.includes(` at http://${host}/`));
}

/** The server is killed while the face speaks, and started again. */
export async function restart(world) {
  return onPage(world, async (page, server) => {
    const recording = longSpeech(world.out);
    await choose(page, 'input[name="source"][value="file"]');
    for (let attempt = 1; ; attempt++) {
      await (await page.$("#file")).uploadFile(recording);
      await untilSpeaking(page);
      await untilFrames(page, "speech before the server is killed");
      await server.stop("SIGKILL");
      await until("the page says that the server is gone", async () => /lost|reached|restarting/.test(await status(page)));
      const started = Date.now();
      await server.spawn();
      const ready = Date.now();
      const { received } = await figuresOf(page);
      await until(async () => `frames after the restart (${await sight(page)})`, async () => (await figuresOf(page)).received > received + 5);
      const took = Date.now() - ready;
      const words = `speaking again ${took} ms after the server was ready (${ready - started} ms after its start)`;
      assert.equal(await state(page), "speaking", "the sound went on");
      if (took <= world.limits.restartMs) return words;
      if (attempt === ATTEMPTS) throw new Error(words);
      await page.click("#speak");
      await until("silence", async () => (await state(page)) === "idle");
    }
  }, { expected: aboutLostServer });
}

export async function microphone(world) {
  return onPage(world, async (page, server) => {
    if (world.browserName === "chromium") await page.browserContext().overridePermissions(server.url, ["microphone"]);
    const hush = world.talk();
    await choose(page, 'input[name="source"][value="microphone"]');
    await speak(page);
    await until("a level", () => page.$eval("#level", (meter) => meter.value > 0.1));
    await untilDue(page, 6 * RATE);
    await until("the mouth moves", async () => (await mouthMoves(page)) >= MOVES);
    const { share, due } = await figuresOf(page);
    const delay = await page.evaluate(() => lipsyncPage.player.liveDelayMs);
    const devices = await page.$$eval("#device option", (options) => options.map((option) => option.textContent));
    const words = `${percent(share)} of ${due} due frames shown, picture ${delay.toFixed(0)} ms after the voice`;
    assert.ok(share >= world.limits.share, words);
    assert.ok(devices.length > 1 && devices.every(Boolean), `devices to choose from: ${devices}`);
    await page.click("#speak");
    await until("silence", async () => (await state(page)) === "idle");
    hush();
    return words;
  });
}

/** In Firefox by a preference that the case is started with. */
export async function microphoneDenied(world) {
  return onPage({ ...world, models: TINY }, async (page, server) => {
    if (world.browserName === "chromium") {
      const session = await page.createCDPSession();
      await session.send("Browser.setPermission", { permission: { name: "microphone" }, setting: "denied", origin: server.url });
    }
    await choose(page, 'input[name="source"][value="microphone"]');
    await page.click("#speak");
    const words = await until("words about the microphone", () => notice(page));
    assert.match(words, /refused/);
    assert.equal(await state(page), "idle");
    return words;
  });
}

export async function twoTabs(world) {
  return onPage({ ...world, models: TINY }, async (first, server) => {
    const other = await openPage(world.browser, server.url);
    await loaded(other.page);
    await speak(first);
    await speak(other.page);
    const shares = [];
    for (const page of [first, other.page]) {
      await untilDue(page, 4 * RATE);
      shares.push((await figuresOf(page)).share);
    }
    assert.ok(Math.min(...shares) >= world.limits.share, `shown: ${shares.map(percent)}`);
    assert.deepEqual(other.complaints, []);
    await other.close();
    return shares.map(percent).join(" and ");
  });
}

export async function secondFace(world) {
  return onPage({ ...world, models: TINY }, async (page) => {
    await choose(page, "#second");
    await until("the second face", () => page.evaluate(() => document.querySelector("#figure-2.loaded") !== null));
    await speak(page);
    await untilDue(page, 3 * RATE);
    const { shares } = await figuresOf(page);
    assert.ok(shares.length === 2 && Math.min(...shares) >= world.limits.share, `shown: ${shares.map(percent)}`);
    await choose(page, "#second");
    assert.equal(await page.evaluate(() => lipsyncPage.player.faces.size), 1);
    return `${shares.map(percent).join(" and ")} of the due frames shown in 3 s`;
  });
}

/** Away from the page everything stands still; back on it, it goes on. */
export async function hiding(world) {
  return onPage({ ...world, models: TINY }, async (page) => {
    await speak(page);
    await untilFrames(page, "speech before the page is hidden");
    const front = await page.browserContext().newPage();
    await front.bringToFront();
    if (!(await page.evaluate(() => document.hidden))) {
      // Headless browsers may show every tab: then the page is told so.
      await page.evaluate(() => {
        Object.defineProperty(document, "hidden", { value: true, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      });
    }
    const place = () => page.evaluate(() => `${lipsyncPage.faces.get(1).meter.counts.received} ${lipsyncPage.player.context.currentTime}`);
    await until(async () => `frames and sound stand still: ${await place()}`, async () => {
      const before = await place();
      await pause(1000);
      return (await place()) === before;
    });
    assert.equal(await state(page), "speaking", "it only stands still");
    await page.evaluate(() => delete document.hidden);
    await front.close();
    await page.bringToFront();
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await untilFrames(page, "speech goes on");
  });
}
