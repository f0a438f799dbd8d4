/** The proxy's own answers: problem+json (RFC 9457) with a stable code, as an object of fields or as the bytes of a whole response. Pure. */

import { STATUS_CODES } from "node:http";
import type { ErrorCode } from "../domain/errors.ts";

/** The line that says that the connection ends. */
export const CLOSES = "connection: close\r\n";

const CLEAN_REASON = /^[\t\x20-\x7e]+$/;

/** One answer of our own. */
export interface OwnAnswer {
  readonly fields: readonly string[];
  readonly body: Buffer;
  /** One sentence, where there is no room for a body. */
  readonly detail: string;
}

/** The answer for a trouble; `cookie` is a Set-Cookie value or empty. @param retryAfterS when it may be over, seconds */
export function ownAnswer(
  status: number,
  code: ErrorCode,
  detail: string,
  cookie: string,
  retryAfterS = 1,
): OwnAnswer {
  const title = STATUS_CODES[status] ?? "Error";
  const body = Buffer.from(JSON.stringify({ type: "about:blank", title, status, detail, code }));
  const fields = ["content-type", "application/problem+json", "content-length", String(body.length)];
  fields.push("cache-control", "no-store");
  if (status === 503 || status === 429) fields.push("retry-after", String(retryAfterS));
  if (cookie !== "") fields.push("set-cookie", cookie);
  return { fields, body, detail };
}

/** The same as the bytes of a whole HTTP/1.1 response, with these further fields. */
export function wholeAnswer(
  { fields, body }: OwnAnswer,
  status: number,
  more: string,
  withBody: boolean,
): Buffer {
  const head = Buffer.from(`${statusLine(status)}${linesOf(fields)}${more}\r\n`, "latin1");
  return withBody ? Buffer.concat([head, body]) : head;
}

/** The same, ending the connection. */
export function rawAnswer(status: number, own: OwnAnswer, withBody: boolean): Buffer {
  return wholeAnswer(own, status, CLOSES, withBody);
}

/** The first line of a response. @param reason of an upstream */
export function statusLine(status: number, reason = ""): string {
  return `HTTP/1.1 ${status} ${phraseOf(status, reason)}\r\n`;
}

/** A reason phrase that may be sent: the upstream's if it is clean, else the status's own. */
export function phraseOf(status: number, reason: string): string {
  return CLEAN_REASON.test(reason) ? reason : (STATUS_CODES[status] ?? "Unknown");
}

/** A raw field list (name, value, …) as the lines of a head. */
export function linesOf(fields: readonly string[]): string {
  let text = "";
  for (let at = 0; at < fields.length; at += 2) text += `${fields[at] ?? ""}: ${fields[at + 1] ?? ""}\r\n`;
  return text;
}
