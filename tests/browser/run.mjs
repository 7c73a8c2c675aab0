// The page in a real browser against a real lipsyncd.
//
//   node run.mjs LIPSYNCD [--browser chromium|firefox] [--only WORD] [--models DIR] [--lenient] [--tries N] [--soak MINUTES] [-- OPTIONS]
//
// --only runs the cases whose names contain WORD; --models serves other packages than models/. OPTIONS go to lipsyncd.
// --lenient widens the figures of time and waits longer, for a machine that is busy with other work; --tries runs a case
// that failed again. --soak speaks for so long instead and compares the memory in use after one minute with that at the end.
// Screenshots go to tests/browser/out. Ends with "N passed, M failed"; exits 1 when one failed.

import { mkdirSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { cases } from "./cases.mjs";
import { launch, pause, ROOT, setPatience } from "./harness.mjs";
import { soak } from "./soak.mjs";

/** A case that takes longer hangs. */
const CASE_LIMIT_MS = 300_000;
const USAGE = "usage: node run.mjs LIPSYNCD [--browser chromium|firefox] [--only WORD] [--models DIR] [--lenient] [--tries N] [--soak MINUTES] [-- OPTIONS]";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    browser: { type: "string", default: "chromium" },
    only: { type: "string", default: "" },
    models: { type: "string", default: path.join(ROOT, "models") },
    lenient: { type: "boolean", default: false },
    tries: { type: "string", default: "1" },
    soak: { type: "string" },
  },
});
if (positionals.length < 1 || !["chromium", "firefox"].includes(values.browser) || !(Number(values.tries) >= 1)) {
  console.error(USAGE);
  process.exit(2);
}

const out = path.join(ROOT, "tests/browser/out");
mkdirSync(out, { recursive: true });
// share: of the due frames that are shown where the case is not about time
const limits = values.lenient
  ? { shown: 0.2, offsetMs: 400, restartMs: 15_000, share: 0.02 }
  : { shown: 0.97, offsetMs: 40, restartMs: 3000, share: 0.8 };
if (values.lenient) setPatience(3);
const [program, ...options] = positionals;
const world = { command: [path.resolve(program), ...options], models: path.resolve(values.models), browserName: values.browser, limits, out };
const minutes = values.soak === undefined ? undefined : Number(values.soak);
const chosen = minutes
  ? [{ name: "soak", run: (world) => soak(world, minutes), limitMs: (minutes + 5) * 60_000 }]
  : cases.filter(({ name }) => name.includes(values.only));

/** What a case left on the screen when it failed. */
async function photograph(browser, name) {
  const page = (await browser.pages()).at(-1);
  await Promise.race([page.screenshot({ path: path.join(out, `failed-${values.browser}-${name.replaceAll(" ", "-")}.png`) }), pause(10_000)]);
}

/** The browser of the cases before, while it is well: starting one is most of a case's time on a slow machine. */
let opened;

async function closeBrowser() {
  await opened?.close();
  opened = undefined;
}

async function browserWith(preferences) {
  const key = JSON.stringify(preferences ?? {});
  if (opened?.key !== key) await closeBrowser();
  opened ??= { key, ...(await launch(values.browser, preferences)) };
  return opened;
}

/** One try of a case; one that failed gets a new browser. */
async function attempt({ name, run, preferences, limitMs = CASE_LIMIT_MS }) {
  const { browser, talk } = await browserWith(preferences);
  let timer;
  const hangs = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it hangs: not done within ${limitMs / 1000} s`)), limitMs);
  });
  try {
    return await Promise.race([run({ ...world, browser, talk }), hangs]);
  } catch (error) {
    await photograph(browser, name).catch(() => undefined);
    await closeBrowser();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

let passed = 0;
let failed = 0;
for (const one of chosen) {
  for (let tries = 1; ; tries++) {
    const started = Date.now();
    try {
      const figures = await attempt(one);
      passed++;
      console.log(`ok   ${one.name} (${((Date.now() - started) / 1000).toFixed(1)} s)${figures ? `: ${figures}` : ""}`);
      break;
    } catch (error) {
      console.log(`FAIL ${one.name}: ${error.stack ?? error}`);
      if (tries >= Number(values.tries)) {
        failed++;
        break;
      }
      console.log("     once more");
    }
  }
}
await closeBrowser();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
