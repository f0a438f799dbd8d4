/** Measurements that nobody has made: what a replica with a hundred requests a second, half of them on each arm, would tell of one second. */

import { indexOfMicros } from "../../src/domain/hdr.ts";
import { CODE_CLASSES, OUTCOMES, REASONS, REASON_INDEX, codeClassIndex } from "../../src/domain/outcome.ts";
import { DURATION_BOUNDS, type Slice, type SparseCounts } from "../../src/domain/slice.ts";
import type { BlockCounts } from "../../src/domain/evidence/counting.ts";
import type { CanaryKeys, RouteMeasure, Sample } from "../../src/engine/ports.ts";
import type { Random } from "../judge/random.ts";

/** The route that all of them have. */
export const ROUTE = "app";

const PER_ARM = 50;
const FAILING = 0.001;
const MEDIAN_MICROS = 60_000;
const SPREAD = 0.6;

/** One second of one replica. */
export interface Second {
  readonly measure: RouteMeasure;
  readonly own: BlockCounts;
  readonly canaryKeys: CanaryKeys;
}

/** What was measured, as it must come out at the other end. */
export interface Sums {
  readonly stable: ArmSums;
  readonly canary: ArmSums;
}
interface ArmSums {
  readonly requests: number;
  readonly failures: number;
}

export const NO_SUMS: Sums = {
  stable: { requests: 0, failures: 0 },
  canary: { requests: 0, failures: 0 },
};

export function addSums(a: Sums, b: Sums): Sums {
  return { stable: addArms(a.stable, b.stable), canary: addArms(a.canary, b.canary) };
}

function addArms(a: ArmSums, b: ArmSums): ArmSums {
  return { requests: a.requests + b.requests, failures: a.failures + b.failures };
}

/** The sums of one second. */
export function sumsOf({ own: { stable, canary } }: Second): Sums {
  return {
    stable: { requests: stable.n, failures: stable.e },
    canary: { requests: canary.n, failures: canary.e },
  };
}

/** A second like others. */
export function madeUp(random: Random): Second {
  const canary = armOf(random);
  const stable = armOf(random);
  const keys = Array.from({ length: 5 }, () => random.below(2 ** 31));
  return {
    measure: {
      route: ROUTE,
      arms: { canary: canary.slice, stable: stable.slice },
      forced: {},
      rescues: { answered: 0, failed: 0, refused: 0 },
      events: {},
      samples: Array.from({ length: canary.failures }, () => sampleOf(random)),
    },
    own: { canary: countsOf(canary.failures), stable: countsOf(stable.failures) },
    canaryKeys: { failed: keys.slice(0, canary.failures), seen: keys },
  };
}

function countsOf(failures: number): BlockCounts["canary"] {
  return { n: PER_ARM, e: failures, s: 0, v: 0, c4: 0 };
}

function armOf(random: Random): { readonly slice: Slice; readonly failures: number } {
  const failures = random.binomial(PER_ARM, FAILING);
  const successes = PER_ARM - failures;
  const byReason = REASONS.map(() => 0);
  byReason[REASON_INDEX.ok] = successes;
  byReason[REASON_INDEX.status] = failures;
  const byClass = new Array<number>(OUTCOMES.length * CODE_CLASSES.length).fill(0);
  byClass[classOf("success", 200)] = successes;
  byClass[classOf("failure", 500)] = failures;
  const durations = new Array<number>(DURATION_BOUNDS.length + 1).fill(0);
  // Around the 60 ms of the median.
  durations[4] = PER_ARM;
  const slice = {
    byReason,
    byClass,
    successes: latencies(random, successes),
    failures: latencies(random, failures),
    durations,
    durationSeconds: (PER_ARM * MEDIAN_MICROS) / 1e6,
  };
  return { slice, failures };
}

function classOf(outcome: (typeof OUTCOMES)[number], status: number): number {
  return OUTCOMES.indexOf(outcome) * CODE_CLASSES.length + codeClassIndex(status);
}

function latencies(random: Random, count: number): SparseCounts {
  const counts = new Map<number, number>();
  for (let nth = 0; nth < count; nth++) {
    const index = indexOfMicros(MEDIAN_MICROS * Math.exp(SPREAD * random.normal()));
    counts.set(index, (counts.get(index) ?? 0) + 1);
  }
  return [...counts].flat();
}

function sampleOf(random: Random): Sample {
  return {
    kind: "failure",
    method: "GET",
    path: "/orders/:id",
    reason: "status",
    status: 500,
    keyHash: random.below(2 ** 31).toString(16),
    traceId: "",
    rescued: false,
  };
}
