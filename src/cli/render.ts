/**
 * What people read: tables and lines made of what the admin API says. Pure: data in, text out, so that the same text serves a terminal,
 * a pipe, the demo and the tests.
 *
 * Colour is a parameter and never carries meaning alone: every state is also a word.
 */

import { stripVTControlCharacters, styleText } from "node:util";
import { valueText } from "../domain/alert-rule.ts";
import { formatDuration, latencyText, millis, percentText, shareText } from "../domain/units.ts";
import { explain } from "../engine/explain.ts";
import type { JournalLine } from "../engine/ports.ts";
import type { ArmStatus, CheckStatus, RouteStatus } from "../engine/status.ts";

/** How to draw. `columns`: the width that lines are cut to. */
export interface Style {
  readonly color: boolean;
  readonly columns: number;
}

type Paint = Parameters<typeof styleText>[0];

/** One route as a block of lines, without a line end at the end. */
export function routeText(route: RouteStatus, style: Style): string {
  const { stable, canary } = route.arms;
  const lines = [
    headline(route, style),
    ...safetyLines(route, style),
    ...(route.reason === "" ? [] : [`  ${plain(route.reason)}`]),
    `  weight  ${bar(route.weight, 30)} ${percentText(route.weight)}`,
    ...(route.steps.length === 0 ? [] : [`  plan    ${ladder(route, style)}`]),
    ...waitingLines(route, style),
    ...evidenceLines(route),
    ...alertLines(route, style),
    ...noteLines(route, style),
    "",
    ...table(ARM_HEAD, [armCells("stable", stable), armCells("canary", canary)], style).map(indent),
    ...endpointLines(route, style),
    "",
    `  verdict ${verdictText(route.verdict, style)}${rescuesText(route)}`,
    ...table(CHECK_HEAD, route.checks.map(checkCells), style).map(indent),
  ];
  const cut = lines.map((line) => clip(line, style.columns));
  return [...cut, ...explained(route, style)].join("\n");
}

function safetyLines({ safety }: RouteStatus, style: Style): readonly string[] {
  return Object.entries(safety).map(([which, { since, by, reason }]) =>
    paint(`  ${plain(`${which} is on since ${since}, by ${by}: ${reason}`)}`, "red", style),
  );
}

/** One route as a single line, for logs and pipes. */
export function routeLine(route: RouteStatus): string {
  const arm = (name: string, each: ArmStatus): string =>
    `${name} ${rate(each.perSecond)}/s ${shareText(each.errorRate)} p50 ${latencyText(each.p50Ms)} p95 ${latencyText(each.p95Ms)} p99 ${latencyText(each.p99Ms)}`;
  const { stable, canary } = route.arms;
  return `${route.name}  ${percentText(route.weight)}  ${route.phase}  |  ${arm("stable", stable)}  |  ${arm("canary", canary)}`;
}

/** Routes as a table of one line each. */
export function routesTable(routes: readonly RouteStatus[], style: Style): string {
  const rows = routes.map((each) => [
    each.name,
    percentText(each.weight),
    each.phase,
    each.steps.length === 0 ? "-" : `${each.step + 1} of ${each.steps.length}`,
    each.verdict,
    shareText(each.arms.stable.errorRate),
    shareText(each.arms.canary.errorRate),
    [...Object.keys(each.safety).map((which) => `${which} is on`), each.reason].filter(Boolean).join("; "),
  ]);
  const head = ["route", "weight", "phase", "step", "verdict", "stable err", "canary err", "reason"];
  return table(head, rows, style)
    .map((line) => clip(line, style.columns))
    .join("\n");
}

/** The journal as a table, oldest first. */
export function journalTable(lines: readonly JournalLine[], style: Style): string {
  const rows = lines.map((each) => [
    String(each.seq),
    each.at,
    each.route,
    each.event,
    `${percentText(each.before.weight)} -> ${percentText(each.after.weight)}`,
    each.after.phase,
    each.actor,
    each.reason,
  ]);
  return table(["seq", "at", "route", "event", "weight", "phase", "who", "reason"], rows, style)
    .map((line) => clip(line, style.columns))
    .join("\n");
}

/** A share of 100 as a bar of `width` cells; anything above zero shows at least one. */
export function bar(weight: number, width: number): string {
  const filled = weight <= 0 ? 0 : Math.max(1, Math.min(width, Math.round((weight / 100) * width)));
  return "█".repeat(filled) + "░".repeat(width - filled);
}

