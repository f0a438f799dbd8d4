/** What may be said on the command line. */

import { parseArgs } from "node:util";

export const PARTS = ["false-alarms", "faults", "crossing", "gate"] as const;
export type Part = (typeof PARTS)[number];

const RATES = [5, 50, 500] as const;

/** A run, as asked for. */
export interface Options {
  readonly parts: readonly Part[];
  readonly weeks: number;
  readonly rates: readonly number[];
  readonly seed: number;
  readonly json: boolean;
}

export const USAGE = `npm run bench:judge -- [--weeks N] [--only ${PARTS.join("|")}] [--rate 5|50|500] [--seed S] [--json]\n`;

/** The options; throws with what is wrong with them. */
export function optionsOf(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      weeks: { type: "string", default: "10" },
      only: { type: "string" },
      rate: { type: "string" },
      seed: { type: "string", default: "1" },
      json: { type: "boolean", default: false },
    },
  });
  return {
    parts: chosen(PARTS, values.only, "only"),
    weeks: whole(values.weeks, "weeks", 1, 10_000),
    rates: chosen(RATES, values.rate, "rate"),
    seed: whole(values.seed, "seed", 0, 2 ** 31 - 1),
    json: values.json,
  };
}

function chosen<T extends string | number>(
  all: readonly T[],
  text: string | undefined,
  name: string,
): readonly T[] {
  if (text === undefined) return all;
  const found = all.filter((each) => String(each) === text);
  if (found.length === 0) throw new Error(`--${name} is one of ${all.join(", ")}`);
  return found;
}

function whole(text: string, name: string, low: number, high: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < low || value > high)
    throw new Error(`--${name} is a whole number from ${low} to ${high}`);
  return value;
}
