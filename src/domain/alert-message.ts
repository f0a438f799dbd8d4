/** What people read about alerts. Pure: the same words in every channel, in the journal's report and on the terminal. */

import {
  alertWords,
  isAtLeast,
  targetText,
  valueText,
  type AlertRule,
  type AlertSeverity,
  type Target,
} from "./alert-rule.ts";
import type { Alert, AlertNews, Incident } from "./alert.ts";
import { pagerKey, rollbackKey } from "./incident.ts";
import { formatDuration, millis, percentText, type Millis } from "./units.ts";

/** Where it is. */
export interface AlertPlace {
  readonly environment: string;
  readonly route: string;
  /** The canary's share in percent. */
  readonly weight: number;
  /** What follows from what is known of the metrics that have a target. */
  readonly targets: readonly TargetReading[];
}

/** A target and whether it is met. */
export interface TargetReading {
  readonly metric: Target["metric"];
  /** In its own words, e.g. `p95 below 100ms`. */
  readonly target: string;
  /** Null: there is not enough data to say. */
  readonly met: boolean | null;
}

/** A message, as far as it is words. */
export interface AlertMessage {
  readonly severity: AlertSeverity;
  readonly event: string;
  readonly summary: string;
  readonly lines: readonly string[];
}

const EVENTS: Readonly<Record<AlertNews["kind"], string>> = {
  opened: "ALERT_OPENED",
  repeated: "ALERT_REPEATED",
  escalated: "ALERT_ESCALATED",
  acknowledged: "ALERT_ACKNOWLEDGED",
  resolved: "ALERT_RESOLVED",
};

/** More rules than that are counted, and not named. */
const MOST_NAMED = 8;

/** The key that an incident has with whoever is told of it, from its first message to its last. */
export function incidentKey(
  { environment, route }: Pick<AlertPlace, "environment" | "route">,
  incident: Incident,
): string {
  const { id, rollout, isRollback } = incident;
  return isRollback ? rollbackKey(environment, route, rollout) : pagerKey(environment, route, id);
}

/** What is done with the incident at the other end. */
export function actionOf({ kind }: Pick<AlertNews, "kind">): "trigger" | "acknowledge" | "resolve" {
  if (kind === "acknowledged") return "acknowledge";
  return kind === "resolved" ? "resolve" : "trigger";
}

/** The message of a piece of news. */
export function alertMessage(news: AlertNews, place: AlertPlace): AlertMessage {
  const { kind, incident } = news;
  const { severity } = incident;
  const rules = rulesText(news.alerts);
  const summary = `${place.route}: ${headline(news, rules)}`;
  const lines = [
    summary,
    ...news.alerts.slice(0, MOST_NAMED).map(alertLine),
    ...(kind === "resolved"
      ? []
      : [`The canary has ${percentText(place.weight)} of the traffic in ${place.environment}.`]),
    ...(kind === "opened" || kind === "repeated"
      ? place.targets.filter(({ met }) => met === false).map(missed)
      : []),
    ...(incident.acknowledged === null || kind === "acknowledged"
      ? []
      : [`Seen by ${incident.acknowledged.by}.`]),
    ...(actionOf(news) === "trigger" ? [`Seen: sluice acknowledge ${incident.id}`] : []),
  ];
  return { severity, event: EVENTS[kind], summary, lines };
}

function headline({ kind, incident, comment, actor, to }: AlertNews, rules: string): string {
  const name = incident.severity.toUpperCase();
  switch (kind) {
    case "opened":
      return `${name}: ${rules}`;
    case "repeated":
      return `${name}, still open: ${rules}`;
    case "escalated":
      return `${name}, unanswered for ${spanOf(incident.unansweredMs)}, to ${to} (level ${incident.level}): ${rules}`;
    case "acknowledged":
      return `${name}, seen by ${actor}${comment === "" ? "" : ` (${comment})`}: ${rules}`;
    case "resolved":
      return `${name} is over: ${rules}${comment === "" ? "" : ` (${comment})`}`;
  }
}

/** The rules in one line. */
export function rulesText(alerts: readonly Pick<Alert, "words">[]): string {
  const named = alerts.slice(0, MOST_NAMED).map(({ words }) => words);
  const more = alerts.length - named.length;
  return [...named, ...(more > 0 ? [`${more} more`] : [])].join("; ");
}

function alertLine({ subject, words, value, forMs, isShared }: Alert): string {
  const now = valueText(subject, value);
  const shared = isShared ? "; stable is over it, too" : "";
  return `${words}${now === "" ? "" : `: ${now}`}, for ${spanOf(forMs)}${shared}`;
}

function missed({ target }: TargetReading): string {
  return `Not met: the target of ${target}.`;
}

function spanOf(time: Millis): string {
  return formatDuration(millis(Math.round(time / 1000) * 1000));
}

/** A target in its own words. */
export function targetWords(target: Target): string {
  return `${target.metric} below ${targetText(target)}`;
}

/** What is done about alerts that stay open, in its own words; the same whichever they are. */
export function lastingWords(after: Millis): string {
  return `a warning for ${formatDuration(after)}`;
}

/** Where a value lies between what a plan calls good and what is an alert; empty when it is in neither's way. */
export function zoneWords(
  rules: readonly AlertRule[],
  { metric, below }: Target,
  value: number | null,
): string {
  if (value === null) return "";
  const scale = metric === "error_rate" ? 1_000_000 : 1;
  const worst = rules
    .filter(({ when }) => "above" in when && when.metric === metric && value * scale > when.above)
    .reduce<AlertRule | undefined>(
      (found, each) => (found !== undefined && isAtLeast(found.severity, each.severity) ? found : each),
      undefined,
    );
  if (worst !== undefined)
    return `${valueText(metric, value)} of late: ${worst.severity} (${alertWords(worst.when)})`;
  if (value * scale < below) return "";
  return `${valueText(metric, value)} of late: neither good nor an alert`;
}
