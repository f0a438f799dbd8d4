/**
 * The head of an HTTP/2 request as the one table of rules reads it: pseudo-header fields become method, target and Host, and everything else is
 * asked of `readRequestHead`, so that nothing passes here that HTTP/1.1 would not be allowed. Pure.
 *
 * The platform's codec has already refused what is malformed by RFC 9113 §8.3 (pseudo-header fields twice, unknown or behind others), and left out,
 * without telling, fields with a byte that no field may have; what an upstream could be confused by is looked at again all the same.
 */

import { readRequestHead, type HeadLimits, type RequestHead } from "../headers.ts";
import { fieldOf } from "../request.ts";

/** An HTTP/2 request as read. */
export interface Http2Head {
  readonly method: string;
  /** As received: `https`, `http`; empty when there was none. */
  readonly scheme: string;
  /** Of an extended CONNECT (RFC 8441 §4); empty otherwise. */
  readonly protocol: string;
  /** The client waits for a 100 before it sends its body. */
  readonly expects: boolean;
  /** Host first, then the fields as they came, cookies joined (RFC 9113 §8.2.3). */
  readonly fields: readonly string[];
  readonly head: RequestHead;
}

/** The head of a frame. */
const FRAME_BYTES = 9;
/** The length of a text (RFC 7541 §5.2). */
const LENGTH_BYTES = 3;
/** Space around a value, which HTTP/2 does not take off (RFC 9113 §8.2.1). */
const BLANK = /^[\t ]|[\t ]$/;
/** Fields that belong to a connection and are malformed in HTTP/2 (RFC 9113 §8.2.2). */
const FORBIDDEN: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

/**
 * Reads the raw list of a request's head (name, value, …, pseudo-header fields first). `head.refusal` is set, and nothing is forwarded, when it
 * is malformed, ambiguous or over a limit.
 *
 * @param hasBody more than the head is to come
 */
export function readHttp2Head(raw: readonly string[], hasBody: boolean, limits: HeadLimits): Http2Head {
  const parts = partsOf(raw);
  const { pseudo, host, fields } = parts;
  const of = (name: string): string => pseudo.get(name) ?? "";
  const authority = pseudo.get(":authority") ?? host;
  const all = authority === "" ? fields : ["host", authority, ...fields];
  const method = of(":method");
  const protocol = of(":protocol");
  const read = readRequestHead(method, of(":path"), "1.1", all, limits);
  const trouble = parts.trouble || pseudoTrouble(pseudo, host);
  const isLong = read.refusal?.status === 414;
  const expected = fieldOf(fields, "expect")?.toLowerCase();
  const expects = expected === "100-continue";
  return {
    method,
    scheme: of(":scheme"),
    protocol,
    expects,
    fields: all,
    head:
      trouble !== "" && !isLong
        ? refused(read, 400, trouble)
        : expected === undefined || expects || read.refusal !== undefined
          ? framed(read, hasBody)
          : refused(read, 417, "only 100-continue is expected here"),
  };
}

/** Bytes that a head may have taken on the wire: each field as a literal, its lengths, and the frame around them. */
export function sizeOf(raw: readonly string[]): number {
  let bytes = FRAME_BYTES;
  for (const text of raw) bytes += text.length + LENGTH_BYTES;
  return bytes;
}

interface Parts {
  readonly pseudo: Map<string, string>;
  readonly fields: string[];
  /** Of the Host fields, should there be any. */
  host: string;
  trouble: string;
}

function partsOf(raw: readonly string[]): Parts {
  const parts: Parts = { pseudo: new Map(), fields: [], host: "", trouble: "" };
  let cookies = "";
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at] ?? "";
    const value = raw[at + 1] ?? "";
    if (BLANK.test(value)) parts.trouble ||= "a value with space around it";
    if (name.startsWith(":")) parts.pseudo.set(name, value);
    else if (name === "cookie") cookies = cookies === "" ? value : `${cookies}; ${value}`;
    else if (name === "host") addHost(parts, value);
    else if (FORBIDDEN.has(name) || (name === "te" && value !== "trailers"))
      parts.trouble ||= `${name} in HTTP/2`;
    else parts.fields.push(name, value);
  }
  if (cookies !== "") parts.fields.push("cookie", cookies);
  return parts;
}

function addHost(parts: Parts, value: string): void {
  if (parts.host !== "" && parts.host !== value) parts.trouble ||= "more than one Host";
  parts.host = value;
}

function pseudoTrouble(pseudo: ReadonlyMap<string, string>, host: string): string {
  const authority = pseudo.get(":authority");
  if (authority !== undefined && host !== "" && host.toLowerCase() !== authority.toLowerCase())
    return "Host is not :authority";
  const isConnect = pseudo.get(":method") === "CONNECT";
  if (isConnect && !pseudo.has(":protocol")) return "CONNECT is not served";
  const scheme = pseudo.get(":scheme");
  if (scheme !== "http" && scheme !== "https") return "the :scheme is not http or https";
  const path = pseudo.get(":path") ?? "";
  // Behind an absolute form there would be a second authority.
  return path === "*" || path.startsWith("/") ? "" : "the :path is no path";
}

function framed(head: RequestHead, hasBody: boolean): RequestHead {
  if (!hasBody || head.length === 0) return { ...head, framing: "none" };
  return { ...head, framing: head.length > 0 ? "length" : "chunked" };
}

function refused(head: RequestHead, status: number, detail: string): RequestHead {
  return { ...head, refusal: { status, detail } };
}
