// What the page must do, one case each. A case gets {browser, browserName, command, models, limits, out} and
// returns its figures in words, or throws.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { openPage, pause, ROOT, Server, until } from "./harness.mjs";

/** Packages that cost next to nothing: for what shows several faces, which a small machine refuses. */
const TINY = path.join(ROOT, "tests/data/packages");
const axeSource = () => readFileSync(path.join(ROOT, "tests/browser/node_modules/axe-core/axe.min.js"), "utf8");
/** Runs that a figure of time may take on a machine that others use too. */
const ATTEMPTS = 3;

const state = (page) => page.evaluate(() => lipsyncPage.player.state);
const wire = (page) => page.evaluate(() => lipsyncPage.faces.get(1)?.connection.wire);
const status = (page) => page.$eval("#status-text", (element) => element.textContent);
const notice = (page) => page.$eval("#notice", (element) => (element.hidden ? "" : element.textContent));
const figuresOf = (page) =>
  page.evaluate(() => {
    const { meter } = lipsyncPage.faces.get(1);
    return { ...meter.counts, share: meter.shownShare, offsets: [...meter.series.offsetMs], computeMs: meter.quantile("computeMs", 0.5) };
  });

async function loaded(page) {
  await until("a face on the page", () => page.evaluate(() => document.querySelector("#figure-1.loaded") !== null));
  await until("a connection", async () => (await wire(page)) !== undefined);
}

async function speak(page) {
  await page.click("#speak");
  await until("speech", async () => (await state(page)) === "speaking", 30_000).catch(async (error) => {
    throw new Error(`${error.message}; the page says: ${await notice(page)} / ${await status(page)}`);
  });
}

/** Runs `body` with a server and one page on it. Complaints of the page are a failure. */
async function onPage({ browser, command, models }, body, { options = [], viewport, expected = () => false } = {}) {
  const server = await Server.start(command, ["--models", models, ...options]);
  try {
    const opened = await openPage(browser, server.url, viewport);
    await loaded(opened.page);
    const figures = await body(opened.page, server);
    const unexpected = opened.complaints.filter((text) => !expected(text));
    assert.deepEqual(unexpected, [], "the console must stay quiet");
    await opened.close();
    return figures;
  } finally {
    await server.stop();
  }
}

