// What the page must do, one case each. `run` gets {browser, talk, browserName, command, models, limits, out} and
// returns its figures in words, or throws. `preferences`: what Firefox is started with for it.

import * as around from "./around.mjs";
import * as elsewhere from "./elsewhere.mjs";
import * as speech from "./speech.mjs";

export const cases = [
  { name: "speaks in sync", run: speech.speaks },
  { name: "falls back to binary", run: speech.fallback("json,binary", "timed") },
  { name: "falls back to JSON", run: speech.fallback("json", "json") },
  { name: "switches protocols while speaking", run: speech.switches },
  { name: "survives a restart while speaking", run: speech.restart },
  { name: "microphone", run: speech.microphone },
  { name: "two tabs", run: speech.twoTabs },
  { name: "second face", run: speech.secondFace },
  { name: "pauses when hidden", run: speech.hiding },
  { name: "own file", run: around.ownFile },
  { name: "comparison of protocols", run: around.comparison },
  { name: "debugger", run: around.debugging },
  { name: "embedded", run: around.embedding },
  { name: "framed by another page: stop wins, sentences keep their order", run: elsewhere.bargeIn },
  { name: "framed by another page: what is not understood", run: elsewhere.misunderstood },
  { name: "under a path of a site", run: elsewhere.underPath },
  { name: "refused handshakes are told apart", run: elsewhere.refused },
  { name: "stop before the start", run: elsewhere.stopBeforeStart },
  { name: "accessible", run: around.accessible },
  { name: "keyboard", run: around.keyboard },
  { name: "screenshots", run: around.screenshots },
  {
    name: "microphone denied",
    run: speech.microphoneDenied,
    preferences: { "media.navigator.permission.disabled": false, "permissions.default.microphone": 2 },
  },
  { name: "reduced motion", run: around.reducedMotion, preferences: { "ui.prefersReducedMotion": 1 } },
];
