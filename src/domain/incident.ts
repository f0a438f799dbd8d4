/**
 * An incident: what a rollback was, for those who were not there, from its opening to its end. Pure; plain JSON, so that a restart forgets none and tells
 * none twice.
 *
 * It ends when the rollback has stood for its time and stable is well, or when a person says that it has ended. Until then the stakeholders hear of it:
 * once it is not over quickly, and then again and again.
 */

import { because, figuresLine, messageOf, plainLine, type Figures, type Message } from "./message.ts";
import { nameOf, stampOf } from "./report.ts";
import { formatIso, formatLocal } from "./civil.ts";
import { formatDuration, millis, percentText, type Millis } from "./units.ts";

/** Something that was to be said of a rollout or an incident, and when. */
export interface Update {
  /** Wall-clock milliseconds. */
  readonly atMs: number;
  readonly words: string;
}

/** What is known of a rollback when it has happened. */
export interface IncidentFacts {
  readonly environment: string;
  readonly route: string;
  readonly rollout: string;
  readonly version: string;
  readonly openedAtMs: number;
  /** Who rolled back: a person, or `sluice`. */
  readonly actor: string;
  readonly reason: string;
  /** In percent. */
  readonly fromWeight: number;
  readonly toWeight: number;
  /** The rules that failed, a line each with their numbers. */
  readonly rules: readonly string[];
  readonly figures: Figures;
  /** Requests that failed on the canary in this rollout, and how many of them stable answered. */
  readonly requestsFailed: number;
  readonly requestsRescued: number;
  /** Distinct users among the failures, by hash; `keysCapped`: there were more. */
  readonly distinctKeys: number;
  readonly keysCapped: boolean;
  /** From the first breach to the decision; null when a person decided. */
  readonly breachMs: number | null;
  /** From the decision to the weight in force. */
  readonly tookMs: number;
  readonly stableHealthy: boolean;
}

/** One incident. */
export interface IncidentRecord extends IncidentFacts {
  /** Format of the document; 1. */
  readonly format: 1;
  /** The name of its files. */
  readonly id: string;
  /** What a pager opens and closes by. */
  readonly key: string;
  readonly status: "open" | "resolved";
  readonly resolvedAtMs: number | null;
  readonly resolvedBy: string;
  readonly resolution: string;
  readonly updates: readonly Update[];
  /** How often the stakeholders were told. */
  readonly told: number;
  /** When they are told next unless it is resolved. */
  readonly dueAtMs: number;
  /** Whoever was told of it has been told of its end. */
  readonly isEndTold: boolean;
}

const MOST_UPDATES = 50;

/** `updates` with one more, the oldest left out when they are too many. */
export function withUpdate(updates: readonly Update[], update: Update, most: number): readonly Update[] {
  return [...updates, { ...update, words: plainLine(update.words) }].slice(-most);
}

/** What a pager opens and closes something of a route by. */
export function pagerKey(environment: string, route: string, of: string): string {
  return `sluice/${environment}/${route}/${of}`;
}

/** What it opens and closes a rollback by: the incident and the alert that it is are one there. */
export function rollbackKey(environment: string, route: string, rollout: string): string {
  return pagerKey(environment, route, `${rollout}/rollback`);
}

/** An incident, open from now on. @param firstMs after that time the stakeholders are told */
export function openIncident(facts: IncidentFacts, firstMs: Millis): IncidentRecord {
  const { environment, route, rollout, openedAtMs, reason, actor } = facts;
  const stamp = stampOf(formatIso(openedAtMs));
  const who = actor === "sluice" ? "by itself" : `by ${actor}`;
  return {
    format: 1,
    id: `incident_${nameOf(environment)}_${nameOf(route)}_${stamp}`,
    key: rollbackKey(environment, route, rollout),
    status: "open",
    ...facts,
    resolvedAtMs: null,
    resolvedBy: "",
    resolution: "",
    updates: withUpdate(
      [],
      { atMs: openedAtMs, words: `rolled back ${who}${because(reason)}` },
      MOST_UPDATES,
    ),
    told: 0,
    dueAtMs: openedAtMs + firstMs,
    isEndTold: false,
  };
}

/** With something more that happened. */
export function notedOn(incident: IncidentRecord, update: Update): IncidentRecord {
  return { ...incident, updates: withUpdate(incident.updates, update, MOST_UPDATES) };
}

/** Whether the stakeholders are to be told at `wall`: that it goes on, or that it is over. */
export function isTellingDue({ status, dueAtMs, told, isEndTold }: IncidentRecord, wall: number): boolean {
  return status === "open" ? wall >= dueAtMs : told > 0 && !isEndTold;
}

/** After they were told at `wall`: however late that was, the next time is a whole `everyMs` later. */
export function toldOf(incident: IncidentRecord, wall: number, everyMs: Millis): IncidentRecord {
  return incident.status === "resolved"
    ? { ...incident, isEndTold: true }
    : { ...incident, told: incident.told + 1, dueAtMs: wall + everyMs };
}

/** At its end. */
export function resolveIncident(
  incident: IncidentRecord,
  end: { readonly atMs: number; readonly by: string; readonly how: string },
): IncidentRecord {
  const { atMs, by, how } = end;
  const noted = notedOn(incident, { atMs, words: `resolved by ${by}: ${how}` });
  return { ...noted, status: "resolved", resolvedAtMs: atMs, resolvedBy: by, resolution: plainLine(how) };
}

/** How long it has been open, or was, in minutes as people say it. */
export function lengthOf({ openedAtMs, resolvedAtMs }: IncidentRecord, wall: number): string {
  const ms = Math.max(0, (resolvedAtMs ?? wall) - openedAtMs);
  return formatDuration(millis(Math.floor(ms / 60_000) * 60_000));
}

/** Who was harmed, in a sentence. */
export function harmOf(incident: IncidentFacts): string {
  const { requestsFailed, requestsRescued, distinctKeys, keysCapped } = incident;
  const users = `${keysCapped ? "at least " : ""}${distinctKeys} distinct users`;
  return `${requestsFailed} requests failed on the canary, ${requestsRescued} of them were answered by stable all the same; ${users}`;
}

/** What the stakeholders are told of an incident now. */
export function incidentMessage(incident: IncidentRecord, wall: number): Message {
  const { route, environment, status, fromWeight, toWeight, reason, openedAtMs, updates, told, id } =
    incident;
  const isOver = status === "resolved";
  const kind = told === 0 ? "incident" : `incident, update ${told}`;
  const what = isOver ? "incident resolved" : kind;
  const users =
    toWeight === 0
      ? "every user is on the old version"
      : `${percentText(toWeight)} of the users are still on the new version`;
  const summary = `${route}: ${what}: the rollout was rolled back from ${percentText(fromWeight)}, ${users}`;
  const lines = [
    "Status: ROLLED BACK",
    `Environment: ${environment}`,
    `Since: ${formatLocal(openedAtMs, "UTC")}, ${lengthOf(incident, wall)} ${isOver ? "in all" : "ago"}`,
    `Cause: ${reason}`,
    `Users: ${harmOf(incident)}`,
    figuresLine("canary", incident.figures),
    figuresLine("stable", incident.figures),
    "What has happened since:",
    ...updates.slice(-10).map(({ atMs, words }) => `- ${formatLocal(atMs, "UTC")} ${words}`),
    ...(isOver ? [] : ["You are told again until it is resolved."]),
    `Record: ${id}`,
  ];
  return messageOf(summary, lines, `sluice incident list`);
}
