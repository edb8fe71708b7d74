// Shows the smaller numbers of a snapshot, each with its label.

import { byId, element, setText } from "./page.js";
import { NONE, duration, milliseconds, number } from "./words.js";

const share = (part, whole) => (whole ? ` (${number((100 * part) / whole, 1)} %)` : "");

function ledger({ failure, unwritten }) {
  if (failure !== null) return failure;
  return unwritten ? `${number(unwritten)} unwritten` : "ok";
}

const FIGURES = [
  ["Requests", (now) => number(now.requests)],
  ["Refused requests", (now) => number(now.refusals)],
  ["Hedges", (now) => number(now.hedges) + share(now.hedges, now.requests)],
  ["TTFT budget misses", (now) => number(now.budget_misses)],
  ["Deliveries", (now) => number(now.deliveries)],
  ["Deliveries per send", (now) => number(now.sends ? now.deliveries / now.sends : null, 2)],
  ["Readers that lagged", (now) => number(now.lagged_readers)],
  ["Ran for nobody", (now) => duration(now.orphan_seconds)],
  ["Loop lag", (now) => milliseconds(now.loop_lag_ms)],
  ["Connections", (now) => number(now.connections)],
  ["Open files", (now) => number(now.open_fds)],
  ["Ledger", (now) => ledger(now.ledger)],
];

export class Figures {
  #values = FIGURES.map(([label, read]) => {
    const value = element("dd", {}, NONE);
    byId("figures").append(element("div", {}, element("dt", {}, label), value));
    return [value, read];
  });

  show(now) {
    for (const [value, read] of this.#values) setText(value, read(now));
  }
}
