/**
 * The comparative tier of one route: is the canary worse than stable is at the same time, even below every limit? Pure; the state is plain
 * numbers in a caller's array.
 *
 * Blocks of ten seconds and a cap on what one block may say: machines differ and drift, and a rule that fires on four responses would fire
 * on that. Four rules: errors; 4xx; latency, by 10 % or more (slow: five minutes at least), and by half or more (fast). The latency
 * rules average the evidence of three cut points, since a mean of e-values is one, and their greatest is not. Without concurrent stable
 * traffic the tier is off, and says so. Source: statistics.md §3.3; Vovk and Wang, "E-values: calibration, combination and applications", 2021.
 */

import { COLUMN } from "./columns.ts";
import { CUT_QUANTILES } from "./cuts.ts";
import {
  addMass,
  commitRelative,
  CROSSING,
  evidenceAt,
  massOf,
  MASS_PER_STEP,
  relativeGuard,
  type RelativeGuard,
} from "./guard.ts";
import { COMPARATIVE_CAP, COMPARATIVE_RATIO } from "./planning.ts";
import { differenceInterval, type Interval } from "./proportion.ts";
import { CUT_SHARES, ERRORS } from "./rates.ts";

/** The rules of this tier. `latency` is slower by 10 % or more, `latency_fast` by half or more. */
export type ComparativeRule = "errors" | "4xx" | "latency" | "latency_fast";

/** The canary's latencies are counted from so many times the cut point on. */
export const SLOW_MARGIN = 1.1;
export const FAST_MARGIN = 1.5;

const SHARE_GUARD = relativeGuard({
  ratio: COMPARATIVE_RATIO,
  shares: [0.9],
  odds: [1.5, 2.5, 5, 15, 60],
  rate: ERRORS,
  capPerBlock: COMPARATIVE_CAP,
  capPerSecond: Infinity,
});

function latencyGuards(capPerBlock: number): readonly RelativeGuard[] {
  return CUT_SHARES.map((rate) =>
    // The margin is in the cut point, so the ratio is 1.
    relativeGuard({
      ratio: 1,
      shares: [],
      odds: [1.2, 1.5, 2.2, 4],
      rate,
      capPerBlock,
      capPerSecond: Infinity,
    }),
  );
}

interface Test {
  readonly rule: ComparativeRule;
  readonly unit: "responses" | "latencies";
  /** One for a share, one per cut point for latency. */
  readonly guards: readonly RelativeGuard[];
  /** The columns of the bad ones; of the cut points, the first one's. */
  readonly bad1: number;
  readonly bad0: number;
}

const TESTS: readonly Test[] = [
  { rule: "errors", unit: "responses", guards: [SHARE_GUARD], bad1: COLUMN.e1, bad0: COLUMN.e0 },
  { rule: "4xx", unit: "responses", guards: [SHARE_GUARD], bad1: COLUMN.c1, bad0: COLUMN.c0 },
  {
    rule: "latency",
    unit: "latencies",
    guards: latencyGuards(0.3),
    bad1: COLUMN.slow,
    bad0: COLUMN.over,
  },
  {
    rule: "latency_fast",
    unit: "latencies",
    guards: latencyGuards(4),
    bad1: COLUMN.fast,
    bad0: COLUMN.over,
  },
];

interface Placed extends Test {
  readonly places: readonly number[];
}

let end = 0;
const PLACED: readonly Placed[] = TESTS.map((test) => ({
  ...test,
  places: test.guards.map(({ words }) => {
    end += words;
    return end - words;
  }),
}));

/** Numbers that the tier's state takes. */
export const COMPARATIVE_WORDS = end;

function total(unit: Test["unit"], arm: 0 | 1): number {
  if (unit === "responses") return arm === 1 ? COLUMN.n1 : COLUMN.n0;
  return arm === 1 ? COLUMN.l1 : COLUMN.l0;
}

/** A step starts: fresh mass for every guard. */
export function startComparative(state: Float64Array, at: number): void {
  for (const { guards, places } of PLACED)
    guards.forEach((guard, index) => addMass(state, at + places[index]!, guard.size, MASS_PER_STEP));
}

/** Takes in a row of `COLUMNS` sums over `seconds`, about ten. */
export function commitComparative(
  state: Float64Array,
  at: number,
  row: Float64Array,
  rowAt: number,
  seconds: number,
): void {
  for (const { guards, places, unit, bad1, bad0 } of PLACED)
    guards.forEach((guard, index) => {
      const place = at + places[index]!;
      const n1 = row[rowAt + total(unit, 1)]!;
      const n0 = row[rowAt + total(unit, 0)]!;
      const x1 = row[rowAt + bad1 + index]!;
      commitRelative(guard, state, place, n1, x1, n0, row[rowAt + bad0 + index]!, seconds);
    });
}

/** What one rule came to: the evidence, and the last ten minutes as people understand them. */
export interface ComparativeReading {
  readonly rule: ComparativeRule;
  /** Shown to be worse; whether by enough to matter is for the operator's rule to say. */
  readonly fires: boolean;
  /** Nats, and how many are needed. */
  readonly have: number;
  readonly need: number;
  /** The canary's share of bad ones less stable's, over ten minutes; null while an arm is empty. */
  readonly difference: number | null;
  /** Of the difference: Newcombe's, 95 % at one look. What fires is the evidence, not the interval. */
  readonly interval: Interval;
  /** Responses, or latencies, over ten minutes. */
  readonly canary: { readonly n: number; readonly bad: number };
  readonly stable: { readonly n: number; readonly bad: number };
  /** For latency: the quantile of stable at which the evidence is greatest; stable's bad ones are those above it. */
  readonly quantile: number | null;
  /** False: no concurrent stable traffic, so the rule is off. */
  readonly control: boolean;
}

/**
 * Every rule's evidence.
 *
 * @param sums    `COLUMNS` sums of the last ten minutes
 * @param control whether there is concurrent stable traffic
 */
export function comparativeReadings(
  state: Float64Array,
  at: number,
  sums: Float64Array,
  control: boolean,
): readonly ComparativeReading[] {
  return PLACED.map((test): ComparativeReading => {
    const evidence = test.guards.map((guard, index) =>
      evidenceAt(state, at + test.places[index]!, guard.size),
    );
    const strongest = evidence.indexOf(Math.max(...evidence));
    const canary = { n: sums[total(test.unit, 1)]!, bad: sums[test.bad1 + strongest]! };
    const stable = { n: sums[total(test.unit, 0)]!, bad: sums[test.bad0 + strongest]! };
    const difference =
      canary.n === 0 || stable.n === 0 ? null : canary.bad / canary.n - stable.bad / stable.n;
    const have = meanEvidence(test, state, at);
    return {
      rule: test.rule,
      fires: control && have >= CROSSING,
      have,
      need: CROSSING,
      difference,
      interval: differenceInterval(canary.bad, canary.n, stable.bad, stable.n),
      canary,
      stable,
      quantile: test.unit === "responses" ? null : CUT_QUANTILES[strongest]!,
      control,
    };
  });
}

/** ln of the mean of the guards' e-values. */
function meanEvidence({ guards, places }: Placed, state: Float64Array, at: number): number {
  const mass = guards.reduce((sum, guard, index) => sum + massOf(state, at + places[index]!, guard.size), 0);
  return Math.log(Math.max(mass / guards.length, Number.MIN_VALUE));
}
