/**
 * Alerts: what opens and closes them, and what people are told of it, when, and how often. A state and what was seen in, the next state and what has
 * happened out. Pure; time is an argument.
 *
 * An alert is one rule that is broken. An incident is what people are told about: the alerts of one severity that opened together. It has one key from its
 * first message to its last, which is sent however silent it has become in between, so that no pager stays open.
 * Times are time in service (product.md §2.19): a restart goes on where it was.
 */

import {
  isAtLeast,
  isMetric,
  type AlertEvent,
  type AlertRule,
  type AlertSeverity,
  type AlertSubject,
} from "./alert-rule.ts";
import { isMuted, type Silence } from "./alert-silence.ts";
import { millis, type Millis } from "./units.ts";

const ZERO = millis(0);

/** One rule that is broken, or is about to be. */
export interface Alert {
  readonly subject: AlertSubject;
  readonly severity: AlertSeverity;
  /** The rule in its own words. */
  readonly words: string;
  /** The rollout in which it opened; empty outside of any. */
  readonly rollout: string;
  /** `pending`: above the limit, not for long enough yet. */
  readonly status: "pending" | "open";
  /** For how long it has been so. */
  readonly forMs: Millis;
  /** For how long the value has been within the limit since; null: it is not. */
  readonly clearMs: Millis | null;
  /** A share, ms or a count, as it was last seen; null: of an event, or never. */
  readonly value: number | null;
  /** For how long no worse alert of the same subject has hidden it; null: none ever did. */
  readonly apartMs: Millis | null;
  /** Stable is over the limit too, and about as much. */
  readonly isShared: boolean;
  /** Wall-clock milliseconds, for display. */
  readonly openedAtMs: number;
  /** What people are told about it under; empty: they have not been told. */
  readonly incident: string;
}

/** That a person has seen it. */
export interface Acknowledged {
  readonly by: string;
  /** Wall-clock milliseconds. */
  readonly atMs: number;
  readonly comment: string;
}

/** What people are told about: alerts of one severity that opened together. */
export interface Incident {
  readonly id: string;
  readonly severity: AlertSeverity;
  readonly rollout: string;
  /** Whether its key is that of the rollout's rollback. */
  readonly isRollback: boolean;
  /** Messages that were sent. */
  readonly told: number;
  readonly sinceToldMs: Millis;
  /** For how long nobody has answered, while it could be heard. */
  readonly unansweredMs: Millis;
  /** How many levels it has climbed. */
  readonly level: number;
  readonly acknowledged: Acknowledged | null;
}

/** What is recorded of a route's alerts: plain JSON. */
export interface AlertState {
  /** Number of the next incident. */
  readonly next: number;
  readonly alerts: readonly Alert[];
  readonly incidents: readonly Incident[];
  readonly silences: readonly Silence[];
  /** For how long something of the canary's own has been wrong without a pause. */
  readonly warnedMs: Millis;
}

/** Nothing is wrong. */
export const NO_ALERTS: AlertState = { next: 1, alerts: [], incidents: [], silences: [], warnedMs: ZERO };

/** Whom an incident reaches that nobody answers. */
export interface EscalationLevel {
  readonly afterMs: Millis;
  /** A role. */
  readonly to: string;
}

/** What a route's configuration says about its alerts. */
export interface AlertPolicy {
  readonly rules: readonly AlertRule[];
  /** A value that is within its limit for so long closes an alert. */
  readonly clearMs: Millis;
  /** What is still open is said again after so long; null: never. */
  readonly repeatMs: Millis | null;
  /** In rising order of time. */
  readonly levels: readonly EscalationLevel[];
  /** What climbs at all. */
  readonly escalates: readonly AlertSeverity[];
}

/** What one rule about a metric sees now. */
export interface AlertSight {
  readonly subject: AlertSubject;
  readonly severity: AlertSeverity;
  readonly words: string;
  /** How long it must stay above. */
  readonly forMs: Millis;
  /** `unknown`: there is not enough data, and nothing changes. */
  readonly is: "over" | "within" | "unknown";
  readonly value: number | null;
  readonly isShared: boolean;
}

