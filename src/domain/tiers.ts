/**
 * The tiers that look at every response, as an operator's rules ask for them: which limits the fast one has, from which latency on a response is
 * slow, and what each such rule came to. Pure. Sources: product.md §2.10 to §2.12, statistics.md §3.
 */

import type { HardLimits, HardRule } from "./evidence/catastrophic.ts";
import {
  FAST_MARGIN,
  SLOW_MARGIN,
  type ComparativeReading,
  type ComparativeRule,
} from "./evidence/comparative.ts";
import { enoughKeys, STABLE_CLOSER } from "./evidence/counting.ts";
import { shareInterval } from "./evidence/proportion.ts";
import type { HardExplained, Readings } from "./evidence/route.ts";
import { SLOWER_THAN } from "./evidence/success.ts";
import { ENOUGH_RESPONSES, type SustainedReading } from "./evidence/sustained.ts";
import { indexOfMicros } from "./hdr.ts";
import {
  aboutOf,
  isComparing,
  isRobust,
  isSequential,
  ruleId,
  type Check,
  type CompareRule,
  type Held,
  type RobustRule,
  type Rule,
  type SequentialRule,
  type VerdictKind,
} from "./rule.ts";
import { FULL, microsOf, millis, shareText, type Millis, type Ppm } from "./units.ts";

const ZERO = millis(0);
const SILENT = "no response in the last minute";
const FIVE_MINUTES = millis(300_000);
/** What is said of both arms suffering from the same. */
export const SHARED_CAUSE = "shared cause: stable is over the limit too, moving the weight would not help";
/** What a rule came to before there is a canary. */
const IDLE = {
  kind: "inconclusive",
  observed: null,
  have: 0,
  need: 1,
  detail: "no rollout is under way",
} as const;

/** From which bucket of the histogram on a response is slow, canary and stable; Infinity: never. */
export interface SlowFrom {
  readonly canary: readonly [p95: number, p99: number];
  readonly stable: readonly [p95: number, p99: number];
}

/** Distinct keys on the canary, five at the most, and the one with the most failures, hashed; empty when none is known. */
export interface Keys {
  readonly failed: number;
  readonly seen: number;
  readonly worst: string;
}

/** The fast tier's limits, as shares; null: no such rule. */
export function hardLimitsOf(rules: readonly Rule[]): HardLimits {
  return limitsOf(rules.filter(isSequential));
}

/** The limits at which a thread takes the weight away: those of rules that roll back. The others only speak. */
export function armedLimitsOf(rules: readonly Rule[]): HardLimits {
  return limitsOf(rules.filter(isSequential).filter(({ action }) => action === "rollback"));
}

/** The limits of the robust form of "for five minutes", as shares; null: no such rule. */
export function robustLimitsOf(rules: readonly Rule[]): HardLimits {
  return limitsOf(rules.filter(isRobust));
}

function limitsOf(rules: readonly (SequentialRule | RobustRule)[]): HardLimits {
  const limits: { -readonly [K in HardRule]: number | null } = { errors: null, p95: null, p99: null };
  for (const rule of rules) {
    if (rule.metric === "error_rate") limits.errors = rule.above / FULL;
    else limits[rule.metric] = SLOWER_THAN[rule.metric];
  }
  return limits;
}

/** Whether any rule has a thread take the weight away. */
export function hasFastTier(rules: readonly Rule[]): boolean {
  return rules.filter(isSequential).some(({ action }) => action === "rollback");
}

/**
 * From which bucket on responses are slow by these rules; stable's sooner (statistics.md §3.1). A limit that holds for some time serves where none is judged
 * with every response: nothing follows from it, but it is known which responses were slow.
 */
export function slowFromOf(rules: readonly Rule[]): SlowFrom {
  const slowFrom = (metric: "p95" | "p99"): Millis | undefined => {
    const found = rules.flatMap((rule) => (!isComparing(rule) && rule.metric === metric ? [rule] : []));
    return (found.find(isSequential) ?? found.find(isRobust) ?? found[0])?.above;
  };
  const indexOf = (limit: Millis | undefined, closer: number): number =>
    limit === undefined ? Infinity : indexOfMicros(microsOf(millis(limit / closer)));
  const p95 = slowFrom("p95");
  const p99 = slowFrom("p99");
  return {
    canary: [indexOf(p95, 1), indexOf(p99, 1)],
    stable: [indexOf(p95, STABLE_CLOSER), indexOf(p99, STABLE_CLOSER)],
  };
}

