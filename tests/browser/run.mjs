// The page in a real browser against a real lipsyncd.
//
//   node run.mjs LIPSYNCD [--browser chromium|firefox] [--only WORD] [--models DIR] [--lenient] [--soak MINUTES]
//
// --only runs the cases whose names contain WORD; --models serves other packages than models/.
// --lenient widens the figures of time and waits longer, for a machine that is busy with other work. --soak speaks for
// so long instead and compares the memory in use after one minute with that at the end.
// Screenshots go to tests/browser/out. Ends with "N passed, M failed"; exits 1 when one failed.

import { mkdirSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { cases } from "./cases.mjs";
import { launch, ROOT, setPatience } from "./harness.mjs";
import { soak } from "./soak.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    browser: { type: "string", default: "chromium" },
    only: { type: "string", default: "" },
    models: { type: "string", default: path.join(ROOT, "models") },
    lenient: { type: "boolean", default: false },
    soak: { type: "string" },
  },
});
if (positionals.length !== 1 || !["chromium", "firefox"].includes(values.browser)) {
  console.error("usage: node run.mjs LIPSYNCD [--browser chromium|firefox] [--only WORD] [--models DIR] [--lenient] [--soak MINUTES]");
  process.exit(2);
}

const out = path.join(ROOT, "tests/browser/out");
mkdirSync(out, { recursive: true });
const limits = values.lenient
  ? { shown: 0.2, offsetMs: 400, restartMs: 15_000, liveShown: 0.02 }
  : { shown: 0.97, offsetMs: 40, restartMs: 3000, liveShown: 0.8 };
if (values.lenient) setPatience(3);
const world = { command: [path.resolve(positionals[0])], models: path.resolve(values.models), browserName: values.browser, limits, out };
const chosen = values.soak
  ? [{ name: "soak", run: (world) => soak(world, Number(values.soak)) }]
  : cases.filter(({ name, browsers }) => name.includes(values.only) && (!browsers || browsers.includes(values.browser)));

let passed = 0;
let failed = 0;
for (const { name, run } of chosen) {
  const started = Date.now();
  let close = async () => undefined;
  try {
    const launched = await launch(values.browser);
    close = launched.close;
    const { browser } = launched;
    const figures = await run({ ...world, browser });
    passed++;
    console.log(`ok   ${name} (${((Date.now() - started) / 1000).toFixed(1)} s)${figures ? `: ${figures}` : ""}`);
  } catch (error) {
    failed++;
    console.log(`FAIL ${name}: ${error.stack ?? error}`);
  } finally {
    await close().catch((error) => console.log(`     closing the browser: ${error.message}`));
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
