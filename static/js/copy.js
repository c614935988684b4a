/**
 * [data-copy] on a button copies the text of the element whose id it names, or, when empty, its own
 * data-text. Says so in a toast.
 */
import { bind } from "./bind.js";
import { toast } from "./toast.js";

export function bindCopy() {
  bind("data-copy", (button) => {
    button.addEventListener("click", async () => {
      const { copy, text } = button.dataset;
      try {
        await navigator.clipboard.writeText(copy ? document.getElementById(copy).textContent.trim() : text);
        toast("Copied.");
      } catch {
        toast("The browser does not let this page copy. Select the text and copy it yourself.", "error");
      }
    });
  });
}
