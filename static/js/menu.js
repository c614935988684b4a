/**
 * Keyboard in a menu: [data-menu] on a popover of links and buttons. Opening it moves the focus in,
 * arrows, Home and End move it, choosing closes the menu (the browser returns the focus).
 */
import { bind } from "./bind.js";

/** Index to go to, or null when the key is none of ours. */
export function step(key, index, length) {
  const moves = { ArrowDown: (index + 1) % length, ArrowUp: (index - 1 + length) % length, Home: 0, End: length - 1 };
  return moves[key] ?? null;
}

export function bindMenus() {
  bind("data-menu", (menu) => {
    const items = () => [...menu.querySelectorAll("a, button:not(:disabled), input:checked")];
    menu.addEventListener("toggle", ({ newState }) => newState === "open" && items()[0]?.focus());
    menu.addEventListener("keydown", (event) => {
      const list = items();
      const next = event.target.type === "radio" ? null : step(event.key, list.indexOf(document.activeElement), list.length);
      if (next === null) return;
      event.preventDefault();
      list[next].focus();
    });
    menu.addEventListener("click", ({ target }) => target.closest(".menu-item") && menu.hidePopover());
  });
}
