// Where lipsyncd is, and in words what is wrong when it does not answer as it should.

/** An answer to the question why a WebSocket was refused may take so long, in ms. */
const PROBE_WAIT_MS = 4000;
/** So much of an answer's text is shown. */
const SHOWN_CHARS = 200;
const PROXY_PATH = "Behind a proxy, requests under its path must come to lipsyncd with that path taken off";
const PROXY_HEADERS = "a proxy in between must pass on the headers Upgrade, Connection and Host";

/** The folder that these modules came from: the server's root, or what a proxy shows it as. */
export const HOME = URL.canParse?.("../", import.meta.url) === false
  ? new URL("/", globalThis.location.href).href // a bundle in a blob: has no folder
  : new URL("../", import.meta.url).href;

/**
 * The base of the server's addresses. Its path is a folder, with or without the last slash.
 * @param {string | URL} [server] HOME by default; relative to the page
 */
export function serverAddress(server = HOME) {
  const address = new URL(server, globalThis.location?.href);
  address.search = address.hash = "";
  if (!address.pathname.endsWith("/")) address.pathname += "/";
  return address;
}

/** The first words of an answer that is text; a proxy's page is none. */
async function shownText(response) {
  const isText = /^text\/plain\b/.test(response.headers.get("content-type") ?? "");
  const text = isText ? (await response.text()).trim().slice(0, SHOWN_CHARS) : "";
  return text && `: ${text}`;
}

/**
 * Fetches JSON from the server. What it throws says in words what a user can do.
 * @param {URL} address
 */
export async function fetchJson(address) {
  let response;
  try {
    response = await fetch(address);
  } catch {
    throw new Error("The server cannot be reached");
  }
  const isJson = /\bjson\b/.test(response.headers.get("content-type") ?? "");
  const body = isJson ? await response.json() : undefined;
  if (response.ok && isJson) return body;
  if (body?.error) throw new Error(body.error);
  if (response.status >= 500) throw new Error(`The server is away or not ready (HTTP ${response.status}${await shownText(response)})`);
  throw new Error(`There is no lipsyncd at ${address.href} (HTTP ${response.status}${await shownText(response)}). ${PROXY_PATH}`);
}

/**
 * Why a WebSocket did not open: browsers hide it, so the same address is asked by HTTP.
 * @param {string} url of the WebSocket  @param {typeof globalThis.fetch} fetch
 * @returns {Promise<string>} in words, to follow "Not connected: "
 */
export async function whyRefused(url, fetch = globalThis.fetch) {
  const address = new URL(url);
  address.protocol = address.protocol === "wss:" ? "https:" : "http:";
  const ask = (mode) => fetch(address, { mode, cache: "no-store", signal: AbortSignal.timeout(PROBE_WAIT_MS) });
  const origin = globalThis.location?.origin;
  const isOtherOrigin = address.origin !== origin;
  const allow = `start the server with --allow-origin ${origin} to let pages of this origin in`;
  const opensNone = `the server answers, but opens no WebSocket: ${isOtherOrigin ? `${allow}; ${PROXY_HEADERS}` : `${PROXY_HEADERS}; or ${allow}`}`;
  let response;
  try {
    response = await ask("cors");
  } catch {
    // Without CORS headers nothing can be read of an answer, but that there is one can be told.
    const answers = isOtherOrigin && (await ask("no-cors").then(() => true, () => false));
    return answers ? opensNone : "the server cannot be reached";
  }
  const { status } = response;
  const text = await shownText(response);
  // 426 is what lipsyncd says to a request without Upgrade: the path is right.
  if (status === 426) return `${opensNone} (HTTP 426)`;
  if (status === 403) return `this page is refused (HTTP 403${text}); ${allow}`;
  if (status === 503) return `the server takes no more connections or is not ready (HTTP 503${text})`;
  if (status >= 500) return `the proxy does not reach the server (HTTP ${status}${text})`;
  return `there is no lipsyncd at ${address.href} (HTTP ${status}${text}). ${PROXY_PATH}`;
}
