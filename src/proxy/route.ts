/**
 * A route, compiled: what the configuration says of it in the form that the hot path reads. Made anew by a reload; its meters, budget
 * and unchanged endpoints are handed on.
 */

import type { RouteConfig } from "../config/schema.ts";
import type { Arm } from "../domain/split.ts";
import type { Clock, Dice } from "../engine/ports.ts";
import type { Identify } from "./affinity.ts";
import type { LongLived } from "./long-lived.ts";
import type { PlaneMeter, RouteMeter } from "./measure.ts";
import type { Override } from "./override.ts";
import type { Endpoint } from "./pool.ts";
import type { RescueBudget } from "./rescue.ts";

/** One route as exchanges see it. */
export interface Route {
  readonly config: RouteConfig;
  readonly identify: Identify;
  readonly override: Override;
  readonly stable: readonly Endpoint[];
  readonly canary: readonly Endpoint[];
  readonly meter: RouteMeter;
  readonly budget: RescueBudget;
  readonly longLived: LongLived;
}

/** What every exchange needs beside its route. */
export interface Surroundings {
  readonly clock: Clock;
  readonly dice: Dice;
  readonly meter: PlaneMeter;
  readonly healthy: (route: string, arm: Arm, endpoint: string) => boolean;
}
