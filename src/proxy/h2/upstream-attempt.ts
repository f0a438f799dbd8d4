/**
 * One request over HTTP/2, as one stream, with the stages, time-outs and failures of an attempt over HTTP/1.1 (`../general/upstream.ts`).
 *
 * Every way out passes `#over` once. A response is whole when the upstream said so (END_STREAM), and by nothing else: Node ends a stream that was
 * reset with NO_ERROR as it ends a whole one, and destroys one that is whole but not yet read when the connection closes behind
 * it. So the former is a cut, and of the latter what is left is still delivered (reliability.md 17, 20). A body that the client
 * cuts is reset, never ended (31).
 */

import { constants, type ClientHttp2Stream } from "node:http2";
import type { Clock } from "../../engine/ports.ts";
import { grpcStatusOf, NO_GRPC_STATUS } from "../../domain/grpc.ts";
import { FAILURES, type Failure, type Stage } from "../failure.ts";
import type { Outgoing, StreamAttempt } from "../general/sender.ts";
import { readResponseFields, type FieldedHead } from "../headers.ts";
import type { AttemptEvents } from "../lane.ts";
import { fieldOf } from "../request.ts";
import type { Tenant, UpstreamSession } from "./session.ts";
import type { Place } from "./upstream-socket.ts";
import { upload, type UploadEvents } from "./upstream-upload.ts";
import { onWhole } from "./upstream-end.ts";
import { isGrpc, isTooLong, requestList, statusIn, trailersOf, withoutPseudo } from "./fields.ts";

const {
  NGHTTP2_CANCEL: CANCEL,
  NGHTTP2_REFUSED_STREAM: REFUSED_STREAM,
  NGHTTP2_PROTOCOL_ERROR: PROTOCOL_ERROR,
  NGHTTP2_HTTP_1_1_REQUIRED: HTTP_1_1_REQUIRED,
} = constants;
/** What a gRPC client makes of an answer without a status. */
const GRPC_UNKNOWN = 2;
const NO_FIELDS: readonly string[] = [];

/** The pool of an attempt. */
export interface Home {
  readonly clock: Clock;
  readonly place: Place;
  /** Whether the endpoint may be asked in HTTP/1.1. */
  readonly mayBeHttp1: boolean;
  /** Waits no more for a session. */
  forget(tenant: Tenant): void;
  /** Another stream for what the upstream did not look at. */
  refused(tenant: Tenant, stale: UpstreamSession): void;
  /** A stream on a connection that was never used. */
  lost(tenant: Tenant): void;
  /** Undefined where HTTP/1.1 is not allowed. */
  sendInHttp1(request: Outgoing, events: AttemptEvents<FieldedHead>): StreamAttempt | undefined;
  /** It has ended. */
  over(): void;
}

/** One attempt. */
export class Http2Attempt implements StreamAttempt, Tenant, UploadEvents {
  readonly #pool: Home;
  readonly #request: Outgoing;
  readonly #events: AttemptEvents<FieldedHead>;
  #session: UpstreamSession | undefined = undefined;
  #stream: ClientHttp2Stream | undefined = undefined;
  #stopUpload: (() => void) | undefined = undefined;
  /** Who sends it instead, in HTTP/1.1. */
  #instead: StreamAttempt | undefined = undefined;
  #stage: Stage = "queue";
  #timer: NodeJS.Timeout | undefined = undefined;
  #timedOut: Failure = FAILURES.waited;
  #ended = false;
  #retried = false;
  /** The connection had answered before. */
  #reused = false;
  #answering = false;
  #sent = false;
  /** The upstream has ended the response. */
  #complete = false;
  /** The upstream broke the protocol. */
  #broken = false;
  #isGrpc = false;
  /** The gRPC status of the response should its trailers have none. */
  #grpcStatus = NO_GRPC_STATUS;
  #trailers = NO_FIELDS;
  /** Node has destroyed the stream of a whole response, of which some is not yet handed on. */
  #hasRest = false;
  #bodyIdle = 0;

  constructor(pool: Home, request: Outgoing, events: AttemptEvents<FieldedHead>) {
    this.#pool = pool;
    this.#request = request;
    this.#events = events;
  }

  /** No connection takes it: waits as long as a response head may take. */
  wait(): void {
    this.#session = undefined;
    this.#stage = "queue";
    this.#arm(this.#request.timeouts.headers, FAILURES.waited);
  }

  /** Has, or is to have, a stream on this session. */
  begin(session: UpstreamSession): void {
    this.#session = session;
    this.#stage = "connect";
    // The session has a clock of its own until it is open.
    this.#disarm();
    session.enter(this);
  }

