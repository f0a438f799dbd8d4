/** What befalls services that are all right: "real life" and "shared troubles only" of statistics.md §6, drawn for one week. Pure and seeded. */

import { Random } from "./random.ts";
import { ARMS, CALM, type Arm, type Pause, type Trouble, type WorldSpec } from "./world.ts";

/** Which troubles there are. */
export type Life = "real life" | "shared troubles only";

const HOUR_S = 3600;
const DAY_S = 24 * HOUR_S;
export const WEEK_S = 7 * DAY_S;

/** Canary's share at the plan's steps with stable traffic beside it (plan.md §1.1), a fifth of the week each. */
export const STEPS = [0.05, 0.1, 0.25, 0.5, 0.75] as const;

const OUTAGES = 2;
const OUTAGE_S = 600;
const OUTAGE_SHARE = 0.5;
const BURSTS_PER_DAY = 12;
const BLIP_SHARE = 0.8;

/** A healthy week. The canary is the same as stable; what differs is chance. */
export function lifeOf(life: Life, perSecond: number, seed: number, week: number): WorldSpec {
  const random = new Random(seed, week, perSecond);
  const isReal = life === "real life";
  return {
    ...CALM,
    seeds: [seed, week, perSecond, 1],
    seconds: WEEK_S,
    perSecond,
    troubles: [
      ...outages(random),
      ...bursts(random),
      ...(isReal ? ARMS.flatMap((arm) => blips(random, arm)) : []),
    ],
    pauses: isReal ? ARMS.flatMap((arm) => pauses(random, arm)) : [],
    diurnal: 0.6,
    sharedDrift: { deviation: 0.15, memoryS: 2 * HOUR_S },
    armDrift: isReal ? { deviation: 0.03, memoryS: HOUR_S / 2 } : null,
  };
}

/** When something happens that happens so often in a day: whenever. */
function moments(random: Random, perDay: number): readonly number[] {
  return Array.from({ length: random.poisson((perDay * WEEK_S) / DAY_S) }, () => random.between(0, WEEK_S));
}

function outages(random: Random): readonly Trouble[] {
  return Array.from({ length: OUTAGES }, () => {
    const from = random.between(0, WEEK_S - OUTAGE_S);
    return { arms: ARMS, from, to: from + OUTAGE_S, share: OUTAGE_SHARE };
  });
}

function bursts(random: Random): readonly Trouble[] {
  return moments(random, BURSTS_PER_DAY).map((from) => ({
    arms: ARMS,
    from,
    to: from + random.between(5, 30),
    share: random.between(0.02, 0.2),
  }));
}

function blips(random: Random, arm: Arm): readonly Trouble[] {
  return moments(random, 1).map((from) => ({
    arms: [arm],
    from,
    to: from + random.between(1, 4),
    share: BLIP_SHARE,
  }));
}

function pauses(random: Random, arm: Arm): readonly Pause[] {
  return moments(random, DAY_S / (4 * HOUR_S)).map((from) => ({
    arm,
    from,
    to: from + random.between(1, 3),
  }));
}
