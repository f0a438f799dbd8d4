/**
 * All evidence about one route's canary: the guards of every tier, the gate, and what people are shown of them. Pure; time is an argument.
 *
 * Blocks of about a second go in; blocks of ten seconds and of a minute are formed here. Everything is one array of numbers and one histogram, so
 * that a replica which takes over goes on with the very evidence that the other one had, and a restart costs nothing. Counts add
 * up over workers and replicas, so a verdict over the sum of their blocks is the verdict over the whole (statistics.md §7).
 *
 * The catastrophic tier's part may lie in shared memory: then any thread can ask it (`peekHard`) after a bad response.
 */

import { addSparse, emptyCounts } from "../latency.ts";
import type { SuccessLimit } from "../plan.ts";
import type { SparseCounts } from "../slice.ts";
import {
  commitHard,
  freshHard,
  HARD_WORDS,
  hardGuards,
  hardReadings,
  hasControl,
  resetHard,
  setControl,
  startHard,
  type HardGuards,
  type HardLimits,
  type HardReading,
  type HardRule,
} from "./catastrophic.ts";
import { COLUMN, COLUMNS } from "./columns.ts";
import {
  commitComparative,
  comparativeReadings,
  COMPARATIVE_WORDS,
  FAST_MARGIN,
  SLOW_MARGIN,
  startComparative,
  type ComparativeReading,
} from "./comparative.ts";
import { EMPTY_BLOCK, type Block, type BlockCounts } from "./counting.ts";
import { addAbove, countOf, CUT_WORDS, moveCuts } from "./cuts.ts";
import { commitGate, GATE_WORDS, gateReading, startGate, type GateReading } from "./gate.ts";
import { COMPARATIVE_BLOCK_S } from "./planning.ts";
import { shareInterval, type Interval } from "./proportion.ts";
import { newestOf, pushRow, ringOf, rowsOf, sumsOf } from "./recent.ts";
import {
  countSuccess,
  startSuccess,
  SUCCESS_WORDS,
  successReadings,
  type SuccessReading,
} from "./success.ts";
import { LONGEST_MINUTES, sustained, type Minute, type SustainedReading } from "./sustained.ts";

/** What a route is judged by. */
export interface RouteRules {
  readonly limits: HardLimits;
  /** Those of the robust sustained rules; left out: the same. */
  readonly robust?: HardLimits;
  /** The promotion gate's margin, a share: `DEFAULT_MARGIN`. */
  readonly margin: number;
  /** Its least time with evidence, seconds; left out: 15 minutes. */
  readonly leastS?: number;
}

/** Where the catastrophic tier's state lies: `HARD_WORDS` numbers from `at` on. */
export interface HardPlace {
  readonly state: Float64Array;
  readonly at: number;
}

/** A rule of the catastrophic tier with the last ten minutes as people understand them. */
export interface HardExplained extends HardReading {
  /** The canary's share of bad responses; null without responses. */
  readonly observed: number | null;
  /** Of the canary's share: Wilson's, 95 % at one look. */
  readonly interval: Interval;
  readonly n: number;
  readonly stable: { readonly n: number; readonly observed: number | null };
}

/** What was not taken as evidence because the proxy's own event loop lagged. */
export interface Discarded {
  readonly seconds: number;
  readonly responses: number;
}

/** Everything that is known, for an explanation. */
export interface Readings {
  readonly catastrophic: readonly HardExplained[];
  readonly comparative: readonly ComparativeReading[];
  /** The robust form of "for five minutes", by what it is about, over whole minutes since the weight changed. */
  readonly sustained: Readonly<Partial<Record<HardRule, SustainedReading>>>;
  /** The canary's responses of the last one to two minutes: what is known of before says nothing about silence. */
  readonly lately: number;
  /** Null when there is no concurrent stable traffic. */
  readonly gate: GateReading | null;
  /** The step's success limits, as of the last whole ten seconds. */
  readonly success: readonly SuccessReading[];
  readonly discarded: Discarded;
}

