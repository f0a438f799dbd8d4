/** How soon the promotion gate opens, and for whom it should not: the last paragraph of statistics.md §6. The gate as shipped, on its own blocks of ten seconds. */

import {
  commitGate,
  DEFAULT_MARGIN,
  GATE_WORDS,
  gateReading,
  startGate,
} from "../../src/domain/evidence/gate.ts";
import { COMPARATIVE_BLOCK_S } from "../../src/domain/evidence/planning.ts";
import { Random } from "./random.ts";

const WEIGHT = 0.1;
const PER_SECOND = 50;
const STABLE = 0.001;
const STEP_S = 8 * 3600;
const POINT_S = 300;

/** Canary's shares of errors, and in what share of the steps it passes by the design. */
export const GATES = [
  { canary: 0.001, passes: null, pointPasses: null },
  { canary: 0.002, passes: 0.038, pointPasses: 0.2 },
  { canary: 0.003, passes: 0.0005, pointPasses: 0.06 },
] as const;

/** Hours until it passes when the canary is like stable. */
export const GATE_HOURS = { median: 0.45, most: 1.13 } as const;

/** Seconds until the gate passes within an eight-hour step; Infinity when it does not. */
export function runGate(canary: number, seeds: readonly number[]): number {
  const random = new Random(...seeds);
  const state = new Float64Array(GATE_WORDS);
  startGate(state, 0);
  for (let end = COMPARATIVE_BLOCK_S; end <= STEP_S; end += COMPARATIVE_BLOCK_S) {
    const n1 = random.poisson(PER_SECOND * WEIGHT * COMPARATIVE_BLOCK_S);
    const n0 = random.poisson(PER_SECOND * (1 - WEIGHT) * COMPARATIVE_BLOCK_S);
    const counts = { n1, x1: random.binomial(n1, canary), n0, x0: random.binomial(n0, STABLE) };
    commitGate(state, 0, DEFAULT_MARGIN, counts, COMPARATIVE_BLOCK_S);
    if (gateReading(state, 0, DEFAULT_MARGIN).passes) return end;
  }
  return Infinity;
}

/** Whether five minutes show less than 0.1 % errors: what a point estimate asks. */
export function runPoint(canary: number, seeds: readonly number[]): boolean {
  const random = new Random(...seeds);
  const n = random.poisson(PER_SECOND * WEIGHT * POINT_S);
  return random.binomial(n, canary) < STABLE * n;
}
