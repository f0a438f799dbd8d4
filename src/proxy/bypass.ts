/**
 * For the benchmark alone: what it costs to choose an arm and to measure, by leaving both out. Everything goes to stable and nothing is counted. Made of
 * other parts and not of branches, so that what is compared with it does not pay for the comparison.
 */

import { BUCKETS } from "../domain/split.ts";
import type { Identify } from "./affinity.ts";
import { PlaneMeter, RouteMeter, type RouteMeterParts } from "./measure.ts";

/** Finds no key in any request, and no bucket that a weight reaches. */
export const NOBODY: Identify = {
  sources: [],
  anonymous: () => ({ bucket: BUCKETS, key: undefined, cookie: "" }),
  keyOf: () => undefined,
};

/** Counts nothing that has to do with exchanges. */
export class DeafMeter extends PlaneMeter {
  override overhead(): void {
    // not counted
  }

  protected override made(parts: RouteMeterParts): RouteMeter {
    return new DeafRouteMeter(parts);
  }
}

class DeafRouteMeter extends RouteMeter {
  override record(): boolean {
    return false;
  }

  override sample(): void {
    // not kept
  }
}
