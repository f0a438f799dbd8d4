/**
 * The report of one rollout: what the journal says of it, as one document (product.md §6). Pure.
 *
 * It grows as the journal does, one line after the other: the same lines give the same document, whether they come one by one or all at once
 * after a restart. Lines of other rollouts say nothing here, but for one thing: that another one has taken this one's place.
 */

import { isRecord } from "./record.ts";
import type { Phase } from "./rollout-types.ts";

/** Where a rollout stood; the weight in percent. */
export interface ReportPoint {
  readonly phase: Phase;
  readonly step: number;
  readonly weight: number;
}

/** What a line of the journal has for a report. */
export interface ReportLine {
  readonly seq: number;
  /** ISO 8601. */
  readonly at: string;
  readonly event: string;
  readonly route: string;
  readonly rollout: string;
  readonly actor: string;
  readonly reason: string;
  readonly before: ReportPoint;
  readonly after: ReportPoint;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** One line of the journal in a report: its fields, and its details beside them. */
export interface ReportEvent {
  readonly type: string;
  /** ISO 8601. */
  readonly timestamp: string;
  /** Number of the line in the journal. */
  readonly seq: number;
  readonly route: string;
  readonly rollout: string;
  readonly actor: string;
  readonly reason: string;
  readonly before: ReportPoint;
  readonly after: ReportPoint;
  readonly [detail: string]: unknown;
}

/** How a rollout stands. `REPLACED`: another one was started over it. */
export const REPORT_STATUSES = ["RUNNING", "SUCCEEDED", "ROLLED BACK", "REPLACED"] as const;

/** One of them. */
export type ReportStatus = (typeof REPORT_STATUSES)[number];

/** One step of the plan. */
export interface ReportStep {
  /** In percent. */
  readonly weight: number;
  readonly holdMs: number;
  readonly bake: boolean;
  readonly critical: boolean;
}

/** What stands at the top of a report. */
export interface ReportHead {
  /** Format of the document; 1. */
  readonly format: 1;
  readonly environment: string;
  readonly route: string;
  readonly rollout: string;
  /** What ran on the canary; empty when that was not said. */
  readonly version: string;
  readonly status: ReportStatus;
  /** ISO 8601; empty before the start. */
  readonly startedAt: string;
  /** ISO 8601; null while it runs. */
  readonly endedAt: string | null;
  /** Who started it, and why. */
  readonly startedBy: string;
  readonly reason: string;
  /** Events that are left out between the first and the last, for there were too many. */
  readonly omitted: number;
}

/** The document. */
export interface Report extends ReportHead {
  /** The plan; empty when the journal does not tell it. */
  readonly steps: readonly ReportStep[];
  readonly events: readonly ReportEvent[];
}

const START_EVENT = "DEPLOY_START";
const SCHEDULED_EVENT = "ROLLOUT_SCHEDULED";
/** Events that may come before it. */
const PREPARING: ReadonlySet<string> = new Set([SCHEDULED_EVENT, "BACKUP_CREATED"]);

const MOST_EVENTS = 2000;
/** Of more events, so many of the first stay; what is left out comes after them. */
const FIRST_KEPT = 100;
const MOST_TEXT = 2000;
const MOST_MARKS = 30;
const MOST_STEPS = 1000;

/** Whether an event of this type, up to the start, comes from where the route's rollout of before stood. */
export function isBeforeStart(type: string): boolean {
  return type === START_EVENT || PREPARING.has(type);
}

/** Whether no line of the rollout was before this one. */
export function isFirst({ event, before }: ReportLine): boolean {
  return event === START_EVENT && before.phase !== "scheduled";
}

/** Whether the rollout has begun: one that is scheduled, or was not let begin, is none yet. */
export function hasStarted({ startedAt }: Report): boolean {
  return startedAt !== "";
}

/** A report that begins with `line`. */
export function beginReport(line: ReportLine, environment: string): Report {
  const nothing: Report = {
    format: 1,
    environment: textOf(environment),
    route: textOf(line.route),
    rollout: textOf(line.rollout),
    version: "",
    status: "RUNNING",
    startedAt: "",
    endedAt: null,
    startedBy: textOf(line.actor),
    reason: textOf(line.reason),
    omitted: 0,
    steps: [],
    events: [],
  };
  return extendReport(nothing, line);
}

/** `report` with what `line` adds to it; itself when that is nothing. Lines come in the journal's order; one that was there already is left out. */
export function extendReport(report: Report, line: ReportLine): Report {
  const last = report.events.at(-1);
  if (line.route !== report.route || (last !== undefined && line.seq <= last.seq)) return report;
  if (line.rollout !== report.rollout) {
    const begins = line.event === START_EVENT || line.event === SCHEDULED_EVENT;
    const isReplaced = begins && report.status === "RUNNING";
    return isReplaced ? { ...report, status: "REPLACED", endedAt: textOf(line.at) } : report;
  }
  return { ...report, ...startOf(line), ...stateAfter(report, line), ...withEvent(report, line) };
}

/** The report of `rollout` made of its route's lines; undefined when none is its. */
export function reportOf(
  lines: readonly ReportLine[],
  rollout: string,
  environment: string,
): Report | undefined {
  const first = lines.findIndex((line) => line.rollout === rollout);
  const line = lines[first];
  if (line === undefined) return undefined;
  return lines.slice(first + 1).reduce(extendReport, beginReport(line, environment));
}

function startOf(line: ReportLine): Partial<Report> {
  if (line.event !== START_EVENT) return {};
  const { actor, reason, details } = line;
  const version = details?.["version"];
  return {
    startedBy: textOf(actor),
    reason: textOf(reason),
    version: typeof version === "string" ? textOf(version) : "",
    steps: stepsOf(details?.["steps"]),
  };
}

function stepsOf(value: unknown): readonly ReportStep[] {
  if (!Array.isArray(value)) return [];
  return value.slice(0, MOST_STEPS).flatMap((each: unknown) => {
    if (!isRecord(each) || typeof each["weight"] !== "number" || typeof each["holdMs"] !== "number")
      return [];
    return [
      {
        weight: each["weight"],
        holdMs: each["holdMs"],
        bake: each["bake"] === true,
        critical: each["critical"] === true,
      },
    ];
  });
}

function stateAfter(report: Report, line: ReportLine): Partial<Report> {
  if (PREPARING.has(line.event) || report.status === "REPLACED") return {};
  const at = textOf(line.at);
  const startedAt = hasStarted(report) ? report.startedAt : at;
  const status = statusOf(line.after.phase);
  if (status === "RUNNING") return { startedAt, status, endedAt: null };
  // What comes after the end, such as that stable is well, does not end it later.
  return { startedAt, status, endedAt: report.status === status ? report.endedAt : at };
}

function statusOf(phase: Phase): ReportStatus {
  if (phase === "succeeded") return "SUCCEEDED";
  return phase === "rolled_back" ? "ROLLED BACK" : "RUNNING";
}

function withEvent(report: Report, line: ReportLine): Pick<Report, "events" | "omitted"> {
  const events = [...report.events, eventOf(line)];
  if (events.length <= MOST_EVENTS) return { events, omitted: report.omitted };
  return { events: events.toSpliced(FIRST_KEPT, 1), omitted: report.omitted + 1 };
}

function eventOf({ seq, at, event, details = {}, ...line }: ReportLine): ReportEvent {
  const own = {
    type: textOf(event),
    timestamp: textOf(at),
    seq,
    route: textOf(line.route),
    rollout: textOf(line.rollout),
    actor: textOf(line.actor),
    reason: textOf(line.reason),
    before: pointOf(line.before),
    after: pointOf(line.after),
  };
  const more = recordOf(details);
  // A detail with the name of a field of every event would take its place: then they stay together.
  return Object.keys(more).some((name) => Object.hasOwn(own, name))
    ? { ...own, details: more }
    : { ...own, ...more };
}

function pointOf({ phase, step, weight }: ReportPoint): ReportPoint {
  return { phase, step, weight };
}

/** `value` with texts and marks cut to their bounds. */
function bounded(value: unknown): unknown {
  if (typeof value === "string") return textOf(value);
  if (Array.isArray(value)) return value.map(bounded);
  return isRecord(value) ? recordOf(value) : value;
}

function recordOf(record: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(record).map(([name, value]) => [
      name,
      name === "marks" && isRecord(value) ? marksOf(value) : bounded(value),
    ]),
  );
}

