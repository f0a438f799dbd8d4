/**
 * What people are told, as text: a message is made of what was decided, on which evidence, and what comes next. Pure, so that every message there is can be
 * read in one file of the tests.
 *
 * The summary is one line for somebody who was woken a moment ago: what happened, to which route, and whether users are on the canary. The lines
 * say the rest and are few. Everything that came from elsewhere (a reason that a person typed, what an upstream said) is one plain line by then.
 */

import { formatLocal } from "./civil.ts";
import type { RolloutState } from "./rollout-types.ts";
import type { Arm } from "./split.ts";
import { NONE, formatRate, latencyText, shareText } from "./units.ts";

/** A message as text. */
export interface Message {
  readonly summary: string;
  readonly lines: readonly string[];
}

/** What both arms measured of late. */
export type Figures = Readonly<
  Record<
    Arm,
    {
      readonly requests: number;
      readonly failures: number;
      readonly errorRate: number | null;
      readonly p95Ms: number | null;
    }
  >
>;

/** A decision, and what is known around it. */
export interface Decided {
  readonly route: string;
  readonly environment: string;
  readonly event: string;
  readonly from: RolloutState;
  readonly to: RolloutState;
  readonly actor: string;
  readonly reason: string;
  /** Wall-clock milliseconds. */
  readonly wall: number;
  /** Null: there are none that say something. */
  readonly figures: Figures | null;
  /** What the evidence says, in lines. */
  readonly explanation: readonly string[];
  /** What comes next, in words; empty: nothing does. */
  readonly next: string;
}

/** So many lines has a message at the most. */
export const MOST_LINES = 30;
const LONGEST_LINE = 400;

/** `text` as one line without anything that could drive a terminal or name a password in a URL. */
export function plainLine(text: string): string {
  const plain = text
    .replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\s]+/gu, " ")
    .replaceAll(/:\/\/[^\s/@]+@/g, "://")
    .trim();
  return plain.length > LONGEST_LINE ? `${plain.slice(0, LONGEST_LINE)}…` : plain;
}

/** A message of these lines, as many of them as it may have; `look`: where the rest can be read. */
export function messageOf(summary: string, lines: readonly string[], look: string): Message {
  const all = [summary, ...lines].map(plainLine).filter((line) => line !== "");
  const left = all.length - MOST_LINES + 1;
  const kept = all.length <= MOST_LINES ? all : [...all.slice(0, -left), `${left} more lines: ${look}`];
  return { summary: plainLine(summary), lines: kept };
}

/** `"step 2 of 8, the canary has 5%"`; without a plan the weight alone. */
function placeOf({ step, steps, weight }: RolloutState): string {
  const has = `the canary has ${formatRate(weight)}`;
  return steps.length === 0 ? has : `step ${step + 1} of ${steps.length}, ${has}`;
}

/** What an arm measured of late. */
export function figuresLine(arm: Arm, figures: Figures): string {
  const { requests, failures, errorRate, p95Ms } = figures[arm];
  const late = `${shareText(errorRate)} errors, P95 ${latencyText(p95Ms)} in the last minute`;
  return `${arm}: ${late}; ${requests} requests, ${failures} failed since the proxy started`;
}

/** What was decided. */
export function decisionMessage(decided: Decided): Message {
  const { route, environment, to, from, actor, wall, figures, explanation, next, event } = decided;
  const version = to.version === "" ? "" : `, version ${to.version}`;
  const rollout = to.id || from.id;
  const by = actor === "sluice" ? "by itself" : `by ${actor}`;
  const lines = [
    `${formatLocal(wall, "UTC")}, ${environment}, rollout ${rollout}${version}: ${event} ${by}`,
    ...explanation,
    ...(from.weight === to.weight || event === "ROLLBACK_DONE"
      ? []
      : [`The weight went from ${formatRate(from.weight)} to ${formatRate(to.weight)}.`]),
    ...(to.phase === "idle" ? [] : [`Now: ${to.phase}, ${placeOf(to)}.`]),
    ...(figures === null ? [] : [figuresLine("canary", figures), figuresLine("stable", figures)]),
    ...(next === "" ? [] : [`Next: ${next}.`]),
    ...toDo(decided),
  ];
  return messageOf(`${route}: ${sentenceOf(decided)}`, lines, `sluice status ${route}`);
}

/** What a rule that is held back is told as. */
export function heldMessage(held: {
  readonly route: string;
  readonly rule: string;
  readonly detail: string;
  readonly explanation: readonly string[];
  readonly weight: string;
}): Message {
  const { route, rule, detail, explanation, weight } = held;
  const summary = `${route}: the weight stays where it is, at ${weight}: ${rule}: ${detail}`;
  return messageOf(summary, explanation, `sluice status ${route}`);
}

/** What trouble with the record is told as. */
export function storeMessage(event: StoreEvent, detail: string): Message {
  const { summary, advice } = STORE[event];
  return messageOf(`${summary}${detail === "" ? "" : `: ${detail}`}`, advice, "sluice status");
}

/** What can be wrong with the record, or right again. */
export type StoreEvent = "state_corrupt" | "state_unwritable" | "state_recorded_again";

