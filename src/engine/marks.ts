/**
 * What bad responses of the canary have in common: where they came from, how they failed, and whose they were. For people, never for a verdict.
 *
 * Everything a client can choose (paths, keys) sits in a bounded `lru-cache`: a flood of distinct ones costs memory once and not for ever.
 */

import { LRUCache } from "lru-cache";
import type { BadKind } from "../domain/outcome.ts";
import { byOutcome } from "../domain/window.ts";
import type { Millis } from "../domain/units.ts";
import type { RouteMeasure, Sample } from "./ports.ts";
import type { Marks, Tally } from "./status.ts";

const KEYS_COUNTED = 10_000;
const NAMES_COUNTED = 200;
const TRACES_KEPT = 20;
/** A piece of the recent past; there are always one whole and one that is being filled. */
const RECENT_MS = 300_000;
const RECENT = { keys: 1000, names: 100, shown: 5 };

/** Names and keys with bounds. The caches take all their room at once, so they are made when something was bad. */
class Tallies {
  readonly #bounds: { readonly keys: number; readonly names: number };
  readonly paths: LRUCache<string, number>;
  readonly methods: LRUCache<string, number>;
  readonly byReason: LRUCache<string, number>;
  readonly keys: LRUCache<string, true>;
  /** The newest, the newest last. */
  readonly traces: string[] = [];

  constructor(bounds: { readonly keys: number; readonly names: number }) {
    this.#bounds = bounds;
    this.paths = new LRUCache({ max: bounds.names });
    this.methods = new LRUCache({ max: bounds.names });
    this.byReason = new LRUCache({ max: bounds.names });
    this.keys = new LRUCache({ max: bounds.keys });
  }

  add(sample: Sample): void {
    count(this.paths, sample.path, 1);
    count(this.methods, sample.method, 1);
    count(this.byReason, signatureOf(sample), 1);
    if (sample.keyHash !== "") this.keys.set(sample.keyHash, true);
    if (sample.traceId === "") return;
    this.traces.push(sample.traceId);
    if (this.traces.length > TRACES_KEPT) this.traces.shift();
  }

  /** Both together, in a new one. */
  with(other: Tallies): Tallies {
    const sum = new Tallies(this.#bounds);
    for (const each of [this, other]) {
      for (const name of ["paths", "methods", "byReason"] as const)
        for (const [key, times] of each[name].entries()) count(sum[name], key, times);
      for (const key of each.keys.keys()) sum.keys.set(key, true);
      sum.traces.push(...each.traces);
    }
    return sum;
  }

  marks(shown: number): Marks {
    return {
      worstPaths: worst(this.paths, shown),
      worstMethods: worst(this.methods, shown),
      byReason: worst(this.byReason, shown),
      distinctKeys: this.keys.size,
      keysCapped: this.keys.size >= this.#bounds.keys,
      traceIds: this.traces.slice(-shown),
    };
  }
}

/** How a response was bad, in a word: `status 503`, `connect`, `slow`. */
function signatureOf({ kind, reason, status }: Sample): string {
  if (kind === "slow") return "slow";
  return kind === "client_error" || reason === "status" ? `status ${status}` : reason;
}

const NOTHING: Marks = {
  worstPaths: [],
  worstMethods: [],
  byReason: [],
  distinctKeys: 0,
  keysCapped: false,
  traceIds: [],
};

/** What failed on the canary since the rollout began. */
export class FailureMarks {
  #tallies: Tallies | undefined;
  requestsFailed = 0;
  requestsRescued = 0;

  take({
    arms,
    rescues,
    samples,
  }: Pick<RouteMeasure, "arms" | "rescues" | "samples"> & Partial<RouteMeasure>): void {
    if (arms.canary !== undefined) this.requestsFailed += byOutcome(arms.canary.byReason)[1];
    this.requestsRescued += rescues.answered;
    for (const sample of samples) {
      if (sample.kind !== "failure") continue;
      this.#tallies ??= new Tallies({ keys: KEYS_COUNTED, names: NAMES_COUNTED });
      this.#tallies.add(sample);
    }
  }

  get marks(): Marks {
    return this.#tallies?.marks(TRACES_KEPT) ?? NOTHING;
  }
}

/** What was bad in the last five to ten minutes, by kind. */
export class RecentMarks {
  #now: Partial<Record<BadKind, Tallies>> = {};
  #before: Partial<Record<BadKind, Tallies>> = {};
  #since = 0;

  take(samples: readonly Sample[], now: Millis): void {
    this.#turn(now);
    for (const sample of samples) (this.#now[sample.kind] ??= new Tallies(RECENT)).add(sample);
  }

  /** What the bad ones of a kind have in common; undefined when there were none. */
  of(kind: BadKind, now: Millis): Marks | undefined {
    this.#turn(now);
    const [older, newer] = [this.#before[kind], this.#now[kind]];
    const both = older === undefined || newer === undefined ? (newer ?? older) : older.with(newer);
    return both?.marks(RECENT.shown);
  }

  #turn(now: Millis): void {
    if (now - this.#since < RECENT_MS) return;
    this.#before = now - this.#since < 2 * RECENT_MS ? this.#now : {};
    this.#now = {};
    this.#since = now;
  }
}

function count(tally: LRUCache<string, number>, name: string, times: number): void {
  tally.set(name, (tally.get(name) ?? 0) + times);
}

function worst(tally: LRUCache<string, number>, shown: number): readonly Tally[] {
  return [...tally.entries()]
    .map(([name, times]) => ({ name, count: times }))
    .sort((a, b) => b.count - a.count || (a.name < b.name ? -1 : 1))
    .slice(0, shown);
}
