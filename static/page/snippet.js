// The source to copy into one's own page, with this server's address in it, as the browser sees it.

import { HOME } from "../lipsync.js";

const snippet = `<iframe id="face" src="${new URL("embed.html", HOME).href}"
  allow="autoplay; microphone"
  width="480" height="480" title="Talking face"></iframe>
<button id="talk">Talk</button>
<script type="module">
  const face = document.getElementById("face");
  document.getElementById("talk").onclick = async () => {
    const speech = await fetch("speech.wav");
    const sound = await speech.arrayBuffer();
    face.contentWindow.postMessage({ speak: sound }, "*");
  };
</script>`;
const COPIED_MS = 2500;

/** @param {HTMLElement} view shows it  @param {HTMLButtonElement} button copies it */
export function setUpSnippet(view, button) {
  view.textContent = snippet;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(snippet);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(view);
      button.textContent = "Selected: copy with the keyboard";
    }
    setTimeout(() => (button.textContent = "Copy"), COPIED_MS);
  });
}
