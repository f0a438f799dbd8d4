/** The four parts of the benchmark, each as rows of figures beside the design's. */

import { CROSSINGS, runCrossing } from "./crossing.ts";
import { COLUMNS, FAULTS, runFault, WEIGHT, type Column, type Fault } from "./faults.ts";
import { markOf, markOfCount, quantileOf, shareOf, type Figure, type Mark } from "./figures.ts";
import { GATE_HOURS, GATES, runGate, runPoint } from "./gates.ts";
import type { Options } from "./options.ts";
import { DESIGN_WEEKS, ROWS, runHealthyWeek, SETTINGS } from "./weeks.ts";

const FAULT_RUNS = 100;
const CROSSING_RUNS = 200;
const GATE_RUNS = 2000;
/** Users of the service; each response is one's, any one's as likely as another's. */
const USERS = 20_000;

/** One figure with what the design says. */
export interface Cell {
  readonly row: string;
  readonly column: string;
  readonly what: string;
  readonly runs: number;
  readonly measured: Figure;
  readonly design: number | null;
  readonly mark: Mark;
}

/** What is told while it runs. */
export type Tell = (text: string) => void;

/** Healthy weeks that ended in a rollback, of 1,000. */
export function falseAlarms({ weeks, rates, seed }: Options, tell: Tell): readonly Cell[] {
  return SETTINGS.filter(({ perSecond }) => rates.includes(perSecond)).flatMap((setting) => {
    const column = `${setting.life}, ${setting.perSecond}/s`;
    const results = Array.from({ length: weeks }, (_, week) => runHealthyWeek(setting, seed, week));
    const trips = results.reduce((sum, week) => sum + week.trips, 0) / weeks;
    const whys = results.flatMap((week) => week.whys.at(-1) ?? []);
    tell(
      `${column}: ${trips.toFixed(2)} trips a week; rolled back by the last rule for: ${whys.join(", ") || "nothing"}`,
    );
    return ROWS.map((row, index): Cell => {
      const x = results.filter((week) => week.whys[index] !== null).length;
      const design = row.design[SETTINGS.indexOf(setting)]!;
      return {
        row: row.name,
        column,
        what: "per 1,000 weeks",
        runs: weeks,
        measured: times(1000, shareOf(x, weeks)),
        design: (design * 1000) / DESIGN_WEEKS,
        mark: markOfCount(x, weeks, design, DESIGN_WEEKS),
      };
    });
  });
}

function times(factor: number, { value, low, high }: Figure): Figure {
  return { value: factor * value, low: factor * low, high: factor * high };
}

/** Time, responses and bad ones until a faulty canary is rolled back. */
export function faults({ rates, seed }: Options, tell: Tell): readonly Cell[] {
  return FAULTS.flatMap((fault, row) => {
    tell(fault.name);
    return COLUMNS.flatMap((column, at) =>
      rates.includes(column.perSecond) ? faultCells(fault, column, [seed, row, at]) : [],
    );
  });
}

function faultCells(fault: Fault, column: Column, seeds: readonly number[]): readonly Cell[] {
  const ends = Array.from({ length: FAULT_RUNS }, (_, run) => runFault(fault, column, [...seeds, run]));
  const [seconds, responses, bad] = fault.design[column.design] ?? [null, null, null];
  const cell = (what: string, values: readonly number[], design: number | null): Cell => {
    const measured = quantileOf(values, 0.5);
    return {
      row: fault.name,
      column: column.name,
      what,
      runs: FAULT_RUNS,
      measured,
      design,
      mark: markOf(design, measured),
    };
  };
  const harmed = ends.map((end) => {
    if (end.rollback === null) return Infinity;
    return fault.slow === null ? end.served.e : end.served.s;
  });
  return [
    cell(
      "seconds",
      ends.map(({ rollback }) => rollback?.at ?? Infinity),
      seconds,
    ),
    cell(
      "responses",
      ends.map(({ rollback, served }) => (rollback === null ? Infinity : served.n)),
      responses,
    ),
    cell("bad", harmed, bad),
    cell("users harmed", harmed.map(usersOf), null),
  ];
}

/** How many of the canary's users have had one of the bad responses, as expected. */
function usersOf(bad: number): number {
  const users = USERS * WEIGHT;
  return bad === Infinity ? Infinity : Math.round(users * (1 - (1 - 1 / users) ** bad));
}

/** Failures, or responses, up to the first crossing. */
export function crossings({ seed }: Options): readonly Cell[] {
  return CROSSINGS.flatMap((crossing, row) => {
    const found = Array.from({ length: CROSSING_RUNS }, (_, run) => runCrossing(crossing, [seed, row, run]));
    return (["failures", "responses"] as const).flatMap((what) =>
      [0.5, 0.95].flatMap((share, index): readonly Cell[] => {
        const design = crossing[what]?.[index] ?? null;
        if (design === null) return [];
        const measured = quantileOf(
          found.map((each) => each[what]),
          share,
        );
        const column = share === 0.5 ? "median" : "95 %";
        return [
          {
            row: crossing.name,
            column,
            what,
            runs: CROSSING_RUNS,
            measured,
            design,
            mark: markOf(design, measured),
          },
        ];
      }),
    );
  });
}

/** When the gate opens, and for whom; beside it a five-minute point estimate. */
export function gates({ seed }: Options): readonly Cell[] {
  return GATES.flatMap(({ canary, passes, pointPasses }, row): readonly Cell[] => {
    const found = Array.from({ length: GATE_RUNS }, (_, run) => runGate(canary, [seed, row, run]));
    const name = `canary ${+(canary * 100).toFixed(2)} %, stable 0.1 %`;
    const base = { row: name, runs: GATE_RUNS };
    if (passes === null)
      return (
        [
          [0.5, "median", GATE_HOURS.median],
          [0.9, "90 %", GATE_HOURS.most],
        ] as const
      ).map(([share, column, design]) => {
        const measured = times(1 / 3600, quantileOf(found, share));
        return {
          ...base,
          column,
          what: "hours until the gate passes",
          measured,
          design,
          mark: markOf(design, measured),
        };
      });
    const points = Array.from({ length: GATE_RUNS }, (_, run) => runPoint(canary, [seed, row, run, 1]));
    const share = (what: string, flags: readonly boolean[], design: number): Cell => {
      const measured = times(100, shareOf(flags.filter(Boolean).length, flags.length));
      return {
        ...base,
        column: what,
        what: "% that pass",
        measured,
        design: design * 100,
        mark: markOf(design * 100, measured),
      };
    };
    return [
      share("gate, 8 h", found.map(Number.isFinite), passes),
      share("five-minute point estimate", points, pointPasses),
    ];
  });
}
