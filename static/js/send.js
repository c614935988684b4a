/**
 * The test form of a flow: [data-target] is the select that says where to ("webhook:<step>" or
 * "port:<step>:<port>"). Parts marked [data-target-kind] show only for that kind, and
 * [data-hook-base] shows the address of the chosen webhook.
 */
import { bind } from "./bind.js";

export function split(value) {
  const [kind, step] = value.split(":");
  return { kind, step };
}

export function bindSend() {
  bind("data-target", (select) => {
    const show = () => {
      const { kind, step } = split(select.value);
      for (const part of select.form.querySelectorAll("[data-target-kind]")) part.hidden = part.dataset.targetKind !== kind;
      const hook = select.form.querySelector("[data-hook-base]");
      if (kind === "webhook") hook.textContent = hook.dataset.hookBase + encodeURIComponent(step);
    };
    select.addEventListener("change", show);
    show();
  });
}