/** The evidence as a document: plain JSON. */
export interface Snapshot {
  /** Of the arrangement of numbers; another one is not read. */
  readonly layout: number;
  readonly hard: readonly number[];
  readonly rest: readonly number[];
  /** Stable's latencies since the cut points moved. */
  readonly latency: SparseCounts;
}

const LAYOUT = 2;
const ROWS = ringOf(60, COLUMNS);
// Of a minute: responses, errors, slow, very slow; of the canary, then of stable.
const PER_ARM = 4;
const MINUTES = ringOf(LONGEST_MINUTES, 2 * PER_ARM);
const MINUTE_S = 60;
const EARLY_MINUTES = 4;
// Ticks come a little early or late; a block is whole when less than half a tick is missing.
const HALF_TICK_S = 0.5;
const COLUMN_OF: Readonly<Record<HardRule, readonly [number, number]>> = {
  errors: [COLUMN.e1, COLUMN.e0],
  p95: [COLUMN.s1, COLUMN.s0],
  p99: [COLUMN.v1, COLUMN.v0],
};
const IN_MINUTE: Readonly<Record<HardRule, number>> = { errors: 1, p95: 2, p99: 3 };

// The arrangement of the rest.
const COMPARATIVE = 0;
const CUTS = COMPARATIVE + COMPARATIVE_WORDS;
const CUTS_S = CUTS + CUT_WORDS;
const GATE = CUTS_S + 1;
const SUCCESS = GATE + GATE_WORDS;
const ROW = SUCCESS + SUCCESS_WORDS;
const ROW_S = ROW + COLUMNS;
const PAST = ROW_S + 1;
const MINUTE = PAST + ROWS.words;
const MINUTE_PAST_S = MINUTE + MINUTES.columns;
const MINUTES_PAST = MINUTE_PAST_S + 1;
const DISCARDED_S = MINUTES_PAST + MINUTES.words;
const DISCARDED_N = DISCARDED_S + 1;
const REST_WORDS = DISCARDED_N + 1;

/** The same numbers as plain JSON: to spread them costs five times as much. */
function plain(words: Float64Array): number[] {
  const numbers: number[] = [];
  for (let index = 0; index < words.length; index++) numbers.push(words[index]!);
  return numbers;
}

/** The evidence of one route, from the start of a rollout to its end. */
export class RouteEvidence {
  readonly #rules: RouteRules;
  readonly #guards: HardGuards;
  readonly #hard: Float64Array;
  readonly #at: number;
  readonly #rest = new Float64Array(REST_WORDS);
  readonly #latency = emptyCounts();
  #limits: readonly SuccessLimit[] = [];
  /** Some take a thousand steps to tell, so they are told every ten seconds. */
  #success: readonly SuccessReading[] = [];
  /** Readings over whole minutes: but for the first few they change once in a minute, and are asked for once a second. */
  #byMinute: Readings["sustained"] | undefined = undefined;

  /** @param place shared memory for the catastrophic tier; memory of its own without */
  constructor(rules: RouteRules, place: HardPlace = { state: new Float64Array(HARD_WORDS), at: 0 }) {
    this.#rules = rules;
    this.#guards = hardGuards(rules.limits);
    this.#hard = place.state;
    this.#at = place.at;
  }

