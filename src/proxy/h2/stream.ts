/**
 * One HTTP/2 stream as an exchange: `Downstream`, request view and sink of the response in one object.
 *
 * A refusal ends the stream and not the connection; a cut is RST_STREAM, never END_STREAM, so that a truncated answer does not look whole
 * (reliability.md 17, 48). A request that is gRPC gets the proxy's own failures as a gRPC status (50). Sources: RFC 9113 §8.1, §8.6.
 */

import { constants, type ServerHttp2Stream } from "node:http2";
import type { ErrorCode } from "../../domain/errors.ts";
import { grpcOfHttp, grpcTimeoutOf, NO_GRPC_STATUS } from "../../domain/grpc.ts";
import { ownAnswer, type OwnAnswer } from "../answer.ts";
import { RequestSide, type RequestParts } from "../general/side.ts";
import type { FieldedHead } from "../headers.ts";
import type { Attempt, AttemptEvents } from "../lane.ts";
import type { Arrival } from "../listener.ts";
import type { Endpoint } from "../pool.ts";
import { fieldOf } from "../request.ts";
import type { Route } from "../route.ts";
import { isGrpc, objectOf } from "./fields.ts";

const { NGHTTP2_NO_ERROR } = constants;
const RESET_CONTENT = 205;
const UNAVAILABLE = 503;
/** Answers without content, which the platform ends with their head (RFC 9110 §15.3.5, §15.3.6, §15.4.5). */
const EMPTY: ReadonlySet<number> = new Set([204, RESET_CONTENT, 304]);
/** Ends a stream with RST_STREAM (INTERNAL_ERROR); `close` would send END_STREAM before it, and the answer would look whole. */
const CUT = new Error("cut by the proxy");

/** What is known of a stream when its head was read. */
export interface StreamParts extends RequestParts {
  readonly stream: ServerHttp2Stream;
  /** A client that takes no byte of its answer for so long is cut, milliseconds. */
  readonly idleMs: number;
}

/** One stream and its exchange. */
export class Http2Side extends RequestSide implements Arrival<FieldedHead> {
  readonly #isGrpc: boolean;
  readonly #stream: ServerHttp2Stream;
  readonly #idleMs: number;
  /** The answer has begun, and ends with a gRPC status. */
  #answersGrpc = false;
  #trailers: readonly string[] = [];
  #hasEnded = false;
  /** The answer ended with its head, whatever the upstream still sends: a client that leaves then has got all of it. */
  #isWhole = false;
  #patience: NodeJS.Timeout | undefined = undefined;
  #behind = -1;

