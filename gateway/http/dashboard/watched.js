// The live text of one stream: the one that the visitor chose, else one that runs.

import { Source } from "./source.js";
import { getJson } from "./credentials.js";
import { byId, setText } from "./page.js";
import { saidBy } from "./said.js";
import { GrowingText, explain } from "./text.js";
import { KINDS } from "./endings.js";
import { duration, milliseconds, number, plural, words } from "./words.js";

const LINGER_MS = 4000; // how long an ended stream stays before the next one is chosen
const OWN_LIST_MS = 4000; // the least time between two questions for the visitor's own streams

export class Watched {
  #text = new GrowingText(byId("text"), byId("jump"));
  #source = null;
  #stream = null;
  #isPinned = false; // the visitor chose it
  #endedAt = 0; // when the page learned of its end; 0: it goes on
  #askedAt = -Infinity;

  // onChosen: called when another stream is shown
  constructor(onChosen) {
    this.onChosen = onChosen;
    byId("follow").addEventListener("click", () => this.#unpin());
  }

  get id() {
    return this.#stream?.id;
  }

  // Shows a stream that the visitor chose.
  choose(stream) {
    this.#isPinned = true;
    this.#show(stream);
    byId("watched").scrollIntoView({ block: "nearest" });
  }

  // Shows the stream again, since the visitor may now be allowed to read it.
  again() {
    if (this.#stream) this.#show(this.#stream);
  }

  // Follows a snapshot: chooses a stream if the visitor has chosen none. sees: as in History
  follow(now, sees, rates) {
    const listed = now.list.find((stream) => stream.id === this.id);
    if (listed) this.#describe(listed, now, rates);
    byId("follow").hidden = !this.#isPinned;
    if (this.#isPinned || !this.#mayLeave()) return;
    if (sees === "everybody's") this.#chooseAmong(now.list);
    else if (sees === "its own") this.#chooseOwn();
    else if (!this.#stream)
      explain(
        "watched-reason",
        "The text of a stream is for the holder of its key. Enter an API key, or a viewer token of a stream.",
      );
  }

  #mayLeave() {
    return !this.#stream || (this.#endedAt > 0 && performance.now() - this.#endedAt > LINGER_MS);
  }

  #chooseAmong(list) {
    const running = list.filter((stream) => stream.ending === null);
    const found =
      running.find((stream) => stream.state === "streaming") ?? running[0] ?? (this.#stream ? null : list[0]);
    if (found && found.id !== this.id) this.#show(found);
    else if (!this.#stream) explain("watched-reason", "No stream runs. The next one is shown here by itself.");
  }

  async #chooseOwn() {
    if (performance.now() - this.#askedAt < OWN_LIST_MS) return;
    this.#askedAt = performance.now();
    const page = await getJson("v1/streams?limit=20").catch(() => ({ data: [] }));
    if (!this.#isPinned && this.#mayLeave()) this.#chooseAmong(page.data);
  }

  #unpin() {
    this.#isPinned = false;
    this.#endedAt ||= 1; // the stream is left with the next snapshot
    byId("follow").hidden = true;
  }

  #show(stream) {
    this.#source?.close();
    this.#stream = stream;
    this.#endedAt = 0;
    this.#text.clear();
    explain("watched-reason");
    byId("text").hidden = false;
    setText(byId("watched-title"), stream.model);
    this.#tell("connecting");
    const on = {
      message: (data) => this.#text.add(saidBy(data)),
      end: ({ ending }) => this.#onEnd(ending),
      gap: ({ missed }) =>
        this.#text.add([["note", `${missed === null ? "some events are" : plural(missed, "event")} gone`]]),
      reset: () => this.#text.clear(),
      state: (state) => this.#tell(state),
      refused: (status, message) => this.#onRefused(status, message),
    };
    const path = `v1/streams/${encodeURIComponent(stream.id)}/events?audience=no`;
    this.#source = new Source(path, `stream:${stream.id}`, on);
    setText(byId("watched-about"), stream.id);
    this.onChosen();
  }

  #describe(stream, now, rates) {
    const about = [
      stream.upstream ?? "no upstream yet",
      `TTFT ${milliseconds(stream.ttft.first_content_ms)}`,
      `${number(stream.usage?.completion_tokens)} tokens`,
      stream.ending === null ? `${number(rates.tokensOf(stream), 0)} a second` : null,
      plural(stream.readers, "reader"),
      `${duration(now.at - stream.created)} old`,
      stream.dialect,
      stream.id,
    ];
    setText(byId("watched-about"), about.filter((part) => part !== null).join(" · "));
  }

  #onEnd(ending) {
    this.#source.close();
    this.#endedAt = performance.now();
    this.#tell(words(ending), KINDS[ending] ?? "wait");
  }

  #onRefused(status, message) {
    this.#endedAt = performance.now();
    this.#tell(`refused (${status})`, "wait");
    byId("text").hidden = true;
    if (status === 404)
      explain(
        "watched-reason",
        `${message}. The text of a stream is for its owner: enter its API key, an admin key, or the token that `,
        { code: `rivergate token ${this.id}` },
        " mints.",
      );
    else
      explain(
        "watched-reason",
        `Refused: ${message}. Enter the API key of its owner, an admin key, or the token that `,
        { code: `rivergate token ${this.id}` },
        " mints.",
      );
  }

  #tell(state, kind = state === "live" ? "running" : "wait") {
    const node = byId("watched-state");
    setText(node, state);
    node.dataset.kind = kind;
  }
}
