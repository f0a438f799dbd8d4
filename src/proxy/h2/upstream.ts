/**
 * The HTTP/2 connections of one endpoint and who waits for a stream on them, by the rules of those in HTTP/1.1 (`../general/upstream.ts`):
 * `connections` bounds both together, the line is bounded and served in order.
 *
 * An endpoint that may choose is asked over TLS (ALPN) when HTTP/2 is first wanted. If it chooses HTTP/1.1, that is remembered until a connection
 * to it fails or the configuration is loaded again, and what wanted HTTP/2 goes there without failing.
 */

import { millis, type Millis } from "../../domain/units.ts";
import type { Clock } from "../../engine/ports.ts";
import { FAILURES, type Failure } from "../failure.ts";
import type { Outgoing, Sender, StreamAttempt } from "../general/sender.ts";
import type { FieldedHead } from "../headers.ts";
import type { AttemptEvents } from "../lane.ts";
import { Line, type Slots } from "../slots.ts";
import { STREAMS_MAX, UpstreamSession, type SessionOwner, type Tenant } from "./session.ts";
import { Http2Attempt, type Home } from "./upstream-attempt.ts";
import type { Place } from "./upstream-socket.ts";

/** What a pool is made of. */
export interface Http2PoolParts {
  readonly place: Place;
  readonly slots: Slots;
  readonly clock: Clock;
  /** Who sends in HTTP/1.1 to an endpoint that may choose; undefined: it is HTTP/2 or nothing, as it is configured now. */
  readonly http1: () => Sender | undefined;
}

/** The HTTP/2 connections of one endpoint. */
export class Http2Pool extends Line<UpstreamSession, Tenant> implements Sender, SessionOwner, Home {
  readonly clock: Clock;
  readonly place: Place;
  readonly #http1: () => Sender | undefined;
  readonly #sessions = new Set<UpstreamSession>();
  /** How many streams a connection takes, as far as is known. */
  #capacity = STREAMS_MAX;
  #connectMs: Millis = millis(0);
  #choseHttp1 = false;
  #isClosed = false;

  constructor({ place, slots, clock, http1 }: Http2PoolParts) {
    super(slots);
    this.place = place;
    this.clock = clock;
    this.#http1 = http1;
  }

  get mayBeHttp1(): boolean {
    return this.#http1() !== undefined;
  }

  send(request: Outgoing, events: AttemptEvents<FieldedHead>): StreamAttempt {
    const instead = this.#choseHttp1 ? this.sendInHttp1(request, events) : undefined;
    if (instead !== undefined) return instead;
    const attempt = new Http2Attempt(this, request, events);
    this.enter(attempt, request.timeouts.connect);
    return attempt;
  }

  /** Gives somebody a stream, or a place at the end of the line. */
  enter(tenant: Tenant, connectMs: Millis): void {
    this.#connectMs = connectMs;
    this.admit(tenant);
  }

  /** Sends in HTTP/1.1, where that is allowed still. */
  sendInHttp1(request: Outgoing, events: AttemptEvents<FieldedHead>): StreamAttempt | undefined {
    return this.#http1()?.send(request, new Unlearning(events, this));
  }

  /** Somebody has ended. */
  over(): void {
    this.slots.inFlight--;
  }

  /** What the endpoint chose may no longer be so. */
  unlearn(): void {
    this.#choseHttp1 = false;
  }

  /** Another stream for a request that the upstream did not look at (RFC 9113 §8.7), elsewhere if possible. */
  refused(tenant: Tenant, stale: UpstreamSession): void {
    const other = this.#find((session) => session !== stale) ?? this.#fresh();
    if (other === undefined) this.readmit([tenant]);
    else tenant.begin(other);
  }

  /** A stream on a connection that was never used, for a request whose connection was lost. */
  lost(tenant: Tenant): void {
    const fresh = this.#find((session) => session.answered === 0) ?? this.#fresh();
    if (fresh === undefined) tenant.fail(FAILURES.reset);
    else tenant.begin(fresh);
  }

  /** Begins nothing more on the connections that do not lead where the endpoint is now. */
  dropStale(): void {
    for (const session of this.#sessions) if (session.isStale) session.retire();
  }

  /** Lets what is in flight finish, and keeps no connection afterwards. */
  close(): void {
    this.#isClosed = true;
    for (const session of this.#sessions) session.retire();
  }

  yieldIdle(): boolean {
    for (const session of this.#sessions) {
      if (!session.isIdle) continue;
      session.end();
      return true;
    }
    return false;
  }

  opened(session: UpstreamSession, crowd: readonly Tenant[]): void {
    this.#capacity = Math.max(1, session.capacity);
    if (crowd.length > 0) this.readmit(crowd);
    else if (this.isWaiting) this.serveWaiting();
  }

  freed(session: UpstreamSession): void {
    if (this.#isClosed || session.isStale) session.retire();
    else if (session.isIdle) this.slots.freed();
    else if (this.isWaiting) this.serveWaiting();
  }

  isHttp1(): void {
    this.#choseHttp1 = true;
  }

  left(session: UpstreamSession): void {
    if (this.#sessions.delete(session)) this.slots.free();
  }

  protected take(): UpstreamSession | undefined {
    const session = this.#find((each) => each.isOpen) ?? this.#find((each) => !each.isOpen);
    if (session !== undefined) return session;
    for (const each of this.#sessions) if (each.isOpen && each.capacity === 0) return undefined;
    return this.#fresh();
  }

  #find(suits: (session: UpstreamSession) => boolean): UpstreamSession | undefined {
    for (const session of this.#sessions) if (session.room > 0 && suits(session)) return session;
    return undefined;
  }

  #fresh(): UpstreamSession | undefined {
    if (!this.slots.take()) return undefined;
    const session = new UpstreamSession({
      place: this.place,
      owner: this,
      connectMs: this.#connectMs,
      mayBeHttp1: this.mayBeHttp1,
      streams: this.#capacity,
    });
    this.#sessions.add(session);
    return session;
  }
}

/** Forgets that an endpoint chose HTTP/1.1 when there is no connection to it. */
class Unlearning implements AttemptEvents<FieldedHead> {
  readonly #events: AttemptEvents<FieldedHead>;
  readonly #pool: Http2Pool;

  constructor(events: AttemptEvents<FieldedHead>, pool: Http2Pool) {
    this.#events = events;
    this.#pool = pool;
  }

  onSent(at: Millis): void {
    this.#events.onSent(at);
  }

  mayRetry(): boolean {
    return this.#events.mayRetry();
  }

  onInformational(head: FieldedHead): void {
    this.#events.onInformational(head);
  }

  onHead(head: FieldedHead, at: Millis): void {
    this.#events.onHead(head, at);
  }

  onEnd(grpcStatus: number): void {
    this.#events.onEnd(grpcStatus);
  }

  onFailed(failure: Failure, at: Millis): void {
    if (failure.reason === "connect") this.#pool.unlearn();
    this.#events.onFailed(failure, at);
  }
}