/** The rule that an alarm of the fast tier means, in its own words. */
export function ruleOfAlarm(rules: readonly Rule[], alarm: HardRule): string {
  const rule = rules.filter(isSequential).find((each) => alarmOf(each) === alarm);
  return rule === undefined ? alarm : ruleId(rule);
}

function alarmOf({ metric }: SequentialRule | RobustRule): HardRule {
  return metric === "error_rate" ? "errors" : metric;
}

/** The part of a check that its rule says alone. */
function limitOf(
  rule: SequentialRule | RobustRule,
): Pick<Check, "rule" | "about" | "action" | "limit" | "unit" | "breachMs"> {
  const isRate = rule.metric === "error_rate";
  return {
    rule: ruleId(rule),
    about: aboutOf(rule.metric),
    action: rule.action,
    limit: isRate ? rule.above / FULL : rule.above,
    unit: isRate ? "fraction" : "ms",
    breachMs: null,
  };
}

/** What a rule that is judged with every response came to; undefined readings: no rollout is under way. */
export function checkSequential(
  rule: SequentialRule,
  evidence: {
    readonly readings: Readings | undefined;
    readonly keys: Keys;
    readonly sharedCause: "hold" | "rollback";
  },
): Check {
  const { readings, keys, sharedCause } = evidence;
  const found = readings?.catastrophic.find((each) => each.rule === alarmOf(rule));
  const base = { ...limitOf(rule), tier: "catastrophic" as const, forMs: ZERO };
  if (found === undefined) return { ...base, ...IDLE };
  const isOver = found.kind === "fires" || (found.kind === "shared_cause" && sharedCause === "rollback");
  const isEnough = enoughKeys(keys.failed, keys.seen);
  const fires = isOver && isEnough;
  return {
    ...base,
    // Quiet is all that an alarm can say for a canary; whether it may climb is for the other rules.
    kind: fires ? "failed" : found.kind === "quiet" ? "successful" : "inconclusive",
    held: fires ? undefined : heldOf(found.kind, isEnough),
    // The share of bad responses; of a percentile that is no number of milliseconds.
    observed: rule.metric === "error_rate" ? found.observed : null,
    have: Math.max(0, found.control ? Math.min(found.absolute, found.relative) : found.absolute),
    need: found.need,
    detail: hardDetail(found, keys),
    interval: found.interval,
    n: found.n,
  };
}

function heldOf(kind: HardExplained["kind"], isEnough: boolean): Held | undefined {
  if (kind === "shared_cause") return "shared_cause";
  return kind === "fires" && !isEnough ? "one_client" : undefined;
}

function hardDetail({ kind, control, n, observed, stable }: HardExplained, keys: Keys): string {
  const share = observed === null ? "no response" : `${shareText(observed)} of ${n} responses over it`;
  const other =
    stable.observed === null ? "stable has none" : `stable ${shareText(stable.observed)} of ${stable.n}`;
  const told = `${share}, ${other}`;
  if (kind === "fires" && !enoughKeys(keys.failed, keys.seen)) return `${told}; ${heldBack(keys)}`;
  return `${told}${control ? MEANING[kind] : "; no stable traffic to compare with"}`;
}

/** What the robust form of "for five minutes" came to. */
export function checkRobust(
  rule: RobustRule,
  evidence: {
    readonly readings: Readings | undefined;
    readonly sharedCause: "hold" | "rollback";
    readonly weight: Ppm;
  },
): Check {
  const { readings, weight } = evidence;
  const found = readings?.sustained[alarmOf(rule)];
  const base = { ...limitOf(rule), tier: "sustained" as const, forMs: FIVE_MINUTES };
  if (readings === undefined || found === undefined) return { ...base, ...IDLE };
  const { observed, n } = found;
  const isSilent = found.kind === "within" && readings.lately === 0;
  const kind = isSilent ? "inconclusive" : robustKind(found, evidence.sharedCause);
  return {
    ...base,
    kind,
    held: kind === "inconclusive" && found.kind === "shared_cause" ? "shared_cause" : undefined,
    observed: rule.metric === "error_rate" ? observed : null,
    have: n,
    need: ENOUGH_RESPONSES,
    detail: weight === 0 ? "no traffic is due at weight 0" : isSilent ? SILENT : robustDetail(found),
    n,
  };
}

