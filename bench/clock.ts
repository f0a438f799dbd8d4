/** The clock by which benchmarks measure. */

/** The monotonic clock that all threads and processes of a machine have in common, in microseconds. */
export function monotonicMicros(): number {
  return Number(process.hrtime.bigint()) / 1000;
}
