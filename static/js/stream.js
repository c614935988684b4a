/**
 * Live news: one GET /app/stream for the whole page, read through fetch.
 *
 * Any element says what it wants to hear: data-topics="log:<flowId>,flow:<flowId>". It gets the
 * events `stream:log` and `stream:flow`, their detail being the message's data ({topic, …}).
 * A detail without more than the topic means "something changed, ask for it".
 * data-since="<epoch ms>" on the element says when what it shows was read, so nothing is missed between.
 *
 * The stream closes while the page is hidden and resumes with Last-Event-ID. When the server has none
 * to give (503), or no connection, elements get such empty events every five seconds instead.
 * <html data-live="live | polling | offline"> tells how things stand.
 */
import { bind } from "./bind.js";

const POLL = 5000;
const AGAIN = 300;
const RETRY_MOST = 15000;

/** Splits a text/event-stream: push(text) returns the complete messages {id, event, data}. */
export function parser() {
  let rest = "";
  return (text) => {
    const blocks = (rest + text).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    return blocks.map(message).filter(Boolean);
  };
}

function message(block) {
  const fields = { event: "message", data: [] };
  for (const line of block.split(/\r?\n/)) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (name === "data") fields.data.push(value);
    else if (name) fields[name] = value;
  }
  return fields.data.length ? { ...fields, data: fields.data.join("\n") } : null;
}

/**
 * Reads one stream until told to stop. `hear(topic, data)` gets every message, `state(name)` every
 * change of how things stand, `refresh()` is called when only asking helps.
 */
export class Reader {
  constructor(topics, { since, fetch, hear, state, refresh, wait }) {
    Object.assign(this, { topics, last: since, fetch, hear, state, refresh, wait });
    this.abort = new AbortController();
  }

  async run() {
    for (let failures = 0; !this.abort.signal.aborted; ) {
      const outcome = await this.#once();
      if (this.abort.signal.aborted) return;
      failures = outcome === "ended" ? 0 : failures + 1;
      if (outcome !== "ended") this.state(outcome);
      const pause = { ended: AGAIN, polling: POLL }[outcome] ?? Math.min(RETRY_MOST, 500 * 2 ** failures);
      await this.wait(pause, this.abort.signal);
      if (outcome === "polling" && !this.abort.signal.aborted) this.refresh();
    }
  }

  stop() {
    this.abort.abort();
  }

  async #once() {
    const headers = { Accept: "text/event-stream", ...(this.last && { "Last-Event-ID": String(this.last) }) };
    try {
      const address = `/app/stream?topics=${encodeURIComponent(this.topics.join(","))}`;
      const response = await this.fetch(address, { headers, signal: this.abort.signal });
      if (!response.ok) return response.status === 503 ? "polling" : "offline";
      this.state("live");
      const push = parser();
      for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
        for (const { id, data } of push(chunk)) {
          this.last = id ?? this.last;
          const content = JSON.parse(data);
          this.hear(content.topic, content);
        }
      }
      return "ended";
    } catch {
      return "offline";
    }
  }
}

const elements = new Set();
let reader = null;
let timer = 0;
let last = null;

function pause(ms, signal) {
  return new Promise((resolve) => {
    const done = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(done), resolve()), { once: true });
  });
}

function topicsOf(element) {
  return (element.dataset.topics ?? "").split(",").filter(Boolean);
}

function tell(topic, detail) {
  const name = `stream:${topic.split(":")[0]}`;
  for (const element of elements) {
    if (topicsOf(element).includes(topic)) element.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

function reopen() {
  const topics = [...new Set([...elements].flatMap(topicsOf))].sort();
  const hidden = document.visibilityState === "hidden";
  if (reader && !hidden && topics.join() === reader.topics.join()) return;
  if (reader) {
    last = reader.last;
    reader.stop();
    reader = null;
  }
  if (hidden || !topics.length) return;
  const since = last ?? [...elements].map((element) => element.dataset.since).find(Boolean) ?? null;
  reader = new Reader(topics, {
    since,
    fetch: window.fetch,
    wait: pause,
    hear: tell,
    state: (name) => (document.documentElement.dataset.live = name),
    refresh: () => topics.forEach((topic) => tell(topic, { topic })),
  });
  reader.run();
}

function soon() {
  clearTimeout(timer);
  timer = setTimeout(reopen, 60);
}

export function connect() {
  bind("data-topics", (element) => {
    elements.add(element);
    soon();
    return () => (elements.delete(element), soon());
  });
  document.addEventListener("htmx:after:swap", soon);
  document.addEventListener("visibilitychange", soon);
  window.addEventListener("pagehide", () => reader?.stop());
}
