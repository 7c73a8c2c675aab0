// Light, dark, or as the system: kept in this browser.

const ORDER = ["auto", "light", "dark"];
const WORDS = { auto: "as the system", light: "light", dark: "dark" };

function stored() {
  try {
    return localStorage.getItem("theme") ?? "auto";
  } catch {
    return "auto"; // storage is switched off
  }
}

/** @param {HTMLButtonElement} button steps through the themes  @param {() => void} changed */
export function setUpTheme(button, changed) {
  let theme = stored();
  const apply = () => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.setAttribute("aria-label", `Colours: ${WORDS[theme]}`);
    button.title = `Colours: ${WORDS[theme]}`;
    changed();
  };
  button.addEventListener("click", () => {
    theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // The choice lasts as long as the page.
    }
    apply();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  apply();
}
