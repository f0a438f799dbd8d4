/** What a replay came to, as plain data: the report that `--json` prints. Times are milliseconds since the first line, shares are fractions. */

import type { Severity } from "../domain/rollout-types.ts";
import { FULL, percentOf } from "../domain/units.ts";
import type { LogFile } from "./log-file.ts";
import type { Faults } from "./fault.ts";
import type { Omitted } from "./omitted.ts";
import type { Replay } from "./replay.ts";
import type { World, WorldEvent } from "./world.ts";

/** One thing that happened. */
export interface EventReport {
  /** ISO 8601. */
  readonly at: string;
  readonly ms: number;
  readonly event: string;
  /** Of the message that people would have had. */
  readonly severity: Severity;
  readonly phase: string;
  /** Percent. */
  readonly from: number;
  readonly weight: number;
  readonly reason: string;
  /** The rules that had failed, each with its numbers. */
  readonly failed: readonly { readonly rule: string; readonly detail: string }[];
  /** Since the start: of the canary, and of both arms. */
  readonly canary: Counted;
  readonly all: Counted;
}

/** Responses, and those that failed. */
export interface Counted {
  readonly responses: number;
  readonly failures: number;
}

/** The whole of it. */
export interface BacktestReport {
  readonly outcome: "succeeded" | "rolled_back" | "unfinished";
  readonly phase: string;
  /** Percent. */
  readonly weight: number;
  /** Of the first line and of the last. */
  readonly from: string;
  readonly to: string;
  readonly lengthMs: number;
  /** What of the configuration nobody was there for. */
  readonly omitted: Omitted;
  readonly events: readonly EventReport[];
  /** The first rollback; null: there was none. */
  readonly rollback: EventReport | null;
  /** From the beginning of the first fault to the rollback; null without one or the other. */
  readonly afterFaultMs: number | null;
  /** Alarms that took the canary's weight away for a moment. */
  readonly trips: number;
  readonly canary: Counted;
  readonly all: Counted;
  /** A rule over both arms together, had nobody rolled back. */
  readonly wholeService: {
    readonly above: number;
    readonly forMs: number;
    readonly windowMs: number;
    readonly firedMs: number | null;
    readonly highest: number | null;
    readonly highestMs: number | null;
  };
  /** Stable against itself: every rollback of such a run is a false alarm. */
  readonly falseAlarms: {
    readonly runs: number;
    readonly rollbacks: number;
    readonly trips: number;
    readonly walked: number;
    readonly first: readonly EventReport[];
  };
  readonly log: {
    readonly files: readonly {
      readonly name: string;
      readonly format: string;
      readonly lines: number;
      readonly bad: number;
    }[];
    readonly bad: readonly string[];
    readonly arms: "both" | "one" | "none";
    readonly lines: number;
    readonly late: number;
    readonly latestMs: number;
    readonly otherRoutes: number;
    readonly unattributed: number;
    readonly strays: number;
    readonly leftOut: number;
    readonly gaps: number;
    readonly gapsMs: number;
    readonly longestGapMs: number;
    /** Canary responses that the plan would have given, and those that the log had; null unless it had both arms. */
    readonly canaryWanted: number | null;
    readonly canaryHad: number | null;
  };
}

const OUTCOMES: Readonly<Record<string, BacktestReport["outcome"]>> = {
  succeeded: "succeeded",
  rolled_back: "rolled_back",
};

/** What a report tells beside the replay. */
export interface ReportParts {
  /** Empty: the world was made up. */
  readonly files: readonly LogFile[];
  readonly arms: "both" | "one";
  readonly faults: Faults;
  readonly omitted: Omitted;
}

/** The report on a replay that has run. */
export function reportOf(replay: Replay, { files, arms, faults, omitted }: ReportParts): BacktestReport {
  const { main, aa, tally, whole, share, start, lengthMs } = replay;
  const told = (event: WorldEvent): EventReport => eventOf(event, start);
  const rollback = rollbackOf(main);
  const { canary, stable } = main.plane.totals;
  const isBoth = arms === "both";
  return {
    outcome: OUTCOMES[main.phase] ?? "unfinished",
    phase: main.phase,
    weight: percentOf(main.plane.weight),
    from: new Date(start).toISOString(),
    to: new Date(start + lengthMs).toISOString(),
    lengthMs,
    omitted,
    events: main.events.map(told),
    rollback: rollback === undefined ? null : told(rollback),
    afterFaultMs:
      rollback === undefined || faults.from === undefined || rollback.ms < faults.from
        ? null
        : rollback.ms - faults.from,
    trips: tripsOf(main),
    canary: { ...canary },
    all: { responses: canary.responses + stable.responses, failures: canary.failures + stable.failures },
    wholeService: {
      above: whole.rule.above / FULL,
      forMs: whole.rule.for,
      windowMs: whole.rule.window,
      firedMs: whole.firedMs ?? null,
      highest: whole.highest,
      highestMs: whole.highest === null ? null : whole.highestMs,
    },
    falseAlarms: {
      runs: aa.length,
      rollbacks: aa.filter((world) => world.phase === "rolled_back").length,
      trips: aa.reduce((sum, world) => sum + tripsOf(world), 0),
      walked: aa.filter((world) => world.phase === "succeeded").length,
      first: aa
        .flatMap((world) => rollbackOf(world) ?? [])
        .map(told)
        .slice(0, 5),
    },
    log: {
      files: files.map(({ name, format, lines, bad }) => ({ name, format, lines, bad })),
      bad: files.flatMap((file) => file.told).slice(0, 5),
      arms: files.length === 0 ? "none" : arms,
      lines: tally.lines,
      late: tally.late,
      latestMs: tally.latestMs,
      otherRoutes: tally.otherRoutes,
      unattributed: tally.unattributed,
      strays: tally.strays,
      leftOut: tally.thinned,
      gaps: tally.gaps,
      gapsMs: tally.gapsMs,
      longestGapMs: tally.longestGapMs,
      canaryWanted: isBoth ? Math.round(share.wanted) : null,
      canaryHad: isBoth ? share.got : null,
    },
  };
}

function tripsOf(world: World): number {
  return world.events.filter(({ event }) => event === "TRIPPED").length;
}

function rollbackOf(world: World): WorldEvent | undefined {
  return world.events.find(({ event }) => event === "ROLLBACK_DONE");
}

function eventOf(event: WorldEvent, start: number): EventReport {
  const { ms, failed, from, weight, responses, failures, allResponses, allFailures } = event;
  return {
    at: new Date(start + ms).toISOString(),
    ms,
    event: event.event,
    severity: event.severity,
    phase: event.phase,
    from: percentOf(from),
    weight: percentOf(weight),
    reason: event.reason,
    failed: failed.map(({ rule, detail }) => ({ rule, detail })),
    canary: { responses, failures },
    all: { responses: allResponses, failures: allFailures },
  };
}
