/** A line of the journal, as a route writes it: what was decided, and what was known by then. */

import type { RolloutState } from "../domain/rollout-types.ts";
import type { JournalEntry, PreflightResult } from "./ports.ts";
import type { CheckStatus } from "./status.ts";
import { stepsOf } from "./view.ts";

/** What is entered. */
export interface Entered {
  readonly event: string;
  readonly route: string;
  readonly from: RolloutState;
  readonly to: RolloutState;
  readonly actor: string;
  readonly reason: string;
  /** What people were told of it; left out: nothing. */
  readonly message?: string | undefined;
}

/** What is known; looked at only where the line has it. */
interface Known {
  /** What was found before the present step. */
  readonly checked: readonly PreflightResult[];
  readonly checks: () => readonly CheckStatus[];
  readonly figures: () => unknown;
}

/** The line. */
export function entryOf(
  { event, route, from, to, actor, reason, message }: Entered,
  known: Known,
): JournalEntry {
  const point = ({ phase, step, weight }: RolloutState) => ({ phase, step, weight });
  const entry = {
    event,
    route,
    rollout: to.id || from.id,
    actor,
    reason,
    before: point(from),
    after: point(to),
  };
  if (event.startsWith("VALIDATION_")) return { ...entry, details: { results: known.checked } };
  if (event === "DEPLOY_START") return { ...entry, details: { version: to.version, steps: stepsOf(to) } };
  if (actor !== "sluice") return entry;
  const told = message === undefined ? {} : { message };
  return { ...entry, details: { ...told, checks: known.checks(), arms: known.figures() } };
}
