/**
 * Where a chunked body ends, found while its bytes pass. Pure: bytes in, offsets out; a state machine that may stop at any byte.
 *
 * The framing is not taken off and put on again: what is well-formed passes as the very bytes that came. So it must be exact: hexadecimal
 * sizes of bounded length, CRLF and nothing else, extensions left out of what passes, the trailer section kept back, bounded and
 * filtered by the one table. Sources: RFC 9112 §7.1; reliability.md A4, A5.
 */

import { cleanTrailers } from "../headers.ts";
import { isToken } from "./scan.ts";

const CR = 0x0d;
const LF = 0x0a;
const SEMICOLON = 0x3b;
const EQUALS = 0x3d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** Digits of a size: 2^40 bytes in one chunk are enough. */
const DIGITS_MAX = 10;
/** Bytes of extensions in the whole body; nobody sends any, so more is an attack. */
const EXTENSION_MAX = 4096;

/** All bytes given pass; more are to come. */
export const ONGOING = 0;
/** The bytes from what was returned up to `resume` do not pass; go on there. */
export const SKIP = 1;
/** The body ends at `resume`; what passes ends before, and `trailer` is to be written instead of the rest. */
export const DONE = 2;
/** Not a chunked body. */
export const BROKEN = 3;

type State =
  | "size"
  | "extension"
  | "size-cr"
  | "size-lf"
  | "data"
  | "data-cr"
  | "data-lf"
  | "trailer"
  | "trailer-lf"
  | "section";

/**
 * Where within an extension: before or in its name, in its value, its quotes. As llhttp has it, so that both lanes take the same ones: without
 * the white space that RFC 9112 §7.1.1 calls bad, and with names and values that may be empty.
 */
type Part = "name" | "in-name" | "in-value" | "in-quotes" | "in-pair" | "behind-quotes";

/** One chunked body. */
export class ChunkScan {
  /** What the last call came to. */
  event: typeof ONGOING | typeof SKIP | typeof DONE | typeof BROKEN = ONGOING;
  /** Where to go on behind what does not pass; with DONE, where the next message begins. */
  resume = 0;
  /** With DONE: the trailer section and the blank line that are to be written. */
  trailer = "";
  /** Bytes of data so far, the chunk under way with its whole length: known before its bytes are passed on. */
  total = 0;
  readonly #trailerMax: number;
  #state: State = "size";
  #size = 0;
  #digits = 0;
  #left = 0;
  #extension = 0;
  #part: Part = "name";
  #section = "";

  /** @param trailerMax bytes of the trailer section at the most */
  constructor(trailerMax: number) {
    this.#trailerMax = trailerMax;
  }

