/**
 * Latency histograms, read, and the only door to hdr-histogram-js. Pure.
 *
 * What is recorded by hand (`hdr.ts`) is added up here and asked for its quantiles; the library encodes it (V2, the format that other languages'
 * HdrHistogram tools read).
 */

import { build, encodeIntoCompressedBase64, type Histogram } from "hdr-histogram-js";
import { COUNTS_LENGTH, HIGHEST_MICROS, highestOf } from "./hdr.ts";
import type { SparseCounts } from "./slice.ts";

export { COUNTS_LENGTH, HIGHEST_MICROS, highestOf, indexOfMicros } from "./hdr.ts";

/** A histogram one may add to: COUNTS_LENGTH counts, and their sum. */
export interface Counts {
  readonly counts: Float64Array;
  total: number;
}

/** An empty histogram. */
export function emptyCounts(): Counts {
  return { counts: new Float64Array(COUNTS_LENGTH), total: 0 };
}

/** Adds a slice's counts. Indices outside the layout (a foreign or damaged slice) are left out. */
export function addSparse(into: Counts, sparse: SparseCounts): void {
  for (let i = 0; i + 1 < sparse.length; i += 2) {
    // Both places exist: the loop ends before the last odd one.
    const index = sparse[i]!;
    const count = sparse[i + 1]!;
    if (!(index >= 0 && index < COUNTS_LENGTH && count > 0)) continue;
    into.counts[index]! += count;
    into.total += count;
  }
}

/**
 * The latency at each quantile, µs: the highest value of the bucket in which the cumulated count first reaches ⌈q·n⌉ (statistics.md §7).
 * Null for all when the histogram is empty.
 *
 * @param quantiles rising, each from 0 to 1
 */
export function quantilesOf(histogram: Counts, quantiles: readonly number[]): readonly (number | null)[] {
  if (histogram.total === 0) return quantiles.map(() => null);
  const values: number[] = [];
  let seen = 0;
  let index = -1;
  for (const quantile of quantiles) {
    const rank = Math.max(1, Math.ceil(quantile * histogram.total));
    while (seen < rank && index < COUNTS_LENGTH - 1) seen += histogram.counts[++index]!;
    values.push(highestOf(index));
  }
  return values;
}

function library(): Histogram {
  return build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: HIGHEST_MICROS,
    numberOfSignificantValueDigits: 2,
    autoResize: false,
  });
}

/** The histogram as HdrHistogram V2, compressed, base64; values in µs. */
export function encode(histogram: Counts): string {
  const target = library();
  histogram.counts.forEach((count, index) => {
    if (count > 0) target.recordValueWithCount(highestOf(index), count);
  });
  return encodeIntoCompressedBase64(target);
}
