// Cases about what is around the speech: files, comparison, debugger, embedding, access, looks.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { pause, ROOT, until } from "./harness.mjs";
import { axe, choose, loaded, notice, onPage, speak, state, TINY, untilFrames, untilSpeaking } from "./page.mjs";

/** Binary messages may have this share of JSON's bytes. */
const BINARY_SHARE = 0.75;

export async function ownFile(world) {
  return onPage({ ...world, models: TINY }, async (page) => {
    await choose(page, 'input[name="source"][value="file"]');
    const input = await page.$("#file");
    await input.uploadFile(path.join(ROOT, "static/samples/second.wav"));
    await untilSpeaking(page);
    await page.keyboard.press("Escape");
    await until("silence", async () => (await state(page)) === "idle");
    await input.uploadFile(path.join(ROOT, "tests/browser/package.json"));
    return until("words about a file without sound", async () => /cannot decode/.test(await notice(page)) && (await notice(page)));
  }, { expected: (text) => /decode/i.test(text) });
}

export async function comparison(world) {
  return onPage(world, async (page) => {
    await page.click("#compare");
    const note = await until("the measurement", () => page.$eval("#compare-note", ({ textContent }) => /Twelve|Could not/.test(textContent) && textContent), 60_000);
    assert.match(note, /Twelve/);
    const rows = await page.$$eval("#compare-rows tr", (rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
    const bytes = Object.fromEntries(rows.map(([name, size]) => [name, Number.parseInt(size.replaceAll(",", ""), 10)]));
    assert.ok(bytes.Binary <= BINARY_SHARE * bytes.JSON, `binary ${bytes.Binary} bytes, JSON ${bytes.JSON}`);
    assert.match(rows[1][3], /faster/);
    return rows.map((row) => row.join(" | ")).join("; ");
  });
}

/** A message is taken apart, and what the page exports is read by `lipsyncd inspect`. */
export async function debugging(world) {
  return onPage({ ...world, models: TINY }, async (page) => {
    await speak(page);
    await page.evaluate(() => document.getElementById("messages-title").scrollIntoView());
    await untilFrames(page, "frames");
    // Looked for and clicked in one go: the list moves on.
    await until("a frame among the messages", () => page.evaluate(() => {
      const row = [...document.querySelectorAll("#log button")].find((row) => /frame/.test(row.textContent));
      row?.click();
      return row !== undefined;
    }));
    const detail = await page.$eval("#detail", (element) => element.textContent);
    for (const word of ["image", "x1", "JPEG", "000000"]) assert.ok(detail.includes(word), `${word} in ${detail.slice(0, 300)}`);
    const recording = await page.evaluate(() => new Promise((resolve) => {
      const address = URL.createObjectURL;
      URL.createObjectURL = (blob) => {
        resolve(blob.text());
        return address.call(URL, blob);
      };
      document.getElementById("export").click();
    }));
    const file = path.join(world.out, `${world.browserName}-recording.jsonl`);
    writeFileSync(file, recording);
    const inspected = execFileSync(world.command[0], ["inspect", file], { encoding: "utf8" });
    const messages = recording.trim().split("\n").length;
    assert.ok(messages > 10 && inspected.includes("sequence"), inspected.slice(0, 400));
    return `${messages} messages in the recording, read by lipsyncd inspect`;
  });
}

export async function embedding(world) {
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
      if (asked) await frame.click("#start").catch(() => undefined); // meanwhile it may have begun by itself
      return page.evaluate(() => heard.includes("speaking"));
    }, 40_000);
  }, { expected: (text) => /404/.test(text) }); // Chromium asks a page without one for /favicon.ico
}

export async function accessible(world) {
  return onPage({ ...world, models: TINY }, async (page, server) => {
    const found = [];
    for (const scheme of ["light", "dark"]) {
      await setScheme(page, world.browserName, scheme);
      for (const viewport of [{ width: 1440, height: 960 }, { width: 390, height: 844 }]) {
        await page.setViewport(viewport);
        found.push(...(await axe(page, `${scheme}, ${viewport.width}`)));
      }
    }
    await page.goto(`${server.url}/embed.html`);
    await until("the face", () => page.$eval("#face", (canvas) => canvas.width !== 720));
    found.push(...(await axe(page, "embed.html")));
    assert.deepEqual(found.filter((text) => /^(serious|critical)/.test(text)), []);
    return found.length > 0 ? found.join("; ") : "axe-core finds nothing";
  });
}

/** Firefox is not asked for a scheme of the system's: the page's own button says it there. */
async function setScheme(page, browserName, scheme) {
  if (browserName === "chromium") return page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  return until(`the ${scheme} theme`, async () => {
    const theme = await page.evaluate(() => document.documentElement.dataset.theme);
    if (theme !== scheme) await page.click("#theme");
    return theme === scheme;
  });
}

export async function keyboard(world) {
  return onPage({ ...world, models: TINY }, async (page) => {
    const order = [];
    for (let press = 0; press < 7; press++) {
      await page.keyboard.press("Tab");
      order.push(await page.evaluate(() => document.activeElement.id || document.activeElement.className || document.activeElement.name));
    }
    assert.deepEqual(order, ["skip", "theme", "model-1", "speak", "source", "second", "sample"]);
    await page.focus("#speak");
    await page.keyboard.press("Enter");
    await untilSpeaking(page);
    await page.keyboard.press("Escape");
    await until("silence", async () => (await state(page)) === "idle");
    return order.join(" → ");
  });
}

/** In Firefox by a preference that the case is started with. */
export async function reducedMotion(world) {
  return onPage({ ...world, models: TINY }, async (page) => {
    if (world.browserName === "chromium") {
      await page.emulateMediaFeatures([{ name: "prefers-reduced-motion", value: "reduce" }]);
      await page.reload();
      await loaded(page);
    }
    const number = () => page.evaluate(() => lipsyncPage.faces.get(1).number);
    const before = await number();
    await pause(1500);
    assert.equal(await number(), before, "the idle face moves");
  });
}

export async function screenshots(world) {
  const sizes = { wide: { width: 1440, height: 960 }, phone: { width: 390, height: 844, deviceScaleFactor: 2 } };
  return onPage(world, async (page) => {
    for (const scheme of ["light", "dark"]) {
      await setScheme(page, world.browserName, scheme);
      for (const [name, viewport] of Object.entries(sizes)) {
        await page.setViewport(viewport);
        if ((await state(page)) === "idle") await speak(page);
        await untilFrames(page, "speech in the picture", 50);
        await page.screenshot({ path: path.join(world.out, `${world.browserName}-${name}-${scheme}.png`) });
      }
    }
    return world.out;
  });
}