  constructor(parts: StreamParts) {
    super(parts);
    this.#isGrpc = isGrpc(parts.fields);
    this.#stream = parts.stream;
    this.#idleMs = parts.idleMs;
    const { stream } = parts;
    stream.on("drain", () => this.#drained());
    stream.on("wantTrailers", () => this.#sendTrailers());
    stream.on("aborted", () => this.#gone());
    stream.on("finish", () => this.#finished());
    stream.once("close", () => this.#gone());
  }

  override send(
    route: Route,
    endpoint: Endpoint,
    retryable: boolean,
    events: AttemptEvents<FieldedHead>,
  ): Attempt {
    // A quiet stream of messages is no stalled body.
    if (this.#isGrpc) this.body?.allowIdle(route.timeouts.stream);
    return super.send(route, endpoint, retryable, events);
  }

  informational({ status, fields }: FieldedHead): void {
    if (this.#isOver || this.#stream.headersSent) return;
    try {
      this.#stream.additionalHeaders({ ":status": status, ...objectOf(fields) });
    } catch {
      // A hint that cannot be written is only a hint: the answer comes all the same.
    }
  }

  respond({ status, fields, grpcStatus }: FieldedHead, cookie: string): boolean {
    if (this.#isOver) return true;
    if (cookie !== "") fields.push("set-cookie", cookie);
    // A gRPC status in the head says that it is the trailers too, and a client takes it only as the end (reliability.md 50).
    const isTrailersOnly = this.#isGrpc && grpcStatus !== NO_GRPC_STATUS;
    const isEmpty = isTrailersOnly || this.method === "HEAD" || EMPTY.has(status);
    const hasLength = fieldOf(fields, "content-length") !== undefined;
    // What an upstream sends with a 205 all the same is read and left out.
    const sent = status === RESET_CONTENT ? without(fields, "content-length") : fields;
    this.#isWhole = isEmpty;
    this.#answersGrpc = this.#isGrpc && !isEmpty && isGrpc(fields);
    try {
      this.#stream.respond(listOf(status, sent), {
        endStream: isEmpty,
        // Elsewhere only behind a body of unknown length.
        waitForTrailers: !isEmpty && (this.#isGrpc || !hasLength),
      });
    } catch {
      return false;
    }
    return true;
  }

  write(chunk: Buffer): boolean {
    if (this.#isOver || this.#stream.writableEnded) return true;
    if (this.#stream.write(chunk)) return true;
    this.#wait();
    return false;
  }

  get isStalled(): boolean {
    return this.#stream.writableLength > 0;
  }

  trailers(fields: readonly string[]): void {
    this.#trailers = fields;
  }

  end(): void {
    this.#over();
    this.#stream.end();
    if (this.#stream.writableLength > 0) this.#wait();
  }

  cut(leaving?: string): void {
    if (leaving !== undefined && this.#answersGrpc && !this.#isOver && !this.#stream.writableEnded) {
      this.#trailers = statusFields(UNAVAILABLE, leaving);
      this.end();
      return;
    }
    this.#over();
    this.#stream.destroy(CUT);
  }

  answer(status: number, code: ErrorCode, detail: string, cookie: string): void {
    this.give(status, ownAnswer(status, code, detail, cookie));
  }

  give(status: number, { fields, body, detail }: OwnAnswer): void {
    if (this.#isOver) return;
    if (this.#stream.headersSent) {
      this.cut();
      return;
    }
    this.#over();
    if (this.#isGrpc) {
      this.#stream.respond(grpcAnswer(status, detail), { endStream: true });
      return;
    }
    const isEmpty = this.method === "HEAD";
    this.#stream.respond(listOf(status, fields), { endStream: isEmpty });
    if (!isEmpty) this.#stream.end(body);
  }

  /** What the client did is refused on its stream alone. */
  refuse(status: number, code: ErrorCode, detail: string): void {
    this.answer(status, code, detail, "");
  }

  /** Its end is decided, here or there. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  get #isOver(): boolean {
    return this.#stream.destroyed || this.#stream.closed;
  }

  #drained(): void {
    this.#clear();
    this.attempt?.resume();
  }

  #sendTrailers(): void {
    try {
      this.#stream.sendTrailers(objectOf(this.#trailers));
    } catch {
      this.#stream.close(NGHTTP2_NO_ERROR);
    }
  }

  /** The answer is written: a client that still sends is told that nobody reads it (RFC 9113 §8.1). */
  #finished(): void {
    this.#clear();
    const { endAfterHeaders, readableEnded, closed } = this.#stream;
    if (!endAfterHeaders && !readableEnded && !closed) this.#stream.close(NGHTTP2_NO_ERROR);
  }

  #over(): void {
    this.#hasEnded = true;
    this.exchange = undefined;
  }

  #gone(): void {
    this.#clear();
    this.body?.release();
    // Of an upload that stops with the stream nothing more goes upstream, which must not look like the upstream's doing.
    if (this.#hasEnded || (this.#isWhole && this.body?.isComplete !== false)) return;
    this.#hasEnded = true;
    this.exchange?.onDownstreamGone(
      this.#isGrpc ? grpcTimeoutOf(fieldOf(this.fields, "grpc-timeout")) : Infinity,
    );
    this.exchange = undefined;
  }

  /** A client that takes nothing is not waited for without end; one that takes a little is. */
  #wait(): void {
    if (this.#patience !== undefined) return;
    this.#behind = this.#stream.bufferSize;
    this.#patience = setTimeout(() => {
      this.#patience = undefined;
      if (this.#isOver) return;
      if (this.#stream.bufferSize !== this.#behind) this.#wait();
      else this.#stream.destroy(CUT);
    }, this.#idleMs);
  }

  #clear(): void {
    if (this.#patience !== undefined) clearTimeout(this.#patience);
    this.#patience = undefined;
  }
}

/** A head as the flat list that the platform sends as it is. */
function listOf(status: number, fields: readonly string[]): string[] {
  const list = [":status", String(status)];
  for (let at = 0; at < fields.length; at += 2)
    list.push((fields[at] ?? "").toLowerCase(), fields[at + 1] ?? "");
  return list;
}

function without(fields: readonly string[], name: string): string[] {
  const out: string[] = [];
  for (let at = 0; at < fields.length; at += 2)
    if (fields[at]?.toLowerCase() !== name) out.push(fields[at] ?? "", fields[at + 1] ?? "");
  return out;
}

/** An answer of our own to gRPC: trailers only, HTTP 200 (reliability.md 50). */
function grpcAnswer(status: number, detail: string): string[] {
  return [":status", "200", "content-type", "application/grpc", ...statusFields(status, detail)];
}

/** A gRPC status of our own, by the HTTP status. */
function statusFields(status: number, detail: string): string[] {
  // Percent-encoded as the protocol wants it; the details are plain texts of ours.
  const message = encodeURIComponent(detail).replaceAll("%20", " ");
  return ["grpc-status", String(grpcOfHttp(status)), "grpc-message", message];
}
