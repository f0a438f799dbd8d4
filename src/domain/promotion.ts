/**
 * May the canary climb? What a step of the plan asks for before the next one, as checks of the verdict. Pure.
 *
 * These checks never fail, they hold: what is not known yet, or lies between good and bad, keeps the weight where it is and says what is missing and
 * when it can be had (product.md §2.9). What is bad is the other tiers' business. Source: statistics.md §5.
 */

import { isAtLeast, type AlertSeverity } from "./alert-rule.ts";
import type { GateReading } from "./evidence/gate.ts";
import type { Readings } from "./evidence/route.ts";
import type { SuccessReading } from "./evidence/success.ts";
import type { Promotion, Step, SuccessLimit } from "./plan.ts";
import { aboutOf, type Check } from "./rule.ts";
import { FULL, NONE, formatDuration, formatRate, millis, type Millis } from "./units.ts";

const COMMON = { tier: "promotion", action: "hold", breachMs: null, forMs: millis(0) } as const;

/** What must be so at this moment, beside what is measured. */
export interface Surroundings {
  /** Severities of the alerts that are open. */
  readonly alerts: readonly AlertSeverity[];
  /** Whether every endpoint of both arms is healthy; null: not all have been probed. */
  readonly healthy: boolean | null;
  /** What there is to say about a limit that is not met; empty: nothing. */
  readonly zone: (limit: SuccessLimit) => string;
}

/** Where nothing is known but what was measured. */
const UNKNOWN: Surroundings = { alerts: [], healthy: null, zone: () => "" };

/** The checks of a step. At weight 0 no traffic is due, and nothing is asked of it. Undefined readings: nothing is measured yet. */
export function checkPromotion(
  step: Step,
  readings: Readings | undefined,
  around: Surroundings = UNKNOWN,
): readonly Check[] {
  const now = [
    ...(step.calm === undefined ? [] : [calm(step.calm, around)]),
    ...(step.healthy === undefined ? [] : [healthy(around)]),
  ];
  if (step.weight === NONE) return now;
  const proof = step.promotion === undefined ? [] : [notWorse(step.promotion, step, readings?.gate ?? null)];
  return [...proof, ...(readings?.success ?? []).map((each) => success(each, around)), ...now];
}

/** That no alert is open, in its own words. */
export function calmWords(severity: AlertSeverity): string {
  return severity === "warning" ? "no alert open" : `no ${severity} alert open`;
}

/** That all endpoints are well, in its own words. */
export const HEALTHY_WORDS = "every endpoint healthy";

function calm(severity: AlertSeverity, { alerts }: Surroundings): Check {
  const open = alerts.filter((each) => isAtLeast(each, severity)).length;
  const detail = open === 0 ? "none is open" : open === 1 ? "one is open" : `${open} are open`;
  return atOnce(calmWords(severity), open === 0, open, detail);
}

function healthy({ healthy: all }: Surroundings): Check {
  const detail = all === null ? "not every endpoint has been probed yet" : all ? "they are" : "one is not";
  return atOnce(HEALTHY_WORDS, all === true, null, detail);
}

/** A check of what is so or not, and takes no time to be known. */
function atOnce(rule: string, isSo: boolean, observed: number | null, detail: string): Check {
  return {
    ...COMMON,
    rule,
    kind: isSo ? "successful" : "inconclusive",
    observed,
    limit: 0,
    unit: "count",
    have: Number(isSo),
    need: 1,
    ratio: Number(isSo),
    etaMs: isSo ? millis(0) : null,
    detail,
  };
}

/** A success limit in its own words, e.g. `error_rate below 0.1%, shown`. */
export function limitWords(limit: SuccessLimit): string {
  const below = limit.metric === "error_rate" ? formatRate(limit.below) : formatDuration(limit.below);
  return `${limit.metric} below ${below}${limit.shown ? ", shown" : ""}`;
}

function notWorse(promotion: Promotion, { weight }: Step, gate: GateReading | null): Check {
  const base = {
    ...COMMON,
    about: aboutOf("error_rate"),
    rule: `not worse than stable by ${formatRate(promotion.notWorseBy)}`,
    observed: null,
    limit: promotion.notWorseBy / FULL,
    unit: "fraction" as const,
  };
  if (gate === null) {
    const isDue = weight < FULL;
    const detail = isDue
      ? "no stable traffic to compare with, of late"
      : "off: no stable traffic at the same time";
    const nothing = { have: 0, need: 1, etaMs: null };
    return { ...base, ...nothing, kind: isDue ? "inconclusive" : "successful", ratio: isDue ? 0 : 1, detail };
  }
  return {
    ...base,
    kind: gate.passes ? "successful" : "inconclusive",
    have: Math.max(0, gate.have),
    need: gate.need,
    ratio: gate.ratio,
    etaMs: etaOf(gate.etaS),
    detail: gate.passes ? "shown" : gateWords(gate),
  };
}

function gateWords({ have, need, seconds, needSeconds, etaS }: GateReading): string {
  const time = `${spanOf(seconds)} of ${spanOf(needSeconds)}`;
  const against = have < 0 ? ", and what there is says that it is worse" : "";
  return `has ${have.toFixed(1)} of ${need.toFixed(1)} nats and ${time} of evidence${against}; ${etaWords(etaS)}`;
}

function success(reading: SuccessReading, { zone }: Surroundings): Check {
  const { limit, observed, passes, n, need, ratio, share } = reading;
  return {
    ...COMMON,
    about: aboutOf(limit.metric),
    rule: limitWords(limit),
    kind: passes ? "successful" : "inconclusive",
    observed: limit.metric === "error_rate" ? observed : null,
    limit: limit.metric === "error_rate" ? share : limit.below,
    unit: limit.metric === "error_rate" ? "fraction" : "ms",
    have: n,
    need: Math.ceil(need ?? n + 1),
    ratio,
    etaMs: etaOf(reading.etaS),
    detail: [successWords(reading), passes ? "" : zone(limit)].filter((text) => text !== "").join("; "),
    n,
  };
}

function successWords({ limit, observed, upper, share, n, bad, passes, need, etaS }: SuccessReading): string {
  if (observed === null) return "no response of the canary at this step yet";
  const isSlow = limit.metric !== "error_rate";
  const counted = `${bad} of ${n} ${isSlow ? `slower than ${formatDuration(limit.below)}` : "failed"} at this step`;
  const told = `${counted} (${percent(observed)}, fewer than ${percent(share)} may)`;
  if (upper === null) return told;
  const bound = `${told}; at most ${percent(upper)} with 95 % confidence`;
  if (passes) return bound;
  if (need === null) return `${bound}; too many for any number of responses to show it`;
  return `${bound}; needs ${Math.ceil(need)} responses at this rate, ${etaWords(etaS)}`;
}

function etaWords(etaS: number | null): string {
  return etaS === null ? "no telling how long that takes" : `about ${spanOf(etaS)} to go at best`;
}

function etaOf(etaS: number | null): Millis | null {
  return etaS === null ? null : millis(Math.round(etaS * 1000));
}

/** A time for people: to the minute from ten minutes on. */
function spanOf(seconds: number): string {
  const unit = seconds >= 600 ? 60 : 1;
  return formatDuration(millis(Math.ceil(seconds / unit) * unit * 1000));
}

function percent(share: number): string {
  return `${Number((share * 100).toFixed(3))} %`;
}
