// Rates a second, from the snapshots of the last seconds.

const SECONDS = 5; // how old the oldest snapshot may be

export class Rates {
  #kept = [];

  add(now) {
    const last = this.#kept.at(-1);
    if (last && (now.at < last.at || now.at > last.at + 2 * SECONDS || now.deliveries < last.deliveries)) {
      this.#kept = []; // the gateway was restarted, or no snapshot came for long
    }
    const tokens = new Map(now.list.map((stream) => [stream.id, stream.usage?.completion_tokens]));
    const created = new Map(now.list.map((stream) => [stream.id, stream.created]));
    this.#kept.push({ at: now.at, deliveries: now.deliveries, tokens, created });
    while (now.at - this.#kept[0].at > SECONDS) this.#kept.shift();
  }

  deliveries() {
    return this.#rate((snapshot) => snapshot.deliveries);
  }

  // Tokens a second of a running stream; null if the stream has ended, or while the rate is not known.
  tokens(stream) {
    return stream.ending === null ? this.#rate((snapshot) => snapshot.tokens.get(stream.id)) : null;
  }

  // Tokens a second of all listed streams, including streams that began and ended between two snapshots.
  allTokens() {
    const [first, last] = [this.#kept[0], this.#kept.at(-1)];
    if (last.at <= first.at) return null;
    let brought = 0;
    for (const [id, tokens] of last.tokens) {
      const isNew = last.created.get(id) >= Math.floor(first.at);
      const before = first.tokens.get(id) ?? (isNew || first.tokens.has(id) ? 0 : tokens);
      brought += Math.max(0, (tokens ?? 0) - (before ?? 0));
    }
    return brought / (last.at - first.at);
  }

  #rate(read) {
    const known = this.#kept.filter((snapshot) => read(snapshot) != null);
    if (known.length < 2) return null;
    const [first, last] = [known[0], known.at(-1)];
    return Math.max(0, (read(last) - read(first)) / (last.at - first.at));
  }
}
