/**
 * The page of `status --watch` on a terminal: the ladder, both arms over the last looks, the evidence of each rule, and what the journal has of late.
 * Pure: what was seen in, lines out. Without a terminal there are lines instead (`cli/follow.ts`).
 */

import { latencyText, percentText, shareText } from "../domain/units.ts";
import type { JournalLine } from "../engine/ports.ts";
import type { ArmStatus, CheckStatus, RouteStatus } from "../engine/status.ts";
import { bar, clip, durationText, paint, plain, routeText, table, type Style } from "./render.ts";

/** What a sparkline is made of; undefined where nothing was known. */
type Series = readonly (number | undefined)[];

/** What was seen of a route so far, look by look: the newest last. */
export interface Seen {
  readonly looks: readonly RouteStatus[];
  /** The newest lines of the journal, oldest first. */
  readonly journal: readonly JournalLine[];
}

/** So many looks are kept: one for each column of a sparkline. */
export const LOOKS = 60;
const LINES = 6;
const CELLS = "▁▂▃▄▅▆▇█";

/** The page of the newest look. Empty when there was none. */
export function watchPage({ looks, journal }: Seen, style: Style): string {
  const route = looks.at(-1);
  if (route === undefined) return "";
  const lines = [
    ...routeText(route, style).split("\n"),
    ...titled("the way", ladderLines(route, style), style),
    ...titled("both arms, look by look", armLines(looks, style), style),
    ...titled(
      "evidence",
      route.checks.flatMap((check) => proofLine(check, style)),
      style,
    ),
    ...titled("of late", lateLines(journal, style), style),
  ];
  return lines.map((line) => clip(line, style.columns)).join("\n");
}

function titled(title: string, lines: readonly string[], style: Style): readonly string[] {
  return lines.length === 0 ? [] : ["", `  ${paint(title, "dim", style)}`, ...lines];
}

/** A line for each step: where it is, what was, what comes. */
function ladderLines(route: RouteStatus, style: Style): readonly string[] {
  return route.steps.map((step, index) => {
    const name = step.bake ? "bake" : percentText(step.weight);
    const mark = index === route.step ? "▶" : index < route.step ? "✓" : "·";
    const text = `  ${mark} ${name.padStart(7)} ${bar(step.weight, 20)}  ${timeOf(route, index)}${asksOf(step)}`;
    if (index === route.step) return paint(text, "bold", style);
    return index < route.step ? paint(text, "green", style) : paint(text, "dim", style);
  });
}

function timeOf({ step, steps, heldMs, holdLeftMs }: RouteStatus, index: number): string {
  const hold = durationText(steps[index]?.holdMs ?? 0);
  if (index < step) return "done";
  return index > step ? hold : `${durationText(heldMs)} of ${hold}, ${durationText(holdLeftMs)} left`;
}

function asksOf({ gate, critical }: RouteStatus["steps"][number]): string {
  const roles = gate === null ? "" : `  signed by ${plain(gate.roles.join(", "))}`;
  return `${critical ? "  critical" : ""}${roles}`;
}

/** Both arms on one scale for each figure, so that they can be compared by eye. */
function armLines(looks: readonly RouteStatus[], style: Style): readonly string[] {
  const figures = [
    ["requests/s", (arm: ArmStatus) => arm.perSecond, (value: number) => value.toFixed(1)],
    ["errors", (arm: ArmStatus) => arm.errorRate ?? undefined, (value: number) => shareText(value)],
    ["P95", (arm: ArmStatus) => arm.p95Ms ?? undefined, (value: number) => latencyText(value)],
  ] as const;
  return figures.flatMap(([name, read, text]) => {
    const series = (arm: "stable" | "canary"): Series => looks.map((look) => read(look.arms[arm]));
    const all = { stable: series("stable"), canary: series("canary") };
    const top = Math.max(0, ...[...all.stable, ...all.canary].filter((value) => value !== undefined));
    return (["stable", "canary"] as const).map((arm) => {
      const last = all[arm].at(-1);
      const drawn = paint(sparkline(all[arm], top), arm === "stable" ? "cyan" : "yellow", style);
      return `  ${(arm === "stable" ? name : "").padEnd(10)} ${arm}  ${drawn} ${last === undefined ? "-" : text(last)}`;
    });
  });
}

/** One cell for each value, `top` the full height; nothing known is a blank, and nought the lowest. */
export function sparkline(values: Series, top: number): string {
  return values
    .map((value) => {
      if (value === undefined) return " ";
      const height = top <= 0 ? 0 : Math.round((value / top) * (CELLS.length - 1));
      return CELLS[Math.min(CELLS.length - 1, Math.max(0, height))];
    })
    .join("");
}

/** How far a rule that asks for evidence is. */
function proofLine(check: CheckStatus, style: Style): readonly string[] {
  const { rule, ratio, etaMs, have, need } = check;
  if (ratio === undefined) return [];
  const left =
    etaMs === null || etaMs === undefined ? "no telling" : etaMs === 0 ? "enough" : durationText(etaMs);
  const drawn = paint(bar(100 * ratio, 20), ratio >= 1 ? "green" : "yellow", style);
  return [`  ${drawn} ${Number(have.toFixed(1))}/${Number(need.toFixed(1))}  ${left}  ${plain(rule)}`];
}

function lateLines(journal: readonly JournalLine[], style: Style): readonly string[] {
  const rows = journal
    .slice(-LINES)
    .map(({ at, event, actor, reason }) => [at.slice(11, 19), event, actor, reason]);
  return table(["time", "event", "who", "why"], rows, style).map((line) => `  ${line}`);
}
