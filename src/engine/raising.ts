/**
 * The raise of a route that is being recorded, and what overtakes it.
 *
 * Of several replicas a raise whose save was not answered may have landed. When it is found on record later, what would have come behind the save comes then:
 * its line in the journal, and what people are told.
 */

import { isSameDecision } from "./adopting.ts";
import type { RecordedState } from "./ports.ts";

/** Saves of a raise that is tried again while nothing answers: who holds the lease gives it up before there are as many. */
const MOST_UNANSWERED = 16;

/** The raises of one route, one at a time. */
export class Raising {
  #running: Promise<boolean> | undefined;
  #turn = 0;
  #unanswered: readonly { readonly saved: RecordedState; readonly say: () => void }[] = [];

  /** Whether one is being recorded. */
  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Resolves when the one that is being recorded is over: another one may have come behind it. Rejects as it did. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /** One more per decision and per word that stops one: what waited meanwhile looks here. */
  get turn(): number {
    return this.#turn;
  }

  /** A raise that is being recorded, or waits to be, does not come into force. Returns the turn that begins. */
  overtake(): number {
    return ++this.#turn;
  }

  /** It is being recorded until `done`, which resolves whether it came into force; when it did not, `failed` comes next. */
  run(done: Promise<boolean>, failed: () => void): Promise<boolean> {
    const isOver = done.finally(() => (this.#running = undefined));
    this.#running = isOver.then((inForce) => {
      if (!inForce) failed();
      return inForce;
    });
    return this.#running;
  }

  /** Whether `saved` is on record is not known; `say` says what comes behind it. */
  unanswered(saved: RecordedState, say: () => void): void {
    this.#unanswered = [...this.#unanswered, { saved, say }].slice(-MOST_UNANSWERED);
  }

  /** `found` is on record. Whether it is one that was not answered; then it is said, once, however often it is found. */
  answered(found: RecordedState): boolean {
    const landed = this.#unanswered.find(({ saved }) => isSameSave(saved, found));
    if (landed === undefined) return false;
    this.forget();
    landed.say();
    return true;
  }

  /** Something is in force: what was not answered was found by now, or nothing became of it. */
  forget(): void {
    this.#unanswered = [];
  }
}

/** Another replica may have decided the same in the meantime, under the same numbers: when people were to be told is each one's own. */
function isSameSave(saved: RecordedState, found: RecordedState): boolean {
  const toldAt = saved.notices?.at(-1)?.atMs;
  const isTold = toldAt === undefined || found.notices?.some(({ atMs }) => atMs === toldAt) === true;
  return isSameDecision(saved, found) && saved.weight === found.weight && isTold;
}
