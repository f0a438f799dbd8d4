/** `backtest`: what was typed, made into a question; and the answer, made into text. */

import { parseFault, type Fault } from "../backtest/fault.ts";
import type { LogFormat } from "../backtest/log-file.ts";
import type { BacktestReport, EventReport } from "../backtest/report.ts";
import { backtest } from "../backtest/run.ts";
import { countText, parseRate, shortShareText, type Ppm } from "../domain/units.ts";
import { durationOf, rpsOf, usage, wholeOf } from "./commands.ts";
import { styleOf, type Io } from "./io.ts";
import { durationText, plain, table } from "./render.ts";

/** What was typed. */
export interface BacktestTyped {
  readonly plan?: string;
  readonly config?: string;
  readonly route?: string;
  readonly log?: readonly string[];
  readonly format: string;
  readonly logFormat?: string;
  readonly canary?: readonly string[];
  readonly arms: string;
  readonly fault?: readonly string[];
  readonly rps: string;
  readonly duration: string;
  readonly errors: string;
  readonly latency: string;
  readonly seed: string;
  readonly salts: string;
  readonly json?: boolean;
}

const FORMATS: readonly (LogFormat | "auto")[] = ["auto", "json", "nginx", "envoy"];
const ARMS = ["auto", "both", "one"] as const;
const EXIT: Readonly<Record<BacktestReport["outcome"], number>> = {
  succeeded: 0,
  rolled_back: 1,
  unfinished: 3,
};

/** Runs the backtest and prints its report; exits 0 when the plan went through, 1 rolled back, 3 when the log ended first. */
export async function runBacktest(typed: BacktestTyped, io: Io): Promise<number> {
  const format = oneOf(typed.format, FORMATS, "--format");
  const arms = oneOf(typed.arms, ARMS, "--arms");
  const layout = typed.logFormat;
  if (layout !== undefined && format !== "auto" && format !== "nginx")
    throw usage("--log-format goes with --format nginx");
  const logs = typed.log ?? [];
  const odd = (typed.canary ?? []).find((address) => !/^\S+:\d{1,5}$/.test(address));
  if (odd !== undefined) throw usage(`--canary takes HOST:PORT, not ${odd}`);
  if (logs.filter((name) => name === "-").length > 1) throw usage("standard input can be read once");
  const report = await backtest({
    plan: typed.plan,
    config: typed.config,
    route: typed.route,
    logs,
    format: layout === undefined ? (format === "auto" ? undefined : format) : "nginx",
    layout,
    canaries: typed.canary ?? [],
    arms: arms === "auto" ? undefined : arms,
    faults: (typed.fault ?? []).map(faultOf),
    climate: {
      rps: rpsOf(typed.rps, 1_000_000),
      duration: durationOf(typed.duration, "--duration"),
      errors: rateOf(typed.errors, "--errors"),
      latency: durationOf(typed.latency, "--latency"),
    },
    seed: wholeOf(typed.seed, "--seed", 2 ** 32 - 1),
    salts: wholeOf(typed.salts, "--salts", 1000),
    stdin: io.stdin,
  });
  io.stdout(typed.json === true ? `${JSON.stringify(report, null, 2)}\n` : backtestText(report, io));
  return EXIT[report.outcome];
}

function faultOf(text: string): Fault {
  const fault = parseFault(text);
  if (typeof fault === "string") throw usage(fault);
  return fault;
}

function oneOf<T extends string>(text: string, among: readonly T[], option: string): T {
  const found = among.find((each) => each === text);
  if (found === undefined) throw usage(`${option} is one of ${among.join(", ")}, not ${text}`);
  return found;
}

function rateOf(text: string, option: string): Ppm {
  const rate = parseRate(text);
  if (rate === undefined) throw usage(`${option} takes a share like 0.1%, not ${text}`);
  return rate;
}

/** The report for people. */
function backtestText(report: BacktestReport, io: Io): string {
  const rows = folded(report.events).map(({ event: each, more, last }) => [
    each.at.replace(/\.\d+Z$/, "Z"),
    `+${durationText(each.ms)}`,
    each.from === each.weight ? `${each.weight} %` : `${each.from} → ${each.weight} %`,
    each.phase,
    each.event,
    more === 0 ? becauseOf(each) : `${becauseOf(each)}; ${more} more of it until +${durationText(last)}`,
  ]);
  const parts = [
    ...table(["time", "after", "weight", "phase", "event", "why"], rows, styleOf(io)),
    "",
    outcomeText(report),
    ...omittedText(report.omitted),
    ...wholeText(report),
    ...falseAlarmText(report),
    ...logText(report.log),
  ];
  return `${parts.join("\n")}\n`;
}

interface Folded {
  readonly event: EventReport;
  /** How many of the same came behind it, and when the last one did. */
  more: number;
  last: number;
}

/** The events, with what comes again and again while the rollout stands still told once. */
function folded(events: readonly EventReport[]): readonly Folded[] {
  const all: Folded[] = [];
  for (const event of events) {
    const before = all.at(-1);
    if (before?.event.event === event.event && event.from === event.weight) {
      before.more++;
      before.last = event.ms;
    } else all.push({ event, more: 0, last: event.ms });
  }
  return all;
}

