// The live page of a gateway: shows its statistics feed, one snapshot a second, and the tokens of one stream.
// Whatever comes from outside is put into the document as text only.

import { KINDS } from "./endings.js";
import { Figures } from "./figures.js";
import { Histogram } from "./histogram.js";
import { Table, byId, drawn, element, says, setAttributes, setText } from "./page.js";
import { Rates } from "./rates.js";
import { Source } from "./source.js";
import { Watched } from "./watched.js";
import { NONE, duration, milliseconds, number, total, words } from "./words.js";

const FEED = "v1/feeds/statistics/events?from=now";
const TOKEN = "rivergate.token"; // the key of the viewer token in sessionStorage, which ends with the tab
const SILENT_MS = 4000; // without a snapshot for this time, the page says that it reconnects; the feed sends one every second
const DEAD_MS = 12_000; // without a snapshot for this time, the connection is opened anew
const MAX_BAR = 100; // the width of the longest bar, in units of its viewBox

const rates = new Rates();
const watched = new Watched();
const figures = new Figures();
const ttft = new Histogram("ttft");
const gap = new Histogram("gap", " by median gap");

let feed = null;
let latest = null;
let heardAt = 0;

// --- tables

function fillName(cell, stream) {
  if (!cell.firstChild) {
    const button = element("button", { type: "button" });
    button.addEventListener("click", () => choose(stream));
    cell.append(button, element("small", {}));
  }
  const [button, id] = cell.children;
  setText(button, stream.model);
  setText(id, stream.id);
  button.setAttribute("aria-pressed", String(stream.id === watched.id));
}

function kindOf({ ending }) {
  if (ending === null) return "running";
  return KINDS[ending] ?? "wait";
}

function fillState(cell, stream) {
  setText(cell, words(stream.ending ?? stream.state));
  cell.dataset.kind = kindOf(stream);
}

function fillLines(cell, large, small) {
  if (!cell.firstChild) cell.append(element("div", {}, element("span", {}), element("small", {})));
  const [above, below] = cell.firstChild.children;
  setText(above, large);
  setText(below, small);
}

const fillUpstream = (cell, { upstream, model }) => fillLines(cell, upstream, model);
const fillSource = (cell, { upstream, dialect }) => fillLines(cell, upstream ?? NONE, dialect);

function fillBreaker(cell, upstream) {
  const wait = upstream.wait_seconds > 0 ? `, ${duration(upstream.wait_seconds)}` : "";
  setText(cell, words(upstream.breaker) + wait);
  cell.dataset.kind = upstream.breaker === "closed" && !wait ? "good" : "bad";
}

function fillBar(cell, [, count, most]) {
  if (!cell.firstChild) {
    const bar = drawn("rect", { x: 0, y: 0, height: 10, class: "bar" });
    const box = { viewBox: `0 0 ${MAX_BAR} 10`, preserveAspectRatio: "none", "aria-hidden": "true" };
    cell.append(drawn("svg", box, bar));
  }
  setAttributes(cell.firstChild.firstChild, { width: (MAX_BAR * count) / most });
}

const streams = new Table(byId("streams"), [
  ["Stream", fillName],
  ["State", fillState],
  ["Upstream", fillSource],
  ["Readers", says((stream) => number(stream.readers)), "number"],
  ["Lag", says((stream) => number(stream.lag_events)), "number"],
  ["TTFT", says((stream) => milliseconds(stream.ttft.first_content_ms)), "number"],
  ["Tokens", says((stream) => number(stream.usage?.completion_tokens)), "number"],
  ["Tokens/s", says((stream) => number(rates.tokens(stream), 1)), "number"],
  ["Age", says((stream) => duration(latest.at - stream.created)), "number"],
]);
const upstreams = new Table(byId("upstreams"), [
  ["Upstream", fillUpstream],
  ["Breaker", fillBreaker],
  ["TTFT p50", says((upstream) => milliseconds(upstream.ttft_p50_ms)), "number"],
  ["TTFT p95", says((upstream) => milliseconds(upstream.ttft_p95_ms)), "number"],
  ["Tokens/s", says((upstream) => number(upstream.tps_p50, 1)), "number"],
  ["Failures", says((upstream) => `${number(100 * upstream.error_rate, 1)} %`), "number"],
  ["In flight", says((upstream) => number(upstream.in_flight)), "number"],
]);
const errors = new Table(byId("errors"), [
  ["Upstream", fillUpstream],
  ["Error", says(({ outcome, status }) => words(outcome) + (status === null ? "" : ` (HTTP ${status})`))],
  ["Reason", says((error) => error.reason)],
  ["Count", says((error) => number(error.count)), "number"],
  ["Last", says((error) => `${duration(latest.at - error.at)} ago`), "number"],
]);
const endings = new Table(byId("endings"), [
  ["Ending", says(([ending]) => words(ending))],
  ["Count", says(([, count]) => number(count)), "number"],
  ["Share", fillBar, "picture"],
]);

