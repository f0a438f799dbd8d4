/**
 * How long it will take: to find a fault, and to show that there is none. Pure; known before the first request is sent.
 *
 * Evidence grows by so many nats per response, on average, and so much scatter; the time follows from the nats needed. Shares are fractions,
 * rates are responses per second of both arms together, times are seconds. Source: statistics.md §5; the vectors `doctor`,
 * `doctor_mde` and `bake`.
 */

import { nearestNull, nearestWorse, isBet } from "./formulas.ts";
import { CROSSING, MASS_PER_SECOND, MASS_PER_STEP } from "./guard.ts";

/** Nats per response of either arm: expected, and their variance. */
export interface Growth {
  readonly mean: number;
  readonly variance: number;
}

/** How many canary responses and how many seconds it takes, in half and in nine of ten cases. */
export interface Effort {
  readonly canary50: number;
  readonly canary90: number;
  readonly seconds50: number;
  readonly seconds90: number;
}

/** A step as planned. */
export interface Assumed {
  /** Responses per second of both arms together, above 0. */
  readonly perSecond: number;
  /** The canary's share, within (0, 1). */
  readonly weight: number;
  /** Stable's share of errors, within (0, 1). */
  readonly baseline: number;
}

/** The canary may be so many times as bad as stable before the comparative error rule speaks. */
export const COMPARATIVE_RATIO = 1.1;
/** Bets of the comparative error guard, and nats of each per ten-second block at most. */
const COMPARATIVE_BETS = 6;
export const COMPARATIVE_CAP = 4;
export const COMPARATIVE_BLOCK_S = 10;

/** Standard deviations that nine of ten cases stay within, on one side. */
export const Z90 = 1.2816;
/** Nats that the promotion gate needs. */
export const GATE_NATS = Math.log(20);

function growthOf(
  weight: number,
  p1: number,
  p0: number,
  nats: readonly [number, number, number, number],
): Growth {
  const [bad1, good1, bad0, good0] = nats;
  const stable = 1 - weight;
  const mean = weight * (p1 * bad1 + (1 - p1) * good1) + stable * (p0 * bad0 + (1 - p0) * good0);
  const square =
    weight * (p1 * bad1 ** 2 + (1 - p1) * good1 ** 2) + stable * (p0 * bad0 ** 2 + (1 - p0) * good0 ** 2);
  return { mean, variance: square - mean ** 2 };
}

/** Growth of the comparative error rule's evidence when the canary fails with `p1` and stable with `p0`; 0 when it bets on no such rise. */
export function harmGrowth(weight: number, p1: number, p0: number): Growth {
  if (!isBet(p1, p0, COMPARATIVE_RATIO)) return { mean: 0, variance: 0 };
  const t0 = nearestNull(weight, 1 - weight, p1, p0, COMPARATIVE_RATIO);
  const t1 = COMPARATIVE_RATIO * t0;
  return growthOf(weight, p1, p0, [
    Math.log(p1 / t1),
    Math.log((1 - p1) / (1 - t1)),
    Math.log(p0 / t0),
    Math.log((1 - p0) / (1 - t0)),
  ]);
}

/** Growth of the promotion gate's evidence when both arms fail with `share`, for a margin. */
export function notWorseGrowth(weight: number, share: number, margin: number): Growth {
  const t0 = nearestWorse(weight, 1 - weight, share, margin);
  const t1 = t0 + margin;
  const good1 = Math.log((1 - share) / (1 - t1));
  const good0 = Math.log((1 - share) / (1 - t0));
  return growthOf(weight, share, share, [Math.log(share / t1), good1, Math.log(share / t0), good0]);
}

function effortFor(
  nats: number,
  growth: Growth,
  { perSecond, weight }: Assumed,
  leastS: number,
): Effort | null {
  if (growth.mean <= 0) return null;
  const n50 = nats / growth.mean;
  const n90 = n50 + (Z90 * Math.sqrt(n50 * growth.variance)) / growth.mean;
  return {
    canary50: n50 * weight,
    canary90: n90 * weight,
    seconds50: Math.max(leastS, n50 / perSecond),
    seconds90: Math.max(leastS, n90 / perSecond),
  };
}

const NATS_FROM_START = CROSSING + Math.log(COMPARATIVE_BETS) + Math.log(1 / MASS_PER_STEP);
const NATS_LATER = CROSSING + Math.log(COMPARATIVE_BETS) + Math.log(1 / (60 * MASS_PER_SECOND));

/**
 * What it takes to find a rise of the canary's error share by `rise`; null when it is never found.
 *
 * @param begins "start": with the step, "later": within it, which takes longer
 */
export function effortToDetect(assumed: Assumed, rise: number, begins: "start" | "later"): Effort | null {
  const p1 = assumed.baseline + rise;
  // From here on all responses fail, which has no odds.
  if (p1 >= 1) return null;
  const nats = begins === "start" ? NATS_FROM_START : NATS_LATER;
  const blocks = Math.ceil(nats / COMPARATIVE_CAP);
  const growth = harmGrowth(assumed.weight, p1, assumed.baseline);
  return effortFor(nats, growth, assumed, blocks * COMPARATIVE_BLOCK_S);
}

/** The smallest rise that is found within `seconds` of a step's start in nine of ten cases; null when none is. */
export function smallestRise(assumed: Assumed, seconds: number): number | null {
  let low = 0;
  let high = (1 - assumed.baseline) * 0.999;
  const isFound = (rise: number): boolean =>
    (effortToDetect(assumed, rise, "start")?.seconds90 ?? Infinity) <= seconds;
  if (!isFound(high)) return null;
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (isFound(middle)) high = middle;
    else low = middle;
  }
  return high;
}

/** What it takes to show that the canary is not worse by `margin` when it is as good as stable; `leastS` is the gate's least time. */
export function effortToProve(assumed: Assumed, margin: number, leastS: number): Effort | null {
  return effortFor(GATE_NATS, notWorseGrowth(assumed.weight, assumed.baseline, margin), assumed, leastS);
}
