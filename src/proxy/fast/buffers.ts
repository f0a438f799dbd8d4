/**
 * Large buffers for long bodies: a body of megabytes costs the fewest calls when it is read in large pieces, and small buffers for all is what
 * many connections need. So a connection gets a large one for the time of a long body, as long as there are some; their number is bounded.
 */

import { HEADROOM } from "./head.ts";

const LARGE_BYTES = 256 * 1024;
/** In all, per thread: 16 MiB. */
const LARGE_MAX = 64;

/** One large buffer with the room before it that a response needs. */
export interface Large {
  readonly bytes: Buffer;
  /** Where it is read into. */
  readonly place: Buffer;
}

const spare: Large[] = [];
let lent = 0;

/** A large buffer; undefined when all are in use. */
export function borrowLarge(): Large | undefined {
  if (lent >= LARGE_MAX) return undefined;
  lent++;
  const before = spare.pop();
  if (before !== undefined) return before;
  const bytes = Buffer.allocUnsafeSlow(HEADROOM + LARGE_BYTES);
  return { bytes, place: bytes.subarray(HEADROOM) };
}

/** Gives one back. @param isFree whether nobody writes from it any more; else it is left to the collector */
export function returnLarge(large: Large, isFree: boolean): void {
  lent--;
  if (isFree) spare.push(large);
}
