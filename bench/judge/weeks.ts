/** How many healthy canaries are rolled back within a week: the first table of statistics.md §6. */

import { lifeOf, type Life } from "./life.ts";
import { FlaggerLike, KayentaLike, LiteralWindow } from "./others.ts";
import { runWeek } from "./replay.ts";
import { AbsoluteOnly, ForFiveMinutes, RobustSustained, SHIPPED, Tiers, type Judge } from "./shipped.ts";

/** Weeks that stand behind each figure of the design. */
export const DESIGN_WEEKS = 250;

/** A column of the table. */
export interface Setting {
  readonly life: Life;
  readonly perSecond: number;
}

export const SETTINGS: readonly Setting[] = [
  { life: "real life", perSecond: 5 },
  { life: "real life", perSecond: 50 },
  { life: "real life", perSecond: 500 },
  { life: "shared troubles only", perSecond: 50 },
];

interface Row {
  readonly name: string;
  readonly judge: () => Judge;
  /** Of 250 weeks, by setting. */
  readonly design: readonly [number, number, number, number];
}

const ALL = [DESIGN_WEEKS, DESIGN_WEEKS, DESIGN_WEEKS, DESIGN_WEEKS] as const;

export const ROWS: readonly Row[] = [
  { name: "plan's literal window, no minimum", judge: () => new LiteralWindow(), design: ALL },
  { name: "`for 5m` as alerting systems do it", judge: () => new ForFiveMinutes(), design: ALL },
  { name: "Flagger-like (1 min × 5 failed checks)", judge: () => new FlaggerLike(), design: ALL },
  { name: "Kayenta-like (hourly)", judge: () => new KayentaLike(), design: [42, 19, 36, 0] },
  { name: "sequential, absolute only", judge: () => new AbsoluteOnly(), design: ALL },
  {
    name: "sequential, first crossing final",
    judge: () => new Tiers({ ...SHIPPED, confirm: false, compare: false }),
    design: [0, 248, 250, 0],
  },
  { name: "sustained, robust default", judge: () => new RobustSustained(), design: [0, 3, 6, 0] },
  { name: "trip, probe, confirm + comparative", judge: () => new Tiers(), design: [0, 1, 4, 0] },
];

/** What a week came to: why each row's canary was rolled back, null where it was not; and how often the last row's was off for ten seconds. */
export interface Week {
  readonly whys: readonly (string | null)[];
  readonly trips: number;
}

/** One healthy week before all rows at once. */
export function runHealthyWeek({ life, perSecond }: Setting, seed: number, week: number): Week {
  const judges = ROWS.map((row) => row.judge());
  const ends = runWeek(lifeOf(life, perSecond, seed, week), judges);
  const last = judges.at(-1);
  return {
    whys: judges.map((judge) => ends.get(judge)?.why ?? null),
    trips: last instanceof Tiers ? last.trips : 0,
  };
}
