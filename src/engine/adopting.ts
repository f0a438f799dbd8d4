/** A document that another replica has saved, and what still waits here to be saved: what becomes of both. Pure. */

import { NO_ALERTS, type Alert, type AlertState } from "../domain/alert.ts";
import { noted, openOf, withIncident, type BulletinBook } from "../domain/bulletin.ts";
import type { Update } from "../domain/incident.ts";
import { loweredAgain } from "../domain/lowering.ts";
import type { RolloutState } from "../domain/rollout-types.ts";
import { millis } from "../domain/units.ts";
import { isRunning } from "./read.ts";
import type { RecordedState, RecordedTelling, StateDocument } from "./ports.ts";

/**
 * What waits to be saved of a route: that time has passed, which may wait where many are given it; the same where it may not; something that lowers or
 * stops; or anything else.
 */
export type Pending = "time" | "pressing" | "lowers" | "raises";

type Routes = Readonly<Record<string, RecordedState>>;

/** Whether document `a` is newer than `b`. */
export function isNewer(
  a: Pick<StateDocument, "version" | "epoch">,
  b: Pick<StateDocument, "version" | "epoch">,
): boolean {
  const [newer, older] = [a.epoch ?? 0, b.epoch ?? 0];
  return newer > older || (newer === older && a.version > b.version);
}

/** What this replica holds against a newer document. */
export interface Held {
  /** What was on record before. */
  readonly known: Routes;
  /** What is, or is to be, recorded by this replica. */
  readonly mine: Routes;
  readonly pending: ReadonlyMap<string, Pending>;
  readonly leads: boolean;
}

/** What becomes of it. */
export interface Adopted {
  /** What is to be recorded. */
  readonly routes: Routes;
  /** What of the pending is still to be saved. */
  readonly kept: ReadonlyMap<string, Pending>;
  /** Routes that are not what they were here. */
  readonly changed: Routes;
}

/** Takes in `theirs`. */
export function adopted(theirs: Routes, held: Held): Adopted {
  const routes: Record<string, RecordedState> = {};
  const changed: Record<string, RecordedState> = {};
  const kept = new Map<string, Pending>();
  for (const [name, state] of Object.entries(theirs)) {
    const mine = held.mine[name];
    const pending = held.pending.get(name);
    const isAsKnown = isSameDecision(state, held.known[name]);
    if (mine !== undefined && pending !== undefined && pending !== "lowers" && isAsKnown && held.leads) {
      routes[name] = mine;
      kept.set(name, pending);
      continue;
    }
    const lowered = mine === undefined ? null : loweredOver(state, mine, pending);
    // Of what the store has lost it holds nothing, though it was on record.
    const before = pending === undefined ? undefined : held.known[name];
    routes[name] = changed[name] =
      mine === undefined || lowered === null ? state : { ...lowered, ...toldOf(state, mine, before) };
    if (lowered !== null) kept.set(name, "lowers");
  }
  // Routes of which nobody else has recorded anything yet.
  for (const [name, pending] of held.pending) {
    const mine = held.mine[name];
    if (theirs[name] !== undefined || mine === undefined) continue;
    routes[name] = mine;
    kept.set(name, pending);
  }
  return { routes, kept, changed };
}

/** What `theirs` becomes by a lowering that is not in it: one that still waits, or one that the store has lost. */
function loweredOver(
  theirs: RecordedState,
  mine: RecordedState,
  pending: Pending | undefined,
): RolloutState | null {
  const isLost = pending === undefined && theirs.id === mine.id && theirs.revision <= mine.revision;
  if (pending !== "lowers" && !isLost) return null;
  const lowered = loweredAgain(theirs, mine);
  // What was lost may have stopped or climbed as well: only what has less traffic by it is worth more than the record.
  const isLess = lowered !== null && (meantBy(lowered) < meantBy(theirs) || pending === "lowers");
  return isLess ? { ...lowered, revision: Math.max(lowered.revision, mine.revision) } : null;
}

/**
 * What goes with a lowering that meets `theirs`: what people are told of it is not known there. All else is as it is told there.
 *
 * @param before what was on record when `mine` was decided; undefined: nothing of it is
 */
function toldOf(
  theirs: RecordedState,
  mine: RecordedState,
  before: RecordedState | undefined,
): RecordedTelling & Pick<RecordedState, "alerts"> {
  const known = theirs.notices ?? [];
  const more = added(mine.notices, known, before?.notices, ({ notice }) => notice.id);
  const [bulletins, alerts] = [bookWith(theirs, mine, before), alertsWith(theirs, mine, before)];
  return {
    ...(more.length === 0 ? {} : { notices: [...known, ...more] }),
    ...(bulletins === undefined ? {} : { bulletins }),
    ...(alerts === undefined ? {} : { alerts }),
  };
}

