/**
 * Keys of single fields:
 * - [data-search]: "/" anywhere outside a field goes there, Escape empties it.
 * - [data-submit-keys]: Ctrl+Enter or ⌘+Enter submits its form.
 * - [data-rename]: Enter commits (a change event), Escape puts the old text back; empty is not taken.
 */
import { bind } from "./bind.js";

export function isField(element) {
  return Boolean(element?.closest?.("input, textarea, select, [contenteditable]"));
}

export function submits(event) {
  return event.key === "Enter" && (event.ctrlKey || event.metaKey);
}

export function bindKeys() {
  bind("data-search", (input) => {
    const stop = new AbortController();
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || isField(event.target) || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      input.focus();
      input.select();
    }, { signal: stop.signal });
    return () => stop.abort();
  });
  bind("data-submit-keys", (field) => {
    field.addEventListener("keydown", (event) => submits(event) && field.form.requestSubmit());
  });
  bind("data-rename", (input) => {
    input.addEventListener("keydown", (event) => {
      if (event.key === "Escape") input.value = input.defaultValue;
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault();
      input.blur();
    });
    // Before htmx hears of it: an empty name is not a change.
    input.addEventListener("change", (event) => {
      if (input.value.trim()) return;
      input.value = input.defaultValue;
      event.stopImmediatePropagation();
    }, { capture: true });
  });
}
