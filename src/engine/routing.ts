/**
 * The split in force, as an immutable value that is swapped whole.
 *
 * An exchange reads its route's entry once and keeps it; a change of weight makes a new value and disturbs nothing in flight
 * (product.md §2.15). `proxy/split-board.ts` carries it to the threads. Pure but for the one mutable reference it holds.
 */

import type { RouteConfig } from "../config/schema.ts";
import type { RolloutState } from "../domain/rollout-types.ts";
import { barsOf, type Throws } from "../domain/safety.ts";
import { NONE, type Ppm } from "../domain/units.ts";

/** How one route splits right now. */
export interface RouteSplit {
  readonly route: string;
  /** The rollout's id; empty before the first. */
  readonly rollout: string;
  readonly salt: string;
  readonly weight: Ppm;
  /** False while the route is rolled back or in an emergency: an override then reaches the canary only with `always` (product.md §2.4). */
  readonly forcedCanary: boolean;
  /** Safety switches that answer in the route's place, as bits of `BARS`; 0: none. */
  readonly bars: number;
}

/** How every route splits right now. `generation` rises by one per swap. */
export interface Split {
  readonly generation: number;
  readonly routes: ReadonlyMap<string, RouteSplit>;
}

/** Holds the split in force and hands each new one to `publish`, synchronously. */
export class Routing {
  #split: Split = { generation: 0, routes: new Map() };
  readonly #publish: (split: Split) => void;

  constructor(publish: (split: Split) => void) {
    this.#publish = publish;
  }

  /** How a route splits now; undefined before it was ever set. */
  of(route: string): RouteSplit | undefined {
    return this.#split.routes.get(route);
  }

  /** Swaps in a split in which the given routes are as given, and the others as they were. */
  set(...changed: readonly RouteSplit[]): void {
    const routes = new Map(this.#split.routes);
    for (const each of changed) routes.set(each.route, each);
    this.#replace(routes);
  }

  /** Forgets every route that is not in `names`. */
  keepOnly(names: ReadonlySet<string>): void {
    this.#replace(new Map([...this.#split.routes].filter(([name]) => names.has(name))));
  }

  #replace(routes: ReadonlyMap<string, RouteSplit>): void {
    this.#split = { generation: this.#split.generation + 1, routes };
    this.#publish(this.#split);
  }
}

/** How a route splits by its rollout's state. @param answers whether an emergency is answered, and not sent to stable */
export function splitOf(
  { name, salt }: RouteConfig,
  { id, weight, phase }: RolloutState,
  throws: Throws,
  answers: boolean,
): RouteSplit {
  // Whatever the rollout has come to: in an emergency nobody is on the canary.
  const isEmergency = throws.emergency !== undefined;
  return {
    route: name,
    rollout: id,
    salt: salt ?? id,
    weight: isEmergency ? NONE : weight,
    forcedCanary: phase !== "rolled_back" && !isEmergency,
    bars: barsOf(throws, answers),
  };
}
