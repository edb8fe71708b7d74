// Small pictures as SVG: a line for a number, and the frame that the pictures of the timeline share.

import { drawn, setAttributes } from "./page.js";
import { clock } from "./words.js";

const WIDTH = 240; // of a small picture, in units of its viewBox
const HEIGHT = 36;

// The line of a value over time, above a soft area; it breaks where no value is known.
export class Sparkline {
  #line = drawn("path", { class: "line" });
  #area = drawn("path", { class: "area" });

  constructor(svg) {
    setAttributes(svg, { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    svg.replaceChildren(this.#area, this.#line);
  }

  show(values) {
    const most = Math.max(1e-9, ...values.filter((value) => value != null));
    const x = (place) => (WIDTH * place) / Math.max(1, values.length - 1);
    const y = (value) => HEIGHT - 2 - ((HEIGHT - 6) * value) / most;
    const [line, area] = pathsOf(values, x, y, HEIGHT);
    this.#line.setAttribute("d", line);
    this.#area.setAttribute("d", area);
  }
}

// The path of a line through the known values, and that of the area below it.
export function pathsOf(values, x, y, floor) {
  let [line, area] = ["", ""];
  for (const run of runsOf(values)) {
    const points = run.map((place) => `${round(x(place))} ${round(y(values[place]))}`);
    if (points.length === 1) points.push(`${round(x(run[0]) + 2)} ${round(y(values[run[0]]))}`);
    line += `M${points.join("L")}`;
    if (run.length > 1) area += `M${round(x(run[0]))} ${floor}L${points.join("L")}L${round(x(run.at(-1)))} ${floor}Z`;
  }
  return [line, area];
}

// The places of known values, one list for each run without a break.
function runsOf(values) {
  const runs = [];
  values.forEach((value, place) => {
    if (value == null) return;
    if (place && values[place - 1] != null) runs.at(-1).push(place);
    else runs.push([place]);
  });
  return runs;
}

const round = (value) => Math.round(value * 10) / 10;

// Round values for an axis from 0 to at least `most`, about `count` of them.
export function ticksFor(most, count = 4) {
  const rough = Math.max(most, 1e-9) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const ticks = [];
  for (let value = 0; value < most + step; value += step) ticks.push(Number(value.toPrecision(12)));
  return ticks;
}

// Whole times of the clock between two times, with their words, at most `count` of them.
export function timesBetween(from, until, count) {
  const span = until - from;
  const step =
    [15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200].find((seconds) => span / seconds <= count) ?? 14_400;
  const times = [];
  for (let at = Math.ceil(from / step) * step; at <= until; at += step) times.push([at, clock(at, step < 60)]);
  return times;
}
