/**
 * The worlds in which the judge is tried: two arms' responses second by second, healthy or with a fault. Pure and seeded; nothing is drawn response
 * by response but the bad ones, so that a week at 500 requests a second takes seconds.
 *
 * What statistics.md §6 leaves open is decided here and told in bench/README.md.
 */

import { STABLE_CLOSER, type ArmCounts } from "../../src/domain/evidence/counting.ts";
import type { SparseCounts } from "../../src/domain/slice.ts";
import { Latencies, lognormal } from "./latencies.ts";
import { Random } from "./random.ts";

export type Arm = "canary" | "stable";
export const ARMS: readonly Arm[] = ["canary", "stable"];

/** From `from` to `to`, in seconds, this share of the responses of these arms fails. */
export interface Trouble {
  readonly arms: readonly Arm[];
  readonly from: number;
  readonly to: number;
  readonly share: number;
}

/** From `from` to `to`, in seconds, an arm answers nothing: what arrives then is answered at its end. */
export interface Pause {
  readonly arm: Arm;
  readonly from: number;
  readonly to: number;
}

/** Latency that wanders: the standard deviation of its logarithm, and how long it remembers, seconds. */
export interface Drift {
  readonly deviation: number;
  readonly memoryS: number;
}

/** What is the matter with the canary's latency. */
export interface Slowness {
  /** How many times as slow all its responses are. */
  readonly times: number;
  /** Whether its P95 is twice stable's, at the same P50. */
  readonly stretched: boolean;
  /** The share that takes two seconds. */
  readonly stuck: number;
}

export interface WorldSpec {
  readonly seeds: readonly number[];
  readonly seconds: number;
  /** Responses per second of both arms together, on average. */
  readonly perSecond: number;
  /** The share of errors without any trouble. */
  readonly errors: number;
  readonly troubles: readonly Trouble[];
  readonly pauses: readonly Pause[];
  /** How much more, and less, there is to do by day and by night, as a share. */
  readonly diurnal: number;
  readonly sharedDrift: Drift | null;
  readonly armDrift: Drift | null;
  readonly slow: Slowness | null;
  /** Whether anybody asks for latencies by bucket. */
  readonly latencies: boolean;
}

/** A world without any trouble, to be varied. */
export const CALM: Omit<WorldSpec, "seeds" | "seconds" | "perSecond"> = {
  errors: 0.001,
  troubles: [],
  pauses: [],
  diurnal: 0,
  sharedDrift: null,
  armDrift: null,
  slow: null,
  latencies: true,
};

/** A bad response of the canary: its place among the canary's responses of the second, from 1 on, and what is bad about it. */
export interface Bad {
  at: number;
  readonly e: number;
  readonly s: number;
  readonly v: number;
}

/** What happened in a second. The same object again for the next one. */
export interface Second {
  /** Seconds from the start to its beginning. */
  readonly at: number;
  readonly canary: Readonly<ArmCounts>;
  readonly stable: Readonly<ArmCounts>;
  /** The canary's bad responses in their order. */
  readonly bad: readonly Bad[];
  /**
   * Latencies of ten seconds, with the tenth; empty with the others. Where in ten seconds they come is nothing to the judge, which adds ten seconds
   * up before it compares.
   */
  readonly canaryLatency: SparseCounts;
  readonly stableLatency: SparseCounts;
}

/** Limits on P95 and P99, µs (plan.md §1.1). */
const LIMITS_US = [500_000, 1_000_000] as const;
/** P95 beside a P50 of 60 ms, and with twice of it: what is asked of a canary is less than 200 ms, what ends it is 500 ms. */
const P95_US = 170_000;
const STUCK_US = 2_000_000;
const DAY_S = 86_400;
const LATENCY_S = 10;
const NO_LATENCY: SparseCounts = [];
const HEALTHY = lognormal(P95_US);
const STRETCHED = lognormal(2 * P95_US);

interface Side {
  readonly counts: { n: number; e: number; s: number; v: number; readonly c4: 0 };
  /** The share that fails, by second. */
  readonly failing: Float32Array;
  readonly pauses: ReadonlyMap<number, Pause>;
  readonly latencies: Latencies;
  drift: number;
}

/** One world. Seconds are to be asked for in their order. */
export class World {
  readonly #spec: WorldSpec;
  readonly #random: Random;
  readonly #sides: Readonly<Record<Arm, Side>>;
  readonly #bad: Bad[] = [];
  #shared = 0;

  constructor(spec: WorldSpec) {
    this.#spec = spec;
    this.#random = new Random(...spec.seeds);
    this.#sides = { canary: this.#side("canary"), stable: this.#side("stable") };
    this.#shared = this.#start(spec.sharedDrift);
    for (const arm of ARMS) this.#sides[arm].drift = this.#start(spec.armDrift);
  }

