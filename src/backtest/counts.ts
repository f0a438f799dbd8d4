/**
 * The judge's counts of one replayed route, in plain memory: what `EvidencePort` promises, and the question that is asked with every bad response of the
 * canary. One thread, so there is nothing to be agreed on.
 */

import {
  HARD_WORDS,
  hardGuards,
  peekHard,
  type HardGuards,
  type HardRule,
} from "../domain/evidence/catastrophic.ts";
import {
  enoughKeys,
  MIN_FAILED_KEYS,
  type ArmCounts,
  type BlockCounts,
} from "../domain/evidence/counting.ts";
import { indexOfMicros } from "../domain/hdr.ts";
import type { Rule } from "../domain/rule.ts";
import type { Arm } from "../domain/split.ts";
import { armedLimitsOf, slowFromOf, type SlowFrom } from "../domain/tiers.ts";
import type { CanaryKeys, EvidencePort } from "../engine/ports.ts";

/** The seconds that a peek gives the present block: blocks are a second. */
const BLOCK_S = 1;

type Counts = { -readonly [K in keyof ArmCounts]: number };
const none = (): Counts => ({ n: 0, e: 0, s: 0, v: 0, c4: 0 });

/** Counts of both arms since the last commit, and the evidence of before. */
export class ReplayCounts implements EvidencePort {
  readonly #block: Record<Arm, Counts> = { stable: none(), canary: none() };
  readonly #limits: SlowFrom;
  readonly #guards: HardGuards;
  readonly #hard = new Float64Array(HARD_WORDS);
  readonly #failedKeys = new Set<number>();
  readonly #seenKeys = new Set<number>();
  #isArmed = false;

  constructor(rules: readonly Rule[]) {
    this.#limits = slowFromOf(rules);
    this.#guards = hardGuards(armedLimitsOf(rules));
  }

  /** Counts one unforced first attempt; whether it is bad by any rule. @param latencyUs negative: not known */
  count(arm: Arm, failed: boolean, status: number, latencyUs: number): boolean {
    const counts = this.#block[arm];
    counts.n++;
    if (failed) counts.e++;
    else if (status >= 400 && status < 500) counts.c4++;
    if (latencyUs < 0) return failed;
    const index = indexOfMicros(latencyUs);
    const limits = this.#limits[arm];
    const slow = index > limits[0];
    const slower = index > limits[1];
    if (slow) counts.s++;
    if (slower) counts.v++;
    return failed || slow || slower;
  }

  /** Whether it is still to be told of keys that come to the canary. */
  get wantsKeys(): boolean {
    return this.#seenKeys.size < MIN_FAILED_KEYS;
  }

  /** A key has come to the canary. @param key a number that stands for it */
  sawKey(key: number): void {
    if (this.#seenKeys.size < MIN_FAILED_KEYS) this.#seenKeys.add(key);
  }

  /** A key has had a bad response of the canary. */
  failedKey(key: number): void {
    if (this.#failedKeys.size < MIN_FAILED_KEYS) this.#failedKeys.add(key);
  }

  /** The rule that fires were the present block committed now; null: none does, or too few keys have failed. */
  crossed(): HardRule | null {
    if (!this.#isArmed) return null;
    const rule = peekHard(this.#guards, this.#hard, 0, this.#block, BLOCK_S);
    return rule !== null && enoughKeys(this.#failedKeys.size, this.#seenKeys.size) ? rule : null;
  }

  read(): { readonly block: BlockCounts; readonly lagMs: number } {
    return { block: { stable: { ...this.#block.stable }, canary: { ...this.#block.canary } }, lagMs: 0 };
  }

  commit(_route: string, block: BlockCounts, hard: Float64Array | undefined): void {
    subtract(this.#block.stable, block.stable);
    subtract(this.#block.canary, block.canary);
    if (hard !== undefined) this.#hard.set(hard);
    this.#isArmed = hard !== undefined;
  }

  keys(): CanaryKeys {
    return { failed: [...this.#failedKeys], seen: [...this.#seenKeys] };
  }

  forgetKeys(): void {
    this.#failedKeys.clear();
    this.#seenKeys.clear();
  }
}

function subtract(from: Counts, counts: ArmCounts): void {
  from.n -= counts.n;
  from.e -= counts.e;
  from.s -= counts.s;
  from.v -= counts.v;
  from.c4 -= counts.c4;
}
