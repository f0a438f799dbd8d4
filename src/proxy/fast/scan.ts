/**
 * The strict scanner of the fast lane: bytes of a head in, offsets out. Pure: no strings, no allocation, no copy.
 *
 * It understands exactly one form of a message and says of everything else that it is not that form: it never repairs, skips or guesses,
 * because bytes that it lets through go to the next server as they came. Of a request that is not strictly plain it says `OTHER`, and the
 * connection goes to the general lane, which answers or refuses it; of a response, `OTHER` is malformed. Sources: RFC 9112 §2–§6, RFC 9110
 * §5 and §7.6; reliability.md A1–A6, C18, C19.
 */

import type { HeadLimits } from "../headers.ts";
import {
  bitsOf,
  CODING,
  CONNECTION,
  CONTENT_TYPE,
  COOKIE,
  DATE,
  HOST,
  isName,
  KEEP_ALIVE,
  LENGTH,
  NOT_DOWN,
  NOT_UP,
  REQUEST_ID,
  TRUSTED,
  UNPLAIN,
} from "./names.ts";

/** The head is not complete yet. */
export const MORE = 0;
/** The head is of the one form that is understood; the offsets say where everything is. */
export const PLAIN = 1;
/** Anything else. */
export const OTHER = 2;
/** What a scan comes to. */
export type Verdict = typeof MORE | typeof PLAIN | typeof OTHER;

const CR = 0x0d;
const LF = 0x0a;
const SP = 0x20;
const TAB = 0x09;
const COLON = 0x3a;
const SLASH = 0x2f;
/** More fields than any limit allows. */
const FIELDS_MAX = 2000;

// Classes of bytes, one bit each.
const TOKEN = 1;
const VALUE = 2;
const TARGET = 4;
const AUTHORITY = 8;
const CLASS = classes();

function classes(): Uint8Array {
  const table = new Uint8Array(256);
  const mark = (bit: number, chars: string): void => {
    for (const char of chars) table[char.charCodeAt(0)]! |= bit;
  };
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  mark(TOKEN, `${letters}!#$%&'*+-.^_\`|~`);
  mark(AUTHORITY, `${letters}.-_:`);
  for (let byte = 0x20; byte < 0x7f; byte++) table[byte]! |= VALUE;
  for (let byte = 0x80; byte < 0x100; byte++) table[byte]! |= VALUE;
  table[TAB]! |= VALUE;
  for (let byte = 0x21; byte < 0x7f; byte++) if (byte !== 0x23) table[byte]! |= TARGET;
  return table;
}

/** Whether a byte may be in a token (RFC 9110 §5.6.2). */
export function isToken(byte: number): boolean {
  return (CLASS[byte]! & TOKEN) !== 0;
}

const METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] as const;
/** A method of a plain request. */
export type Method = (typeof METHODS)[number];

/** Where the parts of a head are; made once per thread and filled again by every scan. */
class Scan {
  /** Behind the blank line. */
  end = 0;
  /** Behind the CRLF of the first line. */
  fieldsFrom = 0;
  /** Declared body length; −1 when not declared. */
  length = -1;
  chunked = false;
  /** `Connection: close`. */
  closes = false;
  /** Fields, four numbers each: name from, name to, value from, value to. */
  readonly fields = new Int32Array(FIELDS_MAX * 4);
  count = 0;
  /** Lines that are not passed on, two numbers each: from, to; in order, and not touching each other. */
  readonly drops = new Int32Array(FIELDS_MAX * 2);
  dropped = 0;
  /** Bytes of names and values, and four a field. */
  size = 0;

  reset(): void {
    this.length = -1;
    this.chunked = false;
    this.closes = false;
    this.count = 0;
    this.dropped = 0;
    this.size = 0;
  }

  /** Takes the line from `from` to `to` out of what is passed on. Called in rising order. */
  drop(from: number, to: number): void {
    const last = this.dropped * 2 - 1;
    if (this.dropped > 0 && this.drops[last] === from) this.drops[last] = to;
    else {
      this.drops[this.dropped * 2] = from;
      this.drops[this.dropped * 2 + 1] = to;
      this.dropped++;
    }
  }

  /** Index of the first field called `name` (lower case); −1 when there is none. */
  find(bytes: Uint8Array, name: string): number {
    const { fields, count } = this;
    for (let at = 0; at < count; at++) {
      const from = fields[at * 4]!;
      if (fields[at * 4 + 1]! - from === name.length && isName(bytes, from, name)) return at;
    }
    return -1;
  }
}

