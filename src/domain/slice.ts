/**
 * What one arm measured in one piece of time: counts by reason, by outcome and code class, and latency histograms. Pure.
 *
 * Three forms. `LiveSlice` is written on the hot path by one thread alone: plain additions into words that may be shared, nothing allocated per
 * exchange, nothing ever set back to zero. `SliceReader` reads the same words, in the same thread or in another one, and gives
 * what has been added since it read last; so neither waits for the other, and what a thread had counted outlives it. `Slice` is what
 * travels: immutable, sparse, and mergeable by plain addition, so that it does not matter who measured.
 *
 * Successes and failures keep histograms of their own: "all" is their sum, and "successes only" is what shows that a canary whose
 * errors are fast has slow answers (product.md §2.7).
 */

import { COUNTS_LENGTH, indexOfMicros } from "./hdr.ts";
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
  /** Judged latency of successes, layout of `hdr.ts`, µs. */
  readonly successes: SparseCounts;
  /** Judged latency of failures, layout of `hdr.ts`, µs. */
  readonly failures: SparseCounts;
  /** Whole-exchange time of what was answered, by `DURATION_BOUNDS`, not cumulated. */
  readonly durations: readonly number[];
  /** Sum of those times, seconds. */
  readonly durationSeconds: number;
}

const OUTCOME_OF_REASON = REASONS.map((reason) => OUTCOMES.indexOf(kindOf(reason)));
const EXCLUDED = OUTCOMES.indexOf("excluded");
const FAILURE = OUTCOMES.indexOf("failure");
const OK = REASON_INDEX.ok;

// The layout, in words from the start of a slice. First the sum of seconds, which takes two.
const BY_REASON = 2;
const BY_CLASS = BY_REASON + REASONS.length;
const DURATIONS = BY_CLASS + OUTCOMES.length * CODE_CLASSES.length;
/** Numbers of the two histograms; 0 until there is a latency. */
const SUCCESSES = DURATIONS + DURATION_BOUNDS.length + 1;
const FAILURES = SUCCESSES + 1;
const END = FAILURES + 1;

/** Words (4 bytes) that a slice takes: whole cache lines, so that its sum is aligned and two slices share none. */
export const SLICE_WORDS = Math.ceil(END / 16) * 16;

/** Words with two views on them. Counts are modulo 2^32: a reader that comes by once in 4 billion exchanges misses none. */
export interface Words {
  readonly counts: Uint32Array;
  /**
   * The same bytes. A sum is written by one thread while another reads it, without a lock: it is aligned, and every processor that Node 24 runs on
   * moves eight aligned bytes at once; were one to tear, one reading would be off and the next one, taken against it, would put it right.
   */
  readonly sums: Float64Array;
}

/** Two views on the same bytes; their number is a multiple of eight. */
export function wordsOver(buffer: ArrayBuffer | SharedArrayBuffer): Words {
  return { counts: new Uint32Array(buffer), sums: new Float64Array(buffer) };
}

/** Histograms by number, from 1; 13 KB each, so they are made with the first latency, and ten thousand quiet routes cost nothing. */
export interface HistogramRoom {
  /** The number of a new, empty one. */
  open(): number;
  /** The counts of one, COUNTS_LENGTH of them; undefined while this side does not know it yet. */
  find(number: number): Uint32Array | undefined;
}

/** A room that one thread keeps for itself. */
export function ownRoom(): HistogramRoom {
  const all: Uint32Array[] = [];
  return {
    open: () => all.push(new Uint32Array(COUNTS_LENGTH)),
    find: (number) => all[number - 1],
  };
}

/** Where a slice lies. */
export interface SlicePlace {
  readonly words: Words;
  /** Index of its first word, even. */
  readonly at: number;
  readonly room: HistogramRoom;
}

/** A place that is shared with nobody. */
export function ownPlace(): SlicePlace {
  return { words: wordsOver(new ArrayBuffer(SLICE_WORDS * 4)), at: 0, room: ownRoom() };
}

/** The counters of one arm. Written by one thread, one `record` per exchange; they only ever rise. */
export class LiveSlice {
  readonly #place: SlicePlace;
  readonly #counts: Uint32Array;
  readonly #sums: Float64Array;
  readonly #at: number;
  #successes: Uint32Array | undefined = undefined;
  #failures: Uint32Array | undefined = undefined;
  #reader: SliceReader | undefined = undefined;

  constructor(place: SlicePlace = ownPlace()) {
    this.#place = place;
    this.#counts = place.words.counts;
    this.#sums = place.words.sums;
    this.#at = place.at;
  }

