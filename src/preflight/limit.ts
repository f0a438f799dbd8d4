/** Time limits of checks, by a clock that may be moved by hand. A check that hears of its end may clean up; nobody waits for it. */

import { formatDuration, millis, type Millis } from "../domain/units.ts";
import { asAppError, codeOf } from "../domain/errors.ts";
import type { Clock } from "../engine/ports.ts";

/** What a check found, for people. */
export interface Finding {
  readonly ok: boolean;
  readonly detail: string;
}

/** It holds, and why. */
export function holds(detail: string): Finding {
  return { ok: true, detail };
}

/** It does not hold, and why. */
export function fails(detail: string): Finding {
  return { ok: false, detail };
}

/** Runs once after `ms`, unless the returned function is called before. */
export function after(clock: Clock, ms: Millis, run: () => void): () => void {
  const stop = clock.every(millis(Math.max(1, ms)), () => {
    stop();
    run();
  });
  return stop;
}

/**
 * What `work` finds, or that it found nothing within `ms`. Never rejects. The signal is aborted when nobody waits any longer; whatever `work` does
 * after that is its own affair, so it must hold nothing for ever.
 *
 * @param ended ends it at once, too
 */
export function within(
  clock: Clock,
  ms: Millis,
  work: (signal: AbortSignal) => Promise<Finding>,
  ended?: AbortSignal,
): Promise<Finding> {
  const patience = new AbortController();
  return new Promise((resolve) => {
    const settle = (finding: Finding): void => {
      stop();
      ended?.removeEventListener("abort", onEnd);
      resolve(finding);
      patience.abort();
    };
    const onEnd = (): void => settle(fails("was ended"));
    const stop = after(clock, ms, () => settle(fails(`no answer within ${formatDuration(ms)}`)));
    ended?.addEventListener("abort", onEnd);
    if (ended?.aborted === true) return onEnd();
    new Promise<Finding>((found) => found(work(patience.signal))).then(settle, (error: unknown) =>
      settle(fails(detailOf(error))),
    );
  });
}

/** An error in a few words: the platform's code, where there is one, does not repeat an address that may be a secret. */
export function detailOf(error: unknown): string {
  const { cause, message } = asAppError(error);
  return codeOf(cause) || plainOf(message);
}

const LONGEST = 200;

/** A text of somebody else's as one line that drives no terminal. */
export function plainOf(text: string): string {
  const line = text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]+/gu, " ").trim();
  return line.length > LONGEST ? `${line.slice(0, LONGEST)}…` : line;
}
