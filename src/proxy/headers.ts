/**
 * The one table of field rules, for every lane: what is connection-specific, what frames a message, what is refused. Pure.
 *
 * Everything is decided on the raw list (name, value, name, value, …): a parsed header object joins and drops, and what it hides is
 * what smuggles. A body's framing is never copied: it is decided here and written anew by the lane. Sources: RFC 9110 §7.6.1,
 * RFC 9112 §3.2 and §6; reliability.md A1–A6, B10, C18, C19, C23.
 */

import { grpcStatusOf, NO_GRPC_STATUS } from "../domain/grpc.ts";

/** How a message says where its body ends. */
export type Framing = "none" | "length" | "chunked" | "close";

/** Why a request is refused. */
export interface Refusal {
  readonly status: number;
  readonly detail: string;
}

/** What a request head came to. */
export interface RequestHead {
  readonly refusal: Refusal | undefined;
  /** The authority to route by and to send; empty only for HTTP/1.0 without one. */
  readonly host: string;
  /** Origin form, or `*`. */
  readonly target: string;
  readonly framing: Framing;
  /** Declared body length; −1 when not declared. */
  readonly length: number;
  /** Lower-case names that Connection listed. */
  readonly connection: readonly string[];
}

/** What a request may be, as the limits say. */
export interface HeadLimits {
  readonly head: number;
  readonly fields: number;
  readonly url: number;
  readonly body: number;
}

/** Fields that belong to one connection and are never forwarded. */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
  "trailer",
  "http2-settings",
]);

/** Fields of a request that the proxy writes itself, so the client's are left out. */
export const REWRITTEN: ReadonlySet<string> = new Set([
  "host",
  "content-length",
  "expect",
  "forwarded",
  "x-forwarded-for",
  "x-forwarded-proto",
  "x-forwarded-host",
]);

/** Naming these in Connection removes nothing: a client must not strip what the upstream relies on. */
const PROTECTED =
  /^(?:host|content-length|content-type|cookie|set-cookie|authorization|x-request-id|via|forwarded|x-forwarded-.*)$/;

/** Never passed on in a trailer (RFC 9110 §6.5.1). */
const NOT_IN_TRAILER =
  /^(?:content-(?:length|encoding|type|range)|host|authorization|set-cookie|cookie|proxy-.*|www-authenticate|cache-control|max-forwards|expect|range|if-.*|age|date|location|vary|expires)$/;

/** How the names begin by which a proxy says who asked it for what; only a trusted one's are passed on. */
export const FORWARDING = "x-forwarded-";
const NO_NAMES: readonly string[] = [];
const STREAM = /^(?:text\/event-stream|application\/grpc)\b/i;
const CONTROL = /[^\t\x20-\x7e\x80-\xff]/;
/** No byte of another URL either: servers differ about what they make of it (RFC 9112 §3.2). */
const TARGET = /^[\x21-\x7e]+$/;
const AUTHORITY = /^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9!$&'()*+,;=._~%-]+)(?::\d{0,5})?$/;

/**
 * Reads a request head. `refusal` is set, and forwards nothing, when the head is ambiguous or over a limit.
 *
 * @param url     the request target as received
 * @param version `1.1` or `1.0`; anything else is refused with 505
 */
