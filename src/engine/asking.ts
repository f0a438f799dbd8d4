/** A question to somebody outside: one at a time, and no sooner than some time after the one before began. */

import type { Millis } from "../domain/units.ts";

/** Whether and when it was asked. */
export class Asking {
  #isOpen = false;
  #since = Number.NEGATIVE_INFINITY;

  /** Whether it may be asked at `now`. */
  may(now: Millis, interval: Millis): boolean {
    return !this.#isOpen && now - this.#since >= interval;
  }

  /** The answer; until then it is not asked again. */
  async of<T>(now: Millis, ask: () => Promise<T> | T): Promise<T> {
    this.#isOpen = true;
    this.#since = now;
    try {
      return await ask();
    } finally {
      this.#isOpen = false;
    }
  }
}
