/**
 * The catastrophic tier of one route: is the canary so bad that waiting is wrong? Pure; the state is plain numbers in a caller's array.
 *
 * One pair of guards for each of three rules (errors, P95, P99): the absolute one against the rule's limit, the relative one against stable. A
 * rule fires only when both have crossed: the absolute one alone is a trouble that both arms have, and moving the weight would not help. Without
 * stable traffic there is nobody to compare with, so the absolute one decides alone, and the reading says so. Source: statistics.md §3.1.
 *
 * This file and what it imports is all that a thread needs that asks after a bad response; it loads no library.
 */

import type { ArmCounts, BlockCounts } from "./counting.ts";
import { timesOdds } from "./formulas.ts";
import {
  addMass,
  absoluteGuard,
  CARRY_S,
  commitAbsolute,
  commitRelative,
  CROSSING,
  dropCarried,
  evidenceAt,
  MASS_PER_STEP,
  peekAbsolute,
  peekRelative,
  relativeGuard,
  stableRate,
  type AbsoluteGuard,
  type RelativeGuard,
} from "./guard.ts";
import { ERRORS, P95_SHARE, P99_SHARE, type RateSpec } from "./rates.ts";

/** The rules of this tier. */
export type HardRule = "errors" | "p95" | "p99";

/**
 * Each rule's limit as a share of responses within (0, 0.5), e.g. 0.01; null: no such rule. A percentile's limit in milliseconds is in the
 * counting of `s` and `v`; here it is the share that may be slower: 0.05 for P95, 0.01 for P99.
 */
export type HardLimits = Readonly<Record<HardRule, number | null>>;

/** 1 % errors, 5 % slower than the P95 limit, 1 % slower than the P99 limit. */
export const HARD_LIMITS: HardLimits = { errors: 0.01, p95: 0.05, p99: 0.01 };

/** Nats per second at most for the latency rules: one pause of the canary is not a regression. */
const LATENCY_CAP = 2.4;
const HARD_RATIO = 1.25;

interface Pair {
  readonly rule: HardRule;
  readonly absolute: AbsoluteGuard;
  readonly relative: RelativeGuard;
  /** Where their states begin, from the start of the tier's. */
  readonly absoluteAt: number;
  readonly relativeAt: number;
}

/** The guards of the rules that there are. */
export type HardGuards = readonly Pair[];

// statistics.md §2 and §3.1 give the alternatives for limits of 1 % and 5 %.
const ABSOLUTE_1 = [0.015, 0.02, 0.03, 0.05, 0.1, 0.3, 0.9];
const ABSOLUTE_5 = [0.07, 0.1, 0.15, 0.25, 0.5, 0.9];
const RELATIVE_1 = [0.015, 0.03, 0.08, 0.3, 0.9];
const RELATIVE_5 = [0.08, 0.15, 0.4, 0.9];

/**
 * The alternatives for a limit: the design's where they stand for this very limit, else as many, with odds in even ratio from 1.5 times
 * those of the limit up to 9 (90 %), or to 6 times the limit's where that is more.
 */
export function alternativesOf(limit: number, given: readonly number[], givenFor: number): readonly number[] {
  if (limit === givenFor) return given;
  const odds = limit / (1 - limit);
  const steps = given.length - 1;
  const span = Math.max(9 / odds, 6) / 1.5;
  return given.map((_, index) => timesOdds(limit, 1.5 * span ** (index / steps)));
}

interface Family {
  readonly rule: HardRule;
  readonly givenFor: number;
  readonly absolute: readonly number[];
  readonly relative: readonly number[];
  readonly rate: RateSpec;
  readonly capPerSecond: number;
}

const FAMILIES: readonly Family[] = [
  {
    rule: "errors",
    givenFor: 0.01,
    absolute: ABSOLUTE_1,
    relative: RELATIVE_1,
    rate: ERRORS,
    capPerSecond: Infinity,
  },
  {
    rule: "p95",
    givenFor: 0.05,
    absolute: ABSOLUTE_5,
    relative: RELATIVE_5,
    rate: P95_SHARE,
    capPerSecond: LATENCY_CAP,
  },
  {
    rule: "p99",
    givenFor: 0.01,
    absolute: ABSOLUTE_1,
    relative: RELATIVE_1,
    rate: P99_SHARE,
    capPerSecond: LATENCY_CAP,
  },
];

// The tier's state: whether there is to be stable traffic, for how long there was none, then the pairs.
const ALONE = 0;
const SILENT = 1;
const FIRST = 2;

function pairs(limits: HardLimits): { readonly all: readonly Pair[]; readonly words: number } {
  let at = FIRST;
  const all = FAMILIES.map((family): Pair => {
    // A rule that is off keeps its place, so that a reload of the configuration moves nobody else's state.
    const limit = limits[family.rule] ?? family.givenFor;
    const absolute = absoluteGuard(
      limit,
      alternativesOf(limit, family.absolute, family.givenFor),
      family.capPerSecond,
    );
    const relative = relativeGuard({
      ratio: HARD_RATIO,
      shares: alternativesOf(limit, family.relative, family.givenFor),
      odds: [],
      rate: family.rate,
      capPerBlock: Infinity,
      capPerSecond: family.capPerSecond,
    });
    const absoluteAt = at;
    const relativeAt = at + absolute.size;
    at = relativeAt + relative.words;
    return { rule: family.rule, absolute, relative, absoluteAt, relativeAt };
  });
  return { all, words: at };
}

/** Numbers that the tier's state takes, whatever the limits. */
export const HARD_WORDS = pairs(HARD_LIMITS).words;

