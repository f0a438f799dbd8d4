/**
 * Who of several replicas tells people: whoever decided, once. A message whose id follows from a decision is told by the one replica that claims the id
 * in the store, so that neither two that lowered at once nor a new leader tell it again. What follows from no decision the leader tells.
 *
 * Who has claimed a message and dies may have told it, or not. Everybody else who could tell it waits until it is said to be done; when its replica is gone
 * instead, another one tells it as one that may have arrived: where the receiver takes two for one it is sent, and elsewhere it is in doubt.
 */

import type { Millis } from "../domain/units.ts";
import { leastSevere } from "../domain/severity.ts";
import type { Claim, Log, Notice, Notifier, SharedStore } from "./ports.ts";
import { LONGEST_MS } from "./telling.ts";

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
  readonly #log: Log;
  #waiting: Waiting[] = [];
  /** What is done, and could not be said to be. */
  #unsaid: readonly string[] = [];

  constructor(store: SharedStore, inner: Notifier, now: () => Millis, log: Log) {
    this.#store = store;
    this.#inner = inner;
    this.#now = now;
    this.#log = log;
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
    if (unsaid.length > 0) await this.#done(...unsaid);
    let isAway = false;
    for (const each of waiting) {
      const isLeft = each.goneSince !== undefined && now - each.goneSince >= GONE_MS;
      // Who could not be asked once is not asked for each: what else is exchanged with the others would wait for it.
      const claim: Claim | undefined = isAway ? undefined : await this.#store.claim(each.notice.id, isLeft);
      isAway ||= claim === undefined;
      const rest = this.#tried(each, claim, isLeft, now);
      if (rest !== undefined) this.#waiting.push(rest);
    }
    this.#makeRoom();
  }

  #makeRoom(): void {
    while (this.#waiting.length > WAITING) {
      const least = leastSevere(this.#waiting.map(({ notice }) => notice));
      const [given] = this.#waiting.splice(least, 1);
      const { id, event, severity } = given!.notice;
      this.#log.warn("too many messages wait for the store: one is not told here", { id, event, severity });
    }
  }

  /** What of it still waits after it was tried; undefined: nothing. */
  #tried(
    { notice, since, goneSince }: Waiting,
    claim: Claim | undefined,
    isLeft: boolean,
    now: Millis,
  ): Waiting | undefined {
    if (claim === "done") return undefined;
    const isUrgent = notice.severity === "emergency" || notice.severity === "critical";
    if (claim === "ours" || (claim === undefined && isUrgent && now - since >= UNCLAIMED_MS)) {
      this.#inner.notify(notice, { mayHaveArrived: isLeft, done: () => void this.#done(notice.id) });
      return undefined;
    }
    // Whoever has it may be of a version that never says that it is done: it has had its time.
    if (claim !== undefined && now - since >= LONGEST_MS) return undefined;
    return { notice, since, goneSince: claim === "gone" ? (goneSince ?? now) : undefined };
  }

  async #done(...ids: readonly string[]): Promise<void> {
    if (!(await this.#store.done(...ids))) this.#unsaid = [...this.#unsaid, ...ids].slice(-WAITING);
  }
}

function isOfDecision({ id, route }: Notice): boolean {
  return route !== "" && id.startsWith(`${route}:`);
}
