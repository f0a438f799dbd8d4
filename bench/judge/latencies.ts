/** Latencies of a simulated service: lognormal, drawn from a table, counted in the buckets that the judge reads. */

import { COUNTS_LENGTH, indexOfMicros } from "../../src/domain/hdr.ts";
import type { SparseCounts } from "../../src/domain/slice.ts";
import type { Random } from "./random.ts";

/** Of a healthy service, statistics.md §6. */
const MEDIAN_US = 60_000;
/** So many equally likely values: the greatest one stands for the slowest in 65,536. */
const VALUES = 65_536;

/** A lognormal's quantiles, rising, µs: one for each of the equally likely values. @param p95 the P95, µs */
export function lognormal(p95: number): Float64Array {
  const sigma = Math.log(p95 / MEDIAN_US) / probit(0.95);
  return Float64Array.from(
    { length: VALUES },
    (_, index) => MEDIAN_US * Math.exp(sigma * probit((index + 0.5) / VALUES)),
  );
}

/** How many of the values, times `factor`, are not above `limitUs`. */
function notAbove(values: Float64Array, factor: number, limitUs: number): number {
  let low = 0;
  let high = VALUES;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (values[middle]! * factor > limitUs) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** One arm's latencies over some seconds, and from where on they are slow. */
export class Latencies {
  readonly #values: Float64Array;
  readonly #random: Random;
  readonly #limits: readonly [number, number];
  readonly #counts = new Uint32Array(COUNTS_LENGTH);
  // The buckets that are in use lie between these.
  #lowest = COUNTS_LENGTH;
  #highest = -1;
  #body = 0;
  #factor = 1;
  #slowFrom = VALUES;
  #verySlowFrom = VALUES;

  /** @param limits slower than this is slow, and very slow, µs */
  constructor(values: Float64Array, limits: readonly [number, number], random: Random) {
    this.#values = values;
    this.#limits = limits;
    this.#random = random;
  }

  /** From now on all are `factor` times what the table says. Not while some are waiting to be drained. */
  slowDown(factor: number): void {
    this.#factor = factor;
    this.#slowFrom = notAbove(this.#values, factor, this.#limits[0]);
    this.#verySlowFrom = notAbove(this.#values, factor, this.#limits[1]);
  }

  /** Draws `n` ordinary ones: adds them, and says how many were slow, and very slow. */
  draw(n: number, into: { s: number; v: number }): void {
    const slow = this.#random.binomial(n, 1 - this.#slowFrom / VALUES);
    this.#body += n - slow;
    for (let k = 0; k < slow; k++) {
      const at = this.#slowFrom + this.#random.below(VALUES - this.#slowFrom);
      this.#count(this.#values[at]! * this.#factor);
      into.s++;
      if (at >= this.#verySlowFrom) into.v++;
    }
  }

  /** Adds one of `us`; counts it where it is slow. */
  add(us: number, into: { s: number; v: number }): void {
    this.#count(us);
    if (us > this.#limits[0]) into.s++;
    if (us > this.#limits[1]) into.v++;
  }

  /** Adds `n` of which only the bucket matters: they are not slow. */
  addFast(n: number): void {
    this.#body += n;
  }

  /** All since the last time, by bucket. */
  drain(): SparseCounts {
    for (let k = 0; k < this.#body; k++)
      this.#count(this.#values[this.#random.below(this.#slowFrom)]! * this.#factor);
    this.#body = 0;
    const sparse: number[] = [];
    for (let index = this.#lowest; index <= this.#highest; index++) {
      const count = this.#counts[index]!;
      if (count > 0) sparse.push(index, count);
    }
    this.#counts.fill(0);
    this.#lowest = COUNTS_LENGTH;
    this.#highest = -1;
    return sparse;
  }

  #count(us: number): void {
    const index = indexOfMicros(us);
    this.#counts[index]!++;
    if (index < this.#lowest) this.#lowest = index;
    if (index > this.#highest) this.#highest = index;
  }
}

/** The normal quantile by Acklam's rational approximation, relative error 10⁻⁹. */
function probit(share: number): number {
  if (share > 0.5) return -probit(1 - share);
  if (share < 0.02425) {
    const q = Math.sqrt(-2 * Math.log(share));
    return ratio(q, TAIL, TAIL_BELOW);
  }
  const q = share - 0.5;
  return q * ratio(q * q, MIDDLE, MIDDLE_BELOW);
}

function ratio(x: number, above: readonly number[], below: readonly number[]): number {
  const at = (terms: readonly number[]): number => terms.reduce((sum, term) => sum * x + term, 0);
  return at(above) / at(below);
}

const TAIL = [
  -7.784894002430293e-3, -3.223964580411365e-1, -2.400758277161838, -2.549732539343734, 4.374664141464968,
  2.938163982698783,
];
const TAIL_BELOW = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1];
const MIDDLE = [
  -3.969683028665376e1, 2.209460984245205e2, -2.759285104469687e2, 1.38357751867269e2, -3.066479806614716e1,
  2.506628277459239,
];
const MIDDLE_BELOW = [
  -5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1, -1.328068155288572e1,
  1,
];
