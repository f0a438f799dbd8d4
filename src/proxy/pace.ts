/**
 * How fast a client sends a request body, over the time in which it was waited for. Time in which the upstream took nothing is nobody's fault
 * here, so it is left out: an honest slow upload passes, one that trickles to hold a connection does not (reliability.md 26).
 */

import { millis } from "../domain/units.ts";
import type { Clock } from "../engine/ports.ts";

/** A body may be as slow as it likes for so long: connections take a while to get going. */
const GRACE_MS = 10_000;

/** What is known of the pace of one body. */
export class Pace {
  readonly #clock: Clock;
  /** Bytes a second. */
  readonly #least: number;
  #since = millis(0);
  #isWaiting = false;
  #waitedMs = 0;
  #bytes = 0;

  /** @param least bytes a second, on the average */
  constructor(clock: Clock, least: number) {
    this.#clock = clock;
    this.#least = least;
  }

  /** The client is waited for from now on. */
  wait(): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.#since = this.#clock.mono();
  }

  /** It is the upstream that is waited for from now on. */
  rest(): void {
    this.#isWaiting = false;
  }

  /** So many bytes have come; false: too few for the time they took. */
  took(bytes: number): boolean {
    this.#bytes += bytes;
    if (!this.#isWaiting) return true;
    const now = this.#clock.mono();
    this.#waitedMs += now - this.#since;
    this.#since = now;
    return this.#waitedMs <= GRACE_MS || this.#bytes * 1000 >= this.#least * this.#waitedMs;
  }
}
