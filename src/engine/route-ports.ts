/** What one route works with, all of it. */

import type { Calendar } from "../domain/rollout-types.ts";
import type { Throws } from "../domain/safety.ts";
import type { Clock, DataPlane, Log, Probes, Reports } from "./ports.ts";
import type { Recorder } from "./recorder.ts";
import type { Routing } from "./routing.ts";
import type { FleetStatus } from "./status.ts";
import type { TellingPorts } from "./telling.ts";

/** What a route works with. */
export interface RoutePorts extends TellingPorts {
  readonly calendar: () => Calendar;
  /** The safety switches that a route is under. */
  readonly safety: (route: string) => Throws;
  /** Whether an emergency is answered, and not sent to stable. */
  readonly answersEmergency: () => boolean;
  /** The health checks that fail now, in words; undefined: none does. */
  readonly unwell: () => string | undefined;
  readonly routing: Routing;
  readonly recorder: Recorder;
  /** The other replicas; null: there are none. */
  readonly fleet: () => FleetStatus | null;
  readonly plane: DataPlane;
  readonly probes: Probes;
  readonly reports: Reports;
  readonly clock: Clock;
  readonly log: Log;
}