// --- a snapshot

function show(now) {
  latest = now;
  rates.add(now);
  figures.show(now, rates);
  showAbout(now);
  showStreams();
  ttft.show(now.ttft_ms);
  gap.show(now.gap_ms);
  upstreams.show(now.upstreams, ({ upstream, model }) => `${upstream} ${model}`);
  showErrors(now.errors);
  showEndings(now.streams.endings);
}

function showAbout(now) {
  const mode = now.open_mode ? "open to this machine" : "with API keys";
  const state = now.ready ? "" : " · draining";
  setText(byId("about"), `version ${now.version} · up ${duration(now.uptime_seconds)} · ${mode}${state}`);
}

function showStreams() {
  const { running, kept, ended } = latest.streams;
  const counted = [`${number(running)} running`, `${number(kept)} kept for replay`, `${number(ended)} ended`];
  setText(byId("streams-about"), counted.join(", "));
  streams.show(latest.list, (stream) => stream.id);
}

function showErrors(rows) {
  const all = total(rows.map((row) => row.count));
  const [attempts, kinds] = [all === 1 ? "attempt" : "attempts", rows.length === 1 ? "kind" : "kinds"];
  setText(byId("errors-about"), all ? `${number(all)} failed ${attempts} of ${number(rows.length)} ${kinds}` : "none yet");
  errors.show(rows, ({ upstream, model, outcome, status, reason }) => [upstream, model, outcome, status, reason].join(" "));
}

function showEndings(counts) {
  const known = Object.entries(counts).sort(([, left], [, right]) => right - left);
  const most = Math.max(1, ...Object.values(counts));
  const all = total(Object.values(counts));
  const aborted = total(known.map(([ending, count]) => (KINDS[ending] === "good" ? 0 : count)));
  setText(byId("endings-about"), all ? `${number(aborted)} of ${number(all)} did not complete` : "none yet");
  endings.show(known.map(([ending, count]) => [ending, count, most]), ([ending]) => ending);
}

function choose(stream) {
  watched.choose(stream, latest.open_mode);
  showStreams();
}

// --- the connection

function tell(state, text = state) {
  const status = byId("status");
  if (status.textContent !== text) status.textContent = text;
  status.className = state;
  document.body.classList.toggle("stale", state !== "live");
}

function connect() {
  feed?.close();
  const token = sessionStorage.getItem(TOKEN);
  byId("access").hidden = true;
  heardAt = performance.now();
  feed = new Source(FEED + (token ? `&token=${encodeURIComponent(token)}` : ""), {
    message: onSnapshot,
    state: (state) => state !== "live" && tell(state), // "live" is shown when a snapshot comes
    refused: onRefused,
  });
}

function onSnapshot(data) {
  heardAt = performance.now();
  show(JSON.parse(data));
  tell("live");
}

function onRefused(status, message) {
  feed.close();
  feed = null;
  const hadToken = sessionStorage.getItem(TOKEN) !== null;
  sessionStorage.removeItem(TOKEN);
  tell("refused", `refused (${status})`);
  setText(byId("access-reason"), hadToken ? message : "This gateway has API keys: its numbers want a viewer token.");
  byId("access").hidden = false;
}

function watchTheClock() {
  if (feed === null || document.hidden) return;
  const silent = performance.now() - heardAt;
  if (silent > SILENT_MS) tell("reconnecting");
  if (silent > DEAD_MS) connect();
}

// Takes the token out of the page's address, so that it is neither kept in the history nor passed on with a link.
// Returns whether the address held a token.
function takeToken() {
  const [fragment, query] = [location.hash, location.search].map((part) => new URLSearchParams(part.slice(1)));
  const given = fragment.get("token") ?? query.get("token");
  if (given === null) return false;
  sessionStorage.setItem(TOKEN, given);
  history.replaceState(null, "", location.pathname);
  return true;
}

function onTokenTyped(event) {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, byId("access-token").value.trim());
  byId("access-token").value = "";
  connect();
}

byId("access").addEventListener("submit", onTokenTyped);
addEventListener("hashchange", () => takeToken() && connect());
takeToken();
connect();
setInterval(watchTheClock, 1000);
