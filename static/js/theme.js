/**
 * Appearance: radio buttons in [data-theme-choice] with the values "" (as the system), "light", "dark".
 * The choice is a cookie, which the server writes onto <html>, so that no page flashes.
 */
import { bind } from "./bind.js";

export function cookie(choice, secure) {
  const life = choice ? 31536000 : 0;
  return `theme=${choice}; Path=/; Max-Age=${life}; SameSite=Lax${secure ? "; Secure" : ""}`;
}

export function bindTheme() {
  bind("data-theme-choice", (group) => {
    group.addEventListener("change", ({ target }) => {
      document.cookie = cookie(target.value, location.protocol === "https:");
      if (target.value) document.documentElement.dataset.theme = target.value;
      else delete document.documentElement.dataset.theme;
    });
  });
}