export function readRequestHead(
  method: string,
  url: string,
  version: string,
  fields: readonly string[],
  limits: HeadLimits,
): RequestHead {
  if (version !== "1.1" && version !== "1.0")
    return refused(505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
  if (url.length > limits.url) return refused(414, "the request target is too long");
  if (fields.length > limits.fields * 2) return refused(431, "too many fields");
  const tally = tallyOf(fields);
  if (tally.hasControl) return refused(400, "a field has control bytes");
  if (tally.size > limits.head) return refused(431, "the request head is too large");
  const trouble = hostTrouble(tally, version) ?? framingTrouble(tally, version);
  if (trouble !== undefined) return refused(400, trouble);
  if (tally.length > limits.body) return refused(413, "the request body is too large");
  const target = targetOf(method, url, tally.host);
  if (target === undefined)
    return refused(400, "the request target is neither a path nor an absolute http address");
  return {
    refusal: undefined,
    host: target.host,
    target: target.path,
    framing: tally.codings > 0 ? "chunked" : tally.length > 0 ? "length" : "none",
    length: tally.length,
    connection: tally.connection,
  };
}

/** The few fields that decide about a message, and how often each came. */
interface Tally {
  hasControl: boolean;
  /** Bytes of all fields. */
  size: number;
  hosts: number;
  host: string;
  lengths: number;
  /** −1: not declared, or not a length. */
  length: number;
  codings: number;
  coding: string;
  connection: readonly string[];
}

function tallyOf(fields: readonly string[]): Tally {
  const tally: Tally = {
    hasControl: false,
    size: 0,
    hosts: 0,
    host: "",
    lengths: 0,
    length: -1,
    codings: 0,
    coding: "",
    connection: NO_NAMES,
  };
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] ?? "";
    const value = fields[at + 1] ?? "";
    tally.size += name.length + value.length + 4;
    if (CONTROL.test(value)) tally.hasControl = true;
    // By length first: most fields are none of these four.
    const { length } = name;
    if (length === 4 || length === 10 || length === 14 || length === 17)
      note(tally, name.toLowerCase(), value);
  }
  return tally;
}

function note(tally: Tally, lower: string, value: string): void {
  switch (lower) {
    case "host":
      tally.hosts++;
      tally.host = value;
      break;
    case "connection":
      tally.connection = [...tally.connection, ...namesOf(value)];
      break;
    case "content-length":
      tally.lengths++;
      tally.length = lengthOf(value);
      break;
    case "transfer-encoding":
      tally.codings++;
      tally.coding = value.toLowerCase();
      break;
  }
}

function hostTrouble(tally: Tally, version: string): string | undefined {
  if (tally.hosts > 1) return "more than one Host";
  if (tally.hosts === 0) return version === "1.1" ? "no Host" : undefined;
  return AUTHORITY.test(tally.host) ? undefined : "Host is not an authority";
}

function framingTrouble(tally: Tally, version: string): string | undefined {
  if (tally.lengths > 1) return "more than one Content-Length";
  if (tally.lengths === 1 && tally.length < 0) return "Content-Length is not a length";
  if (tally.codings === 0) return undefined;
  if (tally.lengths > 0) return "both Content-Length and Transfer-Encoding";
  if (version === "1.0") return "Transfer-Encoding in HTTP/1.0";
  return tally.codings > 1 || tally.coding !== "chunked"
    ? "Transfer-Encoding is not just chunked"
    : undefined;
}

function refused(status: number, detail: string): RequestHead {
  return {
    refusal: { status, detail },
    host: "",
    target: "",
    framing: "none",
    length: -1,
    connection: NO_NAMES,
  };
}

/** `1*DIGIT` below 2^53; −1 for anything else. */
function lengthOf(value: string): number {
  if (!/^\d{1,16}$/.test(value)) return -1;
  const length = Number(value);
  return Number.isSafeInteger(length) ? length : -1;
}

function namesOf(list: string): string[] {
  return list.split(",").map((name) => name.trim().toLowerCase());
}

/** Path and authority of a target; the authority of the absolute form replaces Host. Undefined: a form that is not served. */
function targetOf(method: string, url: string, host: string): { path: string; host: string } | undefined {
  if (!TARGET.test(url) || url.includes("#")) return undefined;
  if (url.startsWith("/")) return { path: url, host };
  if (url === "*") return method === "OPTIONS" ? { path: url, host } : undefined;
  const scheme = /^https?:\/\//i.exec(url)?.[0];
  if (scheme === undefined) return undefined;
  const rest = url.slice(scheme.length);
  const end = rest.search(/[/?]/);
  const authority = end < 0 ? rest : rest.slice(0, end);
  const path = end < 0 ? "/" : rest.slice(end);
  if (!AUTHORITY.test(authority)) return undefined;
  return { path: path.startsWith("?") ? `/${path}` : path, host: authority };
}

