/**
 * The long-lived exchanges of a route, by arm: upgraded connections and event streams. They outlive a weight change, so a rollback
 * closes them, at once or by a deadline (product.md §2.15). One that had been sent before the rollback and opens behind it (a handshake
 * under way) is closed with the others: it would stay on an arm that everybody else has left.
 */

import type { RouteConfig } from "../config/schema.ts";
import type { Arm } from "../domain/split.ts";
import type { RouteMeter } from "./measure.ts";

/** A stream that knows when nothing has come or gone for so long: a socket, or a stream of HTTP/2. */
export interface Idling {
  setTimeout(ms: number, callback: () => void): unknown;
  once(event: "close", callback: () => void): unknown;
}

/**
 * Closes a tunnel through which no byte has gone in either direction for `idle`, or that is older than `lifetime` (reliability.md 32).
 *
 * @param client the client's side: what comes from there is read on it, and what goes there is written
 */
export function bound(client: Idling, { idle, lifetime }: RouteConfig["longLived"], close: () => void): void {
  client.setTimeout(Math.ceil(idle), close);
  if (lifetime === "none") return;
  const timer = setTimeout(close, lifetime);
  client.once("close", () => clearTimeout(timer));
}

/** Something that can be closed from here. */
export interface Closable {
  close(): void;
}

/** The registry of one route. */
export class LongLived {
  /** WebSockets to each arm, from the moment at which a connection is opened for one. */
  readonly tunnels: Record<Arm, number> = { stable: 0, canary: 0 };
  readonly #meter: RouteMeter;
  /** What is open, and the epoch in which each was sent. */
  readonly #open: Readonly<Record<Arm, Map<Closable, number>>> = { stable: new Map(), canary: new Map() };
  /** What was sent in an epoch before this one is closed by now. */
  readonly #due: Record<Arm, number> = { stable: 0, canary: 0 };
  readonly #timers = new Set<NodeJS.Timeout>();
  #epoch = 0;

  constructor(meter: RouteMeter) {
    this.#meter = meter;
  }

  /** The present epoch: each `close` begins a new one. An exchange keeps the one in which it was sent. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Adds what has become long-lived; closes it at once when its arm was left after `sentIn`, and the deadline is over. */
  add(arm: Arm, each: Closable, sentIn: number): void {
    this.#open[arm].set(each, sentIn);
    this.#meter.arm(arm).longLived = this.#open[arm].size;
    if (sentIn < this.#due[arm]) each.close();
  }

  remove(arm: Arm, each: Closable): void {
    this.#open[arm].delete(each);
    this.#meter.arm(arm).longLived = this.#open[arm].size;
  }

  /** Closes those that were sent to an arm before now, at once or after `deadlineMs`; later ones are left alone. */
  close(arm: Arm, how: "drain" | "close", deadlineMs: number): void {
    const epoch = ++this.#epoch;
    if (how === "close" || deadlineMs <= 0) {
      this.#closeBefore(arm, epoch);
      return;
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#closeBefore(arm, epoch);
    }, deadlineMs);
    timer.unref();
    this.#timers.add(timer);
  }

  /** Closes everything; returns how many there were. */
  closeAll(): number {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    const all = [...this.#open.stable.keys(), ...this.#open.canary.keys()];
    for (const each of all) each.close();
    return all.length;
  }

  #closeBefore(arm: Arm, epoch: number): void {
    this.#due[arm] = Math.max(this.#due[arm], epoch);
    for (const [each, sentIn] of this.#open[arm]) if (sentIn < epoch) each.close();
  }
}
