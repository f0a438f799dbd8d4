/**
 * How much of a recorded log the canary had of late, so that its lines can be thinned to another weight; and whether there were enough. Pure.
 */

import { FULL, NONE, type Ppm } from "../domain/units.ts";

/** Above the weight by so little, the share is taken to be the weight: it is an estimate, and every line left out is evidence less. */
const SLACK = 1.1;
/** What a second leaves of the counts of before: they are of about the last minute. */
const KEEPS = Math.exp(-1 / 60);

/** The canary's recorded share. */
export class RecordedShare {
  #canary = 0;
  #all = 0;
  /** Responses that the plan would have given the canary, and those that it got. */
  wanted = 0;
  got = 0;

  /** Counts a recorded line of either arm. @param weight in force */
  count(isCanary: boolean, weight: Ppm): void {
    this.#all++;
    if (isCanary) this.#canary++;
    this.wanted += weight / FULL;
  }

  /** Whether a recorded line of the canary, by its bucket, is still the canary's at this weight. */
  keeps(bucket: number, weight: Ppm): boolean {
    const share = weight * this.#all;
    if (weight > NONE && this.#canary * FULL <= share * SLACK) return true;
    // The canary's keys are spread over all buckets of this shuffle: of a share of them as many are kept as make the weight.
    return bucket * this.#canary < share;
  }

  /** A second is over. */
  tick(): void {
    this.#canary *= KEEPS;
    this.#all *= KEEPS;
  }
}
