/** The bucket of a request's sticky key, from the bytes of its head: no text is made of a header or cookie of plain ASCII. Pure. */

import { bucketOfBytes } from "../../domain/split.ts";
import { NO_KEY, type KeySource } from "../request.ts";
import type { RequestScan } from "./scan.ts";

const SP = 0x20;
const TAB = 0x09;
const SEMICOLON = 0x3b;
const EQUALS = 0x3d;

/** `RequestView.bucketOf` over the head just scanned; undefined: ask by text (another kind of source, or a key that is not ASCII). */
export function bucketOfScan(
  scan: RequestScan,
  bytes: Uint8Array,
  sources: readonly KeySource[],
  salt: string,
): number | undefined {
  for (let nth = 0; nth < sources.length; nth++) {
    const { kind, name } = sources[nth]!;
    if (kind !== "header" && kind !== "cookie") return undefined;
    const field = kind === "header" ? scan.find(bytes, name) : scan.cookie;
    if (field < 0) continue;
    let from = scan.fields[field * 4 + 2]!;
    let to = scan.fields[field * 4 + 3]!;
    if (kind === "cookie") {
      from = cookieFrom(bytes, from, to, name);
      if (from < 0) continue;
      to = cookieTo(bytes, from, to);
    }
    if (from === to) continue;
    const bucket = bucketOfBytes(bytes, from, to, salt);
    return bucket < 0 ? undefined : bucket;
  }
  return NO_KEY;
}

/** Where the value of the first cookie called `name` begins; −1: there is none. The rules are those of `cookieOf`. */
function cookieFrom(bytes: Uint8Array, begin: number, to: number, name: string): number {
  const { length } = name;
  let from = begin;
  while (from < to) {
    while (from < to && (bytes[from] === SP || bytes[from] === TAB)) from++;
    let at = 0;
    while (at < length && from + at < to && bytes[from + at] === name.charCodeAt(at)) at++;
    if (at === length && from + at < to && bytes[from + at] === EQUALS) return from + at + 1;
    while (from < to && bytes[from] !== SEMICOLON) from++;
    from++;
  }
  return -1;
}

function cookieTo(bytes: Uint8Array, from: number, end: number): number {
  let to = from;
  while (to < end && bytes[to] !== SEMICOLON) to++;
  while (to > from && (bytes[to - 1] === SP || bytes[to - 1] === TAB)) to--;
  return to;
}
