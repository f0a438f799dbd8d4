/**
 * A report as people read it: Markdown, with a timeline and both arms' figures per step. Pure.
 *
 * What others wrote (reasons, names, comments) stands in it as text and as nothing else: no control characters, and no character that would
 * end a cell, begin a link or a tag, or turn the direction of the writing.
 */

import {
  isBeforeStart,
  type Report,
  type ReportEvent,
  type ReportPoint,
  type ReportStatus,
} from "./report.ts";
import { formatDuration, latencyText, millis, percentText, shareText } from "./units.ts";

type Row = readonly string[];

/** The report as Markdown, with a line end at its end. */
export function reportMarkdown(report: Report): string {
  const { status } = report;
  const lines = [
    `# Rollout of ${text(report.route)}: ${status}`,
    "",
    ...headLines(report),
    ...section("Plan", planTable(report), "The journal does not tell the plan."),
    ...section("Timeline", timeline(report), "Nothing yet."),
    ...section("Figures per step", figuresTable(report), "No figures yet."),
    ...section("Signatures", toldTable(report.events.filter(isSignature)), "Nobody was asked to sign."),
    ...section("Alerts", toldTable(report.events.filter(isAlert)), "None."),
    ...section("After the rollout", CHECKLISTS[status].map(checkbox), "Follows when it has ended."),
  ];
  return `${lines.join("\n")}\n`;
}

function headLines(report: Report): Row {
  const { startedBy, reason, endedAt, version } = report;
  const last = report.events.at(-1);
  return [
    `- Status: ${report.status}`,
    `- Environment: ${text(report.environment)}`,
    `- Version: ${version === "" ? "not said" : text(version)}`,
    `- Rollout: ${text(report.rollout)}`,
    `- Started: ${text(timeOf(report.startedAt))} UTC by ${text(startedBy)}${reason === "" ? "" : `: ${text(reason)}`}`,
    `- Ended: ${endedAt === null ? "not yet" : `${text(timeOf(endedAt))} UTC`}`,
    ...(last === undefined ? [] : [`- Weight of the canary: ${percentText(last.after.weight)}`]),
  ];
}

function section(title: string, body: Row, otherwise: string): Row {
  return ["", `## ${title}`, "", ...(body.length === 0 ? [otherwise] : body)];
}

function planTable({ steps }: Report): Row {
  return table(
    ["Step", "Weight", "Hold"],
    steps.map(({ weight, holdMs, bake, critical }, index) => [
      String(index + 1),
      percentText(weight),
      `${durationOf(holdMs)}${bake ? " bake" : ""}${critical ? ", critical" : ""}`,
    ]),
  );
}

function durationOf(ms: number): string {
  return Number.isFinite(ms) && ms >= 0 ? formatDuration(millis(ms)) : "-";
}

function timeline({ events, omitted }: Report): Row {
  const rows = events.map((event) => [
    timeOf(event.timestamp),
    event.type,
    String(event.after.step + 1),
    moveOf(event),
    event.after.phase,
    event.actor,
    event.reason,
  ]);
  const left = omitted === 0 ? [] : ["", `${omitted} events are left out: there were too many.`];
  return [...table(["Time (UTC)", "Event", "Step", "Weight", "Phase", "By", "Why"], rows), ...left];
}

function moveOf({ before, after }: { readonly before: ReportPoint; readonly after: ReportPoint }): string {
  if (before.weight === after.weight) return percentText(after.weight);
  return `${percentText(before.weight)} → ${percentText(after.weight)}`;
}

const ARMS = ["stable", "canary"] as const;

/** Both arms as last told of before each step was left; a step that was walked twice is there twice. */
function figuresTable({ events }: Report): Row {
  const visits: ReportEvent[] = [];
  for (const event of events) {
    if (isBeforeStart(event.type) || recordIn(event, "arms") === undefined) continue;
    const last = visits.at(-1);
    if (last !== undefined && isSameVisit(last, event)) visits.pop();
    visits.push(event);
  }
  const rows = visits.flatMap((event) => ARMS.map((arm) => figuresOf(event, arm)));
  return table(
    ["Step", "Weight", "As of (UTC)", "Arm", "Requests", "Failures", "Error rate", "P50", "P95", "P99"],
    rows,
  );
}

