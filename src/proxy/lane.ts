/**
 * What a lane must do so that the exchange, which is the policy of one request, can stand above it. Types only.
 *
 * `Downstream` is the client's side, `Server` an endpoint that takes attempts, `AttemptEvents` what an attempt tells the exchange. The
 * fast lane will implement the same three.
 */

import type { ErrorCode } from "../domain/errors.ts";
import type { Millis } from "../domain/units.ts";
import type { Failure } from "./failure.ts";
import type { RequestHead } from "./headers.ts";
import type { Origin } from "./forwarding.ts";
import type { RequestView } from "./request.ts";

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

/** The client's side of one exchange. */
export interface Downstream {
  readonly view: RequestView;
  readonly head: RequestHead;
  /** The raw field list as received. */
  readonly fields: readonly string[];
  readonly origin: Origin;
  readonly proto: "http" | "https";
  /** Undefined when the request has none. */
  readonly body: RequestBody | undefined;
  /** Monotonic time at which the head was read. */
  readonly startedAt: Millis;
  /** A 102 or 103. */
  informational(status: number, fields: readonly string[]): void;
  /** The response head. False when the lane could not write it; nothing was sent then. */
  respond(status: number, reason: string, fields: string[]): boolean;
  /** A piece of the body. False: wait for `Exchange.onDownstreamDrain`. */
  write(chunk: Buffer): boolean;
  /** The end of the body; trailers go only where the framing has room for them. */
  end(trailers: readonly string[]): void;
  /** Ends the connection so that the client sees an incomplete message. */
  cut(): void;
  /** An answer of the proxy's own, as problem+json; only before `respond`. */
  answer(status: number, code: ErrorCode, detail: string, cookie: string): void;
  /** Refuses what the client did: as `answer`, then the connection ends. */
  refuse(status: number, code: ErrorCode, detail: string): void;
}

/** A request as it goes to an endpoint. */
export interface Outgoing {
  readonly method: string;
  readonly target: string;
  /** End-to-end fields, with Host, and Content-Length when declared. */
  readonly fields: readonly string[];
  readonly body: RequestBody | undefined;
  /** May be sent again when a reused connection turns out to be dead (RFC 9110 §9.2.2). */
  readonly retryable: boolean;
  readonly timeouts: {
    readonly connect: Millis;
    readonly headers: Millis;
    readonly idle: Millis;
  };
}

/** One attempt on an endpoint. After `abort` or a last event it says nothing more. */
export interface Attempt {
  abort(): void;
  /** The client does not read: stop reading the response. */
  pause(): void;
  resume(): void;
  /** The response is not wanted: reads a short rest so that the connection can be kept, and says nothing more. */
  discard(): void;
}

/** What an attempt tells. `onFailed` and `onEnd` are the last. */
export interface AttemptEvents {
  /** The request was written to its last byte. */
  onSent(at: Millis): void;
  onInformational(status: number, fields: readonly string[]): void;
  onHead(status: number, reason: string, fields: readonly string[], at: Millis): void;
  /** False: `pause` was wanted; the attempt goes on after `resume`. */
  onData(chunk: Buffer): boolean;
  onEnd(trailers: readonly string[]): void;
  onFailed(failure: Failure, at: Millis): void;
}

/** One endpoint with its connections. */
export interface Server {
  readonly url: string;
  readonly inFlight: number;
  send(request: Outgoing, events: AttemptEvents): Attempt;
}
