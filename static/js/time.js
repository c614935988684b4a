/**
 * <time datetime="ISO" data-time="relative | clock"> in the reader's own language and zone:
 * "relative" is "5 minutes ago", kept current; "clock" is the time of day to the millisecond.
 * The full date stands in the tooltip.
 */
import { bind } from "./bind.js";

const UNITS = [["year", 31536e6], ["month", 2592e6], ["week", 6048e5], ["day", 864e5], ["hour", 36e5], ["minute", 6e4]];

export function relative(then, now, locale) {
  const past = then - now;
  const [unit, size] = UNITS.find(([, ms]) => Math.abs(past) >= ms) ?? ["second", 1000];
  const words = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
  return unit === "second" ? words.format(0, "second") : words.format(Math.round(past / size), unit);
}

export function clock(then, now, locale) {
  const time = then.toLocaleTimeString(locale, { hour12: false, hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
  if (then.toDateString() === now.toDateString()) return time;
  return `${then.toLocaleDateString(locale, { day: "2-digit", month: "short" })} ${time}`;
}

function write(element) {
  const then = new Date(element.dateTime);
  const text = element.dataset.time === "clock" ? clock(then, new Date()) : relative(then, new Date());
  if (element.textContent !== text) element.textContent = text;
  element.title = then.toLocaleString(undefined, { dateStyle: "full", timeStyle: "medium" });
}

export function bindTimes() {
  bind("data-time", write);
  document.addEventListener("htmx:after:swap", () => document.querySelectorAll("[data-time]").forEach(write));
  setInterval(() => document.querySelectorAll('[data-time="relative"]').forEach(write), 30000);
}
