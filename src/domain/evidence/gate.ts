/**
 * The promotion gate: is it shown that the canary is *not* worse, so that it may climb? Pure; the state is plain numbers in a caller's
 * array.
 *
 * The opposite question to the other tiers', with the opposite burden: here silence must not pass. Evidence starts anew at every step; at any
 * moment, a canary that is worse by the margin has passed with a chance of at most 1 in 20. Beside it stand the plan's own success limits, which
 * are *met* when the observed share is below and *shown* when its upper 95 % bound is (Clopper and Pearson, exact). Source: statistics.md §5.
 */

import { notWorseNats } from "./formulas.ts";
import { CARRY_S } from "./guard.ts";
import { GATE_NATS, notWorseGrowth } from "./planning.ts";
import { isShownBelow, upperBound } from "./proportion.ts";

/** The margin when the plan names none: 0.1 points. */
export const DEFAULT_MARGIN = 0.001;
/** Concurrent evidence from less time than this is not enough, whatever it says: 15 minutes. */
export const GATE_S = 900;

// The state. Pooled sums of all steps; of this step: evidence, time with evidence, sums, time; and what empty arms left behind.
const POOLED_N = 0;
const POOLED_X = 1;
const NATS = 2;
const PROVEN_S = 3;
const STEP_N1 = 4;
const STEP_N0 = 5;
const STEP_S = 6;
const N1 = 7;
const X1 = 8;
const N0 = 9;
const X0 = 10;
const WAITED = 11;
const STEP_X1 = 12;

/** Numbers that the gate's state takes. */
export const GATE_WORDS = 13;

const PRIOR_X = 1;
const PRIOR_N = 1000;
// With a margin the canary's share must stay below 1.
const HIGHEST = 0.8;

function pooled(state: Float64Array, at: number): number {
  return Math.min(HIGHEST, (state[at + POOLED_X]! + PRIOR_X) / (state[at + POOLED_N]! + PRIOR_N));
}

/** A step starts: the evidence starts anew, the pooled rate goes on. */
export function startGate(state: Float64Array, at: number): void {
  state.fill(0, at + NATS, at + GATE_WORDS);
}

/**
 * Takes in a block of `seconds`, about ten. One in which an arm is empty is carried into the next one, for at most `CARRY_S`.
 *
 * @param margin by how much worse a canary must be held back, a share below 0.2
 */
export function commitGate(
  state: Float64Array,
  at: number,
  margin: number,
  counts: { readonly n1: number; readonly x1: number; readonly n0: number; readonly x0: number },
  seconds: number,
): void {
  state[at + STEP_N1]! += counts.n1;
  state[at + STEP_X1]! += counts.x1;
  state[at + STEP_N0]! += counts.n0;
  state[at + STEP_S]! += seconds;
  state[at + N1]! += counts.n1;
  state[at + X1]! += counts.x1;
  state[at + N0]! += counts.n0;
  state[at + X0]! += counts.x0;
  state[at + WAITED]! += seconds;
  const n1 = state[at + N1]!;
  const n0 = state[at + N0]!;
  const isWhole = n1 > 0 && n0 > 0;
  if (!isWhole && state[at + WAITED]! < CARRY_S) return;
  const x1 = state[at + X1]!;
  const x0 = state[at + X0]!;
  if (isWhole) {
    state[at + NATS]! += notWorseNats(n1, x1, n0, x0, pooled(state, at), margin);
    state[at + PROVEN_S]! += state[at + WAITED]!;
  }
  state[at + POOLED_N]! += n1 + n0;
  state[at + POOLED_X]! += x1 + x0;
  state.fill(0, at + N1, at + WAITED + 1);
}

/** How far the proof is that the canary is not worse. */
export interface GateReading {
  readonly passes: boolean;
  /** Nats that it is not worse by the margin; below 0 the evidence says that it is. */
  readonly have: number;
  readonly need: number;
  /** The lesser of have / need and time / 15 minutes, within [0, 1]; 1 when the gate passes. */
  readonly ratio: number;
  /** Seconds with evidence at this step, and how many are needed. */
  readonly seconds: number;
  readonly needSeconds: number;
  /** Seconds that it will take if both arms go on as good as each other; null when that cannot be said. */
  readonly etaS: number | null;
  readonly margin: number;
}

/** The gate's evidence. */
export function gateReading(state: Float64Array, at: number, margin: number): GateReading {
  const have = state[at + NATS]!;
  const seconds = state[at + PROVEN_S]!;
  const ratio = Math.max(0, Math.min(1, have / GATE_NATS, seconds / GATE_S));
  return {
    passes: ratio === 1,
    have,
    need: GATE_NATS,
    ratio,
    seconds,
    needSeconds: GATE_S,
    etaS: etaOf(state, at, margin),
    margin,
  };
}

