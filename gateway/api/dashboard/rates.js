// What a second brings, from the snapshots of the last seconds.

const RATE_SECONDS = 5;

export class History {
  #kept = [];

  add(now) {
    const last = this.#kept.at(-1);
    if (last && (now.at < last.at || now.at > last.at + 2 * RATE_SECONDS || now.deliveries < last.deliveries)) {
      this.#kept = []; // another process, or a long silence
    }
    const tokens = new Map(now.list.map((stream) => [stream.id, stream.usage?.completion_tokens]));
    this.#kept.push({ at: now.at, deliveries: now.deliveries, tokens });
    while (now.at - this.#kept[0].at > RATE_SECONDS) this.#kept.shift();
  }

  deliveries() {
    return this.#rate((one) => one.deliveries);
  }

  tokens(id) {
    return this.#rate((one) => one.tokens.get(id));
  }

  #rate(read) {
    const known = this.#kept.filter((one) => read(one) != null);
    const [first, last] = [known[0], known.at(-1)];
    if (known.length < 2 || last.at <= first.at) return null;
    return Math.max(0, (read(last) - read(first)) / (last.at - first.at));
  }
}