/** A request head. */
export class RequestScan extends Scan {
  method: Method = "GET";
  targetFrom = 0;
  targetTo = 0;
  hostFrom = 0;
  hostTo = 0;
  /** Index of the first Cookie field; −1: none. */
  cookie = -1;
  hasId = false;
  /** Among the dropped lines are some that go on for a trusted proxy. */
  hasTrusted = false;
}

/** A response head. */
export class ResponseScan extends Scan {
  status = 0;
  /** HTTP/1.0. */
  isOld = false;
  hasDate = false;
  eventStream = false;
  /** Index of the Keep-Alive field; −1: none. */
  keepAlive = -1;
  /**
   * The head cannot be passed on by dropping lines that are known beforehand, but must be composed anew: Connection names fields, or the
   * status line lacks its last space.
   */
  names = false;
}

/**
 * Scans a request head.
 *
 * @param from where the head begins @param to behind the last byte there is
 * @returns MORE while the head may still become plain and is within the limits
 */
export function scanRequest(
  bytes: Uint8Array,
  from: number,
  to: number,
  limits: HeadLimits,
  scan: RequestScan,
): Verdict {
  scan.reset();
  scan.cookie = -1;
  scan.hasId = false;
  scan.hasTrusted = false;
  scan.hostTo = 0;
  const line = scanRequestLine(bytes, from, to, limits.url, scan);
  if (line === OTHER) return OTHER;
  if (line === MORE) return to - from > limits.head + limits.url ? OTHER : MORE;
  let at = scan.fieldsFrom;
  for (;;) {
    const next = scanField(bytes, at, to, scan);
    if (next === END) break;
    if (next < 0) return next === SHORT && to - from <= limits.head + limits.url ? MORE : OTHER;
    if (scan.count > limits.fields || scan.size > limits.head || !noteRequest(bytes, at, next, scan))
      return OTHER;
    at = next;
  }
  scan.end = at + 2;
  if (scan.end - from > limits.head + limits.url) return OTHER;
  if (scan.hostTo === 0 || (scan.chunked && scan.length >= 0) || scan.length > limits.body) return OTHER;
  return PLAIN;
}

function scanRequestLine(
  bytes: Uint8Array,
  from: number,
  to: number,
  urlMax: number,
  scan: RequestScan,
): Verdict {
  // The shortest method, a slash, the version.
  if (to - from < 16) return startsPlain(bytes, from, to) ? MORE : OTHER;
  const method = methodAt(bytes, from);
  if (method === undefined) return OTHER;
  scan.method = method;
  let at = from + method.length + 1;
  if (bytes[at] !== SLASH) return OTHER;
  scan.targetFrom = at;
  while (at < to && (CLASS[bytes[at]!]! & TARGET) !== 0) at++;
  if (at - scan.targetFrom > urlMax) return OTHER;
  if (at === to) return MORE;
  scan.targetTo = at;
  const version = at;
  for (let nth = 0; nth < VERSION.length; nth++) {
    if (version + nth >= to) return MORE;
    if (bytes[version + nth] !== VERSION.charCodeAt(nth)) return OTHER;
  }
  scan.fieldsFrom = version + VERSION.length;
  return PLAIN;
}

const VERSION = " HTTP/1.1\r\n";

/** Whether so few bytes can be the beginning of a plain request. */
function startsPlain(bytes: Uint8Array, from: number, to: number): boolean {
  for (const method of METHODS) {
    let at = 0;
    while (at < method.length && from + at < to && bytes[from + at] === method.charCodeAt(at)) at++;
    if (from + at === to) return true;
    if (at === method.length && bytes[from + at] === SP)
      return from + at + 1 === to || bytes[from + at + 1] === SLASH;
  }
  return false;
}

/** The method at `from` with its space behind it; undefined: none of the plain ones. Method names are case-sensitive (RFC 9110 §9.1). */
function methodAt(bytes: Uint8Array, from: number): Method | undefined {
  for (const method of METHODS) {
    if (bytes[from] !== method.charCodeAt(0) || bytes[from + method.length] !== SP) continue;
    let at = 1;
    while (at < method.length && bytes[from + at] === method.charCodeAt(at)) at++;
    if (at === method.length) return method;
  }
  return undefined;
}

