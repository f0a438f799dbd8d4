/**
 * The field lists of HTTP/2 towards upstreams: a request as its pseudo-fields and fields, a response the other way round. Pure.
 *
 * What may pass was decided before (`../headers.ts`); here a list only changes its form. Values are latin1 texts in and out, which Node sends
 * and receives byte for byte. Sources: RFC 9113 §8.2 and §8.3; reliability.md 18, 50.
 */

import { cleanTrailers } from "../headers.ts";
import { fieldOf } from "../request.ts";

/** What a head, or trailers, of an upstream may be long. */
export const HEAD_BYTES = 64 * 1024;
/** gRPC, but not gRPC-Web, which has its trailers in the body. */
const GRPC = /^application\/grpc(?:$|[+; ])/i;

/** What a request's pseudo-fields are made of. */
export interface Pseudo {
  readonly method: string;
  readonly target: string;
  readonly scheme: "http" | "https";
  /** Stands in for a Host that the client did not send. */
  readonly authority: string;
}

/** A request as a list for HTTP/2: Host becomes `:authority`, names in lower case, and what gRPC expects of `te` (RFC 9110 §10.1.4). */
export function requestList(pseudo: Pseudo, fields: readonly string[]): string[] {
  const { method, scheme, target, authority } = pseudo;
  const host = fieldOf(fields, "host") ?? authority;
  const out = [":method", method, ":scheme", scheme, ":authority", host, ":path", target];
  for (let at = 0; at < fields.length; at += 2) {
    const name = (fields[at] ?? "").toLowerCase();
    if (name !== "host") out.push(name, fields[at + 1] ?? "");
  }
  if (isGrpc(fields)) out.push("te", "trailers");
  return out;
}

/** Whether a received list is more than is taken: Node's own limit holds only once the upstream has acknowledged our SETTINGS. */
export function isTooLong(list: readonly string[]): boolean {
  let bytes = 0;
  for (const text of list) bytes += text.length;
  return bytes > HEAD_BYTES;
}

/** Whether a list of fields is that of a gRPC message. */
export function isGrpc(fields: readonly string[]): boolean {
  return GRPC.test(fieldOf(fields, "content-type") ?? "");
}

/** A received list without its pseudo-fields, which come first (RFC 9113 §8.3). */
export function withoutPseudo(list: readonly string[]): readonly string[] {
  let at = 0;
  while (at < list.length && list[at]?.startsWith(":") === true) at += 2;
  return list.slice(at);
}

/** The status in a received list; 0 when there is none. */
export function statusIn(list: readonly string[]): number {
  return Number(fieldOf(list, ":status") ?? 0);
}

/**
 * The trailers that may be passed on. gRPC's are metadata of the application under any name, and stay as they are where HTTP/2 carries
 * them to the client; elsewhere a name could frame or redirect something.
 */
export function trailersOf(list: readonly string[], isUntouched: boolean): readonly string[] {
  return isUntouched ? list : cleanTrailers(list);
}

/** Fields in the form in which Node takes trailers and hints: by name in lower case, the values of each as a list. */
export function objectOf(fields: readonly string[]): Record<string, string[]> {
  const byName = new Map<string, string[]>();
  for (let at = 0; at < fields.length; at += 2) {
    const name = (fields[at] ?? "").toLowerCase();
    const value = fields[at + 1] ?? "";
    const before = byName.get(name);
    if (before === undefined) byName.set(name, [value]);
    else before.push(value);
  }
  return Object.fromEntries(byName);
}
