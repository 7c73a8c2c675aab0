// The page: puts the library, the controls and the views together.

import { Face, listMicrophones, listModels, Player, WIRE_RATE } from "../lipsync.js";
import { measure, showComparison } from "./comparison.js";
import { Dashboard } from "./dashboard.js";
import { Messages } from "./messages.js";
import { forgetColours } from "./plot.js";
import { setUpSnippet } from "./snippet.js";
import { setUpTheme } from "./theme.js";
import { Wave } from "./wave.js";

const byId = (id) => document.getElementById(id);
const SAMPLES = { english: "samples/english.wav", second: "samples/second.wav" };
/** Largest file that is read, in bytes. */
const LARGEST_FILE = 200 << 20;
const WIRE_WORDS = { stream: "stream v2", timed: "binary v1, timed", binary: "binary v1", protobuf: "protobuf", json: "JSON" };
const MODELS_RETRY_MS = 1500;
const PASSING_MS = 6000;

const player = new Player();
const wave = new Wave(byId("wave"));
const dashboard = new Dashboard(player, { parent: byId("plots"), words: byId("sync-words") });
const messages = new Messages({
  log: byId("log"), detail: byId("detail"), hold: byId("hold"), clear: byId("clear"), save: byId("export"),
});
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

/** Sounds already decoded, by address; a chosen file has the key "file". */
const sounds = new Map();
let mode = "auto";
let sound = null;
let notifyTimer;
let connectionStatus = { text: "Starting…", tone: "wait" };

