/**
 * Is the canary all right? Rules against readings, one verdict, with the evidence of every rule. Pure.
 *
 * Three verdicts, not two: too little traffic is `inconclusive`, which neither climbs nor rolls back; silence is no success and no
 * failure (product.md §2.9). The breach clock of a sustained rule is an argument and a result, so that it can be recorded and go on after a
 * restart where it was (§2.8). What looks at every response is in `tiers.ts`; here its rules take their place in the verdict.
 */

import type { Readings } from "./evidence/route.ts";
import { CLEAR_RATIO, ENOUGH_RESPONSES, isAboutAsBad } from "./evidence/sustained.ts";
import { indexOfMicros } from "./latency.ts";
import type { Step } from "./plan.ts";
import { checkPromotion, type Surroundings } from "./promotion.ts";
import {
  aboutOf,
  isComparing,
  isRobust,
  isSequential,
  ruleId,
  type Check,
  type HealthRule,
  type Rule,
  type SustainedRule,
  type VerdictKind,
} from "./rule.ts";
import { checkCompare, checkRobust, checkSequential, SHARED_CAUSE, type Keys } from "./tiers.ts";
import { FULL, formatDuration, microsOf, millis, type Millis, type Ppm } from "./units.ts";
import type { Reading } from "./window.ts";

/** What all rules came to. */
export interface Verdict {
  readonly kind: VerdictKind;
  /** Every rule, in the order of the policy, not only the failed ones. */
  readonly checks: readonly Check[];
  /** The breach clocks that run now, by rule id. */
  readonly clocks: Readonly<Record<string, Millis>>;
}

/** Health of the canary as the probes see it. */
export interface Health {
  /** Failed probes in a row of the worst endpoint. */
  readonly failures: number;
  /** All endpoints healthy; null before every one has been probed. */
  readonly healthy: boolean | null;
}

/** What is judged. */
export interface Evidence {
  readonly rules: readonly Rule[];
  /** The step that the rollout is at; undefined: no plan is being walked. */
  readonly step: Step | undefined;
  /** The canary's weight: at 0 no traffic is due, and only health is judged. */
  readonly weight: Ppm;
  /** The canary over a window. */
  readonly canary: (windowMs: Millis) => Reading;
  /** Stable over the same window: what it suffers too is no fault of the canary's (product.md §2.11). */
  readonly stable: (windowMs: Millis) => Reading;
  /** Of the tiers that look at every response; undefined: no rollout is under way, or no rule asks. */
  readonly readings: Readings | undefined;
  readonly keys: Keys;
  /** What a rule does that stable breaks as well. */
  readonly sharedCause: "hold" | "rollback";
  readonly health: Health;
  /** What else a step may ask for; left out: it is not known. */
  readonly around?: Surroundings | undefined;
  /** What came of alerts that stay open; undefined: nothing ever does. */
  readonly lasting?: Check | undefined;
  /** The clocks of the last verdict. */
  readonly clocks: Readonly<Record<string, Millis>>;
  /** Time in service since the last verdict. */
  readonly elapsedMs: Millis;
}

/** The verdict on the canary. */
export function judge(evidence: Evidence): Verdict {
  const checks = evidence.rules.map((rule) => checkOf(rule, evidence));
  const clocks: Record<string, Millis> = {};
  for (const check of checks) if (check.breachMs !== null) clocks[check.rule] = check.breachMs;
  // This one's time is kept with the alerts.
  if (evidence.lasting !== undefined) checks.push(evidence.lasting);
  if (evidence.step !== undefined)
    checks.push(...checkPromotion(evidence.step, evidence.readings, evidence.around));
  return { kind: together(checks, evidence), checks, clocks };
}

function checkOf(rule: Rule, evidence: Evidence): Check {
  if (isComparing(rule)) return checkCompare(rule, evidence.readings, evidence.keys);
  if (isSequential(rule)) return checkSequential(rule, evidence);
  if (isRobust(rule)) return checkRobust(rule, evidence);
  return rule.metric === "health_failures"
    ? checkHealth(rule, evidence.health)
    : checkSustained(rule, evidence);
}

function together(checks: readonly Check[], evidence: Evidence): VerdictKind {
  const binding = checks.filter((check) => check.action !== "observe");
  if (binding.some((check) => check.kind === "failed")) return "failed";
  // Where the plan means no traffic, only health decides; where it was taken away, nothing is known.
  const isMeant = evidence.step === undefined || evidence.step.weight === 0;
  if (evidence.weight === 0 && isMeant) {
    const asked = binding.filter(({ tier }) => tier === "promotion");
    const isWell = evidence.health.healthy === true && asked.every(({ kind }) => kind === "successful");
    return isWell ? "successful" : "inconclusive";
  }
  return binding.every((check) => check.kind === "successful") ? "successful" : "inconclusive";
}

function checkHealth(rule: HealthRule, health: Health): Check {
  const failed = health.failures >= rule.atLeast;
  const known = health.healthy !== null;
  return {
    rule: ruleId(rule),
    tier: "health",
    kind: failed ? "failed" : known && health.failures === 0 ? "successful" : "inconclusive",
    action: rule.action,
    observed: known || failed ? health.failures : null,
    limit: rule.atLeast,
    unit: "count",
    have: known ? 1 : 0,
    need: 1,
    breachMs: null,
    forMs: millis(0),
    detail: known ? `${health.failures} failed probes in a row` : "not every endpoint has been probed yet",
  };
}