/** What `scanField` says beside the end of a line. */
const END = -1;
const SHORT = -2;
const BROKEN = -3;

/** One field line, entered into the scan. Returns where the next begins; END at the blank line; SHORT; BROKEN. */
function scanField(bytes: Uint8Array, from: number, to: number, scan: Scan): number {
  let at = from;
  while (at < to && (CLASS[bytes[at]!]! & TOKEN) !== 0) at++;
  if (at === to) return SHORT;
  if (at === from) {
    if (bytes[at] !== CR) return BROKEN;
    if (at + 1 === to) return SHORT;
    return bytes[at + 1] === LF ? END : BROKEN;
  }
  if (bytes[at] !== COLON || scan.count === FIELDS_MAX) return BROKEN;
  const nameTo = at++;
  while (at < to && (bytes[at] === SP || bytes[at] === TAB)) at++;
  const valueFrom = at;
  while (at < to && (CLASS[bytes[at]!]! & VALUE) !== 0) at++;
  if (at === to) return SHORT;
  if (bytes[at] !== CR) return BROKEN;
  if (at + 1 === to) return SHORT;
  if (bytes[at + 1] !== LF) return BROKEN;
  let valueTo = at;
  while (valueTo > valueFrom && (bytes[valueTo - 1] === SP || bytes[valueTo - 1] === TAB)) valueTo--;
  const slot = scan.count * 4;
  scan.fields[slot] = from;
  scan.fields[slot + 1] = nameTo;
  scan.fields[slot + 2] = valueFrom;
  scan.fields[slot + 3] = valueTo;
  scan.count++;
  scan.size += nameTo - from + valueTo - valueFrom + 4;
  return at + 2;
}

/** Takes note of the field just scanned. False: not plain. */
function noteRequest(bytes: Uint8Array, from: number, to: number, scan: RequestScan): boolean {
  const slot = (scan.count - 1) * 4;
  const valueFrom = scan.fields[slot + 2]!;
  const valueTo = scan.fields[slot + 3]!;
  const bits = bitsOf(bytes, from, scan.fields[slot + 1]!);
  if (bits === 0) return true;
  if ((bits & UNPLAIN) !== 0) return false;
  if ((bits & HOST) !== 0) {
    if (scan.hostTo !== 0 || !isAuthority(bytes, valueFrom, valueTo)) return false;
    scan.hostFrom = valueFrom;
    scan.hostTo = valueTo;
    return true;
  }
  if ((bits & (LENGTH | CODING)) !== 0) return noteFraming(bytes, bits, valueFrom, valueTo, scan);
  if ((bits & CONNECTION) !== 0 && !noteConnection(bytes, valueFrom, valueTo, scan)) return false;
  if ((bits & REQUEST_ID) !== 0) scan.hasId = true;
  if ((bits & COOKIE) !== 0 && scan.cookie < 0) scan.cookie = scan.count - 1;
  if ((bits & TRUSTED) !== 0) scan.hasTrusted = true;
  if ((bits & NOT_UP) !== 0) scan.drop(from, to);
  return true;
}

/**
 * One Content-Length of digits, or one Transfer-Encoding that is `chunked`. Both lines are passed on as they are, so a tab behind the
 * value, which llhttp refuses, is refused here too.
 */
function noteFraming(bytes: Uint8Array, bits: number, from: number, to: number, scan: Scan): boolean {
  let behind = to;
  while (bytes[behind] === SP) behind++;
  if (bytes[behind] !== CR) return false;
  if ((bits & CODING) !== 0) {
    if (scan.chunked || to - from !== 7 || !isName(bytes, from, "chunked")) return false;
    scan.chunked = true;
    return true;
  }
  if (scan.length >= 0 || from === to || to - from > 16) return false;
  let length = 0;
  for (let at = from; at < to; at++) {
    const digit = bytes[at]! - 0x30;
    if (digit < 0 || digit > 9) return false;
    length = length * 10 + digit;
  }
  if (length > Number.MAX_SAFE_INTEGER) return false;
  scan.length = length;
  return true;
}

/** `close` or `keep-alive`; anything else names fields, or is a mistake. */
function noteConnection(bytes: Uint8Array, from: number, to: number, scan: Scan): boolean {
  if (to - from === 5 && isName(bytes, from, "close")) {
    scan.closes = true;
    return true;
  }
  return to - from === 10 && isName(bytes, from, "keep-alive");
}

