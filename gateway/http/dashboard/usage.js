// Cost and tokens of the last 24 hours, by model or by key, for the holder of an admin key.

import { getJson } from "./credentials.js";
import { Table, byId, drawn, element, says, setAttributes, setText } from "./page.js";
import { clock, dollars, number, total } from "./words.js";

const ASK_MS = 20_000; // the time between two questions
const HOURS = 24;
const HOUR = 3600; // seconds
const SUMS = ["requests", "prompt_tokens", "completion_tokens", "cost_usd"];

export class Usage {
  #askedAt = -Infinity;
  #by = "model";
  #told = null;
  #at = 0;
  #table = new Table(byId("usage"), [
    ["Name", says((row) => row.name)],
    ["Requests", says((row) => number(row.requests)), "number"],
    ["Prompt tokens", says((row) => number(row.prompt_tokens)), "number"],
    ["Answer tokens", says((row) => number(row.completion_tokens)), "number"],
    ["Cost", says((row) => dollars(row.cost_usd)), "number"],
    [
      "Cost, by the hour",
      (cell, row) =>
        fillBars(
          cell,
          row.hours.map((hour) => hour.cost_usd),
          this.#at,
          dollars,
        ),
      "picture",
    ],
    [
      "Tokens, by the hour",
      (cell, row) =>
        fillBars(
          cell,
          row.hours.map((hour) => hour.prompt_tokens + hour.completion_tokens),
          this.#at,
          number,
        ),
      "picture",
    ],
  ]);

  constructor() {
    for (const button of byId("usage-by").children) button.addEventListener("click", () => this.#group(button));
  }

  // sees: as in History
  follow(now, sees) {
    const isShown = sees === "everybody's";
    byId("usage-section").hidden = !isShown;
    if (isShown && performance.now() - this.#askedAt > ASK_MS) this.#ask(now.at);
  }

  forget() {
    this.#askedAt = -Infinity;
    byId("usage-section").hidden = true;
  }

  #group(button) {
    this.#by = button.value;
    for (const other of byId("usage-by").children) other.setAttribute("aria-pressed", String(other === button));
    this.#draw();
  }

  async #ask(at) {
    this.#askedAt = performance.now();
    this.#told = await getJson("v1/statistics/usage").catch(() => null);
    this.#at = at;
    this.#draw();
  }

  #draw() {
    if (!this.#told) return;
    const newest = Math.floor(this.#at / HOUR) * HOUR;
    const rows = new Map();
    for (const told of this.#told.data) {
      const name = this.#by === "model" ? (told.model ?? "others") : (told.key_name ?? told.key ?? "no key");
      const place = HOURS - 1 - (newest - told.hour) / HOUR;
      for (const row of [rows.get(name) ?? rowFor(rows, name), rows.get("") ?? rowFor(rows, "")]) {
        for (const sum of SUMS)
          [row[sum], row.hours[place][sum]] = [row[sum] + told[sum], row.hours[place][sum] + told[sum]];
      }
    }
    const all = rows.get("");
    rows.delete("");
    const sorted = [...rows.values()].sort(
      (left, right) => right.cost_usd - left.cost_usd || right.completion_tokens - left.completion_tokens,
    );
    if (all) sorted.unshift({ ...all, name: "all" });
    this.#table.show(sorted, (row) => row.name);
    const now = all ? all.hours.at(-1) : null;
    const tokens = now ? now.prompt_tokens + now.completion_tokens : 0;
    const began = clock(Math.max(this.#told.since, newest - (HOURS - 1) * HOUR), false);
    setText(
      byId("usage-about"),
      all
        ? `this hour ${dollars(now.cost_usd)} and ${number(tokens)} tokens; in all ${dollars(all.cost_usd)} and ${number(total([all.prompt_tokens, all.completion_tokens]))} tokens since ${began}`
        : "nothing yet",
    );
  }
}

function rowFor(rows, name) {
  const sums = () => Object.fromEntries(SUMS.map((sum) => [sum, 0]));
  const row = { name, ...sums(), hours: Array.from({ length: HOURS }, sums) };
  rows.set(name, row);
  return row;
}

// A bar for each hour; the words tell the largest.
function fillBars(cell, values, at, write) {
  if (!cell.firstChild)
    cell.append(
      drawn("svg", {
        class: "spark",
        viewBox: `0 0 ${HOURS * 8} 28`,
        preserveAspectRatio: "none",
        "aria-hidden": "true",
      }),
      element("small", {}),
    );
  const [svg, about] = cell.children;
  const most = Math.max(1e-12, ...values);
  while (svg.children.length < HOURS) svg.append(drawn("rect", { class: "bar" }));
  values.forEach((value, place) => {
    const height = value ? Math.max(1.5, (27 * value) / most) : 0;
    setAttributes(svg.children[place], { x: place * 8, y: 28 - height, width: 7, height });
  });
  const best = values.indexOf(Math.max(...values));
  const hour = (Math.floor(at / HOUR) - (HOURS - 1 - best)) * HOUR;
  setText(about, values[best] ? `most at ${clock(hour, false)}: ${write(values[best])}` : "none");
}
