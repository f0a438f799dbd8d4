/**
 * The fast lane's connections to one endpoint. Idle ones are taken last-in-first-out, so that the spare ones time out; exchanges for which
 * there is none wait in a bounded first-in-first-out queue.
 */

import type { Clock } from "../../engine/ports.ts";
import type { AttemptEvents } from "../lane.ts";
import type { Means } from "../pool.ts";
import { Line, type Slots } from "../slots.ts";
import { FastAttempt, type AttemptOwner, type Request } from "./attempt.ts";
import type { Dialler } from "../dial.ts";
import { Connection } from "./connection.ts";
import type { Handles } from "./handle.ts";
import type { FastHead } from "./head.ts";
import type { Wheel } from "./wheel.ts";

/** The pool of one endpoint. */
export class FastPool extends Line<Connection, FastAttempt> implements AttemptOwner {
  readonly clock: Clock;
  readonly wheel: Wheel;
  readonly #dialler: Dialler;
  readonly #handles: () => Handles;
  readonly #idle: Connection[] = [];
  #closed = false;

  constructor(dialler: Dialler, slots: Slots, { clock, wheel, handles }: Means) {
    super(slots);
    this.#dialler = dialler;
    this.clock = clock;
    this.wheel = wheel;
    this.#handles = handles;
  }

  send(request: Request, events: AttemptEvents<FastHead>): FastAttempt {
    const attempt = new FastAttempt(this, request, events);
    this.admit(attempt);
    return attempt;
  }

  /** An attempt has ended. */
  left(attempt: FastAttempt): void {
    this.slots.inFlight--;
    this.forget(attempt);
  }

  fresh(): Connection | undefined {
    return this.slots.take() ? new Connection(this.#dialler, this.#handles().writes, this) : undefined;
  }

  release(connection: Connection): void {
    if (this.#closed || !connection.link.isCurrent) {
      this.drop(connection);
      return;
    }
    this.wheel.set(connection, connection.idleMs);
    this.#idle.push(connection);
    this.slots.freed();
  }

  drop(connection: Connection): void {
    if (connection.isGone) return;
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    connection.destroy();
    this.slots.free();
  }

  yieldIdle(): boolean {
    const spare = this.#idle[0];
    if (spare !== undefined) this.drop(spare);
    return spare !== undefined;
  }

  /** Drops the idle connections that do not lead where the endpoint is now. */
  dropStale(): void {
    for (const connection of this.#idle.slice()) if (!connection.link.isCurrent) this.drop(connection);
  }

  /** Lets what is in flight finish, and keeps no connection afterwards. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#idle.slice()) this.drop(connection);
  }

  protected take(): Connection | undefined {
    const idle = this.#idle.pop();
    if (idle === undefined) return this.fresh();
    this.wheel.clear(idle);
    return idle;
  }
}
