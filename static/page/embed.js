// The face in somebody else's page. The page that frames it speaks to it with postMessage:
//
//   {speak: sound}                        after what was asked for before; sounds.js says what a sound may be
//   {speak: samples, sampleRate: 24000}   mono, without a file's header
//   {listen: true}                        the microphone (the iframe needs allow="microphone")
//   {stop: true}                          at once, also what waits or is still being decoded; {stop: true, speak: sound}
//                                         says something else instead
//
// and hears {lipsyncd: "ready" | "idle" | "preparing" | "speaking" | "error", message?}. What is not understood is
// answered with an error that says what would be.
// In the address: ?model=NAME chooses the package, ?mode=json the protocol.

import { Face, listModels, MODES, Player } from "../lipsync.js";
import { describe, readSound, SOUNDS } from "./sounds.js";

const MODELS_RETRY_MS = 1500;
/** A context that may start does so within this time. */
const WAKE_MS = 300;
const KEYS = new Set(["speak", "sampleRate", "listen", "stop"]);
const UNDERSTOOD = `Understood are {speak: sound}, {speak: samples, sampleRate: 24000}, {listen: true} and {stop: true}. ${SOUNDS}.`;

const query = new URLSearchParams(location.search);
const canvas = document.getElementById("face");
const button = document.getElementById("start");
const status = document.getElementById("status");
const player = new Player();

function tell(lipsyncd, message) {
  if (parent !== window) parent.postMessage({ lipsyncd, message }, "*"); // nothing secret in it
}

function say(text) {
  status.hidden = !text;
  status.textContent = text ?? "";
}

function fail(error) {
  say(error.message);
  tell("error", error.message);
}

// --- what the other page wants ----------------------------------------------------------------

/** Counts calls of stop(): what was asked for before the newest one is void. */
let stops = 0;
/** Resolves with a press on the button; undefined while none is asked for. */
let press;
let faceLoaded;
const loaded = new Promise((resolve) => (faceLoaded = resolve));

/**
 * Resolves when the browser lets a sound start: asks for a press first where it wants one.
 * @param {number} asked  what `stops` was when the sound was asked for
 */
async function mayPlay(asked) {
  // A context that may not start without a press leaves its promise open for long.
  await Promise.race([player.wake().catch(() => undefined), new Promise((resolve) => setTimeout(resolve, WAKE_MS))]);
  if (player.context?.state === "running" || stops !== asked) return;
  button.hidden = false;
  await (press ??= new Promise((resolve) => {
    button.onclick = () => {
      player.wake().catch(() => undefined); // within the press
      resolve();
    };
  }));
  press = undefined;
  button.hidden = true;
}

function stop() {
  stops++;
  press = undefined; // whoever waits for it waits for nothing now
  button.hidden = true;
  player.stop();
}

/** Takes its place in the order at once; decoding, the face and the press are waited for there. */
function speak(value, sampleRate) {
  const asked = stops;
  const sound = readSound(value, sampleRate, (file) => player.decode(file));
  let isTold = false;
  sound.catch((error) => {
    isTold = true; // at once, whatever is spoken before
    fail(error);
  });
  const ready = Promise.all([sound, sound.then(() => mayPlay(asked)), loaded]).then(([decoded]) => decoded);
  player.speak(ready).catch((error) => isTold || fail(error));
}

async function listen() {
  stop();
  const asked = stops;
  await Promise.all([mayPlay(asked), loaded]);
  if (stops === asked) await player.listen().catch(fail);
}

/** What is wrong with a message, in words; undefined when it is understood. */
function misunderstanding(data) {
  if (typeof data !== "object" || data === null || Array.isArray(data)) {
    return `A message is an object itself, not JSON text or another value, and this is ${describe(data)}. ${UNDERSTOOD}`;
  }
  const unknown = Object.keys(data).filter((key) => !KEYS.has(key));
  if (unknown.length > 0) return `Not understood: ${unknown.slice(0, 8).join(", ")}. ${UNDERSTOOD}`;
  for (const key of ["listen", "stop"]) {
    if (key in data && data[key] !== true) return `${key} is ${describe(data[key])}; it can be true only. ${UNDERSTOOD}`;
  }
  if ("speak" in data && "listen" in data) return `Either speak or listen. ${UNDERSTOOD}`;
  if ("sampleRate" in data && !("speak" in data)) return `sampleRate belongs to speak. ${UNDERSTOOD}`;
  if (!["speak", "listen", "stop"].some((key) => key in data)) return `The message is empty. ${UNDERSTOOD}`;
  return undefined;
}

addEventListener("message", ({ source, data }) => {
  if (source !== parent) return;
  const words = misunderstanding(data);
  if (words) return tell("error", words);
  if (data.stop) stop();
  if (data.listen) listen();
  if ("speak" in data) speak(data.speak, data.sampleRate);
});
document.addEventListener("visibilitychange", () => player.setHidden(document.hidden));
addEventListener("pagehide", (event) => (event.persisted ? player.setHidden(true) : player.close()));

// --- the face ------------------------------------------------------------------------------------

async function firstModel() {
  for (;;) {
    try {
      const [first] = await listModels();
      if (first) return first.name;
      say("The server has no package yet.");
    } catch (error) {
      say(`${error.message}. Trying again…`);
    }
    await new Promise((resolve) => setTimeout(resolve, MODELS_RETRY_MS));
  }
}

player.addEventListener("change", ({ detail: { state } }) => {
  canvas.setAttribute("aria-label", state === "speaking" ? "The face, speaking" : "The face, at rest");
  tell(state);
});
const mode = MODES.find((name) => name === query.get("mode")) ?? "auto";
const face = new Face({ canvas, model: query.get("model") ?? (await firstModel()), mode });
face.still = matchMedia("(prefers-reduced-motion: reduce)").matches;
face.addEventListener("loaded", () => {
  faceLoaded();
  tell("ready");
});
face.addEventListener("status", ({ detail }) => {
  say(detail.tone === "bad" ? detail.text : null);
  if (detail.tone === "bad") tell("error", detail.text);
});
player.add(face);
await face.load();
