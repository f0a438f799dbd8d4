/**
 * Dates as logs have them, read from bytes. By hand, because a date is half of the price of a line: the day is worked out when it changes, the rest is
 * a few digits. Pure but for the day that is remembered. NaN is what is no date.
 */

const MINUTE = 60_000;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

let lastDay = -1;
let lastDayMs = 0;

/** `27/Nov/2026:17:53:34 +0000`, NGINX's `$time_local`, in milliseconds since the epoch. */
export function localTime(bytes: Uint8Array, from: number, to: number): number {
  if (to - from !== 26 || bytes[from + 2] !== SLASH || bytes[from + 6] !== SLASH) return Number.NaN;
  const month = MONTHS.indexOf(String.fromCharCode(bytes[from + 3]!, bytes[from + 4]!, bytes[from + 5]!)) + 1;
  const day = dayOf(number(bytes, from + 7, 4), month, number(bytes, from, 2));
  return day + clockOf(bytes, from + 12) - zoneOf(bytes, from + 21, to);
}

/** `2026-11-27T17:53:34.123Z`, or with `+00:00`, in milliseconds since the epoch. */
export function isoTime(bytes: Uint8Array, from: number, to: number): number {
  if (to - from < 20 || bytes[from + 4] !== DASH || bytes[from + 10] !== LETTER_T) return Number.NaN;
  const day = dayOf(number(bytes, from, 4), number(bytes, from + 5, 2), number(bytes, from + 8, 2));
  let at = from + 19;
  let fraction = 0;
  if (bytes[at] === DOT) {
    let scale = 100;
    for (at++; at < to && isDigit(bytes[at]!); at++, scale /= 10) fraction += (bytes[at]! - ZERO) * scale;
  }
  const zone = to - at === 1 && bytes[at] === LETTER_Z ? 0 : zoneOf(bytes, at, to);
  return day + clockOf(bytes, from + 11) + fraction - zone;
}

const SLASH = 47;
const DASH = 45;
const PLUS = 43;
const DOT = 46;
const COLON = 58;
const ZERO = 48;
const LETTER_T = 84;
const LETTER_Z = 90;

function isDigit(byte: number): boolean {
  return byte >= ZERO && byte <= ZERO + 9;
}

/** So many digits as a number; NaN when one is none. */
function number(bytes: Uint8Array, from: number, digits: number): number {
  let value = 0;
  for (let at = from; at < from + digits; at++) {
    const byte = bytes[at]!;
    if (!isDigit(byte)) return Number.NaN;
    value = value * 10 + byte - ZERO;
  }
  return value;
}

function dayOf(year: number, month: number, day: number): number {
  if (!(month >= 1 && month <= 12 && day >= 1 && day <= 31)) return Number.NaN;
  const mark = (year * 100 + month) * 100 + day;
  if (mark !== lastDay) {
    lastDay = mark;
    lastDayMs = Date.UTC(year, month - 1, day);
  }
  return lastDayMs;
}

/** `17:53:34` in milliseconds. */
function clockOf(bytes: Uint8Array, from: number): number {
  const hour = number(bytes, from, 2);
  const minute = number(bytes, from + 3, 2);
  const second = number(bytes, from + 6, 2);
  // A leap second is a second.
  if (!(hour <= 23 && minute <= 59 && second <= 60)) return Number.NaN;
  return (hour * 60 + minute) * MINUTE + second * 1000;
}

/** `+0100` or `+01:00` in milliseconds. */
function zoneOf(bytes: Uint8Array, from: number, to: number): number {
  const sign = bytes[from] === PLUS ? 1 : bytes[from] === DASH ? -1 : Number.NaN;
  const wide = bytes[from + 3] === COLON ? 1 : 0;
  if (to - from !== 5 + wide) return Number.NaN;
  return sign * (number(bytes, from + 1, 2) * 60 + number(bytes, from + 3 + wide, 2)) * MINUTE;
}