/** What is in `mine` and came there since `before`; what is gone from `theirs` by now stays gone. */
function added<T>(
  mine: readonly T[] = [],
  theirs: readonly T[] = [],
  before: readonly T[] = [],
  idOf: (each: T) => string,
): readonly T[] {
  const known = new Set([...theirs, ...before].map((each) => idOf(each)));
  return mine.filter((each) => !known.has(idOf(each)));
}

/** Their book, with the incident that the lowering is and what it has noted. */
function bookWith(
  { id, bulletins: theirs }: RecordedState,
  { bulletins: mine }: RecordedState,
  before: RecordedState | undefined,
): BulletinBook | undefined {
  if (theirs === undefined || mine === undefined) return theirs ?? mine;
  const incidents = added(mine.incidents, theirs.incidents, before?.bulletins?.incidents, (each) => each.id);
  const book = incidents
    // Both may have rolled back: then theirs is the one that people are told of.
    .filter(({ rollout }) => rollout === id && openOf(theirs, rollout) === undefined)
    .reduce(withIncident, theirs);
  const updates = added(mine.updates, theirs.updates, before?.bulletins?.updates, wordsAt);
  return mine.rollout === theirs.rollout ? updates.reduce(noted, book) : book;
}

function wordsAt({ atMs, words }: Update): string {
  return `${atMs} ${words}`;
}

/** Their alerts, with those that the lowering opened. */
function alertsWith(
  { id, alerts: theirs = NO_ALERTS }: RecordedState,
  { alerts: mine }: RecordedState,
  before: RecordedState | undefined,
): AlertState | undefined {
  if (mine === undefined) return undefined;
  const isTheirs = ({ subject, rollout }: Alert): boolean =>
    theirs.alerts.some((each) => each.subject === subject && each.rollout === rollout);
  const alerts = mine.alerts.filter((each) => each.rollout === id && !isTheirs(each));
  const incidents = added(
    mine.incidents,
    theirs.incidents,
    before?.alerts?.incidents,
    (each) => each.id,
  ).filter((incident) => alerts.some((each) => each.incident === incident.id));
  const ids = new Set(incidents.map((each) => each.id));
  return {
    ...theirs,
    next: Math.max(theirs.next, mine.next),
    alerts: [...theirs.alerts, ...alerts.filter(({ incident }) => ids.has(incident))],
    incidents: [...theirs.incidents, ...incidents],
  };
}

/** The canary's share, also what comes back after an alarm. */
function meantBy({ weight, trippedFrom }: RolloutState): number {
  return weight + trippedFrom;
}

/** Whether both came of the same decision. */
export function isSameDecision(a: RolloutState, b: RolloutState | undefined): boolean {
  return a.id === b?.id && a.revision === b.revision && a.weight === b.weight && a.phase === b.phase;
}

/** What `theirs` is here: what this replica has seen itself is its own, for how long it has been above a limit, too. */
export function followed(from: RolloutState, theirs: RolloutState): RolloutState {
  return theirs.id === from.id && isRunning(theirs) ? { ...theirs, clocks: from.clocks } : theirs;
}

/** What a decision that was taken over has moved. */
export function moveOf(
  from: RolloutState,
  to: RolloutState,
): {
  /** Other traffic comes to the canary, or another canary. */
  readonly isMoved: boolean;
  /** An alarm has begun, or the probing after it: what was measured before is no evidence. */
  readonly isAlarm: boolean;
  /** Less traffic comes for good: what lives long is closed. */
  readonly isCut: boolean;
} {
  const begins = (phase: "tripped" | "probing"): boolean =>
    to.confirmation.phase === phase && from.confirmation.phase !== phase;
  return {
    isMoved: to.weight !== from.weight || to.id !== from.id,
    isAlarm: begins("tripped") || begins("probing"),
    isCut: to.weight < from.weight && !begins("tripped"),
  };
}

/** How long each rule has been broken, by whoever has seen it for longer. */
export function longestClocks(a: RolloutState["clocks"], b: RolloutState["clocks"]): RolloutState["clocks"] {
  const ids = [...Object.keys(a), ...Object.keys(b)];
  return Object.fromEntries(ids.map((id) => [id, millis(Math.max(a[id] ?? 0, b[id] ?? 0))]));
}

/** Whether one place in a stream is after another: places are `MILLISECONDS-NUMBER`. */
export function isAfter(a: string, b: string): boolean {
  // There are always two numbers.
  const [ms, nth] = a.split("-").map(Number) as [number, number];
  const [otherMs, otherNth] = b.split("-").map(Number) as [number, number];
  return ms > otherMs || (ms === otherMs && nth > otherNth);
}