const STORE: Readonly<Record<StoreEvent, { readonly summary: string; readonly advice: readonly string[] }>> =
  {
    state_corrupt: {
      summary: "the recorded state is unreadable, every route starts at weight 0",
      advice: [
        "Every user is on stable. To put a backup in force: sluice backup --list, sluice restore NAME.",
      ],
    },
    state_unwritable: {
      summary: "the state cannot be recorded, no weight can rise, rolling back works",
      advice: ["Traffic is served and judged as before. Look at the disk of the state folder."],
    },
    state_recorded_again: { summary: "the state can be recorded again", advice: [] },
  };

/** `": "` and the reason, without the word that was said already; empty when there is none. */
export function because(reason: string): string {
  const why = reason.replace(/^(?:Rolled back|Paused|Tripped|Held): /, "");
  return why === "" ? "" : `: ${why}`;
}

function versionOf({ version }: RolloutState): string {
  return version === "" ? "a new version" : `version ${version}`;
}

/** Who is where, for a message about the canary's traffic. */
function usersAt({ weight }: RolloutState): string {
  return weight === NONE ? "every user is on stable" : `${formatRate(weight)} of the users are on the canary`;
}

const SENTENCES: Readonly<Record<string, (decided: Decided) => string>> = {
  DEPLOY_START: ({ to }) => `the rollout of ${versionOf(to)} has begun, ${placeOf(to)}`,
  ROLLOUT_SCHEDULED: ({ to, reason }) => `a rollout of ${versionOf(to)} is ${reason}`,
  SCHEDULE_CANCELLED: ({ from, reason }) =>
    `the rollout of ${versionOf(from)} that was scheduled is cancelled${because(reason)}`,
  STEP_STARTED: ({ to, from }) =>
    to.phase === "baking"
      ? `the bake has begun, ${placeOf(to)}`
      : `the canary goes from ${formatRate(from.weight)} to ${formatRate(to.weight)}, step ${to.step + 1} of ${to.steps.length}`,
  STEPPED_BACK: ({ to, reason }) => `back to the step before, ${placeOf(to)}${because(reason)}`,
  STEP_EXTENDED: ({ reason }) => `the step takes longer: ${reason}`,
  GATE_OPENED: ({ to, reason }) =>
    `people have to decide at step ${to.step + 1} of ${to.steps.length}: ${reason}`,
  GATE_SIGNED: ({ reason }) => reason,
  GATE_REJECTED: ({ to, reason }) => `the gate is refused, ${placeOf(to)}: ${reason}`,
  RAISE_CONFIRMED: ({ reason }) => reason,
  ROLLOUT_PAUSED: ({ to, reason }) => `paused, ${placeOf(to)}${because(reason)}`,
  ROLLOUT_RESUMED: ({ to, reason }) => `goes on, ${placeOf(to)}${because(reason)}`,
  VALIDATION_COMPLETE: ({ reason }) => `the checks before the step are well: ${reason}`,
  VALIDATION_FAILED: ({ to, reason }) => `the checks before the step failed, ${placeOf(to)}: ${reason}`,
  VALIDATION_RETRIED: ({ reason }) => `the checks before the step are run again${because(reason)}`,
  WEIGHT_SET: ({ actor, to, from, reason }) =>
    `${actor} has set the weight from ${formatRate(from.weight)} to ${formatRate(to.weight)}${because(reason)}`,
  RESTORED: ({ to, reason }) => `${reason}, ${usersAt(to)}`,
  TRIPPED: ({ from, reason }) =>
    `alarm, the canary's ${formatRate(from.weight)} are on stable until it is tried again${because(reason)}`,
  TRIP_PROBED: ({ to }) => `the canary is tried again after an alarm, ${placeOf(to)}`,
  ROLLBACK_DONE: ({ from, to, reason }) =>
    `ROLLED BACK from ${formatRate(from.weight || from.trippedFrom)}, ${usersAt(to)}${because(reason)}`,
  ROLLBACK_HELD: ({ to, reason }) =>
    `NOT rolled back, stable is unhealthy too and ${usersAt(to)}${because(reason)}`,
  ROLLBACK_VERIFIED: ({ reason }) => reason,
  DEPLOY_SUCCESS: ({ to }) => `the rollout of ${versionOf(to)} has succeeded, ${usersAt(to)}`,
};

function sentenceOf(decided: Decided): string {
  const sentence = SENTENCES[decided.event];
  return sentence?.(decided) ?? `${decided.event}${because(decided.reason)}`;
}

/** What to do now, as it is typed. */
function toDo({ event, route, to }: Decided): readonly string[] {
  switch (event) {
    case "GATE_OPENED":
      return [
        `To sign: sluice approve ${route} --step ${to.step}; to refuse: sluice reject ${route} --step ${to.step}`,
      ];
    case "ROLLOUT_PAUSED":
    case "GATE_REJECTED":
      return [`To go on: sluice resume ${route}; to end it: sluice rollback ${route} --reason CODE`];
    case "VALIDATION_FAILED":
      return [`To check again: sluice retry ${route}; to end it: sluice rollback ${route} --reason CODE`];
    case "ROLLBACK_HELD":
      return [`To take the canary away all the same: sluice rollback ${route} --reason CODE`];
    default:
      return to.weight > NONE ? [`To take the canary away: sluice rollback ${route} --reason CODE`] : [];
  }
}
