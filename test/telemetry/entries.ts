/** Journal entries for tests. */

import { ppm } from "../../src/domain/units.ts";
import type { JournalEntry } from "../../src/engine/ports.ts";

/** A climb from 5 % to 12.5 %, of `route`, for `reason`. */
export function entryOf(reason: string, route = "app"): JournalEntry {
  return {
    event: "climbed",
    route,
    rollout: "r-1",
    actor: "sluice",
    reason,
    before: { phase: "progressing", step: 0, weight: ppm(50_000) },
    after: { phase: "progressing", step: 1, weight: ppm(125_000) },
  };
}

/** An event of the rollout `r-1` of `app`, at 5 %, unless `more` says otherwise. */
export function rolloutEntry(event: string, more: Partial<JournalEntry> = {}): JournalEntry {
  const point = { phase: "progressing", step: 0, weight: ppm(50_000) } as const;
  return {
    event,
    route: "app",
    rollout: "r-1",
    actor: "sluice",
    reason: "",
    before: point,
    after: point,
    ...more,
  };
}
