/** The goals that this proxy is held to, and what a run says about each. Pure. */

import type { Figures } from "./measure.ts";
import {
  bestNodeOf,
  disturbanceOf,
  voidOf,
  medianOf,
  ratioOf,
  type Pick,
  type Ratio,
  type Result,
  type Rounds,
} from "./result.ts";

interface Goal {
  readonly text: string;
  readonly work: string;
  readonly figure: keyof Figures;
  /** With whom it is compared; `none`: the figure itself counts. */
  readonly against: "nginx" | "best Node" | "none" | { readonly of: string; readonly over: string };
  readonly sense: "≤" | "≥";
  readonly limit: number;
  /** Only on a machine with two cores for the proxy alone. */
  readonly needsTwoCores?: boolean;
}

/** One goal, with what was measured. */
export interface GoalRow {
  readonly text: string;
  readonly against: string;
  readonly goal: string;
  /** A ratio, or for `none` the figure. */
  readonly measured: Ratio | null;
  /** Null: not measured, or what was measured cannot say; the note tells which. */
  readonly isMet: boolean | null;
  readonly note: string;
}

/** The same figure of a work against nginx and against the best Node library, where there is a limit. */
function pair(
  text: string,
  work: string,
  figure: keyof Figures,
  sense: "≤" | "≥",
  nginx: number | undefined,
  node: number | undefined,
): readonly Goal[] {
  return [
    ...(nginx === undefined ? [] : [{ text, work, figure, sense, against: "nginx" as const, limit: nginx }]),
    ...(node === undefined
      ? []
      : [{ text, work, figure, sense, against: "best Node" as const, limit: node }]),
  ];
}

const GOALS: readonly Goal[] = [
  ...pair("1 KiB GET, 64 connections: CPU per request", "main", "cpuUs", "≤", 1, 0.27),
  ...pair("the same: requests/s, the proxy's core saturated", "main", "requestsPerSecond", "≥", 1, 4),
  ...pair("64 KiB answers: CPU per MB", "body-64k", "cpuMsPerMb", "≤", 0.7, 0.5),
  ...pair("1 MiB answers: CPU per MB", "body-1m", "cpuMsPerMb", "≤", 0.5, 0.5),
  ...pair("1 MiB uploads: CPU per MB", "upload-1m", "cpuMsPerMb", "≤", 1.1, 0.6),
  ...pair("1,000 busy connections: CPU per request", "busy", "cpuUs", "≤", 1.05, 0.2),
  ...pair("1,000 busy connections: P99", "busy", "p99Us", "≤", 1.3, undefined),
  ...pair("3,000 requests/s: P99", "tails", "p99Us", "≤", 1.3, 0.6),
  {
    text: "2 workers over 1: requests/s",
    work: "workers",
    figure: "requestsPerSecond",
    against: { of: "2 workers", over: "1 worker" },
    sense: "≥",
    limit: 1.8,
    needsTwoCores: true,
  },
  {
    text: "10,000 idle connections: RSS in MiB",
    work: "idle",
    figure: "rssMib",
    against: "none",
    sense: "≤",
    limit: 250,
  },
  ...pair("10,000 idle connections: RSS", "idle", "rssMib", "≤", undefined, 0.5),
  {
    text: "10,000 routes over 1: CPU per request",
    work: "routes",
    figure: "cpuUs",
    against: { of: "10000 routes", over: "1 route" },
    sense: "≤",
    limit: 1.05,
  },
  {
    text: "split + measure + judge over bypass: CPU per request",
    work: "bypass",
    figure: "cpuUs",
    against: { of: "complete", over: "bypassed" },
    sense: "≤",
    limit: 1.03,
  },
];

/** What is known of the machine. */
export interface Machine {
  readonly sharesCore: boolean;
  readonly hasTwoFreeCores: boolean;
}

/** One row per goal, also for those whose work was not run. */
export function goalRowsOf(results: readonly Result[], machine: Machine): readonly GoalRow[] {
  return GOALS.map((goal) =>
    rowOf(
      goal,
      results.find(({ name }) => name === goal.work),
      machine,
    ),
  );
}

function rowOf(goal: Goal, result: Result | undefined, machine: Machine): GoalRow {
  const pick: Pick = (each) => each[goal.figure];
  const { mine, theirs } = sidesOf(goal, result?.targets ?? [], pick);
  const measured = goal.against === "none" ? spreadOf(mine, pick) : ratioOf(mine, theirs, pick);
  const doubt = doubtOf(goal, mine, theirs, machine);
  return {
    text: goal.text,
    against: goal.against === "best Node" && theirs !== undefined ? theirs.label : againstOf(goal),
    goal: `${goal.sense} ${String(goal.limit)}`,
    measured,
    isMet: measured === null || doubt.isVoid ? null : isWithin(measured.value, goal),
    note: measured === null ? "not measured" : doubt.note,
  };
}

const againstOf = ({ against }: Goal): string =>
  typeof against === "string" ? (against === "none" ? "" : against) : against.over;

const isWithin = (value: number, { sense, limit }: Goal): boolean =>
  sense === "≤" ? value <= limit : value >= limit;

interface Sides {
  readonly mine: Rounds | undefined;
  readonly theirs: Rounds | undefined;
}

function sidesOf({ against, sense }: Goal, targets: readonly Rounds[], pick: Pick): Sides {
  const named = (wanted: string): Rounds | undefined => targets.find(({ label }) => label === wanted);
  if (typeof against === "object") return { mine: named(against.of), theirs: named(against.over) };
  const mine = named("sluice");
  if (against === "none") return { mine, theirs: undefined };
  const theirs =
    against === "nginx" ? named("nginx") : bestNodeOf(targets, pick, sense === "≤" ? "least" : "most");
  return { mine, theirs };
}

/** The median of a figure with its lowest and highest. */
function spreadOf(target: Rounds | undefined, pick: Pick): Ratio | null {
  const value = medianOf(target, pick);
  const values = (target?.rounds ?? []).map(pick).filter((each) => each !== null);
  return value === null ? null : { value, low: Math.min(...values), high: Math.max(...values) };
}

/** What stands against believing a figure. */
function doubtOf(
  { figure, needsTwoCores = false }: Goal,
  mine: Rounds | undefined,
  theirs: Rounds | undefined,
  { sharesCore, hasTwoFreeCores }: Machine,
): { readonly isVoid: boolean; readonly note: string } {
  if (needsTwoCores && !hasTwoFreeCores)
    return { isVoid: true, note: "cannot be told here: load and upstream need the second core" };
  const why = figure === "requestsPerSecond" ? voidOf(mine, sharesCore) || voidOf(theirs, sharesCore) : "";
  if (why !== "") return { isVoid: true, note: `void: ${why}` };
  const isTimed = figure === "p99Us" || figure === "requestsPerSecond";
  const disturbance = figure === "rssMib" ? "" : disturbanceOf(mine) || disturbanceOf(theirs);
  return { isVoid: isTimed && disturbance !== "", note: disturbance };
}