/** Something that is to be said. */
export interface AlertNews {
  readonly kind: "opened" | "repeated" | "escalated" | "acknowledged" | "resolved";
  readonly incident: Incident;
  /** Of which it consists. */
  readonly alerts: readonly Alert[];
  /** Whom it reaches by climbing; empty: nobody else. */
  readonly to: string;
  /** A person's, or why it is over. */
  readonly comment: string;
  readonly actor: string;
}

/** Something that has happened, for the journal. */
export interface AlertEntry {
  readonly event:
    "ALERT_OPENED" | "ALERT_RESOLVED" | "ALERT_ESCALATED" | "ALERT_ACKNOWLEDGED" | "SILENCE_EXPIRED";
  readonly actor: string;
  readonly reason: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** The next state and what came of it. */
export interface AlertStep {
  readonly state: AlertState;
  readonly entries: readonly AlertEntry[];
  readonly news: readonly AlertNews[];
}

/** When alerts are looked at. */
export interface AlertMoment {
  readonly elapsedMs: Millis;
  /** Wall-clock milliseconds. */
  readonly wall: number;
  readonly rollout: string;
  /** Whether what is wrong adds up to something that follows from it. */
  readonly counts: boolean;
}

/** What becomes of alerts as time passes. @param over why an event is true no more; undefined: it still is */
export function passAlerts(
  state: AlertState,
  policy: AlertPolicy,
  sights: readonly AlertSight[],
  over: (alert: Alert) => string | undefined,
  moment: AlertMoment,
): AlertStep {
  // Mostly nothing is wrong: then it is the same state, which is not recorded again.
  if (isQuiet(state) && sights.every(({ is }) => is !== "over")) return { state, entries: [], news: [] };
  const entries: AlertEntry[] = [];
  const alerts = [
    ...metricAlerts(state, policy, sights, moment, entries),
    ...otherAlerts(state, policy, sights, over, moment, entries),
  ];
  const silences = state.silences.filter(({ untilMs }) => untilMs > moment.wall);
  for (const silence of state.silences) if (!silences.includes(silence)) entries.push(expiredEntry(silence));
  const apart = alerts.map((each) => ({ ...each, apartMs: apartOf(each, alerts, moment) }));
  const next = { ...state, alerts: apart, silences, warnedMs: warnedOf(apart, state.warnedMs, moment) };
  return told(next, policy, moment, { entries, alerts: state.alerts });
}

/** Whether time changes nothing about it. */
function isQuiet({ alerts, incidents, silences, warnedMs }: AlertState): boolean {
  return alerts.length === 0 && incidents.length === 0 && silences.length === 0 && warnedMs === 0;
}

/** Alerts of what is looked at. `entries` takes what has become of them. */
function metricAlerts(
  state: AlertState,
  policy: AlertPolicy,
  sights: readonly AlertSight[],
  moment: AlertMoment,
  entries: AlertEntry[],
): readonly Alert[] {
  return sights.flatMap((sight) => {
    const before = state.alerts.find((each) => isOf(each, sight));
    const after = seen(before, sight, policy, moment);
    if (after?.status === "open" && before?.status !== "open") entries.push(openedEntry(after));
    if (after === undefined && before?.status === "open")
      entries.push(resolvedEntry(before, "sluice", RECOVERED));
    return after === undefined ? [] : [after];
  });
}

/** Alerts of events, and of rules that are gone. */
function otherAlerts(
  state: AlertState,
  policy: AlertPolicy,
  sights: readonly AlertSight[],
  over: (alert: Alert) => string | undefined,
  moment: AlertMoment,
  entries: AlertEntry[],
): readonly Alert[] {
  return state.alerts.flatMap((each) => {
    if (sights.some((sight) => isOf(each, sight))) return [];
    const why = overWhy(each, policy, over);
    if (why === undefined) return [{ ...each, forMs: later(each.forMs, moment) }];
    if (each.status === "open") entries.push(resolvedEntry(each, "sluice", why));
    return [];
  });
}

const RECOVERED = "within the limit again";

function isOf(alert: Alert, { subject, severity }: Pick<AlertSight, "subject" | "severity">): boolean {
  return alert.subject === subject && alert.severity === severity;
}

function later(time: Millis, { elapsedMs }: AlertMoment): Millis {
  return millis(time + elapsedMs);
}

/** One rule's alert after another look; undefined: there is none. */
function seen(
  before: Alert | undefined,
  sight: AlertSight,
  { clearMs }: AlertPolicy,
  moment: AlertMoment,
): Alert | undefined {
  const { is, subject, severity, words, value, isShared } = sight;
  if (before === undefined) {
    if (is !== "over") return undefined;
    const status = sight.forMs === 0 ? "open" : "pending";
    const fresh = { subject, severity, words, value, isShared, status, rollout: moment.rollout } as const;
    return { ...fresh, forMs: ZERO, clearMs: null, apartMs: null, openedAtMs: moment.wall, incident: "" };
  }
  // Without data nothing is known to have changed.
  if (is === "unknown" && before.status === "pending") return before;
  const forMs = later(before.forMs, moment);
  if (is === "unknown") return { ...before, forMs };
  if (is === "over") {
    const opens = before.status === "pending" && forMs >= sight.forMs;
    const opened = opens ? { status: "open" as const, forMs: ZERO, openedAtMs: moment.wall } : { forMs };
    return { ...before, ...opened, words, value, isShared, clearMs: null };
  }
  if (before.status === "pending") return undefined;
  const clear = before.clearMs === null ? ZERO : later(before.clearMs, moment);
  return clear >= clearMs ? undefined : { ...before, forMs, value, clearMs: clear };
}

/** Why an alert that no rule looks at is over; undefined: it is not. */
function overWhy(
  alert: Alert,
  { rules }: AlertPolicy,
  over: (alert: Alert) => string | undefined,
): string | undefined {
  const isKnown = rules.some(
    ({ severity, when }) => "event" in when && when.event === alert.subject && severity === alert.severity,
  );
  return isKnown ? over(alert) : "there is no such rule any more";
}

function isHidden(alert: Alert, alerts: readonly Alert[]): boolean {
  return alerts.some(
    (each) =>
      each.status === "open" &&
      each.subject === alert.subject &&
      each.severity !== alert.severity &&
      isAtLeast(each.severity, alert.severity),
  );
}

function apartOf(alert: Alert, alerts: readonly Alert[], moment: AlertMoment): Millis | null {
  if (isHidden(alert, alerts)) return ZERO;
  return alert.apartMs === null ? null : later(alert.apartMs, moment);
}

/** Only the canary's own trouble adds up; what stable has as well neither adds nor takes away. */
function warnedOf(alerts: readonly Alert[], before: Millis, moment: AlertMoment): Millis {
  const open = openMetrics({ alerts });
  if (open.length === 0 || !moment.counts) return ZERO;
  return open.every(({ isShared }) => isShared) ? before : later(before, moment);
}

/** The alerts of the canary's own metrics that are open. */
export function openMetrics({ alerts }: Pick<AlertState, "alerts">): readonly Alert[] {
  return alerts.filter(({ status, subject }) => status === "open" && isMetric(subject));
}

/** Whether an alert may be heard: no worse one hides it, or has just done so, and nobody has asked for silence. */
function isHeard(alert: Alert, { silences }: AlertState, clearMs: Millis, wall: number): boolean {
  const { status, severity, subject, apartMs } = alert;
  const isApart = apartMs === null || (apartMs > 0 && apartMs >= clearMs);
  return status === "open" && isApart && !isMuted(silences, { severity, metric: subject }, wall);
}

/** Says what there is to be said, and keeps count of it. */
function told(
  state: AlertState,
  policy: AlertPolicy,
  moment: AlertMoment,
  before: { readonly entries: readonly AlertEntry[]; readonly alerts: readonly Alert[] },
): AlertStep {
  const entries = [...before.entries];
  const news: AlertNews[] = [];
  const incidents: Incident[] = [];
  const heard = (alert: Alert): boolean => isHeard(alert, state, policy.clearMs, moment.wall);
  for (const each of state.incidents) {
    const of = ({ incident }: Alert): boolean => incident === each.id;
    const open = state.alerts.filter(of);
    if (open.length === 0) {
      if (each.told > 0) news.push(newsOf("resolved", said(each), before.alerts.filter(of)));
      continue;
    }
    const { incident, kind, to } = aged(each, open.some(heard), policy, moment);
    incidents.push(incident);
    if (kind !== undefined) news.push({ ...newsOf(kind, incident, open), to });
    if (kind === "escalated") entries.push(escalatedEntry(incident, open, to));
  }
  let { next } = state;
  let { alerts } = state;
  for (const severity of worstFirst(alerts)) {
    const fresh = alerts.filter((each) => each.severity === severity && each.incident === "" && heard(each));
    const [lead] = fresh;
    if (lead === undefined) continue;
    const incident = said(newIncident(lead, next++));
    incidents.push(incident);
    alerts = alerts.map((each) => (fresh.includes(each) ? { ...each, incident: incident.id } : each));
    news.push(newsOf("opened", incident, fresh));
  }
  return { state: { ...state, next, alerts, incidents }, entries, news };
}

/** The worst first. */
function worstFirst(alerts: readonly Alert[]): readonly AlertSeverity[] {
  const found = new Set(alerts.map(({ severity }) => severity));
  return (["emergency", "critical", "warning"] as const).filter((each) => found.has(each));
}

function newIncident({ subject, severity, rollout }: Alert, number: number): Incident {
  return {
    id: [subject, severity, ...(rollout === "" ? [] : [rollout]), number].join("-"),
    severity,
    rollout,
    isRollback: subject === "rolled_back",
    told: 0,
    sinceToldMs: ZERO,
    unansweredMs: ZERO,
    level: 0,
    acknowledged: null,
  };
}

function said(incident: Incident): Incident {
  return { ...incident, told: incident.told + 1, sinceToldMs: ZERO };
}

function newsOf(kind: AlertNews["kind"], incident: Incident, alerts: readonly Alert[]): AlertNews {
  return { kind, incident, alerts, to: "", comment: "", actor: "sluice" };
}

/** An incident some time later, and what is to be said of it by now. */
function aged(
  before: Incident,
  isHeardNow: boolean,
  { levels, escalates, repeatMs }: AlertPolicy,
  moment: AlertMoment,
): { readonly incident: Incident; readonly kind?: AlertNews["kind"]; readonly to: string } {
  const waits = isHeardNow && before.acknowledged === null;
  const incident: Incident = {
    ...before,
    sinceToldMs: later(before.sinceToldMs, moment),
    unansweredMs: waits ? later(before.unansweredMs, moment) : before.unansweredMs,
  };
  if (!waits) return { incident, to: "" };
  if (incident.told === 0) return { incident: said(incident), kind: "opened", to: "" };
  const level = levels[incident.level];
  const climbs = escalates.includes(incident.severity) && level !== undefined;
  if (climbs && incident.unansweredMs >= level.afterMs) {
    return { incident: { ...said(incident), level: incident.level + 1 }, kind: "escalated", to: level.to };
  }
  if (repeatMs !== null && incident.sinceToldMs >= repeatMs)
    return { incident: said(incident), kind: "repeated", to: "" };
  return { incident, to: "" };
}

/**
 * Something has happened that a rule calls an alert. Whoever decided it tells people of it, with this alert's key and under this severity.
 *
 * @returns undefined where no rule asks, or it is open already
 */
export function openEvent(
  state: AlertState,
  { rules }: AlertPolicy,
  event: AlertEvent,
  { wall, rollout }: Pick<AlertMoment, "wall" | "rollout">,
): { readonly state: AlertState; readonly entry: AlertEntry; readonly incident: Incident } | undefined {
  const rule = rules.find(({ when }) => "event" in when && when.event === event);
  const isOpen = state.alerts.some(({ subject, rollout: of }) => subject === event && of === rollout);
  if (rule === undefined || isOpen) return undefined;
  const { severity } = rule;
  const alert: Alert = {
    subject: event,
    severity,
    words: event,
    rollout,
    status: "open",
    forMs: ZERO,
    clearMs: null,
    value: null,
    apartMs: null,
    isShared: false,
    openedAtMs: wall,
    incident: "",
  };
  const found = newIncident(alert, state.next);
  // What is muted now is said when it is muted no more.
  const incident = isMuted(state.silences, { severity, metric: event }, wall) ? found : said(found);
  return {
    state: {
      ...state,
      next: state.next + 1,
      // Of an earlier rollout it is no longer the one to look at, and closes with the next look.
      alerts: [...state.alerts, { ...alert, incident: incident.id }],
      incidents: [...state.incidents, incident],
    },
    entry: openedEntry(alert),
    incident,
  };
}

/** Who has seen an incident, or says that it is over. */
export interface Answered {
  readonly by: string;
  readonly comment: string;
  readonly wall: number;
}

/** A person has seen it: it is neither said again nor climbs. Seen twice is seen once. */
export function acknowledge(
  state: AlertState,
  incident: Incident,
  { by, comment, wall }: Answered,
): AlertStep {
  if (incident.acknowledged !== null) return { state, entries: [], news: [] };
  const after = { ...incident, acknowledged: { by, atMs: wall, comment } };
  // What nobody was told of has nothing to be acknowledged at the other end.
  const counted = after.told > 0 ? said(after) : after;
  const alerts = state.alerts.filter((each) => each.incident === incident.id);
  const details = { incident: incident.id, severity: incident.severity, rules: wordsOf(alerts) };
  return {
    state: { ...state, incidents: state.incidents.map((each) => (each === incident ? counted : each)) },
    entries: [{ event: "ALERT_ACKNOWLEDGED", actor: by, reason: comment, details }],
    news: counted.told > 0 ? [{ ...newsOf("acknowledged", counted, alerts), comment, actor: by }] : [],
  };
}

/** An incident of events is over, because somebody says so or it was found. */
export function resolve(state: AlertState, incident: Incident, { by, comment }: Answered): AlertStep {
  const gone = state.alerts.filter((each) => each.incident === incident.id);
  return {
    state: {
      ...state,
      alerts: state.alerts.filter((each) => each.incident !== incident.id),
      incidents: state.incidents.filter((each) => each !== incident),
    },
    entries: gone.map((each) => resolvedEntry(each, by, comment)),
    news: incident.told > 0 ? [{ ...newsOf("resolved", said(incident), gone), comment, actor: by }] : [],
  };
}

function wordsOf(alerts: readonly Alert[]): readonly string[] {
  return alerts.map(({ words }) => words);
}

function detailsOf({ subject, severity, words, value }: Alert): Readonly<Record<string, unknown>> {
  return { severity, metric: subject, rule: words, ...(value === null ? {} : { value }) };
}

function openedEntry(alert: Alert): AlertEntry {
  return {
    event: "ALERT_OPENED",
    actor: "sluice",
    reason: `${alert.severity}: ${alert.words}`,
    details: detailsOf(alert),
  };
}

function resolvedEntry(alert: Alert, actor: string, why: string): AlertEntry {
  const details = { ...detailsOf(alert), lastedMs: alert.forMs };
  return { event: "ALERT_RESOLVED", actor, reason: `${alert.words}: ${why}`, details };
}

function escalatedEntry(incident: Incident, alerts: readonly Alert[], to: string): AlertEntry {
  const { id, severity, level, unansweredMs } = incident;
  const details = { incident: id, severity, level, to, unansweredMs, rules: wordsOf(alerts) };
  return {
    event: "ALERT_ESCALATED",
    actor: "sluice",
    reason: `nobody has answered: level ${level}, ${to}`,
    details,
  };
}

function expiredEntry({ id, reason, by }: Silence): AlertEntry {
  return { event: "SILENCE_EXPIRED", actor: "sluice", reason, details: { silence: id, by } };
}
