// Which faces the server has.

/**
 * @param {string | URL} server the http(s) address of lipsyncd; this page's own by default
 * @returns {Promise<{name: string, title?: string, frame_count: number, loaded: boolean}[]>} the one to begin with first
 */
export async function listModels(server = new URL("/", location.href)) {
  const response = await fetch(new URL("models", server));
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const { models } = await response.json();
  return models.sort((a, b) => (b.name === "default_model") - (a.name === "default_model"));
}
