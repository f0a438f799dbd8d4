/**
 * What follows from one response of the canary too many: its weight is 0 with the next exchange of every thread, before anybody is asked. The thread that
 * saw the response looks at the evidence of all threads and takes the weight away itself; what it means (a trip, or a rollback) is the engine's
 * to say, which is told at once. Source: statistics.md §3.1, §3.2; product.md §2.14.
 */

import type { HardGuards, HardRule } from "../domain/evidence/catastrophic.ts";
import { murmur3 } from "../domain/hash.ts";
import type { Millis } from "../domain/units.ts";
import type { Identify } from "./affinity.ts";
import type { EvidenceCell } from "./evidence-board.ts";
import type { RequestView } from "./request.ts";
import type { SplitCell } from "./split-board.ts";

/** What an alarm is made with. */
export interface AlarmParts {
  readonly cell: EvidenceCell;
  readonly guards: HardGuards;
  readonly split: SplitCell;
  readonly identify: Identify;
  /** Whether this thread's event loop is so late that what it measures is its own slowness. */
  readonly isLate: (now: Millis) => boolean;
  /** A rule has fired, and the weight is taken away. */
  readonly rang: (rule: HardRule) => void;
}

/** The alarm of one route in one thread. */
export class Alarm {
  readonly #parts: AlarmParts;

  constructor(parts: AlarmParts) {
    this.#parts = parts;
  }

  /**
   * An exchange of the canary has settled and was counted.
   *
   * @param isNew its key was issued with this very answer: it stands for nobody yet, and its address is taken instead
   */
  settled(isBad: boolean, view: RequestView, isNew: boolean, now: Millis): void {
    const { cell } = this.#parts;
    // A key may cost a signature to check: it is asked for only as long as it can change what is known.
    if (isBad ? cell.wantsFailed : cell.wantsKeys) {
      const key = this.#numberOf(view, isNew);
      cell.sawKey(key);
      if (isBad) cell.failedKey(key);
    }
    if (isBad) this.#look(now);
  }

  #look(now: Millis): void {
    const { cell, guards, split, isLate, rang } = this.#parts;
    if (isLate(now)) return;
    const rule = cell.crossed(guards);
    if (rule !== null && split.takeAway()) rang(rule);
  }

  /** What stands for a key: never 0. A client that takes no cookie would otherwise be another one with each request. */
  #numberOf(view: RequestView, isNew: boolean): number {
    const key = isNew ? undefined : this.#parts.identify.keyOf(view);
    return murmur3(key ?? view.client, 0) | 0 || 1;
  }
}
