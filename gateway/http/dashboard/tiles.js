// The large numbers, each with its line over the last ten minutes.

import { Sparkline } from "./charts.js";
import { windowOf } from "./history.js";
import { byId, drawn, element, setText } from "./page.js";
import { milliseconds, number, plural, total } from "./words.js";

const SECONDS = 600;

// The name, the number, what stands beside it, the line, and how a value of the line is written.
const TILES = [
  [
    "Running streams",
    ({ now }) => number(now.streams.running),
    ({ now }) => plural(now.readers, "reader"),
    (shown) => shown.running,
    (value) => number(value),
  ],
  [
    "Tokens a second",
    ({ rates }) => number(rates.tokens()),
    ({ rates }) => `${number(rates.deliveries())} deliveries/s`,
    (shown) => shown.tokens_per_second,
    (value) => number(value),
  ],
  [
    "Time to first token, last minute",
    ({ now }) => milliseconds(now.ttft.p50_ms),
    ({ now }) => `p95 ${milliseconds(now.ttft.p95_ms)}`,
    (shown) => shown.ttft_p50_ms,
    milliseconds,
  ],
  [
    "Failures",
    ({ shown }) => number(total(shown.failures)),
    ({ shown }) => shareOf(shown),
    (shown) => shown.failures,
    (value) => number(value),
  ],
];

function shareOf(shown) {
  const [failed, answered] = [total(shown.failures), total(shown.answers)];
  if (!failed && !answered) return "no request in ten minutes";
  return `${number((100 * failed) / (failed + answered), failed ? 1 : 0)} % in ten minutes`;
}

function boundsOf(values, write) {
  const known = values.filter((value) => value != null);
  if (!known.length) return "none yet";
  const [least, most] = [write(Math.min(...known)), write(Math.max(...known))];
  return least === most ? least : `${least} to ${most}`;
}

export class Tiles {
  #tiles = TILES.map(([name, value, beside, values, write]) => {
    const [figure, about, bounds, svg] = [
      element("dd", { class: "figure" }, "–"),
      element("dd", { class: "beside" }),
      element("dd", { class: "bounds" }),
      drawn("svg", { class: "spark" }),
    ];
    byId("tiles").append(
      element(
        "div",
        { class: "tile" },
        element("dt", {}, name),
        figure,
        about,
        element("dd", { class: "drawn" }, svg),
        bounds,
      ),
    );
    return { figure, about, bounds, value, beside, values, write, line: new Sparkline(svg) };
  });

  show(now, rates, history) {
    const shown = windowOf(history.fine, SECONDS);
    const read = { now, rates, shown };
    for (const tile of this.#tiles) {
      setText(tile.figure, tile.value(read));
      setText(tile.about, tile.beside(read));
      const values = tile.values(shown);
      tile.line.show(values);
      setText(tile.bounds, `10 min: ${boundsOf(values, tile.write)}`);
    }
    const failed = total(shown.failures) > 0;
    if (failed) this.#tiles[3].figure.dataset.kind = "bad";
    else delete this.#tiles[3].figure.dataset.kind;
  }
}
