// What the cases do with the page and read from it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { openPage, ROOT, Server, until } from "./harness.mjs";

/** Packages that cost next to nothing: for what is not about the face itself. */
export const TINY = path.join(ROOT, "tests/data/packages");

export const state = (page) => page.evaluate(() => lipsyncPage.player.state);
export const wire = (page) => page.evaluate(() => lipsyncPage.faces.get(1)?.connection.wire);
export const status = (page) => page.$eval("#status-text", (element) => element.textContent);
export const notice = (page) => page.$eval("#notice", (element) => (element.hidden ? "" : element.textContent));
/** Counts of every face, the first one's share of due frames shown and its offsets. */
export const figuresOf = (page) =>
  page.evaluate(() => {
    const faces = [...lipsyncPage.player.faces];
    const [{ meter }] = faces;
    return { ...meter.counts, share: meter.shownShare, shares: faces.map((face) => face.meter.shownShare), offsets: [...meter.series.offsetMs] };
  });

export async function loaded(page) {
  await until("a face on the page", () => page.evaluate(() => document.querySelector("#figure-1.loaded") !== null));
  await until("a connection", () => wire(page));
  await until("a picture", () => page.evaluate(() => lipsyncPage.faces.get(1).idleAt !== undefined));
}

/** What a person would see, for the words of a failure. */
export async function sight(page) {
  const { due, shown, received, late, overtaken, serverDropped } = await figuresOf(page);
  const frames = `${due} frames due, ${received} received, ${shown} shown, ${late} late, ${overtaken} overtaken, ${serverDropped} dropped by the server`;
  return `state ${await state(page)}, wire ${await wire(page)}, ${frames}; the page says: ${await notice(page)} / ${await status(page)}`;
}

export async function untilSpeaking(page) {
  await until(async () => `speech (${await sight(page)})`, async () => (await state(page)) === "speaking", 30_000);
}

export async function speak(page) {
  await page.click("#speak");
  await untilSpeaking(page);
}

/** Chooses a radio button or a checkbox, wherever it is on the page. */
export async function choose(page, selector) {
  await page.evaluate((selector) => document.querySelector(selector).click(), selector);
}

/** Waits until so many frames of the utterance became due: by the clock of the sound, not of the wall. */
export async function untilDue(page, count) {
  await until(async () => `${count} frames due (${await sight(page)})`, async () => (await figuresOf(page)).due >= count, 30_000);
}

/** Waits until `count` more frames have come. Presses the button again where a recording has ended meanwhile. */
export async function untilFrames(page, what, count = 5) {
  let last = (await figuresOf(page)).received;
  let come = 0;
  await until(async () => `${what} (${await sight(page)})`, async () => {
    if ((await state(page)) === "idle") await page.click("#speak");
    const { received } = await figuresOf(page);
    come += received >= last ? received - last : received; // a new utterance counts from nothing
    last = received;
    return come > count;
  });
}

/** Runs `body` with a server and one page on it. Complaints of the page are a failure. */
export async function onPage({ browser, command, models }, body, { options = [], expected = () => false } = {}) {
  const server = await Server.start(command, ["--models", models, ...options]);
  try {
    const opened = await openPage(browser, server.url);
    await loaded(opened.page);
    const figures = await body(opened.page, server);
    const unexpected = opened.complaints.filter((text) => !expected(text, server));
    assert.deepEqual(unexpected, [], "the console must stay quiet");
    await opened.close();
    return figures;
  } finally {
    await server.stop();
  }
}

export function quantile(values, share) {
  const sorted = values.map(Math.abs).sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

/** How much the mouth on the canvas differs from that of the idle frame under it: mean, in levels of 256; at rest 0. */
export const mouthMoves = (page) =>
  page.evaluate(async () => {
    const face = lipsyncPage.faces.get(1);
    const { number, metadata: { bounds } } = face;
    const step = number % (2 * bounds.length - 2 || 1); // to and fro
    const [x1, y1, x2, y2] = bounds[Math.min(step, 2 * bounds.length - 2 - step)];
    const pixels = (picture) => {
      const small = new OffscreenCanvas(24, 24).getContext("2d");
      small.drawImage(picture, x1, y1, x2 - x1, y2 - y1, 0, 0, 24, 24);
      return small.getImageData(0, 0, 24, 24).data;
    };
    const shown = pixels(document.getElementById("face-1"));
    const idle = pixels(await createImageBitmap(await (await fetch(face.frameUrl(number))).blob()));
    return shown.reduce((sum, value, at) => sum + Math.abs(value - idle[at]), 0) / shown.length;
  });

/** Runs axe-core on the page as it stands; what it finds, in words. */
export async function axe(page, where) {
  await page.evaluate(readFileSync(path.join(ROOT, "tests/browser/node_modules/axe-core/axe.min.js"), "utf8"));
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations.map(({ id, impact, nodes }) => `${impact} ${id} (${where}): ${nodes.map((node) => node.target.join(" ")).slice(0, 4)}`);
}
