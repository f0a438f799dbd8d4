/**
 * What the clocks of a time zone show: wall-clock milliseconds to dates and back. Pure.
 *
 * Dates are arithmetic (the civil calendar repeats every 400 years), for `Date` would bring the machine's own zone along. What a zone's clocks
 * are set to is a political fact that only a database knows, so it is asked of `Intl`, in numbers and not in anybody's words; UTC needs no
 * asking. The formatters are kept, because making one costs a thousand times as much as using it: a memory that changes no answer.
 *
 * Clocks jump. A time that is skipped (02:30 where 02:00 is followed by 03:00) is taken for the first instant after the jump, and a time that
 * comes twice for its first coming: both are the first instant at which the clock shows that time *or a later one*. So a later time of the
 * clock never comes before an earlier one.
 */

/** A day of the week, as it is written in the configuration. */
export type Weekday = "mon" | "tue" | "wed" | "thu" | "fri" | "sat" | "sun";

/** All of them, from Monday on. */
export const WEEKDAYS: readonly Weekday[] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/** A date and a time of day, in a zone that is known from elsewhere. */
export interface CivilTime {
  readonly year: number;
  /** 1 to 12. */
  readonly month: number;
  /** From 1 on. */
  readonly day: number;
  /** Whole minutes since midnight. */
  readonly minutes: number;
}

/** What a zone's calendar and clock show. */
export interface LocalTime extends CivilTime {
  readonly weekday: Weekday;
}

/** Milliseconds. */
export const MINUTE = 60_000;
/** Milliseconds, and what a clock counts between two midnights; on two days of the year more or less of them pass. */
export const DAY = 86_400_000;

// Beyond these `Intl` refuses, or counts the years backwards from year 1. A zone keeps the offset that it has there.
const FIRST = -62_135_510_400_000;
const LAST = 8_640_000_000_000_000;

/**
 * Whether `name` is a zone of the IANA database, whatever its case. A fixed offset like `+01:00` is not: it would be an hour off for half of
 * the year, which nobody who writes it means.
 */
export function isTimeZone(name: string): boolean {
  if (!/^[A-Za-z]/.test(name)) return false;
  try {
    formatterOf(name);
    return true;
  } catch {
    return false;
  }
}

/** `"09:00"` → 540 minutes since midnight, up to `"24:00"`, the end of the day. Undefined for anything else. */
export function parseClockTime(text: string): number | undefined {
  const match = /^(\d\d):([0-5]\d)$/.exec(text);
  const minutes = match === null ? Infinity : Number(match[1]) * 60 + Number(match[2]);
  return minutes <= 1440 ? minutes : undefined;
}

/** 540 → `"09:00"`. */
export function formatClockTime(minutes: number): string {
  return `${pad(Math.floor(minutes / 60), 2)}:${pad(minutes % 60, 2)}`;
}

/** What the calendar and the clock of `zone` show at `wall`, seconds left out. Throws RangeError when there is no such zone. */
export function localTime(wall: number, zone: string): LocalTime {
  const local = localMs(wall, zone);
  const day = Math.floor(local / DAY);
  return { ...dateOf(day), weekday: weekdayOf(day), minutes: Math.floor((local - day * DAY) / MINUTE) };
}

/**
 * The first instant at which the clocks of `zone` show `local` or later. Days and minutes may run over (the 32nd is the 1st of the next
 * month), months may not. Throws RangeError when there is no such zone.
 */
export function wallOf(local: CivilTime, zone: string): number {
  return wallOfLocal(dayOf(local.year, local.month, local.day) * DAY + local.minutes * MINUTE, zone);
}

/** `"Mon 2026-01-05 09:00 UTC"`: what people read. Throws RangeError when there is no such zone. */
export function formatLocal(wall: number, zone: string): string {
  const { year, month, day, weekday, minutes } = localTime(wall, zone);
  const date = `${pad(year, 4)}-${pad(month, 2)}-${pad(day, 2)}`;
  return `${formatWeekday(weekday)} ${date} ${formatClockTime(minutes)} ${zone}`;
}

