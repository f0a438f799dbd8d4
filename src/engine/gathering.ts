/** What this replica has measured and not handed on yet. */

import type { BlockCounts } from "../domain/evidence/counting.ts";
import type { Publishing } from "../domain/publishing.ts";
import type { Millis } from "../domain/units.ts";
import type { CanaryKeys, RouteMeasure, RouteShare, SharedStore } from "./ports.ts";
import { addShares, encodeShares, mergeShares, noShare } from "./shares.ts";

/** What could not be handed on for so long says too little of now. */
const LONGEST_MS = 30_000;
const EARLY_MS = 100;

/** A pile of shares, one for each route in each state. */
export class Gathering {
  #shares: readonly RouteShare[] = [];
  #since: Millis | undefined = undefined;
  #publishedAt = Number.NEGATIVE_INFINITY;

  /** Adds what was measured of a route. @param of see `RouteShare` */
  take({ route, arms, rescues, samples }: RouteMeasure, of: string, now: Millis): void {
    this.#add({ ...noShare(route, of), arms, rescues, samples }, now);
  }

  /** Adds a block that was taken as evidence here. */
  takeBlock(route: string, of: string, block: BlockCounts, keys: CanaryKeys, now: Millis): void {
    this.#add({ ...noShare(route, of), block, keys }, now);
  }

  #add(share: RouteShare, now: Millis): void {
    if (this.#since !== undefined && now - this.#since > LONGEST_MS) this.clear();
    this.#since ??= now;
    const { route, of } = share;
    const known = this.#shares.find((each) => each.route === route && each.of === of);
    const others = this.#shares.filter((each) => each !== known);
    this.#shares = [...others, known === undefined ? share : addShares(known, share)];
  }

  /** Hands it on, when it is time; what could not be handed on stays. */
  async publish(store: SharedStore, { everyMs, ...how }: Publishing, now: Millis): Promise<void> {
    // A tick may come a little early. Replicas tick at times of their own, so they do not all publish at once.
    if (this.#shares.length === 0 || now - this.#publishedAt < everyMs - EARLY_MS) return;
    const [shares, since] = [this.#shares, this.#since];
    this.clear();
    this.#publishedAt = now;
    if (await store.publish(encodeShares(shares, how))) return;
    this.#shares = mergeShares([...shares, ...this.#shares]);
    this.#since = since;
  }

  /** Nobody is to get it any more. */
  clear(): void {
    this.#shares = [];
    this.#since = undefined;
  }
}