function quantile(values, share) {
  const sorted = values.map(Math.abs).sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

/** A fingerprint of the middle of the mouth, as drawn. */
const mouthPixels = (page) =>
  page.evaluate(() => {
    const canvas = document.getElementById("face-1");
    const { shownBounds } = lipsyncPage.faces.get(1);
    const [x1, y1, x2, y2] = shownBounds ?? [0, 0, canvas.width, canvas.height];
    const small = new OffscreenCanvas(24, 24).getContext("2d");
    small.drawImage(canvas, x1, y1, x2 - x1, y2 - y1, 0, 0, 24, 24);
    return [...small.getImageData(0, 0, 24, 24).data];
  });

function difference(a, b) {
  return a.reduce((sum, value, at) => sum + Math.abs(value - b[at]), 0) / a.length;
}

async function speaks(world) {
  return onPage(world, async (page) => {
    let words;
    for (let attempt = 1; ; attempt++) {
      await speak(page);
      const mouths = [];
      for (let second = 0; second < 10; second++) {
        await pause(1000);
        mouths.push(await mouthPixels(page));
      }
      const { share, offsets, due } = await figuresOf(page);
      const p95 = quantile(offsets, 0.95);
      words = `${(share * 100).toFixed(1)} % of ${due} due frames shown, |A/V offset| p95 ${p95.toFixed(0)} ms, ${await wire(page)}`;
      assert.ok(due > 200, `${due} frames became due in 10 s`);
      const moved = mouths.slice(1).map((mouth, at) => difference(mouth, mouths[at]));
      assert.ok(Math.max(...moved) > 1, `the mouth does not move: ${moved.map((value) => value.toFixed(2))}`);
      if (share >= world.limits.shown && p95 <= world.limits.offsetMs) return words;
      if (attempt === ATTEMPTS) throw new Error(words);
      console.log(`     speaks, attempt ${attempt}: ${words}`);
      await page.click("#speak");
      await pause(1500);
    }
  });
}

const fallback = (protocols, expected) => (world) =>
  onPage(world, async (page) => {
    assert.equal(await wire(page), expected);
    await speak(page);
    await pause(3000);
    const { shown, received } = await figuresOf(page);
    assert.ok(Math.min(shown, received) > 40 * world.limits.liveShown, `${shown} shown, ${received} received over ${expected}`);
    return `${shown} frames shown in 3 s`;
  }, { options: ["--protocols", protocols] });

/** Speaks through every protocol the page offers, switching while it speaks. */
async function switches(world) {
  return onPage(world, async (page) => {
    await speak(page);
    const seen = [];
    for (const mode of ["json", "protobuf", "binary", "timed", "stream", "auto"]) {
      await page.evaluate((mode) => document.querySelector(`input[name="mode"][value="${mode}"]`).click(), mode);
      // A machine without room for a stream answers it by requests.
      const settled = (wire) => wire === mode || (["stream", "auto"].includes(mode) && wire !== undefined);
      await until(`the switch to ${mode}`, async () => settled(await wire(page)));
      const before = (await figuresOf(page)).received;
      await until(`frames over ${mode}`, async () => {
        if ((await state(page)) === "idle") await speak(page);
        return (await figuresOf(page)).received > before + 5;
      });
      seen.push(await wire(page));
    }
    return seen.join(", ");
  });
}

/** The server is killed while the face speaks, and started again. */
async function restart(world) {
  return onPage(world, async (page, server) => {
    let words;
    for (let attempt = 1; ; attempt++) {
      await speak(page);
      await pause(1500);
      await server.stop("SIGKILL");
      await until("the page says that the server is gone", async () => /lost|reached|restarting/.test(await status(page)));
      const spawned = server.spawn();
      const started = Date.now();
      const received = (await figuresOf(page)).received;
      await spawned;
      const ready = Date.now();
      await until("frames after the restart", async () => (await figuresOf(page)).received > received + 5, 12_000);
      words = `speaking again ${Date.now() - ready} ms after the server was ready (${ready - started} ms after its start)`;
      if (Date.now() - ready <= world.limits.restartMs) return words;
      if (attempt === ATTEMPTS) throw new Error(words);
      await page.click("#speak");
    }
  }, { expected: (text) => /WebSocket|ERR_CONNECTION_REFUSED|Failed to load resource/.test(text) });
}

async function chooseMicrophone(page) {
  await page.evaluate(() => document.querySelector('input[name="source"][value="microphone"]').click());
}

async function microphoneDenied(world) {
  return onPage(world, async (page, server) => {
    const session = await page.createCDPSession();
    await session.send("Browser.setPermission", { permission: { name: "microphone" }, setting: "denied", origin: server.url });
    await chooseMicrophone(page);
    await page.click("#speak");
    const words = await until("words about the microphone", () => notice(page));
    assert.match(words, /refused/);
    assert.equal(await state(page), "idle");
    return words;
  });
}

async function microphone(world) {
  return onPage(world, async (page, server) => {
    if (world.browserName === "chromium") await page.browserContext().overridePermissions(server.url, ["microphone"]);
    await chooseMicrophone(page);
    await speak(page);
    await until("a level", () => page.$eval("#level", (meter) => meter.value > 0), 10_000);
    await pause(6000);
    const { share, due } = await figuresOf(page);
    const delay = await page.evaluate(() => lipsyncPage.player.liveDelayMs);
    const words = `${(share * 100).toFixed(1)} % of ${due} due frames shown, picture ${delay.toFixed(0)} ms after the voice`;
    assert.ok(due > 60 && share >= world.limits.liveShown, words);
    await page.click("#speak");
    assert.equal(await state(page), "idle");
    return words;
  });
}

async function twoTabs(world) {
  return onPage({ ...world, models: TINY }, async (first, server) => {
    const other = await openPage(world.browser, server.url);
    await loaded(other.page);
    await speak(first);
    await speak(other.page);
    await pause(4000);
    const shares = [];
    for (const page of [first, other.page]) {
      const { share, due } = await figuresOf(page);
      assert.ok(due > 40, `${due} frames became due`);
      shares.push(share);
    }
    assert.ok(Math.min(...shares) >= world.limits.liveShown, `shown: ${shares}`);
    assert.deepEqual(other.complaints, []);
    await other.close();
    return shares.map((share) => `${(share * 100).toFixed(1)} %`).join(" and ");
  });
}

async function secondFace(world) {
  return onPage({ ...world, models: TINY }, async (page) => {
    await page.evaluate(() => document.getElementById("second").click());
    await until("the second face", () => page.evaluate(() => document.querySelector("#figure-2.loaded") !== null));
    await speak(page);
    await pause(3000);
    const shown = await page.evaluate(() => [...lipsyncPage.player.faces].map((face) => face.meter.counts.shown));
    assert.ok(shown.length === 2 && Math.min(...shown) > 60 * world.limits.liveShown, `shown: ${shown}`);
    await page.evaluate(() => document.getElementById("second").click());
    assert.equal(await page.evaluate(() => lipsyncPage.player.faces.size), 1);
    return `${shown.join(" and ")} frames shown in 3 s`;
  });
}

async function ownFile(world) {
  return onPage(world, async (page) => {
    await page.evaluate(() => document.querySelector('input[name="source"][value="file"]').click());
    const input = await page.$("#file");
    await input.uploadFile(path.join(ROOT, "static/samples/second.wav"));
    await until("speech from a file", async () => (await state(page)) === "speaking", 30_000);
    await page.keyboard.press("Escape");
    assert.equal(await state(page), "idle");
    await input.uploadFile(path.join(ROOT, "tests/browser/package.json"));
    return until("words about a file without sound", async () => /cannot decode/.test(await notice(page)) && (await notice(page)));
  }, { expected: (text) => /decode/i.test(text) });
}

async function comparison(world) {
  return onPage(world, async (page) => {
    await page.click("#compare");
    await until("the measurement", () => page.$eval("#compare-note", (note) => /Twelve|Could not/.test(note.textContent)), 60_000);
    assert.match(await page.$eval("#compare-note", (note) => note.textContent), /Twelve/);
    const rows = await page.$$eval("#compare-rows tr", (rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
    const bytes = Object.fromEntries(rows.map(([name, size]) => [name, Number(size.replaceAll(",", ""))]));
    assert.ok(bytes.Binary <= 0.8 * bytes.JSON, `binary ${bytes.Binary} bytes, JSON ${bytes.JSON}`);
    assert.match(rows[1][3], /faster/);
    return rows.map((row) => row.join(" | ")).join("; ");
  });
}

async function debugging(world) {
  return onPage(world, async (page) => {
    await speak(page);
    await page.evaluate(() => document.getElementById("messages-title").scrollIntoView());
    await until("messages", () => page.$$eval("#log button", (rows) => rows.length > 10));
    // Looked for and clicked in one go: the list moves on.
    const clickFrame = () => {
      const row = [...document.querySelectorAll("#log button")].find((row) => /frame/.test(row.textContent));
      row?.click();
      return row !== undefined;
    };
    await until("a frame among the messages", () => page.evaluate(clickFrame));
    const detail = await page.$eval("#detail", (element) => element.textContent);
    for (const word of ["image", "x1", "JPEG", "000000"]) assert.ok(detail.includes(word), `${word} in ${detail.slice(0, 300)}`);
    const lines = await page.evaluate(() => lipsyncPage.messages.recorder.export().trim().split("\n"));
    for (const line of lines) assert.ok(JSON.parse(line).direction);
    return `${lines.length} messages in the recording`;
  });
}

/** Away from the page everything stands still; back on it, it goes on. */
async function hiding(world) {
  return onPage(world, async (page) => {
    await speak(page);
    await pause(800);
    const front = await page.browserContext().newPage();
    await front.bringToFront();
    if (!(await page.evaluate(() => document.hidden))) {
      // Headless browsers may show every tab: then the page is told so.
      await page.evaluate(() => {
        Object.defineProperty(document, "hidden", { value: true, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      });
    }
    await pause(700);
    const before = await figuresOf(page);
    await pause(1000);
    assert.ok((await figuresOf(page)).received - before.received <= 2, "frames came although nobody looks");
    await page.evaluate(() => delete document.hidden);
    await front.close();
    await page.bringToFront();
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await until("speech goes on", async () => (await figuresOf(page)).received > before.received + 5);
  });
}

async function embedding(world) {
  return onPage({ ...world, models: TINY }, async (page, server) => {
    await page.goto(`${server.url}/healthz`);
    await page.evaluate(() => {
      const frame = document.createElement("iframe");
      Object.assign(frame, { src: "/embed.html", allow: "autoplay; microphone", width: 480, height: 480 });
      globalThis.heard = [];
      addEventListener("message", ({ data }) => heard.push(data.lipsyncd));
      document.body.replaceChildren(frame);
    });
    await until("the face is ready", () => page.evaluate(() => heard.includes("ready")));
    const frame = page.frames().find((candidate) => candidate.url().endsWith("/embed.html"));
    await page.evaluate(async () => {
      const sound = await (await fetch("/samples/english.wav")).arrayBuffer();
      document.querySelector("iframe").contentWindow.postMessage({ speak: sound }, "*");
    });
    // A browser that wants a press first gets one.
    await until("speech, or a request for a press", async () => {
      const asked = await frame.$eval("#start", (button) => !button.hidden);
      if (asked) await frame.click("#start");
      return page.evaluate(() => heard.includes("speaking"));
    });
  }, { expected: (text) => /404/.test(text) }); // Chromium asks a page without one for /favicon.ico
}

async function accessible(world) {
  return onPage(world, async (page, server) => {
    const found = [];
    const check = async (where) => {
      await page.evaluate(axeSource());
      const { violations } = await page.evaluate(() => axe.run());
      for (const { id, impact, nodes } of violations) {
        found.push(`${impact} ${id} (${where}): ${nodes.map((node) => node.target.join(" ")).slice(0, 4)}`);
      }
    };
    for (const scheme of ["light", "dark"]) {
      for (const viewport of [{ width: 1440, height: 960 }, { width: 390, height: 844 }]) {
        await page.setViewport(viewport);
        await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
        await pause(300);
        await check(`${scheme}, ${viewport.width}`);
      }
    }
    await page.goto(`${server.url}/embed.html`);
    await pause(500);
    await check("embed.html");
    assert.deepEqual(found.filter((text) => /^(serious|critical)/.test(text)), []);
    return found.length > 0 ? found.join("; ") : "axe-core finds nothing";
  });
}

async function keyboard(world) {
  return onPage(world, async (page) => {
    const order = [];
    for (let press = 0; press < 7; press++) {
      await page.keyboard.press("Tab");
      order.push(await page.evaluate(() => document.activeElement.id || document.activeElement.className || document.activeElement.name));
    }
    assert.deepEqual(order, ["skip", "theme", "model-1", "speak", "source", "second", "sample"]);
    await page.focus("#speak");
    await page.keyboard.press("Enter");
    await until("speech by keyboard", async () => (await state(page)) === "speaking");
    await page.keyboard.press("Escape");
    assert.equal(await state(page), "idle");
    return order.join(" → ");
  });
}

async function reducedMotion(world) {
  return onPage(world, async (page) => {
    await page.emulateMediaFeatures([{ name: "prefers-reduced-motion", value: "reduce" }]);
    await page.reload();
    await loaded(page);
    await pause(1500);
    const before = await page.evaluate(() => lipsyncPage.faces.get(1).number);
    await pause(800);
    assert.equal(await page.evaluate(() => lipsyncPage.faces.get(1).number), before, "the idle face moves");
  });
}

async function screenshots(world) {
  const sizes = { wide: { width: 1440, height: 960 }, phone: { width: 390, height: 844, deviceScaleFactor: 2 } };
  return onPage(world, async (page) => {
    for (const scheme of ["light", "dark"]) {
      for (const [name, viewport] of Object.entries(sizes)) {
        await page.setViewport(viewport);
        if (world.browserName === "chromium") await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
        else if (scheme === "dark") await page.evaluate(() => (document.documentElement.dataset.theme = "dark"));
        if ((await state(page)) === "idle") await speak(page);
        await pause(4000);
        await page.screenshot({ path: path.join(world.out, `${world.browserName}-${name}-${scheme}.png`) });
      }
    }
    return world.out;
  });
}

const CHROMIUM = ["chromium"];
export const cases = [
  { name: "speaks in sync", run: speaks },
  { name: "falls back to binary", run: fallback("json,binary", "timed") },
  { name: "falls back to JSON", run: fallback("json", "json") },
  { name: "switches protocols while speaking", run: switches },
  { name: "survives a restart while speaking", run: restart },
  { name: "microphone", run: microphone },
  { name: "microphone denied", run: microphoneDenied, browsers: CHROMIUM },
  { name: "two tabs", run: twoTabs },
  { name: "second face", run: secondFace },
  { name: "own file", run: ownFile },
  { name: "comparison of protocols", run: comparison },
  { name: "debugger", run: debugging },
  { name: "pauses when hidden", run: hiding },
  { name: "embedded", run: embedding, browsers: CHROMIUM },
  { name: "accessible", run: accessible, browsers: CHROMIUM },
  { name: "keyboard", run: keyboard },
  { name: "reduced motion", run: reducedMotion, browsers: CHROMIUM },
  { name: "screenshots", run: screenshots },
];
