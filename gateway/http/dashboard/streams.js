// The table of streams: sorted, filtered and paged. The newest streams come with each snapshot; a further page, another
// order or a filter is asked of the gateway, which knows all streams.

import { KINDS } from "./endings.js";
import { getJson } from "./credentials.js";
import { Table, byId, element, says, setText } from "./page.js";
import { NONE, duration, milliseconds, number, words } from "./words.js";

const ROWS = matchMedia("(max-width: 44rem)").matches ? 8 : 20; // of a page
const ASK_MS = 2500; // the time between two questions
const TYPING_MS = 300; // how long the page waits for the next letter of a filter
const NEWEST = "-created";

export class Streams {
  #watched;
  #beside;
  #rates;
  #now = null;
  #sort = NEWEST;
  #offset = 0;
  #found = null; // the answer to the last question
  #askedAt = -Infinity;
  #question = 0;

  constructor(watched, beside, rates) {
    [this.#watched, this.#beside, this.#rates] = [watched, beside, rates];
    this.table = new Table(byId("streams"), this.#columns());
    this.table.markSorted(NEWEST);
    this.table.sortBy((sort) => this.#change({ sort }));
    let typing = 0;
    byId("streams-filter").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.#change({}), TYPING_MS);
    });
    byId("streams-state").addEventListener("change", () => this.#change({}));
    byId("streams-back").addEventListener("click", () => this.#change({ offset: Math.max(0, this.#offset - ROWS) }));
    byId("streams-on").addEventListener("click", () => this.#change({ offset: this.#offset + ROWS }));
  }

  show(now) {
    this.#now = now;
    if (!this.#isPlain() && performance.now() - this.#askedAt > ASK_MS) this.#ask();
    this.#draw();
  }

  #change({ sort = this.#sort, offset = 0 }) {
    [this.#sort, this.#offset] = [sort, offset];
    this.table.markSorted(sort);
    if (this.#isPlain()) this.#found = null;
    else this.#ask();
    this.#draw();
  }

  // Whether the streams of the snapshot are the ones to show.
  #isPlain() {
    return (
      this.#sort === NEWEST &&
      !this.#offset &&
      byId("streams-state").value === "any" &&
      !byId("streams-filter").value.trim()
    );
  }

  async #ask() {
    this.#askedAt = performance.now();
    const question = (this.#question += 1);
    const query = new URLSearchParams({
      sort: this.#sort,
      state: byId("streams-state").value,
      search: byId("streams-filter").value.trim(),
      limit: ROWS,
      offset: this.#offset,
    });
    try {
      const found = await getJson(`v1/statistics/streams?${query}`);
      if (question !== this.#question || this.#isPlain()) return;
      this.#found = found;
      if (this.#offset >= found.found && this.#offset)
        this.#offset = Math.max(0, Math.floor((found.found - 1) / ROWS) * ROWS);
    } catch {
      return; // the feed tells when the gateway refuses or is gone
    }
    this.#draw();
  }

  #draw() {
    if (!this.#now) return;
    const { running, kept } = this.#now.streams;
    const listed = new Map(this.#now.list.map((stream) => [stream.id, stream]));
    const rows = this.#found
      ? this.#found.data.map((stream) => listed.get(stream.id) ?? stream)
      : this.#now.list.slice(0, ROWS);
    const all = this.#found ? this.#found.found : Math.max(this.#now.list.length, Math.min(running + kept, 5000));
    this.table.show(rows, (stream) => stream.id);
    setText(
      byId("streams-about"),
      `${number(running)} running, ${number(kept)} kept for replay, ${number(this.#now.streams.ended)} ended since the start`,
    );
    const last = Math.min(this.#offset + rows.length, all);
    setText(
      byId("streams-page"),
      rows.length ? `${number(this.#offset + 1)} to ${number(last)} of ${number(all)}` : "none",
    );
    byId("streams-back").disabled = this.#offset === 0;
    byId("streams-on").disabled = last >= all;
  }

  #columns() {
    return [
      ["Stream", (cell, stream) => this.#fillName(cell, stream), "", "model"],
      ["State", fillState, "", "state"],
      ["Upstream", fillSource, "", "upstream"],
      ["Readers", says((stream) => number(stream.readers)), "number", "-readers"],
      ["Lag", says((stream) => number(stream.lag_events)), "number", "-lag"],
      ["TTFT", says((stream) => milliseconds(stream.ttft.first_content_ms)), "number", "-ttft"],
      ["Tokens", says((stream) => number(stream.usage?.completion_tokens)), "number", "-tokens"],
      ["Tokens/s", says((stream) => number(this.#rates.tokensOf(stream), 1)), "number"],
      ["Age", says((stream) => duration(this.#now.at - stream.created)), "number", NEWEST, true],
    ];
  }

  #fillName(cell, stream) {
    if (!cell.firstChild) {
      const button = element("button", { type: "button", class: "link" });
      button.addEventListener("click", () => this.#watched.choose(stream));
      const add = element("button", { type: "button", class: "add" }, "beside");
      add.addEventListener("click", () => this.#beside.toggle(stream));
      cell.append(button, element("small", {}), " ", add);
    }
    const [button, id, add] = cell.children;
    setText(button, stream.model);
    setText(id, stream.id);
    button.setAttribute("aria-pressed", String(stream.id === this.#watched.id));
    const isBeside = this.#beside.has(stream.id);
    add.setAttribute("aria-pressed", String(isBeside));
    add.setAttribute("aria-label", `beside others: ${stream.id}`);
    add.disabled = this.#beside.isFull && !isBeside;
  }
}

function fillSource(cell, stream) {
  if (!cell.firstChild) cell.append(element("div", {}, element("span", {}), " ", element("small", {})));
  const [upstream, dialect] = cell.firstChild.children;
  setText(upstream, stream.upstream ?? NONE);
  setText(dialect, stream.dialect);
}

function fillState(cell, stream) {
  setText(cell, words(stream.ending ?? stream.state));
  cell.dataset.kind = stream.ending === null ? "running" : (KINDS[stream.ending] ?? "wait");
}
