/** Sums of the last so many seconds of one arm. */

export interface Sums {
  readonly n: number;
  readonly e: number;
  readonly s: number;
  readonly v: number;
}

const NOTHING: Sums = { n: 0, e: 0, s: 0, v: 0 };

export class Trailing {
  readonly #ring: Sums[];
  #at = 0;
  #sums = NOTHING;

  constructor(seconds: number) {
    this.#ring = Array.from({ length: seconds }, () => NOTHING);
  }

  /** Takes in a second; the sums up to its end. */
  add({ n, e, s, v }: Sums): Sums {
    const gone = this.#ring[this.#at]!;
    this.#ring[this.#at] = { n, e, s, v };
    this.#at = (this.#at + 1) % this.#ring.length;
    const sums = this.#sums;
    this.#sums = {
      n: sums.n + n - gone.n,
      e: sums.e + e - gone.e,
      s: sums.s + s - gone.s,
      v: sums.v + v - gone.v,
    };
    return this.#sums;
  }
}
