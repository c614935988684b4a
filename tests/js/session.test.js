import assert from "node:assert/strict";
import { test } from "node:test";
import { signInTarget, withToken, wrap } from "../../static/js/session.js";

const answer = (status, headers = {}) => ({ status, headers: new Headers(headers) });

test("unsafe requests to our own origin carry the token and keep their other headers", () => {
  const headers = withToken("post", true, { "X-Other": "1" }, "secret");
  assert.equal(headers.get("X-CSRF-Token"), "secret");
  assert.equal(headers.get("X-Other"), "1");
});

test("reading and other origins get no token", () => {
  assert.equal(withToken("GET", true, {}, "secret"), null);
  assert.equal(withToken(undefined, true, {}, "secret"), null);
  assert.equal(withToken("DELETE", false, {}, "secret"), null);
});

test("a signed-out answer leads to the sign-in page and back", () => {
  assert.equal(signInTarget(answer(401), "/app/flows?pattern=a b"), "/app/sign-in?next=%2Fapp%2Fflows%3Fpattern%3Da%20b");
  assert.equal(signInTarget(answer(204, { "HX-Redirect": "/app/sign-in" }), "/app/flows"), "/app/sign-in");
  assert.equal(signInTarget(answer(403), "/app/flows"), null);
});

test("the wrapped fetch sends the token home only and follows sign-outs of our own origin only", async () => {
  const seen = [];
  const went = [];
  const fetch = wrap(async (input, init) => (seen.push([String(input), init]), answer(401)), {
    origin: "https://here.test",
    token: () => "secret",
    here: () => "/app/flows",
    go: (target) => went.push(target),
  });
  await fetch("/app/flows/1/start", { method: "POST" });
  await fetch("https://elsewhere.test/x", { method: "POST" });
  assert.equal(seen[0][1].headers.get("X-CSRF-Token"), "secret");
  assert.equal(seen[1][1].headers, undefined);
  assert.deepEqual(went, ["/app/sign-in?next=%2Fapp%2Fflows"]);
});
