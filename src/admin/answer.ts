/**
 * What the admin server sends back, as data, before anything touches a socket. Pure.
 *
 * An answer is a value so that the same one can be given twice (`Idempotency-Key`), for HEAD without its body, and be looked at in a test.
 */

import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { ErrorCode } from "../domain/errors.ts";
import { PROBLEM_TYPE, problemOf, type ProblemMore } from "./problem.ts";

/**
 * What every answer carries, refusals of what never became a request included: it is nobody's to keep, to frame, to embed or to guess at, and
 * were one ever shown as a page, nothing in it would run, load or be sent anywhere.
 */
export const GUARDS: Readonly<Record<string, string>> = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "content-security-policy":
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
};

/** A whole answer. */
export interface Answer {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Buffer;
  /** The connection cannot be used again: something of the request was left unread. */
  readonly close: boolean;
}

/** `body` as JSON. `version` becomes the ETag. */
export function jsonAnswer(status: number, body: unknown, version?: number): Answer {
  const headers = { "content-type": "application/json" };
  return {
    status,
    headers: version === undefined ? headers : { ...headers, etag: `"${version}"` },
    body: `${JSON.stringify(body)}\n`,
    close: false,
  };
}

/** `body` as JSON, under a tag by which it is known again. */
export function taggedAnswer(body: unknown, etag: string): Answer {
  const answer = jsonAnswer(200, body);
  return { ...answer, headers: { ...answer.headers, etag } };
}

/** That nothing has changed since the answer with this tag. */
export function unchangedAnswer(etag: string): Answer {
  return { status: 304, headers: { etag }, body: "", close: false };
}

/** `body` as it is. */
export function textAnswer(contentType: string, body: string): Answer {
  return { status: 200, headers: { "content-type": contentType }, body, close: false };
}

/** A refusal. `headers` are added; `close`: the request was not read to its end. */
export function problemAnswer(
  code: ErrorCode,
  detail: string,
  more: ProblemMore & { readonly headers?: Readonly<Record<string, string>>; readonly close?: boolean } = {},
): Answer {
  const problem = problemOf(code, detail, more);
  return {
    status: problem.status,
    headers: { "content-type": PROBLEM_TYPE, ...more.headers },
    body: `${JSON.stringify(problem)}\n`,
    close: more.close ?? false,
  };
}

const gzipped = promisify(gzip);
/** Below it packing saves nothing that anybody would notice. */
const PACKED_BYTES = 4096;

/**
 * `answer`, packed when it is long JSON and the caller takes gzip: an hour of history is a fifth of its size. What has an ETag stays as it is, for the tag
 * names the very bytes.
 */
export async function packed(answer: Answer, accept: string): Promise<Answer> {
  const { headers, body } = answer;
  const isLong = typeof body === "string" && body.length >= PACKED_BYTES && headers["etag"] === undefined;
  if (!isLong || headers["content-type"] !== "application/json") return answer;
  const varied = { ...headers, vary: "accept-encoding" };
  // As a browser says it; whoever says it otherwise gets it as it is.
  if (!/(?:^|,) *gzip *(?:,|$)/i.test(accept)) return { ...answer, headers: varied };
  return { ...answer, headers: { ...varied, "content-encoding": "gzip" }, body: await gzipped(body) };
}
