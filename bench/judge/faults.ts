/** How soon a faulty canary is rolled back, and what it cost until then: the second table of statistics.md §6. */

import { FlaggerLike, KayentaLike } from "./others.ts";
import { runStep, type End } from "./replay.ts";
import { ForFiveMinutes, SHIPPED, Tiers, type Judge, type TiersSpec } from "./shipped.ts";
import { ARMS, CALM, type Slowness, type WorldSpec } from "./world.ts";

/** The canary's share. */
export const WEIGHT = 0.1;
/** As long as a step of the plan at 5 %, and more than the longest time in the design. */
const HORIZON_S = 8 * 3600;

/** Seconds, responses and bad ones as the design has them; Infinity: never; null: it does not say. */
export type Design = readonly [seconds: number, responses: number | null, bad: number | null];

/** A fault from the step's start. */
export interface Fault {
  readonly name: string;
  readonly errors: number;
  readonly slow: Slowness | null;
  /** By column. */
  readonly design: Readonly<Partial<Record<string, Design>>>;
}

/** A rule before a faulty canary. */
export interface Setting {
  readonly perSecond: number;
  readonly judge: () => Judge;
  /** Whether it asks for latencies by bucket. */
  readonly latencies: boolean;
}

/** A column of the table. */
export interface Column extends Setting {
  readonly name: string;
  /** The design's column that it is held against. */
  readonly design: string;
}

const NEVER = [Infinity, null, null] as const;
const KAYENTA = [3600, null, null] as const;

const ONCE: TiersSpec = { ...SHIPPED, asked: "once a second" };

export const COLUMNS: readonly Column[] = [
  column("for 5m", 50, () => new ForFiveMinutes()),
  column("Flagger-like", 50, () => new FlaggerLike()),
  { ...column("Kayenta-like", 50, () => new KayentaLike()), latencies: true },
  tiers("sluice, 50/s", 50, SHIPPED),
  tiers("sluice, 50/s", 50, ONCE),
  tiers("sluice, 500/s", 500, SHIPPED),
  tiers("sluice, 500/s", 500, ONCE),
  tiers("sluice, 5/s", 5, SHIPPED),
];

function column(design: string, perSecond: number, judge: () => Judge): Column {
  return { name: design, design, perSecond, judge, latencies: false };
}

function tiers(design: string, perSecond: number, spec: TiersSpec): Column {
  const name = spec === ONCE ? `${design}, asked once a second` : design;
  return { ...column(design, perSecond, () => new Tiers(spec)), name, latencies: true };
}

const failing = (share: number, name: string, design: Fault["design"]): Fault => ({
  name,
  errors: share,
  slow: null,
  design,
});
const slow = (how: Partial<Slowness>, name: string, design: Fault["design"]): Fault => ({
  name,
  errors: 0,
  slow: { times: 1, stretched: false, stuck: 0, ...how },
  design,
});

export const FAULTS: readonly Fault[] = [
  failing(1, "100 % errors", {
    "for 5m": [300, 1499, 1499],
    "Flagger-like": [300, 1499, 1499],
    "Kayenta-like": KAYENTA,
    "sluice, 50/s": [12, 12, 12],
    "sluice, 500/s": [12, 100, 100],
    "sluice, 5/s": [29, 9, 9],
  }),
  failing(0.05, "5 % errors", {
    "for 5m": [300, 1503, 75],
    "Flagger-like": [300, 1497, 75],
    "Kayenta-like": KAYENTA,
    "sluice, 50/s": [40, 209, 11],
    "sluice, 500/s": [23, 633, 33],
    "sluice, 5/s": [290, 145, 7],
  }),
  failing(0.02, "2 % errors", {
    "for 5m": [540, 2706, 56],
    "Flagger-like": [300, 1538, 33],
    "Kayenta-like": KAYENTA,
    "sluice, 50/s": [90, 464, 10],
    "sluice, 500/s": [30, 1501, 30],
    "sluice, 5/s": [870, 443, 9],
  }),
  failing(0.006, "0.6 % errors (below the limit)", {
    "for 5m": NEVER,
    "Flagger-like": [1500, 7456, 48],
    "Kayenta-like": KAYENTA,
    "sluice, 50/s": [570, 2852, 17],
  }),
  slow({ stretched: true }, "2 × P95, still under 500 ms", {
    "for 5m": NEVER,
    "Flagger-like": [4260, null, null],
    "Kayenta-like": KAYENTA,
    "sluice, 50/s": [140, 677, null],
    "sluice, 500/s": [30, 1515, null],
    "sluice, 5/s": [1260, 627, null],
  }),
  slow({ times: 1.3 }, "latency × 1.3", {
    "for 5m": NEVER,
    "Flagger-like": [27300, null, null],
    "Kayenta-like": KAYENTA,
    "sluice, 50/s": [740, 3712, null],
    "sluice, 500/s": [390, 19511, null],
    "sluice, 5/s": [3230, 1617, null],
  }),
  slow({ stuck: 0.03 }, "3 % of requests very slow", {
    "for 5m": [300, 1528, null],
    "Flagger-like": [300, 1503, null],
    "Kayenta-like": KAYENTA,
    "sluice, 50/s": [230, 1121, null],
    "sluice, 500/s": [47, 1864, null],
    "sluice, 5/s": [2400, 1191, null],
  }),
];

/** The world of a fault: calm but for it. */
function faultWorld(fault: Fault, setting: Setting, seeds: readonly number[]): WorldSpec {
  const { errors, slow: slowness } = fault;
  const trouble = { arms: ARMS.slice(0, 1), from: 0, to: HORIZON_S, share: errors };
  return {
    ...CALM,
    seeds,
    seconds: HORIZON_S,
    perSecond: setting.perSecond,
    troubles: errors > 0 ? [trouble] : [],
    slow: slowness,
    latencies: setting.latencies,
  };
}

/** One rollout with a fault. */
export function runFault(fault: Fault, setting: Setting, seeds: readonly number[]): End {
  return runStep(faultWorld(fault, setting, seeds), WEIGHT, setting.judge());
}
