/**
 * One simulated replica: the shipped store and the shipped half of the engine that talks to others, without a proxy, a judge and a disk. It ticks once a second as
 * the engine does, at a time of its own.
 */

import { clock, dice } from "../../src/platform.ts";
import { state as stateSchema, stateOf } from "../../src/config/state.ts";
import type { RolloutState } from "../../src/domain/rollout-types.ts";
import { IDLE } from "../../src/domain/rollout-move.ts";
import { publishingOf } from "../../src/domain/publishing.ts";
import { percentOf } from "../../src/domain/units.ts";
import { TICK_MS } from "../../src/engine/controller.ts";
import { Fleet, INLINE } from "../../src/engine/fleet.ts";
import { FleetNotices } from "../../src/engine/fleet-notices.ts";
import type { Log, StateDocument } from "../../src/engine/ports.ts";
import type { Keeper } from "../../src/store/last-known.ts";
import { RedisStore } from "../../src/store/redis.ts";
import { monotonicMicros } from "../clock.ts";
import { ROUTE, addSums, NO_SUMS, sumsOf, type Second, type Sums } from "./measures.ts";

/** When a replica had a decision: on the clock that all processes of a machine share, and after it was written at the leader. */
export interface Receipt {
  /** Of the route's state. */
  readonly revision: number;
  /** By the monotonic clock. */
  readonly micros: number;
  /** By the wall clock, to the millisecond. */
  readonly afterSavedMs: number;
}

/** What is told of a replica in numbers. */
export interface Told {
  readonly sums: Sums;
  readonly published: number;
  readonly publishedBytes: number;
  /** Documents that it was given. */
  readonly documents: number;
}

export const NOTHING_TOLD: Told = { sums: NO_SUMS, published: 0, publishedBytes: 0, documents: 0 };

/** Of two replicas. */
export function addTold(a: Told, b: Told): Told {
  return {
    sums: addSums(a.sums, b.sums),
    published: a.published + b.published,
    publishedBytes: a.publishedBytes + b.publishedBytes,
    documents: a.documents + b.documents,
  };
}

/** A thousand replicas have a thousand disks, and keep what they know on them when it is in force; here there is one. */
const NOTHING_KEPT: Keeper = {
  read: () => Promise.resolve(undefined),
  keep: () => {},
  close: () => Promise.resolve(),
};

/** The store, with a count of what is published. */
class CountingStore extends RedisStore {
  published = 0;
  publishedBytes = 0;

  override async publish(measure: Uint8Array): Promise<boolean> {
    const isTaken = await super.publish(measure);
    if (isTaken) {
      this.published++;
      this.publishedBytes += measure.byteLength;
    }
    return isTaken;
  }
}

/** What a replica is made of. */
export interface ReplicaOptions {
  readonly redis: string;
  readonly name: string;
  readonly log: Log;
  /** What it measured in the last second; undefined: nothing. */
  readonly measured: () => Second | undefined;
}

/** One of them. */
export class Replica {
  readonly #options: ReplicaOptions;
  readonly #store: CountingStore;
  readonly #fleet: Fleet;
  #state: RolloutState = IDLE;
  #version = 0;
  #sums = NO_SUMS;
  #documents = 0;
  #timer: NodeJS.Timeout | undefined;
  receipts: Receipt[] = [];
  /** It was to follow. */
  hasLed = false;

  constructor(options: ReplicaOptions) {
    this.#options = options;
    const { redis, name: replica, log } = options;
    const common = { clock, log };
    const shared = stateOf(stateSchema.parse({ redis, replica, folder: "nowhere" }));
    if (shared.kind !== "redis") throw new Error("no shared state");
    const secretOf = (): never => {
      throw new Error("there is no secret");
    };
    this.#store = new CountingStore({
      ...common,
      state: shared,
      secretOf,
      replica,
      dice,
      lastKnown: NOTHING_KEPT,
    });
    this.#fleet = new Fleet({
      ...common,
      store: this.#store,
      notices: new FleetNotices(this.#store, { notify() {} }, () => clock.mono(), log),
      merger: INLINE,
      own: () => ({
        applied: this.#version,
        weights: { [ROUTE]: percentOf(this.#state.weight) },
        requests: { [ROUTE]: this.#sums.stable.requests + this.#sums.canary.requests },
      }),
      run: () => Promise.reject(new Error("a simulated replica carries out nothing")),
      takeOver: () => {
        this.hasLed = true;
        return Promise.resolve(undefined);
      },
      restoreLost: () => Promise.resolve(),
      yield: () => {},
    });
  }

  async open(): Promise<void> {
    await this.#store.open();
    this.#store.onDocument((document) => this.#take(document));
    const loaded = await this.#store.load();
    if (loaded.kind === "found") this.#take(loaded.document);
    const tick = (): void => {
      this.#timer = setTimeout(tick, TICK_MS);
      this.#tick();
    };
    this.#timer = setTimeout(tick, dice.random() * TICK_MS);
  }

  /** How often it publishes, as it sees the fleet. */
  get everyMs(): number {
    const { replicas, stale } = this.#fleet.status;
    return publishingOf(replicas + stale.length).everyMs;
  }

  /** Whether it is connected and has the state. */
  get isReady(): boolean {
    return this.#store.isUp && this.#version > 0;
  }

  get told(): Told {
    const { published, publishedBytes } = this.#store;
    return { sums: this.#sums, published, publishedBytes, documents: this.#documents };
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#store.close();
  }

  #take({ version, savedAt, routes }: StateDocument): void {
    const micros = monotonicMicros();
    const state = routes[ROUTE];
    this.#version = version;
    this.#documents++;
    if (state === undefined) return;
    // The leader saves once a second because time passes; what counts is the first document that holds a decision.
    if (state.revision !== this.#state.revision)
      this.receipts.push({
        revision: state.revision,
        micros,
        afterSavedMs: Date.now() - Date.parse(savedAt),
      });
    this.#state = state;
  }

  #tick(): void {
    const now = clock.mono();
    const second = this.#options.measured();
    if (second !== undefined) {
      const { measure, own, canaryKeys } = second;
      this.#sums = addSums(this.#sums, sumsOf(second));
      const route = { config: { name: ROUTE }, state: this.#state, evidence: { own, canaryKeys } };
      this.#fleet.share(measure, route, now);
      this.#fleet.shareBlock(route, now);
    }
    void this.#fleet.exchange(now);
  }
}