  /** A rollout begins: nothing is known. */
  fresh(): void {
    freshHard(this.#hard, this.#at);
    this.#rest.fill(0);
    this.#byMinute = undefined;
    this.#latency.counts.fill(0);
    this.#latency.total = 0;
  }

  /**
   * A step of the plan starts: fresh mass for every guard, and the gate, the success limits and the minutes of the sustained rule start anew. All
   * other evidence stays.
   *
   * @param concurrent whether stable gets traffic at this step; false at 100 % without a holdback
   * @param limits     the step's success limits
   */
  stageStart(concurrent: boolean, limits: readonly SuccessLimit[] = []): void {
    startHard(this.#guards, this.#hard, this.#at, concurrent);
    startComparative(this.#rest, COMPARATIVE);
    startGate(this.#rest, GATE);
    startSuccess(this.#rest, SUCCESS);
    this.reweigh(concurrent);
    this.watch(limits);
  }

  /**
   * The weight changes: another weight is another test for the sustained rule, and for nothing else.
   *
   * @param concurrent whether stable gets traffic at it
   */
  reweigh(concurrent: boolean): void {
    setControl(this.#hard, this.#at, concurrent);
    this.#rest.fill(0, MINUTE, DISCARDED_S);
    this.#byMinute = undefined;
  }

  /** The success limits of the present step, where `restore` has the counts already. */
  watch(limits: readonly SuccessLimit[]): void {
    this.#limits = limits;
    this.#success = successReadings(this.#rest, SUCCESS, limits);
  }

  /** A trip: the catastrophic tier's evidence starts again. */
  trip(): void {
    resetHard(this.#guards, this.#hard, this.#at);
  }

  /** Takes in a block of about a second: its counts, and the time that it covers in seconds. */
  commit(block: Block, seconds: number): void {
    commitHard(this.#guards, this.#hard, this.#at, block, seconds);
    countSuccess(this.#rest, SUCCESS, this.#limits, block.canary, block.canaryLatency, seconds);
    this.#addToRow(block, seconds);
    this.#addToMinute(block, seconds);
  }

  /** A block in which the event loop lagged: time passes, the counts are left out and counted. */
  discard(block: BlockCounts, seconds: number): void {
    this.#rest[DISCARDED_S]! += seconds;
    this.#rest[DISCARDED_N]! += block.canary.n + block.stable.n;
    this.commit(EMPTY_BLOCK, seconds);
  }

  /** Every rule's evidence with what was observed. */
  readings(): Readings {
    const sums = sumsOf(ROWS, this.#rest, PAST, ROW);
    const control = hasControl(this.#hard, this.#at);
    const { leastS, margin } = this.#rules;
    return {
      catastrophic: hardReadings(this.#guards, this.#hard, this.#at).map((each) => explained(each, sums)),
      comparative: comparativeReadings(this.#rest, COMPARATIVE, sums, control),
      lately: this.#rest[MINUTE]! + newestOf(MINUTES, this.#rest, MINUTES_PAST, 0),
      sustained: (this.#byMinute ??= this.#sustained()),
      gate: control ? gateReading(this.#rest, GATE, margin, leastS) : null,
      success: this.#success,
      discarded: { seconds: this.#rest[DISCARDED_S]!, responses: this.#rest[DISCARDED_N]! },
    };
  }

  /** All of it as plain JSON. */
  snapshot(): Snapshot {
    const latency: number[] = [];
    this.#latency.counts.forEach((count, index) => {
      if (count > 0) latency.push(index, count);
    });
    const hard = plain(this.#hard.subarray(this.#at, this.#at + HARD_WORDS));
    return { layout: LAYOUT, hard, rest: plain(this.#rest), latency };
  }

  /** Goes on from a snapshot; false, and nothing changed, when it is of another layout. */
  restore(snapshot: Snapshot): boolean {
    const { layout, hard, rest, latency } = snapshot;
    if (layout !== LAYOUT || hard.length !== HARD_WORDS || rest.length !== REST_WORDS) return false;
    this.fresh();
    this.#hard.set(hard, this.#at);
    this.#rest.set(rest);
    addSparse(this.#latency, latency);
    this.watch(this.#limits);
    return true;
  }

  #addToRow({ canary, stable, canaryLatency, stableLatency }: Block, seconds: number): void {
    const rest = this.#rest;
    addCounts(rest, ROW + COLUMN.n1, canary.n, canary.e, canary.s, canary.v);
    rest[ROW + COLUMN.c1]! += canary.c4;
    addCounts(rest, ROW + COLUMN.n0, stable.n, stable.e, stable.s, stable.v);
    rest[ROW + COLUMN.c0]! += stable.c4;
    if (rest[CUTS]! > 0) {
      rest[ROW + COLUMN.l1]! += countOf(canaryLatency);
      rest[ROW + COLUMN.l0]! += countOf(stableLatency);
      addAbove(rest, CUTS, SLOW_MARGIN, canaryLatency, rest, ROW + COLUMN.slow);
      addAbove(rest, CUTS, FAST_MARGIN, canaryLatency, rest, ROW + COLUMN.fast);
      addAbove(rest, CUTS, 1, stableLatency, rest, ROW + COLUMN.over);
    }
    addSparse(this.#latency, stableLatency);
    rest[ROW_S]! += seconds;
    if (rest[ROW_S]! >= COMPARATIVE_BLOCK_S - HALF_TICK_S) this.#closeRow();
  }

  #closeRow(): void {
    const rest = this.#rest;
    const seconds = rest[ROW_S]!;
    commitComparative(rest, COMPARATIVE, rest, ROW, seconds);
    const counts = {
      n1: rest[ROW + COLUMN.n1]!,
      x1: rest[ROW + COLUMN.e1]!,
      n0: rest[ROW + COLUMN.n0]!,
      x0: rest[ROW + COLUMN.e0]!,
    };
    commitGate(rest, GATE, this.#rules.margin, counts, seconds);
    // After the block that they cut, never within it.
    rest[CUTS_S]! += seconds;
    if (moveCuts(rest, CUTS, this.#latency, rest[CUTS_S]!)) rest[CUTS_S] = 0;
    pushRow(ROWS, rest, PAST, ROW);
    rest[ROW_S] = 0;
    this.#success = successReadings(rest, SUCCESS, this.#limits);
  }

  #addToMinute({ canary, stable }: Block, seconds: number): void {
    const rest = this.#rest;
    addCounts(rest, MINUTE, canary.n, canary.e, canary.s, canary.v);
    addCounts(rest, MINUTE + PER_ARM, stable.n, stable.e, stable.s, stable.v);
    rest[MINUTE_PAST_S]! += seconds;
    if (rest[MINUTES_PAST]! < EARLY_MINUTES) this.#byMinute = undefined;
    if (rest[MINUTE_PAST_S]! < MINUTE_S - HALF_TICK_S) return;
    pushRow(MINUTES, rest, MINUTES_PAST, MINUTE);
    this.#byMinute = undefined;
    rest[MINUTE_PAST_S] = 0;
  }

  #sustained(): Partial<Record<HardRule, SustainedReading>> {
    const whole = rowsOf(MINUTES, this.#rest, MINUTES_PAST);
    // The minute that is being filled says something while there are few others.
    const isEarly = whole.length < EARLY_MINUTES;
    const rows = isEarly ? [...whole, this.#rest.subarray(MINUTE, MINUTE + MINUTES.columns)] : whole;
    const limits = Object.entries(this.#rules.robust ?? this.#rules.limits) as [HardRule, number | null][];
    const readings: Partial<Record<HardRule, SustainedReading>> = {};
    for (const [rule, limit] of limits) {
      const bad = IN_MINUTE[rule];
      const minutes = rows.map((row): Minute => ({
        n1: row[0]!,
        x1: row[bad]!,
        n0: row[PER_ARM]!,
        x0: row[PER_ARM + bad]!,
      }));
      if (limit !== null) readings[rule] = sustained(minutes, limit);
    }
    return readings;
  }
}

function addCounts(into: Float64Array, at: number, n: number, e: number, s: number, v: number): void {
  into[at]! += n;
  into[at + 1]! += e;
  into[at + 2]! += s;
  into[at + 3]! += v;
}

function explained(reading: HardReading, sums: Float64Array): HardExplained {
  const [canary, stable] = COLUMN_OF[reading.rule];
  const n = sums[COLUMN.n1]!;
  const n0 = sums[COLUMN.n0]!;
  const bad = sums[canary]!;
  return {
    ...reading,
    observed: n === 0 ? null : bad / n,
    interval: shareInterval(bad, n),
    n,
    stable: { n: n0, observed: n0 === 0 ? null : sums[stable]! / n0 },
  };
}
