/**
 * "Above the limit for five minutes", in the form that survives real life. Pure.
 *
 * Taken by its words the rule rolls back every healthy canary within a week. Four things make it sound: enough responses and enough bad
 * ones, over a longer window if need be; four of five parts of the window over the limit each on its own, so that a spike is not "for five
 * minutes"; and stable not about as bad. Source: statistics.md §3.4.
 */

/** One minute, or several, of both arms: responses and bad ones; canary 1, stable 0. */
export interface Minute {
  readonly n1: number;
  readonly x1: number;
  readonly n0: number;
  readonly x0: number;
}

/** `breach`: roll back. `shared_cause`: over the limit, but stable is about as bad: hold. `inconclusive`: not enough data, or not enough time to be over. */
export type SustainedKind = "within" | "breach" | "shared_cause" | "inconclusive";

/** What the rule came to, over the window that it took. */
export interface SustainedReading {
  readonly kind: SustainedKind;
  /** The canary's share of bad responses; null without responses. */
  readonly observed: number | null;
  readonly limit: number;
  readonly n: number;
  readonly bad: number;
  /** The window, minutes. */
  readonly minutes: number;
  /** How many of its five parts are over the limit on their own. */
  readonly partsOver: number;
}

const PARTS = 5;
/** The longest window, minutes: what a caller keeps. */
export const LONGEST_MINUTES = 30;
/** Fewer responses of an arm say nothing. */
export const ENOUGH_RESPONSES = 100;
const MIN_BAD = 10;
const PARTS_OVER = 4;
const CLEAR_Z = 4;
/** Below so many times what stable suffers, the canary is not clearly worse. */
export const CLEAR_RATIO = 1.25;

/**
 * The rule on the last minutes.
 *
 * @param minutes newest last; only those since the last change of the weight
 * @param limit   share of responses that may be bad
 */
export function sustained(minutes: readonly Minute[], limit: number): SustainedReading {
  // Longer windows by five minutes each, so that there are always five parts of equal length.
  for (let length = PARTS; length <= Math.min(LONGEST_MINUTES, minutes.length); length += PARTS) {
    const window = minutes.slice(-length);
    const sum = sumOf(window);
    const over = sum.x1 > limit * sum.n1;
    if (sum.n1 >= ENOUGH_RESPONSES && (!over || sum.x1 >= MIN_BAD))
      return reading(over ? breachOf(window, sum, limit) : "within", window, sum, limit);
  }
  const window = minutes.slice(-LONGEST_MINUTES);
  const sum = sumOf(window);
  // Nobody waits five minutes to hear that all is well so far.
  const isWell = minutes.length < PARTS && sum.n1 >= ENOUGH_RESPONSES && sum.x1 <= limit * sum.n1;
  return reading(isWell ? "within" : "inconclusive", window, sum, limit);
}

function reading(
  kind: SustainedKind,
  window: readonly Minute[],
  sum: Minute,
  limit: number,
): SustainedReading {
  return {
    kind,
    observed: sum.n1 === 0 ? null : sum.x1 / sum.n1,
    limit,
    n: sum.n1,
    bad: sum.x1,
    minutes: window.length,
    partsOver: partsOver(window, limit),
  };
}

function breachOf(window: readonly Minute[], sum: Minute, limit: number): SustainedKind {
  if (partsOver(window, limit) < PARTS_OVER) return "within";
  return isAboutAsBad(sum) ? "shared_cause" : "breach";
}

function partsOver(window: readonly Minute[], limit: number): number {
  const length = window.length / PARTS;
  let over = 0;
  for (let part = 0; part < PARTS; part++) {
    const { n1, x1 } = sumOf(window.slice(Math.round(part * length), Math.round((part + 1) * length)));
    if (x1 > limit * n1) over++;
  }
  return over;
}

/** Whether stable answered enough to say so, and the canary is not clearly worse: pooled z below 4, or below 1.25 times stable. */
export function isAboutAsBad({ n1, x1, n0, x0 }: Minute): boolean {
  if (n0 < ENOUGH_RESPONSES) return false;
  const p1 = x1 / n1;
  const p0 = x0 / n0;
  if (p1 < CLEAR_RATIO * p0) return true;
  const pooled = (x1 + x0) / (n1 + n0);
  return (p1 - p0) / Math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n0)) < CLEAR_Z;
}

function sumOf(minutes: readonly Minute[]): Minute {
  return minutes.reduce(
    (sum, minute) => ({
      n1: sum.n1 + minute.n1,
      x1: sum.x1 + minute.x1,
      n0: sum.n0 + minute.n0,
      x0: sum.x0 + minute.x0,
    }),
    { n1: 0, x1: 0, n0: 0, x0: 0 },
  );
}
