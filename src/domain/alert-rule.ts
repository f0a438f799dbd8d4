/** What an operator wants to be told of: alert rules as plain data, each in its own words, and the limits that they draw. Pure. */

import type { MetricLimit } from "./plan.ts";
import {
  formatDuration,
  formatRate,
  latencyText,
  millis,
  shareText,
  type Millis,
  type Ppm,
} from "./units.ts";

/** How bad it is, the least first. */
export const ALERT_SEVERITIES = ["warning", "critical", "emergency"] as const;
/** One of them. */
export type AlertSeverity = (typeof ALERT_SEVERITIES)[number];

/** What can happen to a rollout and be an alert. */
export const ALERT_EVENTS = [
  "rolled_back",
  "rollback_held",
  "tripped",
  "paused",
  "validation_failed",
] as const;
/** One of them. */
export type AlertEvent = (typeof ALERT_EVENTS)[number];

/** What a limit may be set for. */
export const ALERT_METRICS = ["error_rate", "p50", "p95", "p99", "health_failures"] as const;
/** One of them. */
export type AlertMetric = (typeof ALERT_METRICS)[number];
/** What an alert is about. */
export type AlertSubject = AlertMetric | AlertEvent;

/** A metric of the canary above a limit. */
export type AlertLimit = {
  /** How long it must stay above. */
  readonly for: Millis;
  readonly window: Millis;
  readonly minRequests: number;
} & (
  | { readonly metric: "error_rate"; readonly above: Ppm }
  | { readonly metric: "p50" | "p95" | "p99"; readonly above: Millis }
);

/** What opens an alert. */
export type AlertWhen =
  | AlertLimit
  | { readonly metric: "health_failures"; readonly atLeast: number; readonly for: Millis }
  | { readonly event: AlertEvent };

/** One rule. At most one of a severity for each subject. */
export interface AlertRule {
  readonly severity: AlertSeverity;
  readonly when: AlertWhen;
}

/** A value that a metric should have; nothing follows when it has not. */
export type Target = MetricLimit;

/** What a rule is about. */
export function subjectOf(when: AlertWhen): AlertSubject {
  return "event" in when ? when.event : when.metric;
}

/** Words of rules, which are asked for every second and are as lasting as the rules. */
const WORDS = new WeakMap<AlertWhen, string>();

/** Whether it is measured, and no event. */
export function isMetric(subject: AlertSubject): boolean {
  return ALERT_METRICS.some((metric) => metric === subject);
}

/** A rule in its own words, e.g. `error_rate above 1%`. */
export function alertWords(when: AlertWhen): string {
  const words = WORDS.get(when) ?? wordsOf(when);
  WORDS.set(when, words);
  return words;
}

function wordsOf(when: AlertWhen): string {
  if ("event" in when) return when.event;
  if (when.metric === "health_failures") return `health_failures at least ${when.atLeast}`;
  return `${when.metric} above ${limitText(when)}`;
}

function limitText(limit: AlertLimit): string {
  return limit.metric === "error_rate" ? formatRate(limit.above) : formatDuration(limit.above);
}

/** A value of a metric for people; an event has none. */
export function valueText(subject: AlertSubject, value: number | null): string {
  if (value === null) return "";
  if (subject === "error_rate") return shareText(value);
  return subject === "health_failures" ? `${value} failed probes in a row` : latencyText(value);
}

/** Whether `severity` is `least` or worse. */
export function isAtLeast(severity: AlertSeverity, least: AlertSeverity): boolean {
  return ALERT_SEVERITIES.indexOf(severity) >= ALERT_SEVERITIES.indexOf(least);
}

/** What is wrong with one rule. */
export interface AlertProblem {
  readonly rule: number;
  readonly message: string;
}

/** What contradicts itself: the same twice, and a worse severity that comes sooner. */
export function checkAlerts(rules: readonly AlertRule[]): readonly AlertProblem[] {
  const problems: AlertProblem[] = [];
  rules.forEach(({ severity, when }, rule) => {
    const refuse = (message: string): void => void problems.push({ rule, message });
    const before = rules.slice(0, rule).filter((each) => subjectOf(each.when) === subjectOf(when));
    if ("event" in when) {
      if (before.length > 0) refuse(`there is another alert for ${when.event}`);
      return;
    }
    if (before.some((each) => each.severity === severity))
      refuse(`there is another ${severity} for ${when.metric}`);
    for (const { severity: their, when: theirs } of before) {
      if (their === severity || "event" in theirs) continue;
      const [mine, other] = [
        { severity, when },
        { severity: their, when: theirs },
      ];
      const [milder, worse] = isAtLeast(severity, their) ? [other, mine] : [mine, other];
      if (boundOf(milder.when) >= boundOf(worse.when))
        refuse(
          `${milder.severity} "${alertWords(milder.when)}" must come before ${worse.severity} "${alertWords(worse.when)}"`,
        );
    }
  });
  return problems;
}

function boundOf(when: Exclude<AlertWhen, { event: AlertEvent }>): number {
  return "above" in when ? when.above : when.atLeast;
}

/** The bound of a target for people. */
export function targetText(target: Target): string {
  return target.metric === "error_rate" ? formatRate(target.below) : formatDuration(target.below);
}

/** An entry of a route's alerts as an operator writes it: what says nothing of how long takes the entry's word, or two minutes. */
export interface WrittenAlerts {
  readonly severity: AlertSeverity;
  readonly for?: Millis | undefined;
  readonly when: readonly Written<AlertWhen>[];
}
type Written<T> = T extends AlertLimit ? Omit<T, "for"> & { readonly for?: Millis | undefined } : T;

/** One failure that stays in a window of a minute is no alert. */
const LASTING = millis(120_000);

/** The rules of all entries, one after the other. */
export function alertRules(written: readonly WrittenAlerts[]): readonly AlertRule[] {
  return written.flatMap(({ severity, for: lasting = LASTING, when }) =>
    when.map((each) => ({ severity, when: "above" in each ? { ...each, for: each.for ?? lasting } : each })),
  );
}