/** What a limit is, whatever follows when it is passed. */
export type LimitRule = { readonly minRequests: number } & (
  | { readonly metric: "error_rate"; readonly above: Ppm }
  | {
      readonly metric: "p50" | "p95" | "p99";
      readonly above: Millis;
      readonly of: "worse" | "all" | "successes";
    }
);

interface Measured {
  readonly have: number;
  readonly observed: number | null;
  readonly breach: boolean;
}

function checkSustained(rule: SustainedRule, evidence: Evidence): Check {
  const id = ruleId(rule);
  const reading = evidence.canary(rule.window);
  const measured = rule.metric === "error_rate" ? errorRate(rule, reading) : latency(rule, reading);
  const enough = measured.have >= rule.minRequests;
  const clock = nextClock(evidence.clocks[id], enough, measured.breach, evidence.elapsedMs);
  const failed = enough && measured.breach && clock !== null && clock >= rule.for;
  const base = {
    rule: id,
    tier: "sustained" as const,
    about: aboutOf(rule.metric),
    action: rule.action,
    observed: enough ? measured.observed : null,
    limit: rule.metric === "error_rate" ? rule.above / FULL : rule.above,
    unit: rule.metric === "error_rate" ? ("fraction" as const) : ("ms" as const),
    have: measured.have,
    need: rule.minRequests,
    breachMs: clock,
    forMs: rule.for,
  };
  if (failed && evidence.sharedCause === "hold" && isShared(rule, reading, evidence.stable(rule.window)))
    return { ...base, kind: "inconclusive", held: "shared_cause", detail: SHARED_CAUSE };
  if (failed) return { ...base, kind: "failed", detail: `above the limit for ${lasted(clock)}` };
  if (!enough) return { ...base, kind: "inconclusive", detail: missing(rule, measured.have, evidence) };
  if (clock === null) return { ...base, kind: "successful", detail: "within the limit" };
  const span = `${lasted(clock)} of ${formatDuration(rule.for)}`;
  return { ...base, kind: "inconclusive", detail: `above the limit for ${span}` };
}

/** A time that was measured, to what people read of it: its seconds, or what is less than one. */
function lasted(ms: Millis): string {
  return formatDuration(millis(ms < 1000 ? Math.round(ms) : Math.floor(ms / 1000) * 1000));
}

/** What a limit sees in a reading: the value, whether there is enough to say, and whether it is above. */
export function measuredBy(
  limit: LimitRule,
  reading: Reading,
): { readonly enough: boolean; readonly value: number | null; readonly breach: boolean } {
  const { have, observed, breach } =
    limit.metric === "error_rate" ? errorRate(limit, reading) : latency(limit, reading);
  return { enough: have >= limit.minRequests, value: observed, breach };
}

/** Stable is over the limit too, and the canary is not clearly worse (statistics.md §3.4). */
export function isShared(rule: LimitRule, canary: Reading, stable: Reading): boolean {
  if (rule.metric !== "error_rate") {
    const { have, observed, breach } = latency(rule, stable);
    const slow = latency(rule, canary).observed;
    return have >= ENOUGH_RESPONSES && breach && Number(slow) < CLEAR_RATIO * Number(observed);
  }
  const counts = { n1: canary.requests, x1: canary.failures, n0: stable.requests, x0: stable.failures };
  return errorRate(rule, stable).breach && isAboutAsBad(counts);
}

/** product.md §2.8: a breach starts and advances the clock, enough data within the limit stops it, too little data leaves it alone. */
function nextClock(
  clock: Millis | undefined,
  enough: boolean,
  breach: boolean,
  elapsed: Millis,
): Millis | null {
  if (!enough) return clock ?? null;
  if (!breach) return null;
  return clock === undefined ? millis(0) : millis(clock + elapsed);
}

function errorRate(rule: { readonly above: Ppm }, reading: Reading): Measured {
  return {
    have: reading.requests,
    observed: reading.requests === 0 ? null : reading.failures / reading.requests,
    // Whole numbers on both sides: 1 of 100 is not above 1 %.
    breach: reading.failures * FULL > rule.above * reading.requests,
  };
}

function latency(rule: Extract<LimitRule, { of: string }>, reading: Reading): Measured {
  const all = { have: reading.all.n, observed: reading.all[rule.metric] };
  const successes = { have: reading.successes.n, observed: reading.successes[rule.metric] };
  const worse =
    successes.have >= rule.minRequests && Number(successes.observed) > Number(all.observed) ? successes : all;
  const chosen = rule.of === "all" ? all : rule.of === "successes" ? successes : worse;
  const limit = indexOfMicros(microsOf(rule.above));
  // By bucket: what HDR cannot tell from the limit is not above it.
  const breach = chosen.observed !== null && indexOfMicros(chosen.observed * 1000) > limit;
  return { ...chosen, breach };
}

function missing(rule: SustainedRule, have: number, evidence: Evidence): string {
  if (evidence.weight === 0) return "no traffic is due at weight 0";
  const window = formatDuration(rule.window);
  if (have === 0) return `no exchange in the last ${window}, needs ${rule.minRequests}`;
  return `${have} of ${rule.minRequests} exchanges in the last ${window}`;
}
