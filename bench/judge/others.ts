/**
 * Small models of how others judge, for comparison. Models: written from their documentation, with the limits of this product and no more of their
 * machinery than the simulation needs. They say about what such a rule does to a canary, not what those programs do.
 */

import { HARD_LIMITS } from "../../src/domain/evidence/catastrophic.ts";
import { addSparse, emptyCounts, quantilesOf, type Counts } from "../../src/domain/latency.ts";
import { Random } from "./random.ts";
import { Watching } from "./shipped.ts";
import { Trailing, type Sums } from "./trailing.ts";
import type { Second } from "./world.ts";

/** Whether any of the three limits is broken; no minimum of responses. */
function isOver({ n, e, s, v }: Sums): boolean {
  const { errors, p95, p99 } = HARD_LIMITS;
  return e > errors! * n || s > p95! * n || v > p99! * n;
}

/** The plan's rule by its letter: the rate over the last five minutes, at any time, with however few responses. */
export class LiteralWindow extends Watching {
  readonly #last = new Trailing(300);

  protected judged({ canary }: Second): string | null {
    return isOver(this.#last.add(canary)) ? "window" : null;
  }
}

const MINUTE_S = 60;
const FAILED_CHECKS = 5;

/** Flagger: a check a minute over the last minute; the fifth that fails rolls back. Checks that went well in between change nothing. */
export class FlaggerLike extends Watching {
  readonly #last = new Trailing(MINUTE_S);
  #failed = 0;

  protected judged({ canary, at }: Second): string | null {
    const sums = this.#last.add(canary);
    if (at % MINUTE_S === MINUTE_S - 1 && isOver(sums)) this.#failed++;
    return this.#failed >= FAILED_CHECKS ? "checks" : null;
  }
}

const HOUR_MINUTES = 60;
const ALLOWED_INCREASE = 1.25;
/** Far stricter than Kayenta's own 98 %, with which some metric of a healthy week always fails. */
const Z = 4;

const METRICS = ["errors", "p50", "p95", "p99"] as const;

/** A minute's value of each metric. */
interface Minute {
  readonly canary: readonly number[];
  readonly stable: readonly number[];
}

/**
 * Kayenta: every hour, each metric's sixty minutes of the canary against stable's. A metric fails when Mann and Whitney's test says that the canary is
 * higher and its mean is so by a quarter (`allowedIncrease`); one that fails ends the rollout, as a metric marked critical does. The larger
 * arm is thinned to the size of the smaller, since Kayenta's baseline is as large as its canary.
 */
export class KayentaLike extends Watching {
  readonly #canary = new Trailing(MINUTE_S);
  readonly #stable = new Trailing(MINUTE_S);
  readonly #canaryLatency = emptyCounts();
  readonly #stableLatency = emptyCounts();
  readonly #random = new Random(1);
  #hour: Minute[] = [];
  #from = 0;

  override step(at: number): void {
    this.#hour = [];
    this.#from = at;
  }

  protected judged(second: Second): string | null {
    const end = second.at + 1;
    const canary = this.#canary.add(second.canary);
    const stable = this.#stable.add(second.stable);
    addSparse(this.#canaryLatency, second.canaryLatency);
    addSparse(this.#stableLatency, second.stableLatency);
    if (end % MINUTE_S !== 0) return null;
    // A minute without a response is no value.
    if (canary.n > 0 && stable.n > 0)
      this.#hour.push({
        canary: this.#metrics(canary, this.#canaryLatency, stable.n),
        stable: this.#metrics(stable, this.#stableLatency, canary.n),
      });
    if ((end - this.#from) % (MINUTE_S * HOUR_MINUTES) !== 0) return null;
    const hour = this.#hour;
    this.#hour = [];
    const failed = METRICS.findIndex((_, metric) =>
      isHigh(
        hour.map((minute) => minute.canary[metric]!),
        hour.map((minute) => minute.stable[metric]!),
      ),
    );
    return METRICS[failed] ?? null;
  }

  /** One arm's minute, as if it had had no more responses than the other. The histogram is empty afterwards. */
  #metrics({ n, e }: Sums, { counts }: Counts, others: number): readonly number[] {
    const share = Math.min(1, others / n);
    const thinned = emptyCounts();
    counts.forEach((count, index) => {
      if (count === 0) return;
      const kept = this.#random.binomial(count, share);
      thinned.counts[index] = kept;
      thinned.total += kept;
    });
    counts.fill(0);
    const errors = this.#random.binomial(e, share) / Math.min(n, others);
    return [errors, ...quantilesOf(thinned, [0.5, 0.95, 0.99]).map((us) => us ?? 0)];
  }
}

/** Whether the first are higher: surely, and by enough. */
function isHigh(first: readonly number[], second: readonly number[]): boolean {
  const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0);
  return sum(first) > ALLOWED_INCREASE * sum(second) && mannWhitney(first, second) > Z;
}

/** z of Mann and Whitney's test that the first are higher, with mid-ranks and the correction for ties; 0 when all are alike. */
function mannWhitney(first: readonly number[], second: readonly number[]): number {
  const all = [
    ...first.map((value) => ({ value, isFirst: true })),
    ...second.map((value) => ({ value, isFirst: false })),
  ].sort((a, b) => a.value - b.value);
  const total = all.length;
  let ranks = 0;
  let ties = 0;
  for (let from = 0; from < total;) {
    let to = from;
    while (to < total && all[to]!.value === all[from]!.value) to++;
    const size = to - from;
    ties += size ** 3 - size;
    const rank = (from + 1 + to) / 2;
    for (let k = from; k < to; k++) if (all[k]!.isFirst) ranks += rank;
    from = to;
  }
  const n = first.length;
  const m = second.length;
  const u = ranks - (n * (n + 1)) / 2;
  const variance = ((n * m) / 12) * (total + 1 - ties / (total * (total - 1)));
  return variance > 0 ? (u - (n * m) / 2) / Math.sqrt(variance) : 0;
}
