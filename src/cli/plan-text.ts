/** A dry run as people read it: a table of the steps, and under it the words of those that have something to say. Pure. */

import type { DryRun, DryRunStep } from "../config/dry-run.ts";
import { points, spanOf, type Takes } from "../domain/needs.ts";
import { percentText } from "../domain/units.ts";
import { clip, paint, plain, table, wrapped, type Style } from "./render.ts";

const HEAD = [
  "step",
  "weight",
  "begins",
  "hold",
  "ends",
  "canary/s",
  "finds a rise of",
  "proves in",
  "knows",
];

/** A dry run as a block of lines, without a line end at the end. */
export function planText(plan: DryRun, style: Style): string {
  const words = plan.steps.flatMap(({ words: said }, index) =>
    said.flatMap((each) => wrapped(`step ${index + 1}: ${plain(each)}`, style.columns)),
  );
  return [
    ...headLines(plan).flatMap((line) => wrapped(line, style.columns)),
    "",
    ...table(HEAD, plan.steps.map(cellsOf), style).map((line) => clip(line, style.columns)),
    "",
    ...peopleLines(plan).flatMap((line) => wrapped(line, style.columns)),
    ...words,
    ...(words.length === 0 ? [] : [""]),
    ...wrapped(verdictOf(plan), style.columns).map((line) =>
      paint(line, plan.knows ? "green" : "red", style),
    ),
  ].join("\n");
}

function headLines({ route, perSecond, baseline, harm, measured, steps }: DryRun): readonly string[] {
  const last = steps.at(-1);
  const [ends, ends90] = [last?.endsAt ?? null, last?.endsAt90 ?? null];
  const from = (isMeasured: boolean): string => (isMeasured ? "measured" : "assumed");
  return [
    `${plain(route)}: a dry run, nothing is started`,
    `${number(perSecond)} requests/s (${from(measured.perSecond)}), ${percentText(baseline * 100)} of which fail (${from(measured.baseline)}); ` +
      (steps.some(({ needs }) => needs.some(({ kind }) => kind === "detect"))
        ? `a rise of ${points(harm)} should be found`
        : "no rule compares errors with stable, so none finds a rise within the limits"),
    ends === null ? "never ends by itself" : `ends ${date(ends)}, ${date(ends90)} in nine of ten cases`,
  ];
}

/** Who is asked and told, and when. */
function peopleLines(plan: DryRun): readonly string[] {
  const { steps, windows, announceBy, messages } = plan;
  const gates = steps.flatMap(({ signers, acknowledge, checklist, critical, preflight }, index) => {
    const parts = [
      ...(preflight ? ["everything is checked beforehand"] : []),
      ...(signers.length === 0 ? [] : [`signed by ${signers.join(", ")}`]),
      ...(acknowledge.length === 0 ? [] : [`seen by ${acknowledge.join(", ")}`]),
      ...(checklist.length === 0 ? [] : [`done: ${checklist.join(", ")}`]),
    ];
    const mark = critical ? " (critical)" : "";
    return parts.length === 0 ? [] : [`step ${index + 1}${mark} is left when ${plain(parts.join("; "))}`];
  });
  const told = [...new Set(messages.flatMap(({ to }) => to))].join(" and ");
  const events = messages.map(({ event, at }) => `${event} ${date(at)}`).join(", ");
  const lines = [
    ...(windows.length === 0 ? [] : [`the weight rises ${windows.map(plain).join(" or ")} only`]),
    ...(announceBy === null ? [] : [`people are told by ${date(announceBy)}`]),
    ...gates,
    ...(plan.preflight.length === 0
      ? []
      : ["checked beforehand:", ...plan.preflight.map((line) => `  ${plain(line)}`)]),
    `messages to ${told}: ${events}`,
  ];
  return [...lines, ""];
}

function cellsOf(step: DryRunStep, index: number): readonly string[] {
  const isCompared = step.weight > 0 && step.weight < 100;
  return [
    `${index + 1}`,
    step.bake ? "bake" : percentText(step.weight),
    date(step.beginsAt),
    step.holdMs === 0 ? "-" : spanOf(step.holdMs),
    date(step.endsAt),
    number(step.canaryPerSecond),
    step.needs.some(({ kind }) => kind === "detect") ? riseOf(step) : "-",
    isCompared ? spans(step.prove) : "-",
    step.knows ? "yes" : "NO",
  ];
}

function riseOf({ smallestRise }: DryRunStep): string {
  return smallestRise === null ? "none" : points(smallestRise);
}

/** Half of the cases, and nine of ten where that is another time. */
function spans(takes: Takes | null): string {
  if (takes === null) return "-";
  const [half, most] = [spanOf(takes.p50Ms), spanOf(takes.p90Ms)];
  return half === most ? half : `${half} (${most})`;
}

function verdictOf({ steps, knows, stuckAt }: DryRun): string {
  if (knows) return "every step will know enough within its hold";
  if (stuckAt !== null) return `THIS ROLLOUT NEVER GETS PAST STEP ${stuckAt + 1} BY ITSELF`;
  const short = steps.flatMap((step, index) => (step.knows ? [] : [String(index + 1)]));
  return `cannot know enough within its hold: step ${short.join(", ")}`;
}

function date(at: string | null): string {
  return at === null ? "never" : `${at.slice(0, 10)} ${at.slice(11, 16)}Z`;
}

function number(value: number): string {
  return String(Number(value.toPrecision(3)));
}
