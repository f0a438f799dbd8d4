/**
 * What the general lane asks of whoever sends its requests, be it over HTTP/1.1 (`upstream.ts`) or HTTP/2 (`../h2/upstream.ts`). Types only.
 *
 * A request is a method, a target and a field list; its body is a stream that the sender opens, so that it can be sent again; the body of the
 * response goes to a sink of the client's side, with back-pressure.
 */

import type { Readable } from "node:stream";
import type { FieldedHead } from "../headers.ts";
import type { Attempt, AttemptEvents } from "../lane.ts";
import type { Timeouts } from "../route.ts";

/** A request body as a sender sees it. */
export interface StreamBody {
  /** A stream of the whole body, from its first byte; the one opened before is closed. Only while `isHeld`. */
  open(): Readable;
  /** Whether all that was read so far is still held. */
  readonly isHeld: boolean;
  /** Whether it is the client that everybody waits for. */
  readonly isWaiting: boolean;
  /** Trailer fields that came behind it and may be passed on; known once the stream has ended. */
  readonly trailers: readonly string[];
}

/** A request as it goes to an endpoint, and whoever takes the body of its response. */
export interface Outgoing {
  readonly method: string;
  readonly target: string;
  /** `http` or `https`: how the client came. */
  readonly scheme: "http" | "https";
  /** End-to-end fields, with Host, and Content-Length when declared. */
  readonly fields: readonly string[];
  readonly body: StreamBody | undefined;
  /** May be sent again when a reused connection turns out to be dead (RFC 9110 §9.2.2). */
  readonly retryable: boolean;
  /** Whether the client speaks HTTP/2: an endpoint that may choose is then asked for it too. */
  readonly isHttp2: boolean;
  readonly timeouts: Timeouts;
  readonly sink: BodySink;
}

/** Whoever takes the body of a response. */
export interface BodySink {
  /** False: takes no more until it calls `resume` of the attempt. */
  write(chunk: Buffer): boolean;
  /** Trailer fields that may be passed on; they come before the end. */
  trailers(fields: readonly string[]): void;
}

/** One attempt, whose sink can ask for more. */
export interface StreamAttempt extends Attempt {
  /** The client takes more. */
  resume(): void;
}

/** Sends requests to one endpoint. */
export interface Sender {
  /** The attempt may tell of its end before this returns. */
  send(request: Outgoing, events: AttemptEvents<FieldedHead>): StreamAttempt;
}