/** The canary's counts, and the numbers of each rule that had failed. */
function becauseOf({ event, reason, failed, canary }: EventReport): string {
  if (event === "DEPLOY_START") return "";
  const numbers = failed.map(({ rule, detail }) => `${rule}: ${detail}`).join("; ");
  const counts = `canary ${canary.failures} of ${countText(canary.responses)} failed`;
  if (event === "STEP_STARTED" || event === "DEPLOY_SUCCESS") return counts;
  return [reason, numbers === "" ? counts : `${counts}; ${numbers}`].filter((each) => each !== "").join("; ");
}

function outcomeText(report: BacktestReport): string {
  const { rollback, outcome } = report;
  const tripped = countOf(report.trips, "trip");
  if (rollback === null) {
    const { canary } = report;
    const went =
      outcome === "succeeded"
        ? "the plan went through"
        : `the log ended before the plan did, at ${report.weight} %, ${report.phase}`;
    return `No rollback: ${went}. Canary: ${canary.failures} of ${countText(canary.responses)} responses failed; ${tripped}.`;
  }
  const fault =
    report.afterFaultMs === null ? "" : `, ${durationText(report.afterFaultMs)} after the fault began`;
  return (
    `Rolled back at ${rollback.at.replace(/\.\d+Z$/, "Z")} (+${durationText(rollback.ms)}${fault}), ` +
    `after ${countText(rollback.all.responses)} requests, ${countText(rollback.canary.responses)} of them the canary's. ` +
    `Until then ${countText(rollback.canary.failures)} of the canary's and ${countText(rollback.all.failures - rollback.canary.failures)} of stable's failed; ${tripped}.`
  );
}

function omittedText({
  gates,
  pauses,
  preflights,
  confirms,
  windows,
  freezes,
}: BacktestReport["omitted"]): readonly string[] {
  const counts: readonly (readonly [number, string])[] = [
    [gates, "gate"],
    [pauses, "pause"],
    [preflights, "preflight"],
    [confirms, "confirm webhook"],
    [windows, "window"],
    [freezes, "freeze"],
  ];
  const told = counts.filter(([count]) => count > 0).map(([count, what]) => countOf(count, what));
  return told.length === 0 ? [] : [`Left out, since the judge alone is asked: ${told.join(", ")}.`];
}

function wholeText({ wholeService: whole, rollback }: BacktestReport): readonly string[] {
  const rule = `error_rate above ${shortShareText(whole.above)}${whole.forMs > 0 ? ` for ${durationText(whole.forMs)}` : ""}`;
  const highest =
    whole.highest === null
      ? "no window had enough requests"
      : `highest ${shortShareText(whole.highest)} in ${durationText(whole.windowMs)}`;
  const late =
    whole.firedMs === null
      ? "silent"
      : `fires at +${durationText(whole.firedMs)}${rollback === null ? "" : `, ${durationText(Math.abs(whole.firedMs - rollback.ms))} ${whole.firedMs < rollback.ms ? "sooner" : "later"}`}`;
  return [`A rule over the whole service (${rule}), had nobody rolled back: ${late}; ${highest}.`];
}

function falseAlarmText({
  falseAlarms: { runs, rollbacks, trips, walked, first },
}: BacktestReport): readonly string[] {
  if (runs === 0) return [];
  const said = `Stable against itself: ${rollbacks} of ${runs} runs rolled back, ${trips} trips, ${walked} runs walked the whole plan.`;
  return [
    said,
    ...first.map((each) => `  false: +${durationText(each.ms)} at ${each.from} %: ${each.reason}`),
  ];
}

function logText(log: BacktestReport["log"]): readonly string[] {
  if (log.arms === "none") return [`Made up: ${countText(log.lines)} requests.`];
  const bad = log.files.reduce((sum, file) => sum + file.bad, 0);
  const formats = [...new Set(log.files.map(({ format }) => format))].join(", ");
  const taken =
    log.arms === "both" ? "each line is its own arm's" : "stable's alone, the canary is chosen by key";
  const wanted = log.canaryWanted ?? 0;
  const had = log.canaryHad ?? 0;
  const notes: readonly (readonly [boolean, string])[] = [
    [
      had < 0.9 * wanted,
      `the canary had ${countText(had)} responses in the log; the plan would have given it ${countText(wanted)}`,
    ],
    [
      log.leftOut > 0,
      `${countText(log.leftOut)} lines left out: of an arm with less weight than it had when they were recorded`,
    ],
    [
      log.strays > 0,
      `${countText(log.strays)} of the canary's lines left out; with --arms both they count as its own`,
    ],
    [
      log.unattributed > 0,
      `${countText(log.unattributed)} lines do not say whose they are, and are left out`,
    ],
    [log.otherRoutes > 0, `${countText(log.otherRoutes)} lines of other routes`],
    [
      log.late > 0,
      `${countText(log.late)} lines came late, by ${durationText(log.latestMs)} at the most, and count as of then`,
    ],
    [
      log.gaps > 0,
      `${countText(log.gaps)} gaps of a minute or more, ${durationText(log.gapsMs)} in all: idle time`,
    ],
    [bad > 0, `${countText(bad)} lines cannot be read, such as`],
  ];
  return [
    `Log: ${countText(log.lines)} lines (${formats}), ${taken}.`,
    ...notes.filter(([isSo]) => isSo).map(([, note]) => `  ${note}`),
    ...log.bad.map((each) => `    ${plain(each)}`),
  ];
}

function countOf(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
