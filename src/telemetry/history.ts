/**
 * The last hour of every route, a point each five seconds, in memory: so that whoever opens a chart sees at once what led here. Decides nothing, and is
 * gone with the process; what must last is in the journal.
 *
 * Counts are those since the start of the process, as in a route's status: a reader subtracts, and can go on with what the events tell. Kept in
 * columns, which is a third of the bytes of rows in JSON.
 */

import { ARMS, type Arm } from "../domain/split.ts";
import { millis } from "../domain/units.ts";
import type { Control } from "../engine/control.ts";
import type { Clock } from "../engine/ports.ts";
import type { RouteStatus } from "../engine/status.ts";

/** Between two points: ms. */
export const EVERY_MS = millis(5000);
/** Points at the most: an hour. */
export const POINTS = 720;

/** One arm over time; each column as long as `atMs`. */
export interface ArmHistory {
  /** Judged exchanges since start. */
  readonly requests: readonly number[];
  readonly failures: readonly number[];
  /** Over the minute before; null when nothing was measured in it. */
  readonly p50Ms: readonly (number | null)[];
  readonly p95Ms: readonly (number | null)[];
  readonly p99Ms: readonly (number | null)[];
}

/** One route over time, oldest first. */
export interface RouteHistory {
  /** Wall clock. */
  readonly atMs: readonly number[];
  readonly weight: readonly number[];
  readonly stable: ArmHistory;
  readonly canary: ArmHistory;
}

/** Remembers. */
export interface History {
  /** What is remembered of a route; undefined: nothing yet. */
  of(route: string): RouteHistory | undefined;
  close(): void;
}

const FIGURES = ["requests", "failures", "p50Ms", "p95Ms", "p99Ms"] as const;
type Columns = Record<(typeof FIGURES)[number], (number | null)[]>;
interface Kept {
  readonly atMs: number[];
  readonly weight: number[];
  readonly arms: Readonly<Record<Arm, Columns>>;
}

/** Remembers the routes of `control` from now on. */
export function keepHistory(control: Pick<Control, "routes">, clock: Clock): History {
  const kept = new Map<string, Kept>();
  const stop = clock.every(EVERY_MS, () => {
    const routes = control.routes();
    const names = new Set(routes.map(({ name }) => name));
    for (const name of kept.keys()) if (!names.has(name)) kept.delete(name);
    for (const route of routes) {
      const known = kept.get(route.name) ?? nothing();
      kept.set(route.name, known);
      add(known, route, clock.wall());
    }
  });
  return {
    of(route) {
      const known = kept.get(route);
      // Requests and failures are counts, never null.
      return known === undefined
        ? undefined
        : ({ atMs: known.atMs, weight: known.weight, ...known.arms } as RouteHistory);
    },
    close: stop,
  };
}

function nothing(): Kept {
  const columns = (): Columns => ({ requests: [], failures: [], p50Ms: [], p95Ms: [], p99Ms: [] });
  return { atMs: [], weight: [], arms: { stable: columns(), canary: columns() } };
}

function add({ atMs, weight, arms }: Kept, route: RouteStatus, now: number): void {
  put(atMs, now);
  put(weight, route.weight);
  for (const arm of ARMS)
    for (const figure of FIGURES) put(arms[arm][figure], short(route.arms[arm][figure]));
}

function put<T>(column: T[], value: T): void {
  column.push(value);
  if (column.length > POINTS) column.shift();
}

/** Hundredths of a millisecond are more than a chart shows. */
function short(value: number | null): number | null {
  return value === null ? null : Math.round(value * 100) / 100;
}
