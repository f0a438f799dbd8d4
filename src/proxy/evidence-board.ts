/**
 * What the judge's fast tier needs, as shared words: each thread counts its exchanges in words of its own, and reads those of all threads and
 * the evidence of before, so that the thread that sees one bad response too many can take the weight away itself, in the same call.
 *
 * Counts only ever rise (modulo 2^32), so a thread that dies takes nothing along. The main thread moves `base` forward once a second, with the
 * evidence up to there; a sequence number that is odd while it does so keeps a reader from mixing two states. Source: statistics.md §3.1, §7.
 */

import type { Config } from "../config/schema.ts";
import { HARD_WORDS, peekHard, type HardGuards, type HardRule } from "../domain/evidence/catastrophic.ts";
import {
  enoughKeys,
  MIN_FAILED_KEYS,
  type ArmCounts,
  type BlockCounts,
} from "../domain/evidence/counting.ts";
import { indexOfMicros } from "../domain/hdr.ts";
import type { Arm } from "../domain/split.ts";
import { slowFromOf, type SlowFrom } from "../domain/tiers.ts";
import type { CanaryKeys, EvidencePort } from "../engine/ports.ts";

// Words of a route. The limits are indexes in the histogram's layout: what is in a higher bucket is slower.
const SEQUENCE = 0;
const ARMED = 1;
const LIMITS = 2;
const FAILED_KEYS = 6;
const SEEN_KEYS = FAILED_KEYS + MIN_FAILED_KEYS;
const BASE = 16;
const THREADS = 32;
/** Counts of one thread: two arms. A cache line, so that no thread writes in another's. */
const THREAD_WORDS = 16;

// Counts of an arm.
const N = 0;
const ERRORS = 1;
const SLOW_95 = 2;
const SLOW_99 = 3;
const CLIENT_ERRORS = 4;
const ARM_WORDS = 5;

/** The seconds that a peek gives the present block: blocks are a second. */
const BLOCK_S = 1;
/** A reader that always meets the writer gives up: the writer is about to decide itself. */
const TRIES = 3;

/** Routes whose words lie in one piece of memory, in that order. May be posted to threads. */
export interface EvidenceChunk {
  readonly names: readonly string[];
  readonly threads: number;
  readonly words: SharedArrayBuffer;
  /** The fast tier's evidence: `HARD_WORDS` numbers for each route. */
  readonly hard: SharedArrayBuffer;
}

/** One route's words. */
interface Place {
  readonly words: Int32Array;
  readonly at: number;
  readonly threads: number;
  readonly hard: Float64Array;
}

function placesOf(chunk: EvidenceChunk): readonly (readonly [string, Place])[] {
  const words = new Int32Array(chunk.words);
  const stride = strideOf(chunk.threads);
  return chunk.names.map((name, nth) => [
    name,
    {
      words,
      at: nth * stride,
      threads: chunk.threads,
      hard: new Float64Array(chunk.hard, nth * HARD_WORDS * 8, HARD_WORDS),
    },
  ]);
}

function strideOf(threads: number): number {
  return THREADS + threads * THREAD_WORDS;
}

/** A count of all threads. */
function sumOf({ words, at, threads }: Place, count: number): number {
  let sum = 0;
  for (let thread = 0; thread < threads; thread++)
    sum += Atomics.load(words, at + THREADS + thread * THREAD_WORDS + count);
  return sum;
}

/** What a count has come to since the last commit. */
function sinceBase(place: Place, count: number): number {
  return (sumOf(place, count) - place.words[place.at + BASE + count]!) >>> 0;
}

function readArm(place: Place, arm: Arm): ArmCounts {
  const from = firstOf(arm);
  return {
    n: sinceBase(place, from + N),
    e: sinceBase(place, from + ERRORS),
    s: sinceBase(place, from + SLOW_95),
    v: sinceBase(place, from + SLOW_99),
    c4: sinceBase(place, from + CLIENT_ERRORS),
  };
}

function firstOf(arm: Arm): number {
  return arm === "canary" ? ARM_WORDS : 0;
}

/** The keys in places that are taken. */
function keysIn({ words, at }: Place, first: number): readonly number[] {
  const keys: number[] = [];
  for (let nth = 0; nth < MIN_FAILED_KEYS; nth++) {
    const key = Atomics.load(words, at + first + nth);
    if (key !== 0) keys.push(key);
  }
  return keys;
}

