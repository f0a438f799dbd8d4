/**
 * The fast lane's connections to one endpoint. Idle ones are taken last-in-first-out, so that the spare ones time out; exchanges for which
 * there is none wait in a bounded first-in-first-out queue.
 */

import type { Clock } from "../../engine/ports.ts";
import { FAILURES } from "../failure.ts";
import type { AttemptEvents } from "../lane.ts";
import type { Means, Slots, Slotted } from "../pool.ts";
import { FastAttempt, type AttemptOwner, type Request } from "./attempt.ts";
import { Connection, targetOf, type Target } from "./connection.ts";
import type { Handles } from "./handle.ts";
import type { FastHead } from "./head.ts";
import type { Wheel } from "./wheel.ts";

/** The pool of one endpoint. */
export class FastPool implements Slotted, AttemptOwner {
  readonly clock: Clock;
  readonly wheel: Wheel;
  readonly #target: Target;
  readonly #slots: Slots;
  readonly #handles: () => Handles;
  readonly #idle: Connection[] = [];
  readonly #waiting = new Set<FastAttempt>();
  #closed = false;

  /** @param url `http://host:port` or `https://host:port` */
  constructor(url: string, slots: Slots, { clock, wheel, handles }: Means) {
    this.#target = targetOf(url);
    this.#slots = slots;
    this.clock = clock;
    this.wheel = wheel;
    this.#handles = handles;
    slots.join(this);
  }

  get isWaiting(): boolean {
    return this.#waiting.size > 0;
  }

  send(request: Request, events: AttemptEvents<FastHead>): FastAttempt {
    const attempt = new FastAttempt(this, request, events);
    this.#slots.inFlight++;
    const connection = this.#waiting.size > 0 ? undefined : this.#take();
    if (connection !== undefined) attempt.begin(connection);
    else if (this.#waiting.size >= this.#slots.queue) attempt.fail(FAILURES.overloaded);
    else {
      this.#waiting.add(attempt);
      attempt.wait();
    }
    return attempt;
  }

  /** An attempt has ended. */
  left(attempt: FastAttempt): void {
    this.#slots.inFlight--;
    if (this.#waiting.size > 0) this.#waiting.delete(attempt);
  }

  fresh(): Connection | undefined {
    return this.#slots.take() ? new Connection(this.#target, this.#handles().writes, this) : undefined;
  }

  release(connection: Connection): void {
    if (this.#closed) {
      this.drop(connection);
      return;
    }
    this.wheel.set(connection, connection.idleMs);
    this.#idle.push(connection);
    this.#slots.freed();
  }

  drop(connection: Connection): void {
    if (connection.isGone) return;
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    connection.destroy();
    this.#slots.free();
  }

  yieldIdle(): boolean {
    const spare = this.#idle[0];
    if (spare !== undefined) this.drop(spare);
    return spare !== undefined;
  }

  /** Not at once: the caller may be in the middle of a read. */
  serveWaiting(): void {
    process.nextTick(pump, this);
  }

  /** Gives connections to those who wait, first come first served. */
  pump(): void {
    for (const attempt of this.#waiting) {
      const connection = this.#take();
      if (connection === undefined) return;
      this.#waiting.delete(attempt);
      attempt.begin(connection);
    }
  }

  /** Lets what is in flight finish, and keeps no connection afterwards. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#idle.slice()) this.drop(connection);
  }

  #take(): Connection | undefined {
    const idle = this.#idle.pop();
    if (idle === undefined) return this.fresh();
    this.wheel.clear(idle);
    return idle;
  }
}

function pump(pool: FastPool): void {
  pool.pump();
}
