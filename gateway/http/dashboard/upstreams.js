// The upstreams: one line each, which opens to its models, its last errors and the history of its breakers.

import { Sparkline } from "./charts.js";
import { windowOf } from "./history.js";
import { Table, byId, drawn, element, says, setText } from "./page.js";
import { clock, duration, milliseconds, number, plural, total, words } from "./words.js";

const SECONDS = 600;
const COLUMNS = [
  "Upstream",
  "Breaker",
  "In flight",
  "TTFT p50",
  "TTFT p95",
  "Tokens/s",
  "Failures",
  "TTFT, 10 min",
  "Errors, 10 min",
];

const MODEL_COLUMNS = [
  ["Model", says((row) => row.model)],
  ["Breaker", fillBreaker],
  ["In flight", says((row) => number(row.in_flight)), "number"],
  ["TTFT p50", says((row) => milliseconds(row.ttft_p50_ms)), "number"],
  ["TTFT p95", says((row) => milliseconds(row.ttft_p95_ms)), "number"],
  ["Tokens/s", says((row) => number(row.tps_p50, 1)), "number"],
  ["Failures", says((row) => `${number(100 * row.error_rate, 1)} %`), "number"],
];

function fillBreaker(cell, row) {
  const wait = row.wait_seconds > 0 ? `, ${duration(row.wait_seconds)}` : "";
  setText(cell, words(row.breaker) + wait);
  cell.dataset.kind = row.breaker === "closed" && !wait ? "good" : "bad";
}

export class Upstreams {
  #groups = new Map(); // UpstreamGroup by name
  #troubled = new Set();