const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`).value;

// --- words ---------------------------------------------------------------------------------

function setStatus(text, tone) {
  if (byId("status-text").textContent !== text) byId("status-text").textContent = text;
  byId("status").dataset.tone = tone;
}

function showStatus() {
  if (connectionStatus.tone !== "good") return setStatus(connectionStatus.text, connectionStatus.tone);
  if (player.hidden) return setStatus("Paused while hidden", "wait");
  if (player.state === "preparing") return setStatus("Getting ready…", "wait");
  if (player.state === "speaking") return setStatus(player.microphone ? "Listening to you" : "Speaking", "live");
  setStatus("Ready", "good");
}

/** @param {boolean} passing it goes away when it is not said again for a while */
function notify(text, passing = false) {
  const notice = byId("notice");
  clearTimeout(notifyTimer);
  if (passing) notifyTimer = setTimeout(() => notify(null), PASSING_MS);
  notice.hidden = !text;
  if (notice.textContent !== (text ?? "")) notice.textContent = text ?? "";
}

// --- faces ---------------------------------------------------------------------------------

function makeFace(number, model) {
  const figure = byId(`figure-${number}`);
  const badge = byId(`wire-${number}`);
  const face = new Face({ canvas: byId(`face-${number}`), model, mode });
  face.still = reducedMotion.matches;
  face.addEventListener("loaded", () => figure.classList.add("loaded"));
  face.addEventListener("status", ({ detail }) => {
    const connection = ["connecting", "waiting", "open", "closed", "no_metadata"].includes(detail.code);
    if (connection) badge.textContent = detail.code === "open" ? WIRE_WORDS[face.connection.wire] : "connecting";
    if (connection && number === 1) connectionStatus = detail;
    if (connection && detail.tone === "good") notify(null);
    if (!connection) notify(detail.code === "busy" ? `The server is busy: ${detail.text}` : detail.text, true);
    showStatus();
  });
  if (number === 1) face.addEventListener("trace", ({ detail }) => messages.add(detail));
  player.add(face);
  face.load();
  return face;
}

const faces = new Map();

function setFace(number, model) {
  const old = faces.get(number);
  if (old) player.remove(old);
  faces.delete(number);
  if (model) faces.set(number, makeFace(number, model));
  // The first face leads the dashboard whatever the order of creation.
  if (faces.has(1) && faces.has(2)) player.faces = new Set([faces.get(1), faces.get(2)]);
}

async function loadModels() {
  let models;
  for (;;) {
    try {
      models = await listModels();
      if (models.length > 0) break;
      connectionStatus = { text: "The server has no package yet", tone: "wait" };
    } catch (error) {
      connectionStatus = { text: `${error.message}. Trying again…`, tone: "bad" };
    }
    showStatus();
    await new Promise((resolve) => setTimeout(resolve, MODELS_RETRY_MS));
  }
  for (const id of ["model-1", "model-2"]) {
    byId(id).replaceChildren(...models.map(({ name, title }) => new Option(title || name, name)));
  }
  const [first, second = first] = models;
  byId("model-1").value = first.name;
  byId("model-2").value = second.name;
  setFace(1, first.name);
}

// --- speaking ------------------------------------------------------------------------------

async function loadSample(address) {
  if (!sounds.has(address)) {
    const response = await fetch(address);
    if (!response.ok) throw new Error(`The sample ${address} is not there (HTTP ${response.status}).`);
    sounds.set(address, await player.decode(await response.arrayBuffer()));
  }
  return sounds.get(address);
}

/** @param {File} [file] just chosen */
async function start(file) {
  notify(null);
  const source = chosen("source");
  try {
    if (source === "microphone") return await listen();
    if (source === "file" && !file && !sounds.has("file")) return byId("file").click();
    player.stop();
    await player.speak(prepare(source === "file" ? fileSound(file) : loadSample(SAMPLES[chosen("sample")])));
  } catch (error) {
    notify(error.message);
  }
}

/** Shows a sound as soon as it is there. */
async function prepare(loading) {
  sound = await loading;
  wave.setSound(sound);
  return sound;
}

async function fileSound(file) {
  if (!file) return sounds.get("file");
  if (file.size > LARGEST_FILE) throw new Error("That file is larger than 200 MB. Choose a shorter recording.");
  const decoded = await player.decode(await file.arrayBuffer());
  sounds.set("file", decoded);
  byId("source-name").textContent = file.name;
  return decoded;
}

async function listen() {
  wave.clear();
  await player.listen({
    deviceId: byId("device").value || undefined,
    echoCancellation: byId("echo").checked,
    monitor: byId("monitor").checked,
  });
  await fillDevices();
}

async function fillDevices() {
  const select = byId("device");
  const before = select.value || player.microphone?.deviceId;
  const found = await listMicrophones();
  const options = found.filter(({ deviceId }) => deviceId).map(({ deviceId, label }, at) => new Option(label || `Microphone ${at + 1}`, deviceId));
  select.replaceChildren(new Option("The system's default", ""), ...options);
  if ([...select.options].some(({ value }) => value === before)) select.value = before;
}

/** Shows the waveform of what the button would speak. */
async function preview() {
  if (player.state !== "idle" || chosen("source") !== "sample") return;
  try {
    sound = await loadSample(SAMPLES[chosen("sample")]);
    if (player.state !== "idle" || chosen("source") !== "sample") return;
    wave.setSound(sound);
    byId("clock").textContent = minutes(sound.duration);
  } catch {
    // Said when the button is pressed.
  }
}

function showSource() {
  const source = chosen("source");
  for (const name of ["sample", "file", "microphone"]) byId(`panel-${name}`).hidden = name !== source;
  const names = {
    sample: `Sample, ${document.querySelector('input[name="sample"]:checked + span').textContent}`,
    file: sounds.has("file") ? byId("source-name").textContent : "No file chosen",
    microphone: "Microphone",
  };
  byId("source-name").textContent = names[source];
}

const minutes = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function showState() {
  const { state } = player;
  const button = byId("speak");
  button.dataset.state = state;
  byId("speak-text").textContent = state === "idle" ? (chosen("source") === "microphone" ? "Listen" : "Speak") : "Stop";
  document.documentElement.classList.toggle("speaking", state === "speaking");
  for (const number of [1, 2]) {
    byId(`face-${number}`).setAttribute("aria-label", `${number === 1 ? "The face" : "The second face"}, ${state === "speaking" ? "speaking" : "at rest"}`);
  }
  if (state === "idle") byId("level").value = 0;
  showStatus();
}

// --- wiring --------------------------------------------------------------------------------

byId("speak").addEventListener("click", () => (player.state === "idle" ? start() : player.stop()));
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && player.state !== "idle") player.stop();
});
player.addEventListener("change", showState);
player.addEventListener("level", ({ detail }) => {
  byId("level").value = Math.min(1, Math.sqrt(detail.level * 2));
  wave.pushLevel(detail.level);
});
player.addEventListener("lost", () => notify("The microphone was taken away. Plug it in again, or choose another."));
player.addEventListener("tick", ({ detail: { position } }) => {
  if (player.state !== "speaking" || position === null) return;
  const seconds = Math.max(0, Math.min(player.microphone ? Infinity : sound.duration, position / WIRE_RATE));
  const text = player.microphone ? minutes(seconds) : `${minutes(seconds)} / ${minutes(sound.duration)}`;
  if (byId("clock").textContent !== text) byId("clock").textContent = text;
  if (!player.microphone) wave.setProgress(seconds / sound.duration);
});
byId("source").addEventListener("change", () => {
  player.stop();
  notify(null);
  wave.clear();
  byId("clock").textContent = "0:00";
  showSource();
  showState();
  preview();
  if (chosen("source") === "microphone") fillDevices();
});
byId("sample").addEventListener("change", () => {
  player.stop();
  notify(null);
  showSource();
  preview();
});
byId("file").addEventListener("change", ({ target }) => target.files[0] && start(target.files[0]));
for (const type of ["dragover", "dragleave", "drop"]) {
  byId("drop").addEventListener(type, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", type === "dragover");
    if (type === "drop" && event.dataTransfer.files[0]) start(event.dataTransfer.files[0]);
  });
}
byId("monitor").addEventListener("change", ({ target }) => player.microphone?.setMonitor(target.checked));
for (const id of ["device", "echo"]) {
  byId(id).addEventListener("change", () => player.microphone && start());
}
byId("second").addEventListener("change", ({ target }) => {
  byId("figure-2").hidden = !target.checked;
  byId("faces").classList.toggle("two", target.checked);
  setFace(2, target.checked ? byId("model-2").value : null);
});
for (const number of [1, 2]) {
  byId(`model-${number}`).addEventListener("change", ({ target }) => setFace(number, target.value));
}
byId("mode").addEventListener("change", () => {
  mode = chosen("mode");
  for (const face of player.faces) face.connection.switchTo(mode);
});
byId("compare").addEventListener("click", async ({ target }) => {
  target.disabled = true;
  byId("compare-note").textContent = "Measuring…";
  try {
    const face = faces.get(1);
    showComparison(byId("compare-rows"), await measure({ url: face.connection.url, model: face.model }));
    byId("compare-note").textContent = "Twelve frames from this server, each parsed many times until image bytes and bounds were at hand.";
  } catch (error) {
    byId("compare-note").textContent = `Could not measure: ${error.message}`;
  }
  target.disabled = false;
});
reducedMotion.addEventListener("change", () => {
  for (const face of player.faces) face.still = reducedMotion.matches;
});
document.addEventListener("visibilitychange", async () => {
  await player.setHidden(document.hidden);
  showStatus();
});
navigator.mediaDevices?.addEventListener?.("devicechange", fillDevices);
addEventListener("pagehide", (event) => {
  // A page kept for "back" only stands still; one that is left for good releases everything.
  if (event.persisted) return player.setHidden(true);
  player.close();
  dashboard.close();
  messages.close();
});
addEventListener("pageshow", (event) => event.persisted && player.setHidden(document.hidden));
addEventListener("resize", () => {
  wave.draw();
  dashboard.redraw();
});

setUpSnippet(byId("snippet"), byId("copy"));
setUpTheme(byId("theme"), () => {
  forgetColours();
  wave.draw();
  dashboard.redraw();
});
showSource();
showState();
player.setHidden(document.hidden);
loadModels().then(preview);

// For the browser's console and the tests.
globalThis.lipsyncPage = { player, faces, messages };
