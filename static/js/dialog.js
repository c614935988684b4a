/**
 * Asks before a request that has hx-confirm="what will happen", in the page's own <dialog id="confirm">.
 *
 * data-confirm-title is the question, data-confirm-action the word on the button. Escape and Cancel
 * drop the request. The browser gives the focus back to where it was.
 */
export function confirmRequests() {
  document.addEventListener("htmx:confirm", (event) => {
    const { ctx, issueRequest, dropRequest } = event.detail;
    event.preventDefault();
    const { confirmTitle, confirmAction } = ctx.sourceElement.dataset;
    const dialog = document.getElementById("confirm");
    dialog.querySelector("#confirm-title").textContent = confirmTitle ?? "Are you sure?";
    dialog.querySelector("#confirm-text").textContent = ctx.confirm;
    dialog.querySelector("#confirm-go").textContent = confirmAction ?? "Continue";
    dialog.returnValue = "cancel";
    dialog.addEventListener("close", () => (dialog.returnValue === "confirm" ? issueRequest() : dropRequest()), { once: true });
    dialog.showModal();
  });
}