  onOpen(session: UpstreamSession): void {
    this.#stage = "head";
    this.#reused = session.answered > 0;
    const { method, target, body, fields, timeouts } = this.#request;
    const { scheme, authority } = this.#pool.place;
    const list = requestList({ method, target, scheme, authority }, fields);
    try {
      const isBodiless = body === undefined;
      const stream = session.request(list, { endStream: isBodiless, waitForTrailers: !isBodiless });
      this.#stream = stream;
      this.#listen(stream);
      if (body === undefined) this.onSent();
      else {
        this.#arm(timeouts.idle, FAILURES.uploadTimeout);
        this.#stopUpload = upload(body, stream, this);
      }
    } catch {
      this.fail(FAILURES.internal);
    }
  }

  onNoSession(failure: Failure): void {
    this.#session = undefined;
    this.fail(failure);
  }

  onHttp1(): void {
    this.#over();
    this.#instead = this.#pool.sendInHttp1(this.#request, this.#events);
    if (this.#instead === undefined) this.#events.onFailed(FAILURES.connect, this.#pool.clock.mono());
  }

  abort(): void {
    if (this.#instead !== undefined) this.#instead.abort();
    else this.#stop();
  }

  discard(): void {
    if (this.#instead !== undefined) this.#instead.discard();
    else this.#stop();
  }

  resume(): void {
    if (this.#instead !== undefined) this.#instead.resume();
    else if (this.#hasRest) this.#deliver();
    else if (!this.#ended && this.#stage === "body") {
      this.#arm(this.#bodyIdle, FAILURES.idleTimeout);
      this.#stream?.resume();
    }
  }

  /** Ends the attempt with a failure of our own finding. */
  fail(failure: Failure): void {
    if (this.#ended) return;
    this.#stop();
    this.#events.onFailed(failure, this.#pool.clock.mono());
  }

  onProgress(): void {
    this.#timer?.refresh();
  }

  onUnsendable(): void {
    this.fail(FAILURES.internal);
  }

  /** The timer ran out. */
  onTimer(): void {
    const { body, timeouts } = this.#request;
    if (this.#timedOut === FAILURES.uploadTimeout && body?.isWaiting === true) {
      // It is the client that is slow; its own clock runs.
      this.#arm(timeouts.idle, FAILURES.uploadTimeout);
      return;
    }
    const session = this.#session;
    this.fail(this.#timedOut);
    session?.doubt(timeouts.connect);
  }

  #listen(stream: ClientHttp2Stream): void {
    onWhole(stream, () => (this.#complete = true));
    stream.on("headers", (_headers, _flags, list) => this.#onInformational(list));
    stream.on("response", (_headers, _flags, list) => this.#onHead(stream, list));
    stream.on("trailers", (_trailers, _flags, list) => {
      if (isTooLong(list)) this.fail(FAILURES.cut);
      this.#trailers = list;
    });
    stream.on("error", (error: NodeJS.ErrnoException) => {
      // Found by our end of the connection, while it was alive.
      if (error.code === "ERR_HTTP2_ERROR") this.#broken = true;
    });
    stream.on("end", () => {
      if (this.#stream === stream) this.#onEnd();
    });
    stream.on("close", () => {
      if (this.#stream === stream) this.#onClose(stream);
    });
  }

  /** The request was written to its last byte. */
  onSent(): void {
    this.#sent = true;
    if (this.#stage !== "head") return;
    this.#arm(this.#request.timeouts.headers, FAILURES.headTimeout);
    this.#events.onSent(this.#pool.clock.mono());
  }

  #onInformational(list: readonly string[]): void {
    if (this.#ended) return;
    this.#answering = true;
    this.#events.onInformational(readResponseFields(statusIn(list), "", withoutPseudo(list)));
  }

  #onHead(stream: ClientHttp2Stream, list: readonly string[]): void {
    if (this.#ended || this.#stream !== stream) return;
    const status = statusIn(list);
    const head = readResponseFields(status, "", withoutPseudo(list));
    if (isTooLong(list)) {
      this.fail(FAILURES.malformed);
      return;
    }
    this.#answering = true;
    if (this.#session !== undefined) this.#session.answered++;
    this.#stage = "body";
    const { idle, stream: long } = this.#request.timeouts;
    this.#bodyIdle = head.isStream ? long : idle;
    this.#arm(this.#bodyIdle, FAILURES.idleTimeout);
    this.#isGrpc = isGrpc(head.fields);
    if (this.#isGrpc && status === 200 && head.grpcStatus === NO_GRPC_STATUS) this.#grpcStatus = GRPC_UNKNOWN;
    this.#events.onHead(head, this.#pool.clock.mono());
    if (this.#ended) return;
    // Not before: what is read with the head would come before it.
    stream.on("data", (chunk: Buffer) => this.#onData(stream, chunk));
  }

  #onData(stream: ClientHttp2Stream, chunk: Buffer): void {
    if (this.#ended) return;
    this.#timer?.refresh();
    if (this.#request.sink.write(chunk)) return;
    this.#disarm();
    stream.pause();
  }

  #onEnd(): void {
    if (this.#ended) return;
    if (this.#complete && this.#stage === "body") this.#finish();
    else this.#lost();
  }

  /** The stream is gone: read to its end by us, ended by the upstream but not yet read, or lost. */
  #onClose(stream: ClientHttp2Stream): void {
    if (this.#ended) return;
    if (!this.#complete || this.#stage !== "body") {
      this.#lost();
      return;
    }
    this.#disarm();
    this.#hasRest = true;
    // A client that takes no more asks for it itself.
    if (!stream.isPaused()) this.#deliver();
  }

  /** The rest in one piece: no more than the window of a stream. */
  #deliver(): void {
    this.#hasRest = false;
    const rest: unknown = this.#stream?.read();
    if (Buffer.isBuffer(rest)) this.#request.sink.write(rest);
    if (!this.#ended) this.#finish();
  }

  /** The response is whole, and handed on. What was not sent of the request is not wanted. */
  #finish(): void {
    const stream = this.#stream;
    const trailers = this.#trailers;
    const grpcStatus = fieldOf(trailers, "grpc-status");
    this.#over();
    if (!this.#sent) stream?.close(CANCEL);
    this.#request.sink.trailers(trailersOf(trailers, this.#isGrpc && this.#request.isHttp2));
    this.#events.onEnd(grpcStatus === undefined ? this.#grpcStatus : grpcStatusOf(grpcStatus));
  }

  /** The stream is gone before the response was whole. */
  #lost(): void {
    const stream = this.#stream;
    const session = this.#session;
    if (this.#stage === "body") this.fail(FAILURES.cut);
    else if (stream === undefined || session === undefined) this.fail(FAILURES.reset);
    else if (!this.#mayRepeat() || !this.#repeat(stream, session))
      this.fail(this.#isBroken(stream) ? FAILURES.malformed : FAILURES.reset);
  }

  /** Nothing of a response was read, and the whole request is still at hand. */
  #mayRepeat(): boolean {
    const { body } = this.#request;
    return !this.#answering && !this.#retried && (body === undefined || body.isHeld);
  }

  /** Sends it again if there is a reason to. */
  #repeat(stream: ClientHttp2Stream, session: UpstreamSession): boolean {
    const reason = this.#reasonToRepeat(stream, session);
    // What the upstream says it did not look at is no lost connection, and no burden.
    if (reason === "none" || (reason === "lost" && !this.#events.mayRetry())) return false;
    this.#retried = true;
    this.#sent = false;
    this.#stopUpload?.();
    this.#stream = undefined;
    this.#disarm();
    if (reason === "http1") this.onHttp1();
    else if (reason === "refused") this.#pool.refused(this, session);
    else this.#pool.lost(this);
    return true;
  }

  /** The upstream wants it in HTTP/1.1, or did not look at it; or it may be sent twice, and a kept connection turned out to be dead. */
  #reasonToRepeat(
    stream: ClientHttp2Stream,
    { lastProcessed, isLost }: UpstreamSession,
  ): "http1" | "refused" | "lost" | "none" {
    if (stream.rstCode === HTTP_1_1_REQUIRED && this.#pool.mayBeHttp1) return "http1";
    if (stream.rstCode === REFUSED_STREAM || (stream.id ?? Infinity) > lastProcessed) return "refused";
    return this.#request.retryable && this.#reused && isLost && !this.#isBroken(stream) ? "lost" : "none";
  }

  #isBroken(stream: ClientHttp2Stream): boolean {
    return this.#broken || stream.rstCode === PROTOCOL_ERROR;
  }

  #stop(): void {
    if (this.#ended) return;
    const stream = this.#stream;
    const session = this.#session;
    this.#over();
    if (stream !== undefined) stream.close(CANCEL);
    else if (session !== undefined) session.forget(this);
    else this.#pool.forget(this);
  }

  #over(): void {
    this.#ended = true;
    this.#disarm();
    this.#stream = undefined;
    this.#session = undefined;
    this.#stopUpload?.();
    this.#pool.over();
  }

  #arm(ms: number, failure: Failure): void {
    this.#disarm();
    this.#timedOut = failure;
    this.#timer = setTimeout(onTimer, ms, this);
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

function onTimer(attempt: Http2Attempt): void {
  attempt.onTimer();
}
