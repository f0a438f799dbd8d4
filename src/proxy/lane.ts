/**
 * What a lane must do so that the exchange, which is the policy of one request, can stand above it. Types, and a few agreements.
 *
 * `Downstream` is the client's side of one exchange; it also sends, because only the lane knows what form the request has. `Attempt` is
 * one sending, `AttemptEvents` what it tells the exchange. The body of the response flows inside the lane: the exchange decides by heads, ends and
 * failures, never by bytes. Two lanes implement these: `general/` and `fast/`.
 */

import type { ErrorCode } from "../domain/errors.ts";
import type { Millis } from "../domain/units.ts";
import type { OwnAnswer } from "./answer.ts";
import type { Failure } from "./failure.ts";
import type { Endpoint } from "./pool.ts";
import type { RequestView } from "./request.ts";
import type { Route } from "./route.ts";

/** A request body on its way from the client; the lane alone looks inside. */
export interface RequestBody {
  /** From now on at most so many bytes are kept, so that the body can be sent again. */
  hold(maxBytes: number): void;
  /** Whether all that was read so far is still held. */
  readonly isHeld: boolean;
  /** The client's last byte was read. */
  readonly isComplete: boolean;
  /** Nobody wants it any more: the rest is read and dropped, within a small limit. */
  discard(): void;
}

/** A response head as policy sees it; the lane that read it knows the rest. */
export interface ResponseHead {
  readonly status: number;
  /** Why it cannot be passed on; empty when it can. */
  readonly malformed: string;
  /** An event stream, or gRPC: may stay open for hours. */
  readonly isStream: boolean;
  /** Of a gRPC response that has its trailers in its head; else `NO_GRPC_STATUS`. */
  readonly grpcStatus: number;
}

/** The client's side of one exchange; `R` is the lane's own form of a response head. */
export interface Downstream<R extends ResponseHead> {
  readonly view: RequestView;
  /** The authority; empty only for HTTP/1.0 without one. */
  readonly host: string;
  readonly proto: "http" | "https";
  /** What the client speaks. */
  readonly version: "1.1" | "2";
  /** The client's `traceparent`; undefined: it sent none. Only before `send`. */
  readonly parent: string | undefined;
  /** Undefined when the request has none. */
  readonly body: RequestBody | undefined;
  /** Monotonic time at which the head was read. */
  readonly startedAt: Millis;
  /**
   * Sends the request to an endpoint, as the route's rules say. The attempt may tell of its end before this returns.
   *
   * @param retryable may be sent again when a reused connection turns out to be dead (RFC 9110 §9.2.2)
   */
  send(route: Route, endpoint: Endpoint, retryable: boolean, events: AttemptEvents<R>): Attempt;
  /**
   * From now on the request goes upstream in a trace of ours: with this `traceparent` in place of the client's.
   *
   * @param keepsState with the client's `tracestate` too, which is of the same trace
   */
  trace(parent: string, keepsState: boolean): void;
  /** A 102 or 103. */
  informational(head: R): void;
  /** The response head, with a Set-Cookie value to add or "". False when the lane could not write it; nothing was sent then. */
  respond(head: R, cookie: string): boolean;
  /** Takes the head back, and what followed it, if nothing of it has left this process: `answer` may follow. False: it is too late. */
  takeBack(): boolean;
  /** The end of the response, of which all was written. */
  end(): void;
  /** The client is behind: some of what was written for it is not taken yet, and the upstream is waiting for that. */
  readonly isStalled: boolean;
  /**
   * Ends the connection so that the client sees an incomplete message.
   *
   * @param leaving why the proxy itself ends it, to be told where what was begun has a way to say so (reliability.md 50)
   */
  cut(leaving?: string): void;
  /** An answer of the proxy's own; only before `respond`. */
  give(status: number, own: OwnAnswer): void;
  /** The same, as problem+json. */
  answer(status: number, code: ErrorCode, detail: string, cookie: string): void;
  /** Refuses what the client did: as `answer`, then the connection ends. */
  refuse(status: number, code: ErrorCode, detail: string): void;
  /** The raw field list of a response head that was not answered with yet. */
  fieldsOf(head: R): readonly string[];
  /** The request as it was sent, to be sent once more to somebody else; undefined when its body is not held as a whole. */
  copy(): Copied | undefined;
}

/** A request as it was sent, whole. */
export interface Copied {
  readonly method: string;
  readonly target: string;
  /** How the client came. */
  readonly scheme: "http" | "https";
  /** As sent, the fields that frame the body included. */
  readonly fields: readonly string[];
  /** Undefined when it had none. */
  readonly body: Buffer | undefined;
  readonly isHttp2: boolean;
}

/** More informational responses than this are an attack or a bug. */
export const INFORMATIONAL_MAX = 16;

/** One attempt on an endpoint. After `abort` or a last event it says nothing more. */
export interface Attempt {
  abort(): void;
  /** The response is not wanted: reads a short rest so that the connection can be kept, and says nothing more. */
  discard(): void;
}

/** What an attempt tells. `onFailed` and `onEnd` are the last. */
export interface AttemptEvents<R extends ResponseHead> {
  /** The request was written to its last byte. */
  onSent(at: Millis): void;
  /**
   * Asked when a kept connection was lost before any answer, and the attempt would send the whole request once more on a fresh one: false when
   * there were too many such requests of late. Each true is counted as one.
   */
  mayRetry(): boolean;
  onInformational(head: R): void;
  onHead(head: R, at: Millis): void;
  /** The response was read to its end, and every byte of it was handed to the client's side. @param grpcStatus of its trailers, or `NO_GRPC_STATUS` */
  onEnd(grpcStatus: number): void;
  onFailed(failure: Failure, at: Millis): void;
}

/**
 * When the process goes away, an idle connection is closed after so long, milliseconds: the request that its client may be sending just now
 * is still answered, and told that it was the last (RFC 9112 §9.5).
 */
export const RETIRE_IDLE_MS = 500;
