/**
 * When a weight may rise: deployment windows, freezes, and the notice before a scheduled start. Pure; times are milliseconds of the wall
 * clock, which is the one that people make appointments by (product.md §2.19).
 *
 * All of this binds raises only. A rollback asks nobody, at no hour (product.md §2.18): the caller asks here before it raises, and never
 * before it lowers.
 *
 * A window opens once on each of its days and closes once. It opens at the first instant at which the clocks of its zone show `from` or
 * later, and closes at the first at which they show `to` or later. So where the clocks jump ahead over its start it opens right after the
 * jump, and one that lies wholly in the hour that is skipped is left out on that day. Where an hour comes twice, a window that begins in it
 * opens the first time through, one that ends in it closes the first time through and does not open again for the second (people have gone
 * by then), and one that spans it is an hour longer. Where nothing is said in windows, it is always open, freezes aside.
 */

import {
  DAY,
  MINUTE,
  WEEKDAYS,
  formatClockTime,
  formatLocal,
  formatWeekday,
  isTimeZone,
  localMs,
  wallOfLocal,
  weekdayOf,
  type Weekday,
} from "./civil.ts";
import { refused, type Refusal } from "./refusal.ts";
import { formatDuration, millis, type Millis } from "./units.ts";

/** A time of day in which the weight may rise. */
export interface DeploymentWindow {
  /** Minutes since midnight, from 0 to 1439. */
  readonly from: number;
  /** Minutes since midnight, from 0 to 1440; before `from` it is of the next day. */
  readonly to: number;
  /** The days on which it opens. */
  readonly weekdays: readonly Weekday[];
  /** A zone of the IANA database. */
  readonly timezone: string;
}

/** A time in which no weight rises, whatever the windows say. */
export interface Freeze {
  /** Wall-clock milliseconds, included. */
  readonly from: number;
  /** Wall-clock milliseconds, not included. */
  readonly to: number;
  readonly reason: string;
}

/** How far ahead is looked: more than a year, so that no yearly habit is missed. */
export const HORIZON_DAYS = 400;

/** A time in which one window is open, from `start` (included) to `end` (not included); empty where the clocks jump over it. */
interface Span {
  readonly start: number;
  readonly end: number;
}

/** What is wrong with a window; empty when it may be used. The other functions take only such. */
export function checkWindow(window: DeploymentWindow): readonly string[] {
  const { from, to, weekdays, timezone } = window;
  const problems: string[] = [];
  if (!isMinute(from) || from === 1440) problems.push("a window opens between 00:00 and 23:59");
  if (!isMinute(to)) problems.push("a window closes between 00:00 and 24:00");
  if (from === to) {
    const time = formatClockTime(from);
    problems.push(`a window from ${time} to ${time} is empty; the whole day is from 00:00 to 24:00`);
  }
  if (weekdays.length === 0) problems.push("a window without a weekday never opens");
  if (!isTimeZone(timezone)) problems.push(`there is no time zone "${timezone}" (Europe/Berlin, UTC)`);
  return problems;
}

/** What is wrong with a freeze; empty when it may be used. */
export function checkFreeze(freeze: Freeze): readonly string[] {
  const problems: string[] = [];
  if (!(freeze.from < freeze.to)) problems.push("a freeze must end after it begins");
  if (freeze.reason.trim() === "") problems.push("a freeze needs a reason");
  return problems;
}

/** Whether the weight may rise at `wall`. */
export function isOpen(
  windows: readonly DeploymentWindow[],
  freezes: readonly Freeze[],
  wall: number,
): boolean {
  if (freezeAt(freezes, wall) !== undefined) return false;
  return windows.length === 0 || windows.some((window) => isWithin(window, wall));
}

/** The first instant from `wall` on at which the weight may rise: `wall` itself when it may now, null when none is within the horizon. */
export function nextOpening(
  windows: readonly DeploymentWindow[],
  freezes: readonly Freeze[],
  wall: number,
): number | null {
  return opening(windows, freezes, wall)?.at ?? null;
}

/** Why the weight may not rise at `wall` and when it may, for people; null when it may. */
export function whyClosed(
  windows: readonly DeploymentWindow[],
  freezes: readonly Freeze[],
  wall: number,
): string | null {
  const next = opening(windows, freezes, wall);
  if (next?.at === wall) return null;
  const freeze = freezeAt(freezes, wall);
  const why = freeze === undefined ? `outside ${formatWindows(windows)}` : `frozen (${freeze.reason})`;
  const when =
    next === null
      ? `does not open within ${HORIZON_DAYS} days`
      : `opens ${formatLocal(next.at, next.timezone)}`;
  return `${why}, ${when}`;
}

