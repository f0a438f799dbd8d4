/** One attempt of the fast lane: a request on an upstream connection, its time-outs, its retry, and what it tells the exchange. */

import { NO_GRPC_STATUS } from "../../domain/grpc.ts";
import type { Clock } from "../../engine/ports.ts";
import { FAILURES, failureOf, type Failure, type Stage } from "../failure.ts";
import type { Attempt, AttemptEvents } from "../lane.ts";
import type { Timeouts } from "../route.ts";
import type { BodyTarget, FastBody } from "./body.ts";
import type { Connection, ConnectionOwner, Tenant } from "./connection.ts";
import type { FastHead } from "./head.ts";
import { Timed } from "./wheel.ts";

/** The rest of an unwanted response that is still read, so that its connection can be kept. */
const DISCARD_BYTES = 64 * 1024;
/** A body so small that came with the head goes out in one piece with it. */
const JOINED_BYTES = 16 * 1024;

/** The client's side of an attempt, as far as bytes go. */
export interface Request {
  /** The head as it goes upstream, latin1. */
  readonly text: string;
  readonly isHead: boolean;
  readonly body: FastBody | undefined;
  readonly timeouts: Timeouts;
  readonly retryable: boolean;
  /** A piece of the response's body; it lies behind the piece before, or is written apart. */
  write(bytes: Buffer, from: number, to: number): void;
  /** Sends what was written. False: the kernel has not taken all of it; go on when told to. */
  flush(): boolean;
  /** Whether the kernel has not taken all yet. */
  readonly isStalled: boolean;
}

/** What an attempt asks of its pool. */
export interface AttemptOwner extends ConnectionOwner {
  readonly clock: Clock;
  /** A connection never used before; undefined: the cap is reached. */
  fresh(): Connection | undefined;
  /** An attempt has ended. */
  left(attempt: FastAttempt): void;
}

/** One attempt. Every way out passes `over` once. */
export class FastAttempt implements Attempt, BodyTarget, Tenant {
  readonly request: Request;
  readonly #owner: AttemptOwner;
  readonly #events: AttemptEvents<FastHead>;
  #connection: Connection | undefined = undefined;
  #stage: Stage = "queue";
  #timedOut: Failure = FAILURES.waited;
  #isAnswered = false;
  /** The request was written to its last byte. */
  isSent = false;
  isEnded = false;
  #bodyEnded = false;
  #reused = false;
  #retried = false;
  #silent = false;
  #paused = false;
  #discarded = -1;
  #bodyIdle = 0;
  /** The wait for a connection; a timer of the wheel's own kind. */
  #wait: Waiting | undefined = undefined;

  constructor(owner: AttemptOwner, request: Request, events: AttemptEvents<FastHead>) {
    this.#owner = owner;
    this.request = request;
    this.#events = events;
  }

  /** No connection is free: waits as long as a response head may take. */
  wait(): void {
    this.#wait = new Waiting(this);
    this.#owner.wheel.set(this.#wait, this.request.timeouts.headers);
  }