/** `"2026-01-05T09:00:00.000Z"`: what programs read. */
export function formatIso(wall: number): string {
  const day = Math.floor(wall / DAY);
  const { year, month, day: of } = dateOf(day);
  const ms = Math.floor(wall - day * DAY);
  const seconds = `${pad(Math.floor(ms / 1000) % 60, 2)}.${pad(ms % 1000, 3)}`;
  return `${pad(year, 4)}-${pad(month, 2)}-${pad(of, 2)}T${formatClockTime(Math.floor(ms / MINUTE))}:${seconds}Z`;
}

/** `"mon"` → `"Mon"`. */
export function formatWeekday(weekday: Weekday): string {
  return weekday.charAt(0).toUpperCase() + weekday.slice(1);
}

/** What the clocks of `zone` show at `wall`, as the milliseconds since the epoch at which those of UTC show it. */
export function localMs(wall: number, zone: string): number {
  return wall + offsetAt(wall, zone);
}

/** `wallOf`, from what `localMs` gives. */
export function wallOfLocal(local: number, zone: string): number {
  // No clock is a day away from UTC's, and none is changed twice in two days: there is at most one jump between these two.
  const before = offsetAt(local - DAY, zone);
  const after = offsetAt(local + DAY, zone);
  const early = local - before;
  if (before === after || offsetAt(early, zone) === before) return early;
  const late = local - after;
  return offsetAt(late, zone) === after ? late : jumpBetween(late, early, local, zone);
}

/** Whole days since 1970-01-01 of a date; negative before. */
function dayOf(year: number, month: number, day: number): number {
  // Years begin in March here, so that the day that some of them lack is the last: H. Hinnant, "chrono-compatible low-level date algorithms".
  const from = month > 2 ? year : year - 1;
  const era = Math.floor(from / 400);
  const yearOfEra = from - era * 400;
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}

/** The weekday of a day counted from 1970-01-01, which was a Thursday. */
export function weekdayOf(day: number): Weekday {
  return WEEKDAYS[(((day + 3) % 7) + 7) % 7]!; // a remainder of seven
}

/** The date of a day counted from 1970-01-01; undoes `dayOf`. */
function dateOf(days: number): Omit<CivilTime, "minutes"> {
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const leaps = Math.floor(dayOfEra / 1460) - Math.floor(dayOfEra / 36_524) + Math.floor(dayOfEra / 146_096);
  const yearOfEra = Math.floor((dayOfEra - leaps) / 365);
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const fromMarch = Math.floor((5 * dayOfYear + 2) / 153);
  const month = fromMarch < 10 ? fromMarch + 3 : fromMarch - 9;
  const day = dayOfYear - Math.floor((153 * fromMarch + 2) / 5) + 1;
  return { year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day };
}

/** How far the clocks of `zone` are ahead of UTC's at `wall`, in milliseconds. */
function offsetAt(wall: number, zone: string): number {
  if (zone === "UTC") return 0;
  const second = Math.floor(Math.min(Math.max(wall, FIRST), LAST) / 1000) * 1000;
  // Six numbers, as asked for below.
  const numbers = formatterOf(zone).format(second).match(/\d+/g)!.map(Number) as Six;
  const [month, day, year, hours, minutes, seconds] = numbers;
  return dayOf(year, month, day) * DAY + (hours * 60 + minutes) * MINUTE + seconds * 1000 - second;
}

type Six = [number, number, number, number, number, number];

/** The first instant after `low`, up to `high`, at which the clocks show `local` or later, where they jump over it. */
function jumpBetween(low: number, high: number, local: number, zone: string): number {
  let [closed, open] = [low, high];
  while (open - closed > 1) {
    const middle = Math.floor((open + closed) / 2);
    if (localMs(middle, zone) < local) closed = middle;
    else open = middle;
  }
  return open;
}

const formatters = new Map<string, Intl.DateTimeFormat>();

/** The kept formatter of a zone. Throws RangeError when there is none of that name. */
function formatterOf(zone: string): Intl.DateTimeFormat {
  // Case does not matter to Intl: there are no more of these than there are zones, whatever people ask for.
  const name = zone.toLowerCase();
  const kept = formatters.get(name);
  if (kept !== undefined) return kept;
  const made = new Intl.DateTimeFormat("en-US", {
    timeZone: zone,
    calendar: "gregory",
    numberingSystem: "latn",
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  });
  formatters.set(name, made);
  return made;
}

function pad(value: number, width: number): string {
  return String(value).padStart(width, "0");
}
