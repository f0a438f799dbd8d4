/**
 * The lease: who may climb. A key that Redis lets go of by itself, with a number (the fence) that goes up with each holder; a save that raises is
 * compared with it inside Redis, so a holder that was stopped and wakes up late raises nothing.
 *
 * Here it is judged by the monotonic clock, from the moment *before* the lease was asked for, less a margin: this replica stops taking itself for the
 * leader before Redis gives the lease to another.
 */

import type { Clock, Dice, Lease, Log } from "../engine/ports.ts";
import type { Link } from "./redis-link.ts";
import { LEASE, RELEASE, evalOf } from "./redis-scripts.ts";
import { Rounds } from "./rounds.ts";

/** So long Redis keeps the lease of a holder that is silent: ms. */
const LEASE_MS = 3000;
/** So much earlier the holder takes it for lost: what two clocks may differ by in `LEASE_MS`, and then some: ms. */
const MARGIN_MS = 500;
const RENEW_MS = 1000;
/** After a lease of another's has run out, by chance within: ms. */
const SPREAD_MS = 100;

/** Where the lease is kept, and whose name is on it. */
export interface LeaseOptions {
  readonly link: Link;
  readonly keys: { readonly lease: string; readonly fence: string };
  readonly channel: string;
  readonly replica: string;
  readonly clock: Clock;
  readonly dice: Dice;
  readonly log: Log;
  readonly changed: () => void;
}

/** Asks for the lease, keeps it, and says who holds it. */
export class LeaseKeeper {
  readonly #options: LeaseOptions;
  readonly #rounds = new Rounds(() => this.#ask());
  #held = "";
  #until = -Infinity;
  /** The highest that was ever heard of: one that is lower after a loss would be an old one's. */
  #highest = 0;
  #told: Lease = { isLeader: false, leader: "", fence: 0 };
  #expiry: NodeJS.Timeout | undefined;

  constructor(options: LeaseOptions) {
    this.#options = options;
  }

  /** Who holds it, as far as is known here. */
  get lease(): Lease {
    const { replica, clock } = this.#options;
    const fence = Number.parseInt(this.#held, 10) || 0;
    const leader = this.#held.slice(this.#held.indexOf(" ") + 1);
    if (leader !== replica) return { isLeader: false, leader, fence };
    const isLeader = clock.mono() < this.#until;
    return { isLeader, leader: isLeader ? leader : "", fence };
  }

  /** The lease in the words of Redis, while this replica holds it; else undefined. */
  get held(): string | undefined {
    return this.lease.isLeader ? this.#held : undefined;
  }

  /** Asks now: at the start, on a connection, when somebody has given it up. */
  now(): Promise<void> {
    return this.#rounds.now();
  }

  /** Gives it up. */
  async close(): Promise<void> {
    clearTimeout(this.#expiry);
    await this.#rounds.stop();
    const { held } = this;
    if (held === undefined) return;
    this.#until = -Infinity;
    const { link, keys, channel } = this.#options;
    await link.send(...evalOf(RELEASE, keys.lease, held, channel));
  }

  async #ask(): Promise<number> {
    const { link, keys, channel, replica, clock, dice } = this.#options;
    const asked = clock.mono();
    const reply = await link.send(
      ...evalOf(LEASE, keys.lease, keys.fence, replica, LEASE_MS, this.#highest, channel),
    );
    if (!reply.ok || !Array.isArray(reply.value)) {
      this.#tell();
      return RENEW_MS;
    }
    const [held, left] = reply.value as readonly unknown[];
    this.#held = String(held);
    const { fence, leader } = this.lease;
    this.#highest = Math.max(this.#highest, fence);
    const isMine = this.#held.endsWith(` ${replica}`);
    this.#until = isMine ? asked + LEASE_MS - MARGIN_MS : -Infinity;
    this.#tell();
    if (isMine || leader === "") return RENEW_MS;
    return Math.max(0, Math.min(RENEW_MS, Number(left) + dice.random() * SPREAD_MS));
  }

  /** Says it when it is another than before, and comes back when it would run out. */
  #tell(): void {
    const { clock, log, changed } = this.#options;
    clearTimeout(this.#expiry);
    const now = this.lease;
    if (now.isLeader) this.#expiry = setTimeout(() => this.#tell(), this.#until - clock.mono() + 1).unref();
    const before = this.#told;
    if (before.isLeader === now.isLeader && before.leader === now.leader && before.fence === now.fence)
      return;
    this.#told = now;
    if (now.isLeader !== before.isLeader)
      log.info(now.isLeader ? "this replica leads" : "this replica does not lead any more", {
        leader: now.leader,
        fence: now.fence,
      });
    changed();
  }
}
