/** Waiting for what is to come, and not for ever. */

import type { EventEmitter } from "node:events";
import { clock } from "../../src/platform.ts";

/** Resolves when `holds` does, which has no event here and is looked for often; rejects with `what` when it has not after `ms`. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  ms = 15_000,
): Promise<void> {
  const end = clock.mono() + ms;
  while (!(await holds())) {
    if (clock.mono() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await pause();
  }
}

/** The time between two looks. */
export function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20));
}

/** Resolves when `holds` does, which is looked at whenever `emitter` says `event`; rejects with `what` when it has not after `ms`. */
export async function untilEvent(
  what: string,
  emitter: EventEmitter,
  event: string,
  holds: () => boolean,
  ms = 15_000,
): Promise<void> {
  if (holds()) return;
  await new Promise<void>((resolve, reject) => {
    const over = (): void => {
      clearTimeout(late);
      emitter.off(event, look);
    };
    const look = (): void => {
      if (!holds()) return;
      over();
      resolve();
    };
    const late = setTimeout(() => {
      over();
      reject(new Error(`not within ${ms} ms: ${what}`));
    }, ms);
    emitter.on(event, look);
  });
}
