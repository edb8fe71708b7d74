// The timeline: time to first token as p50 and p95, and below it a lane of errors for each upstream.

import { pathsOf, ticksFor, timesBetween } from "./charts.js";
import { timeOf, windowOf } from "./history.js";
import { byId, drawn, element, setText } from "./page.js";
import { clock, milliseconds, number, plural, total } from "./words.js";

const RANGES = [
  ["2 min", 120],
  ["5 min", 300],
  ["10 min", 600],
  ["1 h", 3600],
  ["6 h", 21_600],
];
const FINE_SECONDS = 600; // what the fine ring holds; longer ranges are drawn from the coarse one
const PLOT_HEIGHT = 170; // pixels
const LANE_HEIGHT = 18;
const MOST_LANES = 12;
const EVERYBODY = "all upstreams";
const RIGHT = 14; // pixels beside the plot

export class Timeline {
  #history = null;
  #seconds = 600;
  #upstream = EVERYBODY;
  #place = null; // the point under the cursor
  #shown = null;
  #size = { left: 0, width: 0 };

  constructor() {
    for (const [label, seconds] of RANGES) byId("ranges").append(this.#rangeButton(label, seconds));
    byId("timeline-upstream").addEventListener("change", (event) => this.#choose(event.target.value));
    const plot = byId("plot");
    plot.addEventListener("pointermove", (event) => this.#onPointer(event));
    plot.addEventListener("pointerleave", () => this.#point(null));
    plot.addEventListener("keydown", (event) => this.#onKey(event));
    new ResizeObserver(() => this.#draw()).observe(byId("timeline-plots"));
  }

  show(history) {
    this.#history = history;
    this.#draw();
  }

  #rangeButton(label, seconds) {
    const button = element("button", { type: "button", "aria-pressed": String(seconds === this.#seconds) }, label);
    button.addEventListener("click", () => {
      this.#seconds = seconds;
      this.#place = null;
      for (const other of byId("ranges").children) other.setAttribute("aria-pressed", String(other === button));
      this.#draw();
    });
    return button;
  }

  #choose(upstream) {
    this.#upstream = upstream;
    this.#draw();
  }

  #draw() {
    const width = byId("timeline-plots").clientWidth;
    if (!this.#history || !width) return;
    const ring = this.#seconds > FINE_SECONDS ? this.#history.coarse : this.#history.fine;
    const shown = (this.#shown = windowOf(ring, this.#seconds));
    if (!shown.until) shown.until = Date.now() / 1000;
    this.#fillUpstreams(Object.keys(shown.upstreams).sort());
    this.#size = { left: width < 560 ? 84 : 148, width };
    this.#drawPlot(this.#track());
    this.#drawLanes();
    this.#tell();
  }

  #track() {
    return this.#shown.upstreams[this.#upstream] ?? this.#shown;
  }

  #fillUpstreams(names) {
    const select = byId("timeline-upstream");
    const wanted = [EVERYBODY, ...names];
    if (wanted.join("\n") === [...select.options].map((option) => option.value).join("\n")) return;
    if (!wanted.includes(this.#upstream)) this.#upstream = EVERYBODY;
    select.replaceChildren(...wanted.map((name) => element("option", { value: name }, name)));
    select.value = this.#upstream;
  }

  #x(place) {
    const { left, width } = this.#size;
    return left + ((width - left - RIGHT) * (place + 0.5)) / this.#shown.points;
  }

  #drawPlot(track) {
    const { left, width } = this.#size;
    const [top, floor] = [10, PLOT_HEIGHT - 22];
    const known = track.ttft_p95_ms.filter((value) => value != null);
    const ticks = known.length ? ticksFor(Math.max(1, ...known)) : [0];
    const y = (value) => floor - ((floor - top) * value) / Math.max(1, ticks.at(-1));
    const grid = ticks.map((tick) => [
      drawn("line", { x1: left, x2: width - RIGHT, y1: y(tick), y2: y(tick), class: "grid" }),
      drawn("text", { x: left - 8, y: y(tick) + 4, class: "tick end" }, milliseconds(tick)),
    ]);
    const x = (place) => this.#x(place);
    const [tail, tailArea] = pathsOf(track.ttft_p95_ms, x, y, floor);
    const [middle, middleArea] = pathsOf(track.ttft_p50_ms, x, y, floor);
    byId("plot").setAttribute("viewBox", `0 0 ${width} ${PLOT_HEIGHT}`);
    byId("plot").setAttribute("height", PLOT_HEIGHT);
    byId("plot").replaceChildren(
      ...grid.flat(),
      ...this.#timeTicks(PLOT_HEIGHT - 6),
      drawn("path", { d: tailArea, class: "area tail" }),
      drawn("path", { d: middleArea, class: "area" }),
      drawn("path", { d: tail, class: "line tail" }),
      drawn("path", { d: middle, class: "line" }),
      ...this.#cursor(top, floor),
    );
    byId("plot-none").hidden = known.length > 0;
  }

  #timeTicks(y) {
    const shown = this.#shown;
    const from = shown.until - shown.points * shown.seconds;
    const { left, width } = this.#size;
    const scale = (width - left - RIGHT) / (shown.until - from);
    return timesBetween(from, shown.until, Math.max(2, Math.floor((width - left) / 90))).map(([at, words]) =>
      drawn("text", { x: Math.min(left + (at - from) * scale, width - 30), y, class: "tick" }, words),
    );
  }

  #cursor(top, floor) {
    if (this.#place === null) return [];
    return [
      drawn("line", { x1: this.#x(this.#place), x2: this.#x(this.#place), y1: top, y2: floor, class: "cursor" }),
    ];
  }

  #drawLanes() {
    const tracks = Object.entries(this.#shown.upstreams).sort(([left], [right]) => left.localeCompare(right));
    const ordered = [
      ...tracks.filter(([, track]) => total(track.failures)),
      ...tracks.filter(([, track]) => !total(track.failures)),
    ];
    const lanes = ordered.slice(0, MOST_LANES);
    const { width } = this.#size;
    const height = lanes.length * LANE_HEIGHT + 4;
    const svg = byId("lanes");
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("height", height);
    svg.replaceChildren(...lanes.flatMap(([name, track], lane) => this.#lane(name, track, lane * LANE_HEIGHT + 2)));
    const errors = tracks.map(([name, track]) => [name, total(track.failures)]).filter(([, count]) => count);
    const left = ordered.length - lanes.length;
    const said = errors.length ? errors.map(([name, count]) => `${name} ${number(count)}`).join(", ") : "none";
    setText(
      byId("lanes-about"),
      `Errors by upstream: ${said}.${left ? ` ${plural(left, "more upstream")} without a lane.` : ""}`,
    );
  }

  #lane(name, track, y) {
    const { left, width } = this.#size;
    const room = Math.floor((left - 12) / 6.6);
    const label = name.length > room ? `${name.slice(0, room - 1)}…` : name;
    const step = (width - left - RIGHT) / this.#shown.points;
    const most = Math.max(4, ...track.failures.filter((count) => count != null));
    const cells = track.failures.flatMap((count, place) =>
      count
        ? [
            drawn("rect", {
              x: left + step * place,
              y: y + 2,
              width: Math.max(step - 0.6, 1.5),
              height: LANE_HEIGHT - 6,
              class: "error",
              "fill-opacity": 0.45 + (0.55 * count) / most,
            }),
          ]
        : [],
    );
    return [
      drawn("rect", { x: left, y: y + 2, width: width - left - RIGHT, height: LANE_HEIGHT - 6, class: "lane" }),
      drawn("text", { x: left - 8, y: y + LANE_HEIGHT - 6, class: "tick end" }, label, drawn("title", {}, name)),
      ...this.#openSpans(name, y, left),
      ...cells,
    ];
  }

  // The times at which a breaker of the upstream was open, as far as the history tells.
  #openSpans(name, y, left) {
    const shown = this.#shown;
    const from = shown.until - shown.points * shown.seconds;
    const scale = (this.#size.width - left - RIGHT) / (shown.until - from);
    const spans = [];
    for (const change of this.#history.changes.filter(({ upstream, to }) => upstream === name && to === "open")) {
      const closed = this.#history.changes
        .filter(
          ({ upstream, model, to, at }) =>
            upstream === name && model === change.model && to === "closed" && at > change.at,
        )
        .reduce((least, { at }) => Math.min(least, at), shown.until);
      const [begin, end] = [Math.max(change.at, from), Math.min(closed, shown.until)];
      if (end > begin)
        spans.push(
          drawn("rect", {
            x: left + (begin - from) * scale,
            y: y + LANE_HEIGHT - 6,
            width: Math.max(2, (end - begin) * scale),
            height: 3,
            class: "open-breaker",
          }),
        );
    }
    return spans;
  }

  // --- the point under the cursor

  #onPointer(event) {
    const { left, width } = this.#size;
    const at = event.clientX - byId("plot").getBoundingClientRect().left - left;
    const place = Math.floor((at / (width - left - RIGHT)) * this.#shown.points);
    this.#point(place >= 0 && place < this.#shown.points ? place : null);
  }

  #onKey(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
    const last = this.#shown.points - 1;
    if (event.key === "Escape") this.#point(null);
    else if (event.key === "Home" || event.key === "End") this.#point(event.key === "Home" ? 0 : last);
    else if (event.key in steps) this.#point(Math.min(last, Math.max(0, (this.#place ?? last) + steps[event.key])));
    else return;
    event.preventDefault();
  }

  #point(place) {
    this.#place = place;
    this.#draw();
  }

  #tell() {
    const [shown, track] = [this.#shown, this.#track()];
    if (this.#place === null) {
      const from = shown.until - shown.points * shown.seconds;
      setText(
        byId("timeline-about"),
        `${clock(from)} to ${clock(shown.until)}, a point each ${shown.seconds < 60 ? `${shown.seconds} s` : `${shown.seconds / 60} min`}: ${plural(total(track.answers), "answer")}, ${plural(total(track.failures), "failure")}`,
      );
      return;
    }
    const place = this.#place;
    const said = [
      `p50 ${milliseconds(track.ttft_p50_ms[place])}`,
      `p95 ${milliseconds(track.ttft_p95_ms[place])}`,
      plural(track.answers[place] ?? 0, "answer"),
      plural(track.failures[place] ?? 0, "failure"),
    ];
    setText(byId("timeline-about"), `${clock(timeOf(shown, place))}: ${said.join(", ")}`);
  }
}
