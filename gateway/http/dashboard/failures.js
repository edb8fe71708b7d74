// The last requests that failed: one line each, which opens to its reason and its attempts.

import { byId, element, setText } from "./page.js";
import { KINDS } from "./endings.js";
import { NONE, clock, milliseconds, number, plural, words } from "./words.js";

export class Failures {
  #rows = new Map(); // [the element, the number of the row that it shows] by request
  #failures = [];

  constructor() {
    byId("failures-filter").addEventListener("input", () => this.#filter());
  }

  show(failures) {
    this.#failures = failures;
    const wanted = new Set(failures.map((failure) => failure.request_id));
    for (const [id, [row]] of this.#rows) if (!wanted.has(id)) (row.remove(), this.#rows.delete(id));
    failures.forEach((failure, place) => {
      const row = this.#rowOf(failure);
      const list = byId("failures");
      if (list.children[place] !== row) list.insertBefore(row, list.children[place] ?? null);
    });
    this.#filter();
  }

  #rowOf(failure) {
    const known = this.#rows.get(failure.request_id);
    if (known && known[1] === failure.number) return known[0];
    const row =
      known?.[0] ?? element("li", {}, element("details", {}, element("summary"), element("div", { class: "told" })));
    fill(row.firstChild, failure);
    this.#rows.set(failure.request_id, [row, failure.number]);
    return row;
  }

  #filter() {
    const text = byId("failures-filter").value.trim().toLowerCase();
    let shown = 0;
    for (const failure of this.#failures) {
      const row = this.#rows.get(failure.request_id)[0];
      row.hidden = text !== "" && !row.textContent.toLowerCase().includes(text);
      shown += row.hidden ? 0 : 1;
    }
    const all = this.#failures.length;
    const counted = shown === all ? `the last ${number(all)}` : `${number(shown)} of the last ${number(all)}`;
    setText(byId("failures-about"), all ? `${counted}, the newest first` : "none since the gateway started");
    byId("failures-filter").parentElement.hidden = all < 2;
  }
}

function fill(details, failure) {
  const [summary, told] = details.children;
  const upstreams = [...new Set(failure.attempts.map((attempt) => attempt.upstream))].join(" → ");
  const outcome = element("strong", { "data-kind": KINDS[failure.outcome] ?? "bad" });
  setText(outcome, words(failure.outcome) + (failure.status ? ` (HTTP ${failure.status})` : ""));
  const time = element("time", { datetime: new Date(failure.at * 1000).toISOString() });
  const [where, reason] = [element("span", { class: "where" }), element("span", { class: "why" })];
  setText(time, clock(failure.at));
  setText(where, [failure.model, upstreams].filter(Boolean).join(" · "));
  setText(reason, failure.reason ?? "refused before any upstream was asked");
  summary.replaceChildren(time, " ", outcome, " ", where, " ", reason);
  told.replaceChildren(attemptsOf(failure), factsOf(failure));
}

function attemptsOf({ attempts }) {
  const rows = attempts.map((attempt) => {
    const row = element("li", {});
    const status = attempt.status === null || attempt.status < 400 ? "" : ` (HTTP ${attempt.status})`;
    const reason = attempt.reason && !`HTTP ${attempt.status}`.includes(attempt.reason) ? `: ${attempt.reason}` : "";
    setText(
      row,
      `${attempt.upstream}${attempt.hedge ? ", as a hedge" : ""}, after ${milliseconds(attempt.start_ms)}: ${words(attempt.outcome)}${status}${reason}`,
    );
    return row;
  });
  return element("ol", { "aria-label": plural(attempts.length, "attempt") }, ...rows);
}

function factsOf(failure) {
  const key = "key" in failure ? [["key", failure.key_name ?? failure.key ?? "none"]] : [];
  const facts = [
    ["request", failure.request_id],
    ["stream", failure.stream],
    ["TTFT", failure.ttft_ms === null ? null : milliseconds(failure.ttft_ms)],
    ["took", failure.duration_ms === null ? null : milliseconds(failure.duration_ms)],
    ...key,
  ];
  const node = element("p", { class: "facts" });
  setText(
    node,
    facts
      .filter(([, value]) => value)
      .map(([name, value]) => `${name} ${value}`)
      .join(" · ") || NONE,
  );
  return node;
}
