/**
 * A run log that keeps itself current: [data-log="<address of its rows>"] around
 *   [data-log-rows]    the list; each row is an <li data-key="<epoch ms>-<id>">, newest first
 *   [data-log-filter]  a form; its fields are the query of the address
 *   [data-log-pause]   a toggle button with a [data-log-count] inside, for what waits meanwhile
 *   [data-log-more]    a button for older rows
 *   [data-log-set='{"field": "value"}']  a button, anywhere on the page, that sets fields of the filter
 *   [data-shown-if="field"]  a part of the filter that shows only while that field is filled in
 *
 * News come as `stream:log` events: without a filter their rows are put in place; with one, or when
 * the event has no rows, the address is asked again. Rows are known by their key, so it does not
 * matter how often one arrives. At most 500 are kept.
 */
import { bind } from "./bind.js";
import { toast } from "./toast.js";

const PAGE = 100;
const MOST = 500;

/**
 * What to do with a page of newest rows: which are `fresh`, and whether they `follow` what is shown.
 * They do not when a full page has no row in common with it: rows between are missing then.
 */
export function compare(shown, incoming, page = PAGE) {
  const known = new Set(shown);
  const fresh = incoming.filter((key) => !known.has(key));
  return { fresh, follows: !shown.length || fresh.length < incoming.length || incoming.length < page };
}

/** Index in a list of keys, newest first, where a new one belongs. */
export function place(keys, key) {
  const index = keys.findIndex((other) => other < key);
  return index < 0 ? keys.length : index;
}

/** The address with the filled-in fields of the filter. */
export function address(base, fields, extra = {}) {
  const query = new URLSearchParams([...fields, ...Object.entries(extra)].filter(([, value]) => value));
  return query.size ? `${base}?${query}` : base;
}

/** Runs `work` one at a time; however often it is asked for meanwhile, it runs once more afterwards. */
export function single(work) {
  let running = false;
  let again = false;
  return async function run() {
    if (running) return void (again = true);
    running = true;
    try {
      await work();
    } finally {
      running = false;
      if (again) {
        again = false;
        setTimeout(run, 400);
      }
    }
  };
}

class Log {
  constructor(root) {
    this.root = root;
    this.list = root.querySelector("[data-log-rows]");
    this.form = root.querySelector("[data-log-filter]");
    this.more = root.querySelector("[data-log-more]");
    this.pauseButton = root.querySelector("[data-log-pause]");
    this.gone = new AbortController();
    this.waiting = 0;
    this.version = 0;
    this.refresh = single(() => this.load());
    let timer = 0;
    const changed = () => (clearTimeout(timer), (timer = setTimeout(() => this.filter(), 250)));
    this.form.addEventListener("input", changed);
    this.form.addEventListener("reset", () => setTimeout(changed));
    this.form.addEventListener("submit", (event) => (event.preventDefault(), this.filter()));
    this.more.addEventListener("click", () => this.older());
    this.pauseButton.addEventListener("click", () => this.pause(!this.paused));
    root.addEventListener("stream:log", ({ detail }) => this.news(detail.html));
    document.addEventListener("click", ({ target }) => this.set(target.closest("[data-log-set]")), { signal: this.gone.signal });
    this.list.addEventListener("keydown", (event) => this.walk(event));
  }

  get rows() {
    return [...this.list.children];
  }

  get fields() {
    return [...new FormData(this.form)].filter(([, value]) => value.trim());
  }

  get paused() {
    return this.pauseButton.getAttribute("aria-pressed") === "true";
  }

  news(html) {
    if (this.paused) {
      this.waiting += html ? parse(html).length : 0;
      this.pauseButton.querySelector("[data-log-count]").textContent = this.waiting || "";
    } else if (html && !this.fields.length) this.merge(parse(html));
    else this.refresh();
  }

  pause(paused) {
    this.pauseButton.setAttribute("aria-pressed", String(paused));
    this.waiting = 0;
    this.pauseButton.querySelector("[data-log-count]").textContent = "";
    if (!paused) this.refresh();
  }

  set(button) {
    if (!button) return;
    for (const [name, value] of Object.entries(JSON.parse(button.dataset.logSet))) this.form.elements[name].value = value;
    this.filter();
  }

  filter() {
    this.version += 1;
    this.root.toggleAttribute("data-filtered", this.fields.length > 0);
    for (const field of this.form.querySelectorAll("[data-shown-if]")) field.hidden = !this.form.elements[field.dataset.shownIf].value;
    return this.load(true);
  }

  async fetchRows(extra) {
    const response = await fetch(address(this.root.dataset.log, this.fields, extra), { headers: { "HX-Request": "true", Accept: "text/html" } });
    const text = await response.text();
    if (response.status === 204) return null;
    if (response.ok) return parse(text);
    const page = new DOMParser().parseFromString(text, "text/html");
    throw new Error(page.querySelector("[data-error-message]")?.textContent ?? "The log could not be read.");
  }

  async load(replace = false) {
    const version = this.version;
    try {
      const rows = await this.fetchRows();
      if (rows && version === this.version) this.merge(rows, replace);
    } catch (error) {
      if (replace) toast(error.message, "error");
    }
  }

  async older() {
    try {
      const rows = await this.fetchRows({ before: this.list.lastElementChild?.dataset.key });
      if (!rows) return;
      this.list.append(...rows);
      rows.forEach(bring);
      this.more.hidden = rows.length < PAGE;
      rows[0]?.querySelector("summary").focus();
    } catch (error) {
      toast(error.message, "error");
    }
  }

  merge(incoming, replace = false) {
    const keys = this.rows.map((row) => row.dataset.key);
    const { fresh, follows } = compare(keys, incoming.map((row) => row.dataset.key));
    if (replace || !follows) {
      this.list.replaceChildren(...incoming);
      this.more.hidden = incoming.length < PAGE;
      incoming.forEach(bring);
      return;
    }
    for (const row of incoming.filter((one) => fresh.includes(one.dataset.key))) {
      const index = place(keys, row.dataset.key);
      this.list.insertBefore(row, this.list.children[index] ?? null);
      keys.splice(index, 0, row.dataset.key);
      row.dataset.fresh = "";
      bring(row);
    }
    const over = this.rows.slice(MOST);
    over.forEach((row) => row.remove());
    if (over.length) this.more.hidden = false;
  }

  walk(event) {
    const row = event.target.closest("summary")?.closest("li");
    const next = row && { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
    if (!next) return;
    event.preventDefault();
    next.querySelector("summary").focus();
  }
}

function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return [...template.content.querySelectorAll("li")];
}

function bring(row) {
  window.htmx.process(row);
}

export function bindLogs() {
  bind("data-log", (root) => {
    const log = new Log(root);
    return () => log.gone.abort();
  });
}
