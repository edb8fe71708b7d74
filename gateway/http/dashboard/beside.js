// Several streams side by side, whose events all come over one connection.

import { connect } from "../client.js";
import { key } from "./credentials.js";
import { KINDS } from "./endings.js";
import { byId, element, setText } from "./page.js";
import { saidBy } from "./said.js";
import { GrowingText } from "./text.js";
import { number, plural, words } from "./words.js";

const MOST = 12; // panes, which is what a screen can show

export class Beside {
  #panes = new Map(); // by the id of the stream
  #client = null;
  #onChange;

  // onChange: called when a stream was added or removed
  constructor(onChange) {
    this.#onChange = onChange;
    byId("beside-close").addEventListener("click", () => this.clear());
  }

  has(id) {
    return this.#panes.has(id);
  }

  get isFull() {
    return this.#panes.size >= MOST;
  }

  toggle(stream) {
    if (this.has(stream.id)) this.#remove(stream.id);
    else if (!this.isFull) this.#add(stream);
    this.#tell();
  }

  clear() {
    for (const id of [...this.#panes.keys()]) this.#remove(id);
    this.#tell();
  }

  // Follows a snapshot.
  follow(now, rates) {
    for (const stream of now.list) {
      const pane = this.#panes.get(stream.id);
      if (!pane) continue;
      const rate = stream.ending === null ? `, ${number(rates.tokensOf(stream))} a second` : "";
      setText(
        pane.about,
        `${stream.upstream ?? "no upstream yet"}, ${number(stream.usage?.completion_tokens)} tokens${rate}`,
      );
    }
  }

  #add(stream) {
    const [state, about] = [element("p", { class: "state" }), element("p", { class: "about" })];
    const [text, jump] = [
      element("div", { class: "text", tabindex: "0", role: "region" }),
      element("button", { type: "button", class: "jump", hidden: "" }, "Jump to live"),
    ];
    text.setAttribute("aria-label", `Text of ${stream.id}`);
    const close = element("button", { type: "button" }, "Close");
    const title = element("h3", {});
    setText(title, stream.model);
    setText(about, stream.id);
    const node = element(
      "article",
      { class: "pane" },
      element("div", { class: "head" }, title, state, close),
      about,
      element("div", { class: "screen" }, text, jump),
    );
    close.addEventListener("click", () => this.toggle(stream));
    byId("panes").append(node);
    const pane = { node, about, state, text: new GrowingText(text, jump), stop: () => {} };
    this.#panes.set(stream.id, pane);
    this.#client ??= connect({ url: "v1/events", key: key() ?? undefined });
    pane.stop = this.#client.subscribe(stream.id, (told) => this.#take(pane, told));
    setState(pane, "live", "running");
  }

  #remove(id) {
    const pane = this.#panes.get(id);
    pane.stop();
    pane.node.remove();
    this.#panes.delete(id);
    if (this.#panes.size) return;
    this.#client.close();
    this.#client = null;
  }

  #take(pane, { type, data, missed, ending, error }) {
    if (type === "event") pane.text.add(saidBy(data));
    else if (type === "reset") pane.text.clear();
    else if (type === "gap")
      pane.text.add([["note", `${missed == null ? "some events are" : plural(missed, "event")} gone`]]);
    else if (error) {
      pane.text.add([["note", error.message]]);
      setState(pane, "refused", "wait");
    } else setState(pane, words(ending), KINDS[ending] ?? "wait");
  }

  #tell() {
    byId("beside").hidden = !this.#panes.size;
    setText(byId("beside-about"), `${plural(this.#panes.size, "stream")} over one connection, ${MOST} at most`);
    this.#onChange();
  }
}

function setState({ state }, word, kind) {
  setText(state, word);
  state.dataset.kind = kind;
}