function marksOf(marks: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(marks).map(([name, value]) => [
      name,
      bounded(Array.isArray(value) ? value.slice(0, MOST_MARKS) : value),
    ]),
  );
}

function textOf(text: string): string {
  return text.length > MOST_TEXT ? `${text.slice(0, MOST_TEXT)}…` : text;
}

/** What follows the head in the text of a report. */
const AFTER_HEAD = '\n  "steps": ';

/** The report as JSON: the head first, so that it can be read without the rest, and one event a line. */
export function reportJson({ steps, events, ...head }: Report): string {
  // Undoes the end of an object that is not at its end yet.
  const top = JSON.stringify(head, null, 2).slice(0, -2);
  return `${top},${AFTER_HEAD}${listJson(steps)},\n  "events": ${listJson(events)}\n}\n`;
}

function listJson(items: readonly unknown[]): string {
  if (items.length === 0) return "[]";
  return `[\n${items.map((each) => `    ${JSON.stringify(each)}`).join(",\n")}\n  ]`;
}

/** The head in a report's text, or in the beginning of it; undefined when it is none. */
export function parseReportHead(text: string): ReportHead | undefined {
  const end = text.indexOf(`,${AFTER_HEAD}`);
  if (end < 0) return undefined;
  try {
    const value: unknown = JSON.parse(`${text.slice(0, end)}}`);
    return isHead(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

const TEXTS = ["environment", "route", "rollout", "version", "startedAt", "startedBy", "reason"] as const;

function isHead(value: unknown): value is ReportHead {
  return (
    isRecord(value) &&
    value["format"] === 1 &&
    TEXTS.every((name) => typeof value[name] === "string") &&
    REPORT_STATUSES.some((status) => status === value["status"]) &&
    (value["endedAt"] === null || typeof value["endedAt"] === "string") &&
    typeof value["omitted"] === "number"
  );
}

/** `2026-01-05T09:00:00.123Z` as it stands in a file's name: `20260105T090000Z`. */
export function stampOf(at: string): string {
  const found = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)/.exec(at);
  if (found === null) return "00000000T000000Z";
  const [, year, month, day, ...time] = found;
  return `${year}${month}${day}T${time.join("")}Z`;
}

/** `text` as a part of a file's name, which cannot leave the folder, whatever a route is called. */
export function nameOf(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9.-]/g, "-").slice(0, 100);
}
