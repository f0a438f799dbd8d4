/** What a scrape reads, and the form of a metric. Types, but for the quantiles that are shown. */

import type { Arm } from "../domain/split.ts";
import type { Totals } from "../engine/control.ts";
import type { ChannelStats, PlaneGauges } from "../engine/ports.ts";
import type { RouteStatus } from "../engine/status.ts";
import type { Build } from "./build.ts";
import type { OutletCounts } from "./outlets.ts";
import type { Exemplar, Sample } from "./samples.ts";

/** Everything a scrape reads, taken once. */
export interface Snapshot {
  readonly totals: Totals;
  readonly routes: readonly RouteStatus[];
  readonly gauges: PlaneGauges;
  /** How late the event loop was, by quantile: seconds. */
  readonly loopDelay: readonly (readonly [quantile: number, seconds: number])[];
  /** By channel. */
  readonly notifications: Readonly<Record<string, ChannelStats>>;
  readonly reload: Reload;
  /** Undefined where there are no feature flags. */
  readonly flags: FlagFigures | undefined;
  readonly unverified: readonly ArmName[];
  /** Undefined where no store is shared. */
  readonly shared: SharedFigures | undefined;
  readonly outlets: OutletCounts;
  /** Sampled traces by bucket of the duration histogram. */
  readonly exemplars: (route: string, arm: Arm) => readonly (Exemplar | undefined)[];
  readonly build: Build;
}
/** The store that replicas share, as this one sees it. */
export interface SharedFigures {
  readonly isUp: boolean;
  readonly isLeader: boolean;
  /** Commands without an answer, or refused, since start. */
  readonly failures: number;
}
/** An arm of a route. */
export interface ArmName {
  readonly route: string;
  readonly arm: Arm;
}
/** Quantiles of the event loop's delay that are shown; 1 is the maximum. */
export const LOOP_QUANTILES: readonly number[] = [0.5, 0.99, 1];
/** The last attempt to read the configuration. */
export interface Reload {
  readonly ok: boolean;
  /** Wall clock of the last success, milliseconds since the epoch. */
  readonly at: number;
}
/** The feature flags' file, and what was asked. */
export interface FlagFigures {
  /** Whether the last attempt to read the file succeeded. */
  readonly ok: boolean;
  /** Wall clock of the last success, milliseconds since the epoch. */
  readonly at: number;
  /** Evaluations since start, by reason or error code. */
  readonly evaluations: Readonly<Record<string, number>>;
}
/** One metric. */
export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram" | "summary";
  readonly labels: readonly string[];
  readonly unit: "" | "seconds" | "ratio";
  readonly read: (from: Snapshot) => Iterable<Sample>;
}
