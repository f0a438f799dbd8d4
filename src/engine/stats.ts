/**
 * What one route has measured: windows that are judged, totals since start for metrics, and the marks of a rollout's failures for its evidence
 * pack. Takes in what the data plane drained; decides nothing.
 *
 * Everything a client can choose (paths, keys) sits in a bounded `lru-cache`: a flood of distinct ones costs memory once and not for ever.
 */

import { LRUCache } from "lru-cache";
import { addEvents, ARM_EVENTS } from "../domain/event.ts";
import { DURATION_BOUNDS, type Slice } from "../domain/slice.ts";
import { CODE_CLASSES, OUTCOMES, REASONS } from "../domain/outcome.ts";
import { addCounts, byOutcome, ArmWindow } from "../domain/window.ts";
import { ARMS, type Arm } from "../domain/split.ts";
import { millis, type Millis } from "../domain/units.ts";
import type { ArmTotals } from "./control.ts";
import type { FailureSample, RescueCounts, RouteMeasure } from "./ports.ts";
import type { Tally } from "./status.ts";

const KEYS_COUNTED = 10_000;
const NAMES_COUNTED = 200;
const TRACES_KEPT = 20;

const zeros = (length: number): readonly number[] => new Array<number>(length).fill(0);

const NO_TOTALS: ArmTotals = {
  byReason: zeros(REASONS.length),
  byClass: zeros(OUTCOMES.length * CODE_CLASSES.length),
  durations: zeros(DURATION_BOUNDS.length + 1),
  durationSeconds: 0,
  forcedByClass: zeros(OUTCOMES.length * CODE_CLASSES.length),
};

/** One arm's window and totals. */
export class ArmStats {
  readonly window = new ArmWindow();
  #totals: ArmTotals = NO_TOTALS;

  get totals(): ArmTotals {
    return this.#totals;
  }

  take(evidence: Slice | undefined, forced: Slice | undefined, now: Millis): void {
    const before = this.#totals;
    if (evidence !== undefined) {
      this.window.add(evidence, now);
      this.#totals = {
        ...before,
        byReason: addCounts(before.byReason, evidence.byReason),
        byClass: addCounts(before.byClass, evidence.byClass),
        durations: addCounts(before.durations, evidence.durations),
        durationSeconds: before.durationSeconds + evidence.durationSeconds,
      };
    }
    if (forced !== undefined) {
      this.#totals = {
        ...this.#totals,
        forcedByClass: addCounts(this.#totals.forcedByClass, forced.byClass),
      };
    }
  }
}

/** Names and keys with bounds. The caches take all their room at once, 300 KB, so they are made when something has failed. */
class Tallies {
  readonly paths = new LRUCache<string, number>({ max: NAMES_COUNTED });
  readonly methods = new LRUCache<string, number>({ max: NAMES_COUNTED });
  readonly reasons = new LRUCache<string, number>({ max: NAMES_COUNTED });
  readonly keys = new LRUCache<string, true>({ max: KEYS_COUNTED });
}

/** What failed on the canary since the rollout began. */
export class FailureMarks {
  #tallies: Tallies | undefined;
  readonly #traces: string[] = [];
  requestsFailed = 0;
  requestsRescued = 0;

  take(measure: RouteMeasure): void {
    const slice = measure.arms.canary;
    if (slice !== undefined) this.requestsFailed += byOutcome(slice.byReason)[1];
    this.requestsRescued += measure.rescues.answered;
    for (const sample of measure.failures) this.#mark(sample, (this.#tallies ??= new Tallies()));
  }

  #mark(sample: FailureSample, tallies: Tallies): void {
    count(tallies.paths, sample.path);
    count(tallies.methods, sample.method);
    count(tallies.reasons, sample.reason === "status" ? `status ${sample.status}` : sample.reason);
    if (sample.keyHash !== "") tallies.keys.set(sample.keyHash, true);
    if (sample.traceId !== "" && this.#traces.length < TRACES_KEPT) this.#traces.push(sample.traceId);
  }

  get distinctKeys(): number {
    return this.#tallies?.keys.size ?? 0;
  }

  get keysCapped(): boolean {
    return this.distinctKeys >= KEYS_COUNTED;
  }

  get traceIds(): readonly string[] {
    return [...this.#traces];
  }

  get worstPaths(): readonly Tally[] {
    return worst(this.#tallies?.paths);
  }

  get worstMethods(): readonly Tally[] {
    return worst(this.#tallies?.methods);
  }

  get byReason(): readonly Tally[] {
    return worst(this.#tallies?.reasons);
  }
}

function count(tally: LRUCache<string, number>, name: string): void {
  tally.set(name, (tally.get(name) ?? 0) + 1);
}

function worst(tally: LRUCache<string, number> | undefined): readonly Tally[] {
  return [...(tally?.entries() ?? [])]
    .map(([name, times]) => ({ name, count: times }))
    .sort((a, b) => b.count - a.count || (a.name < b.name ? -1 : 1))
    .slice(0, 10);
}

const NO_EVENTS = zeros(ARM_EVENTS.length);

/** Everything one route has measured. */
export class RouteStats {
  readonly arms: Readonly<Record<Arm, ArmStats>> = { stable: new ArmStats(), canary: new ArmStats() };
  marks = new FailureMarks();
  rescues: RescueCounts = { answered: 0, failed: 0, refused: 0 };
  /** What happened to the arms since start, by `ARM_EVENTS`. */
  readonly events: Record<Arm, readonly number[]> = { stable: NO_EVENTS, canary: NO_EVENTS };
  readonly rollbacks: Record<string, number> = {};
  rollbackSeconds = 0;
  /** Judged is only what was measured after this. */
  since: Millis = millis(0);

  take(measure: RouteMeasure, now: Millis): void {
    for (const arm of ["stable", "canary"] as const) {
      this.arms[arm].take(measure.arms[arm], measure.forced[arm], now);
    }
    for (const arm of ARMS) this.events[arm] = addEvents(this.events[arm], measure.events[arm] ?? NO_EVENTS);
    this.marks.take(measure);
    this.rescues = {
      answered: this.rescues.answered + measure.rescues.answered,
      failed: this.rescues.failed + measure.rescues.failed,
      refused: this.rescues.refused + measure.rescues.refused,
    };
  }

  countRollback(cause: string, seconds: number): void {
    this.rollbacks[cause] = (this.rollbacks[cause] ?? 0) + 1;
    this.rollbackSeconds += seconds;
  }
}
