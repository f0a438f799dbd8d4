/**
 * The only door to undici: endpoints with a small pool of connections each, and one attempt at a time on each connection.
 *
 * Own pool of single-connection `Client`s rather than undici's: a proxy has to know whether a request went out on a reused connection,
 * because only then may a lost one be sent again (RFC 9112 §9.3.1; reliability.md B12, B13). Idle connections are taken
 * last-in-first-out, so that the spare ones time out; the rest waits in a bounded first-in-first-out queue. All time-outs are timers of
 * ours: undici's are half a second coarse and count the upload of a slow client against the upstream.
 */

import type { Socket } from "node:net";
import { Client, type Dispatcher } from "undici";
import { grpcStatusOf, NO_GRPC_STATUS } from "../../domain/grpc.ts";
import type { Clock } from "../../engine/ports.ts";
import type { Dialler, Link } from "../dial.ts";
import { FAILURES, failureOf, type Failure, type Stage } from "../failure.ts";
import { cleanTrailers, readResponseFields, type FieldedHead } from "../headers.ts";
import type { AttemptEvents } from "../lane.ts";
import { fieldOf } from "../request.ts";
import { Line, type Slots } from "../slots.ts";
import { HeadFilter, type Awaiting } from "./head-filter.ts";
import { sendHeadFirst } from "./head-first.ts";
import { sendTrailers } from "./last-chunk.ts";
import type { Outgoing, Sender, StreamAttempt } from "./sender.ts";

/** Idle upstream connections are closed after so long, or a second before the upstream says it would. */
const IDLE_MS = 4000;
const HINT_MARGIN_MS = 1000;
const HINT_MAX_MS = 60_000;
const HEAD_BYTES = 64 * 1024;
/** The rest of an unwanted response that is still read, so that its connection can be kept. */
const DISCARD_BYTES = 64 * 1024;
const ALPN: readonly string[] = ["http/1.1"];
/** Of a socket without TLS so much is read ahead; undici's own measure. */
const READ_AHEAD_BYTES = 64 * 1024;
/** A socket is silent for so long before the system asks whether the other side is still there. */
const KEEP_ALIVE_MS = 60_000;
/** The option is not in undici's types. */
const ANY_NAME = { servername: "upstream" };
const NO_FIELDS: readonly string[] = [];

/** One connection: an undici client that never has more than one request. */
class Connection {
  readonly client: Client;
  /** Requests answered on the present socket; 0: the socket is fresh or yet to be opened. */
  served = 0;
  isIdle = false;
  /** The present socket has failed. undici takes a reset for the end of a body without a length; it is a cut (reliability.md C17). */
  isBroken = false;
  #isOpening = false;
  /** Where the present socket leads; undefined before the first. */
  link: Link | undefined = undefined;
  /** What is read from the present socket. */
  heads: HeadFilter | undefined = undefined;

  constructor(dialler: Dialler, gone: (connection: Connection) => void) {
    const { isTls, authority } = dialler.address;
    this.client = new Client(`${isTls ? "https" : "http"}://${authority}`, {
      pipelining: 1,
      allowH2: false,
      headersTimeout: 0,
      bodyTimeout: 0,
      // What undici would connect to and verify is of the request's making, in part; none of it is used.
      connect: (_options, callback) => this.#open(dialler, callback),
      maxHeaderSize: HEAD_BYTES,
      keepAliveTimeout: IDLE_MS,
      keepAliveMaxTimeout: HINT_MAX_MS,
      keepAliveTimeoutThreshold: HINT_MARGIN_MS,
    });
    this.client.on("connect", () => {
      this.served = 0;
    });
    this.client.on("disconnect", () => {
      this.served = 0;
      if (this.isIdle) gone(this);
    });
  }

