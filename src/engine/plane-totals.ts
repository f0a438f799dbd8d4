/** What the data plane counted since start that is about no route. */

import { addEvents, PLANE_EVENTS } from "../domain/event.ts";
import { OVERHEAD_BOUNDS } from "../domain/slice.ts";
import { addCounts } from "../domain/window.ts";
import type { Totals } from "./control.ts";
import type { PlaneMeasure } from "./ports.ts";

/** The sums. */
export class PlaneTotals {
  #refused: Record<string, number> = {};
  #events: readonly number[] = PLANE_EVENTS.map(() => 0);
  #overhead: Totals["overhead"] = {
    counts: new Array<number>(OVERHEAD_BOUNDS.length + 1).fill(0),
    seconds: 0,
  };

  take({ refused, events, overhead }: Omit<PlaneMeasure, "routes">): void {
    for (const [status, count] of Object.entries(refused)) {
      this.#refused[status] = (this.#refused[status] ?? 0) + count;
    }
    this.#events = addEvents(this.#events, events);
    this.#overhead = {
      counts: addCounts(this.#overhead.counts, overhead.counts),
      seconds: this.#overhead.seconds + overhead.seconds,
    };
  }

  get totals(): Pick<Totals, "refused" | "events" | "overhead"> {
    return { refused: { ...this.#refused }, events: this.#events, overhead: this.#overhead };
  }
}
