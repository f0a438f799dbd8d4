/**
 * Evidence packs: what a rollback was about, as one JSON file that is there whole or not at all.
 *
 * A name that is taken is never overwritten, so a second rollback in the same millisecond gets a number. A failure is logged and costs
 * nothing else: a rollback does not wait for its paperwork.
 */

import { nameOf } from "../domain/report.ts";
import type { Clock, Log, Reports } from "../engine/ports.ts";
import { place } from "./place.ts";

/** Where packs go, and what they are named with. */
export interface ReportsOptions {
  /** Made when it is missing, at the first pack. */
  readonly folder: string;
  readonly environment: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Writes `rollback_<environment>_<route>_<timestamp>.json`, e.g. `rollback_production_app_20260105T090000.000Z.json`. */
export function createReports(options: ReportsOptions): Reports {
  const { folder, environment, clock, log } = options;
  return {
    async write(pack) {
      try {
        const text = `${JSON.stringify(pack, null, 2)}\n`;
        const at = new Date(clock.wall()).toISOString().replaceAll(/[-:]/g, "");
        return await place(folder, `rollback_${nameOf(environment)}_${nameOf(pack.route)}_${at}`, text);
      } catch (error) {
        log.error("could not write an evidence pack", { route: pack.route, rollout: pack.rollout, error });
        return undefined;
      }
    },
  };
}
