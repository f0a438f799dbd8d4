/** From the rounds of a work to rows: medians, ratios, doubts. Pure. */

import type { Figures } from "./measure.ts";
import type { Key } from "./works.ts";

/** All rounds of one target. Round k of two targets of a work were next to each other in time. */
export interface Rounds {
  readonly label: string;
  readonly kind: "direct" | "self" | "native" | "node";
  readonly rounds: readonly Figures[];
}

/** What came of one work. */
export interface Result {
  readonly name: string;
  readonly about: string;
  readonly key: Key;
  /** Whether all targets are this proxy, set up in several ways: then the first is the base. */
  readonly isOwn: boolean;
  readonly targets: readonly Rounds[];
}

/** A ratio: the median over rounds of mine ÷ theirs in the same round, with the lowest and the highest. */
export interface Ratio {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** A figure of one round. */
export type Pick = (figures: Figures) => number | null;

/** One line of a work's table: medians over rounds, and the key figure beside others'. */
export interface Row {
  readonly label: string;
  readonly requestsPerSecond: number | null;
  readonly cpuUs: number | null;
  readonly cpuMsPerMb: number | null;
  readonly p50Us: number | null;
  readonly p99Us: number | null;
  readonly p999Us: number | null;
  readonly rssMib: number | null;
  readonly idleKib: number | null;
  readonly proxyCore: number | null;
  readonly timesNginx: Ratio | null;
  readonly timesBestNode: Ratio | null;
  readonly timesBase: Ratio | null;
  readonly errors: number;
}

/** The middle value; of an even number of values the mean of the two in the middle. NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const low = sorted[Math.ceil(middle) - 1] ?? Number.NaN;
  const high = sorted[Math.floor(middle)] ?? Number.NaN;
  return (low + high) / 2;
}

/** The median of a figure; null when no round has it. */
export function medianOf(target: Rounds | undefined, pick: Pick): number | null {
  const values = (target?.rounds ?? []).map(pick).filter((each) => each !== null);
  return values.length === 0 ? null : median(values);
}

/** `mine` ÷ `theirs`, round by round: what slowed a whole round down is in both. Null without a round that both have. */
export function ratioOf(mine: Rounds | undefined, theirs: Rounds | undefined, pick: Pick): Ratio | null {
  const ratios = (mine?.rounds ?? []).flatMap((figures, round) => {
    const other = theirs?.rounds[round];
    const above = pick(figures);
    const below = other === undefined ? null : pick(other);
    return above === null || below === null || below === 0 ? [] : [above / below];
  });
  if (ratios.length === 0) return null;
  return { value: median(ratios), low: Math.min(...ratios), high: Math.max(...ratios) };
}

/** The Node library with the best median of a figure: the least of it, or the most. */
export function bestNodeOf(
  targets: readonly Rounds[],
  pick: Pick,
  best: "least" | "most",
): Rounds | undefined {
  const sign = best === "least" ? 1 : -1;
  return targets
    .filter(({ kind }) => kind === "node")
    .map((target) => ({ target, value: medianOf(target, pick) }))
    .filter((each): each is { target: Rounds; value: number } => each.value !== null)
    .toSorted((a, b) => sign * (a.value - b.value))[0]?.target;
}

/** Which end of a figure is the good one. */
export const bestEnd = (key: Key): "least" | "most" => (key === "requestsPerSecond" ? "most" : "least");

/** One row per target, in their order. */
export function rowsOf({ key, isOwn, targets }: Result): readonly Row[] {
  const pick: Pick = (each) => each[key];
  const nginx = targets.find(({ label }) => label === "nginx");
  const bestNode = bestNodeOf(targets, pick, bestEnd(key));
  return targets.map((target) => ({
    label: target.label,
    requestsPerSecond: medianOf(target, (each) => each.requestsPerSecond),
    cpuUs: medianOf(target, (each) => each.cpuUs),
    cpuMsPerMb: medianOf(target, (each) => each.cpuMsPerMb),
    p50Us: medianOf(target, (each) => each.p50Us),
    p99Us: medianOf(target, (each) => each.p99Us),
    p999Us: medianOf(target, (each) => each.p999Us),
    rssMib: medianOf(target, (each) => each.rssMib),
    idleKib: medianOf(target, (each) => each.idleKib),
    proxyCore: medianOf(target, (each) => each.proxyCore),
    timesNginx: ratioOf(target, nginx, pick),
    timesBestNode: ratioOf(target, bestNode, pick),
    timesBase: isOwn ? ratioOf(target, targets[0], pick) : null,
    errors: target.rounds.reduce((sum, each) => sum + each.errors, 0),
  }));
}

/** More than this share of a core is none left, for load and upstream. */
const FULL = 0.95;
/** A proxy that uses so much of its core is at its own limit: the rest goes to starting and ending. */
const SATURATED = 0.9;
/** More than this share of a core used by others disturbs what is measured. */
const DISTURBED = 0.15;

/** Why requests/s of a target says nothing about it; empty when its own core was full, which makes it the limit. */
export function voidOf(target: Rounds | undefined, sharesCore: boolean): string {
  const own = medianOf(target, (each) => each.proxyCore);
  if (own === null || own >= SATURATED) return "";
  const generator = medianOf(target, (each) => each.generatorCore) ?? 0;
  const upstream = medianOf(target, (each) => each.upstreamCore) ?? 0;
  const busiest = sharesCore ? generator + upstream : Math.max(generator, upstream);
  return busiest > FULL
    ? `load ${percent(generator)} and upstream ${percent(upstream)} of a core`
    : `its core only ${percent(own)} used`;
}

/** Who else was at work while a target was measured; empty when nobody to speak of. */
export function disturbanceOf(target: Rounds | undefined): string {
  const others = medianOf(target, (each) => each.othersCore) ?? 0;
  return others > DISTURBED ? `others used ${percent(others)} of a core` : "";
}

/** What makes the figures of a run doubtful, one sentence per work and kind of doubt. */
export function warningsOf(results: readonly Result[], sharesCore: boolean): readonly string[] {
  return results.flatMap(({ name, key, targets }) => {
    // Where memory or latency at a fixed rate is compared, nobody reads requests/s.
    const readsRate = key !== "rssMib" && key !== "p99Us";
    const doubts: readonly (readonly [string, (target: Rounds) => string])[] = [
      [
        "requests/s is void, CPU per request still counts",
        (each) => (readsRate ? voidOf(each, sharesCore) : ""),
      ],
      ["latency and requests/s are doubtful", disturbanceOf],
      ["requests failed", failuresOf],
    ];
    return doubts.flatMap(([doubt, why]) => {
      const told = targets.map((each) => [each.label, why(each)] as const).filter(([, text]) => text !== "");
      if (told.length === 0) return [];
      return [`${name}: ${doubt}: ${told.map(([label, text]) => `${label} (${text})`).join(", ")}`];
    });
  });
}

function failuresOf({ rounds }: Rounds): string {
  const errors = rounds.reduce((sum, each) => sum + each.errors, 0);
  return errors === 0 ? "" : String(errors);
}

/** A share as people read it. */
export function percent(share: number | null): string {
  return share === null ? "–" : `${(share * 100).toFixed(0)} %`;
}
