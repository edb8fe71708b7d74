// The live page of a gateway: shows its statistics feed, one snapshot a second, its history, and the text of a stream.
// Whatever comes from outside is put into the document as text only.

import { Beside } from "./beside.js";
import * as credentials from "./credentials.js";
import { KINDS } from "./endings.js";
import { Failures } from "./failures.js";
import { Figures } from "./figures.js";
import { Histogram } from "./histogram.js";
import { History } from "./history.js";
import { Table, byId, drawn, says, setAttributes, setText } from "./page.js";
import { Rates } from "./rates.js";
import { Source } from "./source.js";
import { Streams } from "./streams.js";
import { Tiles } from "./tiles.js";
import { Timeline } from "./timeline.js";
import { Upstreams } from "./upstreams.js";
import { Usage } from "./usage.js";
import { Watched } from "./watched.js";
import { clock, duration, number, total, words } from "./words.js";

const FEED = "v1/feeds/statistics/events?from=now";
const SILENT_MS = 4000; // without a snapshot for this time, the page says that it reconnects; the feed sends one every second
const DEAD_MS = 12_000; // without a snapshot for this time, the connection is opened anew
const MAX_BAR = 100; // the width of the longest bar, in units of its viewBox

const rates = new Rates();
const history = new History(showHistory);
const tiles = new Tiles();
const watched = new Watched(() => latest && streams.show(latest));
const beside = new Beside(() => latest && streams.show(latest));
const streams = new Streams(watched, beside, rates);
const timeline = new Timeline();
const failures = new Failures();
const upstreams = new Upstreams();
const usage = new Usage();
const figures = new Figures();
const ttft = new Histogram("ttft");
const gap = new Histogram("gap", " by median gap");

let feed = null;
let latest = null;
let heardAt = 0;

function fillBar(cell, [, count, most]) {
  if (!cell.firstChild) {
    const bar = drawn("rect", { x: 0, y: 0, height: 10, class: "bar" });
    const box = { viewBox: `0 0 ${MAX_BAR} 10`, preserveAspectRatio: "none", "aria-hidden": "true" };
    cell.append(drawn("svg", box, bar));
  }
  setAttributes(cell.firstChild.firstChild, { width: (MAX_BAR * count) / most });
}

const endings = new Table(byId("endings"), [
  ["Ending", says(([ending]) => words(ending))],
  ["Count", says(([, count]) => number(count)), "number"],
  ["Share", fillBar, "picture"],
]);

// --- a snapshot

function show(now) {
  latest = now;
  rates.add(now);
  history.follow(now);
  showHistory();
  showAbout(now);
  watched.follow(now, history.sees, rates);
  beside.follow(now, rates);
  streams.show(now);
  usage.follow(now, history.sees);
  figures.show(now);
  ttft.show(now.ttft_ms);
  gap.show(now.gap_ms);
  showEndings(now.streams.endings);
}

function showHistory() {
  tiles.show(latest, rates, history);
  timeline.show(history);
  failures.show(history.failures);
  upstreams.show(latest, history);
}

function showAbout(now) {
  const mode = now.open_mode ? "open to this machine" : "with API keys";
  const state = now.ready ? "" : " · draining";
  setText(byId("about"), `version ${now.version} · up ${duration(now.uptime_seconds)} · ${mode}${state}`);
  byId("enter").hidden = now.open_mode;
}

function showEndings(counts) {
  const known = Object.entries(counts).sort(([, left], [, right]) => right - left);
  const most = Math.max(1, ...Object.values(counts));
  const all = total(Object.values(counts));
  const aborted = total(known.map(([ending, count]) => (KINDS[ending] === "good" ? 0 : count)));
  setText(byId("endings-about"), all ? `${number(aborted)} of ${number(all)} did not complete` : "none yet");
  endings.show(
    known.map(([ending, count]) => [ending, count, most]),
    ([ending]) => ending,
  );
}

// --- the connection

function tell(state, text = state) {
  const status = byId("status");
  if (status.textContent !== text) status.textContent = text;
  status.className = state;
  document.body.classList.toggle("stale", state !== "live");
  if (state !== "live" && latest)
    setText(byId("about"), `no numbers since ${clock(latest.at)}; the last ones are shown`);
}

function connect() {
  feed?.close();
  heardAt = performance.now();
  feed = new Source(FEED, credentials.STATISTICS, {
    message: onSnapshot,
    state: (state) => state !== "live" && tell(state), // "live" is shown when a snapshot comes
    refused: onRefused,
  });
}

function onSnapshot(data) {
  heardAt = performance.now();
  show(JSON.parse(data));
  byId("main").hidden = false;
  tell("live");
}

function onRefused(status, message) {
  feed.close();
  feed = null;
  const had = credentials.hasAny();
  credentials.forget(credentials.STATISTICS);
  tell("refused", `refused (${status})`);
  byId("main").hidden = latest === null;
  ask(had ? message : "This gateway has API keys, and shows its numbers to their holders.");
}

function watchTheClock() {
  if (feed === null || document.hidden) return;
  const silent = performance.now() - heardAt;
  if (silent > SILENT_MS) tell("reconnecting");
  if (silent > DEAD_MS) connect();
}

// --- the key or token

function ask(reason) {
  setText(byId("access-reason"), reason);
  byId("access").hidden = false;
  byId("access-forget").hidden = !credentials.hasAny();
}

function onEntered(event) {
  event.preventDefault();
  const audience = credentials.take(byId("access-token").value);
  byId("access-token").value = "";
  byId("access").hidden = true;
  if (audience?.startsWith("stream:")) watchById(audience.slice("stream:".length));
  else enterAnew();
}

function watchById(id) {
  const listed = latest?.list.find((stream) => stream.id === id);
  watched.choose(listed ?? { id, model: "A stream", ending: null });
  if (feed === null) connect();
}

function enterAnew() {
  history.forget();
  usage.forget();
  beside.clear();
  connect();
  watched.again();
}

// Takes a key or token out of the page's address, so that it is neither kept in the history nor passed on with a link.
// Returns whether the address held one.
function takeFromAddress() {
  const [fragment, query] = [location.hash, location.search].map((part) => new URLSearchParams(part.slice(1)));
  const given = fragment.get("token") ?? query.get("token");
  if (given === null) return false;
  credentials.take(given);
  window.history.replaceState(null, "", location.pathname);
  return true;
}

byId("access").addEventListener("submit", onEntered);
byId("enter").addEventListener("click", () => {
  if (!byId("access").hidden) byId("access").hidden = true;
  else {
    ask("What is entered stays in this tab, and is forgotten with it.");
    byId("access-token").focus();
  }
});
byId("access-forget").addEventListener("click", () => {
  credentials.forgetAll();
  byId("access").hidden = true;
  enterAnew();
});
addEventListener("hashchange", () => takeFromAddress() && enterAnew());
takeFromAddress();
connect();
setInterval(watchTheClock, 1000);
