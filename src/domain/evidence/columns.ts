/**
 * The sums of one ten-second block of both arms, as columns of a row. Pure.
 *
 * A row of numbers rather than an object: rows are added, kept for ten minutes and written into a document, all of it column by column.
 */

/** Where each sum stands in a row. SLOW, FAST and OVER have one column per cut point. */
export const COLUMN = {
  /** Canary: responses, errors, slower than the P95 limit, than the P99 limit, 4xx. */
  n1: 0,
  e1: 1,
  s1: 2,
  v1: 3,
  c1: 4,
  /** The same of stable. */
  n0: 5,
  e0: 6,
  s0: 7,
  v0: 8,
  c0: 9,
  /** Latencies compared: of the canary, of stable. */
  l1: 10,
  l0: 11,
  /** The canary above 1.1 times each cut point, above 1.5 times; stable above the points themselves. */
  slow: 12,
  fast: 15,
  over: 18,
} as const;

/** Columns of a row. */
export const COLUMNS = 21;
