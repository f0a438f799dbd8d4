/**
 * What the clock tells people of a rollout: that it is about to begin, how it stands day by day, and how it ended. Pure: a book of what was told and what
 * is due, which is recorded with the rollout, and the texts.
 *
 * What is due is told once, however late: who was not told while the program was down is told at its start, once and not for each day.
 */

import { DAY, MINUTE, formatLocal, localMs, wallOfLocal } from "./civil.ts";
import { isTellingDue, withUpdate, type IncidentRecord, type Update } from "./incident.ts";
import { messageOf, type Figures, type Message } from "./message.ts";
import { milestoneOf } from "./milestone.ts";
import { isClimbing } from "./rollout-move.ts";
import { holdOf, type Wait } from "./rollout-tick.ts";
import type { Calendar, RolloutState } from "./rollout-types.ts";
import { formatDuration, formatRate, latencyText, millis, shareText, type Millis } from "./units.ts";

/** When people are told, and who answers for it; as it is configured. */
export interface BulletinSettings {
  /** So long before a start. */
  readonly notice: Millis;
  /** The time of day, minutes since midnight, and its zone. */
  readonly digest: "off" | { readonly at: number; readonly timezone: string };
  /** Of an incident that is not over: first after, and then every. */
  readonly incident: { readonly after: Millis; readonly every: Millis };
  /** The deployment lead; left out: who started the rollout. */
  readonly lead?: string | undefined;
}

/** What was told of one route's rollout, and what is to be. */
export interface BulletinBook {
  /** Which rollout it is about; empty: none. */
  readonly rollout: string;
  /** What ran on the canary, and who started it. */
  readonly version: string;
  readonly startedBy: string;
  readonly isAnnounced: boolean;
  /** When it began, wall-clock milliseconds; null: it has not. */
  readonly beganAtMs: number | null;
  /** When the next digest is due; null: none is. */
  readonly digestAtMs: number | null;
  /** What has happened since it was told of last; `omitted` more came before. */
  readonly updates: readonly Update[];
  readonly omitted: number;
  /** Nothing is left to be told: it has no plan, or its end was told. */
  readonly isClosed: boolean;
  /** The last few, oldest first. */
  readonly incidents: readonly IncidentRecord[];
}

/** Before anything. */
export const EMPTY_BOOK: BulletinBook = {
  rollout: "",
  version: "",
  startedBy: "",
  isAnnounced: false,
  beganAtMs: null,
  digestAtMs: null,
  updates: [],
  omitted: 0,
  isClosed: true,
  incidents: [],
};

/** What can be due. */
export type Due = "announced" | "digest" | "final_report" | "schedule_cancelled";

const MOST_UPDATES = 12;
const MOST_INCIDENTS = 5;

/** The first time after `wall` at which a digest is due. */
function nextDigest({ digest }: BulletinSettings, wall: number): number | null {
  if (digest === "off") return null;
  const { at, timezone } = digest;
  const day = Math.floor(localMs(wall, timezone) / DAY) * DAY;
  const today = wallOfLocal(day + at * MINUTE, timezone);
  return today > wall ? today : wallOfLocal(day + DAY + at * MINUTE, timezone);
}

/** The book after a decision that people are told of. */
export function bookAfter(
  book: BulletinBook,
  decided: {
    readonly to: RolloutState;
    readonly actor: string;
    readonly wall: number;
    readonly words: string;
  },
  settings: BulletinSettings,
): BulletinBook {
  const { to, actor, wall, words } = decided;
  const isNew = to.id !== "" && to.id !== book.rollout;
  const mine: BulletinBook = isNew
    ? {
        ...EMPTY_BOOK,
        rollout: to.id,
        version: to.version,
        startedBy: actor,
        isClosed: to.steps.length === 0,
        incidents: book.incidents,
      }
    : book;
  if (mine.isClosed) return mine;
  const begins = mine.beganAtMs === null && to.phase !== "scheduled" && to.id === mine.rollout;
  return {
    ...noted(mine, { atMs: wall, words }),
    beganAtMs: begins ? wall : mine.beganAtMs,
    digestAtMs: begins ? nextDigest(settings, wall) : mine.digestAtMs,
  };
}

