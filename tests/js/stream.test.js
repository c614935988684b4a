import assert from "node:assert/strict";
import { test } from "node:test";
import { parser, Reader } from "../../static/js/stream.js";

const encode = (text) => new TextEncoder().encode(text);

function body(...chunks) {
  return new ReadableStream({
    start(controller) {
      chunks.forEach((chunk) => controller.enqueue(encode(chunk)));
      controller.close();
    },
  });
}

/** A Reader whose fetch gives the answers one after the other, then is stopped. */
async function read(answers, since = null) {
  const log = { requests: [], heard: [], states: [], waits: [], refreshed: 0 };
  const reader = new Reader(["log:f", "flow:f"], {
    since,
    fetch: async (address, { headers }) => {
      log.requests.push([address, headers["Last-Event-ID"]]);
      const next = answers.shift();
      if (next instanceof Error) throw next;
      if (!next) {
        reader.stop();
        return { ok: false, status: 410 };
      }
      return next;
    },
    hear: (topic, data) => log.heard.push([topic, data]),
    state: (name) => log.states.push(name),
    refresh: () => (log.refreshed += 1),
    wait: async (ms) => log.waits.push(ms),
  });
  await reader.run();
  return log;
}

test("messages are found wherever the chunks are cut", () => {
  const text = 'id: 1\nevent: log\ndata: {"a":1}\n\n: ping\n\nid: 2\ndata: x\ndata: y\n\n';
  for (let cut = 0; cut <= text.length; cut += 1) {
    const push = parser();
    const found = [...push(text.slice(0, cut)), ...push(text.slice(cut))];
    assert.deepEqual(found.map(({ id, event, data }) => [id, event, data]), [["1", "log", '{"a":1}'], ["2", "message", "x\ny"]]);
  }
});

test("an ended stream is opened again soon, after its last event", async () => {
  const log = await read([{ ok: true, body: body('id: 7\nevent: log\ndata: {"topic":"log:f","html":"<li>"}\n\n') }]);
  assert.deepEqual(log.heard, [["log:f", { topic: "log:f", html: "<li>" }]]);
  assert.deepEqual(log.requests.map(([, last]) => last), [undefined, "7"]);
  assert.match(log.requests[0][0], /topics=log%3Af%2Cflow%3Af$/);
  assert.deepEqual(log.waits, [300]);
});

test("the first request says since when the page's content dates", async () => {
  const log = await read([], "1700000000000");
  assert.equal(log.requests[0][1], "1700000000000");
});

test("without a free stream the page asks every five seconds", async () => {
  const log = await read([{ ok: false, status: 503 }, { ok: false, status: 503 }]);
  assert.deepEqual(log.states, ["polling", "polling"]);
  assert.deepEqual(log.waits, [5000, 5000]);
  assert.equal(log.refreshed, 2);
});

test("without a connection it tries again, more and more patiently", async () => {
  const log = await read([new TypeError("no network"), { ok: false, status: 502 }, { ok: true, body: body() }, new TypeError("no network")]);
  assert.deepEqual(log.states, ["offline", "offline", "live", "offline"]);
  assert.ok(log.waits[1] > log.waits[0]);
  assert.equal(log.waits[2], 300);
  assert.equal(log.waits[3], log.waits[0]);
  assert.equal(log.refreshed, 0);
});