/** `line` cut to `columns` visible characters; its colours end with it. */
export function clip(line: string, columns: number): string {
  if (stripVTControlCharacters(line).length <= columns) return line;
  let visible = 0;
  let text = "";
  // Escape sequences take no room; split keeps them as the odd parts.
  for (const [index, part] of line.split(/(\p{Cc}\[[0-9;]*m)/u).entries()) {
    if (index % 2 === 1) text += part;
    else {
      const room = Math.max(0, columns - 1 - visible);
      text += part.slice(0, room);
      visible += Math.min(part.length, room);
    }
  }
  return `${text}…`;
}

/** Milliseconds as a duration for people: tenths below ten seconds, whole seconds above. */
export function durationText(ms: number): string {
  const rounded = ms < 10_000 ? Math.round(ms / 100) * 100 : Math.round(ms / 1000) * 1000;
  return rounded > 0 && rounded < 10_000
    ? `${rounded / 1000}s`
    : formatDuration(millis(Math.max(0, rounded)));
}

const PHASE_PAINT: Readonly<Record<RouteStatus["phase"], Paint>> = {
  idle: "gray",
  scheduled: "cyan",
  progressing: "cyan",
  paused: "yellow",
  baking: "cyan",
  succeeded: "green",
  rolled_back: "red",
};

function headline(route: RouteStatus, style: Style): string {
  const parts = [
    paint(plain(route.name), "bold", style),
    paint(route.phase, PHASE_PAINT[route.phase], style),
  ];
  if (route.steps.length > 0)
    parts.push(`step ${route.step + 1} of ${route.steps.length} (index ${route.step})`);
  const isMoving = route.phase === "progressing" || route.phase === "baking" || route.phase === "paused";
  if (isMoving && route.steps.length > 0) {
    parts.push(`held ${durationText(route.heldMs)}, ${durationText(route.holdLeftMs)} left`);
  }
  if (route.rollout !== "") parts.push(`rollout ${plain(route.rollout)}`);
  return parts.join("  ");
}

function ladder(route: RouteStatus, style: Style): string {
  return route.steps
    .map((each, index) => {
      const text = `${each.bake ? "bake" : percentText(each.weight)}${each.critical ? "!" : ""}`;
      if (index === route.step) return paint(`[${text}]`, "bold", style);
      return index < route.step ? paint(text, "green", style) : text;
    })
    .join(" > ");
}

function noteLines(route: RouteStatus, style: Style): readonly string[] {
  const notes: string[] = [];
  if (route.cooldownLeftMs > 0) {
    notes.push(`  no new rollout for ${durationText(route.cooldownLeftMs)} (cooldown)`);
  }
  if (!route.recorded) {
    notes.push(
      paint("  what is in force is not on record yet; the weight rises no further until it is", "red", style),
    );
  }
  const last = route.lastRollback;
  if (last !== null) {
    notes.push(
      `  last rollback ${last.at} at ${percentText(last.fromWeight)}: ${plain(last.reason)}; ` +
        `${last.requestsFailed} failed, ${last.requestsRescued} of them rescued, in force after ${last.tookMs.toFixed(1)} ms`,
    );
  }
  return notes;
}

/** What it waits for, and what people have said. */
function waitingLines({ waiting, gate }: RouteStatus, style: Style): readonly string[] {
  return [
    ...(waiting === null ? [] : [`  waits   ${waiting.for}: ${plain(waiting.words)}`]),
    ...(gate === null || waiting?.for === "gate"
      ? []
      : [`  gate    ${paint(plain(gate.words), gate.granted ? "green" : "yellow", style)}`]),
  ];
}

const ALERT_PAINT: Readonly<Record<RouteStatus["alerts"][number]["severity"], Paint>> = {
  warning: "yellow",
  critical: "red",
  emergency: "red",
};

/** What is open, and what should be and is not. */
function alertLines({ alerts, targets }: RouteStatus, style: Style): readonly string[] {
  const open = alerts.map(({ severity, metric, rule, value, openMs, acknowledged, muted }) => {
    const now = valueText(metric, value);
    const said =
      acknowledged === null ? (muted === null ? "" : `, ${muted}`) : `, seen by ${acknowledged.by}`;
    const told = `${severity}: ${rule}${now === "" ? "" : `, now ${now}`}, for ${durationText(openMs)}${said}`;
    return `  alert   ${paint(plain(told), ALERT_PAINT[severity], style)}`;
  });
  const known = targets.filter(({ met }) => met !== null);
  if (known.length === 0) return open;
  const said = known.map(({ target, met }) => `${target} ${met === true ? "met" : "not met"}`);
  return [...open, `  target  ${plain(said.join(", "))}`];
}

/** How far the evidence for the next step is. */
function evidenceLines({ evidenceRatio, evidenceEtaMs }: RouteStatus): readonly string[] {
  if (evidenceRatio === null) return [];
  const left =
    evidenceEtaMs === null
      ? "no telling how long the rest takes"
      : evidenceEtaMs === 0
        ? "enough to climb"
        : `about ${durationText(evidenceEtaMs)} to go at best`;
  return [`  proof   ${bar(100 * evidenceRatio, 30)} ${Math.floor(100 * evidenceRatio)} %, ${left}`];
}

/** What happened and what to do, in whole sentences: of a rollback, or of whatever asks for somebody. */
function explained(route: RouteStatus, style: Style): readonly string[] {
  const isOver = route.phase === "rolled_back" && route.lastRollback !== null;
  const said = isOver
    ? route.lastRollback.explanation
    : route.checks.flatMap((check) => (check.advice === "" ? [] : explain(check)));
  const lines = [...new Set(said)].flatMap((text) => wrapped(plain(text), style.columns - 4));
  return lines.length === 0 ? [] : ["", ...lines.map((line) => `  ${line}`)];
}

/** `text` in lines of at most `columns`, the further ones indented; a longer word stands alone. */
export function wrapped(text: string, columns: number): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = `  ${word}`;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

const ARM_HEAD = [
  "arm",
  "version",
  "req/s",
  "requests",
  "failures",
  "errors",
  "P50",
  "P95",
  "P99",
  "open",
  "endpoints",
];

function armCells(name: string, arm: ArmStatus): readonly string[] {
  const healthy = arm.endpoints.filter((each) => each.healthy !== false).length;
  return [
    name,
    arm.version === "" ? "-" : arm.version,
    rate(arm.perSecond),
    String(arm.requests),
    String(arm.failures),
    shareText(arm.errorRate),
    latencyText(arm.p50Ms),
    latencyText(arm.p95Ms),
    latencyText(arm.p99Ms),
    String(arm.inFlight + arm.longLived),
    `${healthy}/${arm.endpoints.length} up`,
  ];
}

function endpointLines(route: RouteStatus, style: Style): readonly string[] {
  return (["stable", "canary"] as const).flatMap((name) =>
    route.arms[name].endpoints
      .filter((each) => each.healthy === false)
      .map((each) =>
        paint(
          `  ${name} ${each.url} is unhealthy, ${each.failures} failed probes: ${plain(each.detail)}`,
          "red",
          style,
        ),
      ),
  );
}

function verdictText(verdict: RouteStatus["verdict"], style: Style): string {
  const colors: Readonly<Record<RouteStatus["verdict"], Paint>> = {
    successful: "green",
    failed: "red",
    inconclusive: "yellow",
  };
  return paint(verdict, colors[verdict], style);
}

function rescuesText(route: RouteStatus): string {
  const { answered, failed, refused } = route.rescues;
  return answered + failed + refused === 0
    ? ""
    : `   rescues: ${answered} answered, ${failed} failed, ${refused} refused`;
}

const CHECK_HEAD = ["rule", "action", "verdict", "observed", "limit", "evidence", "breach", "detail"];

function checkCells(check: CheckStatus): readonly string[] {
  return [
    check.rule,
    check.action,
    check.verdict,
    check.observed === null ? "-" : inUnit(check.observed, check.unit),
    inUnit(check.limit, check.unit),
    `${Number(check.have.toFixed(1))}/${Number(check.need.toFixed(1))}`,
    check.breachMs === null ? "-" : `${durationText(check.breachMs)} of ${durationText(check.forMs)}`,
    check.detail,
  ];
}

function inUnit(value: number, unit: CheckStatus["unit"]): string {
  if (unit === "fraction") return shareText(value);
  return unit === "ms" ? latencyText(value) : String(value);
}

function rate(perSecond: number): string {
  return perSecond.toFixed(1);
}

/** Cells in columns: the first row is the head; cells of numbers stand to the right. No rows, no table. */
export function table(
  head: readonly string[],
  texts: readonly (readonly string[])[],
  style: Style,
): readonly string[] {
  if (texts.length === 0) return [];
  const rows = texts.map((cells) => cells.map(plain));
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((cells) => (cells[column] ?? "").length)),
  );
  const isNumeric = head.map((_, column) =>
    rows.every((cells) => /^(-|[\d.]+( %| ms)?)$/.test(cells[column] ?? "")),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) =>
        isNumeric[column] === true ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join("  ")
      .trimEnd();
  return [paint(line(head), "dim", style), ...rows.map(line)];
}

/** `text` without control characters: reasons and names come from elsewhere, and must not be able to drive the reader's terminal. */
export function plain(text: string): string {
  return stripVTControlCharacters(text).replace(/\p{Cc}+/gu, " ");
}

function indent(line: string): string {
  return `  ${line}`;
}

/** `text` in a colour, where there are colours. */
export function paint(text: string, format: Paint, style: Style): string {
  return style.color ? styleText(format, text, { validateStream: false }) : text;
}
