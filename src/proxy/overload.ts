/**
 * When a thread sheds load: its event loop is late, or it has too many requests in flight. A request is shed before anybody has looked at its route, so
 * that both arms lose the same share and neither can be blamed (reliability.md 29, 33).
 *
 * The loop's delay is known from a timer of 100 ms, and from how long that timer is overdue by now: a stall is seen by the first request
 * behind it, and forgotten with the first timer that comes in time again. The platform's histogram of the delay is for people: its
 * quantiles remember a stall for longer than anybody should be turned away for it.
 */

import type { Config } from "../config/schema.ts";
import type { PlaneEvent } from "../domain/event.ts";
import { millis, type Millis } from "../domain/units.ts";
import type { Clock } from "../engine/ports.ts";

/** How often the loop's delay is looked at. */
const SAMPLE_MS = millis(100);

/** So many samples are a little more than a second: what was measured in a second in which the loop was late is seen to be. */
const LATELY = 12;

/** How late this thread's event loop is. */
export class LoopDelay {
  readonly #clock: Clock;
  readonly #lately = new Array<number>(LATELY).fill(0);
  #samples = 0;
  #late = 0;
  /** When the next timer should come; never, before it is started. */
  #due = Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Begins to measure; returns what ends it. @param tell is told the worst delay of the last second or so, ms, ten times a second */
  start(tell: (worstMs: number) => void = nobody): () => void {
    this.#due = this.#clock.mono() + SAMPLE_MS;
    return this.#clock.every(SAMPLE_MS, () => {
      const now = this.#clock.mono();
      this.#late = Math.max(0, now - this.#due);
      this.#due = now + SAMPLE_MS;
      this.#lately[this.#samples++ % LATELY] = this.#late;
      tell(Math.max(...this.#lately));
    });
  }

  /** The delay as known at `now`: of the last timer, or of the next one that should have been. */
  at(now: Millis): Millis {
    return millis(Math.max(this.#late, now - this.#due));
  }
}

function nobody(): void {
  // not told
}

/** What a thread has in flight, and whether it takes more. */
export class Overload {
  readonly #delayAt: ((now: Millis) => Millis) | undefined;
  /** Requests in flight, of all routes. */
  inFlight = 0;
  #delayMax = Infinity;
  #concurrency = Infinity;

  /** @param delayAt how late the event loop is; left out: not known, and nothing is shed for it */
  constructor(delayAt?: (now: Millis) => Millis) {
    this.#delayAt = delayAt;
  }

  /** New limits; they bind the next request. */
  configure({ loopDelay, concurrency }: Config["overload"]): void {
    this.#delayMax = loopDelay === "none" ? Infinity : loopDelay;
    this.#concurrency = concurrency === "none" ? Infinity : concurrency;
  }

  /** Why a request that comes at `now` is not taken; undefined when it is. */
  refusal(now: Millis): Extract<PlaneEvent, "shed_loop_delay" | "shed_concurrency"> | undefined {
    if (this.inFlight >= this.#concurrency) return "shed_concurrency";
    if (this.#delayAt !== undefined && this.#delayAt(now) > this.#delayMax) return "shed_loop_delay";
    return undefined;
  }
}
