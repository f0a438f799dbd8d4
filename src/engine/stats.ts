/**
 * What one route has measured: windows that are judged, totals since start for metrics, and the marks of a rollout's failures for its evidence
 * pack. Takes in what the data plane drained; decides nothing.
 */

import { addEvents, ARM_EVENTS } from "../domain/event.ts";
import { DURATION_BOUNDS, type Slice } from "../domain/slice.ts";
import { CODE_CLASSES, OUTCOMES, REASONS } from "../domain/outcome.ts";
import { addCounts, ArmWindow } from "../domain/window.ts";
import { ARMS, type Arm } from "../domain/split.ts";
import { millis, type Millis } from "../domain/units.ts";
import type { ArmTotals, RouteTotals } from "./control.ts";
import { FailureMarks, RecentMarks } from "./marks.ts";
import type { RescueCounts, RouteMeasure, RouteShare } from "./ports.ts";

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

  take(evidence: Slice | undefined, forced: Slice | undefined, now: Millis, since: Millis): void {
    const before = this.#totals;
    if (evidence !== undefined) {
      this.window.add(evidence, now, since);
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

const NO_EVENTS = zeros(ARM_EVENTS.length);

/** Everything one route has measured. */
export class RouteStats {
  readonly arms: Readonly<Record<Arm, ArmStats>> = { stable: new ArmStats(), canary: new ArmStats() };
  /** Of the rollout's failures. */
  marks = new FailureMarks();
  /** Of whatever was bad of late. */
  readonly recent = new RecentMarks();
  rescues: RescueCounts = { answered: 0, failed: 0, refused: 0 };
  /** What happened to the arms since start, by `ARM_EVENTS`. */
  readonly events: Record<Arm, readonly number[]> = { stable: NO_EVENTS, canary: NO_EVENTS };
  readonly rollbacks: Record<string, number> = {};
  rollbackSeconds = 0;
  /** Judged is only what was measured after this. */
  since: Millis = millis(0);

  /** What other replicas measured: it is judged, and is none of this one's totals. */
  takeOthers(share: RouteShare, now: Millis): void {
    for (const arm of ARMS) {
      const slice = share.arms[arm];
      if (slice !== undefined) this.arms[arm].window.add(slice, now, this.since);
    }
    this.marks.take(share);
    this.recent.take(share.samples, now);
  }

  take(measure: RouteMeasure, now: Millis): void {
    for (const arm of ["stable", "canary"] as const) {
      this.arms[arm].take(measure.arms[arm], measure.forced[arm], now, this.since);
    }
    for (const arm of ARMS) this.events[arm] = addEvents(this.events[arm], measure.events[arm] ?? NO_EVENTS);
    this.marks.take(measure);
    this.recent.take(measure.samples, now);
    this.rescues = {
      answered: this.rescues.answered + measure.rescues.answered,
      failed: this.rescues.failed + measure.rescues.failed,
      refused: this.rescues.refused + measure.rescues.refused,
    };
  }

  /** Everything since start, under the route's name. */
  totalsOf(name: string): RouteTotals {
    const { arms, rescues, events, rollbacks, rollbackSeconds } = this;
    return {
      name,
      arms: { stable: arms.stable.totals, canary: arms.canary.totals },
      rescues,
      events: { ...events },
      rollbacks: { ...rollbacks },
      rollbackSeconds,
    };
  }

  countRollback(cause: string, seconds: number): void {
    this.rollbacks[cause] = (this.rollbacks[cause] ?? 0) + 1;
    this.rollbackSeconds += seconds;
  }
}
