/** What an operator watches for, and what one such rule came to. Plain data, and each rule in its own words. */

import type { BadKind } from "./outcome.ts";
import { formatDuration, formatRate, type Millis, type Ppm } from "./units.ts";

/** What a failed rule does. */
export type Action = "observe" | "pause" | "rollback";

interface Sustained {
  readonly for: Millis;
  readonly window: Millis;
  readonly minRequests: number;
  readonly action: Action;
}

/** A metric of the canary above a limit for some time. */
export type SustainedRule =
  | ({ readonly metric: "error_rate"; readonly above: Ppm } & Sustained)
  | ({
      readonly metric: "p50" | "p95" | "p99";
      readonly above: Millis;
      readonly of: "worse" | "all" | "successes";
    } & Sustained);

/** Probes that fail in a row. */
export interface HealthRule {
  readonly metric: "health_failures";
  readonly atLeast: number;
  readonly action: Action;
}

interface Limited<T extends string> {
  readonly test: T;
  readonly action: Action;
}

type Limit =
  | { readonly metric: "error_rate"; readonly above: Ppm }
  | { readonly metric: "p95" | "p99"; readonly above: Millis };

/** A limit that is judged with every response (statistics.md §3.1). */
export type SequentialRule = Limited<"sequential"> & Limit;

/** Above a limit for five minutes, in the form that survives real life (statistics.md §3.4). */
export type RobustRule = Limited<"robust"> & Limit;

/** The canary against stable at the same time (statistics.md §3.3). */
export interface CompareRule {
  readonly test: "sequential";
  readonly compare: "error_rate" | "client_error_rate" | "latency";
  readonly worseBy: Ppm;
  readonly action: Action;
}

/** One rule. */
export type Rule = SustainedRule | RobustRule | HealthRule | SequentialRule | CompareRule;

/** What a rule, or all of them together, came to. */
export type VerdictKind = "successful" | "failed" | "inconclusive";

/** How a rule judges (product.md §2.10); `warning`: what follows from alerts that stay open; `promotion`: what the plan asks for before the weight may rise. */
export type Tier = "catastrophic" | "sustained" | "comparative" | "health" | "warning" | "promotion";

/** What keeps a rule from firing. */
export type Held = "shared_cause" | "one_client";

/** One rule's part of a verdict. */
export interface Check {
  /** The rule's id: its own words. */
  readonly rule: string;
  readonly tier: Tier;
  /** Which responses it is about; left out: none. */
  readonly about?: BadKind;
  readonly kind: VerdictKind;
  /** What follows when it fails; `hold`: it never does, the weight only stays where it is. */
  readonly action: Action | "hold";
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
  /** Why it does not fail although the canary is over the limit: both arms suffer (product.md §2.11), or one client does it (§2.12). */
  readonly held?: Held | undefined;
  /** Of a comparison or of a sequential rule: where the observed value lies, 95 % at one look, and how many responses it rests on. */
  readonly interval?: { readonly low: number; readonly high: number };
  readonly n?: number;
  /** Of what a promotion asks for: how much of it is there, within [0, 1], and the time until all of it is, null when that cannot be said. */
  readonly ratio?: number;
  readonly etaMs?: Millis | null;
}

/** Which responses are bad by a metric, or by a comparison. */
export function aboutOf(measured: "error_rate" | "p50" | "p95" | "p99" | CompareRule["compare"]): BadKind {
  if (measured === "error_rate") return "failure";
  return measured === "client_error_rate" ? "client_error" : "slow";
}

/** Whether a rule is judged with every response. */
export function isSequential(rule: Rule): rule is SequentialRule {
  return "test" in rule && rule.test === "sequential" && "metric" in rule;
}

/** Whether a rule is the robust form of "for five minutes". */
export function isRobust(rule: Rule): rule is RobustRule {
  return "test" in rule && rule.test === "robust";
}

/** Whether a rule compares the canary with stable. */
export function isComparing(rule: Rule): rule is CompareRule {
  return "compare" in rule;
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
  if (isComparing(rule)) {
    if (rule.compare === "latency") return "latency worse than stable";
    return `${rule.compare} worse than stable by ${formatRate(rule.worseBy)}`;
  }
  if (rule.metric === "health_failures") return `health_failures at least ${rule.atLeast}`;
  const limit = rule.metric === "error_rate" ? formatRate(rule.above) : formatDuration(rule.above);
  if (isSequential(rule)) return `${rule.metric} above ${limit} on every response`;
  if (isRobust(rule)) return `${rule.metric} above ${limit} for 5m, robust`;
  const of = "of" in rule && rule.of !== "worse" ? ` of ${rule.of}` : "";
  const lasting = rule.for > 0 ? ` for ${formatDuration(rule.for)}` : "";
  return `${rule.metric}${of} above ${limit}${lasting}`;
}
