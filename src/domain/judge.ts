/**
 * Is the canary all right? Rules against readings, one verdict, with the evidence of every rule. Pure.
 *
 * Three verdicts, not two: too little traffic is `inconclusive`, which neither climbs nor rolls back; silence is no success and no
 * failure (product.md §2.9). The breach clock of a sustained rule is an argument and a result, so that it can be recorded and go on after a
 * restart where it was (§2.8). Sequential and comparative tests join as further kinds of rule.
 */

import { indexOfMicros } from "./latency.ts";
import type { Reading } from "./window.ts";
import { formatDuration, formatRate, microsOf, millis, type Millis, type Ppm } from "./units.ts";

/** What a failed rule does. */
export type Action = "observe" | "pause" | "rollback";

interface Sustained {
  readonly for: Millis;
  readonly window: Millis;
  readonly minRequests: number;
  readonly action: Action;
}

/** A metric of the canary, a limit, and for how long. */
export type Rule =
  | ({ readonly metric: "error_rate"; readonly above: Ppm } & Sustained)
  | ({
      readonly metric: "p50" | "p95" | "p99";
      readonly above: Millis;
      readonly of: "worse" | "all" | "successes";
    } & Sustained)
  | { readonly metric: "health_failures"; readonly atLeast: number; readonly action: Action };

type SustainedRule = Exclude<Rule, { metric: "health_failures" }>;

/** What a rule, or all of them together, came to. */
export type VerdictKind = "successful" | "failed" | "inconclusive";

/** One rule's part of a verdict. */
export interface Check {
  /** The rule's id: its own words. */
  readonly rule: string;
  readonly kind: VerdictKind;
  readonly action: Action;
  /** In the limit's unit; null when there is not enough data. */
  readonly observed: number | null;
  readonly limit: number;
  readonly unit: "fraction" | "ms" | "count";
  readonly have: number;
  readonly need: number;
  /** The breach clock; null when it does not run. */
  readonly breachMs: Millis | null;
  readonly forMs: Millis;
  readonly detail: string;
}

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
  /** The canary's weight: at 0 no traffic is due, and only health is judged. */
  readonly weight: Ppm;
  /** The canary over a window. */
  readonly canary: (windowMs: Millis) => Reading;
  readonly health: Health;
  /** The clocks of the last verdict. */
  readonly clocks: Readonly<Record<string, Millis>>;
  /** Time in service since the last verdict. */
  readonly elapsedMs: Millis;
}

// Asked for every rule of every route once a second; a rule never changes.
const IDS = new WeakMap<Rule, string>();

/** A rule in its own words, e.g. `error_rate above 1% for 5m`. Its id everywhere. */
export function ruleId(rule: Rule): string {
  let id = IDS.get(rule);
  if (id === undefined) {
    id = wordsOf(rule);
    IDS.set(rule, id);
  }
  return id;
}

function wordsOf(rule: Rule): string {
  if (rule.metric === "health_failures") return `health_failures at least ${rule.atLeast}`;
  const limit = rule.metric === "error_rate" ? formatRate(rule.above) : formatDuration(rule.above);
  const of = "of" in rule && rule.of !== "worse" ? ` of ${rule.of}` : "";
  const lasting = rule.for > 0 ? ` for ${formatDuration(rule.for)}` : "";
  return `${rule.metric}${of} above ${limit}${lasting}`;
}

/** The verdict on the canary. */
export function judge(evidence: Evidence): Verdict {
  const checks = evidence.rules.map((rule) =>
    rule.metric === "health_failures" ? checkHealth(rule, evidence.health) : checkSustained(rule, evidence),
  );
  const clocks: Record<string, Millis> = {};
  for (const check of checks) if (check.breachMs !== null) clocks[check.rule] = check.breachMs;
  return { kind: together(checks, evidence), checks, clocks };
}

function together(checks: readonly Check[], evidence: Evidence): VerdictKind {
  const binding = checks.filter((check) => check.action !== "observe");
  if (binding.some((check) => check.kind === "failed")) return "failed";
  if (evidence.weight === 0) return evidence.health.healthy === true ? "successful" : "inconclusive";
  return binding.every((check) => check.kind === "successful") ? "successful" : "inconclusive";
}

function checkHealth(rule: Extract<Rule, { metric: "health_failures" }>, health: Health): Check {
  const failed = health.failures >= rule.atLeast;
  const known = health.healthy !== null;
  return {
    rule: ruleId(rule),
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
    action: rule.action,
    observed: enough ? measured.observed : null,
    limit: rule.metric === "error_rate" ? rule.above / 1_000_000 : rule.above,
    unit: rule.metric === "error_rate" ? ("fraction" as const) : ("ms" as const),
    have: measured.have,
    need: rule.minRequests,
    breachMs: clock,
    forMs: rule.for,
  };
  if (failed) return { ...base, kind: "failed", detail: `above the limit for ${formatDuration(clock)}` };
  if (!enough) return { ...base, kind: "inconclusive", detail: missing(rule, measured.have, evidence) };
  if (clock === null) return { ...base, kind: "successful", detail: "within the limit" };
  const span = `${formatDuration(clock)} of ${formatDuration(rule.for)}`;
  return { ...base, kind: "inconclusive", detail: `above the limit for ${span}` };
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
    breach: reading.failures * 1_000_000 > rule.above * reading.requests,
  };
}

function latency(rule: Extract<Rule, { of: string }>, reading: Reading): Measured {
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
