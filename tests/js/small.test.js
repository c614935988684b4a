import assert from "node:assert/strict";
import { test } from "node:test";
import { carriesFiles } from "../../static/js/drop.js";
import { isField, submits } from "../../static/js/keys.js";
import { step } from "../../static/js/menu.js";
import { split } from "../../static/js/send.js";
import { cookie } from "../../static/js/theme.js";
import { clock, relative } from "../../static/js/time.js";
import { failure } from "../../static/js/toast.js";

test("drop: only files are taken", () => {
  assert.equal(carriesFiles({ types: ["text/plain", "Files"] }), true);
  assert.equal(carriesFiles({ types: ["text/plain"] }), false);
  assert.equal(carriesFiles(null), false);
});

test("keys: Ctrl or Command with Enter submits, Enter alone does not", () => {
  assert.equal(submits({ key: "Enter", ctrlKey: true }), true);
  assert.equal(submits({ key: "Enter", metaKey: true }), true);
  assert.ok(!submits({ key: "Enter" }));
  assert.equal(isField({ closest: () => ({}) }), true);
  assert.equal(isField(null), false);
});

test("menu: arrows go round, Home and End to the ends, other keys are left alone", () => {
  assert.equal(step("ArrowDown", 2, 3), 0);
  assert.equal(step("ArrowUp", 0, 3), 2);
  assert.equal(step("Home", 2, 3), 0);
  assert.equal(step("End", 0, 3), 2);
  assert.equal(step("a", 0, 3), null);
});

test("send: a target names its kind and step", () => {
  assert.deepEqual(split("webhook:abc"), { kind: "webhook", step: "abc" });
  assert.deepEqual(split("port:abc:in"), { kind: "port", step: "abc" });
});

test("theme: a choice lasts a year, the system's is no cookie at all", () => {
  assert.match(cookie("dark", true), /^theme=dark; .*Max-Age=31536000.*; Secure$/);
  assert.match(cookie("", false), /Max-Age=0; SameSite=Lax$/);
});

test("time: relative to now in words, nearest unit first", () => {
  const now = Date.UTC(2026, 0, 31, 12);
  assert.equal(relative(now - 20e3, now, "en"), "now");
  assert.equal(relative(now - 5 * 60e3, now, "en"), "5 minutes ago");
  assert.equal(relative(now - 26 * 3600e3, now, "en"), "yesterday");
  assert.equal(relative(now + 3 * 3600e3, now, "en"), "in 3 hours");
});

test("time: a clock shows the date only on another day", () => {
  const then = new Date(2026, 0, 31, 8, 5, 9, 7);
  assert.equal(clock(then, new Date(2026, 0, 31, 20), "en-GB"), "08:05:09.007");
  assert.match(clock(then, new Date(2026, 1, 1), "en-GB"), /^31 Jan 08:05:09\.007$/);
});

test("toast: a failure tells the error page's words, else what the status means", () => {
  const page = { querySelector: () => ({ textContent: " There is no flow 7. " }) };
  assert.equal(failure(404, page), "There is no flow 7.");
  assert.match(failure(500, { querySelector: () => null }), /again/);
  assert.match(failure(403, null), /403/);
});
