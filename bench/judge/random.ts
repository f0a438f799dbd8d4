/** Chance that repeats itself, fast enough to draw weeks second by second: the same seed gives the same world. */

const TWO_32 = 2 ** 32;
/** From here on a normal stands for a Poisson number: only requests in a second are that many, and nobody judges those. */
const MANY = 30;

/** One stream of chance: sfc32 (Doty-Humphrey, PractRand), seeded by any whole numbers. */
export class Random {
  #a = 0;
  #b = 0;
  #c = 0;
  #counter = 1;

  /** @param seeds which stream: other numbers, or the same in another order, give another one */
  constructor(...seeds: readonly number[]) {
    for (const seed of seeds) {
      this.#a ^= seed | 0;
      this.#b ^= Math.imul(seed, 0x9e3779b1);
      // The first dozen outputs still show the seed.
      for (let round = 0; round < 12; round++) this.#next();
    }
  }

  /** Within [0, 1). */
  uniform(): number {
    return this.#next() / TWO_32;
  }

  /** Within [low, high). */
  between(low: number, high: number): number {
    return low + (high - low) * this.uniform();
  }

  /** A whole number from 0 to `end` − 1. */
  below(end: number): number {
    return Math.floor(this.uniform() * end);
  }

  /** Mean 0, variance 1 (Box and Muller). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** How many come when `mean` are expected. */
  poisson(mean: number): number {
    if (mean >= MANY) return Math.max(0, Math.round(mean + Math.sqrt(mean) * this.normal()));
    const least = Math.exp(-mean);
    let count = -1;
    for (let product = 1; product > least; product *= this.uniform()) count++;
    return Math.max(0, count);
  }

  /** How many of `n` when each one is with `share`. Exact: from one to the next, so that rare ones cost nothing. */
  binomial(n: number, share: number): number {
    if (share <= 0 || n === 0) return 0;
    if (share >= 1) return n;
    if (share > 0.5) return n - this.binomial(n, 1 - share);
    const scale = Math.log1p(-share);
    let count = 0;
    for (let at = this.#gap(scale); at < n; at += 1 + this.#gap(scale)) count++;
    return count;
  }

  #gap(scale: number): number {
    return Math.floor(Math.log(1 - this.uniform()) / scale);
  }

  #next(): number {
    const sum = (this.#a + this.#b + this.#counter++) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    return sum >>> 0;
  }
}
