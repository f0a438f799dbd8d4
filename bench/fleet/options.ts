/** What may be said on the command line. */

import { parseArgs } from "node:util";

/** A run, as asked for. */
export interface Options {
  /** How many replicas, with the leader; each a fleet of its own. */
  readonly sizes: readonly number[];
  /** Length of the steady state that is measured. */
  readonly seconds: number;
  /** How often the weight is set. */
  readonly changes: number;
  /** Where the figures go as JSON; undefined: nowhere. */
  readonly json: string | undefined;
}

export const USAGE =
  "npm run bench:fleet -- [--replicas 10,100,1000] [--seconds 20] [--changes 50] [--json FILE]\n";

/** What the leader shows reaches a minute back, and all that was measured must be in it. */
const MOST_SECONDS = 40;
/** More would be told late, by looking rarely, that they are so many. */
const MOST_REPLICAS = 1000;

/** The options; throws with what is wrong with them. */
export function optionsOf(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      replicas: { type: "string", default: "10,100,1000" },
      seconds: { type: "string", default: "20" },
      changes: { type: "string", default: "50" },
      json: { type: "string" },
    },
  });
  return {
    sizes: values.replicas.split(",").map((each) => whole(each, "replicas", MOST_REPLICAS, 2)),
    seconds: whole(values.seconds, "seconds", MOST_SECONDS),
    changes: whole(values.changes, "changes", 500),
    json: values.json,
  };
}

function whole(text: string, name: string, high: number, low = 1): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < low || value > high)
    throw new Error(`--${name} takes whole numbers from ${String(low)} to ${String(high)}`);
  return value;
}
