/**
 * A route, compiled: what the configuration says of it in the form that the hot path reads. Made anew by a reload; its meters, budget
 * and unchanged endpoints are handed on.
 */

import type { RouteConfig } from "../config/schema.ts";
import type { Arm } from "../domain/split.ts";
import type { Millis } from "../domain/units.ts";
import type { Clock, Dice } from "../engine/ports.ts";
import type { Accounts } from "./accounts.ts";
import type { Identify } from "./affinity.ts";
import type { Alarm } from "./alarm.ts";
import type { KnownIssues } from "./known-issues.ts";
import type { LongLived } from "./long-lived.ts";
import type { PlaneMeter, RouteMeter } from "./measure.ts";
import type { Mirror } from "./mirror.ts";
import type { Overload } from "./overload.ts";
import type { Override } from "./override.ts";
import type { ArmPool } from "./pool.ts";
import type { RescueBudget } from "./rescue.ts";

/** How long an upstream may take, milliseconds. */
export interface Timeouts {
  readonly connect: Millis;
  readonly headers: Millis;
  /** No byte of a response for so long. */
  readonly idle: Millis;
  /** The same for one that is long-lived. */
  readonly stream: Millis;
}

/** One route as exchanges see it. */
export interface Route {
  readonly config: RouteConfig;
  readonly identify: Identify;
  readonly override: Override;
  readonly stable: ArmPool;
  readonly canary: ArmPool;
  readonly meter: RouteMeter;
  /** Undefined: there are none. */
  readonly knownIssues: KnownIssues | undefined;
  /** Undefined: no rule is judged with every response. */
  readonly alarm: Alarm | undefined;
  readonly budget: RescueBudget;
  /** Undefined: no request is copied. */
  readonly mirror: Mirror | undefined;
  readonly longLived: LongLived;
  readonly timeouts: Timeouts;
  /** The gRPC statuses that count as failures, as `grpcMask` gives them. */
  readonly grpcFailing: number;
  /** Whether the fast lane can carry it: no endpoint that is spoken to in HTTP/2. */
  readonly isPlain: boolean;
}

/** What every exchange needs beside its route. */
export interface Surroundings {
  readonly clock: Clock;
  readonly dice: Dice;
  readonly meter: PlaneMeter;
  /** What this thread has in flight. */
  readonly overload: Overload;
  /** What is told of exchanges one by one. */
  readonly accounts: Accounts;
  readonly healthy: (route: string, arm: Arm, endpoint: string) => boolean;
}