/** `"09:00–10:00 UTC on Mon, Tue"`; without the days when it is all of them. */
export function formatWindow({ from, to, weekdays, timezone }: DeploymentWindow): string {
  const days = WEEKDAYS.filter((day) => weekdays.includes(day));
  const on = days.length === WEEKDAYS.length ? "" : ` on ${days.map(formatWeekday).join(", ")}`;
  return `${formatClockTime(from)}–${formatClockTime(to)} ${timezone}${on}`;
}

/** The last instant at which people can be told of a start at `start` with that much notice. */
export function announceBy(start: number, notice: Millis): number {
  return start - notice;
}

/**
 * Whether a start at `start` leaves people the notice that they were promised.
 *
 * @param waiver why this start need not; null when it must
 */
export function checkAnnounce(
  start: number,
  notice: Millis,
  wall: number,
  waiver: string | null,
): { readonly ok: true } | Refusal {
  if (wall <= announceBy(start, notice)) return { ok: true };
  if (waiver !== null)
    return waiver.trim() === ""
      ? refused("SPLIT_INPUT_INVALID", "to waive the notice needs a reason")
      : { ok: true };
  const left = millis(Math.floor(Math.max(0, start - wall) / MINUTE) * MINUTE);
  // Up to the next whole minute, so that doing what the message says is enough.
  const earliest = formatLocal(Math.ceil((wall + notice) / MINUTE) * MINUTE, "UTC");
  return refused(
    "SPLIT_INPUT_INVALID",
    `a start at ${formatLocal(start, "UTC")} leaves ${formatDuration(left)} of notice, and ${formatDuration(notice)} are promised: ` +
      `start at ${earliest} or later, or waive the notice with a reason`,
  );
}

function isMinute(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 1440;
}

function freezeAt(freezes: readonly Freeze[], wall: number): Freeze | undefined {
  return freezes.find(({ from, to }) => from <= wall && wall < to);
}

/** The first instant from `wall` on without a freeze. */
function thawed(freezes: readonly Freeze[], wall: number): number {
  const freeze = freezeAt(freezes, wall);
  return freeze === undefined ? wall : thawed(freezes, freeze.to);
}

/** The next opening, and the zone in which people think of it; null when none is within the horizon. */
function opening(
  windows: readonly DeploymentWindow[],
  freezes: readonly Freeze[],
  wall: number,
): { readonly at: number; readonly timezone: string } | null {
  const limit = wall + HORIZON_DAYS * DAY;
  const found =
    windows.length === 0
      ? [{ at: thawed(freezes, wall), timezone: "UTC" }]
      : windows.map((window) => ({ at: openingOf(window, freezes, wall, limit), timezone: window.timezone }));
  const first = found.reduce((best, other) => (other.at < best.at ? other : best));
  return first.at <= limit ? first : null;
}

/** The first instant from `wall` on at which one window is open and no freeze is; Infinity when that is not before `limit`. */
function openingOf(
  window: DeploymentWindow,
  freezes: readonly Freeze[],
  wall: number,
  limit: number,
): number {
  for (const { start, end } of spansOf(window, wall, limit)) {
    const at = thawed(freezes, Math.max(start, wall));
    if (at < end) return at;
  }
  return Infinity;
}

/** Whether one window is open at `wall`, freezes aside. */
function isWithin(window: DeploymentWindow, wall: number): boolean {
  for (const { start } of spansOf(window, wall, wall)) if (start <= wall) return true;
  return false;
}

/** When a window is open, in order, from the first that ends after `wall` to the last that opens by `limit`. */
function* spansOf(
  { from, to, weekdays, timezone }: DeploymentWindow,
  wall: number,
  limit: number,
): Generator<Span> {
  // Yesterday's may reach over midnight; and where clocks are set back over midnight, tomorrow's may have begun.
  const first = Math.floor(localMs(wall, timezone) / DAY) - 1;
  const last = Math.floor(localMs(limit, timezone) / DAY) + 1;
  for (let day = first; day <= last; day++) {
    if (!weekdays.includes(weekdayOf(day))) continue;
    const start = wallOfLocal(day * DAY + from * MINUTE, timezone);
    const end = wallOfLocal((to > from ? day : day + 1) * DAY + to * MINUTE, timezone);
    if (end > wall) yield { start, end };
  }
}

function formatWindows(windows: readonly DeploymentWindow[]): string {
  return `the window${windows.length === 1 ? "" : "s"} ${windows.map(formatWindow).join(" and ")}`;
}
