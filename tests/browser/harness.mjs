// Starts and stops what the browser tests need: a lipsyncd on a free port, and a browser.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import puppeteer from "puppeteer-core";

export const ROOT = path.resolve(import.meta.dirname, "../..");
export const SPEECH = path.join(ROOT, "static/samples/english.wav");
/** Loading packages on a busy machine. */
const READY_WAIT_MS = 90_000;

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

let patience = 1;
/** Lets every wait last `factor` times as long: for machines that are busy with other work. */
export function setPatience(factor) {
  patience = factor;
}

/** Waits until `probe` gives something true, and returns it. */
export async function until(what, probe, limitMs = 20_000) {
  const deadline = Date.now() + limitMs * patience;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`not within ${(limitMs * patience) / 1000} s: ${what}`);
    await pause(50);
  }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

export class Server {
  /** @param {string[]} command the binary and its options  @param {string[]} options more of them */
  static async start(command, options = []) {
    const server = new Server([...command, ...options], await freePort());
    await server.spawn();
    return server;
  }

  constructor(command, port) {
    Object.assign(this, { command, port, url: `http://127.0.0.1:${port}` });
  }

  /** Resolves when every package is loaded. */
  async spawn() {
    this.log = "";
    this.child = spawn(this.command[0], [...this.command.slice(1), "--port", String(this.port)], { cwd: ROOT });
    this.gone = new Promise((resolve) => this.child.once("exit", resolve));
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.on("data", (text) => (this.log = (this.log + text).slice(-20_000)));
    }
    let exited = false;
    this.gone.then(() => (exited = true));
    await until(`the server is ready\n${this.log}`, async () => {
      if (exited) throw new Error(`the server ended:\n${this.log}`);
      return fetch(`${this.url}/readyz`).then((response) => response.ok, () => false);
    }, READY_WAIT_MS);
  }

  /** @param {NodeJS.Signals} signal SIGKILL: gone without a word */
  async stop(signal = "SIGTERM") {
    this.child.kill(signal);
    const killer = setTimeout(() => this.child.kill("SIGKILL"), 8000);
    await this.gone;
    clearTimeout(killer);
  }
}

const CHROMIUM_ARGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--mute-audio",
  "--use-fake-device-for-media-stream", `--use-file-for-fake-audio-capture=${SPEECH}`,
];
const FIREFOX_PREFERENCES = {
  "media.navigator.streams.fake": true, // a tone for a microphone; Firefox takes no file
  "media.navigator.permission.disabled": true,
  "app.update.enabled": false,
  "datareporting.policy.dataSubmissionEnabled": false,
  "toolkit.telemetry.enabled": false,
};

/**
 * A sound output that nobody hears. Firefox keeps an AudioContext suspended on a machine without one;
 * Chromium brings its own.
 */
async function silentSound(folder) {
  if (process.env.PULSE_SERVER) return undefined;
  const env = { ...process.env, XDG_RUNTIME_DIR: folder, HOME: folder };
  const options = ["-n", "--daemonize=no", "--exit-idle-time=-1", "--load=module-null-sink", "--load=module-native-protocol-unix"];
  const child = spawn("pulseaudio", options, { env, stdio: "ignore" });
  let missing = false;
  child.once("error", () => (missing = true)); // not installed: perhaps the machine has a real output
  await until("pulseaudio", () => missing || existsSync(path.join(folder, "pulse/native")), 10_000);
  return missing ? undefined : child;
}

/** @param {"chromium" | "firefox"} name */
export async function launch(name) {
  const userDataDir = mkdtempSync(path.join(tmpdir(), "lipsyncd-browser-"));
  const soundDir = mkdtempSync(path.join(tmpdir(), "lipsyncd-sound-"));
  const sound = name === "firefox" ? await silentSound(soundDir) : undefined;
  const executables = {
    chromium: process.env.CHROMIUM ?? "/usr/bin/chromium",
    firefox: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
  };
  const browser = await puppeteer.launch({
    browser: name === "firefox" ? "firefox" : "chrome",
    executablePath: executables[name],
    headless: true,
    userDataDir,
    protocolTimeout: 120_000,
    env: sound ? { ...process.env, PULSE_SERVER: `unix:${soundDir}/pulse/native` } : process.env,
    ...(name === "firefox" ? { extraPrefsFirefox: FIREFOX_PREFERENCES } : { args: CHROMIUM_ARGS }),
  });
  const close = async () => {
    await browser.close();
    sound?.kill();
    for (const folder of [userDataDir, soundDir]) rmSync(folder, { recursive: true, force: true });
  };
  return { browser, close };
}

/** A page in a window of its own, with everything that it complained about. */
export async function openPage(browser, url, { width = 1440, height = 960, ...viewport } = {}) {
  const context = await browser.createBrowserContext();
  // A window of its own: of two tabs in one window only one is seen, and the other pauses.
  const page = await context.newPage({ type: "window" });
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warn", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(`uncaught: ${error.message ?? error}`));
  await page.setViewport({ width, height, ...viewport });
  await page.goto(url);
  return { page, complaints, close: () => context.close() };
}
