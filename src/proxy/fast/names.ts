/**
 * Which field a name in a buffer is, without making a string of it. Compiled once from the one table of field rules in `headers.ts`. Pure.
 *
 * Names are told apart by their length first, then byte by byte without regard to case: of the usual fields most have a length at which
 * nothing, or one thing, is of interest.
 */

import { FORWARDING, HOP_BY_HOP, REWRITTEN } from "../headers.ts";

/** What is special about a field; a name may be several of these. */
export const HOST = 1;
export const CONNECTION = 2;
export const LENGTH = 4;
export const CODING = 8;
/** A request that has it is not plain. */
export const UNPLAIN = 16;
/** Not forwarded upstream. */
export const NOT_UP = 32;
/** Not forwarded downstream. */
export const NOT_DOWN = 64;
export const REQUEST_ID = 128;
export const CONTENT_TYPE = 256;
export const DATE = 512;
export const KEEP_ALIVE = 1024;
export const COOKIE = 2048;
/** Forwarded upstream for a trusted proxy alone. */
export const TRUSTED = 4096;

interface Entry {
  readonly name: string;
  readonly bits: number;
}

const LONGEST = 32;
const HYPHEN = 0x2d;
const UNDERSCORE = 0x5f;

/** Entries by length of the name. */
const BY_LENGTH: readonly (readonly Entry[] | undefined)[] = compile();

function compile(): readonly (readonly Entry[] | undefined)[] {
  const bits = new Map<string, number>();
  const add = (name: string, more: number): void => void bits.set(name, (bits.get(name) ?? 0) | more);
  for (const name of HOP_BY_HOP) add(name, NOT_UP | NOT_DOWN);
  for (const name of REWRITTEN) add(name, NOT_UP);
  add("host", HOST);
  add("connection", CONNECTION);
  add("content-length", LENGTH);
  add("transfer-encoding", CODING);
  add("expect", UNPLAIN);
  add("upgrade", UNPLAIN);
  // llhttp, and with it the general lane, takes it for a Connection.
  add("proxy-connection", UNPLAIN);
  add("x-request-id", REQUEST_ID);
  add("content-type", CONTENT_TYPE);
  add("date", DATE);
  add("keep-alive", KEEP_ALIVE);
  add("cookie", COOKIE);
  const table: Entry[][] = Array.from({ length: LONGEST + 1 }, () => []);
  for (const [name, each] of bits) table[name.length]!.push({ name, bits: each });
  return table.map((entries) => (entries.length === 0 ? undefined : entries));
}

/** What is special about the name at `from`…`to`; 0: nothing. */
export function bitsOf(bytes: Uint8Array, from: number, to: number): number {
  const entries = BY_LENGTH[to - from];
  if (entries !== undefined) {
    for (let at = 0; at < entries.length; at++) {
      const entry = entries[at]!;
      if (isName(bytes, from, entry.name)) return entry.bits;
    }
  }
  return bytes[from] === 0x78 || bytes[from] === 0x58 ? forwardingBits(bytes, from, to) : 0;
}

/** Of a name that begins as `FORWARDING` does, or so that servers which take `_` for `-` would say so. */
function forwardingBits(bytes: Uint8Array, from: number, to: number): number {
  if (to - from < FORWARDING.length) return 0;
  let bits = NOT_UP | TRUSTED;
  for (let at = 0; at < to - from; at++) {
    const byte = bytes[from + at]!;
    if (byte === UNDERSCORE) bits = NOT_UP;
    if (at >= FORWARDING.length) continue;
    const wanted = FORWARDING.charCodeAt(at);
    if ((byte | 0x20) !== wanted && !(wanted === HYPHEN && byte === UNDERSCORE)) return 0;
  }
  return bits;
}

/** Whether the bytes at `from` are `name`, which is in lower case, without regard to case; its end is the caller's to check. */
export function isName(bytes: Uint8Array, from: number, name: string): boolean {
  for (let at = 0; at < name.length; at++) {
    const byte = bytes[from + at]!;
    const wanted = name.charCodeAt(at);
    if (byte !== wanted && !(byte >= 0x41 && byte <= 0x5a && (byte | 0x20) === wanted)) return false;
  }
  return true;
}

/** The text at `from`…`to`: `before`, when it is the same, so that a client's usual host is one string. */
export function textAt(bytes: Buffer, from: number, to: number, before: string): string {
  if (before.length !== to - from) return bytes.toString("latin1", from, to);
  for (let at = 0; at < before.length; at++)
    if (bytes[from + at] !== before.charCodeAt(at)) return bytes.toString("latin1", from, to);
  return before;
}