/**
 * The client's end-to-end fields, in order and as they came, into `out`: without the connection-specific ones, those that Connection
 * names, those that the proxy writes itself, and what only a trusted proxy may say of forwarding, in any spelling with `_`.
 *
 * @param drop one more lower-case name to leave out (the override's); empty: none
 * @param isTrusted whether they came from a trusted proxy
 * @returns whether the client sent an X-Request-Id
 */
export function copyRequestFields(
  out: string[],
  fields: readonly string[],
  connection: readonly string[],
  drop: string,
  isTrusted = false,
): boolean {
  let hasId = false;
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] ?? "";
    const lower = name.toLowerCase();
    if (HOP_BY_HOP.has(lower) || REWRITTEN.has(lower) || (drop !== "" && lower === drop)) continue;
    if (lower.startsWith("x") && isForged(lower, isTrusted)) continue;
    if (connection.length > 0 && connection.includes(lower) && !PROTECTED.test(lower)) continue;
    if (lower === "x-request-id") hasId = true;
    out.push(name, fields[at + 1] ?? "");
  }
  return hasId;
}

/** Whether a field speaks of forwarding and nobody trusted said so. Servers that take `_` for `-` read such a name as one of the family. */
function isForged(lower: string, isTrusted: boolean): boolean {
  const hyphened = lower.replaceAll("_", "-");
  return hyphened.startsWith(FORWARDING) && !(isTrusted && hyphened === lower);
}

/** A response head as a list of fields. */
export interface FieldedHead {
  readonly status: number;
  readonly reason: string;
  /** Why it cannot be passed on; empty when it can. */
  readonly malformed: string;
  /** End-to-end fields, in order and as they came. */
  readonly fields: string[];
  /** An event stream, or gRPC. */
  readonly isStream: boolean;
  readonly grpcStatus: number;
}

/** The response's end-to-end fields, or why it is malformed; of an informational one only the fields. `fields` is the raw list as received. */
export function readResponseFields(status: number, reason: string, fields: readonly string[]): FieldedHead {
  const tally = tallyOf(fields);
  const malformed = responseTrouble(status, tally);
  const head = { status, reason, malformed, fields: [], isStream: false, grpcStatus: NO_GRPC_STATUS };
  if (malformed === "") copyResponseFields(head, fields, tally.connection);
  return head;
}

function responseTrouble(status: number, tally: Tally): string {
  if (status < 100 || status > 599) return `status ${status}`;
  if (tally.hasControl) return "a field has control bytes";
  return framingTrouble(tally, "1.1") ?? "";
}

function copyResponseFields(
  head: { -readonly [K in keyof FieldedHead]: FieldedHead[K] },
  fields: readonly string[],
  connection: readonly string[],
): void {
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] ?? "";
    const value = fields[at + 1] ?? "";
    const lower = name.toLowerCase();
    if (HOP_BY_HOP.has(lower) || (head.status === 204 && lower === "content-length")) continue;
    if (connection.includes(lower) && !PROTECTED.test(lower)) continue;
    if (lower === "content-type") head.isStream = STREAM.test(value);
    else if (lower === "grpc-status") head.grpcStatus = grpcStatusOf(value);
    head.fields.push(name, value);
  }
}

/** The trailer fields that may be passed on. */
export function cleanTrailers(fields: readonly string[]): string[] {
  const out: string[] = [];
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] ?? "";
    const value = fields[at + 1] ?? "";
    const lower = name.toLowerCase();
    if (HOP_BY_HOP.has(lower) || NOT_IN_TRAILER.test(lower) || CONTROL.test(value)) continue;
    out.push(name, value);
  }
  return out;
}
