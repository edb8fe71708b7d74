// An event stream that reconnects after every kind of failure, and resumes behind the last event.
// It reads by `fetch`, because an EventSource can send no API key and does not tell the status of a refusal.

import { asking } from "./credentials.js";

const RETRY_MS = 2000;
const SILENT_MS = 40_000; // a connection without a byte for this time is opened anew; the gateway sends keep-alives
const REFUSALS = [400, 401, 403, 404];

export class Source {
  #path;
  #audience;
  #on;
  #abort = new AbortController();
  #lastId = "";
  #retryMs = RETRY_MS;
  #closed = false;

  // audience: what a viewer token for it is for. on: the callbacks message(text), state(word) and
  // refused(status, message), and perhaps end, gap and reset, which get the fields of the control event of that name
  constructor(path, audience, on) {
    this.#path = path;
    this.#audience = audience;
    this.#on = on;
    this.#run();
  }

  close() {
    this.#closed = true;
    this.#abort.abort();
  }

  async #run() {
    while (!this.#closed) {
      this.#abort = new AbortController();
      const goesOn = await this.#read().catch(() => true);
      if (this.#closed || !goesOn) return;
      this.#on.state("reconnecting");
      await new Promise((resolve) => setTimeout(resolve, this.#retryMs));
    }
  }

  // Reads one connection; returns whether there may be more on another one.
  async #read() {
    const { url, headers } = asking(this.#path, this.#audience);
    if (this.#lastId) headers["Last-Event-ID"] = this.#lastId;
    const answer = await fetch(url, { headers, cache: "no-store", signal: this.#abort.signal });
    if (this.#closed) return false;
    if (REFUSALS.includes(answer.status)) {
      const body = await answer.json().catch(() => ({}));
      if (!this.#closed) this.#on.refused(answer.status, body.error?.message ?? "");
      return false;
    }
    if (answer.status === 204) return false;
    if (!answer.ok) return true;
    this.#on.state("live");
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await this.#inTime(reader.read());
      if (done) return true;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) if (!this.#closed) this.#take(block);
    }
  }

  async #inTime(reading) {
    const timer = setTimeout(() => this.#abort.abort(), SILENT_MS);
    try {
      return await reading;
    } finally {
      clearTimeout(timer);
    }
  }

  #take(block) {
    let [name, data] = ["message", null];
    for (const line of block.split("\n")) {
      const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
      if (field === "data") data = data === null ? value : `${data}\n${value}`;
      else if (field === "event") name = value;
      else if (field === "id") this.#lastId = value;
      else if (field === "retry" && /^\d+$/.test(value)) this.#retryMs = Number(value);
    }
    if (data === null) return;
    if (["end", "gap", "reset"].includes(name)) this.#on[name]?.(JSON.parse(data));
    else this.#on.message(data);
  }
}
