// An event stream that reconnects after every kind of failure.

const RETRY_MS = 3000;

// EventSource reconnects by itself after a cut, but gives up after an HTTP error, and does not tell its status.
export class Source {
  #url;
  #on;
  #names;
  #events = null;
  #lastId = "";
  #timer = 0;
  #closed = false;

  // on: the callbacks message(text), state(word) and refused(status, message), and perhaps end, gap and reset, which
  // get the fields of the control event of that name. names: of the events that are messages too
  constructor(url, on, names = []) {
    this.#url = url;
    this.#on = on;
    this.#names = names;
    this.#open();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#events?.close();
  }

  #open() {
    const events = (this.#events = new EventSource(this.#address()));
    events.onmessage = (event) => this.#on.message(this.#dataOf(event));
    for (const name of this.#names) events.addEventListener(name, events.onmessage);
    for (const name of ["end", "gap", "reset"]) {
      events.addEventListener(name, (event) => this.#on[name]?.(JSON.parse(this.#dataOf(event))));
    }
    events.onopen = () => this.#on.state("live");
    // An event that is named `error` comes here, too, and has data; the connection's own has none.
    events.onerror = (event) => (event instanceof MessageEvent ? events.onmessage(event) : this.#onError(events));
  }

  // The address with the id of the last event, which a new EventSource does not know.
  #address() {
    if (!this.#lastId) return this.#url;
    return `${this.#url}${this.#url.includes("?") ? "&" : "?"}last_event_id=${encodeURIComponent(this.#lastId)}`;
  }

  #dataOf(event) {
    this.#lastId = event.lastEventId;
    return event.data;
  }

  #onError(events) {
    if (this.#closed || events !== this.#events) return;
    this.#on.state("reconnecting");
    if (events.readyState === EventSource.CLOSED) this.#ask();
  }

  async #ask() {
    const answer = await statusOf(this.#address());
    if (this.#closed) return;
    if ([401, 403, 404].includes(answer.status)) this.#on.refused(answer.status, answer.message);
    else this.#timer = setTimeout(() => this.#open(), RETRY_MS);
  }
}

async function statusOf(url) {
  const abort = new AbortController();
  try {
    const answer = await fetch(url, { signal: abort.signal, cache: "no-store" });
    const body = answer.ok ? {} : await answer.json();
    return { status: answer.status, message: body.error?.message ?? "" };
  } catch {
    return { status: 0, message: "" }; // there is no answer, or the answer is not the gateway's
  } finally {
    abort.abort();
  }
}
