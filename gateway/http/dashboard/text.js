// A text that grows at its end, in blocks of one kind each; from a long one the oldest characters are removed.

import { byId, element } from "./page.js";
import { visible, words } from "./words.js";

const MAX_SHOWN = 200_000; // characters that are shown; older ones are removed
const MAX_NODE = 4000; // characters of one text node; the oldest characters are removed node by node
const STEP_MS = 50; // the least time between two changes of the document
const AT_END = 32; // pixels from the end at which the view still follows the text
const LABELS = { reasoning: "reasoning", tool: "tool call", note: "" };

export class GrowingText {
  #node;
  #jump;
  #waiting = []; // of [kind, text, name]
  #nodes = []; // the text nodes, the oldest first
  #shown = 0;
  #timer = 0;
  #follows = true;

  // node: where the text is shown. jump: the button that leads to its end
  constructor(node, jump) {
    [this.#node, this.#jump] = [node, jump];
    node.addEventListener("scroll", () => this.#onScroll());
    jump.addEventListener("click", () => this.#toEnd());
  }

  clear() {
    this.#node.replaceChildren();
    [this.#waiting, this.#nodes, this.#shown] = [[], [], 0];
    this.#toEnd();
  }

  add(parts) {
    if (!parts.length) return;
    this.#waiting.push(...parts);
    this.#timer ||= setTimeout(() => this.#show(), STEP_MS);
  }

  #show() {
    this.#timer = 0;
    const parts = joined(this.#waiting);
    this.#waiting = [];
    for (const [kind, text, name] of parts) this.#append(kind, text.slice(-MAX_SHOWN), name);
    while (this.#shown > MAX_SHOWN) this.#forget();
    if (this.#follows) this.#node.scrollTop = this.#node.scrollHeight;
  }

  #append(kind, text, name) {
    let block = this.#node.lastElementChild;
    if (!block || block.dataset.kind !== kind || name) {
      block = element("div", { class: "said", "data-kind": kind });
      if (LABELS[kind])
        block.append(element("p", { class: "label" }, visible(words(LABELS[kind] + (name ? `: ${name}` : "")))));
      this.#node.append(block);
    }
    const shown = visible(text);
    for (let start = 0; start < shown.length; start += MAX_NODE)
      this.#extend(block, shown.slice(start, start + MAX_NODE));
  }

  #extend(block, text) {
    const last = block.lastChild;
    if (last instanceof Text && last.data.length + text.length <= MAX_NODE) last.appendData(text);
    else {
      const node = document.createTextNode(text);
      block.append(node);
      this.#nodes.push(node);
    }
    this.#shown += text.length;
  }

  #forget() {
    const node = this.#nodes.shift();
    const block = node.parentElement;
    this.#shown -= node.data.length;
    node.remove();
    if (!this.#nodes.some((other) => other.parentElement === block)) block.remove();
  }

  #onScroll() {
    const { scrollTop, clientHeight, scrollHeight } = this.#node;
    this.#follows = scrollTop + clientHeight >= scrollHeight - AT_END;
    this.#jump.hidden = this.#follows;
  }

  #toEnd() {
    this.#follows = true;
    this.#jump.hidden = true;
    this.#node.scrollTop = this.#node.scrollHeight;
  }
}

// Neighbouring parts of one kind as one part.
function joined(parts) {
  const found = [];
  for (const [kind, text, name] of parts) {
    const last = found.at(-1);
    if (last && last[0] === kind && !name) last[1] += text;
    else found.push([kind, text, name]);
  }
  return found;
}

// Tells a reason where a text would be, with code in it perhaps.
export function explain(id, ...parts) {
  const node = byId(id);
  node.replaceChildren(
    ...parts.map((part) => (typeof part === "string" ? visible(part) : element("code", {}, visible(part.code)))),
  );
  node.hidden = !parts.length;
}