  /** The second that begins at `at`. @param weight the canary's share */
  second(at: number, weight: number): Second {
    if (at % LATENCY_S === 0) this.#wander();
    const { perSecond, diurnal } = this.#spec;
    const rate = perSecond * (1 + diurnal * Math.sin((2 * Math.PI * at) / DAY_S));
    const { canary, stable } = this.#sides;
    this.#bad.length = 0;
    this.#draw(canary, at, rate * weight, this.#spec.slow?.stuck ?? 0);
    this.#order(canary.counts);
    this.#draw(stable, at, rate * (1 - weight), 0);
    const isTenth = this.#spec.latencies && at % LATENCY_S === LATENCY_S - 1;
    return {
      at,
      canary: canary.counts,
      stable: stable.counts,
      bad: this.#bad,
      canaryLatency: isTenth ? canary.latencies.drain() : NO_LATENCY,
      stableLatency: isTenth ? stable.latencies.drain() : NO_LATENCY,
    };
  }

  #side(arm: Arm): Side {
    const { seconds, errors, troubles, pauses, slow } = this.#spec;
    const failing = new Float32Array(seconds).fill(errors);
    for (const { arms, from, to, share } of troubles)
      if (arms.includes(arm))
        for (let at = Math.floor(from); at < Math.min(to, seconds); at++) {
          const covered = Math.min(to, at + 1) - Math.max(from, at);
          failing[at] = Math.max(failing[at]!, share * covered);
        }
    const paused = new Map<number, Pause>();
    for (const pause of pauses)
      if (pause.arm === arm) for (let at = Math.floor(pause.from); at < pause.to; at++) paused.set(at, pause);
    const closer = arm === "stable" ? STABLE_CLOSER : 1;
    const [p95, p99] = LIMITS_US;
    const isStretched = arm === "canary" && slow?.stretched === true;
    return {
      counts: { n: 0, e: 0, s: 0, v: 0, c4: 0 },
      failing,
      pauses: paused,
      latencies: new Latencies(isStretched ? STRETCHED : HEALTHY, [p95 / closer, p99 / closer], this.#random),
      drift: 0,
    };
  }

  #draw(side: Side, at: number, mean: number, stuck: number): void {
    const random = this.#random;
    const { counts, latencies } = side;
    const isCanary = side === this.#sides.canary;
    counts.n = random.poisson(mean);
    counts.e = random.binomial(counts.n, side.failing[at]!);
    counts.s = 0;
    counts.v = 0;
    // A response fails or is slow: nobody is told of one that is both.
    latencies.addFast(counts.e);
    let rest = counts.n - counts.e;
    const pause = side.pauses.get(at);
    if (pause !== undefined) {
      const from = Math.max(pause.from, at);
      const to = Math.min(pause.to, at + 1);
      const held = random.binomial(rest, to - from);
      for (let k = 0; k < held; k++) latencies.add((pause.to - random.between(from, to)) * 1e6, counts);
      rest -= held;
    }
    if (stuck > 0) {
      const held = random.binomial(rest, stuck);
      for (let k = 0; k < held; k++) latencies.add(STUCK_US, counts);
      rest -= held;
    }
    latencies.draw(rest, counts);
    if (isCanary) this.#collect(counts);
  }

  #collect({ e, s, v }: Readonly<ArmCounts>): void {
    for (let k = 0; k < e; k++) this.#bad.push({ at: 0, e: 1, s: 0, v: 0 });
    for (let k = 0; k < s; k++) this.#bad.push({ at: 0, e: 0, s: 1, v: k < v ? 1 : 0 });
  }

  /** Gives each bad response its place among all of the block's; every choice of places is equally likely (Fisher and Yates's shuffle). */
  #order({ n }: Readonly<ArmCounts>): void {
    const bad = this.#bad;
    if (bad.length === 0) return;
    const places = Array.from({ length: n }, (_, index) => index + 1);
    bad.forEach((each, index) => {
      const other = index + this.#random.below(n - index);
      each.at = places[other]!;
      places[other] = places[index]!;
    });
    bad.sort((a, b) => a.at - b.at);
  }

  #start(drift: Drift | null): number {
    return drift === null ? 0 : drift.deviation * this.#random.normal();
  }

  #wander(): void {
    const { sharedDrift, armDrift, slow } = this.#spec;
    this.#shared = this.#moved(this.#shared, sharedDrift);
    for (const arm of ARMS) {
      const side = this.#sides[arm];
      side.drift = this.#moved(side.drift, armDrift);
      const times = arm === "canary" ? (slow?.times ?? 1) : 1;
      side.latencies.slowDown(times * Math.exp(this.#shared + side.drift));
    }
  }

  /** Ornstein and Uhlenbeck's: back to the middle by and by, with ever new pushes. */
  #moved(value: number, drift: Drift | null): number {
    if (drift === null) return 0;
    const kept = Math.exp(-LATENCY_S / drift.memoryS);
    return value * kept + drift.deviation * Math.sqrt(1 - kept * kept) * this.#random.normal();
  }
}
