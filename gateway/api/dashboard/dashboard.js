// The live page of a gateway: one snapshot a second from its statistics feed, and the tokens of one stream.
// What a stream says is only ever put in as text.

const FEED = "v1/feeds/statistics/events";
const TOKEN = "rivergate.token"; // in sessionStorage: it is gone with the tab
const SILENT_MS = 4000; // a snapshot comes every second
const DEAD_MS = 12_000; // as long without one, and the connection is opened anew
const RETRY_MS = 3000;
const RATE_SECONDS = 5;
const MAX_SHOWN = 200_000; // characters of a stream's text, the newest
const SVG = "http://www.w3.org/2000/svg";
const NONE = "–";

const byId = (id) => document.getElementById(id);

// --- an event stream that comes back

// EventSource heals a cut by itself, but gives up at an HTTP error, and does not say at which.
class Source {
  #url;
  #on;
  #events = null;
  #timer = 0;
  #closed = false;

  // on: {message, end, state(word), refused(status, message)}
  constructor(url, on) {
    this.#url = url;
    this.#on = on;
    this.#open();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#events?.close();
  }

  reopen() {
    this.#events?.close();
    clearTimeout(this.#timer);
    this.#on.state("reconnecting");
    this.#open();
  }

  #open() {
    const events = (this.#events = new EventSource(this.#url));
    events.onmessage = (event) => this.#on.message(event.data);
    for (const name of ["end", "gap", "reset"]) {
      events.addEventListener(name, (event) => this.#on[name]?.(JSON.parse(event.data)));
    }
    events.onopen = () => this.#on.state("live");
    events.onerror = () => this.#onError(events);
  }

  #onError(events) {
    if (this.#closed || events !== this.#events) return;
    this.#on.state("reconnecting");
    if (events.readyState === EventSource.CLOSED) this.#ask();
  }

  async #ask() {
    const answer = await statusOf(this.#url);
    if (this.#closed) return;
    if ([401, 403, 404].includes(answer.status)) this.#on.refused(answer.status, answer.message);
    else this.#timer = setTimeout(() => this.#open(), RETRY_MS);
  }
}

async function statusOf(url) {
  const abort = new AbortController();
  try {
    const answer = await fetch(url, { signal: abort.signal, cache: "no-store" });
    const told = answer.ok ? {} : await answer.json();
    return { status: answer.status, message: told.error?.message ?? "" };
  } catch {
    return { status: 0, message: "" }; // nobody answers, or something that is not the gateway
  } finally {
    abort.abort();
  }
}

// --- words and numbers

const number = (value, digits = 0) =>
  value == null ? NONE : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

function milliseconds(value) {
  if (value == null) return NONE;
  return value < 1000 ? `${number(value, value < 10 ? 1 : 0)} ms` : `${number(value / 1000, 2)} s`;
}

function duration(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(seconds / 3600);
  return hours < 48 ? `${hours} h ${Math.floor((seconds % 3600) / 60)} min` : `${Math.floor(hours / 24)} days`;
}

const words = (name) => String(name).replaceAll("_", " ");
const modelAndId = (stream) => `${stream.model} ${stream.id}`;
const total = (counts) => counts.reduce((sum, count) => sum + count, 0);

// Control characters are shown instead of obeyed: nothing hides in a text, nothing turns it around.
function visible(text) {
  return text
    .replace(/[\u0000-\u0008\u000b-\u001f]/g, (found) => String.fromCharCode(0x2400 + found.charCodeAt(0)))
    .replace(/[\u007f-\u009f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]/g, codePoint);
}

const codePoint = (found) => `[U+${found.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}]`;

// --- into the document

function setText(node, text) {
  const shown = visible(String(text));
  if (node.textContent !== shown) node.textContent = shown;
}

function setAttributes(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function element(name, attributes = {}, ...children) {
  const node = setAttributes(document.createElement(name), attributes);
  node.append(...children);
  return node;
}

const drawn = (name, attributes, ...children) => {
  const node = setAttributes(document.createElementNS(SVG, name), attributes);
  node.append(...children);
  return node;
};

// A table whose rows stay the same elements, so that neither the focus nor a selection is lost every second.
// The roles stand there because on a phone its rows are laid out as cards.
class Table {
  #columns;
  #body = element("tbody", { role: "rowgroup" });
  #rows = new Map();

  // columns: [label, fill(cell, record), class]
  constructor(table, columns) {
    this.#columns = columns;
    const heads = columns.map(([label, , kind = ""]) =>
      element("th", { scope: "col", role: "columnheader", class: kind }, label),
    );
    const head = element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...heads));
    setAttributes(table, { role: "table" }).replaceChildren(head, this.#body);
  }

  show(records, keyOf) {
    const wanted = new Map(records.map((record) => [keyOf(record), record]));
    for (const [key, row] of this.#rows) {
      if (!wanted.has(key)) {
        row.remove();
        this.#rows.delete(key);
      }
    }
    let place = 0;
    for (const [key, record] of wanted) {
      const row = this.#rows.get(key) ?? this.#add(key);
      this.#columns.forEach(([, fill], column) => fill(row.children[column], record));
      if (this.#body.children[place] !== row) this.#body.insertBefore(row, this.#body.children[place] ?? null);
      place += 1;
    }
  }

  #add(key) {
    const cells = this.#columns.map(([label, , kind = ""], column) =>
      column === 0
        ? element("th", { scope: "row", role: "rowheader", class: kind })
        : element("td", { role: "cell", class: kind, "data-label": label }),
    );
    const row = element("tr", { role: "row" }, ...cells);
    this.#rows.set(key, row);
    return row;
  }
}

const says = (read) => (cell, record) => setText(cell, read(record));

// --- rates, from the snapshots of the last seconds

class History {
  #kept = [];

  add(now) {
    const last = this.#kept.at(-1);
    if (last && (now.at < last.at || now.at > last.at + 2 * RATE_SECONDS || now.deliveries < last.deliveries)) {
      this.#kept = []; // another process, or a long silence
    }
    const tokens = new Map(now.list.map((stream) => [stream.id, stream.usage?.completion_tokens]));
    this.#kept.push({ at: now.at, deliveries: now.deliveries, tokens });
    while (now.at - this.#kept[0].at > RATE_SECONDS) this.#kept.shift();
  }

  deliveries() {
    return this.#rate((one) => one.deliveries);
  }

  tokens(id) {
    return this.#rate((one) => one.tokens.get(id));
  }

  #rate(read) {
    const known = this.#kept.filter((one) => read(one) != null);
    const [first, last] = [known[0], known.at(-1)];
    if (known.length < 2 || last.at <= first.at) return null;
    return Math.max(0, (read(last) - read(first)) / (last.at - first.at));
  }
}

const history = new History();
const isRunning = (stream) => stream.ending === null;
const tokenRate = (stream) => (isRunning(stream) ? history.tokens(stream.id) : null);

// --- the figures

const share = (part, whole) => (whole ? ` (${number((100 * part) / whole, 1)} %)` : "");

const FACTS = [
  ["Running streams", (now) => number(now.streams.running)],
  ["Tokens a second", (now) => number(total(now.list.map((stream) => tokenRate(stream) ?? 0)))],
  ["Readers", (now) => number(now.readers)],
  ["Deliveries a second", () => number(history.deliveries())],
  ["Deliveries", (now) => number(now.deliveries)],
  ["Deliveries per send", (now) => number(now.sends ? now.deliveries / now.sends : null, 2)],
  ["Requests", (now) => number(now.requests)],
  ["Hedges", (now) => number(now.hedges) + share(now.hedges, now.requests)],
  ["TTFT budget misses", (now) => number(now.budget_misses)],
  ["Readers that lagged", (now) => number(now.lagged_readers)],
  ["Ran for nobody", (now) => duration(now.orphan_seconds)],
  ["Loop lag", (now) => milliseconds(now.loop_lag_ms)],
  ["Connections", (now) => number(now.connections)],
  ["Open files", (now) => number(now.open_fds)],
  ["Ledger", ({ ledger }) => ledger.failure ?? (ledger.unwritten ? `${number(ledger.unwritten)} unwritten` : "ok")],
];

const facts = FACTS.map(([label, read]) => {
  const value = element("dd", {}, NONE);
  byId("facts").append(element("div", {}, element("dt", {}, label), value));
  return [value, read];
});

function showAbout(now) {
  const mode = now.open_mode ? "open to this machine" : "with API keys";
  const state = now.ready ? "" : " · draining";
  setText(byId("about"), `version ${now.version} · up ${duration(now.uptime_seconds)} · ${mode}${state}`);
}

// --- distributions

const WIDTH = 360;
const HEIGHT = 132;
const FLOOR = HEIGHT - 16;
const CEILING = 16;

function short(milliseconds) {
  return milliseconds < 1000 ? String(milliseconds) : `${milliseconds / 1000}s`;
}

class Histogram {
  #bars = [];
  #about;
  #what;

  constructor(id, what) {
    setAttributes(byId(id), { viewBox: `0 0 ${WIDTH} ${HEIGHT}` });
    this.#about = byId(`${id}-about`);
    this.#what = what;
    this.#picture = byId(id);
  }

  #picture;

  show({ bounds, counts }) {
    if (!this.#bars.length) this.#draw(bounds);
    const most = Math.max(1, ...counts);
    counts.forEach((count, place) => {
      const height = count ? Math.max(2, ((FLOOR - CEILING) * count) / most) : 0;
      const [bar, label] = this.#bars[place];
      setAttributes(bar, { y: FLOOR - height, height });
      label.setAttribute("y", FLOOR - height - 4);
      setText(label, count ? number(count) : "");
    });
    setText(this.#about, summary(bounds, counts, this.#what));
  }

  #draw(bounds) {
    const step = WIDTH / (bounds.length + 1);
    this.#picture.append(drawn("line", { x1: 0, x2: WIDTH, y1: FLOOR + 0.5, y2: FLOOR + 0.5, class: "axis" }));
    for (let place = 0; place <= bounds.length; place += 1) {
      const middle = step * (place + 0.5);
      const label = place < bounds.length ? short(bounds[place]) : `>${short(bounds.at(-1))}`;
      const bar = drawn("rect", { x: step * place + 2, width: step - 4, y: FLOOR, height: 0, class: "bar" });
      const count = drawn("text", { x: middle, y: FLOOR - 4, class: "count" });
      this.#picture.append(bar, count, drawn("text", { x: middle, y: HEIGHT - 4, class: "tick" }, label));
      this.#bars.push([bar, count]);
    }
  }
}

function summary(bounds, counts, what) {
  const all = total(counts);
  if (!all) return "none yet";
  const within = (part) => {
    let left = part * all;
    const place = counts.findIndex((count) => (left -= count) <= 1e-9);
    return place < bounds.length ? `within ${milliseconds(bounds[place])}` : `over ${milliseconds(bounds.at(-1))}`;
  };
  return `${number(all)} ${what}: half ${within(0.5)}, 95 % ${within(0.95)}`;
}
