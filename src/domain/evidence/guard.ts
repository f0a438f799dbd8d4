/**
 * Guards: evidence that may be looked at after every response, for a week, with a stated chance of a false alarm. Pure; the state is plain
 * numbers in a caller's array, so that it can lie in memory that threads share, and go into a document as it is.
 *
 * A guard is a set of bets on alternatives. Each bet's mass is multiplied with its likelihood ratio per block and topped up a little all the
 * time (Shiryaev–Roberts), so that a fault that begins on day six is found as fast as one that begins at once. The guard's
 * evidence is the logarithm of the masses' sum; it has crossed at ln 10⁴. While the canary is all right the sum is expected to be
 * no more than the mass put in, so a guard falsely crosses at most (0.5 · steps + 0.5 · days) / 10⁴ times. Source: statistics.md §2;
 * Shin, Ramdas, Rinaldo, "E-detectors", 2023. Masses are linear, not logarithms: one `exp` per bet and block, and sums are sums.
 *
 * `peek` answers what the evidence would be were the block committed now; it changes and allocates nothing and takes well under a microsecond.
 */

import { isBet, nearestNull, timesOdds } from "./formulas.ts";
import { learnRate, rateAt, RATE_WORDS, type RateSpec } from "./rates.ts";

/** Nats at which a guard has crossed: one in ten thousand. */
export const CROSSING = Math.log(1e4);
/** Mass put into each guard at each step of the plan. */
export const MASS_PER_STEP = 0.5;
/** Mass put into each guard per second. */
export const MASS_PER_SECOND = 0.5 / 86_400;

const MOST_MASS = 1e290;
// e^700 is still a double; a larger factor would make Infinity, and Infinity times 0 no number at all.
const MOST_NATS = 700;

function grown(mass: number, nats: number): number {
  return Math.min(MOST_MASS, mass * Math.exp(Math.min(nats, MOST_NATS)));
}

/** Logarithm that stays a number for nothing at all, about −744: it must survive JSON. */
function logOf(mass: number): number {
  return Math.log(Math.max(mass, Number.MIN_VALUE));
}

/** The sum of `size` masses, a guard's e-value; times the mass put in where the canary is all right. */
export function massOf(state: Float64Array, at: number, size: number): number {
  let sum = 0;
  for (let k = 0; k < size; k++) sum += state[at + k]!;
  return sum;
}

/** A guard's evidence in nats, from about −744; at `CROSSING` or more it has crossed. */
export function evidenceAt(state: Float64Array, at: number, size: number): number {
  return logOf(massOf(state, at, size));
}

/** Shares `mass` equally among a guard's bets: `MASS_PER_STEP` when a step starts. */
export function addMass(state: Float64Array, at: number, size: number, mass: number): void {
  for (let k = 0; k < size; k++) state[at + k]! += mass / size;
}

/** A guard on a limit of its own: is the canary's share of bad responses above it? */
export interface AbsoluteGuard {
  /** Number of bets, and of numbers in its state. */
  readonly size: number;
  readonly limit: number;
  /** Per bet: nats for a bad response, and for a good one. */
  readonly badNats: Float64Array;
  readonly goodNats: Float64Array;
  /** Nats per bet and second at most. */
  readonly capPerSecond: number;
}

/**
 * A guard on `limit`.
 *
 * @param limit        the share that is still all right, within (0, 1)
 * @param alternatives shares that are bet on, each above the limit
 * @param capPerSecond nats, or Infinity
 */
export function absoluteGuard(
  limit: number,
  alternatives: readonly number[],
  capPerSecond: number,
): AbsoluteGuard {
  return {
    size: alternatives.length,
    limit,
    badNats: Float64Array.from(alternatives, (q) => Math.log(q / limit)),
    goodNats: Float64Array.from(alternatives, (q) => Math.log((1 - q) / (1 - limit))),
    capPerSecond,
  };
}

/** Infinity times no time at all would be no number. */
function capIn(perSecond: number, seconds: number): number {
  return perSecond === Infinity ? Infinity : perSecond * seconds;
}

function absoluteBet(guard: AbsoluteGuard, k: number, n: number, x: number, cap: number): number {
  return Math.min(cap, x * guard.badNats[k]! + (n - x) * guard.goodNats[k]!);
}

/** Takes in a block of `seconds` with `n` canary responses, `x` of them bad. */
export function commitAbsolute(
  guard: AbsoluteGuard,
  state: Float64Array,
  at: number,
  n: number,
  x: number,
  seconds: number,
): void {
  const cap = capIn(guard.capPerSecond, seconds);
  const added = (MASS_PER_SECOND * seconds) / guard.size;
  for (let k = 0; k < guard.size; k++)
    state[at + k] = grown(state[at + k]! + added, absoluteBet(guard, k, n, x, cap));
}

/** The evidence in nats were this block committed now. */
export function peekAbsolute(
  guard: AbsoluteGuard,
  state: Float64Array,
  at: number,
  n: number,
  x: number,
  seconds: number,
): number {
  const cap = capIn(guard.capPerSecond, seconds);
  const added = (MASS_PER_SECOND * seconds) / guard.size;
  let sum = 0;
  for (let k = 0; k < guard.size; k++) sum += grown(state[at + k]! + added, absoluteBet(guard, k, n, x, cap));
  return logOf(sum);
}

