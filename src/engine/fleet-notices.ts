/**
 * Who of several replicas tells people: whoever decided, once. A message whose id follows from a decision is told by the one replica that claims the id
 * in the store, so that neither two that lowered at once nor a new leader tell it again. What follows from no decision the leader tells.
 */

import type { Millis } from "../domain/units.ts";
import type { Notice, Notifier, SharedStore } from "./ports.ts";

/** What cannot be claimed for so long is told all the same, where somebody has to get up for it: twice is better than never. */
const UNCLAIMED_MS = 30_000;
const WAITING = 100;

interface Waiting {
  readonly notice: Notice;
  readonly since: Millis;
}

/** A notifier for one of several replicas. */
export class FleetNotices implements Notifier {
  readonly #store: SharedStore;
  readonly #inner: Notifier;
  readonly #now: () => Millis;
  #waiting: Waiting[] = [];

  constructor(store: SharedStore, inner: Notifier, now: () => Millis) {
    this.#store = store;
    this.#inner = inner;
    this.#now = now;
  }

  notify(notice: Notice): void {
    if (!isOfDecision(notice)) {
      // By its name, not by its lease: that the store is away is told by the one that led last.
      if (this.#store.lease().leader !== this.#store.replica) return;
      // Nobody else can have told it.
      if (notice.route === "") return this.#inner.notify(notice);
    }
    this.#waiting.push({ notice, since: this.#now() });
    void this.retry(this.#now());
  }

  /** Tries again to claim what waits. */
  async retry(now: Millis): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const each of waiting) {
      const { notice, since } = each;
      const isOurs = await this.#store.claim(notice.id);
      const isUrgent = notice.severity === "emergency" || notice.severity === "critical";
      if (isOurs === true || (isOurs === undefined && isUrgent && now - since >= UNCLAIMED_MS))
        this.#inner.notify(notice);
      else if (isOurs === undefined) this.#waiting.push(each);
    }
    this.#waiting = this.#waiting.slice(-WAITING);
  }
}

function isOfDecision({ id, route }: Notice): boolean {
  return route !== "" && id.startsWith(`${route}:`);
}
