/**
 * Running rates: what stable does of late, as the bets of a relative guard assume it. Pure; the state is two numbers in a caller's array.
 *
 * A rate is read before the block it is used on is learned from, or the guard would bet on what it has already seen. The prior's
 * pseudo-counts stand for "about as good as services are" until there is data. A rate that is off costs evidence, never validity.
 * Source: statistics.md §4.
 */

/** How a rate starts and how fast it forgets. */
export interface RateSpec {
  /** The share assumed without data. */
  readonly prior: number;
  /** How many responses the assumption weighs. */
  readonly priorN: number;
  /** Time in which what was seen loses a factor e, seconds. */
  readonly tauS: number;
}

/** Errors; 4xx alike. */
export const ERRORS: RateSpec = { prior: 0.001, priorN: 1000, tauS: 600 };
/** Slower than the P95 limit. */
export const P95_SHARE: RateSpec = { prior: 0.005, priorN: 200, tauS: 600 };
/** Slower than the P99 limit. */
export const P99_SHARE: RateSpec = { prior: 0.001, priorN: 200, tauS: 600 };
/** Slower than the cut points at stable's own P50, P90 and P99. */
export const CUT_SHARES: readonly [RateSpec, RateSpec, RateSpec] = [
  { prior: 0.5, priorN: 50, tauS: 30 },
  { prior: 0.1, priorN: 50, tauS: 30 },
  { prior: 0.01, priorN: 50, tauS: 30 },
];

/** Numbers that a rate takes: decayed responses, decayed bad ones. */
export const RATE_WORDS = 2;

const LOWEST = 2e-4;
const HIGHEST = 0.8;

/** The rate now, a share within [0.0002, 0.8]. */
export function rateAt(spec: RateSpec, state: Float64Array, at: number): number {
  // Both places exist: the caller keeps RATE_WORDS of them.
  const share = (state[at + 1]! + spec.prior * spec.priorN) / (state[at]! + spec.priorN);
  return Math.min(HIGHEST, Math.max(LOWEST, share));
}

/** Learns from a block of `seconds` with `n` responses, `x` of them bad. */
export function learnRate(
  spec: RateSpec,
  state: Float64Array,
  at: number,
  n: number,
  x: number,
  seconds: number,
): void {
  const kept = Math.exp(-seconds / spec.tauS);
  state[at] = state[at]! * kept + n;
  state[at + 1] = state[at + 1]! * kept + x;
}
