import assert from "node:assert/strict";
import { test } from "node:test";
import { address, compare, place, single } from "../../static/js/log.js";

test("rows already shown are not fresh", () => {
  assert.deepEqual(compare(["3", "2"], ["4", "3", "2"]), { fresh: ["4"], follows: true });
});

test("a full page of unknown rows does not follow what is shown, a short one does", () => {
  assert.equal(compare(["1"], ["9", "8"], 2).follows, false);
  assert.equal(compare(["1"], ["9"], 2).follows, true);
  assert.equal(compare([], ["9", "8"], 2).follows, true);
});

test("a late row goes where its time belongs, newest first", () => {
  assert.equal(place(["30-a", "10-a"], "20-b"), 1);
  assert.equal(place(["30-a", "10-a"], "40-b"), 0);
  assert.equal(place(["30-a", "10-a"], "05-b"), 2);
  assert.equal(place([], "1"), 0);
});

test("the address holds what is filled in, and escapes it", () => {
  assert.equal(address("/log", [["text", ""], ["severity", ""]]), "/log");
  assert.equal(address("/log", [["text", "a&b"], ["step", ""]], { before: "5-x" }), "/log?text=a%26b&before=5-x");
  assert.equal(address("/log", [], { before: undefined }), "/log");
});

test("asking often runs the work one at a time and once more at the end", async () => {
  let running = 0;
  let most = 0;
  let times = 0;
  const settled = [];
  const run = single(async () => {
    running += 1;
    times += 1;
    most = Math.max(most, running);
    await Promise.resolve();
    running -= 1;
    settled.shift()?.();
  });
  const second = new Promise((resolve) => settled.push(() => {}, resolve));
  run();
  run();
  run();
  await second;
  assert.equal(most, 1);
  assert.equal(times, 2);
});
