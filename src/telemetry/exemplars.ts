/** The latest sampled trace of each bucket of the duration histogram, by route and arm: from a bar of a chart to a request that is in it. */

import type { Account } from "../domain/account.ts";
import { DURATION_BOUNDS } from "../domain/slice.ts";
import type { Arm } from "../domain/split.ts";
import type { Exemplar } from "./samples.ts";

/** Exemplars, as many as there are buckets. */
export class Exemplars {
  readonly #byRoute = new Map<string, Record<Arm, (Exemplar | undefined)[]>>();

  /** Routes that are gone are forgotten, and none but these are kept. */
  keepOnly(routes: readonly string[]): void {
    const wanted = new Set(routes);
    for (const route of this.#byRoute.keys()) if (!wanted.has(route)) this.#byRoute.delete(route);
    for (const route of wanted)
      if (!this.#byRoute.has(route)) this.#byRoute.set(route, { stable: [], canary: [] });
  }

  /** Takes an exchange that is in the histogram: unforced, and answered. */
  take({ trace, traceId, route, arm, why, status, startedAt, settledMs }: Account): void {
    if (trace === undefined || why === "forced" || status === 0) return;
    const seconds = settledMs / 1000;
    const above = DURATION_BOUNDS.findIndex((bound) => seconds <= bound);
    const arms = this.#byRoute.get(route);
    if (arms === undefined) return;
    arms[arm][above < 0 ? DURATION_BOUNDS.length : above] = {
      traceId,
      seconds,
      at: (startedAt + settledMs) / 1000,
    };
  }

  /** Of one arm, by bucket. */
  of(route: string, arm: Arm): readonly (Exemplar | undefined)[] {
    return this.#byRoute.get(route)?.[arm] ?? [];
  }
}