function etaOf(state: Float64Array, at: number, margin: number): number | null {
  const n1 = state[at + STEP_N1]!;
  const n0 = state[at + STEP_N0]!;
  if (n1 === 0 || n0 === 0) return null;
  const perResponse = notWorseGrowth(n1 / (n1 + n0), pooled(state, at), margin).mean;
  const perSecond = (perResponse * (n1 + n0)) / state[at + STEP_S]!;
  const missing = Math.max(0, GATE_NATS - state[at + NATS]!) / perSecond;
  return Math.max(missing, GATE_S - state[at + PROVEN_S]!, 0);
}

/** How a success limit stands. */
export interface SuccessReading {
  /** The share of bad responses; null without responses. */
  readonly observed: number | null;
  /** Its upper 95 % bound, one-sided, exact. */
  readonly upper: number;
  readonly limit: number;
  /** The observed share is below the limit. */
  readonly met: boolean;
  /** The bound is below the limit. */
  readonly shown: boolean;
  /** Responses, and how many it takes to show it at the observed share; null when no number does. */
  readonly have: number;
  readonly need: number | null;
  /** Seconds until then at the present pace; null when that cannot be said. */
  readonly etaS: number | null;
}

/** A count as high as this is never reached. */
const NEVER = 1e12;

/**
 * How "less than `limit` of the responses are bad" stands with `x` bad ones of `n`.
 *
 * @param perSecond responses per second; 0 when there are none
 */
export function successReading(n: number, x: number, limit: number, perSecond: number): SuccessReading {
  const observed = n === 0 ? null : x / n;
  const shown = isShownBelow(x, n, limit);
  const need = shown ? n : needed(observed ?? 0, limit);
  const etaS = need === null ? null : need <= n ? 0 : perSecond > 0 ? (need - n) / perSecond : null;
  return {
    observed,
    upper: upperBound(x, n),
    limit,
    met: observed !== null && observed < limit,
    shown,
    have: n,
    need,
    etaS,
  };
}

/** The responses that it takes to show a share below `limit` when `share` of them are bad. */
function needed(share: number, limit: number): number | null {
  if (share >= limit) return null;
  let high = 1;
  while (!isShownBelow(share * high, high, limit)) {
    if (high > NEVER) return null;
    high *= 2;
  }
  let low = high / 2;
  while (high - low > 1) {
    const middle = Math.round((low + high) / 2);
    if (isShownBelow(share * middle, middle, limit)) high = middle;
    else low = middle;
  }
  return high;
}

/** The success limit on errors at this step, from the gate's own counts. */
export function errorSuccess(state: Float64Array, at: number, limit: number): SuccessReading {
  const n = state[at + STEP_N1]!;
  return successReading(n, state[at + STEP_X1]!, limit, n === 0 ? 0 : n / state[at + STEP_S]!);
}

/** Whether the canary may climb. */
export interface Promotion {
  readonly kind: "successful" | "inconclusive";
  /** How much of the evidence is there, within [0, 1]: the least of what is asked for. */
  readonly evidenceRatio: number;
  /** Seconds until all of it is, at best; null when that cannot be said. */
  readonly etaS: number | null;
}

/**
 * The gate and the success limits together.
 *
 * @param gate     null when there is no concurrent stable traffic: then the limits decide alone
 * @param required "met" or "shown", for the limits
 */
export function promotion(
  gate: GateReading | null,
  limits: readonly SuccessReading[],
  required: "met" | "shown",
): Promotion {
  const parts = [
    ...(gate === null ? [] : [{ done: gate.passes, ratio: gate.ratio, etaS: gate.etaS }]),
    ...limits.map((limit) =>
      required === "met"
        ? { done: limit.met, ratio: limit.have > 0 ? 1 : 0, etaS: limit.met ? 0 : null }
        : { done: limit.shown, ratio: shownRatio(limit), etaS: limit.etaS },
    ),
  ];
  return {
    kind: parts.every((part) => part.done) ? "successful" : "inconclusive",
    evidenceRatio: Math.min(1, ...parts.map((part) => part.ratio)),
    etaS: parts.reduce<number | null>(
      (longest, { etaS }) => (longest === null || etaS === null ? null : Math.max(longest, etaS)),
      0,
    ),
  };
}

function shownRatio(limit: SuccessReading): number {
  return limit.need === null ? 0 : Math.min(1, limit.have / limit.need);
}
