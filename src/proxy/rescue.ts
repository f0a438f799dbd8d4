/**
 * What may be sent twice. A failed canary exchange may be answered by stable: which requests, within what budget, how many at once. A request
 * whose connection was lost, or never opened, may be sent again to the same arm: within what budget. Pure but for the counters it holds;
 * time is an argument.
 *
 * Either budget is a share of the route's exchanges of the last ten seconds, of which ten always may; the guard bounds the rescues
 * in flight, so that a canary that fails for everybody does not double the load on stable (product.md §1, acceptance 14 and 15; reliability.md
 * 13).
 */

import type { RescueConfig } from "../config/schema.ts";
import type { Reason } from "../domain/outcome.ts";
import { FULL, type Millis, type Ppm } from "../domain/units.ts";
import type { RequestView } from "./request.ts";

const SLICES = 10;
const SLICE_MS = 1000;
const ALWAYS = 10;

/** The budgets and the guard of one route. */
export class RescueBudget {
  readonly #exchanges = new Array<number>(SLICES).fill(0);
  readonly #rescues = new Array<number>(SLICES).fill(0);
  readonly #retries = new Array<number>(SLICES).fill(0);
  #slice = 0;
  #inFlight = 0;

  /** Rescues in flight. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Counts one exchange of the route. */
  count(now: Millis): void {
    const at = this.#advance(now);
    this.#exchanges[at] = (this.#exchanges[at] ?? 0) + 1;
  }

  /** Takes one rescue from the budget; false when it, or the guard, is exhausted. Each true needs one `release`. */
  take(now: Millis, share: Ppm, concurrency: number): boolean {
    const at = this.#advance(now);
    if (this.#inFlight >= concurrency || !this.#allows(this.#rescues, share)) return false;
    this.#rescues[at] = (this.#rescues[at] ?? 0) + 1;
    this.#inFlight++;
    return true;
  }

  /** Takes one sending again from its budget; false when that is exhausted. */
  retry(now: Millis, share: Ppm): boolean {
    const at = this.#advance(now);
    if (!this.#allows(this.#retries, share)) return false;
    this.#retries[at] = (this.#retries[at] ?? 0) + 1;
    return true;
  }

  /** A rescue has ended. */
  release(): void {
    this.#inFlight--;
  }

  #allows(taken: readonly number[], share: Ppm): boolean {
    return sum(taken) + 1 <= Math.max(ALWAYS, (sum(this.#exchanges) * share) / FULL);
  }

  #advance(now: Millis): number {
    const slice = Math.floor(now / SLICE_MS);
    const steps = Math.min(SLICES, slice - this.#slice);
    for (let step = 1; step <= steps; step++) {
      const at = (this.#slice + step) % SLICES;
      this.#exchanges[at] = 0;
      this.#rescues[at] = 0;
      this.#retries[at] = 0;
    }
    if (steps >= SLICES) {
      this.#exchanges.fill(0);
      this.#rescues.fill(0);
      this.#retries.fill(0);
    }
    if (steps > 0) this.#slice = slice;
    return this.#slice % SLICES;
  }
}

function sum(counts: readonly number[]): number {
  let total = 0;
  for (const count of counts) total += count;
  return total;
}

/** Whether a request of this kind may be sent twice at all: by method, or because it carries an Idempotency-Key. */
export function isRescuable(config: RescueConfig | "off", view: RequestView): boolean {
  if (config === "off") return false;
  // Method names are case-sensitive (RFC 9110 §9.1), so no folding.
  return (
    config.methods.some((method) => method === view.method) || (view.header("idempotency-key") ?? "") !== ""
  );
}

/** Whether a failure of this kind is rescued. */
export function isRescued(config: RescueConfig, reason: Reason): boolean {
  switch (reason) {
    case "connect":
      return config.on.includes("connect");
    case "timeout":
      return config.on.includes("timeout");
    case "reset":
    case "malformed":
      return config.on.includes("reset");
    case "status":
    case "grpc":
      return config.on.includes("5xx");
    case "ok":
    case "cut":
    case "client_gone":
    case "refused":
    case "unavailable":
    case "known_issue":
      return false;
    default:
      return reason satisfies never;
  }
}
