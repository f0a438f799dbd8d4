/**
 * What the fast lane's scanners make of bytes, in the words of the oracle, and a decoder of chunks that shares nothing with them.
 *
 * Only messages that they call plain become a `Heard`: about all others they say nothing, because those go to the general lane.
 */

import type { HeadLimits } from "../../src/proxy/headers.ts";
import { BROKEN, ChunkScan, DONE } from "../../src/proxy/fast/chunked.ts";
import { PLAIN, RequestScan, ResponseScan, scanRequest, scanResponse } from "../../src/proxy/fast/scan.ts";
import type { Heard } from "./llhttp.ts";

/** Wide enough that no corpus entry meets a limit. */
export const WIDE: HeadLimits = { head: 64 * 1024, fields: 1000, url: 8 * 1024, body: 2 ** 40 };
const TRAILER_MAX = 16 * 1024;

const request = new RequestScan();
const response = new ResponseScan();

/** What the scanners make of a request; undefined: not plain, or no whole head. */
export function readRequest(bytes: Buffer): Heard | undefined {
  if (scanRequest(bytes, 0, bytes.length, WIDE, request) !== PLAIN) return undefined;
  const body = request.chunked
    ? readChunks(bytes, request.end)
    : readLength(bytes, request.end, Math.max(request.length, 0));
  return {
    ...body,
    method: request.method,
    target: bytes.toString("latin1", request.targetFrom, request.targetTo),
    status: 0,
    fields: fieldsOf(bytes, request),
  };
}

/** What the scanners make of a response; undefined: not plain, or no whole head. */
export function readResponse(bytes: Buffer, isHead: boolean): Heard | undefined {
  if (scanResponse(bytes, 0, bytes.length, WIDE.head, response) !== PLAIN) return undefined;
  const { status, end, chunked, length } = response;
  const hasBody = !isHead && status >= 200 && status !== 204 && status !== 304;
  const body = !hasBody
    ? readLength(bytes, end, 0)
    : chunked
      ? readChunks(bytes, end)
      : length >= 0
        ? readLength(bytes, end, length)
        : { verdict: "whole" as const, body: bytes.toString("latin1", end), end: -1, why: "" };
  return { ...body, method: "", target: "", status, fields: fieldsOf(bytes, response) };
}

/** What a body comes to. */
export type Body = Pick<Heard, "verdict" | "body" | "end" | "why">;

function readLength(bytes: Buffer, from: number, length: number): Body {
  const end = from + length;
  const whole = end <= bytes.length;
  const body = bytes.toString("latin1", from, Math.min(end, bytes.length));
  return { verdict: whole ? "whole" : "more", body, end: whole ? end : -1, why: "" };
}

/** What passes of a chunked body, as the lane passes it on, and how it ended. @param cuts the places at which the bytes arrive in pieces */
export function passChunks(
  bytes: Buffer,
  from: number,
  cuts: readonly number[],
): { readonly passed: string; readonly event: ChunkScan["event"]; readonly end: number } {
  const scan = new ChunkScan(TRAILER_MAX);
  let passed = "";
  let at = from;
  for (const to of [...cuts.filter((cut) => cut > from && cut < bytes.length), bytes.length]) {
    while (at < to) {
      const passes = scan.scan(bytes, at, to);
      passed += bytes.toString("latin1", at, passes);
      if (scan.event === BROKEN) return { passed, event: scan.event, end: scan.resume };
      if (scan.event === DONE) return { passed: passed + scan.trailer, event: scan.event, end: scan.resume };
      at = scan.event === 0 ? passes : scan.resume;
    }
  }
  return { passed, event: scan.event, end: -1 };
}

function readChunks(bytes: Buffer, from: number): Body {
  const { passed, event, end } = passChunks(bytes, from, []);
  if (event === BROKEN) return { verdict: "refused", body: "", end: -1, why: "broken chunks" };
  if (event !== DONE) return { verdict: "more", body: "", end: -1, why: "" };
  const decoded = decodeChunks(passed);
  if (decoded === undefined)
    return {
      verdict: "refused",
      body: "",
      end: -1,
      why: `what passed is not chunked: ${JSON.stringify(passed)}`,
    };
  return { verdict: "whole", body: decoded.body, end, why: "" };
}

/**
 * Decodes a whole chunked body without extensions, by text and not by bytes. Undefined when it is not exactly one: a size is `1*HEXDIG`
 * and a CRLF, nothing else.
 */
export function decodeChunks(
  text: string,
): { readonly body: string; readonly trailer: readonly string[] } | undefined {
  let body = "";
  let rest = text;
  for (;;) {
    const line = /^([0-9a-fA-F]+)\r\n/.exec(rest);
    if (line === null) return undefined;
    const size = Number.parseInt(line[1] ?? "", 16);
    rest = rest.slice(line[0].length);
    if (size === 0) break;
    if (rest.slice(size, size + 2) !== "\r\n") return undefined;
    body += rest.slice(0, size);
    rest = rest.slice(size + 2);
  }
  const lines = rest.split("\r\n");
  if (lines.pop() !== "" || lines.pop() !== "") return undefined;
  if (!lines.every((line) => /^[!#$%&'*+\-.^_`|~\w]+: [^\r\n\0]*$/.test(line))) return undefined;
  return { body, trailer: lines };
}

/** The fields that a scan found. */
export function fieldsOf(bytes: Buffer, scan: RequestScan | ResponseScan): string[] {
  const found: string[] = [];
  for (let at = 0; at < scan.count * 4; at += 2)
    found.push(bytes.toString("latin1", scan.fields[at], scan.fields[at + 1]));
  return found;
}
