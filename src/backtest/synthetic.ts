/** A world without a log: requests at an even pace from ten thousand users, with stable's errors and latencies drawn by seed. */

import { FULL, type Millis, type Ppm } from "../domain/units.ts";
import { seedOf, uniform } from "./chance.ts";
import { emptyLine } from "./line.ts";
import type { Next, Source } from "./source.ts";

/** What it is like. */
export interface Climate {
  readonly rps: number;
  readonly duration: Millis;
  /** Stable's. */
  readonly errors: Ppm;
  /** Stable's median. */
  readonly latency: Millis;
  readonly seed: number;
}

const USERS = 10_000;
/** Spread of the logarithm of latencies: the P99 is 3.2 times the median. */
const SIGMA = 0.5;
/** A Monday morning, so that the same seed gives the same report. */
const BEGINS = Date.UTC(2026, 0, 5, 9);

/** Lines that were made up. */
export class Synthetic implements Source {
  readonly line = emptyLine();
  readonly #climate: Climate;
  readonly #seeds: readonly [users: number, errors: number, size: number, angle: number];
  #nth = 0;

  constructor(climate: Climate) {
    this.#climate = climate;
    const of = (name: string): number => seedOf(climate.seed, name);
    this.#seeds = [of("users"), of("errors"), of("size"), of("angle")];
    this.line.arm = "stable";
  }

  next(): Next {
    const { rps, duration, errors, latency } = this.#climate;
    const nth = this.#nth++;
    const ms = (nth * 1000) / rps;
    if (ms >= duration) return "end";
    const { line } = this;
    const [users, failing, size, angle] = this.#seeds;
    const failed = uniform(failing, nth) * FULL < errors;
    line.at = BEGINS + ms;
    line.key = `u${Math.floor(uniform(users, nth) * USERS)}`;
    line.reason = failed ? "status" : "ok";
    line.status = failed ? 500 : 200;
    // Box and Muller's way to a normal number; the logarithm of 0 is none.
    const radius = Math.sqrt(-2 * Math.log(1 - uniform(size, nth)));
    line.latencyUs = latency * 1000 * Math.exp(SIGMA * radius * Math.cos(2 * Math.PI * uniform(angle, nth)));
    return "line";
  }

  /** Nothing is ever waited for. */
  async fill(): Promise<void> {}

  /** Nothing that was made up is refused. */
  refuse(): void {}
}
