/**
 * Cut points: stable's own P50, P90 and P99 of late, between which the comparative tier compares latencies. Pure; three numbers in a
 * caller's array.
 *
 * The points may be anywhere as long as they are fixed before the block that they cut: what share of stable lies above one is learned
 * apart. They move by a share of the *logarithm* of the distance, so that one pause, a hundred times a normal answer, does not carry P99 away.
 * Source: statistics.md §3.3, §4.
 */

import { indexOfMicros } from "../hdr.ts";
import { quantilesOf, type Counts } from "../latency.ts";
import type { SparseCounts } from "../slice.ts";

/** The quantiles that the cut points follow. */
export const CUT_QUANTILES = [0.5, 0.9, 0.99] as const;
/** Numbers that cut points take: one each, µs; 0 while stable has not answered often enough. */
export const CUT_WORDS = CUT_QUANTILES.length;

const SMOOTHING_S = 150;
/** Fewer answers of stable than this say nothing about its quantiles: they are kept for the next block. */
const ENOUGH = 30;

/**
 * Follows stable's quantiles and empties the histogram; or leaves both alone while there are fewer than 30 answers. True when it moved.
 *
 * @param stable  stable's latencies since the last move, µs
 * @param seconds time since then
 */
export function moveCuts(state: Float64Array, at: number, stable: Counts, seconds: number): boolean {
  if (stable.total < ENOUGH) return false;
  const gain = 1 - Math.exp(-seconds / SMOOTHING_S);
  quantilesOf(stable, CUT_QUANTILES).forEach((quantile, index) => {
    // There are answers, so there are quantiles; one below a microsecond has no logarithm.
    const now = Math.max(1, quantile!);
    const before = state[at + index]!;
    state[at + index] = before === 0 ? now : before * (now / before) ** gain;
  });
  stable.counts.fill(0);
  stable.total = 0;
  return true;
}

/**
 * Adds, per cut point, how many latencies lie above `factor` times it. By bucket: what the histogram cannot tell from the point is not
 * above it.
 *
 * @param into     numbers, one per cut point from `intoAt` on
 * @param latency  one arm's latencies, µs
 */
export function addAbove(
  cuts: Float64Array,
  at: number,
  factor: number,
  latency: SparseCounts,
  into: Float64Array,
  intoAt: number,
): void {
  for (let cut = 0; cut < CUT_WORDS; cut++) {
    const limit = indexOfMicros(cuts[at + cut]! * factor);
    let above = 0;
    for (let i = 0; i + 1 < latency.length; i += 2) if (latency[i]! > limit) above += latency[i + 1]!;
    into[intoAt + cut]! += above;
  }
}

/** How many latencies there are. */
export function countOf(latency: SparseCounts): number {
  let all = 0;
  for (let i = 0; i + 1 < latency.length; i += 2) all += latency[i + 1]!;
  return all;
}
