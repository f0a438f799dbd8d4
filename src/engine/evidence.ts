/**
 * The evidence about one route's canary, kept in step with what the data plane counts: a block a second goes in, and the fast tier's part goes
 * out to the threads, which look at it with every bad response. It exists while a rollout does.
 */

import { HARD_WORDS } from "../domain/evidence/catastrophic.ts";
import { addBlocks, cappedBad, type ArmCounts, type BlockCounts } from "../domain/evidence/counting.ts";
import { DEFAULT_MARGIN } from "../domain/evidence/gate.ts";
import { RouteEvidence, type Readings } from "../domain/evidence/route.ts";
import { murmur3 } from "../domain/hash.ts";
import type { Step } from "../domain/plan.ts";
import type { RolloutState } from "../domain/rollout-types.ts";
import type { Rule } from "../domain/rule.ts";
import type { Slice } from "../domain/slice.ts";
import { hardLimitsOf, hasFastTier, robustLimitsOf, type Keys } from "../domain/tiers.ts";
import { FULL, NONE, type Millis } from "../domain/units.ts";
import { distinctKeys } from "./shares.ts";
import type { CanaryKeys, EvidencePort, RecordedEvidence, RouteMeasure, RouteShare } from "./ports.ts";

const NO_OTHER_KEYS: CanaryKeys = { failed: [], seen: [] };
const NO_KEYS: Keys = { failed: 0, seen: 0, worst: "" };
/** Keys whose failures are remembered, to say whose they were. */
const KEYS_KEPT = 1000;
/** Evidence is some kilobytes, and a few seconds of it are soon had again. */
const RECORD_MS = 10_000;

/** What was measured since the last block, beside the counts. */
interface Pending {
  canaryLatency: number[];
  stableLatency: number[];
  /** Failures of the canary that were sampled, by key. */
  byKey: Map<string, number>;
  /** Those without a key: each of nobody in particular, and of another. */
  keyless: number;
  /** What other replicas counted. */
  others: BlockCounts | undefined;
}

/** One route's evidence. */
export class EvidenceKeeper {
  readonly #route: string;
  readonly #port: EvidencePort;
  /** Keys that other replicas have seen. */
  #otherKeys = NO_OTHER_KEYS;
  /** Up to where other replicas' measurements are in it; empty: there are none. */
  upTo = "";
  /** What the last block was counted to here; undefined when it was none, or counted too late to be evidence. */
  own: BlockCounts | undefined = undefined;
  #rules: readonly Rule[];
  #fingerprint = "";
  #evidence: RouteEvidence | undefined = undefined;
  #hard = new Float64Array(HARD_WORDS);
  #pending: Pending = nothingPending();
  /** Failures by key since the evidence began, as far as they were sampled. */
  #failures = new Map<string, number>();
  /** Responses of the canary in the last block. */
  responses = 0;
  /** What is recorded, and for how long there has been newer evidence. */
  #recorded: RecordedEvidence | undefined = undefined;
  #sinceRecordedMs = 0;

  constructor(route: string, rules: readonly Rule[], port: EvidencePort) {
    this.#route = route;
    this.#rules = rules;
    this.#port = port;
  }

