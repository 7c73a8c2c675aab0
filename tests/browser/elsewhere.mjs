// Cases about the face away from its own page: framed by another one, under a proxy's path, refused.

import assert from "node:assert/strict";
import { openPage, pause, proxy, Server, site, until } from "./harness.mjs";
import { loaded, onPage, speak, state, status, TINY } from "./page.mjs";

/** A page that frames the face, says things to it and keeps what it hears; `wav(s)` makes a recording. */
const framing = (server) => `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><button id="any">x</button>
<iframe id="face" src="${server.url}/embed.html" allow="autoplay; microphone" width="480" height="480"></iframe>
<script>
globalThis.heard = [];
addEventListener("message", ({ data }) => heard.push(data));
globalThis.say = (message) => face.contentWindow.postMessage(message, "*");
globalThis.samples = (seconds) => Int16Array.from({ length: seconds * 24000 }, (_, at) => 8000 * Math.sin(at / 20) * (Math.sin(at / 4000) > 0));
globalThis.wav = (seconds) => {
  const pcm = samples(seconds), head = new DataView(new ArrayBuffer(44));
  for (const [at, word] of [[0, "RIFF"], [8, "WAVEfmt "], [36, "data"]]) [...word].forEach((letter, i) => head.setUint8(at + i, letter.charCodeAt(0)));
  for (const [at, value] of [[4, 36 + 2 * pcm.length], [16, 16], [20, 0x10001], [24, 24000], [28, 48000], [32, 0x100002], [40, 2 * pcm.length]]) head.setUint32(at, value, true);
  const bytes = new Uint8Array(44 + 2 * pcm.length);
  bytes.set(new Uint8Array(head.buffer)); bytes.set(new Uint8Array(pcm.buffer), 44);
  return bytes.buffer;
};
</script>`;

/** Runs `body` with a page of another origin that frames the face. */
async function framed({ browser, command }, body) {
  const server = await Server.start(command, ["--models", TINY]);
  const shop = await site(framing(server));
  try {
    const { page, close } = await openPage(browser, shop.url);
    const heard = () => page.evaluate(() => heard.map(({ lipsyncd }) => lipsyncd));
    await until("the face is ready", async () => (await heard()).includes("ready"));
    await page.evaluate(() => say({ speak: wav(0.5) }));
    await untilSpoken(page, heard);
    const figures = await body(page, heard);
    await close();
    return figures;
  } finally {
    shop.close();
    await server.stop();
  }
}

/** Waits for the end of the first speech; a browser that wants a press before it makes a sound gets one. */
async function untilSpoken(page, heard) {
  const frame = page.frames().find((candidate) => candidate.url().endsWith("/embed.html"));
  await until("the first speech", async () => {
    const isAsked = await frame.$eval("#start", (button) => !button.hidden).catch(() => false);
    if (isAsked) await frame.click("#start").catch(() => undefined);
    const said = await heard();
    return said.includes("speaking") && said.at(-1) === "idle";
  }, 60_000);
}

/** What the frame says from now on, once it has been quiet for a while. */
async function after(page, heard, act) {
  await page.evaluate(() => (heard.length = 0));
  await page.evaluate(act);
  let before;
  await until("quiet", async () => {
    const now = (await heard()).join();
    if (now === before && !/(preparing|speaking)$/.test(now)) return true;
    before = now;
    await pause(1500);
    return false;
  }, 60_000);
  return heard();
}

