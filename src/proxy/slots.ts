/**
 * Who may open a connection to an endpoint, who gets which, and who waits, first come first served.
 *
 * The two lanes keep their connections apart (their libraries cannot share a socket) but count them together: `connections` protects the
 * upstream, which does not care who opened them. A lane that may open none asks the other for an idle one to be closed, and one
 * that closes or frees a connection lets the other's waiting exchanges try again.
 */

import type { ArmConfig } from "../config/schema.ts";
import { FAILURES, type Failure } from "./failure.ts";

/** What the pools of one endpoint share: its limits and its load. */
export class Slots {
  /** Connections at the most. */
  connections: number;
  /** Exchanges that may wait for one, in each lane. */
  queue: number;
  /** Exchanges on it, waiting ones included. */
  inFlight = 0;
  #open = 0;
  #first = 0;
  readonly #pools: Slotted[] = [];
  /** There was no place in a queue. */
  readonly overflowed: () => void;

  constructor(
    { connections, queue }: Pick<ArmConfig, "connections" | "queue">,
    overflowed: () => void = nothing,
  ) {
    this.connections = connections;
    this.queue = queue;
    this.overflowed = overflowed;
  }

  join(pool: Slotted): void {
    this.#pools.push(pool);
  }

  /** Takes the place of one more connection; false when there is none, and nobody has an idle one to give up. */
  take(): boolean {
    if (this.#open >= this.connections && !this.#pools.some((pool) => pool.yieldIdle())) return false;
    this.#open++;
    return true;
  }

  /** A connection is closed. */
  free(): void {
    this.#open--;
    this.freed();
  }

  /** A connection is closed, or idle: whoever waits may try, and not always the same one first. */
  freed(): void {
    const { length } = this.#pools;
    this.#first = (this.#first + 1) % length;
    for (let nth = 0; nth < length; nth++) {
      // Within the list.
      const pool = this.#pools[(this.#first + nth) % length]!;
      if (pool.isWaiting) pool.serveWaiting();
    }
  }
}

/** One lane's connections to an endpoint, as the other's see them. */
export interface Slotted {
  readonly isWaiting: boolean;
  /** Closes one idle connection; false when there is none. */
  yieldIdle(): boolean;
  /** Gives connections to those who wait, as far as there are any; not within this call. */
  serveWaiting(): void;
}

/** An attempt that needs a connection. */
export interface Waiter<C> {
  /** Sends its request on a connection. */
  begin(connection: C): void;
  /** No connection is free: begins to wait. */
  wait(): void;
  fail(failure: Failure): void;
}

/** One lane's line of attempts for the connections to one endpoint. */
export abstract class Line<C, A extends Waiter<C>> implements Slotted {
  protected readonly slots: Slots;
  readonly #waiting = new Set<A>();

  constructor(slots: Slots) {
    this.slots = slots;
    slots.join(this);
  }

  get isWaiting(): boolean {
    return this.#waiting.size > 0;
  }

  /** An attempt that waited waits no more. */
  forget(attempt: A): void {
    if (this.#waiting.size > 0) this.#waiting.delete(attempt);
  }

  abstract yieldIdle(): boolean;

  /** Not at once: the caller may be in the middle of a read, where the connection still has its last request. */
  serveWaiting(): void {
    process.nextTick(pump, this);
  }

  /** Gives connections to those who wait. */
  pump(): void {
    for (const attempt of this.#waiting) {
      const connection = this.take();
      if (connection === undefined) return;
      this.#waiting.delete(attempt);
      attempt.begin(connection);
    }
  }

  /** Gives an attempt a connection, or a place at the end of the line. */
  protected admit(attempt: A): void {
    this.slots.inFlight++;
    const connection = this.#waiting.size > 0 ? undefined : this.take();
    if (connection !== undefined) attempt.begin(connection);
    else if (this.#waiting.size >= this.slots.queue) {
      this.slots.overflowed();
      attempt.fail(FAILURES.overloaded);
    } else {
      this.#waiting.add(attempt);
      attempt.wait();
    }
  }

  /** Attempts that were given a connection and lost it, through no fault of theirs, wait at the head of the line. */
  protected readmit(attempts: readonly A[]): void {
    const behind = [...this.#waiting];
    this.#waiting.clear();
    for (const attempt of [...attempts, ...behind]) this.#waiting.add(attempt);
    for (const attempt of attempts) attempt.wait();
    this.serveWaiting();
  }

  /** An idle connection, else a new one; undefined: the cap is reached. */
  protected abstract take(): C | undefined;
}

function nothing(): void {
  // nobody counts
}

function pump(line: { pump(): void }): void {
  line.pump();
}