  constructor() {
    byId("upstreams-filter").addEventListener("input", () => this.#filter());
    byId("upstreams-troubled").addEventListener("change", () => this.#filter());
    byId("upstreams-head").append(...COLUMNS.map((label) => element("span", {}, label)));
  }

  show(now, history) {
    const shown = windowOf(history.fine, SECONDS);
    const byName = Map.groupBy?.(now.upstreams, (row) => row.upstream) ?? grouped(now.upstreams);
    for (const [name, group] of this.#groups) if (!byName.has(name)) (group.node.remove(), this.#groups.delete(name));
    this.#troubled.clear();
    for (const [name, rows] of byName) {
      let group = this.#groups.get(name);
      if (!group) {
        group = new UpstreamGroup(name);
        this.#groups.set(name, group);
        byId("upstreams").append(group.node);
      }
      const errors = now.errors.filter((error) => error.upstream === name);
      const changes = history.changes.filter((change) => change.upstream === name);
      const track = shown.upstreams[name] ?? { ttft_p50_ms: [], failures: [] };
      group.show({ rows, errors, changes, track, at: now.at });
      if (rows.some((row) => row.breaker !== "closed" || row.wait_seconds > 0) || total(track.failures))
        this.#troubled.add(name);
    }
    this.#filter();
  }

  #filter() {
    const [text, only] = [byId("upstreams-filter").value.trim().toLowerCase(), byId("upstreams-troubled").checked];
    let shown = 0;
    for (const [name, { node, models }] of this.#groups) {
      const found = [name, ...models].some((word) => word.toLowerCase().includes(text));
      node.hidden = !found || (only && !this.#troubled.has(name));
      shown += node.hidden ? 0 : 1;
    }
    const troubled = this.#troubled.size;
    const counted =
      shown === this.#groups.size
        ? plural(shown, "upstream")
        : `${number(shown)} of ${plural(this.#groups.size, "upstream")}`;
    setText(
      byId("upstreams-about"),
      `${counted}, ${troubled ? `${number(troubled)} with errors in the last ten minutes` : "none with errors in the last ten minutes"}`,
    );
  }
}

class UpstreamGroup {
  node = element("details", { class: "upstream" });
  models = [];
  #cells = COLUMNS.map((label) => element("span", { class: "cell", "data-label": label }));
  #ttft;
  #errorLine;
  #modelTable = element("table", { class: "cards" });
  #models;
  #errors = element("ul", { class: "told" });
  #changes = element("ul", { class: "told" });

  constructor(name) {
    const [ttft, errors] = [drawn("svg", { class: "spark" }), drawn("svg", { class: "spark bad" })];
    [this.#ttft, this.#errorLine] = [new Sparkline(ttft), new Sparkline(errors)];
    this.#cells[7].append(ttft);
    this.#cells[8].append(element("span", { class: "count" }), errors);
    setText(this.#cells[0], name);
    this.#models = new Table(this.#modelTable, MODEL_COLUMNS);
    const part = (title, content) => element("section", { class: "part" }, element("h3", {}, title), content);
    this.node.append(
      element("summary", {}, ...this.#cells),
      element(
        "div",
        { class: "parts" },
        part("Models", this.#modelTable),
        part("Last errors", this.#errors),
        part("Breaker history", this.#changes),
      ),
    );
  }

  show({ rows, errors, changes, track, at }) {
    this.models = rows.map((row) => row.model);
    const [, breaker, inFlight, p50, p95, tps, failures] = this.#cells;
    this.#showBreaker(breaker, rows);
    setText(inFlight, number(total(rows.map((row) => row.in_flight))));
    setText(p50, span(rows, "ttft_p50_ms", milliseconds));
    setText(p95, span(rows, "ttft_p95_ms", milliseconds));
    setText(
      tps,
      span(rows, "tps_p50", (value) => number(value)),
    );
    setText(
      failures,
      span(rows, "error_rate", (value) => `${number(100 * value, 1)} %`),
    );
    this.#ttft.show(track.ttft_p50_ms);
    this.#errorLine.show(track.failures);
    setText(this.#cells[8].firstChild, number(total(track.failures)));
    if (!this.node.open) return;
    this.#models.show(rows, (row) => row.model);
    list(
      this.#errors,
      errors.map((error) => errorWords(error, at)),
      "none",
    );
    list(this.#changes, changes.map(changeWords), "no breaker has opened");
  }

  #showBreaker(cell, rows) {
    const open = rows.filter((row) => row.breaker !== "closed" || row.wait_seconds > 0);
    if (!open.length) setText(cell, "closed");
    else if (rows.length === 1) return fillBreaker(cell, rows[0]);
    else setText(cell, `${open.length} of ${rows.length} left alone`);
    cell.dataset.kind = open.length ? "bad" : "good";
  }
}

function errorWords({ at, model, outcome, status, reason, count }, now) {
  const code = status === null || status < 400 || reason === `HTTP ${status}` ? "" : ` (HTTP ${status})`;
  return `${plural(count, "time")}, last ${duration(now - at)} ago: ${words(outcome)}${code}, ${reason} · ${model}`;
}

function changeWords({ at, model, to, cause, reason, seconds }) {
  const why = reason ? ` (${reason})` : "";
  const wait = seconds === null ? "" : `, tried again after ${duration(seconds)}`;
  return `${clock(at)} ${to === "open" ? "opened" : "closed"}: ${cause}${why}${wait} · ${model}`;
}

// The lowest and the highest value of the rows.
function span(rows, name, write) {
  const known = rows.map((row) => row[name]).filter((value) => value != null);
  if (!known.length) return "–";
  const [least, most] = [write(Math.min(...known)), write(Math.max(...known))];
  if (least === most) return least;
  const unit = / \D+$/.exec(most)?.[0];
  return `${unit && least.endsWith(unit) ? least.slice(0, -unit.length) : least} – ${most}`;
}

function list(node, texts, none) {
  const wanted = texts.length ? texts : [none];
  while (node.children.length > wanted.length) node.lastChild.remove();
  wanted.forEach((text, place) => {
    if (!node.children[place]) node.append(element("li", {}));
    setText(node.children[place], text);
  });
}

function grouped(rows) {
  const found = new Map();
  for (const row of rows) found.set(row.upstream, [...(found.get(row.upstream) ?? []), row]);
  return found;
}
