// Rates a second, from the snapshots of the last seconds.

const SECONDS = 5; // how old the oldest snapshot may be

export class Rates {
  #kept = [];

  add(now) {
    const last = this.#kept.at(-1);
    if (last && (now.at < last.at || now.at > last.at + 2 * SECONDS || now.deliveries < last.deliveries)) {
      this.#kept = []; // the gateway was restarted, or no snapshot came for long
    }
    const streams = new Map(now.list.map((stream) => [stream.id, stream.usage?.completion_tokens]));
    this.#kept.push({ at: now.at, deliveries: now.deliveries, tokens: now.tokens, streams });
    while (now.at - this.#kept[0].at > SECONDS) this.#kept.shift();
  }

  deliveries() {
    return this.#rate((snapshot) => snapshot.deliveries);
  }

  // Tokens a second of all answers, also of those that no snapshot lists.
  tokens() {
    return this.#rate((snapshot) => snapshot.tokens);
  }

  // Tokens a second of a running stream; null if the stream has ended, or while the rate is not known.
  tokensOf(stream) {
    return stream.ending === null ? this.#rate((snapshot) => snapshot.streams.get(stream.id)) : null;
  }

  #rate(read) {
    const known = this.#kept.filter((snapshot) => read(snapshot) != null);
    if (known.length < 2) return null;
    const [first, last] = [known[0], known.at(-1)];
    return Math.max(0, (read(last) - read(first)) / (last.at - first.at));
  }
}