  /**
   * Counts one exchange.
   *
   * @param reason     index in `REASONS`
   * @param status     the status the client got, 0 for none
   * @param latencyUs  request fully sent → response head, µs; negative: not known, not counted
   * @param totalUs    request head read → exchange settled, µs
   */
  record(reason: number, status: number, latencyUs: number, totalUs: number): void {
    const counts = this.#counts;
    const at = this.#at;
    const outcome = OUTCOME_OF_REASON[reason] ?? EXCLUDED;
    if (outcome !== EXCLUDED) {
      if (latencyUs >= 0) {
        const histogram =
          reason === OK
            ? (this.#successes ??= this.#open(SUCCESSES))
            : (this.#failures ??= this.#open(FAILURES));
        // Always within the layout, hence the assertion here and at every place below.
        histogram[indexOfMicros(latencyUs)]! += 1;
      }
      const seconds = totalUs / 1e6;
      let bucket = 0;
      while (bucket < DURATION_BOUNDS.length && seconds > DURATION_BOUNDS[bucket]!) bucket++;
      counts[at + DURATIONS + bucket]! += 1;
      this.#sums[at >> 1]! += seconds;
    }
    counts[at + BY_CLASS + outcome * CODE_CLASSES.length + codeClassIndex(status)]! += 1;
    // Last: a reader looks here for whether there is anything new. A reason that this program does not know is told as the last one.
    counts[at + BY_REASON + (reason < REASONS.length ? reason : REASONS.length - 1)]! += 1;
  }

  /** What was recorded since the last call, or undefined when nothing was. For a slice that its own thread reads. */
  take(): Slice | undefined {
    return (this.#reader ??= new SliceReader(this.#place)).take();
  }

  #open(which: number): Uint32Array {
    const { room } = this.#place;
    const number = room.open();
    // A room has what it has just opened.
    const histogram = room.find(number)!;
    this.#counts[this.#at + which] = number;
    return histogram;
  }
}

/** How many exchanges the slice at `at` has counted, modulo 2^32: what a reader asks before it reads more. */
export function settledIn(counts: Uint32Array, at: number): number {
  let total = 0;
  for (let index = at + BY_REASON; index < at + BY_CLASS; index++) total += counts[index]!;
  return total >>> 0;
}

/** Reads what a `LiveSlice` at the same place counts. */
export class SliceReader {
  readonly #place: SlicePlace;
  /** The words as they were read last. */
  readonly #last = new Uint32Array(SLICE_WORDS);
  #lastSeconds = 0;
  readonly #successes: CountsReader;
  readonly #failures: CountsReader;

  constructor(place: SlicePlace) {
    this.#place = place;
    this.#successes = new CountsReader(place, SUCCESSES);
    this.#failures = new CountsReader(place, FAILURES);
  }

  /** What was recorded since the last call, or undefined when nothing was. */
  take(): Slice | undefined {
    const { words, at } = this.#place;
    // Against what was read, not against what there was: whatever came in between is read now.
    const isNew = settledIn(words.counts, at) !== settledIn(this.#last, 0);
    if (!isNew && !this.#successes.isBehind && !this.#failures.isBehind) return undefined;
    const byReason = this.#taken(BY_REASON, BY_CLASS);
    const hasFailed = byReason.some((count, reason) => count > 0 && OUTCOME_OF_REASON[reason] === FAILURE);
    const seconds = words.sums[at >> 1]!;
    const slice: Slice = {
      byReason,
      byClass: this.#taken(BY_CLASS, DURATIONS),
      successes: this.#successes.take(),
      // Mostly nothing has failed, and then there is no histogram to be looked through.
      failures: hasFailed || this.#failures.isBehind ? this.#failures.take() : [],
      durations: this.#taken(DURATIONS, SUCCESSES),
      durationSeconds: seconds - this.#lastSeconds,
    };
    this.#lastSeconds = seconds;
    return slice;
  }

  #taken(from: number, to: number): readonly number[] {
    const { words, at } = this.#place;
    const differences: number[] = [];
    for (let index = from; index < to; index++) {
      const count = words.counts[at + index]!;
      differences.push((count - this.#last[index]!) >>> 0);
      this.#last[index] = count;
    }
    return differences;
  }
}

/** Reads one histogram of a slice. */
class CountsReader {
  readonly #place: SlicePlace;
  readonly #which: number;
  #counts: Uint32Array | undefined = undefined;
  #last: Uint32Array | undefined = undefined;
  /** There is a histogram that this side could not find when it looked. */
  isBehind = false;

  constructor(place: SlicePlace, which: number) {
    this.#place = place;
    this.#which = which;
  }

  take(): SparseCounts {
    const { words, at, room } = this.#place;
    const number = words.counts[at + this.#which]!;
    if (number === 0) return [];
    const counts = (this.#counts ??= room.find(number));
    this.isBehind = counts === undefined;
    if (counts === undefined) return [];
    const last = (this.#last ??= new Uint32Array(COUNTS_LENGTH));
    const sparse: number[] = [];
    for (let index = 0; index < COUNTS_LENGTH; index++) {
      const count = counts[index]!;
      if (count === last[index]) continue;
      sparse.push(index, (count - last[index]!) >>> 0);
      last[index] = count;
    }
    return sparse;
  }
}
