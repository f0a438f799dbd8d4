/** A plain request's head as it goes upstream: the text that came, less the lines that are not passed on, and what the proxy itself says. */

import type { Dice } from "../../engine/ports.ts";
import { linesOf } from "../answer.ts";
import {
  addOwnFields,
  REQUEST_ID,
  requestId,
  retrace,
  type Origin,
  type TraceFields,
} from "../forwarding.ts";
import { copyRequestFields } from "../headers.ts";
import { fieldsOfText } from "./head.ts";
import type { RequestScan } from "./scan.ts";

/** What the proxy says of a connection's requests, as text: the same for as long as host and origin are. */
export class OwnLines {
  #origin: Origin | undefined = undefined;
  #host = "";
  #text = "";

  /** The lines for a request. @param head its text, which is read when its origin is trusted */
  of(origin: Origin, host: string, proto: string, head: string): string {
    if (this.#origin === origin && this.#host === host && !origin.trusted) return this.#text;
    const out: string[] = [];
    addOwnFields(out, {
      origin,
      fields: origin.trusted ? fieldsOfText(head) : out,
      host,
      proto,
      version: "1.1",
    });
    this.#origin = origin;
    this.#host = host;
    this.#text = linesOf(out);
    return this.#text;
  }
}

/**
 * The head, latin1, with its blank line.
 *
 * @param scan of `bytes`, in which the head begins at `from`
 * @param head the same as text
 * @param host its Host
 * @param drop a lower-case name to leave out (the override's); empty: none
 * @param own  `OwnLines.of` the request
 * @param isTrusted whether it came from a trusted proxy
 * @param trace what is put in place of the client's trace context; undefined: that goes on as it came
 */
export function outgoingHead(
  scan: RequestScan,
  bytes: Uint8Array,
  from: number,
  head: string,
  host: string,
  drop: string,
  own: string,
  isTrusted: boolean,
  dice: Dice,
  trace: TraceFields | undefined,
): string {
  const kept =
    trace === undefined && (drop === "" || scan.find(bytes, drop) < 0) && !(isTrusted && scan.hasTrusted)
      ? keptLines(scan, from, head)
      : keptFields(scan, from, head, host, drop, isTrusted, trace);
  const id = scan.hasId ? "" : `${REQUEST_ID}: ${requestId(dice)}\r\n`;
  const { method } = scan;
  // A server must not wait for a body that this method usually has (RFC 9110 §8.6).
  const empty =
    scan.length < 0 && !scan.chunked && (method === "POST" || method === "PUT" || method === "PATCH")
      ? "content-length: 0\r\n"
      : "";
  return `${kept}${own}${id}${empty}\r\n`;
}

/** The head's own text without the lines that the scan dropped, and without its blank line. */
function keptLines(scan: RequestScan, from: number, head: string): string {
  let text = "";
  let at = 0;
  for (let nth = 0; nth < scan.dropped; nth++) {
    // Within the dropped lines.
    text += head.slice(at, scan.drops[nth * 2]! - from);
    at = scan.drops[nth * 2 + 1]! - from;
  }
  return text + head.slice(at, head.length - 2);
}

/** The same by the rules of `headers.ts`, for when a line more has to go or come, or may stay. */
function keptFields(
  scan: RequestScan,
  from: number,
  head: string,
  host: string,
  drop: string,
  isTrusted: boolean,
  trace: TraceFields | undefined,
): string {
  const fields = ["host", host];
  copyRequestFields(fields, fieldsOfText(head), [], drop, isTrusted);
  if (trace !== undefined) retrace(fields, trace);
  if (scan.length >= 0) fields.push("content-length", String(scan.length));
  if (scan.chunked) fields.push("transfer-encoding", "chunked");
  return head.slice(0, scan.fieldsFrom - from) + linesOf(fields);
}