  destroy(): void {
    // undici hears of a socket when it is open, and would leave it to itself for as long as that takes.
    if (this.#isOpening) this.link?.socket.destroy(ABORTED);
    // Rejects only for a client that is destroyed already.
    this.client.destroy().catch(nothing);
  }

  #open(dialler: Dialler, opened: (...result: [Error, null] | [null, Socket]) => void): void {
    this.isBroken = false;
    this.#isOpening = true;
    this.link = dialler.dial(ALPN, { highWaterMark: READ_AHEAD_BYTES });
    const { socket } = this.link;
    this.heads = new HeadFilter(socket, HEAD_BYTES);
    const tell = (...result: [Error, null] | [null, Socket]): void => {
      if (!this.#isOpening) return;
      this.#isOpening = false;
      opened(...result);
    };
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    // Before undici's own listener, which would end the response first.
    socket.on("error", (error) => {
      this.isBroken = true;
      tell(error, null);
    });
    socket.once("close", () => tell(ABORTED, null));
    socket.once(dialler.address.isTls ? "secureConnect" : "connect", () => tell(null, socket));
  }
}

/** The connections of one endpoint. */
export class GeneralPool extends Line<Connection, GeneralAttempt> implements Sender {
  readonly clock: Clock;
  readonly #dialler: Dialler;
  #idle: Connection[] = [];
  #open = new Set<Connection>();
  #closed = false;

  constructor(dialler: Dialler, slots: Slots, clock: Clock) {
    super(slots);
    this.#dialler = dialler;
    this.clock = clock;
  }

  send(request: Outgoing, events: AttemptEvents<FieldedHead>): GeneralAttempt {
    const attempt = new GeneralAttempt(this, request, events);
    this.admit(attempt);
    return attempt;
  }

  /** An attempt has ended. */
  left(): void {
    this.slots.inFlight--;
  }

  /** Drops the idle connections that do not lead where the endpoint is now. */
  dropStale(): void {
    for (const connection of this.#idle.slice())
      if (connection.link?.isCurrent === false) this.#drop(connection);
  }

  /** Lets what is in flight finish, and keeps no connection afterwards. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#idle.splice(0)) this.#drop(connection);
  }

  /** A connection for a second attempt: never a reused one. Undefined: the cap is reached. */
  fresh(): Connection | undefined {
    return this.slots.take() ? this.#make() : undefined;
  }

  yieldIdle(): boolean {
    const spare = this.#idle.shift();
    if (spare !== undefined) this.#drop(spare);
    return spare !== undefined;
  }

  /** Takes a connection back after a whole exchange on it. */
  release(connection: Connection): void {
    connection.served++;
    if (this.#closed || connection.client.destroyed || connection.link?.isCurrent === false) {
      this.#drop(connection);
      return;
    }
    connection.isIdle = true;
    this.#idle.push(connection);
    this.slots.freed();
  }

  /** Throws a connection away. */
  drop(connection: Connection): void {
    this.#drop(connection);
  }

  protected take(): Connection | undefined {
    const idle = this.#idle.pop();
    if (idle !== undefined) {
      idle.isIdle = false;
      return idle;
    }
    return this.fresh();
  }

  #make(): Connection {
    const connection = new Connection(this.#dialler, (gone) => this.#drop(gone));
    this.#open.add(connection);
    return connection;
  }

  #drop(connection: Connection): void {
    connection.isIdle = false;
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    connection.destroy();
    if (this.#open.delete(connection)) this.slots.free();
  }
}

/** One attempt; undici's handler. Every way out passes `#over` once. */
export class GeneralAttempt implements StreamAttempt, Dispatcher.DispatchHandler, Awaiting {
  readonly #pool: GeneralPool;
  readonly #request: Outgoing;
  readonly #events: AttemptEvents<FieldedHead>;
  #connection: Connection | undefined;
  #controller: Dispatcher.DispatchController | undefined;
  #stage: Stage = "queue";
  #timer: NodeJS.Timeout | undefined;
  #timedOut: Failure = FAILURES.waited;
  #reused = false;
  #answering = false;
  #retried = false;
  /** A byte of the body was sent. */
  #hasBegun = false;
  #sent = false;
  #ended = false;
  #silent = false;
  #discarded = -1;
  #bodyIdle = 0;

