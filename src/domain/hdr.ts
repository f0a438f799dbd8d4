/**
 * HdrHistogram's layout, by hand. Pure.
 *
 * Two significant digits, 1 µs to 1 h: enough to judge by, 13 KB a histogram. Recording is done by hand (one `clz32`, two shifts, an
 * addition) because the library's `recordValue` costs thirty times as much and throws out of range, throws on negatives and accepts
 * `NaN`, after which its maximum reads 0; a test holds the two to the same buckets. Apart from `latency.ts` so that a thread that only
 * records does not load the library: 18 MB. Source: HdrHistogram's documentation; statistics.md §7.
 */

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
