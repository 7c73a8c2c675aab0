// Starts and stops what the browser tests need: a lipsyncd on a free port, sound without a sound card, a browser.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import puppeteer from "puppeteer-core";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const SPEECH = path.join(ROOT, "static/samples/english.wav");
/** Loading packages on a busy machine. */
const READY_WAIT_MS = 90_000;
/** A server that was asked to end has so long for it. */
const STOP_WAIT_MS = 8000;
/** Ports below those that the system gives to outgoing connections: one of these may not take a port while its server is away. */
const PORTS = { first: 10_000, count: 20_000 };

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
    if (Date.now() > deadline) throw new Error(`not within ${(limitMs * patience) / 1000} s: ${typeof what === "function" ? await what() : what}`);
    await pause(50);
  }
}

// --- processes -------------------------------------------------------------------------------

const running = new Set();
/** Nothing that was started outlives the tests, however they end. */
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(1));

/** A child process; `gone` resolves when it has ended or could not be started. */
function start(command, args, options) {
  const child = spawn(command, args, options);
  child.gone = new Promise((resolve) => child.once("exit", resolve).once("error", resolve));
  running.add(child);
  child.gone.then(() => running.delete(child));
  return child;
}

async function freePort() {
  for (;;) {
    const port = PORTS.first + Math.floor(Math.random() * PORTS.count);
    const free = await new Promise((resolve) => {
      const probe = net.createServer().once("error", () => resolve(false));
      probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

export class Server {
  /** @param {string[]} command the binary and its options  @param {string[]} options more of them */
  static async start(command, options = []) {
    const server = new Server([...command, ...options], await freePort());
    await server.spawn();
    return server;
  }

  constructor(command, port) {
    Object.assign(this, { command, port, host: `127.0.0.1:${port}`, url: `http://127.0.0.1:${port}` });
  }

  /** Resolves when every package is loaded. */
  async spawn() {
    this.log = "";
    this.child = start(this.command[0], [...this.command.slice(1), "--port", String(this.port)], { cwd: ROOT });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.on("data", (text) => (this.log = (this.log + text).slice(-20_000)));
    }
    let ended = false;
    this.child.gone.then(() => (ended = true));
    await until(() => `the server is ready\n${this.log}`, () => {
      if (ended) throw new Error(`the server ended:\n${this.log}`);
      return fetch(`${this.url}/readyz`).then((response) => response.ok, () => false);
    }, READY_WAIT_MS);
  }

  /** @param {NodeJS.Signals} signal SIGKILL: gone without a word */
  async stop(signal = "SIGTERM") {
    this.child.kill(signal);
    const killer = setTimeout(() => this.child.kill("SIGKILL"), STOP_WAIT_MS);
    await this.child.gone;
    clearTimeout(killer);
  }
}

/** A site of its own, closed by what `open` adds it to. */
async function listen(listener) {
  await new Promise((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const close = () => {
    listener.closeAllConnections();
    listener.close();
  };
  return { url: `http://127.0.0.1:${listener.address().port}`, close };
}

/**
 * A site that shows lipsyncd under a path, as a reverse proxy does: the prefix is taken off.
 * @param {Server} server  @param {{prefix?: string, upgrades?: boolean}} options upgrades: whether it passes WebSockets on
 */
export function proxy(server, { prefix = "/avatar/", upgrades = true } = {}) {
  const forward = (request, answer) => {
    const { method, headers } = request;
    const path = `/${request.url.slice(prefix.length)}`;
    return http.request({ host: "127.0.0.1", port: server.port, method, path, headers }, answer);
  };
  const front = http.createServer((request, response) => {
    if (`${request.url}/` === prefix) return response.writeHead(301, { location: prefix }).end();
    if (!request.url.startsWith(prefix)) return response.writeHead(404).end("the shop's own page");
    const behind = forward(request, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    if (!upgrades) for (const name of ["upgrade", "connection"]) behind.removeHeader(name);
    behind.on("error", () => response.destroy());
    return request.pipe(behind);
  });
  const joins = (request, socket, head) => {
    if (!request.url.startsWith(prefix)) return socket.end("HTTP/1.1 404 Not Found\r\n\r\n");
    const behind = forward(request);
    behind.on("upgrade", (answer, other, first) => {
      const lines = Object.entries(answer.headers).map(([name, value]) => `${name}: ${value}`);
      socket.write(["HTTP/1.1 101 Switching Protocols", ...lines, "", ""].join("\r\n"));
      socket.write(first);
      other.write(head);
      socket.pipe(other).pipe(socket);
      for (const [one, two] of [[socket, other], [other, socket]]) one.on("error", () => two.destroy());
    });
    behind.on("response", (answer) => socket.end(`HTTP/1.1 ${answer.statusCode} Refused\r\n\r\n`));
    behind.on("error", () => socket.destroy());
    return behind.end();
  };
  if (upgrades) front.on("upgrade", joins);
  return listen(front);
}

/** A site with one page of its own, and with a copy of the library. */
export function site(html) {
  const answer = ({ url }, response) => {
    const isPage = !url.endsWith(".js");
    const body = isPage ? html : readFileSync(path.join(ROOT, "static", path.normalize(url)));
    response.writeHead(200, { "content-type": isPage ? "text/html" : "text/javascript" }).end(body);
  };
  return listen(http.createServer(answer));
}

// --- browsers --------------------------------------------------------------------------------

const EXECUTABLES = {
  chromium: process.env.CHROMIUM ?? "/usr/bin/chromium",
  firefox: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
};
const CHROMIUM_ARGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--mute-audio",
  "--use-fake-device-for-media-stream", `--use-file-for-fake-audio-capture=${SPEECH}`,
];
const FIREFOX_PREFERENCES = {
  "media.navigator.permission.disabled": true, // the microphone is given without a question
  "app.update.enabled": false,
  "datareporting.policy.dataSubmissionEnabled": false,
  "toolkit.telemetry.enabled": false,
};

/**
 * A sound output that nobody hears and a microphone that hears what is played to it. Firefox keeps an
 * AudioContext suspended on a machine without an output; Chromium brings its own of both.
 */
class SilentSound {
  static async start(folder, env) {
    const script = path.join(folder, "pulse.pa");
    writeFileSync(script, [
      "load-module module-native-protocol-unix auth-anonymous=1",
      "load-module module-null-sink sink_name=heard",
      "load-module module-null-sink sink_name=voice",
      "set-default-sink heard",
      "set-default-source voice.monitor",
    ].join("\n"));
    const options = ["-n", "-F", script, "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"];
    const sound = new SilentSound(start("pulseaudio", options, { env, stdio: "ignore" }), env);
    let ended = false;
    sound.daemon.gone.then(() => (ended = true));
    await until("pulseaudio", () => {
      if (ended) throw new Error("pulseaudio did not start; is it installed?");
      return existsSync(path.join(folder, "pulse/native"));
    });
    return sound;
  }

  constructor(daemon, env) {
    Object.assign(this, { daemon, env });
  }

  /** Plays speech to the microphone, again and again, until what it returns is called. */
  talk() {
    let talking = true;
    let player;
    const play = () => {
      if (!talking || this.daemon.exitCode !== null) return;
      player = start("paplay", ["--device=voice", SPEECH], { env: this.env, stdio: "ignore" });
      player.gone.then(() => setTimeout(play, 100));
    };
    play();
    return () => {
      talking = false;
      player.kill();
    };
  }

  stop() {
    this.daemon.kill(); // a player ends with it
  }
}

/**
 * A browser as a machine without display, sound card and home has it. `talk()` lets somebody speak to its microphone
 * and returns what ends that; Chromium's speaks by itself.
 * @param {"chromium" | "firefox"} name  @param {Record<string, unknown>} preferences of Firefox alone
 */
export async function launch(name, preferences = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), "lipsyncd-browser-"));
  // A home of its own: Firefox refuses to run as root in somebody else's.
  const env = { ...process.env, HOME: folder, XDG_RUNTIME_DIR: folder, MOZ_CRASHREPORTER_DISABLE: "1" };
  delete env.XDG_CONFIG_HOME;
  delete env.XDG_CACHE_HOME;
  let sound;
  if (name === "firefox") {
    delete env.PULSE_SERVER;
    sound = await SilentSound.start(folder, env);
    env.PULSE_SERVER = `unix:${folder}/pulse/native`;
  }
  const tidy = () => {
    sound?.stop();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  };
  try {
    const browser = await puppeteer.launch({
      browser: name === "firefox" ? "firefox" : "chrome",
      executablePath: EXECUTABLES[name],
      headless: true,
      userDataDir: path.join(folder, "profile"),
      timeout: 30_000 * patience,
      protocolTimeout: 60_000 * patience,
      env,
      ...(name === "firefox" ? { extraPrefsFirefox: { ...FIREFOX_PREFERENCES, ...preferences } } : { args: CHROMIUM_ARGS }),
    });
    const close = async () => {
      // One that hangs is not waited for.
      await Promise.race([browser.close().catch(() => undefined), pause(10_000)]);
      browser.process()?.kill("SIGKILL");
      tidy();
    };
    return { browser, close, talk: () => sound?.talk() ?? (() => undefined) };
  } catch (error) {
    tidy();
    throw error;
  }
}

/** A page in a window of its own, with everything that it complained about. */
export async function openPage(browser, url, { width = 1440, height = 960, ...viewport } = {}) {
  const context = await browser.createBrowserContext();
  // A window of its own: of two tabs in one window only one is seen, and the other pauses.
  const page = await context.newPage({ type: "window" });
  page.setDefaultTimeout(30_000 * patience);
  const complaints = [];
  page.on("console", (message) => {
    if (!["error", "warn", "warning"].includes(message.type())) return;
    complaints.push([message.text(), message.location()?.url].filter(Boolean).join(" at "));
  });
  page.on("pageerror", (error) => complaints.push(`uncaught: ${error.message ?? error}`));
  await page.setViewport({ width, height, ...viewport });
  await page.goto(url);
  return { page, complaints, close: () => context.close() };
}
