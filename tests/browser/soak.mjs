// Memory over time: speaks the sample again and again, in Chromium.

import { openPage, pause, Server, until } from "./harness.mjs";

/** The heap and the page's memory as a whole may grow by this much after the first minute. */
const GROWTH = 1.1;

async function heapBytes(page) {
  const session = await page.createCDPSession();
  await session.send("HeapProfiler.collectGarbage");
  const { usedSize, embedderHeapUsedSize = 0, backingStorageSize = 0 } = await session.send("Runtime.getHeapUsage");
  await session.detach();
  return usedSize + embedderHeapUsedSize + backingStorageSize;
}

export async function soak({ command, models, browser }, minutes) {
  const server = await Server.start(command, ["--models", models]);
  try {
    const { page } = await openPage(browser, server.url);
    await until("a face", () => page.evaluate(() => document.querySelector(".face.loaded") !== null));
    const speakUntil = async (deadline) => {
      while (Date.now() < deadline) {
        if (await page.evaluate(() => lipsyncPage.player.state === "idle")) await page.click("#speak");
        await pause(500);
      }
    };
    const start = Date.now();
    await speakUntil(start + 60_000);
    const before = await heapBytes(page);
    await speakUntil(start + minutes * 60_000);
    const after = await heapBytes(page);
    const figures = `${(before / 2 ** 20).toFixed(1)} MiB after 1 minute, ${(after / 2 ** 20).toFixed(1)} MiB after ${minutes}`;
    if (after > before * GROWTH) throw new Error(figures);
    return figures;
  } finally {
    await server.stop();
  }
}
