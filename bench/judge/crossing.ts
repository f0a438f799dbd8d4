/** How many responses it takes until the canary is off for the first time: the first paragraph below the tables of statistics.md §6. */

import { runStep } from "./replay.ts";
import { Tiers } from "./shipped.ts";
import { ARMS, CALM } from "./world.ts";

/** A first crossing, as the design has it: median and 95 %. */
export interface Crossing {
  readonly name: string;
  readonly weight: number;
  /** The share that fails. */
  readonly share: number;
  /** Seconds of health before. */
  readonly after: number;
  readonly failures: readonly [median: number, most: number | null];
  readonly responses: readonly [median: number, most: number] | null;
}

const HOUR_S = 3600;
const PER_SECOND = 50;
/** Time enough for a fault to be seen. */
const PATIENCE_S = 600;

const all = (weight: number, after: number, failures: readonly [number, number]): Crossing => ({
  name: `all fail at ${weight * 100} %, ${after === 0 ? "from the start" : "after a healthy hour"}`,
  weight,
  share: 1,
  after,
  failures,
  responses: null,
});

export const CROSSINGS: readonly Crossing[] = [
  all(0.05, 0, [4, 5]),
  all(0.1, 0, [5, 6]),
  all(0.5, 0, [11, 17]),
  all(0.05, HOUR_S, [7, 9]),
  all(0.1, HOUR_S, [9, 11]),
  all(0.5, HOUR_S, [22, 30]),
  {
    name: "30 % fail at 10 %, from the start",
    weight: 0.1,
    share: 0.3,
    after: 0,
    failures: [6, null],
    responses: [19, 36],
  },
];

/** Responses and failures of the fault up to the first crossing; Infinity when there was none, or one before the fault. */
export function runCrossing(
  { weight, share, after }: Crossing,
  seeds: readonly number[],
): { readonly responses: number; readonly failures: number } {
  const tiers = new Tiers();
  const seconds = after + PATIENCE_S;
  const troubles = [{ arms: ARMS.slice(0, 1), from: after, to: seconds, share }];
  const world = { ...CALM, seeds, seconds, perSecond: PER_SECOND, troubles, latencies: false };
  let before = tiers.served;
  let passed = 0;
  runStep(world, weight, tiers, () => {
    if (++passed <= after) before = tiers.served;
    return tiers.firstTrip !== null;
  });
  const found = passed > after ? tiers.firstTrip : null;
  return {
    responses: (found?.n ?? Infinity) - before.n,
    failures: (found?.e ?? Infinity) - before.e,
  };
}