  /** Other rules: what is known of the ones before says nothing about them. The same ones go on. */
  follow(rules: readonly Rule[], state: RolloutState): void {
    const isSame = JSON.stringify(rules) === JSON.stringify(this.#rules);
    this.#rules = rules;
    if (isSame || this.#evidence === undefined) return;
    this.begin(state);
  }

  /** A rollout begins, or goes on after a restart with what was `recorded`. */
  begin(state: RolloutState, recorded?: RecordedEvidence): void {
    this.end();
    const promotion = stepOf(state)?.promotion;
    this.#fingerprint = murmur3(JSON.stringify([this.#rules, promotion]), 0).toString(16);
    this.#hard = new Float64Array(HARD_WORDS);
    this.#evidence = new RouteEvidence(
      {
        limits: hardLimitsOf(this.#rules),
        robust: robustLimitsOf(this.#rules),
        margin: promotion === undefined ? DEFAULT_MARGIN : promotion.notWorseBy / FULL,
        ...(promotion === undefined ? {} : { leastS: promotion.leastMs / 1000 }),
      },
      { state: this.#hard, at: 0 },
    );
    this.#evidence.fresh();
    this.step(state);
    if (recorded?.rules === this.#fingerprint) this.#evidence.restore(recorded.snapshot);
    this.#forgetKeys();
    this.#failures.clear();
    // What came before is nobody's evidence.
    this.#pending = nothingPending();
    this.#publish(this.#port.read(this.#route).block);
  }

  /** A step of the plan starts. */
  step(state: RolloutState): void {
    const concurrent = state.weight > NONE && state.weight < FULL;
    this.#evidence?.stageStart(concurrent, stepOf(state)?.success);
    this.#recorded = undefined;
  }

  /** The weight has changed. */
  reweigh({ weight, trippedFrom }: RolloutState): void {
    // What an alarm has taken away for a moment is still meant.
    const meant = weight > NONE ? weight : trippedFrom;
    this.#evidence?.reweigh(meant < FULL);
    this.#recorded = undefined;
  }

  /** An alarm has taken the weight away: the fast tier begins anew. */
  trip(): void {
    this.#evidence?.trip();
    this.#recorded = undefined;
    this.#forgetKeys();
    this.#publish(this.#port.read(this.#route).block);
  }

  /** The rollout is over. */
  end(): void {
    if (this.#evidence === undefined) return;
    this.#evidence = undefined;
    this.#port.commit(this.#route, this.#port.read(this.#route).block, undefined);
  }

  /** Takes in what other replicas measured, as the leader: it is part of the next block. */
  takeOthers(share: RouteShare): void {
    if (this.#evidence === undefined) return;
    const { others } = this.#pending;
    this.#pending.others = others === undefined ? share.block : addBlocks(others, share.block);
    this.#otherKeys = distinctKeys(this.#otherKeys, share.keys);
    this.take(share);
  }

  /** Takes in what was measured. */
  take({ arms, samples }: Pick<RouteMeasure, "arms" | "samples">): void {
    if (this.#evidence === undefined) return;
    const { canaryLatency, stableLatency, byKey } = this.#pending;
    addLatencies(canaryLatency, arms.canary);
    addLatencies(stableLatency, arms.stable);
    for (const { kind, keyHash } of samples) {
      if (kind !== "failure") continue;
      if (keyHash === "") this.#pending.keyless++;
      else {
        byKey.set(keyHash, (byKey.get(keyHash) ?? 0) + 1);
        this.#remember(keyHash);
      }
    }
  }

  /** Closes a block. @param elapsedMs since the last one @param loopLag evidence from later loops is left out */
  commit(elapsedMs: Millis, loopLag: Millis): void {
    this.own = undefined;
    if (this.#evidence === undefined) {
      this.responses = 0;
      return;
    }
    const { block, lagMs } = this.#port.read(this.#route);
    const { canaryLatency, stableLatency, byKey, keyless, others } = this.#pending;
    this.#pending = nothingPending();
    this.#sinceRecordedMs += elapsedMs;
    const seconds = elapsedMs / 1000;
    const isLate = lagMs > loopLag;
    if (isLate) this.#evidence.discard(block, others === undefined ? seconds : 0);
    else this.own = block;
    const whole = sumOf(this.own, others);
    this.responses = (whole ?? block).canary.n;
    if (whole !== undefined) {
      const canary = capped(whole.canary, [...byKey.values(), ...new Array<number>(keyless).fill(1)]);
      this.#evidence.commit({ stable: whole.stable, canary, canaryLatency, stableLatency }, seconds);
    }
    this.#publish(block);
  }

  /** What a restart goes on from: at most ten seconds old; undefined without a rollout. */
  get recorded(): RecordedEvidence | undefined {
    if (this.#evidence === undefined) return undefined;
    if (this.#recorded === undefined || this.#sinceRecordedMs >= RECORD_MS) {
      const upTo = this.upTo === "" ? {} : { upTo: this.upTo };
      this.#recorded = { rules: this.#fingerprint, snapshot: this.#evidence.snapshot(), ...upTo };
      this.#sinceRecordedMs = 0;
    }
    return this.#recorded;
  }

  /** Everything that is known of the canary; undefined without a rollout. */
  get readings(): Readings | undefined {
    return this.#evidence?.readings();
  }

  get keys(): Keys {
    if (this.#evidence === undefined) return NO_KEYS;
    let worst = "";
    let most = 0;
    for (const [key, count] of this.#failures) {
      if (count > most) worst = key;
      most = Math.max(most, count);
    }
    const { failed, seen } = this.canaryKeys;
    return { failed: failed.length, seen: seen.length, worst };
  }

  /** Distinct keys on the canary, as this replica and those it hears of have seen them. */
  get canaryKeys(): CanaryKeys {
    return distinctKeys(this.#port.keys(this.#route), this.#otherKeys);
  }

  #remember(key: string): void {
    const before = this.#failures.get(key) ?? 0;
    if (before > 0 || this.#failures.size < KEYS_KEPT) this.#failures.set(key, before + 1);
  }

  #forgetKeys(): void {
    this.#port.forgetKeys(this.#route);
    this.#otherKeys = NO_OTHER_KEYS;
  }

  #publish(block: BlockCounts): void {
    this.#port.commit(this.#route, block, hasFastTier(this.#rules) ? this.#hard : undefined);
  }
}

/** The step that a rollout stands at; undefined when it has no plan, or has walked it. */
export function stepOf({ phase, step, steps }: RolloutState): Step | undefined {
  const isOver = phase === "idle" || phase === "rolled_back" || phase === "succeeded";
  return isOver ? undefined : steps[step];
}

function nothingPending(): Pending {
  return { canaryLatency: [], stableLatency: [], byKey: new Map(), keyless: 0, others: undefined };
}

function sumOf(own: BlockCounts | undefined, others: BlockCounts | undefined): BlockCounts | undefined {
  return own === undefined || others === undefined ? (own ?? others) : addBlocks(own, others);
}

function addLatencies(into: number[], slice: Slice | undefined): void {
  if (slice === undefined) return;
  for (const each of slice.successes) into.push(each);
  for (const each of slice.failures) into.push(each);
}

/** The counts with one key's failures held to its share (product.md §2.12). Only some failures are sampled: the rest is taken to be like them. */
function capped(counts: ArmCounts, byKey: readonly number[]): ArmCounts {
  const sampled = byKey.reduce((sum, count) => sum + count, 0);
  if (sampled === 0) return counts;
  return { ...counts, e: Math.round((counts.e * cappedBad(byKey)) / sampled) };
}