export function bargeIn(world) {
  return framed(world, async (page, heard) => {
    const scenes = {
      "speak, stop at once": () => { say({ speak: wav(3) }); say({ stop: true }); },
      "a long sound, stopped while it is decoded": async () => { say({ speak: wav(300) }); await new Promise((r) => setTimeout(r, 100)); say({ stop: true }); },
      "speak, speak, stop": () => { say({ speak: wav(3) }); say({ speak: wav(1) }); say({ stop: true }); },
      "listen, stop": () => { say({ listen: true }); say({ stop: true }); },
    };
    for (const [name, act] of Object.entries(scenes)) {
      const said = await after(page, heard, act);
      assert.ok(!said.includes("speaking"), `${name}: ${said}`);
      assert.ok(["idle", undefined].includes(said.at(-1)), `${name}: ${said}`);
    }
    const speaks = ["preparing", "speaking"];
    // The first is decoded for longer than the second.
    assert.deepEqual(await after(page, heard, () => { say({ speak: wav(4) }); say({ speak: wav(1) }); }), [...speaks, ...speaks, "idle"]);
    const other = await after(page, heard, () => { say({ speak: wav(300) }); say({ stop: true, speak: wav(1) }); });
    assert.deepEqual(other.slice(-3), [...speaks, "idle"]);
    // What is said while the face is being loaded waits for it.
    await page.evaluate(() => {
      heard.length = 0;
      face.onload = () => say({ speak: wav(1) });
      face.src += "";
    });
    await untilSpoken(page, heard);
    return "nothing after a stop, two sentences in a row";
  });
}

export function misunderstood(world) {
  return framed(world, async (page, heard) => {
    const taken = {
      "a typed array": () => say({ speak: new Uint8Array(wav(0.5)) }),
      "a Blob": () => say({ speak: new Blob([wav(0.5)]) }),
      base64: () => say({ speak: btoa(String.fromCharCode(...new Uint8Array(wav(0.5)))) }),
      "PCM16 without a header": () => say({ speak: samples(0.5), sampleRate: 24000 }),
      floats: () => say({ speak: Float32Array.from(samples(0.5), (value) => value / 32768), sampleRate: 24000 }),
    };
    for (const [name, act] of Object.entries(taken)) assert.deepEqual(await after(page, heard, act), ["preparing", "speaking", "idle"], name);
    const refused = {
      "floats without a rate": [() => say({ speak: new Float32Array(24000) }), /sampleRate/],
      "an address": [() => say({ speak: "speech.wav" }), /address is not fetched.*arrayBuffer/],
      "the text of a message": [() => say(JSON.stringify({ stop: true })), /object itself.*\{stop: true\}/],
      misspelt: [() => say({ Speak: new ArrayBuffer(44) }), /Not understood: Speak.*\{speak: sound\}/],
      "a key more": [() => say({ speak: new ArrayBuffer(44), rate: 8000 }), /Not understood: rate/],
      "no sound": [() => say({ speak: new ArrayBuffer(44) }), /cannot decode.*sampleRate/],
      "an object": [() => say({ speak: { pcm: 1 } }), /no sound.*ArrayBuffer/],
      nothing: [() => say({}), /empty/],
      null: [() => say(null), /object itself/],
      "stop: false": [() => say({ stop: false }), /true only/],
    };
    for (const [name, [act, words]] of Object.entries(refused)) {
      await page.evaluate(() => (heard.length = 0));
      await page.evaluate(act);
      const error = await until(`words about ${name}`, () => page.evaluate(() => heard.find(({ lipsyncd }) => lipsyncd === "error")?.message));
      assert.match(error, words, name);
    }
    return `${Object.keys(taken).length} kinds of sound taken, ${Object.keys(refused).length} messages answered with words`;
  });
}

/** The page, the snippet, embed.html and the library behind a proxy that shows the server under a path. */
export async function underPath({ browser, command }) {
  const server = await Server.start(command, ["--models", TINY]);
  const shop = await proxy(server);
  try {
    const { page, complaints, close } = await openPage(browser, `${shop.url}/avatar`);
    await loaded(page);
    await speak(page);
    const snippet = await page.$eval("#snippet", ({ textContent }) => textContent);
    assert.ok(snippet.includes(`src="${shop.url}/avatar/embed.html"`), snippet.slice(0, 100));
    assert.deepEqual(complaints, [], "the console must stay quiet");
    await page.goto(`${shop.url}/avatar/embed.html`);
    await until("the face", () => page.$eval("#face", (canvas) => canvas.width !== 720));
    const found = await page.evaluate(async () => {
      const { listModels, Face } = await import("/avatar/lipsync.js");
      const found = [];
      for (const server of [undefined, "/avatar/", "/avatar", `${location.origin}/avatar`, new URL("./", location.href)]) {
        const face = new Face({ canvas: document.createElement("canvas"), model: "tiny", server });
        found.push([(await listModels(server)).length, face.connection.url, face.server.href]);
        face.close();
      }
      return found;
    });
    for (const [count, socket, base] of found) {
      assert.ok(count > 0);
      assert.equal(socket, `${shop.url.replace("http", "ws")}/avatar/ws`);
      assert.equal(base, `${shop.url}/avatar/`);
    }
    await close();
    return `page, snippet, embed.html and library under ${new URL(found[0][2]).pathname}`;
  } finally {
    shop.close();
    await server.stop();
  }
}

