// The face in somebody else's page. The page that frames it speaks to it with postMessage:
//
//   {speak: ArrayBuffer | Blob}   a recording, in any format that the browser decodes
//   {listen: true}                the microphone (the iframe needs allow="microphone")
//   {stop: true}                  at once
//
// and hears {lipsyncd: "ready" | "idle" | "preparing" | "speaking" | "error", message?}.
// In the address: ?model=NAME chooses the package, ?mode=json the protocol.

import { Face, listModels, MODES, Player } from "../lipsync.js";

const MODELS_RETRY_MS = 1500;
/** A context that may start does so within this time. */
const WAKE_MS = 300;

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

async function firstModel() {
  for (;;) {
    try {
      const [first] = await listModels();
      if (first) return first.name;
      say("The server has no package yet.");
    } catch {
      say("The server cannot be reached. Trying again…");
    }
    await new Promise((resolve) => setTimeout(resolve, MODELS_RETRY_MS));
  }
}

const mode = MODES.find((name) => name === query.get("mode")) ?? "auto";
const face = new Face({ canvas, model: query.get("model") ?? (await firstModel()), mode });
face.still = matchMedia("(prefers-reduced-motion: reduce)").matches;
face.addEventListener("loaded", () => tell("ready"));
face.addEventListener("status", ({ detail }) => {
  say(detail.tone === "bad" ? detail.text : null);
  if (detail.tone === "bad") tell("error", detail.text);
});
player.add(face);
player.addEventListener("change", ({ detail: { state } }) => {
  canvas.setAttribute("aria-label", state === "speaking" ? "The face, speaking" : "The face, at rest");
  tell(state);
});

/** Runs `action`; asks for a press first where the browser wants one before it makes a sound. */
async function withSound(action) {
  try {
    // A context that may not start without a press leaves its promise open for long.
    const woken = player.wake().catch(() => undefined);
    await Promise.race([woken, new Promise((resolve) => setTimeout(resolve, WAKE_MS))]);
    if (player.context.state !== "running") {
      button.hidden = false;
      await new Promise((resolve) => (button.onclick = resolve));
      button.hidden = true;
    }
    await action();
  } catch (error) {
    say(error.message);
    tell("error", error.message);
  }
}

addEventListener("message", ({ source, data }) => {
  if (source !== parent || typeof data !== "object" || data === null) return;
  if (data.stop) player.stop();
  else if (data.listen) withSound(() => player.listen());
  else if (data.speak instanceof ArrayBuffer || data.speak instanceof Blob) {
    withSound(async () => player.speak(await player.decode(await new Response(data.speak).arrayBuffer())));
  }
});
document.addEventListener("visibilitychange", () => player.setHidden(document.hidden));
addEventListener("pagehide", (event) => (event.persisted ? player.setHidden(true) : player.close()));
await face.load();
