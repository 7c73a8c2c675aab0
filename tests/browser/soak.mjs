// Memory over time: speaks the sample again and again, and looks every minute.

import { readFileSync, readdirSync } from "node:fs";
import { openPage, pause, Server, until } from "./harness.mjs";

/** What is measured may grow by this much after the first minute. */
const GROWTH = 1.1;
/** A process's memory goes up and down with its garbage: the least of the last so many looks, a second apart, counts. */
const LOOKS = 20;
/** Of the 1500 frames of a minute so many must be shown at least: a page that is silent needs no memory. */
const LEAST_FRAMES = 300;

/** A process and its children, children's children and so on. */
function family(pid) {
  const parents = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((name) => {
    try {
      return [[Number(name), Number(/\) \S (\d+)/.exec(readFileSync(`/proc/${name}/stat`, "latin1"))[1])]];
    } catch {
      return []; // gone meanwhile
    }
  });
  const found = [pid];
  for (const member of found) found.push(...parents.filter(([, parent]) => parent === member).map(([child]) => child));
  return found;
}

/** Memory of the process that shows the page (the largest of those for content), in bytes. */
function pageBytes(browser) {
  const sizes = family(browser.process().pid).map((pid) => {
    try {
      if (!/--type=renderer|-contentproc.* tab/.test(readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " "))) return 0;
      return 1024 * Number(/^Pss_Anon: +(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "latin1"))[1]);
    } catch {
      return 0;
    }
  });
  return Math.max(...sizes);
}

/** What the page itself holds: Chromium tells, after a collection of garbage. */
async function heapBytes(page) {
  const session = await page.createCDPSession();
  await session.send("HeapProfiler.collectGarbage");
  const { usedSize, embedderHeapUsedSize = 0, backingStorageSize = 0 } = await session.send("Runtime.getHeapUsage");
  await session.detach();
  return usedSize + embedderHeapUsedSize + backingStorageSize;
}

const MIB = 2 ** 20;

export async function soak({ command, models, browser, browserName }, minutes) {
  const server = await Server.start(command, ["--models", models]);
  try {
    const { page } = await openPage(browser, server.url);
    await until("a face", () => page.evaluate(() => document.querySelector(".face.loaded") !== null));
    const looks = [];
    const seen = [];
    let frames = 0;
    let last = 0;
    const start = Date.now();
    for (let minute = 1; minute <= minutes; minute++) {
      const before = frames;
      while (Date.now() < start + minute * 60_000) {
        const { state, shown } = await page.evaluate(() => ({ state: lipsyncPage.player.state, shown: lipsyncPage.faces.get(1).meter.counts.shown }));
        if (state === "idle") await page.click("#speak");
        frames += shown >= last ? shown - last : shown; // a new utterance counts from nothing
        last = shown;
        looks.push(pageBytes(browser));
        await pause(1000);
      }
      const heap = browserName === "chromium" ? await heapBytes(page) : NaN;
      seen.push({ process: Math.min(...looks.slice(-LOOKS)), heap });
      console.log(`     minute ${minute}: process ${(seen.at(-1).process / MIB).toFixed(1)} MiB, heap ${(heap / MIB).toFixed(1)} MiB, ${frames - before} frames shown`);
      if (frames - before < LEAST_FRAMES) throw new Error(`only ${frames - before} frames shown in minute ${minute}`);
    }
    const words = (what) => `${what} ${(seen[0][what] / MIB).toFixed(1)} MiB after 1 minute, ${(seen.at(-1)[what] / MIB).toFixed(1)} MiB after ${minutes}`;
    const kinds = browserName === "chromium" ? ["process", "heap"] : ["process"];
    const figures = kinds.map(words).join("; ");
    if (kinds.some((what) => seen.at(-1)[what] > seen[0][what] * GROWTH)) throw new Error(figures);
    return figures;
  } finally {
    await server.stop();
  }
}
