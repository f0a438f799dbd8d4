/**
 * Latency histograms, read, and the only door to hdr-histogram-js. Pure.
 *
 * What is recorded by hand (`hdr.ts`) is added up here and asked for its quantiles; the library encodes it (V2, the format that other languages'
 * HdrHistogram tools read).
 */

import {
  build,
  decodeFromCompressedBase64,
  encodeIntoCompressedBase64,
  type Histogram,
  type JsHistogram,
} from "hdr-histogram-js";
import { COUNTS_LENGTH, HIGHEST_MICROS, highestOf, indexOfMicros } from "./hdr.ts";
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
  eachOf(sparse, (index, count) => {
    into.counts[index]! += count;
    into.total += count;
  });
}

/** What of `sparse` is within the layout. */
function eachOf(sparse: SparseCounts, take: (index: number, count: number) => void): void {
  for (let i = 0; i + 1 < sparse.length; i += 2) {
    // Both places exist: the loop ends before the last odd one.
    const index = sparse[i]!;
    const count = sparse[i + 1]!;
    if (index >= 0 && index < COUNTS_LENGTH && count > 0) take(index, count);
  }
}

/** The same counts, each bucket once and in order. */
export function compactSparse(sparse: SparseCounts): SparseCounts {
  const whole = emptyCounts();
  addSparse(whole, sparse);
  const compact: number[] = [];
  whole.counts.forEach((count, index) => {
    if (count > 0) compact.push(index, count);
  });
  return compact;
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

/** One point of a distribution: this many percent of the latencies are at most `ms`. */
export interface Percentile {
  readonly percentile: number;
  readonly ms: number;
}

/** Shares of the latencies that are longer, at which a distribution is told: half, and then three to each tenth of the one before. */
const TAILS: readonly number[] = [
  1, 0.9, 0.75, 0.5, 0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.0025, 0.001, 0.0005, 0.00025, 0.0001,
];

/** The distribution as points, rising, as far as there are latencies to tell it by; empty when there are none. */
export function percentilesOf(histogram: Counts): readonly Percentile[] {
  if (histogram.total === 0) return [];
  // Of a hundred latencies nobody knows the slowest in a thousand.
  const told = TAILS.filter((tail) => tail * histogram.total >= 1);
  const shares = [...told.map((tail) => 1 - tail), 1 - 1 / histogram.total];
  const rising = [...new Set(shares)].sort((a, b) => a - b);
  const micros = quantilesOf(histogram, rising);
  return rising.map((share, index) => ({
    percentile: Math.round(share * 1e6) / 1e4,
    // Of a histogram that is not empty each quantile is known.
    ms: micros[index]! / 1000,
  }));
}

function library(digits: 1 | 2 = 2): Histogram {
  return build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: HIGHEST_MICROS,
    numberOfSignificantValueDigits: digits,
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

/** A slice's counts as HdrHistogram V2, compressed, base64. @param digits one: a tenth of the room, and latencies to a tenth */
export function encodeHistogram(sparse: SparseCounts, digits: 1 | 2): string {
  const target = library(digits);
  eachOf(sparse, (index, count) => target.recordValueWithCount(highestOf(index), count));
  return encodeIntoCompressedBase64(target);
}

/** The counts in such a text. Throws when it is none. */
export function decodeHistogram(text: string): SparseCounts {
  // By its array and not by the library's iterator, over plain numbers and not packed ones: a fifteenth of the price, and the leader of a thousand replicas
  // reads a thousand of these a second. Whoever has sent it says how large it is: 40 MB at the most, for a moment.
  const histogram = decodeFromCompressedBase64(text, 64) as JsHistogram;
  const sparse: number[] = [];
  for (let index = 0; index < histogram.countsArrayLength; index++) {
    const count = histogram.getCountAtIndex(index);
    if (count === 0) continue;
    // Another number of digits is another layout.
    const highest = histogram.highestEquivalentValue(histogram.valueFromIndex(index));
    sparse.push(indexOfMicros(highest), count);
  }
  return sparse;
}
