/**
 * Who of several replicas tells people: whoever decided, once. A message whose id follows from a decision is told by the one replica that claims the id
 * in the store, so that neither two that lowered at once nor a new leader tell it again. What follows from no decision the leader tells.
 *
 * Who has claimed a message and dies may have told it, or not. Everybody else who could tell it waits until it is said to be done; when its replica is gone
 * instead, another one tells it as one that may have arrived: where the receiver takes two for one it is sent, and elsewhere it is in doubt.
 */

import type { Millis } from "../domain/units.ts";
import type { Notice, Notifier, SharedStore } from "./ports.ts";

/** What cannot be claimed for so long is told all the same, where somebody has to get up for it: twice is better than never. */
const UNCLAIMED_MS = 30_000;
const WAITING = 100;
/** Who seems to be gone when the store comes back has so long to be heard of. */
const GONE_MS = 3000;

interface Waiting {
  readonly notice: Notice;
  readonly since: Millis;
  /** Since when whoever has it is gone; undefined: nobody is. */
  readonly goneSince?: Millis | undefined;
}

/** A notifier for one of several replicas. */
export class FleetNotices implements Notifier {
  readonly #store: SharedStore;
  readonly #inner: Notifier;
  readonly #now: () => Millis;
  #waiting: Waiting[] = [];
  /** What is done, and could not be said to be. */
  #unsaid: readonly string[] = [];

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

  /** Tries again to claim what waits, and to say what is done. */
  async retry(now: Millis): Promise<void> {
    const [waiting, unsaid] = [this.#waiting, this.#unsaid];
    this.#waiting = [];
    this.#unsaid = [];
    for (const id of unsaid) await this.#done(id);
    for (const each of waiting) {
      const rest = await this.#tried(each, now);
      if (rest !== undefined) this.#waiting.push(rest);
    }
    this.#waiting = this.#waiting.slice(-WAITING);
  }

  /** What of it still waits after it was tried; undefined: nothing. */
  async #tried({ notice, since, goneSince }: Waiting, now: Millis): Promise<Waiting | undefined> {
    const isLeft = goneSince !== undefined && now - goneSince >= GONE_MS;
    const claim = await this.#store.claim(notice.id, isLeft);
    if (claim === "done") return undefined;
    const isUrgent = notice.severity === "emergency" || notice.severity === "critical";
    if (claim === "ours" || (claim === undefined && isUrgent && now - since >= UNCLAIMED_MS)) {
      this.#inner.notify(notice, { mayHaveArrived: isLeft, done: () => void this.#done(notice.id) });
      return undefined;
    }
    return { notice, since, goneSince: claim === "gone" ? (goneSince ?? now) : undefined };
  }

  async #done(id: string): Promise<void> {
    if (!(await this.#store.done(id))) this.#unsaid = [...this.#unsaid, id].slice(-WAITING);
  }
}

function isOfDecision({ id, route }: Notice): boolean {
  return route !== "" && id.startsWith(`${route}:`);
}
