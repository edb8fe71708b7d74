/** @typedef {{ type: "event" | "gap" | "reset" | "end" | "source", data: string, name: string, missed?: number,
 * ending?: string, error?: { message: string } }} Told */

/** Streams and feeds over one connection that comes back and misses nothing.
 * @param {{ url?: string, key?: string, state?: (is: string) => void }} _ */
export function connect({ url = "v1/events", key, state = () => {} } = {}) {
  /** @type {Map<string, any[]>} */ const channels = new Map();
  let last = "", retry = 2000, tries = 0, abort = new AbortController();

  function tell(channel = "", /** @type {any} */ told) {
    const handle = channels.get(channel)?.[0];
    if (told.type === "end") channels.delete(channel);
    queueMicrotask(() => handle?.(told));
  }

  function take(block = "") {
    const all = (name = "") =>
      block.split("\n").flatMap((line) => (line.startsWith(name) ? line.slice(name.length) : []));
    const [type = ""] = all("event: "), data = all("data: ").join("\n"), [channel, ...name] = type.split("/");
    if (/^[a-z]+$/.test(type)) tell(JSON.parse(data).channel, { ...JSON.parse(data), type });
    else tell(channel, { type: "event", data, name: name.join("/") });
    last = all("id: ")[0] ?? last;
    retry = +all("retry: ")[0] || retry;
  }

  function open(wait = 0) {
    abort.abort();
    abort = new AbortController();
    setTimeout(read, wait, abort.signal);
  }

  async function read(signal = abort.signal) {
    if (signal.aborted) return;
    if (!channels.size) return state("closed");
    const target = new URL(url, import.meta.url);
    const add = (name = "", value = "") => target.searchParams.append(name, value);
    for (const [name, [, from]] of channels) add("stream", name), from && add("from", `${name}:${from}`);
    if (last) add("last_event_id", last);
    try {
      const answer = await fetch(target, { signal, headers: key ? { "x-api-key": key } : {} });
      if (/^4(?!29)/.test(`${answer.status}`)) {
        const told = { type: "end", ending: "refused", ...(await answer.json()) };
        for (const name of [...channels.keys()]) tell(name, told);
      } else if (answer.ok && answer.body) {
        state("open");
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let rest = "", part; !(part = await reader.read()).done && !signal.aborted; tries = 0) {
          const blocks = (rest + part.value).split("\n\n");
          rest = blocks.pop() ?? "";
          for (const block of blocks) take(block);
        }
      }
    } catch {}
    if (signal.aborted) return;
    state("waiting");
    open(channels.size && Math.min(retry * 2 ** tries++, 3e4) * (0.5 + Math.random()));
  }

  /** Subscribes to a stream by its id, or to `feed:NAME`. The result ends it.
   * @param {string} channel @param {(told: Told) => void} handle */
  function subscribe(channel, handle, from = "") {
    channels.set(channel, [handle, from]);
    open();
    return () => channels.delete(channel) && open();
  }

  return { subscribe, close: () => (channels.clear(), open()) };
}
