/**
 * What a drill has to prove, and what it comes to. Pure.
 *
 * A drill sends synthetic requests over the program's own listener to a route of its own, whose canary fails on purpose, and follows the way back from
 * the first failure to the message that people get. No user's request takes part in it: the route that it is for keeps its weight, its evidence and its users.
 */

import { messageOf } from "./message.ts";
import { formatDuration, millis } from "./units.ts";

/** What must hold, in this order; a channel's name follows the last but one. */
export const DRILL_CHECKS = [
  "both arms",
  "rollback",
  "next request",
  "record",
  "journal",
  "evidence",
  "notification",
  "restored",
] as const;

/** One thing that was to be proved. */
export interface DrillCheck {
  /** One of `DRILL_CHECKS`, of a notification with its channel: `notification slack`. */
  readonly name: string;
  readonly ok: boolean;
  /** One line for people. */
  readonly detail: string;
}

/** What was counted and how long it took. */
export interface DrillFigures {
  /** Synthetic requests in all. */
  readonly requests: number;
  /** Failed answers of the drill's canary, and how many of them reached the client. */
  readonly failed: number;
  readonly failedToClients: number;
  /** First failure → the canary's weight taken away; null: it never was. */
  readonly offAfterMs: number | null;
  /** First failure → rolled back for good. */
  readonly rolledBackAfterMs: number | null;
}

/** The report of one drill. */
export interface DrillReport {
  /** Format of the document; 1. */
  readonly format: 1;
  readonly environment: string;
  readonly route: string;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly endedAt: string;
  readonly startedBy: string;
  readonly reason: string;
  readonly passed: boolean;
  /** e.g. `drill passed: 8/8 proved, off after 11 failures and 1s`. */
  readonly sentence: string;
  readonly checks: readonly DrillCheck[];
  readonly figures: DrillFigures;
}

/** The report of what was found. Nothing proved is nothing passed. */
export function drillReport(
  about: Pick<DrillReport, "environment" | "route" | "startedAt" | "endedAt" | "startedBy" | "reason">,
  checks: readonly DrillCheck[],
  figures: DrillFigures,
): DrillReport {
  const bad = checks.filter(({ ok }) => !ok).map(({ name }) => name);
  const passed = checks.length > 0 && bad.length === 0;
  const off =
    figures.offAfterMs === null
      ? ""
      : `, off after ${figures.failed} failures and ${formatDuration(millis(Math.round(figures.offAfterMs)))}`;
  const sentence = passed
    ? `drill passed: ${checks.length}/${checks.length} proved${off}`
    : `drill failed: ${bad.join(", ") || "nothing was proved"}`;
  return { format: 1, ...about, passed, sentence, checks, figures };
}

/** One line for each check: `ok   journal  ROLLBACK_DONE is line 41`. */
export function drillLines({
  checks,
  sentence,
}: Pick<DrillReport, "checks" | "sentence">): readonly string[] {
  const width = Math.max(0, ...checks.map(({ name }) => name.length));
  return [
    ...checks.map(({ name, ok, detail }) => `${ok ? "ok  " : "FAIL"} ${name.padEnd(width)}  ${detail}`),
    sentence,
  ];
}

/** The name of a drill's own route: the route's with this behind it. */
export const DRILL_SUFFIX = ".drill";

/** Whether a route of this name is a drill's. */
export function isDrill(route: string): boolean {
  return route.endsWith(DRILL_SUFFIX);
}

/** A message of a drill's own route, marked as what it is: nobody has to do anything about it. */
export function asDrill<
  T extends {
    readonly summary: string;
    readonly lines: readonly string[];
    readonly details: Readonly<Record<string, unknown>>;
  },
>(notice: T): T {
  const summary = `DRILL, nothing has to be done: ${notice.summary}`;
  return {
    ...notice,
    summary,
    lines: [summary, ...notice.lines.slice(1)],
    details: { ...notice.details, drill: true },
  };
}

/** What people are told of a drill's end. */
export function drillNotice(id: string, route: string, passed: boolean, words: string) {
  const message = messageOf(`${route}: ${words}`, [], `sluice report ${route}`);
  return {
    id,
    severity: passed ? "info" : "critical",
    event: passed ? "drill_passed" : "drill_failed",
    route,
    rollout: "",
    ...message,
    details: {},
    audience: "operators",
  } as const;
}
