// Which faces the server has.

import { fetchJson, serverAddress } from "./server.js";

/**
 * @param {string | URL} [server] the http(s) address of lipsyncd; where this library came from by default
 * @returns {Promise<{name: string, title?: string, frame_count: number, loaded: boolean}[]>} the one to begin with first
 */
export async function listModels(server) {
  const { models } = await fetchJson(new URL("models", serverAddress(server)));
  return models.sort((a, b) => (b.name === "default_model") - (a.name === "default_model"));
}