function robustKind({ kind }: SustainedReading, sharedCause: "hold" | "rollback"): VerdictKind {
  if (kind === "breach" || (kind === "shared_cause" && sharedCause === "rollback")) return "failed";
  return kind === "within" ? "successful" : "inconclusive";
}

function robustDetail({ kind, n, bad, minutes, partsOver, limit }: SustainedReading): string {
  const told = `${bad} of ${n} over it in ${minutes} min`;
  if (kind === "shared_cause") return `${told}; ${SHARED_CAUSE}`;
  if (kind === "breach") return `${told}, ${partsOver} of 5 parts of the time above ${shareText(limit)}`;
  if (kind === "within")
    return partsOver === 0 ? told : `${told}, ${partsOver} of 5 parts of the time above ${shareText(limit)}`;
  if (n < ENOUGH_RESPONSES) return `${told}; needs ${ENOUGH_RESPONSES} responses within 30 min`;
  return minutes < 5 ? `${told}; not for five minutes yet` : `${told}; needs 10 bad ones within 30 min`;
}

const MEANING: Readonly<Record<HardExplained["kind"], string>> = {
  quiet: "",
  undecided: "; over the limit, not yet shown to be worse than stable",
  shared_cause: `; ${SHARED_CAUSE}`,
  fires: "",
};

function heldBack({ failed, worst }: Keys): string {
  const whose = worst === "" ? "" : `, most of them ${worst}'s`;
  return `held back: one client? Of 5 distinct keys that must fail, ${failed} did${whose}`;
}

const COMPARED: Readonly<Record<CompareRule["compare"], readonly ComparativeRule[]>> = {
  error_rate: ["errors"],
  client_error_rate: ["4xx"],
  latency: ["latency", "latency_fast"],
};

/** What a comparison with stable came to; undefined readings: no rollout is under way. */
export function checkCompare(rule: CompareRule, readings: Readings | undefined, keys: Keys): Check {
  const all = (readings?.comparative ?? []).filter((each) => COMPARED[rule.compare].includes(each.rule));
  const strongest = all.toSorted((a, b) => Number(b.fires) - Number(a.fires) || b.have - a.have)[0];
  const base = {
    rule: ruleId(rule),
    tier: "comparative" as const,
    about: aboutOf(rule.compare),
    action: rule.action,
    limit: rule.worseBy / FULL,
    unit: "fraction" as const,
    breachMs: null,
    forMs: ZERO,
  };
  if (strongest === undefined) return { ...base, ...IDLE };
  const { canary, difference } = strongest;
  const isLatency = rule.compare === "latency";
  // Of latency there is no difference to speak of: the canary is counted above a margin, stable above the cut point itself.
  const fires = strongest.fires && (isLatency || (difference !== null && difference >= base.limit));
  // One client's failures are nobody's evidence; slow answers and 4xx are not counted by key.
  const isHeld = fires && rule.compare === "error_rate" && !enoughKeys(keys.failed, keys.seen);
  return {
    ...base,
    // Without stable traffic the rule is off, and stands in nobody's way.
    kind: fires ? (isHeld ? "inconclusive" : "failed") : "successful",
    held: isHeld ? "one_client" : undefined,
    observed: difference,
    interval: strongest.interval,
    ...(isLatency ? shareOfSlow(strongest) : {}),
    have: Math.max(0, strongest.have),
    need: strongest.need,
    detail: isHeld ? `${compareDetail(strongest)}; ${heldBack(keys)}` : compareDetail(strongest),
    n: canary.n,
  };
}

/** Like with like: the canary's share above the margin, and stable's above the cut point, which it must not exceed. */
function shareOfSlow({ canary, stable }: ComparativeReading): Pick<Check, "observed" | "limit" | "interval"> {
  return {
    observed: canary.n === 0 ? null : canary.bad / canary.n,
    limit: stable.n === 0 ? 0 : stable.bad / stable.n,
    interval: shareInterval(canary.bad, canary.n),
  };
}

function compareDetail({ control, canary, stable, quantile, rule }: ComparativeReading): string {
  if (!control) return "off: no stable traffic at the same time";
  const margin = rule === "latency" ? SLOW_MARGIN : FAST_MARGIN;
  const cut = `stable's P${Number(quantile) * 100}`;
  const [mine, its] =
    quantile === null ? ["", ""] : [` slower than ${margin} × ${cut}`, ` slower than ${cut}`];
  return `canary ${canary.bad} of ${canary.n}${mine}, stable ${stable.bad} of ${stable.n}${its}, over ten minutes`;
}