/** The guards for these limits. Made once per route and configuration. */
export function hardGuards(limits: HardLimits): HardGuards {
  return pairs(limits).all.filter(({ rule }) => limits[rule] !== null);
}

function badOf(rule: HardRule, counts: ArmCounts): number {
  return rule === "errors" ? counts.e : rule === "p95" ? counts.s : counts.v;
}

/** Everything as before the first block. A step has to start before there is evidence. */
export function freshHard(state: Float64Array, at: number): void {
  state.fill(0, at, at + HARD_WORDS);
}

/** Says whether stable gets traffic from now on. */
export function setControl(state: Float64Array, at: number, concurrent: boolean): void {
  state[at + ALONE] = concurrent ? 0 : 1;
}

/**
 * A step starts: fresh mass for every guard.
 *
 * @param concurrent whether stable gets traffic at this step; false at 100 % without a holdback
 */
export function startHard(guards: HardGuards, state: Float64Array, at: number, concurrent: boolean): void {
  setControl(state, at, concurrent);
  state[at + SILENT] = 0;
  for (const pair of guards) {
    addMass(state, at + pair.absoluteAt, pair.absolute.size, MASS_PER_STEP);
    addMass(state, at + pair.relativeAt, pair.relative.size, MASS_PER_STEP);
  }
}

/** A trip: the evidence starts again, with fresh mass; the running rates of stable stay (statistics.md §3.2). */
export function resetHard(guards: HardGuards, state: Float64Array, at: number): void {
  for (const { absolute, relative, absoluteAt, relativeAt } of guards) {
    state.fill(0, at + absoluteAt, at + absoluteAt + absolute.size);
    state.fill(0, at + relativeAt, at + relativeAt + relative.size);
    dropCarried(relative, state, at + relativeAt);
    addMass(state, at + absoluteAt, absolute.size, MASS_PER_STEP);
    addMass(state, at + relativeAt, relative.size, MASS_PER_STEP);
  }
}

/** Takes in a block of `seconds`. */
export function commitHard(
  guards: HardGuards,
  state: Float64Array,
  at: number,
  { canary, stable }: BlockCounts,
  seconds: number,
): void {
  state[at + SILENT] = stable.n > 0 ? 0 : state[at + SILENT]! + seconds;
  for (const { rule, absolute, relative, absoluteAt, relativeAt } of guards) {
    const x1 = badOf(rule, canary);
    const x0 = badOf(rule, stable);
    commitAbsolute(absolute, state, at + absoluteAt, canary.n, x1, seconds);
    commitRelative(relative, state, at + relativeAt, canary.n, x1, stable.n, x0, seconds);
  }
}

/** Whether there is stable traffic to compare with: it is due, and has answered within the last five minutes. */
export function hasControl(state: Float64Array, at: number): boolean {
  return state[at + ALONE] === 0 && state[at + SILENT]! < CARRY_S;
}

/**
 * The first rule that would fire were this block committed now, or null. To be asked on every bad response of the canary: it changes and
 * allocates nothing. Whether enough distinct keys have failed is the caller's to ask (`enoughKeys`).
 *
 * @param seconds how much of the block has passed; the latency rules' cap grows with it
 */
export function peekHard(
  guards: HardGuards,
  state: Float64Array,
  at: number,
  { canary, stable }: BlockCounts,
  seconds: number,
): HardRule | null {
  for (let index = 0; index < guards.length; index++) {
    const pair = guards[index]!;
    const x1 = badOf(pair.rule, canary);
    const alone = peekAbsolute(pair.absolute, state, at + pair.absoluteAt, canary.n, x1, seconds);
    if (alone < CROSSING) continue;
    if (!hasControl(state, at) && stable.n === 0) return pair.rule;
    const x0 = badOf(pair.rule, stable);
    const relativeAt = at + pair.relativeAt;
    const worse = peekRelative(pair.relative, state, relativeAt, canary.n, x1, stable.n, x0, seconds);
    if (worse >= CROSSING) return pair.rule;
  }
  return null;
}

/**
 * What a rule of this tier came to: `fires`; `shared_cause` (over the limit, not worse than stable, and stable over it too: hold and page);
 * `undecided` (over the limit, not yet shown to be worse than stable); or `quiet`.
 */
export type HardKind = "quiet" | "undecided" | "shared_cause" | "fires";

/** One rule's evidence on what has been committed. */
export interface HardReading {
  readonly rule: HardRule;
  readonly kind: HardKind;
  /** The limit as a share. */
  readonly limit: number;
  /** Nats that the canary is over the limit, and that it is worse than stable. */
  readonly absolute: number;
  readonly relative: number;
  /** Nats that each needs. */
  readonly need: number;
  /** False: nobody to compare with, so the absolute evidence decides alone. */
  readonly control: boolean;
}

/** Every rule's evidence. */
export function hardReadings(guards: HardGuards, state: Float64Array, at: number): readonly HardReading[] {
  const control = hasControl(state, at);
  return guards.map((pair) => {
    const absolute = evidenceAt(state, at + pair.absoluteAt, pair.absolute.size);
    const relative = evidenceAt(state, at + pair.relativeAt, pair.relative.size);
    const { limit } = pair.absolute;
    const stableToo = stableRate(pair.relative, state, at + pair.relativeAt) > limit;
    const kind = kindOf(absolute >= CROSSING, relative >= CROSSING, control, stableToo);
    return { rule: pair.rule, kind, limit, absolute, relative, need: CROSSING, control };
  });
}

function kindOf(over: boolean, worse: boolean, control: boolean, stableToo: boolean): HardKind {
  if (!over) return "quiet";
  if (worse || !control) return "fires";
  return stableToo ? "shared_cause" : "undecided";
}
