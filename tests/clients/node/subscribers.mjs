// node subscribers.mjs <JSON list of {client, url}>: subscribers as their users write them, all at once. Prints what each
// was told, as [name, data, id] of all events, and how it came to its end.
import { fetchEventSource } from "@microsoft/fetch-event-source";
import { EventSource } from "eventsource";
import { EventSource as ExtendedEventSource } from "extended-eventsource";
import { createRequire } from "node:module";
import Reconnecting from "reconnecting-eventsource";

// The polyfills look for what a browser has.
globalThis.window = globalThis;
globalThis.document = { hidden: false, readyState: "complete", addEventListener() {}, removeEventListener() {} };
const require = createRequire(import.meta.url);
const { EventSourcePolyfill } = require("event-source-polyfill");
const ReconnectingEventSource = Reconnecting.default ?? Reconnecting;

const NAMES = ["message", "gap", "reset", "end", "tick", "source"];
const PATIENCE_MS = 40_000;

// Objects like EventSource: they stop by themselves after a 204, or, where `closes`, when their page is told the end.
function listen(source, closes, closed = 2) {
  const events = [];
  return new Promise((resolve) => {
    const stop = (how) => {
      clearInterval(look);
      source.close();
      resolve({ events, stopped: how });
    };
    const look = setInterval(() => source.readyState === closed && stop("by itself"), 20);
    for (const name of NAMES) {
      source.addEventListener(name, (event) => {
        events.push([event.type, event.data, event.lastEventId]);
        if (name === "end" && closes) stop("by its page");
      });
    }
    source.addEventListener("error", () => {});
  });
}

const clients = {
  eventsource: (url) => listen(new EventSource(url), false),
  polyfill: (url) => listen(new EventSourcePolyfill(url, { heartbeatTimeout: 60_000 }), true),
  extended: (url) => listen(new ExtendedEventSource(url, { disableLogger: true }), false),
  reconnecting: (url) => listen(new ReconnectingEventSource(url, { eventSourceClass: EventSource, max_retry_time: 50 }), true),
  async fetchEventSource(url) {
    const events = [];
    await fetchEventSource(url, {
      openWhenHidden: true,
      onmessage: ({ event, data, id }) => events.push([event || "message", data, id]),
      onerror() {}, // tries again
    });
    return { events, stopped: "by itself" };
  },
};

const late = (name) => new Promise((resolve) => setTimeout(resolve, PATIENCE_MS, { events: [], stopped: `${name}: not at all` }).unref());
const asked = JSON.parse(process.argv[2]);
const told = await Promise.all(asked.map(({ client, url }) => Promise.race([clients[client](url), late(client)])));
console.log(JSON.stringify(told));
process.exit(0);