/** How many of the key places are taken. */
function countKeys({ words, at }: Place, first: number): number {
  let count = 0;
  for (let nth = 0; nth < MIN_FAILED_KEYS; nth++) if (Atomics.load(words, at + first + nth) !== 0) count++;
  return count;
}

/** The main thread's side. */
export class EvidenceBoard {
  readonly #threads: number;
  readonly #chunks: EvidenceChunk[] = [];
  readonly #places = new Map<string, Place>();

  /** @param threads how many count, at the most */
  constructor(threads: number) {
    this.#threads = threads;
  }

  /** Everything a new thread needs. */
  get chunks(): readonly EvidenceChunk[] {
    return [...this.#chunks];
  }

  /** Makes room for the routes that are not there yet; undefined when there are none. */
  grow(names: readonly string[]): EvidenceChunk | undefined {
    const missing = names.filter((name) => !this.#places.has(name));
    if (missing.length === 0) return undefined;
    const chunk = {
      names: missing,
      threads: this.#threads,
      words: new SharedArrayBuffer(missing.length * strideOf(this.#threads) * 4),
      hard: new SharedArrayBuffer(missing.length * HARD_WORDS * 8),
    };
    for (const [name, place] of placesOf(chunk)) this.#places.set(name, place);
    this.#chunks.push(chunk);
    return chunk;
  }

  /** From which bucket on responses count as slow; binds the next exchange. */
  limit(route: string, { canary, stable }: SlowFrom): void {
    const place = this.#place(route);
    [...stable, ...canary].forEach((index, nth) =>
      Atomics.store(place.words, place.at + LIMITS + nth, Math.min(index, 2 ** 31 - 1)),
    );
  }

  /** What was counted since `commit`; changes nothing. */
  read(route: string): BlockCounts {
    const place = this.#place(route);
    return { stable: readArm(place, "stable"), canary: readArm(place, "canary") };
  }

  /**
   * Takes what `read` has just given as committed: the next block begins behind it.
   *
   * @param hard the evidence with it, `HARD_WORDS` numbers; undefined: threads decide nothing about this route
   */
  commit(route: string, block: BlockCounts, hard: Float64Array | undefined): void {
    const place = this.#place(route);
    const { words, at } = place;
    Atomics.add(words, at + SEQUENCE, 1);
    for (const [arm, counts] of [
      ["stable", block.stable],
      ["canary", block.canary],
    ] as const) {
      const from = at + BASE + firstOf(arm);
      [counts.n, counts.e, counts.s, counts.v, counts.c4].forEach(
        (count, nth) => (words[from + nth] = (words[from + nth]! + count) | 0),
      );
    }
    if (hard !== undefined) place.hard.set(hard);
    Atomics.store(words, at + ARMED, hard === undefined ? 0 : 1);
    Atomics.add(words, at + SEQUENCE, 1);
  }

  /** Distinct keys since `forgetKeys`, up to `MIN_FAILED_KEYS` of each. */
  keys(route: string): CanaryKeys {
    const place = this.#place(route);
    return { failed: keysIn(place, FAILED_KEYS), seen: keysIn(place, SEEN_KEYS) };
  }

  /** Evidence begins anew, and with it who was seen. */
  forgetKeys(route: string): void {
    const { words, at } = this.#place(route);
    for (let nth = 0; nth < 2 * MIN_FAILED_KEYS; nth++) Atomics.store(words, at + FAILED_KEYS + nth, 0);
  }

  #place(route: string): Place {
    const place = this.#places.get(route);
    if (place === undefined) throw new RangeError(`there is no evidence of the route "${route}"`);
    return place;
  }
}

/** Puts the limits of a configuration's rules in force; there is room for each of its routes. */
export function limitEvidence(board: EvidenceBoard, config: Config): void {
  for (const { name, rollback } of config.routes) board.limit(name, slowFromOf(rollback.onAny));
}

/** The board as the engine sees it. @param lagMs how late the latest thread was of late */
export function evidencePort(board: EvidenceBoard, lagMs: () => number): EvidencePort {
  return {
    read: (route) => ({ block: board.read(route), lagMs: lagMs() }),
    commit: (route, block, hard) => board.commit(route, block, hard),
    keys: (route) => board.keys(route),
    forgetKeys: (route) => board.forgetKeys(route),
  };
}

/** A thread's side. */
export class EvidenceReader {
  readonly #index: number;
  readonly #cells = new Map<string, EvidenceCell>();

  /** @param index of this thread among those that count */
  constructor(index: number) {
    this.#index = index;
  }

  /** Takes in the words of more routes. */
  add(chunk: EvidenceChunk): void {
    for (const [name, place] of placesOf(chunk)) this.#cells.set(name, new EvidenceCell(place, this.#index));
  }

  /** A route's words, to be kept. Throws when there are none. */
  cell(route: string): EvidenceCell {
    const cell = this.#cells.get(route);
    if (cell === undefined) throw new RangeError(`there is no evidence of the route "${route}"`);
    return cell;
  }
}

/** One route's evidence, as one thread counts it and reads that of all. */
export class EvidenceCell {
  readonly #place: Place;
  readonly #own: number;
  readonly #hard = new Float64Array(HARD_WORDS);

  constructor(place: Place, index: number) {
    this.#place = place;
    this.#own = place.at + THREADS + index * THREAD_WORDS;
  }

  /**
   * Counts one unforced first attempt; whether it is bad by any rule.
   *
   * @param latencyUs negative: not known
   */
  count(arm: Arm, failed: boolean, status: number, latencyUs: number): boolean {
    const { words, at } = this.#place;
    const from = this.#own + firstOf(arm);
    words[from + N]! += 1;
    if (failed) words[from + ERRORS]! += 1;
    else if (status >= 400 && status < 500) words[from + CLIENT_ERRORS]! += 1;
    if (latencyUs < 0) return failed;
    const index = indexOfMicros(latencyUs);
    const limits = at + LIMITS + (arm === "canary" ? 2 : 0);
    const slow = index > words[limits]!;
    const slower = index > words[limits + 1]!;
    if (slow) words[from + SLOW_95]! += 1;
    if (slower) words[from + SLOW_99]! += 1;
    return failed || slow || slower;
  }

  /** Whether it is still to be told of keys that come to the canary. */
  get wantsKeys(): boolean {
    return Atomics.load(this.#place.words, this.#place.at + SEEN_KEYS + MIN_FAILED_KEYS - 1) === 0;
  }

  /** Whether it is still to be told of keys that failed on the canary. */
  get wantsFailed(): boolean {
    // Not the last place alone: one that was taken while the places were emptied would end the counting below five.
    return countKeys(this.#place, FAILED_KEYS) < MIN_FAILED_KEYS;
  }

  /** A key has come to the canary. @param key a number that stands for it, not 0 */
  sawKey(key: number): void {
    this.#note(SEEN_KEYS, key);
  }

  /** A key has had a bad response of the canary. */
  failedKey(key: number): void {
    this.#note(FAILED_KEYS, key);
  }

  /** The rule that fires on the evidence of all threads, were the present block committed now; null: none does, or too few keys have failed. */
  crossed(guards: HardGuards): HardRule | null {
    const place = this.#place;
    const { words, at } = place;
    if (Atomics.load(words, at + ARMED) === 0) return null;
    for (let tries = 0; tries < TRIES; tries++) {
      const before = Atomics.load(words, at + SEQUENCE);
      if ((before & 1) !== 0) continue;
      const block = { stable: readArm(place, "stable"), canary: readArm(place, "canary") };
      this.#hard.set(place.hard);
      if (Atomics.load(words, at + SEQUENCE) !== before) continue;
      const rule = peekHard(guards, this.#hard, 0, block, BLOCK_S);
      return rule !== null && enoughKeys(countKeys(place, FAILED_KEYS), countKeys(place, SEEN_KEYS))
        ? rule
        : null;
    }
    return null;
  }

  #note(first: number, key: number): void {
    const { words, at } = this.#place;
    for (let nth = 0; nth < MIN_FAILED_KEYS; nth++) {
      const found = Atomics.load(words, at + first + nth);
      if (found === key) return;
      if (found !== 0) continue;
      const raced = Atomics.compareExchange(words, at + first + nth, 0, key);
      if (raced === 0 || raced === key) return;
    }
  }
}
