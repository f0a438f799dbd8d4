/**
 * What a backtest leaves out of a configuration. The question is what the judge would have done, and a log holds nobody who could sign, resume, run the
 * checks or say go: a replay would wait for them to its end. The calendar is about the days to come, not about those in the log. Pure.
 */

import type { Config, RouteConfig } from "../config/schema.ts";
import type { Plan, Step } from "../domain/plan.ts";

/** How many of each were left out. */
export interface Omitted {
  readonly gates: number;
  /** Those that only a person ends. */
  readonly pauses: number;
  readonly preflights: number;
  /** 1: the route's `confirm`. */
  readonly confirms: number;
  readonly windows: number;
  readonly freezes: number;
}

/** A climb that the judge alone can walk. */
export interface JudgedClimb {
  /** With the one route. */
  readonly config: Config;
  readonly route: RouteConfig;
  readonly steps: readonly Step[];
  readonly omitted: Omitted;
}

/** The climb without what is left out, and the count of it. */
export function judgedClimb(config: Config, route: RouteConfig, { steps, windows }: Plan): JudgedClimb {
  const { confirm, ...asksNobody } = route;
  const count = (key: "gate" | "pause" | "preflight"): number =>
    steps.filter((step) => step[key] !== undefined).length;
  return {
    config: { ...config, freezes: [], routes: [asksNobody] },
    route: asksNobody,
    steps: steps.map(({ gate: _gate, pause: _pause, preflight: _preflight, ...step }) => step),
    omitted: {
      gates: count("gate"),
      pauses: count("pause"),
      preflights: count("preflight"),
      confirms: confirm === undefined ? 0 : 1,
      windows: windows.length,
      freezes: config.freezes.length,
    },
  };
}
