/**
 * Files dropped anywhere on the page go into the file input marked [data-drop], as if chosen there.
 * While files are dragged over the page, <body data-dropping> shows where they will land.
 */
import { bind } from "./bind.js";

export function carriesFiles(transfer) {
  return [...(transfer?.types ?? [])].includes("Files");
}

export function bindDrop() {
  bind("data-drop", (input) => {
    const stop = new AbortController();
    const on = (name, handler) => document.addEventListener(name, (event) => carriesFiles(event.dataTransfer) && handler(event), { signal: stop.signal });
    const show = (dropping) => document.body.toggleAttribute("data-dropping", dropping);
    on("dragover", (event) => {
      event.preventDefault();
      show(true);
    });
    on("dragleave", (event) => event.relatedTarget || show(false));
    on("drop", (event) => {
      event.preventDefault();
      show(false);
      input.files = event.dataTransfer.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
    });
    // The same file may be chosen again after it was corrected.
    input.form?.addEventListener("htmx:finally:request", () => (input.value = ""));
    return () => stop.abort();
  });
}
