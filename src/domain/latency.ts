/**
 * Latency histograms in HdrHistogram's layout, and the only door to hdr-histogram-js. Pure.
 *
 * Two significant digits, 1 µs to 1 h: enough to judge by, 13 KB a histogram. Recording is done by hand (one `clz32`, two shifts, an
 * addition) because the library's `recordValue` costs thirty times as much and throws out of range, throws on negatives and accepts
 * `NaN`, after which its maximum reads 0; a test holds the two to the same buckets. The library encodes (V2, the format that
 * other languages' HdrHistogram tools read). Source: HdrHistogram's documentation; statistics.md §7.
 */

import { build, encodeIntoCompressedBase64, type Histogram } from "hdr-histogram-js";
import type { SparseCounts } from "./slice.ts";

/** Longest latency that is told apart, µs: one hour. Longer ones count as this. */
export const HIGHEST_MICROS = 3_600_000_000;

const SUB_BUCKETS = 256;
const HALF = SUB_BUCKETS / 2;
const HALF_MAGNITUDE = 7;

/** Number of buckets: 25 doublings of 128, and the first 128. */
export const COUNTS_LENGTH = 3328;

/**
 * The bucket of a latency, an index from 0 to COUNTS_LENGTH − 1.
 *
 * Clamped to 0…1 h; a fraction is cut off; `NaN`, which no clock gives, counts as 0.
 */
export function indexOfMicros(us: number): number {
  // `>>> 0` takes NaN to 0 and cuts the fraction; the range fits 32 bits.
  const value = us >= HIGHEST_MICROS ? HIGHEST_MICROS : us > 0 ? us >>> 0 : 0;
  const bucket = 31 - HALF_MAGNITUDE - Math.clz32(value | (SUB_BUCKETS - 1));
  return (bucket + 1) * HALF + ((value >>> bucket) - HALF);
}

/** The highest latency that falls into a bucket, µs: what HdrHistogram calls the highest equivalent value. */
export function highestOf(index: number): number {
  if (index < SUB_BUCKETS) return index;
  const bucket = Math.floor(index / HALF) - 1;
  return ((index % HALF) + HALF + 1) * 2 ** bucket - 1;
}

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
