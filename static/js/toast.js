/**
 * Short news in the corner of the page.
 *
 * toast(text, tone) shows one, once however often it is said; tone "success" goes away by itself, "error" stays until dismissed.
 * The server says the same with the header HX-Trigger: {"toast": {"text": …, "tone": …}}.
 * A failed htmx request shows its page's [data-error-message], or that there was no answer.
 * Needs #toasts (popover=manual, a live region) and <template id="toast"> of base.html.
 */
const STAYS = 5000;

export function toast(text, tone = "success") {
  const box = document.getElementById("toasts");
  const item = document.getElementById("toast").content.firstElementChild.cloneNode(true);
  const use = item.querySelector("use");
  item.dataset.tone = tone;
  item.querySelector("p").textContent = text;
  if (tone === "error") use.setAttribute("href", use.getAttribute("href").replace(/#.*/, "#circle-alert"));
  item.querySelector("button").addEventListener("click", () => dismiss(box, item));
  for (const other of box.children) if (other.querySelector("p").textContent === text) other.remove();
  // Shown again for each, so that it lies above a dialog that opened since.
  if (box.matches(":popover-open")) box.hidePopover();
  box.showPopover();
  box.append(item);
  if (tone !== "error") setTimeout(() => dismiss(box, item), STAYS);
}

function dismiss(box, item) {
  item.remove();
  if (!box.childElementCount && box.matches(":popover-open")) box.hidePopover();
}

/** What to tell of a failed answer: our error page's own words, else what its status means. */
export function failure(status, page) {
  const told = page?.querySelector("[data-error-message]")?.textContent.trim();
  if (told) return told;
  return status >= 500 ? "The server could not do this. Try again in a moment." : `The server refused this (${status}).`;
}

export function listen() {
  document.addEventListener("toast", ({ detail }) => toast(detail.text, detail.tone));
  document.addEventListener("htmx:response:error", ({ detail: { ctx } }) => {
    if (ctx.response.status === 422 || ctx.hx?.trigger?.includes("toast")) return;
    toast(failure(ctx.response.status, new DOMParser().parseFromString(ctx.text ?? "", "text/html")), "error");
  });
  document.addEventListener("htmx:error", ({ detail }) => {
    if (detail.ctx) toast("No answer from the server. Check the connection and try again.", "error");
  });
}