function isSameVisit({ before: one }: ReportEvent, { before: other }: ReportEvent): boolean {
  return one.step === other.step && one.weight === other.weight;
}

function figuresOf(event: ReportEvent, arm: (typeof ARMS)[number]): Row {
  const figures = recordIn(recordIn(event, "arms"), arm);
  const number = (name: string): number | null => {
    const value = figures?.[name];
    return typeof value === "number" ? value : null;
  };
  return [
    String(event.before.step + 1),
    percentText(event.before.weight),
    timeOf(event.timestamp),
    arm,
    String(number("requests") ?? "-"),
    String(number("failures") ?? "-"),
    shareText(number("errorRate")),
    ...["p50Ms", "p95Ms", "p99Ms"].map((name) => latencyText(number(name))),
  ];
}

function recordIn(value: unknown, name: string): Readonly<Record<string, unknown>> | undefined {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
  const found = (value as Readonly<Record<string, unknown>>)[name];
  if (typeof found !== "object" || found === null) return undefined;
  // An object has names and values of some kind; each is looked at before it is used.
  return found as Readonly<Record<string, unknown>>;
}

function isSignature({ type }: ReportEvent): boolean {
  return type.startsWith("GATE_");
}

/** What people are woken for. */
const ALARMING: ReadonlySet<string> = new Set([
  "VALIDATION_FAILED",
  "TRIPPED",
  "ROLLBACK_HELD",
  "ROLLBACK_DONE",
]);

function isAlert({ type }: ReportEvent): boolean {
  return type.startsWith("ALERT_") || ALARMING.has(type);
}

function toldTable(events: readonly ReportEvent[]): Row {
  return table(
    ["Time (UTC)", "Event", "Step", "By", "Why", "More"],
    events.map((event) => [
      timeOf(event.timestamp),
      event.type,
      String(event.before.step + 1),
      event.actor,
      event.reason,
      moreOf(event),
    ]),
  );
}

/** The fields that every event has; the others are its details. */
const OWN: ReadonlySet<string> = new Set([
  "type",
  "timestamp",
  "seq",
  "route",
  "rollout",
  "actor",
  "reason",
  "before",
  "after",
]);

/** The details that fit into a cell, such as the role in which somebody signed. */
function moreOf(event: ReportEvent): string {
  return Object.entries(event)
    .filter(([name, value]) => !OWN.has(name) && ["string", "number"].includes(typeof value))
    .map(([name, value]) => `${name}: ${String(value)}`)
    .join(", ");
}

function table(head: Row, rows: readonly Row[]): Row {
  if (rows.length === 0) return [];
  const line = (cells: Row): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map((cells) => line(cells.map(text)))];
}

/** What is left to people when a rollout has ended. */
const CHECKLISTS: Readonly<Record<ReportStatus, Row>> = {
  RUNNING: [],
  SUCCEEDED: [
    "Day 7: look through this report and the journal once more; tell everybody concerned that it is done",
    "Day 7: remove what only the old version needed, or say until when it stays ready",
    "Week 2: compare errors and latencies with those of before the rollout",
    "Week 2: go through alerts, pauses and gates: what was noise, what came late",
    "Month 1: settle what was put off; adapt plan, limits and margins for the next rollout",
  ],
  "ROLLED BACK": [
    "At once: stable is healthy, and everybody concerned knows",
    "Within 24 hours: write down what happened, from the evidence pack and the timeline above",
    "Day 7: the cause is found and fixed, with a test that would have shown it",
    "Month 1: adapt plan, limits and margins, so that the next one is found earlier",
  ],
  REPLACED: ["Day 7: nothing waits for this rollout any more; the report of the one that replaced it counts"],
};

function checkbox(item: string): string {
  return `- [ ] ${item}`;
}

function timeOf(at: string): string {
  const found = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)/.exec(at);
  return found === null ? at : `${found[1]} ${found[2]}`;
}

const LONGEST = 300;

/** `value` as text that is nothing but text, in a cell or behind a word. */
function text(value: string): string {
  const plain = Array.from(value.replaceAll(/[\s\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]+/gu, " ").trim());
  const short = plain.length > LONGEST ? `${plain.slice(0, LONGEST).join("")}…` : plain.join("");
  return short.replaceAll(/[\\|`*<>[\]&]/g, String.raw`\$&`);
}
