/**
 * Which endpoint of an arm takes an exchange: the one with fewer in flight of two drawn at random among the healthy.
 *
 * Two and not all: with every replica choosing the least loaded of all, they choose the same one at the same time (Mitzenmacher, "The power
 * of two choices"). When none is healthy all are tried (panic mode): probes may be wrong, and an answer of 502 is certain
 * otherwise.
 */

import type { Arm } from "../domain/split.ts";
import type { Dice } from "../engine/ports.ts";

/** What is asked of an endpoint here. */
export interface Load {
  readonly url: string;
  /** Exchanges on it, waiting ones included. */
  readonly inFlight: number;
}

/** Who knows about health, and chance. */
export interface Judgement {
  readonly dice: Dice;
  readonly healthy: (route: string, arm: Arm, endpoint: string) => boolean;
}

/** The endpoint of an arm for the next exchange. `endpoints` must not be empty. */
export function pick<T extends Load>(endpoints: readonly T[], route: string, arm: Arm, by: Judgement): T {
  const first = endpoints[0];
  if (first === undefined) throw new RangeError("an arm has at least one endpoint");
  if (endpoints.length === 1) return first;
  const well = endpoints.filter((each) => by.healthy(route, arm, each.url));
  const from = well.length === 0 ? endpoints : well;
  const a = from[draw(from.length, by.dice)] ?? first;
  if (from.length === 1) return a;
  let other = draw(from.length - 1, by.dice);
  if (from[other] === a) other = from.length - 1;
  const b = from[other] ?? first;
  return b.inFlight < a.inFlight ? b : a;
}

function draw(count: number, dice: Dice): number {
  return Math.min(count - 1, Math.floor(dice.random() * count));
}
