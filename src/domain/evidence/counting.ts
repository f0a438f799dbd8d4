/**
 * What counts: the counts of a block, and what is taken out of them before they are evidence. Pure.
 *
 * Known issues are taken out by the caller, who subtracts their counts: this floor does not know paths.
 */

import type { SparseCounts } from "../slice.ts";

/** One arm's unforced first attempts in one block (product.md §2.5): sums over all workers and replicas. */
export interface ArmCounts {
  /** Responses: successes and failures. */
  readonly n: number;
  /** Failed ones. */
  readonly e: number;
  /** Slower than the P95 rule's limit; on stable, slower than the limit divided by `STABLE_CLOSER`. */
  readonly s: number;
  /** Slower than the P99 rule's limit; on stable, slower than the limit divided by `STABLE_CLOSER`. */
  readonly v: number;
  /** Answered 4xx. */
  readonly c4: number;
}

/** Both arms' counts. */
export interface BlockCounts {
  readonly canary: ArmCounts;
  readonly stable: ArmCounts;
}

/** One block of about a second: the counts, and each arm's latencies (layout of `hdr.ts`, µs), successes and failures alike. */
export interface Block extends BlockCounts {
  readonly canaryLatency: SparseCounts;
  readonly stableLatency: SparseCounts;
}

/**
 * Stable's slow responses are counted from limit / 1.25 on: so a canary has to be a quarter slower than stable before it is
 * worse by the catastrophic tier (statistics.md §3.1).
 */
export const STABLE_CLOSER = 1.25;

/** No responses. */
export const EMPTY_COUNTS: ArmCounts = { n: 0, e: 0, s: 0, v: 0, c4: 0 };

/** A block in which nothing was measured. */
export const EMPTY_BLOCK: Block = {
  canary: EMPTY_COUNTS,
  stable: EMPTY_COUNTS,
  canaryLatency: [],
  stableLatency: [],
};

/** Counts of two replicas in the same time. Added, never averaged (statistics.md §7). */
export function addBlocks(a: BlockCounts, b: BlockCounts): BlockCounts {
  return { canary: addArms(a.canary, b.canary), stable: addArms(a.stable, b.stable) };
}

function addArms(a: ArmCounts, b: ArmCounts): ArmCounts {
  return { n: a.n + b.n, e: a.e + b.e, s: a.s + b.s, v: a.v + b.v, c4: a.c4 + b.c4 };
}

/** The share of a block's bad responses that one key may carry. */
const KEY_SHARE = 0.2;
/** Distinct keys that must have failed. */
export const MIN_FAILED_KEYS = 5;

/**
 * The bad responses of a block that count: each key's up to a fifth of all the block's bad ones, and at least one (product.md §2.12,
 * statistics.md §7). A whole number; `n` stays what it is, so that what is cut off weighs like a good response.
 *
 * @param badByKey bad responses of each key, whole numbers
 */
export function cappedBad(badByKey: readonly number[]): number {
  const all = badByKey.reduce((sum, bad) => sum + bad, 0);
  const most = Math.max(1, Math.floor(KEY_SHARE * all));
  return badByKey.reduce((sum, bad) => sum + Math.min(bad, most), 0);
}

/**
 * Whether enough distinct keys have failed for the catastrophic tier to fire: five, unless fewer than five were seen at all.
 *
 * @param failed distinct keys that failed, on the canary, over the time that the evidence covers
 * @param seen   distinct keys over the same time
 */
export function enoughKeys(failed: number, seen: number): boolean {
  return seen < MIN_FAILED_KEYS || failed >= MIN_FAILED_KEYS;
}