  constructor(pool: GeneralPool, request: Outgoing, events: AttemptEvents<FieldedHead>) {
    this.#pool = pool;
    this.#request = request;
    this.#events = events;
  }

  /** No connection is free: waits as long as a response head may take. */
  wait(): void {
    this.#arm(this.#request.timeouts.headers, FAILURES.waited);
  }

  /** Sends the request on a connection. */
  begin(connection: Connection): void {
    this.#connection = connection;
    this.#stage = "connect";
    this.#arm(this.#request.timeouts.connect, FAILURES.connectTimeout);
    const { method, target, fields, body } = this.#request;
    try {
      connection.client.dispatch(
        {
          method,
          path: target,
          // undici takes a flat list, its types say a plain array of texts
          headers: fields as string[],
          body: body?.open() ?? null,
          // undici would close the connection after every HEAD and every body of an unusual method
          reset: false,
          // and whenever Host changes, as it takes the name for TLS from there
          ...ANY_NAME,
        },
        this,
      );
    } catch (error) {
      this.fail(failureOf(error, "connect"));
    }
  }

  abort(): void {
    this.#silent = true;
    this.#stop();
  }

  /** The client takes more. */
  resume(): void {
    if (this.#ended) return;
    if (this.#stage === "body") this.#arm(this.#bodyIdle, FAILURES.idleTimeout);
    this.#controller?.resume();
  }

  discard(): void {
    this.#silent = true;
    if (this.#sent) this.#discarded = 0;
    else this.#stop();
  }

  /** Ends the attempt with a failure of our own finding. */
  fail(failure: Failure): void {
    const silent = this.#silent;
    this.#silent = true;
    this.#stop();
    if (!silent) this.#events.onFailed(failure, this.#pool.clock.mono());
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    this.#stage = "head";
    this.#reused = (this.#connection?.served ?? 0) > 0;
    if (this.#ended) {
      controller.abort(ABORTED);
      return;
    }
    this.#connection?.heads?.await(this);
    this.#arm(this.#request.timeouts.idle, FAILURES.uploadTimeout);
    // What has come of the body with its head goes out with it; only behind a client that waits the head goes alone.
    if (this.#request.body !== undefined) setImmediate(sendHead, this, controller);
  }

  onBodySent(): void {
    this.#hasBegun = true;
    this.#timer?.refresh();
  }

  /** Nothing of the body has come yet. */
  sendHead(controller: Dispatcher.DispatchController): void {
    const socket = this.#connection?.link?.socket;
    if (this.#hasBegun || this.#sent || this.#controller !== controller || socket?.writable !== true) return;
    sendHeadFirst(socket, this.#request);
  }

  onRequestSent(): void {
    if (this.#ended) return;
    this.#sent = true;
    const { body, fields } = this.#request;
    const socket = this.#connection?.link?.socket;
    if (body !== undefined && socket !== undefined && fieldOf(fields, "content-length") === undefined)
      sendTrailers(socket, body.trailers);
    if (this.#silent || this.#stage !== "head") return;
    this.#arm(this.#request.timeouts.headers, FAILURES.headTimeout);
    this.#events.onSent(this.#pool.clock.mono());
  }

  onResponseStarted(): void {
    this.#answering = true;
  }

  onContinue(): void {
    if (!this.#silent && !this.#ended) this.#events.onInformational(readResponseFields(100, "", NO_FIELDS));
  }

  onForeign(): void {
    this.fail(FAILURES.malformed);
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    _headers: unknown,
    reason?: string,
  ): void {
    if (this.#silent) return;
    const head = readResponseFields(status, reason ?? "", textsOf(controller.rawHeaders));
    if (status < 200) {
      this.#events.onInformational(head);
      return;
    }
    this.#stage = "body";
    const { idle, stream } = this.#request.timeouts;
    this.#bodyIdle = head.isStream ? stream : idle;
    this.#arm(this.#bodyIdle, FAILURES.idleTimeout);
    this.#events.onHead(head, this.#pool.clock.mono());
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#discarded >= 0) {
      this.#discarded += chunk.length;
      if (this.#discarded > DISCARD_BYTES) this.#stop();
      return;
    }
    if (this.#silent) return;
    this.#timer?.refresh();
    if (!this.#request.sink.write(chunk)) this.#pause();
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    if (this.#ended) return;
    if (this.#connection?.isBroken === true) {
      this.fail(FAILURES.cut);
      return;
    }
    const trailers = textsOf(controller.rawTrailers);
    const connection = this.#over();
    // A response that came before the whole request leaves a connection on which the rest may still be read as something else.
    if (connection !== undefined) {
      if (this.#sent) this.#pool.release(connection);
      else this.#pool.drop(connection);
    }
    if (this.#silent) return;
    this.#request.sink.trailers(cleanTrailers(trailers));
    this.#events.onEnd(
      trailers.length === 0 ? NO_GRPC_STATUS : grpcStatusOf(fieldOf(trailers, "grpc-status")),
    );
  }

  onResponseError(_controller: unknown, error: Error): void {
    if (this.#ended) return;
    if (!this.#silent && this.#mayRetry()) {
      this.#retry();
      return;
    }
    const failure = failureOf(error, this.#stage);
    const connection = this.#over();
    if (connection !== undefined) this.#pool.drop(connection);
    if (!this.#silent) this.#events.onFailed(failure, this.#pool.clock.mono());
  }

  /** The timer ran out. */
  onTimer(): void {
    const { body } = this.#request;
    const uploading = this.#timedOut === FAILURES.uploadTimeout;
    if (uploading && body?.isWaiting === true) {
      // It is the client that is slow; its own clock runs.
      this.#arm(this.#request.timeouts.idle, FAILURES.uploadTimeout);
      return;
    }
    this.fail(this.#timedOut);
  }

  /** Only on a connection that had been used before, with nothing of a response read, and with the whole request still at hand. */
  #mayRetry(): boolean {
    const { retryable, body } = this.#request;
    return (
      retryable &&
      this.#stage === "head" &&
      this.#reused &&
      !this.#answering &&
      !this.#retried &&
      (body === undefined || body.isHeld) &&
      this.#events.mayRetry()
    );
  }

  #retry(): void {
    this.#retried = true;
    this.#hasBegun = false;
    this.#sent = false;
    const stale = this.#connection;
    this.#connection = undefined;
    this.#controller = undefined;
    if (stale !== undefined) this.#pool.drop(stale);
    const fresh = this.#pool.fresh();
    if (fresh === undefined) this.fail(FAILURES.reset);
    else this.begin(fresh);
  }

  #pause(): void {
    this.#disarm();
    this.#controller?.pause();
  }

  #stop(): void {
    if (this.#ended) return;
    const connection = this.#over();
    if (connection === undefined) {
      this.#pool.forget(this);
      return;
    }
    this.#controller?.abort(ABORTED);
    this.#pool.drop(connection);
  }

  #over(): Connection | undefined {
    this.#ended = true;
    this.#disarm();
    this.#pool.left();
    const connection = this.#connection;
    this.#connection = undefined;
    return connection;
  }

  #arm(ms: number, failure: Failure): void {
    this.#disarm();
    this.#timedOut = failure;
    this.#timer = setTimeout(onTimer, ms, this);
  }

  #disarm(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

const ABORTED = new Error("aborted by the proxy");

function sendHead(attempt: GeneralAttempt, controller: Dispatcher.DispatchController): void {
  attempt.sendHead(controller);
}

function onTimer(attempt: GeneralAttempt): void {
  attempt.onTimer();
}

/** undici's raw list as latin1 texts: bytes above 0x7F survive unchanged. */
function textsOf(raw: unknown): readonly string[] {
  if (!Array.isArray(raw) || raw.length === 0) return NO_FIELDS;
  const list: readonly unknown[] = raw;
  return list.map((each) => (Buffer.isBuffer(each) ? each.toString("latin1") : String(each)));
}

function nothing(): void {
  // destroyed already
}
