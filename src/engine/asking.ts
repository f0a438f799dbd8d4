/** A question to somebody outside: one at a time, and no sooner than some time after the one before began. */

import { isClimbing } from "../domain/rollout-move.ts";
import type { RolloutState } from "../domain/rollout-types.ts";
import { millis, type Millis } from "../domain/units.ts";
import { stepOf } from "./evidence.ts";
import type { PreflightResult } from "./ports.ts";

/** Whether and when it was asked. */
export class Asking {
  #isOpen = false;
  #since = Number.NEGATIVE_INFINITY;

  /** Whether it may be asked at `now`. */
  may(now: Millis, interval: Millis): boolean {
    return !this.#isOpen && now - this.#since >= interval;
  }

  /** The answer; until then it is not asked again. */
  async of<T>(now: Millis, ask: () => Promise<T> | T): Promise<T> {
    this.#isOpen = true;
    this.#since = now;
    try {
      return await ask();
    } finally {
      this.#isOpen = false;
    }
  }
}

/** The checks before a step. */
export class StepChecks {
  readonly #asking = new Asking();
  /** What was found before the present step; kept for the journal. */
  found: readonly PreflightResult[] = [];

  /** Whether a step asks for checks that have not been run. */
  areDue(state: RolloutState, now: Millis): boolean {
    const asks = isClimbing(state.phase) && stepOf(state)?.preflight === true;
    return asks && state.progress.preflight === null && this.#asking.may(now, millis(0));
  }

  /** What `run` found. */
  async of(
    now: Millis,
    run: () => Promise<readonly PreflightResult[]> | readonly PreflightResult[],
  ): Promise<readonly PreflightResult[]> {
    this.found = await this.#asking.of(now, run);
    return this.found;
  }
}