/** The book with something more that has happened; one that is closed stays as it is. */
export function noted(book: BulletinBook, update: Update): BulletinBook {
  if (book.isClosed) return book;
  return {
    ...book,
    updates: withUpdate(book.updates, update, MOST_UPDATES),
    omitted: book.omitted + (book.updates.length < MOST_UPDATES ? 0 : 1),
  };
}

/** The book with an incident that is new, or has changed. */
export function withIncident(book: BulletinBook, incident: IncidentRecord): BulletinBook {
  const others = book.incidents.filter(({ id }) => id !== incident.id);
  const isKnown = others.length < book.incidents.length;
  const incidents = isKnown
    ? book.incidents.map((each) => (each.id === incident.id ? incident : each))
    : [...others, incident].slice(-MOST_INCIDENTS);
  return { ...book, incidents };
}

/** The incident of a rollout that is not over. */
export function openOf({ incidents }: BulletinBook, rollout: string): IncidentRecord | undefined {
  return incidents.findLast((each) => each.rollout === rollout && each.status === "open");
}

/** What of a rollout is to be told at `wall`; null: nothing. */
export function dueOf(
  book: BulletinBook,
  state: RolloutState,
  wall: number,
  { notice }: BulletinSettings,
): Due | null {
  if (book.isClosed) return null;
  // Who has not heard of it need not hear that nothing comes of it.
  if (state.id !== book.rollout) return book.isAnnounced ? "schedule_cancelled" : null;
  const { phase } = state;
  if (phase === "scheduled")
    return !book.isAnnounced && wall >= state.startsAtMs - notice ? "announced" : null;
  const isOver = openOf(book, book.rollout) === undefined;
  if (phase === "succeeded" || (phase === "rolled_back" && isOver)) return "final_report";
  return book.digestAtMs !== null && wall >= book.digestAtMs ? "digest" : null;
}

/** The book after `due` was told at `wall`. */
export function afterTelling(
  book: BulletinBook,
  due: Due,
  wall: number,
  settings: BulletinSettings,
): BulletinBook {
  if (due === "announced") return { ...book, isAnnounced: true };
  const told = { ...book, updates: [], omitted: 0 };
  return due === "digest"
    ? { ...told, digestAtMs: nextDigest(settings, wall) }
    : { ...told, digestAtMs: null, isClosed: true };
}

/** Whether anything is due at all; cheap, for it is asked every second. */
export function isAnythingDue(
  book: BulletinBook,
  state: RolloutState,
  wall: number,
  settings: BulletinSettings,
): boolean {
  return (
    book.incidents.some((each) => isTellingDue(each, wall)) || dueOf(book, state, wall, settings) !== null
  );
}

/** How a rollout stands, in a word for those who are kept informed. */
export type Standing = "ON TRACK" | "AT RISK" | "ROLLED BACK" | "SUCCEEDED";

/** What a bulletin is made of. */
export interface BulletinView {
  readonly route: string;
  readonly environment: string;
  readonly state: RolloutState;
  readonly calendar: Calendar;
  readonly figures: Figures;
  /** Warnings that are open, a line each. */
  readonly warnings: readonly string[];
  readonly waiting: Wait | null;
}

/** So long a step may wait beyond its hold for proof, or for people, before that puts it at risk. */
const LONGEST_PROOF_MS = 3_600_000;
const LONGEST_GATE_MS = DAY;

