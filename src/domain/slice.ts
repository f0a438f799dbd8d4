/**
 * What one arm measured in one piece of time: counts by reason, by outcome and code class, and latency histograms. Pure.
 *
 * Two forms. `LiveSlice` is written on the hot path: plain additions into typed arrays, nothing allocated per exchange. `Slice` is
 * what travels (to the control plane, later from worker to main and from replica to leader): immutable, sparse, and mergeable by
 * plain addition, so that it does not matter who measured.
 *
 * Successes and failures keep histograms of their own: "all" is their sum, and "successes only" is what shows that a canary whose
 * errors are fast has slow answers (product.md §2.7).
 */

import { COUNTS_LENGTH, indexOfMicros } from "./latency.ts";
import { CODE_CLASSES, OUTCOMES, REASONS, REASON_INDEX, codeClassIndex, kindOf } from "./outcome.ts";

/** Upper bounds in seconds of the request-duration histogram (OpenTelemetry's advice); one more bucket is above the last. */
export const DURATION_BOUNDS = [
  0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
] as const;

/** Upper bounds in seconds of the histogram of the proxy's own time per exchange; one more bucket is above the last. */
export const OVERHEAD_BOUNDS = [
  0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1,
] as const;

/** A histogram's counts without its zeros: index, count, index, count, … An index may come more than once. */
export type SparseCounts = readonly number[];

/** One arm, one piece of time. Every number is a count unless its name says otherwise. */
export interface Slice {
  /** By reason, in the order of `REASONS`. */
  readonly byReason: readonly number[];
  /** By outcome and code class: index = outcome × CODE_CLASSES.length + class. */
  readonly byClass: readonly number[];
  /** Judged latency of successes, HDR layout of `latency.ts`, µs. */
  readonly successes: SparseCounts;
  /** Judged latency of failures, HDR layout of `latency.ts`, µs. */
  readonly failures: SparseCounts;
  /** Whole-exchange time of what was answered, by `DURATION_BOUNDS`, not cumulated. */
  readonly durations: readonly number[];
  /** Sum of those times, seconds. */
  readonly durationSeconds: number;
}

const OUTCOME_OF_REASON = REASONS.map((reason) => OUTCOMES.indexOf(kindOf(reason)));
const OK = REASON_INDEX.ok;

/** The counters of one arm since they were last taken. Written by the data plane, one `record` per exchange. */
export class LiveSlice {
  #byReason = new Array<number>(REASONS.length).fill(0);
  #byClass = new Array<number>(OUTCOMES.length * CODE_CLASSES.length).fill(0);
  #durations = new Array<number>(DURATION_BOUNDS.length + 1).fill(0);
  #durationSeconds = 0;
  // 13 KB each: made with the first latency, so that ten thousand quiet routes cost nothing.
  #successes: Uint32Array | undefined;
  #failures: Uint32Array | undefined;
  #count = 0;

  /**
   * Counts one exchange.
   *
   * @param reason     index in `REASONS`
   * @param status     the status the client got, 0 for none
   * @param latencyUs  request fully sent → response head, µs; negative: not known, not counted
   * @param totalUs    request head read → exchange settled, µs
   */
  record(reason: number, status: number, latencyUs: number, totalUs: number): void {
    const outcome = OUTCOME_OF_REASON[reason] ?? 2;
    bump(this.#byReason, reason);
    bump(this.#byClass, outcome * CODE_CLASSES.length + codeClassIndex(status));
    this.#count++;
    if (outcome === 2) return;
    if (latencyUs >= 0) {
      const histogram =
        reason === OK
          ? (this.#successes ??= new Uint32Array(COUNTS_LENGTH))
          : (this.#failures ??= new Uint32Array(COUNTS_LENGTH));
      // Always within the layout, hence the assertion on the next line.
      const index = indexOfMicros(latencyUs);
      histogram[index]! += 1;
    }
    const seconds = totalUs / 1e6;
    let bucket = 0;
    while (bucket < DURATION_BOUNDS.length && seconds > DURATION_BOUNDS[bucket]!) bucket++;
    bump(this.#durations, bucket);
    this.#durationSeconds += seconds;
  }

  /** What was recorded since the last call, or undefined when nothing was; starts again from zero. */
  take(): Slice | undefined {
    if (this.#count === 0) return undefined;
    const slice: Slice = {
      byReason: this.#byReason.slice(),
      byClass: this.#byClass.slice(),
      successes: drain(this.#successes),
      failures: drain(this.#failures),
      durations: this.#durations.slice(),
      durationSeconds: this.#durationSeconds,
    };
    this.#byReason.fill(0);
    this.#byClass.fill(0);
    this.#durations.fill(0);
    this.#durationSeconds = 0;
    this.#count = 0;
    return slice;
  }
}

function bump(counts: number[], index: number): void {
  counts[index] = (counts[index] ?? 0) + 1;
}

function drain(counts: Uint32Array | undefined): SparseCounts {
  if (counts === undefined) return [];
  const sparse: number[] = [];
  for (let index = 0; index < counts.length; index++) {
    const count = counts[index]!;
    if (count > 0) {
      sparse.push(index, count);
      counts[index] = 0;
    }
  }
  return sparse;
}
