/**
 * The trailing time that is judged: one arm's slices, newest last, for five minutes. Pure; time is an argument.
 *
 * Slices are kept sparse and only added up when somebody reads, once per tick and window length: a quiet arm costs nothing, a busy one some
 * ten microseconds. A weight change throws nothing away: the judge reads from the change on (`since`), people read the whole window.
 */

import { addSparse, emptyCounts, quantilesOf, type Counts } from "./latency.ts";
import { OUTCOMES, REASONS, kindOf } from "./outcome.ts";
import type { Slice } from "./slice.ts";
import type { Millis } from "./units.ts";

/** How long slices are kept. */
export const KEPT_MS = 300_000;
const SLICE_MS = 1000;

/** Latency over a window, ms; null when there was none. */
export interface Latency {
  /** Exchanges whose latency is known. */
  readonly n: number;
  readonly p50: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
}

/** One arm over one window: an immutable reading. */
export interface Reading {
  /** Success + failure. */
  readonly requests: number;
  readonly failures: number;
  readonly excluded: number;
  /** Over successes and failures. */
  readonly all: Latency;
  /** Over successes only. */
  readonly successes: Latency;
}

/** One arm's histograms over one window, µs. */
export interface Histograms {
  readonly all: Counts;
  readonly successes: Counts;
  readonly failures: Counts;
}

const NO_LATENCY: Latency = { n: 0, p50: null, p95: null, p99: null };
const NOTHING: Reading = { requests: 0, failures: 0, excluded: 0, all: NO_LATENCY, successes: NO_LATENCY };

interface Entry {
  /** When its slice was taken. */
  at: number;
  slice: Slice;
  /** What it comes to, for it is asked every second for minutes. */
  outcomes: readonly [number, number, number];
}

/** Where a reading is added up. It is made on every tick, and nothing of this outlives it. */
const SCRATCH = emptyCounts();

const OUTCOME_OF_INDEX = REASONS.map((reason) => OUTCOMES.indexOf(kindOf(reason)));
const EXCLUDED = OUTCOMES.indexOf("excluded");

/** Successes, failures and excluded of counts by reason, in the order of `OUTCOMES`. */
export function byOutcome(byReason: readonly number[]): readonly [number, number, number] {
  const sums: [number, number, number] = [0, 0, 0];
  byReason.forEach((count, index) => {
    // A reason of a newer program is no evidence; the list holds every outcome.
    sums[(OUTCOME_OF_INDEX[index] ?? EXCLUDED) as 0 | 1 | 2] += count;
  });
  return sums;
}

/** Two slices as one. */
export function mergeSlices(a: Slice, b: Slice): Slice {
  return {
    byReason: addCounts(a.byReason, b.byReason),
    byClass: addCounts(a.byClass, b.byClass),
    successes: [...a.successes, ...b.successes],
    failures: [...a.failures, ...b.failures],
    durations: addCounts(a.durations, b.durations),
    durationSeconds: a.durationSeconds + b.durationSeconds,
  };
}

/** Two arrays of counts, added place by place; the shorter one counts as zeros. */
export function addCounts(a: readonly number[], b: readonly number[]): readonly number[] {
  const longer = a.length >= b.length ? a : b;
  return longer.map((_, index) => (a[index] ?? 0) + (b[index] ?? 0));
}

/** One arm's slices of the last five minutes. */
export class ArmWindow {
  #entries: Entry[] = [];

  /**
   * Takes in what was measured up to `now`. Slices of the same second become one, so that reading often costs no memory; but for those on either side of
   * `since`, from where on is judged.
   */
  add(slice: Slice, now: Millis, since: number = -Infinity): void {
    const last = this.#entries.at(-1);
    const isSameSecond = last !== undefined && Math.floor(last.at / SLICE_MS) === Math.floor(now / SLICE_MS);
    if (isSameSecond && last.at > since) {
      last.at = now;
      last.slice = mergeSlices(last.slice, slice);
      last.outcomes = byOutcome(last.slice.byReason);
    } else {
      this.#entries.push({ at: now, slice, outcomes: byOutcome(slice.byReason) });
    }
    const oldest = this.#entries.findIndex((entry) => entry.at > now - KEPT_MS);
    if (oldest > 0) this.#entries.splice(0, oldest);
  }

  /** What was measured in the `windowMs` up to `now`, and after `since`. */
  read(windowMs: Millis, now: Millis, since: Millis): Reading {
    const from = Math.max(now - windowMs, since);
    // A quiet arm is read on every tick, too: it must not cost three histograms.
    const last = this.#entries.at(-1);
    if (last === undefined || last.at <= from) return NOTHING;
    SCRATCH.counts.fill(0);
    SCRATCH.total = 0;
    let [successes, failures, excluded] = [0, 0, 0];
    const entries = this.#after(from);
    for (const { slice, outcomes } of entries) {
      successes += outcomes[0];
      failures += outcomes[1];
      excluded += outcomes[2];
      addSparse(SCRATCH, slice.successes);
    }
    const ok = latencyOf(SCRATCH);
    for (const { slice } of entries) addSparse(SCRATCH, slice.failures);
    const all = SCRATCH.total === ok.n ? ok : latencyOf(SCRATCH);
    return { requests: successes + failures, failures, excluded, all, successes: ok };
  }

  /** The histograms behind `read`. */
  histograms(windowMs: Millis, now: Millis, since: Millis): Histograms {
    const from = Math.max(now - windowMs, since);
    const all = emptyCounts();
    const successes = emptyCounts();
    const failures = emptyCounts();
    for (const { slice } of this.#after(from)) {
      addSparse(successes, slice.successes);
      addSparse(failures, slice.failures);
      addSparse(all, slice.successes);
      addSparse(all, slice.failures);
    }
    return { all, successes, failures };
  }

  #after(from: number): readonly Entry[] {
    return this.#entries.filter(({ at }) => at > from);
  }
}

function latencyOf(counts: Counts): Latency {
  const [p50 = null, p95 = null, p99 = null] = quantilesOf(counts, [0.5, 0.95, 0.99]).map((us) =>
    us === null ? null : us / 1000,
  );
  return { n: counts.total, p50, p95, p99 };
}
