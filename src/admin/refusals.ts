/**
 * The log of what strangers cause: callers that were not let in, connections that had to make room. Who knocks decides how often, so the lines are
 * counted: a few a second are written, the others are told by their number with the next one, and a flood of wrong tokens cannot fill a disk or
 * hide what else is logged.
 */

import type { Clock, Log, LogFields } from "../engine/ports.ts";

/** Lines a second at the most. */
export const REFUSALS_LOGGED = 5;
const SECOND_MS = 1000;

/** A function that logs `message` as a warning with the fields given to it, or counts it: then `unwritten` of the next line says how many. */
export function createRefusals(message: string, clock: Clock, log: Log): (fields: LogFields) => void {
  let since = Number.NEGATIVE_INFINITY;
  let written = 0;
  let unwritten = 0;
  return (fields) => {
    const now = clock.mono();
    if (now - since >= SECOND_MS) {
      since = now;
      written = 0;
    }
    if (written >= REFUSALS_LOGGED) {
      unwritten++;
      return;
    }
    written++;
    log.warn(message, unwritten === 0 ? fields : { ...fields, unwritten });
    unwritten = 0;
  };
}