/** What puts a rollout at risk, a line each; empty: nothing does. */
export function risksOf({ state, warnings, waiting }: BulletinView): readonly string[] {
  const risks = [...warnings];
  if (state.phase === "paused") risks.push(state.reason);
  if (!isClimbing(state.phase) || waiting === null) return risks;
  const over = state.heldMs - holdOf(state);
  const words = `${waiting.words}, for ${formatDuration(millis(Math.max(0, Math.floor(over / MINUTE)) * MINUTE))} by now`;
  if (waiting.for === "gate" && over >= LONGEST_GATE_MS) risks.push(words);
  const isOverdue = ["evidence", "preflight", "confirmation", "webhook"].includes(waiting.for);
  if (isOverdue && over >= LONGEST_PROOF_MS) risks.push(words);
  return risks;
}

/** How it stands. */
export function standingOf(view: BulletinView): Standing {
  if (view.state.phase === "rolled_back") return "ROLLED BACK";
  if (view.state.phase === "succeeded") return "SUCCEEDED";
  return risksOf(view).length > 0 ? "AT RISK" : "ON TRACK";
}

/** What people are told when `due` is. */
export function bulletinMessage(due: Due, book: BulletinBook, view: BulletinView, lead: string): Message {
  const { route, environment, state, calendar } = view;
  const version = book.version === "" ? "a new version" : `version ${book.version}`;
  const look = `sluice report ${route}`;
  if (due === "schedule_cancelled")
    return messageOf(
      `${route}: the rollout of ${version} that was announced is cancelled`,
      [`Environment: ${environment}`, ...keyUpdates(book), `Deployment Lead: ${lead}`],
      look,
    );
  const lines = [...fieldsOf(book, view), `Deployment Lead: ${lead}`];
  if (due === "announced") {
    const zone = state.windows[0]?.timezone ?? "UTC";
    const summary = `${route}: a rollout of ${version} in ${environment} begins ${formatLocal(state.startsAtMs, zone)}`;
    const planned = `Plan: ${state.steps.map(({ weight, bake }) => (bake ? "bake" : formatRate(weight))).join(", ")}`;
    return messageOf(summary, [...lines, planned], look);
  }
  const standing = standingOf(view);
  const day = dayOf(book, calendar.wall);
  const has = `${formatRate(state.weight)} of the users`;
  const what = due === "digest" ? `day ${day}` : `final report on day ${day}`;
  const summary = `${route}: rollout of ${version} in ${environment}, ${what}: ${standing}, ${has}`;
  return messageOf(summary, lines, look);
}

function dayOf({ beganAtMs }: BulletinBook, wall: number): number {
  return Math.floor((wall - (beganAtMs ?? wall)) / DAY) + 1;
}

/** The fields of the plan's template. */
function fieldsOf(book: BulletinBook, view: BulletinView): readonly string[] {
  const { state, figures, calendar, environment } = view;
  const { canary, stable } = figures;
  const step = `step ${state.step + 1} of ${state.steps.length}`;
  const next = milestoneOf(state, calendar).words;
  return [
    `Status: ${standingOf(view)}`,
    ...risksOf(view).map((risk) => `- ${risk}`),
    `Environment: ${environment}`,
    `Rollout Percentage: ${formatRate(state.weight)} (${step})`,
    `Error Rate: ${shareText(canary.errorRate)} (stable ${shareText(stable.errorRate)})`,
    `P95 Latency: ${latencyText(canary.p95Ms)} (stable ${latencyText(stable.p95Ms)})`,
    `Requests: ${canary.requests} on the canary, ${canary.failures} failed since the proxy started`,
    ...keyUpdates(book),
    `Next Milestone: ${next === "" ? "none, it has ended" : next}`,
  ];
}

function keyUpdates({ updates, omitted }: BulletinBook): readonly string[] {
  return [
    "Key Updates:",
    ...(omitted === 0 ? [] : [`- ${omitted} more before these`]),
    ...(updates.length === 0 ? ["- none"] : []),
    ...updates.map(({ atMs, words }) => `- ${formatLocal(atMs, "UTC")} ${words}`),
  ];
}
