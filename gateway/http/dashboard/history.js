// What the gateway keeps of the last minutes and hours: asked for once, then continued with the points of snapshots.

import { getJson } from "./credentials.js";

const POINTS = 120; // of each ring
const LEAST_PAUSE_MS = 2000; // between two questions
const GAUGES = ["running", "tokens_per_second"];
const MEASURED = ["ttft_p50_ms", "ttft_p95_ms", "answers", "failures"];

export class History {
  fine = emptyRing(5);
  coarse = emptyRing(180);
  changes = []; // of breakers, the newest first
  failures = []; // the newest first
  sees = "nobody's"; // whose streams the visitor may read
  startedAt = 0;
  #changeCount = -1;
  #failureCount = -1;
  #askedAt = -Infinity;
  #asking = false;
  #onLoaded;

  // onLoaded: called when something came that no snapshot brings
  constructor(onLoaded) {
    this.#onLoaded = onLoaded;
  }

  // Takes a snapshot, and asks for what it does not bring.
  async follow(now) {
    const grown = this.#append(now.point);
    const coarseDue = this.fine.until - this.coarse.until >= this.coarse.seconds && this.coarse.running.length > 0;
    const isStale = !grown || coarseDue || now.breaker_changes !== this.#changeCount;
    const failed = now.failures !== this.#failureCount;
    if ((!isStale && !failed) || this.#asking || performance.now() - this.#askedAt < LEAST_PAUSE_MS) return;
    [this.#asking, this.#askedAt] = [true, performance.now()];
    try {
      if (isStale) this.#take(await getJson("v1/statistics/history"));
      if (failed) this.#takeFailures(await getJson("v1/statistics/failures"));
      this.#onLoaded();
    } catch {
      // The feed tells when the gateway refuses or is gone; the next snapshot asks again.
    } finally {
      this.#asking = false;
    }
  }

  forget() {
    [this.#changeCount, this.#failureCount] = [-1, -1];
    [this.fine, this.coarse, this.changes, this.failures] = [emptyRing(5), emptyRing(180), [], []];
  }

  // Whether the point is there now: it was there, or it is the next one.
  #append(point) {
    if (!point.running.length) return this.#changeCount >= 0;
    const { fine } = this;
    const steps = Math.round((point.until - fine.until) / fine.seconds);
    if (steps <= 0 && this.#changeCount >= 0) return true;
    if (steps !== 1) return false;
    for (const name of [...GAUGES, ...MEASURED]) push(fine[name], point[name][0]);
    for (const name of new Set([...Object.keys(fine.upstreams), ...Object.keys(point.upstreams)])) {
      fine.upstreams[name] ??= emptyTrack(fine.running.length - 1);
      for (const column of MEASURED) push(fine.upstreams[name][column], point.upstreams[name]?.[column][0] ?? null);
    }
    fine.until = point.until;
    return true;
  }

  #take({ fine, coarse, sees, breaker_changes: changes, started_at: startedAt }) {
    Object.assign(this, { fine, coarse, sees, startedAt, changes: changes.data });
    this.#changeCount = changes.count;
  }

  #takeFailures({ count, data }) {
    this.failures = data;
    this.#failureCount = count;
  }
}

// A part of a ring: the points of the newest seconds, padded at the front where none are known.
export function windowOf(ring, seconds) {
  const wanted = Math.min(POINTS, Math.round(seconds / ring.seconds));
  const cut = (values) => [...Array(Math.max(0, wanted - values.length)).fill(null), ...values.slice(-wanted)];
  const track = (source) => Object.fromEntries(MEASURED.map((name) => [name, cut(source[name])]));
  return {
    seconds: ring.seconds,
    until: ring.until,
    points: wanted,
    ...Object.fromEntries(GAUGES.map((name) => [name, cut(ring[name])])),
    ...track(ring),
    upstreams: Object.fromEntries(Object.entries(ring.upstreams).map(([name, source]) => [name, track(source)])),
  };
}

// The end of a point, in Unix seconds.
export const timeOf = (shown, place) => shown.until - (shown.points - 1 - place) * shown.seconds;

function push(values, value) {
  values.push(value);
  if (values.length > POINTS) values.shift();
}

const emptyTrack = (length) => Object.fromEntries(MEASURED.map((name) => [name, Array(length).fill(null)]));
const emptyRing = (seconds) => ({
  seconds,
  until: 0,
  ...Object.fromEntries(GAUGES.map((name) => [name, []])),
  ...emptyTrack(0),
  upstreams: {},
});