/** A guard against stable: is the canary's share more than `ratio` times stable's? */
export interface RelativeGuard {
  /** Number of bets; they come first in its state. */
  readonly size: number;
  /** Numbers in its state: bets, running rate, what is carried. */
  readonly words: number;
  readonly ratio: number;
  /** Shares that are bet on as they are. */
  readonly shares: readonly number[];
  /** Multiples of stable's odds that are bet on, after the shares. */
  readonly odds: readonly number[];
  readonly rate: RateSpec;
  /** Nats per bet at most, for a block and for a second in which the canary answered. */
  readonly capPerBlock: number;
  readonly capPerSecond: number;
}

/** What makes a relative guard. */
export type RelativeSpec = Omit<RelativeGuard, "size" | "words">;

// Behind the bets and the rate: what blocks with an empty arm left behind.
const N1 = RATE_WORDS;
const X1 = N1 + 1;
const N0 = N1 + 2;
const X0 = N1 + 3;
const ACTIVE = N1 + 4;
const WAITED = N1 + 5;
const BESIDE = N1 + 6;

/**
 * How long an empty arm is waited for, seconds. Longer, and the other arm's responses would be compared with another time of day: not a
 * concurrent control any more.
 */
export const CARRY_S = 300;

/** A guard with its sizes. */
export function relativeGuard(spec: RelativeSpec): RelativeGuard {
  const size = spec.shares.length + spec.odds.length;
  return { ...spec, size, words: size + BESIDE };
}

/** Stable's running rate as this guard's next block will assume it. */
export function stableRate(guard: RelativeGuard, state: Float64Array, at: number): number {
  return rateAt(guard.rate, state, at + guard.size);
}

function relativeBet(
  guard: RelativeGuard,
  k: number,
  n1: number,
  x1: number,
  n0: number,
  x0: number,
  theta0: number,
  cap: number,
): number {
  const { ratio, shares } = guard;
  const theta1 = k < shares.length ? shares[k]! : timesOdds(theta0, guard.odds[k - shares.length]!);
  if (!isBet(theta1, theta0, ratio)) return 0;
  // `relativeNats`, written out: a call with seven doubles costs more than the formula.
  const t0 = nearestNull(n1, n0, theta1, theta0, ratio);
  const t1 = ratio * t0;
  const canary = x1 * Math.log(theta1 / t1) + (n1 - x1) * Math.log((1 - theta1) / (1 - t1));
  const stable = x0 * Math.log(theta0 / t0) + (n0 - x0) * Math.log((1 - theta0) / (1 - t0));
  return Math.min(cap, canary + stable);
}

function capOf(guard: RelativeGuard, activeSeconds: number): number {
  return Math.min(guard.capPerBlock, capIn(guard.capPerSecond, activeSeconds));
}

/**
 * Takes in a block of `seconds`: `x1` of `n1` canary responses were bad, `x0` of `n0` on stable. A block in which an arm is empty is carried over
 * into the next one, for at most `CARRY_S`; the running rate waits with it, since it must not know the block it is used on.
 */
export function commitRelative(
  guard: RelativeGuard,
  state: Float64Array,
  at: number,
  n1: number,
  x1: number,
  n0: number,
  x0: number,
  seconds: number,
): void {
  const { size } = guard;
  const beside = at + size;
  addMass(state, at, size, MASS_PER_SECOND * seconds);
  state[beside + N1]! += n1;
  state[beside + X1]! += x1;
  state[beside + N0]! += n0;
  state[beside + X0]! += x0;
  state[beside + ACTIVE]! += n1 > 0 ? seconds : 0;
  state[beside + WAITED]! += seconds;
  const all1 = state[beside + N1]!;
  const all0 = state[beside + N0]!;
  const isWhole = all1 > 0 && all0 > 0;
  if (!isWhole && state[beside + WAITED]! < CARRY_S) return;
  const bad0 = state[beside + X0]!;
  if (isWhole) {
    const bad1 = state[beside + X1]!;
    const theta0 = rateAt(guard.rate, state, beside);
    const cap = capOf(guard, state[beside + ACTIVE]!);
    for (let k = 0; k < size; k++)
      state[at + k] = grown(state[at + k]!, relativeBet(guard, k, all1, bad1, all0, bad0, theta0, cap));
  }
  learnRate(guard.rate, state, beside, all0, bad0, state[beside + WAITED]!);
  dropCarried(guard, state, at);
}

/** The evidence in nats were this block committed now. */
export function peekRelative(
  guard: RelativeGuard,
  state: Float64Array,
  at: number,
  n1: number,
  x1: number,
  n0: number,
  x0: number,
  seconds: number,
): number {
  const { size } = guard;
  const beside = at + size;
  const all1 = state[beside + N1]! + n1;
  const all0 = state[beside + N0]! + n0;
  const added = MASS_PER_SECOND * seconds;
  if (all1 <= 0 || all0 <= 0) return logOf(massOf(state, at, size) + added);
  const bad1 = state[beside + X1]! + x1;
  const bad0 = state[beside + X0]! + x0;
  const theta0 = rateAt(guard.rate, state, beside);
  const cap = capOf(guard, state[beside + ACTIVE]! + (n1 > 0 ? seconds : 0));
  let sum = 0;
  for (let k = 0; k < size; k++)
    sum += grown(state[at + k]! + added / size, relativeBet(guard, k, all1, bad1, all0, bad0, theta0, cap));
  return logOf(sum);
}

/** Forgets what blocks with an empty arm left behind. */
export function dropCarried(guard: RelativeGuard, state: Float64Array, at: number): void {
  state.fill(0, at + guard.size + N1, at + guard.size + BESIDE);
}
