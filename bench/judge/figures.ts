/** What repeated runs show, with how far chance may have carried it. Pure. */

import { betaShare, differenceInterval, shareInterval } from "../../src/domain/evidence/proportion.ts";

/** A measured figure and where the true one lies, 95 %. */
export interface Figure {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

const MISSED = 0.025;

/** The value at `share` of the sorted values (Infinity: never), and the order statistics between which the true one lies. */
export function quantileOf(values: readonly number[], share: number): Figure {
  const sorted = values.toSorted((a, b) => a - b);
  const n = sorted.length;
  const at = (rank: number): number => sorted[rank - 1] ?? (rank < 1 ? 0 : Infinity);
  // Fewer than `rank` of the values lie below the true one with this chance.
  const chanceBelow = (rank: number): number => 1 - betaShare(share, rank, n - rank + 1);
  let low = 0;
  while (low < n && chanceBelow(low + 1) <= MISSED) low++;
  let high = n + 1;
  while (high > 1 && 1 - chanceBelow(high - 1) <= MISSED) high--;
  return { value: at(Math.ceil(share * n)), low: at(low), high: at(high) };
}

/** A share, with Wilson's interval. */
export function shareOf(x: number, n: number): Figure {
  return { value: n === 0 ? Number.NaN : x / n, ...shareInterval(x, n) };
}

/** A measured figure beside the design's: the same as far as chance allows, less of what nobody wants, or more; "–": the design has none. */
export type Mark = "yes" | "less" | "MORE" | "–";

/** @param design significant to two digits; Infinity: never */
export function markOf(design: number | null, { low, high }: Figure): Mark {
  if (design === null) return "–";
  if (design === Infinity) return high === Infinity ? "yes" : "MORE";
  const rounding = design === 0 ? 0 : 0.5 * 10 ** (Math.floor(Math.log10(design)) - 1);
  if (high < design - rounding) return "less";
  return low > design + rounding ? "MORE" : "yes";
}

/** `x` of `n` beside the design's `designX` of `designN`: both were counted, so both err. */
export function markOfCount(x: number, n: number, designX: number, designN: number): Mark {
  const { low, high } = differenceInterval(x, n, designX, designN);
  return high < 0 ? "less" : low > 0 ? "MORE" : "yes";
}
