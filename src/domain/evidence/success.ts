/**
 * The plan's own success limits: does the canary stay below what its plan calls good? Pure; the state is plain numbers in a caller's array.
 *
 * A limit on a percentile is one on a share, as everywhere here: "P95 below 200 ms" is "less than 5 % slower than 200 ms". A limit is *met* when the
 * observed share is below it, and *shown* when the share's upper 95 % bound is, by Clopper and Pearson (exact): 2,995 responses without one error
 * show less than 0.1 %. Counted anew at every step. Source: statistics.md §5.
 */

import { indexOfMicros } from "../hdr.ts";
import type { SuccessLimit } from "../plan.ts";
import type { SparseCounts } from "../slice.ts";
import { FULL, microsOf } from "../units.ts";
import type { ArmCounts } from "./counting.ts";
import { countOf } from "./cuts.ts";
import { isShownBelow, upperBound } from "./proportion.ts";

// Seconds of this step; the canary's responses and failures; latencies known, and how many of them above each limit.
const SECONDS = 0;
const N = 1;
const BAD = 2;
const MEASURED = 3;
const SLOW = 4;

const PERCENTILES = ["p50", "p95", "p99"] as const;
/** The share of responses that may be slower than a percentile. */
export const SLOWER_THAN: Readonly<Record<(typeof PERCENTILES)[number], number>> = {
  p50: 0.5,
  p95: 0.05,
  p99: 0.01,
};

/** Numbers that the counts take. */
export const SUCCESS_WORDS = SLOW + PERCENTILES.length;

/** A step starts: nothing is counted. */
export function startSuccess(state: Float64Array, at: number): void {
  state.fill(0, at, at + SUCCESS_WORDS);
}

/** Counts a block of the canary's responses against the step's limits. */
export function countSuccess(
  state: Float64Array,
  at: number,
  limits: readonly SuccessLimit[],
  { n, e }: ArmCounts,
  latency: SparseCounts,
  seconds: number,
): void {
  state[at + SECONDS]! += seconds;
  state[at + N]! += n;
  state[at + BAD]! += e;
  state[at + MEASURED]! += countOf(latency);
  for (const limit of limits) {
    if (limit.metric === "error_rate") continue;
    // By bucket: what the histogram cannot tell from the limit is not above it.
    const last = indexOfMicros(microsOf(limit.below));
    const place = at + SLOW + PERCENTILES.indexOf(limit.metric);
    for (let i = 0; i + 1 < latency.length; i += 2) if (latency[i]! > last) state[place]! += latency[i + 1]!;
  }
}

/** How a success limit stands. */
export interface SuccessReading {
  readonly limit: SuccessLimit;
  /** The share that may be bad, and the one that was; null without responses. */
  readonly share: number;
  readonly observed: number | null;
  /** The upper 95 % bound of the share, one-sided; null when the limit need not be shown. */
  readonly upper: number | null;
  readonly n: number;
  readonly bad: number;
  readonly passes: boolean;
  /** Responses that it takes at the observed share; null when no number does. */
  readonly need: number | null;
  /** How much of them there is, within [0, 1]. */
  readonly ratio: number;
  /** Seconds until then at the pace of this step; null when that cannot be said. */
  readonly etaS: number | null;
}

/** How the step's limits stand. */
export function successReadings(
  state: Float64Array,
  at: number,
  limits: readonly SuccessLimit[],
): readonly SuccessReading[] {
  const seconds = state[at + SECONDS]!;
  return limits.map((limit) => {
    const [n, bad, share] =
      limit.metric === "error_rate"
        ? ([state[at + N]!, state[at + BAD]!, limit.below / FULL] as const)
        : ([
            state[at + MEASURED]!,
            state[at + SLOW + PERCENTILES.indexOf(limit.metric)]!,
            SLOWER_THAN[limit.metric],
          ] as const);
    return successReading(limit, share, n, bad, seconds === 0 ? 0 : n / seconds);
  });
}

/** A count as high as this is never reached. */
const NEVER = 1e12;

/** How "less than `share` of the responses are bad" stands. @param perSecond responses per second; 0 when there are none */
export function successReading(
  limit: SuccessLimit,
  share: number,
  n: number,
  bad: number,
  perSecond: number,
): SuccessReading {
  const observed = n === 0 ? null : bad / n;
  const base = { limit, share, observed, n, bad };
  if (!limit.shown) {
    const passes = observed !== null && observed < share;
    return { ...base, upper: null, passes, need: 1, ratio: Math.min(1, n), etaS: passes ? 0 : null };
  }
  const passes = isShownBelow(bad, n, share);
  const need = passes ? n : responsesToShow(observed ?? 0, share);
  const ratio = passes ? 1 : need === null ? 0 : Math.min(1, n / need);
  const left = need === null ? null : Math.max(0, need - n);
  const etaS = left === null || (left > 0 && perSecond === 0) ? null : left === 0 ? 0 : left / perSecond;
  return { ...base, upper: upperBound(bad, n), passes, need, ratio, etaS };
}

/**
 * The responses that it takes to show a share below `limit` when `share` of them are bad; null when no number does.
 *
 * @param deviations by how many standard deviations more of them are bad than expected: 0 for half of the cases
 */
export function responsesToShow(share: number, limit: number, deviations = 0): number | null {
  if (share >= limit) return null;
  const isShown = (n: number): boolean =>
    isShownBelow(share * n + deviations * Math.sqrt(share * n), n, limit);
  let high = 1;
  while (!isShown(high)) {
    if (high > NEVER) return null;
    high *= 2;
  }
  let low = high / 2;
  while (high - low > 1) {
    const middle = Math.round((low + high) / 2);
    if (isShown(middle)) high = middle;
    else low = middle;
  }
  return high;
}
