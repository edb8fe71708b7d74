// Draws a distribution: a bar for each range of milliseconds.

import { byId, drawn, setAttributes, setText } from "./page.js";
import { milliseconds, number, total } from "./words.js";

const WIDTH = 360;
const HEIGHT = 132;
const FLOOR = HEIGHT - 16;
const CEILING = 16;

function short(milliseconds) {
  return milliseconds < 1000 ? String(milliseconds) : `${milliseconds / 1000}s`;
}

export class Histogram {
  #picture;
  #about;
  #what;
  #bars = []; // pairs of a bar and the number above it

  // what: the words behind "12 completions", if it has to be said what was measured
  constructor(id, what = "") {
    this.#picture = setAttributes(byId(id), { viewBox: `0 0 ${WIDTH} ${HEIGHT}` });
    this.#about = byId(`${id}-about`);
    this.#what = what;
  }

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
  if (all === 1) return `1 completion${what}: ${within(1)}`;
  return `${number(all)} completions${what}: half ${within(0.5)}, 95 % ${within(0.95)}`;
}
