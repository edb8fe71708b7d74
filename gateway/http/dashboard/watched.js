// Shows the newest tokens of one stream as they come.

import { byId, element, setText } from "./page.js";
import { Source } from "./source.js";
import { visible, words } from "./words.js";

const MAX_SHOWN = 200_000; // characters that are shown; older ones are removed
const MAX_NODE = 4000; // characters of one text node; the oldest characters are removed node by node
const STEP_MS = 50; // the least time between two changes of the document

// The named events with text, of messages and of responses.
const NAMES = [
  "content_block_delta",
  ...["output_text", "refusal", "reasoning_text", "reasoning_summary_text", "function_call_arguments"].map(
    (part) => `response.${part}.delta`,
  ),
  "response.custom_tool_call_input.delta",
];

// The text of one event: content, reasoning, a refusal, the arguments of tool calls; or the message of an error.
function saidBy(data) {
  let chunk;
  try {
    chunk = JSON.parse(data);
  } catch {
    return "";
  }
  if (chunk.error) return `\n[${chunk.error.message}]`;
  if (chunk.type === "content_block_delta") return saidIn(chunk.delta ?? {});
  if (typeof chunk.delta === "string") return chunk.delta;
  return (chunk.choices ?? []).map((choice) => saidIn(choice.delta ?? choice)).join("");
}

function saidIn(delta) {
  const calls = (delta.tool_calls ?? []).flatMap(({ function: called }) => [called?.name, called?.arguments]);
  const reasoning = delta.reasoning_content ?? delta.reasoning;
  const parts = [reasoning, delta.thinking, delta.content, delta.text, delta.refusal, delta.partial_json, ...calls];
  return parts.filter((part) => typeof part === "string").join("");
}

// A text that grows at its end, and from which the oldest characters are removed.
class Text {
  #node = byId("text");
  #waiting = "";
  #shown = 0;
  #timer = 0;

  clear() {
    this.#node.replaceChildren();
    this.#waiting = "";
    this.#shown = 0;
  }

  add(text) {
    this.#waiting = (this.#waiting + text).slice(-MAX_SHOWN);
    this.#timer ||= setTimeout(() => this.#show(), STEP_MS);
  }

  #show() {
    this.#timer = 0;
    const node = this.#node;
    const follows = node.scrollTop + node.clientHeight >= node.scrollHeight - 24;
    const text = visible(this.#waiting);
    this.#waiting = "";
    for (let start = 0; start < text.length; start += MAX_NODE) this.#append(text.slice(start, start + MAX_NODE));
    while (this.#shown > MAX_SHOWN) this.#forget();
    if (follows) node.scrollTop = node.scrollHeight;
  }

  #append(text) {
    const last = this.#node.lastChild;
    if (last && last.data.length + text.length <= MAX_NODE) last.appendData(text);
    else this.#node.append(text);
    this.#shown += text.length;
  }

  #forget() {
    this.#shown -= this.#node.firstChild.data.length;
    this.#node.firstChild.remove();
  }
}

export class Watched {
  #text = new Text();
  #source = null;
  #tokens = new Map(); // viewer tokens by the ids of their streams; kept in this page only
  #stream = null;

  constructor() {
    byId("stream-access").addEventListener("submit", (event) => this.#onToken(event));
  }

  get id() {
    return this.#stream?.id;
  }

  // open: whether the gateway is in open mode, where no viewer token is needed
  choose(stream, open) {
    this.#source?.close();
    this.#stream = stream;
    this.#text.clear();
    byId("text").hidden = false;
    setText(byId("watched-title"), `Tokens of ${stream.model}`);
    const token = this.#tokens.get(stream.id);
    if (open || token) this.#connect(token);
    else this.#askForToken("The tokens of a stream want a viewer token of that stream:");
    byId("watched").scrollIntoView({ block: "nearest" });
  }

  #connect(token) {
    byId("stream-access").hidden = true;
    const query = token ? `?token=${encodeURIComponent(token)}` : "";
    this.#text.clear();
    this.#tell("connecting");
    const on = {
      message: (data) => this.#text.add(saidBy(data)),
      end: ({ ending }) => this.#onEnd(ending),
      gap: ({ missed }) => this.#text.add(`\n[${missed === 1 ? "1 event is" : `${missed ?? "some"} events are`} gone]\n`),
      reset: () => this.#text.clear(),
      state: (state) => this.#tell(state),
      refused: (status, message) => this.#onRefused(status, message),
    };
    this.#source = new Source(`v1/streams/${encodeURIComponent(this.id)}/events${query}`, on, NAMES);
  }

  #onEnd(ending) {
    this.#source.close();
    this.#tell(`ended: ${words(ending)}`);
  }

  #onRefused(status, message) {
    this.#tell(`refused (${status}): ${message}`);
    if (status !== 404) this.#askForToken(`Refused: ${message}. A token of this stream is wanted:`);
  }

  #askForToken(reason) {
    byId("text").hidden = true;
    byId("stream-access").hidden = false;
    this.#tell("needs a viewer token");
    const command = element("code", {}, `rivergate token ${this.id}`);
    byId("stream-access-reason").replaceChildren(`${visible(reason)} `, command);
  }

  #onToken(event) {
    event.preventDefault();
    const token = byId("stream-token").value.trim();
    byId("stream-token").value = "";
    this.#tokens.set(this.id, token);
    byId("text").hidden = false;
    this.#connect(token);
  }

  #tell(state) {
    setText(byId("watched-about"), `${this.id} · ${state}`);
  }
}
