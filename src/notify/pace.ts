/**
 * How many messages a minute a channel takes, so that a flood does not become one. Each message takes a turn, which comes back a minute later; what is loud has
 * turns of its own, so that it never waits for what is not.
 */

/** Turns of one channel. */
export class Pace {
  readonly #minuteMs: number;
  readonly #left: { loud: number; plain: number };
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #onTurn: () => void;

  /** @param onTurn called when a turn has come back */
  constructor(perMinute: number, minuteMs: number, onTurn: () => void) {
    this.#left = { loud: perMinute, plain: perMinute };
    this.#minuteMs = minuteMs;
    this.#onTurn = onTurn;
  }

  has(kind: "loud" | "plain"): boolean {
    return this.#left[kind] > 0;
  }

  take(kind: "loud" | "plain"): void {
    if (this.#left[kind] === Infinity) return;
    this.#left[kind] -= 1;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#left[kind] += 1;
      this.#onTurn();
    }, this.#minuteMs);
    timer.unref();
    this.#timers.add(timer);
  }

  close(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }
}
