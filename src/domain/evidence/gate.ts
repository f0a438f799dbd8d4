/**
 * The promotion gate: is it shown that the canary is *not* worse, so that it may climb? Pure; the state is plain numbers in a caller's
 * array.
 *
 * The opposite question to the other tiers', with the opposite burden: here silence must not pass. Evidence starts anew at every step; at any
 * moment, a canary that is worse by the margin has passed with a chance of at most 1 in 20. The plan's own limits stand beside it
 * (`success.ts`). Source: statistics.md §5.
 */

import { notWorseNats } from "./formulas.ts";
import { CARRY_S } from "./guard.ts";
import { GATE_NATS, notWorseGrowth } from "./planning.ts";

/** The margin when the plan names none: 0.1 points. */
export const DEFAULT_MARGIN = 0.001;
/** Concurrent evidence from less time than this is not enough, whatever it says, when the plan names no time: 15 minutes. */
const GATE_S = 900;

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

/** Numbers that the gate's state takes. */
export const GATE_WORDS = 12;

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
  /** The lesser of have / need and time / least time, within [0, 1]; 1 when the gate passes. */
  readonly ratio: number;
  /** Seconds with evidence at this step, and how many are needed. */
  readonly seconds: number;
  readonly needSeconds: number;
  /** Seconds that it will take if both arms go on as good as each other; null when that cannot be said. */
  readonly etaS: number | null;
  readonly margin: number;
}

/** The gate's evidence. @param leastS the least time with evidence, seconds */
export function gateReading(state: Float64Array, at: number, margin: number, leastS = GATE_S): GateReading {
  const have = state[at + NATS]!;
  const seconds = state[at + PROVEN_S]!;
  const ratio = Math.max(0, Math.min(1, have / GATE_NATS, seconds / leastS));
  return {
    passes: ratio === 1,
    have,
    need: GATE_NATS,
    ratio,
    seconds,
    needSeconds: leastS,
    etaS: etaOf(state, at, margin, leastS),
    margin,
  };
}

function etaOf(state: Float64Array, at: number, margin: number, leastS: number): number | null {
  const n1 = state[at + STEP_N1]!;
  const n0 = state[at + STEP_N0]!;
  if (n1 === 0 || n0 === 0) return null;
  const perResponse = notWorseGrowth(n1 / (n1 + n0), pooled(state, at), margin).mean;
  const perSecond = (perResponse * (n1 + n0)) / state[at + STEP_S]!;
  const missing = Math.max(0, GATE_NATS - state[at + NATS]!) / perSecond;
  return Math.max(missing, leastS - state[at + PROVEN_S]!, 0);
}