/** A registered name or an IPv4 address, with or without a port; what else may be an authority is not plain. */
function isAuthority(bytes: Uint8Array, from: number, to: number): boolean {
  let colon = -1;
  for (let at = from; at < to; at++) {
    const byte = bytes[at]!;
    if ((CLASS[byte]! & AUTHORITY) === 0) return false;
    if (byte === COLON) {
      if (colon >= 0) return false;
      colon = at;
    } else if (colon >= 0 && (byte < 0x30 || byte > 0x39)) return false;
  }
  return to > from && colon !== from && (colon < 0 || to - colon <= 6);
}

/**
 * Scans a response head. An informational one is a head like any other.
 *
 * @param max bytes that it may have
 */
export function scanResponse(
  bytes: Uint8Array,
  from: number,
  to: number,
  max: number,
  scan: ResponseScan,
): Verdict {
  scan.reset();
  scan.hasDate = false;
  scan.eventStream = false;
  scan.keepAlive = -1;
  scan.names = false;
  const line = scanStatusLine(bytes, from, to, scan);
  if (line !== PLAIN) return line === MORE && to - from <= max ? MORE : OTHER;
  let at = scan.fieldsFrom;
  for (;;) {
    const next = scanField(bytes, at, to, scan);
    if (next === END) break;
    if (next < 0) return next === SHORT && to - from <= max ? MORE : OTHER;
    if (!noteResponse(bytes, at, next, scan)) return OTHER;
    at = next;
  }
  scan.end = at + 2;
  if (scan.end - from > max || (scan.chunked && (scan.length >= 0 || scan.isOld))) return OTHER;
  // An informational one has no body (RFC 9110 §8.6); one that declares it all the same is read with it by llhttp.
  if (scan.status < 200 && (scan.chunked || scan.length > 0)) return OTHER;
  return PLAIN;
}

const STATUS_LINE = "HTTP/1.";

function scanStatusLine(bytes: Uint8Array, from: number, to: number, scan: ResponseScan): Verdict {
  for (let nth = 0; nth < STATUS_LINE.length; nth++) {
    if (from + nth === to) return MORE;
    if (bytes[from + nth] !== STATUS_LINE.charCodeAt(nth)) return OTHER;
  }
  // "HTTP/1.1 200 \r\n" is the shortest. Some servers leave the space away with the reason, and every client takes that.
  if (to - from < 15) return MORE;
  const minor = bytes[from + 7];
  if ((minor !== 0x31 && minor !== 0x30) || bytes[from + 8] !== SP) return OTHER;
  scan.isOld = minor === 0x30;
  let status = 0;
  for (let at = from + 9; at < from + 12; at++) {
    const digit = bytes[at]! - 0x30;
    if (digit < 0 || digit > 9) return OTHER;
    status = status * 10 + digit;
  }
  if (status < 100 || status > 599) return OTHER;
  scan.status = status;
  let at = from + 12;
  if (bytes[at] === CR) scan.names = true;
  else if (bytes[at] !== SP) return OTHER;
  while (at < to && (CLASS[bytes[at]!]! & VALUE) !== 0) at++;
  if (at === to || (bytes[at] === CR && at + 1 === to)) return MORE;
  if (bytes[at] !== CR || bytes[at + 1] !== LF) return OTHER;
  scan.fieldsFrom = at + 2;
  return PLAIN;
}

function noteResponse(bytes: Uint8Array, from: number, to: number, scan: ResponseScan): boolean {
  const slot = (scan.count - 1) * 4;
  const valueFrom = scan.fields[slot + 2]!;
  const valueTo = scan.fields[slot + 3]!;
  const bits = bitsOf(bytes, from, scan.fields[slot + 1]!);
  if (bits === 0) return true;
  if ((bits & (LENGTH | CODING)) !== 0) return noteFraming(bytes, bits, valueFrom, valueTo, scan);
  if ((bits & CONNECTION) !== 0 && !noteConnection(bytes, valueFrom, valueTo, scan)) scan.names = true;
  if ((bits & DATE) !== 0) scan.hasDate = true;
  if ((bits & KEEP_ALIVE) !== 0) scan.keepAlive = scan.count - 1;
  if ((bits & CONTENT_TYPE) !== 0)
    scan.eventStream = valueTo - valueFrom >= 17 && isName(bytes, valueFrom, "text/event-stream");
  if ((bits & NOT_DOWN) !== 0) scan.drop(from, to);
  return true;
}