  /** Sends the request on a connection. */
  begin(connection: Connection): void {
    if (this.#wait !== undefined) this.#owner.wheel.remove(this.#wait);
    this.#wait = undefined;
    this.#connection = connection;
    connection.tenant = this;
    this.#reused = connection.served > 0;
    const { body, text } = this.request;
    if (connection.isOpen) this.#sending(connection);
    else {
      this.#stage = "connect";
      this.#timedOut = FAILURES.connectTimeout;
      connection.deadline(this.request.timeouts.connect);
    }
    const joined = body?.takeSmall(JOINED_BYTES) ?? "";
    connection.writeText(joined === "" ? text : text + joined);
    if (body !== undefined) body.attach(this);
    else if (connection.isOpen) this.#wholeSent(connection);
  }

  onConnected(): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    this.#sending(connection);
    if (this.request.body === undefined || this.#bodyEnded) this.#wholeSent(connection);
  }

  writeBody(bytes: Buffer, from: number, to: number, isOwn: boolean): boolean {
    const connection = this.#connection;
    if (connection === undefined || connection.isGone) return false;
    const piece = bytes.subarray(from, to);
    if (this.#stage === "head") connection.deadline(this.request.timeouts.idle);
    return connection.write(isOwn ? piece : Buffer.from(piece));
  }

  bodyEnded(): void {
    this.#bodyEnded = true;
    const connection = this.#connection;
    if (connection?.isOpen === true && !connection.isPending) this.#wholeSent(connection);
  }

  /** The kernel took all that was written of the request. */
  onFlushed(): void {
    const connection = this.#connection;
    if (connection === undefined || this.isSent) return;
    if (this.#bodyEnded) this.#wholeSent(connection);
    else this.request.body?.resume(this);
  }

  abort(): void {
    this.#silent = true;
    this.#stop();
  }

  discard(): void {
    this.#silent = true;
    if (this.isSent) this.#discarded = 0;
    else this.#stop();
  }

  /** Whether the upstream's kernel has not taken all that was written of the request. */
  get isUploading(): boolean {
    return this.#connection?.isPending === true;
  }

  /** The client takes more. */
  resume(): void {
    if (this.isEnded || !this.#paused) return;
    this.#paused = false;
    this.#connection?.deadline(this.#bodyIdle);
    this.#connection?.socket.resume();
  }

  /** Ends the attempt with a failure of our own finding. */
  fail(failure: Failure): void {
    const silent = this.#silent;
    this.#silent = true;
    this.#stop();
    if (!silent) this.#events.onFailed(failure, this.#owner.clock.mono());
  }

  onTimer(): void {
    if (this.#timedOut === FAILURES.uploadTimeout && this.request.body?.isWaiting === true) {
      // It is the client that is slow; its own clock runs.
      this.#connection?.deadline(this.request.timeouts.idle);
      return;
    }
    this.fail(this.#timedOut);
  }

  get isHead(): boolean {
    return this.request.isHead;
  }

  get isStalled(): boolean {
    return this.request.isStalled;
  }

  onAnswer(): void {
    this.#isAnswered = true;
  }

  onInformational(head: FastHead): void {
    if (!this.#silent) this.#events.onInformational(head);
  }

  onHead(head: FastHead): void {
    this.#stage = "body";
    this.#timedOut = FAILURES.idleTimeout;
    const { idle, stream } = this.request.timeouts;
    this.#bodyIdle = head.isStream ? stream : idle;
    if (!this.#silent) this.#events.onHead(head, this.#owner.clock.mono());
  }

  /** A piece of the response's body. */
  pass(bytes: Buffer, from: number, to: number): void {
    if (this.#discarded >= 0) {
      this.#discarded += to - from;
      if (this.#discarded > DISCARD_BYTES) this.#stop();
    } else if (!this.#silent && to > from) this.request.write(bytes, from, to);
  }

  /** The bytes of one read were passed, and there are more to come. */
  onProgress(): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    if (this.#silent || this.request.flush()) {
      connection.deadline(this.#bodyIdle);
      return;
    }
    this.#paused = true;
    connection.noDeadline();
    connection.socket.pause();
  }

  /** The connection is lost. */
  onLost(error: unknown): void {
    if (this.isEnded) return;
    if (!this.#silent && this.#mayRetry()) {
      this.#retry();
      return;
    }
    const failure = failureOf(error, this.#stage);
    const connection = this.over();
    if (connection !== undefined) this.#owner.drop(connection);
    if (!this.#silent) this.#events.onFailed(failure, this.#owner.clock.mono());
  }

  /** Lets go of the connection, which it returns. */
  over(): Connection | undefined {
    this.isEnded = true;
    const connection = this.#connection;
    this.#connection = undefined;
    if (connection !== undefined) connection.tenant = undefined;
    this.request.body?.detach(this);
    this.#owner.left(this);
    return connection;
  }

  tellEnd(): void {
    if (!this.#silent) this.#events.onEnd(NO_GRPC_STATUS);
  }

  #sending(connection: Connection): void {
    this.#stage = "head";
    this.#timedOut = FAILURES.uploadTimeout;
    connection.deadline(this.request.timeouts.idle);
  }

  #wholeSent(connection: Connection): void {
    if (this.isSent) return;
    this.isSent = true;
    if (this.#silent || this.#stage !== "head") return;
    this.#timedOut = FAILURES.headTimeout;
    connection.deadline(this.request.timeouts.headers);
    this.#events.onSent(this.#owner.clock.mono());
  }

  /** Only on a connection that had been used before, with nothing of a response read, and with the whole request still at hand. */
  #mayRetry(): boolean {
    const { retryable, body } = this.request;
    return (
      retryable &&
      this.#stage === "head" &&
      this.#reused &&
      !this.#isAnswered &&
      !this.#retried &&
      (body === undefined || body.isHeld) &&
      this.#events.mayRetry()
    );
  }

  #retry(): void {
    this.#retried = true;
    this.isSent = false;
    this.#bodyEnded = false;
    const stale = this.#connection;
    this.#connection = undefined;
    this.request.body?.detach(this);
    if (stale !== undefined) {
      stale.tenant = undefined;
      this.#owner.drop(stale);
    }
    const fresh = this.#owner.fresh();
    if (fresh === undefined) this.fail(FAILURES.reset);
    else this.begin(fresh);
  }

  #stop(): void {
    if (this.isEnded) return;
    if (this.#wait !== undefined) this.#owner.wheel.remove(this.#wait);
    const connection = this.over();
    if (connection !== undefined) this.#owner.drop(connection);
  }
}

/** The deadline of an attempt that has no connection yet. */
class Waiting extends Timed {
  readonly #attempt: FastAttempt;

  constructor(attempt: FastAttempt) {
    super();
    this.#attempt = attempt;
  }

  onDue(): void {
    this.#attempt.onTimer();
  }
}
