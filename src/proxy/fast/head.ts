/**
 * Heads on their way through the fast lane: a request's as one text with the few necessary edits, a response's edited where it lies.
 *
 * A response is read behind some free room. Dropping a line moves what stands before it towards the end, adding one moves the status
 * line into the room: nothing is allocated, the body behind stays where it is, and head and body go out as one piece. What cannot be
 * edited like that (Connection names fields, a length where none may be, no room) is composed anew by the rules of `headers.ts`, as
 * the general lane does with every head.
 */

import { NO_GRPC_STATUS } from "../../domain/grpc.ts";
import { linesOf } from "../answer.ts";
import { readResponseFields } from "../headers.ts";
import type { ResponseHead } from "../lane.ts";
import type { ResponseScan } from "./scan.ts";

/** Free bytes before every buffer that a response is read into. */
export const HEADROOM = 512;

/** A response head in its buffer. Filled again for the next one as soon as the exchange has been told of it. */
export class FastHead implements ResponseHead {
  readonly scan: ResponseScan;
  bytes: Buffer = Buffer.alloc(0);
  from = 0;
  /** Whether a body may follow: not behind HEAD, 204, 304 and informational ones (RFC 9112 §6.3). */
  hasBody = false;
  readonly malformed = "";
  /** gRPC needs HTTP/2, which this lane does not speak. */
  readonly grpcStatus = NO_GRPC_STATUS;

  constructor(scan: ResponseScan) {
    this.scan = scan;
  }

  get status(): number {
    return this.scan.status;
  }

  get isStream(): boolean {
    return this.scan.eventStream;
  }

  /** Whether dropping and adding lines is all there is to do. */
  get isSimple(): boolean {
    const { names, chunked, length, status } = this.scan;
    return !names && (this.hasBody || !chunked) && (status !== 204 || length < 0);
  }
}

/** Edits a simple head in place, adding the lines `extra`. Returns where it begins now; −1, and nothing is changed, when there is no room. */
export function editHead(head: FastHead, extra: string): number {
  const { bytes, scan, from } = head;
  const { drops, dropped } = scan;
  let room = from;
  for (let at = 0; at < dropped; at++) room += drops[at * 2 + 1]! - drops[at * 2]!;
  if (extra.length > room) return -1;
  let to = scan.fieldsFrom;
  if (dropped > 0) {
    to = drops[dropped * 2 - 1]!;
    for (let at = dropped - 1; at >= 0; at--) {
      const keptTo = drops[at * 2]!;
      const keptFrom = at === 0 ? scan.fieldsFrom : drops[at * 2 - 1]!;
      to -= keptTo - keptFrom;
      if (keptTo > keptFrom) bytes.copyWithin(to, keptFrom, keptTo);
    }
  }
  // The line first: the room that the additions take may be where it stood.
  const line = scan.fieldsFrom - from;
  const start = to - extra.length - line;
  if (start !== from) bytes.copyWithin(start, from, scan.fieldsFrom);
  if (extra !== "") bytes.write(extra, start + line, "latin1");
  // The version is the next hop's business: what goes out here is HTTP/1.1.
  if (scan.isOld) bytes[start + 7] = 0x31;
  return start;
}

/** The head as new bytes, composed by the rules of `headers.ts`, with the lines `extra`; `framed` keeps chunks as its framing. */
export function composeHead(head: FastHead, extra: string, framed: boolean): Buffer {
  const { bytes, scan, from } = head;
  const { status } = scan;
  const reason = bytes.toString("latin1", from + 13, scan.fieldsFrom - 2);
  const clean = readResponseFields(status, reason, fieldsOfHead(head)).fields;
  const text = `HTTP/1.1 ${status} ${reason}\r\n${extra}${linesOf(clean)}`;
  return Buffer.from(`${text}${framed ? "transfer-encoding: chunked\r\n" : ""}\r\n`, "latin1");
}

/** The raw field list of a response head. */
export function fieldsOfHead({ bytes, scan }: FastHead): string[] {
  const fields: string[] = [];
  for (let at = 0; at < scan.count; at++) {
    const slot = at * 4;
    fields.push(
      bytes.toString("latin1", scan.fields[slot], scan.fields[slot + 1]),
      bytes.toString("latin1", scan.fields[slot + 2], scan.fields[slot + 3]),
    );
  }
  return fields;
}

/** The raw field list (name, value, …) of the text of a head. */
export function fieldsOfText(text: string): string[] {
  const fields: string[] = [];
  let at = text.indexOf("\r\n") + 2;
  for (let end = text.indexOf("\r\n", at); end > at; end = text.indexOf("\r\n", at)) {
    const colon = text.indexOf(":", at);
    fields.push(text.slice(at, colon), trimmed(text, colon + 1, end));
    at = end + 2;
  }
  return fields;
}

/** Value of the first field called `name` (lower case) in the text of a head; undefined when there is none. */
export function fieldOfText(text: string, name: string): string | undefined {
  let at = text.indexOf("\r\n") + 2;
  for (let end = text.indexOf("\r\n", at); end > at; end = text.indexOf("\r\n", at)) {
    const colon = at + name.length;
    if (text[colon] === ":" && text.slice(at, colon).toLowerCase() === name)
      return trimmed(text, colon + 1, end);
    at = end + 2;
  }
  return undefined;
}

/** Without the spaces and tabs around it; no other white space is the field's (RFC 9110 §5.5). */
function trimmed(text: string, begin: number, end: number): string {
  let from = begin;
  let to = end;
  while (from < to && isBlank(text.charCodeAt(from))) from++;
  while (to > from && isBlank(text.charCodeAt(to - 1))) to--;
  return text.slice(from, to);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

let dateAt = -1;
let dateLine = "";

/** A Date line for a response that has none (RFC 9110 §6.6.1). @param wall milliseconds since the epoch */
export function dateLineAt(wall: number): string {
  const second = Math.floor(wall / 1000);
  if (second !== dateAt) {
    dateAt = second;
    dateLine = `date: ${new Date(second * 1000).toUTCString()}\r\n`;
  }
  return dateLine;
}