  /** Goes over `from`…`to`; returns behind the last byte that passes. `event` says why it stopped. */
  scan(bytes: Uint8Array, from: number, to: number): number {
    let at = from;
    this.event = ONGOING;
    while (at < to) {
      switch (this.#state) {
        case "size":
          at = this.#sizes(bytes, at, to);
          break;
        case "extension":
          return this.#extensions(bytes, at, to);
        case "size-cr":
          // That it is one was seen when the extension ended.
          at++;
          this.#state = "size-lf";
          break;
        case "size-lf":
          if (bytes[at] !== LF) return this.#broken(at);
          at++;
          this.#left = this.#size;
          this.#digits = 0;
          this.#state = this.#size === 0 ? "trailer" : "data";
          this.#size = 0;
          break;
        case "data": {
          const take = Math.min(this.#left, to - at);
          this.#left -= take;
          at += take;
          if (this.#left === 0) this.#state = "data-cr";
          break;
        }
        case "data-cr":
          if (bytes[at] !== CR) return this.#broken(at);
          at++;
          this.#state = "data-lf";
          break;
        case "data-lf":
          if (bytes[at] !== LF) return this.#broken(at);
          at++;
          this.#state = "size";
          break;
        case "trailer":
        case "trailer-lf":
        case "section":
          return this.#trailers(bytes, at, to);
      }
      if (this.event !== ONGOING) return at;
    }
    return at;
  }

  #sizes(bytes: Uint8Array, from: number, to: number): number {
    let at = from;
    for (; at < to; at++) {
      const byte = bytes[at]!;
      const digit = hexOf(byte);
      if (digit >= 0) {
        if (++this.#digits > DIGITS_MAX) return this.#broken(at);
        this.#size = this.#size * 16 + digit;
        continue;
      }
      if (this.#digits === 0 || (byte !== CR && byte !== SEMICOLON)) return this.#broken(at);
      this.total += this.#size;
      this.#state = byte === CR ? "size-lf" : "extension";
      if (byte === CR) return at + 1;
      this.#part = "name";
      this.event = SKIP;
      this.resume = at + 1;
      return at;
    }
    return at;
  }

  /** Goes to the CR behind an extension, which passes again; nothing before it does. */
  #extensions(bytes: Uint8Array, from: number, to: number): number {
    let at = from;
    while (at < to && this.#state === "extension") {
      const byte = bytes[at]!;
      if (
        byte === CR &&
        (this.#part === "in-name" || this.#part === "in-value" || this.#part === "behind-quotes")
      )
        this.#state = "size-cr";
      else {
        const part = partBehind(this.#part, byte);
        if (part === undefined || ++this.#extension > EXTENSION_MAX) return this.#broken(from);
        this.#part = part;
        at++;
      }
    }
    this.event = SKIP;
    this.resume = at;
    return from;
  }

  #trailers(bytes: Uint8Array, from: number, to: number): number {
    const isWhole = this.#state === "trailer";
    for (let at = from; at < to; at++) {
      const byte = bytes[at]!;
      if (this.#state === "trailer") {
        this.#state = byte === CR ? "trailer-lf" : "section";
        if (byte !== CR) this.#section = String.fromCharCode(byte);
      } else if (this.#state === "trailer-lf") {
        if (byte !== LF) return this.#broken(from);
        // The usual end passes as it came.
        return isWhole ? this.#done(at + 1, at + 1, "") : this.#done(from, at + 1, "\r\n");
      } else {
        this.#section += String.fromCharCode(byte);
        if (this.#section.length > this.#trailerMax) return this.#broken(from);
        if (byte !== LF || !this.#section.endsWith("\r\n\r\n")) continue;
        const trailer = trailerOf(this.#section);
        return trailer === undefined ? this.#broken(from) : this.#done(from, at + 1, trailer);
      }
    }
    // Kept back until it is whole.
    this.event = SKIP;
    this.resume = to;
    return from;
  }

  #done(passes: number, resume: number, trailer: string): number {
    this.event = DONE;
    this.resume = resume;
    this.trailer = trailer;
    return passes;
  }

  #broken(at: number): number {
    this.event = BROKEN;
    this.resume = at;
    return at;
  }
}

/** The value of a hexadecimal digit; −1 for anything else. */
function hexOf(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** The part of an extension that a byte leads to; undefined: none. */
function partBehind(part: Part, byte: number): Part | undefined {
  switch (part) {
    case "name":
    case "in-name":
      if (byte === EQUALS) return "in-value";
      return isToken(byte) ? "in-name" : nextBehind(byte);
    case "in-value":
      if (byte === QUOTE) return "in-quotes";
      return isToken(byte) ? "in-value" : nextBehind(byte);
    case "in-quotes":
      if (byte === QUOTE) return "behind-quotes";
      if (byte === BACKSLASH) return "in-pair";
      return isText(byte) ? "in-quotes" : undefined;
    case "in-pair":
      return isText(byte) ? "in-quotes" : undefined;
    case "behind-quotes":
      return nextBehind(byte);
  }
}

function nextBehind(byte: number): Part | undefined {
  return byte === SEMICOLON ? "name" : undefined;
}

/** Anything that is no control byte. */
function isText(byte: number): boolean {
  return byte === 0x09 || (byte >= 0x20 && byte !== 0x7f);
}

const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** In a trailer these are no leftovers but an attempt to frame the message anew. */
const FRAMING = /^(?:content-length|transfer-encoding)$/i;

/** The trailer section as it is passed on, with its blank line; undefined when a line is no field, or one that frames. */
function trailerOf(section: string): string | undefined {
  const fields: string[] = [];
  for (const line of section.slice(0, -4).split("\r\n")) {
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(colon, 0));
    const value = line.slice(colon + 1);
    if (!NAME.test(name) || FRAMING.test(name) || !VALUE.test(value)) return undefined;
    fields.push(name, trimmed(value));
  }
  const clean = cleanTrailers(fields);
  let text = "";
  for (let at = 0; at < clean.length; at += 2) text += `${clean[at]!}: ${clean[at + 1]!}\r\n`;
  return `${text}\r\n`;
}

/** Without the spaces and tabs around it, and nothing else: to `trim` a byte like A0 is white space too. */
function trimmed(value: string): string {
  let from = 0;
  let to = value.length;
  while (from < to && isBlank(value.charCodeAt(from))) from++;
  while (to > from && isBlank(value.charCodeAt(to - 1))) to--;
  return value.slice(from, to);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