/** Opens a connection from the page with the library at `library`; the words for why there is none. */
const reasonFor = (page, library, url) => page.evaluate(async (library, url) => {
  const { Connection } = await import(library);
  const connection = new Connection({ url });
  return new Promise((resolve) => {
    connection.addEventListener("state", ({ detail: { state, text } }) => {
      if (!["waiting", "open"].includes(state)) return;
      connection.close();
      resolve(text);
    });
    connection.open();
  });
}, library, url);

/** A proxy that loses the upgrade, a wrong path, a page that is not let in, a server that is gone: in words of its own each. */
export async function refused({ browser, command }) {
  // Listening beyond loopback, or any page of this machine would be let in.
  const server = await Server.start(command, ["--models", TINY, "--host", "0.0.0.0", "--allow-origin", "https://elsewhere.example"]);
  const front = await proxy(server, { upgrades: false });
  const stranger = await site("<!doctype html><link rel='icon' href='data:,'>");
  const words = [];
  try {
    const { page, close } = await openPage(browser, `${front.url}/avatar/`);
    words.push(await until(async () => `words about the proxy: ${await status(page)}`, async () => /Upgrade.*/.exec(await status(page))?.input));
    assert.match(words[0], /server answers.*proxy.*Upgrade, Connection and Host/);
    const socket = front.url.replace("http", "ws");
    for (const path of ["avatar/wss", "elsewhere/ws"]) {
      words.push(await reasonFor(page, "/avatar/lipsync.js", `${socket}/${path}`));
      assert.match(words.at(-1), /no lipsyncd at http.*HTTP 404.*path taken off/);
    }
    await page.goto(stranger.url);
    words.push(await reasonFor(page, "/lipsync.js", `ws://${server.host}/ws`));
    assert.ok(words.at(-1).includes(`--allow-origin ${stranger.url}`), words.at(-1));
    await page.goto(`${front.url}/avatar/`);
    await server.stop();
    words.push(await reasonFor(page, "/avatar/lipsync.js", `ws://${server.host}/ws`));
    assert.match(words.at(-1), /cannot be reached/);
    await close();
    return words.join(" | ");
  } finally {
    front.close();
    stranger.close();
    await server.stop();
  }
}

/** player.speak() and player.stop() in one task, and soon after: nothing is spoken. */
export function stopBeforeStart(world) {
  return onPage({ ...world, models: TINY }, async (page) => {
    await speak(page);
    await page.keyboard.press("Escape");
    await until("silence", async () => (await state(page)) === "idle");
    const states = await page.evaluate(async () => {
      const { player } = lipsyncPage;
      const sound = await player.decode(await (await fetch("samples/english.wav")).arrayBuffer());
      const states = [];
      const note = ({ detail }) => states.push(detail.state);
      player.addEventListener("change", note);
      for (const wait of [undefined, 0, 1, 20]) {
        const started = player.speak(sound);
        if (wait !== undefined) await new Promise((resolve) => setTimeout(resolve, wait));
        if (player.state === "preparing") {
          player.stop();
          states.push(await started);
        }
        player.stop();
      }
      await new Promise((resolve) => setTimeout(resolve, 1500));
      player.removeEventListener("change", note);
      return states;
    });
    assert.deepEqual(states.slice(0, 3), ["preparing", "idle", false]);
    assert.equal(await state(page), "idle");
    return states.join(" ");
  });
}
