/**
 * What went wrong with an attempt, in one table: the reason it settles with, the status and code that the client is answered. Pure.
 *
 * Before the response head a failure becomes an answer; behind it, it can only be a cut.
 */

import { isExhaustion, type ErrorCode } from "../domain/errors.ts";
import type { Reason } from "../domain/outcome.ts";

/** How far an attempt had come when it failed. */
export type Stage = "queue" | "connect" | "head" | "body";

/** One failed attempt. */
export interface Failure {
  readonly reason: Reason;
  /** Status of the synthetic answer; it is sent only while nothing else was. */
  readonly status: number;
  readonly code: ErrorCode;
  /** For people; holds nothing that the client sent. */
  readonly detail: string;
  /** True for a time-out: the time that had passed counts as the latency. */
  readonly timedOut: boolean;
}

/** Failures that this proxy finds itself, by name. */
export const FAILURES = {
  overloaded: failure("unavailable", 503, "SPLIT_OVERLOADED", "too many requests wait for this upstream"),
  waited: failure("unavailable", 503, "SPLIT_OVERLOADED", "waited too long for a free connection"),
  connectTimeout: failure("connect", 504, "SPLIT_UPSTREAM_TIMEOUT", "no connection in time", true),
  headTimeout: failure("timeout", 504, "SPLIT_UPSTREAM_TIMEOUT", "no response head in time", true),
  uploadTimeout: failure(
    "timeout",
    504,
    "SPLIT_UPSTREAM_TIMEOUT",
    "the upstream stopped reading the body",
    true,
  ),
  idleTimeout: failure("cut", 504, "SPLIT_UPSTREAM_TIMEOUT", "the response body stopped"),
  malformed: failure("malformed", 502, "SPLIT_UPSTREAM_FAILED", "the response was not HTTP"),
  connect: failure("connect", 502, "SPLIT_UPSTREAM_FAILED", "no connection to the upstream"),
  reset: failure("reset", 502, "SPLIT_UPSTREAM_FAILED", "the connection was lost before the response"),
  cut: failure("cut", 502, "SPLIT_UPSTREAM_FAILED", "the response stopped inside its body"),
  noTunnel: failure(
    "unavailable",
    502,
    "SPLIT_UPSTREAM_FAILED",
    "the upstream takes no WebSockets over HTTP/2",
  ),
  exhausted: failure("unavailable", 503, "SPLIT_OVERLOADED", "this replica has no file or port left"),
  internal: failure("unavailable", 500, "SPLIT_INTERNAL", "the request could not be sent"),
} as const;

function failure(reason: Reason, status: number, code: ErrorCode, detail: string, timedOut = false): Failure {
  return { reason, status, code, detail, timedOut };
}

const MALFORMED = /^(?:HPE_|UND_ERR_HEADERS_OVERFLOW|UND_ERR_RES_CONTENT_LENGTH_MISMATCH)/;
/** What undici says of a response that came unasked, or a 101 nobody asked for. */
const SURPRISE = /^bad (?:response|upgrade)$/;
const OWN_FAULT = /^UND_ERR_(?:INVALID_ARG|NOT_SUPPORTED|REQ_CONTENT_LENGTH_MISMATCH|DESTROYED|CLOSED)$/;

/** The failure behind an error of the upstream's library or socket. */
export function failureOf(error: unknown, stage: Stage): Failure {
  const code = textOf(error, "code");
  if (OWN_FAULT.test(code)) return FAILURES.internal;
  if (stage === "queue" || stage === "connect")
    return isExhaustion(code) ? FAILURES.exhausted : FAILURES.connect;
  if (stage === "body") return FAILURES.cut;
  if (
    MALFORMED.test(code) ||
    textOf(error, "name") === "HTTPParserError" ||
    SURPRISE.test(textOf(error, "message"))
  )
    return FAILURES.malformed;
  return FAILURES.reset;
}

function textOf(error: unknown, name: string): string {
  if (typeof error !== "object" || error === null) return "";
  const value: unknown = Reflect.get(error, name);
  return typeof value === "string" ? value : "";
}
