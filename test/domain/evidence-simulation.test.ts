/**
 * statistics.md §6 in short, with the shipped code and seeded chance: what the tiers together do to healthy and to faulty canaries. The long
 * form is in the benchmarks; here are the promises that must not break unnoticed.
 */

import t from "tap";
import { HARD_LIMITS } from "../../src/domain/evidence/catastrophic.ts";
import { ARMED, confirmed, type Confirmation, type ConfirmEvent } from "../../src/domain/evidence/confirm.ts";
import type { ArmCounts, Block } from "../../src/domain/evidence/counting.ts";
import { RouteEvidence } from "../../src/domain/evidence/route.ts";
import { indexOfMicros } from "../../src/domain/hdr.ts";
import { fakeDice } from "../support/dice.ts";

interface World {
  readonly seed: number;
  /** Responses per second of both arms, and the canary's share. */
  readonly perSecond: number;
  readonly weight: number;
  readonly seconds: number;
  /** Share of errors of an arm in a second. */
  readonly errors: (arm: "canary" | "stable", second: number) => number;
  /** How many times as slow the canary is; without, no latencies are measured. */
  readonly slower?: number;
}

interface Life {
  /** What ended it, and in which second; null when nothing did. */
  readonly rollback: string | null;
  readonly second: number;
  readonly trips: number;
  readonly sharedSeconds: number;
  /** Canary responses, and bad ones, up to the first trip and up to the end. */
  readonly firstTrip: { readonly responses: number; readonly bad: number } | null;
  readonly responses: number;
  readonly bad: number;
}

const NONE: ArmCounts = { n: 0, e: 0, s: 0, v: 0, c4: 0 };

/** One rollout's step, second by second, response by response; every bad response of the canary is asked about. */
class Rollout {
  readonly #world: World;
  readonly #random: () => number;
  readonly #evidence = new RouteEvidence({ limits: HARD_LIMITS, margin: 0.001, leastDifference: 0.001 });
  #confirmation: Confirmation = ARMED;
  #rollback: string | null = null;
  #trips = 0;
  #shared = 0;
  #responses = 0;
  #bad = 0;
  #firstTrip: Life["firstTrip"] = null;

  constructor(world: World) {
    this.#world = world;
    const dice = fakeDice(world.seed);
    this.#random = () => dice.random();
    this.#evidence.fresh();
    this.#evidence.stageStart(true);
  }

  run(): Life {
    let second = 0;
    for (; second < this.#world.seconds && this.#rollback === null; second++) this.#second(second);
    return {
      rollback: this.#rollback,
      second,
      trips: this.#trips,
      sharedSeconds: this.#shared,
      firstTrip: this.#firstTrip,
      responses: this.#responses,
      bad: this.#bad,
    };
  }

  #tell(event: ConfirmEvent): void {
    const { state, outcome } = confirmed(this.#confirmation, event);
    this.#confirmation = state;
    if (outcome.type === "rollback") this.#rollback = outcome.reason;
    if (outcome.type !== "trip") return;
    this.#trips++;
    this.#firstTrip ??= { responses: this.#responses, bad: this.#bad };
    this.#evidence.trip();
  }

  #second(second: number): void {
    const { perSecond, errors, weight } = this.#world;
    this.#tell({ type: "time", nowMs: second * 1000 });
    const canary = { ...NONE };
    const stable = { ...NONE };
    const [p1, p0] = [errors("canary", second), errors("stable", second)];
    const latency: Record<"canary" | "stable", number[]> = { canary: [], stable: [] };
    let counted = 0;
    for (let i = 0; i < perSecond && this.#rollback === null; i++) {
      const isCanary = this.#confirmation.phase !== "tripped" && this.#random() < weight;
      const arm = isCanary ? canary : stable;
      arm.n++;
      this.#latency(latency, isCanary);
      const bad = this.#random() < (isCanary ? p1 : p0);
      if (isCanary) this.#responses++;
      if (!bad) continue;
      arm.e++;
      if (!isCanary) continue;
      this.#bad++;
      if (this.#evidence.peek({ canary, stable }, (i + 1) / perSecond) === null) continue;
      counted += canary.n;
      this.#tell({ type: "crossing", nowMs: second * 1000 + (i * 1000) / perSecond, confirm: true });
      // The trip has reset the evidence: what led to it must not count again.
      Object.assign(canary, NONE);
    }
    this.#tell({ type: "responses", nowMs: second * 1000 + 999, count: counted + canary.n });
    const block: Block = {
      canary,
      stable,
      canaryLatency: latency.canary,
      stableLatency: latency.stable,
    };
    this.#evidence.commit(block, 1);
    if (second % 10 === 9) this.#readTenth();
  }

  #readTenth(): void {
    const { catastrophic, comparative } = this.#evidence.readings();
    if (catastrophic.some(({ kind }) => kind === "shared_cause")) this.#shared += 10;
    this.#rollback ??= comparative.find(({ fires }) => fires)?.rule ?? null;
  }

  #latency(into: Record<"canary" | "stable", number[]>, isCanary: boolean): void {
    const { slower } = this.#world;
    if (slower === undefined) return;
    // Lognormal, median 60 ms; the sum of twelve uniforms is close enough to a normal and has no logarithm of 0.
    let z = -6;
    for (let k = 0; k < 12; k++) z += this.#random();
    const us = 60_000 * Math.exp(0.6 * z) * (isCanary ? slower : 1);
    into[isCanary ? "canary" : "stable"].push(indexOfMicros(us), 1);
  }
}

const run = (world: World): Life => new Rollout(world).run();
const runs = (count: number, world: Omit<World, "seed">): readonly Life[] =>
  Array.from({ length: count }, (_, seed) => run({ ...world, seed: 1000 + seed }));
const atShare = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.ceil(share * values.length) - 1] ?? Number.NaN;
const always =
  (canary: number, stable: number): World["errors"] =>
  (arm) =>
    arm === "canary" ? canary : stable;

t.test(
  "a canary that is like stable is left alone: neither trips nor rollbacks in a million responses",
  async (t) => {
    const world = { perSecond: 50, weight: 0.1, seconds: 1800, errors: always(0.003, 0.003) };
    const lives = [...runs(11, world), run({ ...world, seed: 7, slower: 1 })];
    t.same(
      lives.map(({ rollback, trips }) => [rollback, trips]),
      lives.map(() => [null, 0]),
    );
    t.ok(lives.length * world.perSecond * world.seconds >= 1_000_000);
  },
);

t.test(
  "a canary that fails everything is off after a handful of failures, and for good after the probe",
  async (t) => {
    for (const [weight, most] of [
      [0.1, 12],
      [0.5, 30],
    ] as const) {
      const lives = runs(60, { perSecond: 50, weight, seconds: 60, errors: always(1, 0.001) });
      const first = lives.map(({ firstTrip }) => firstTrip?.bad ?? Infinity);
      t.comment(`weight ${weight}: off after ${atShare(first, 0.5)}, 95 % ${atShare(first, 0.95)} failures`);
      t.comment(
        `for good: ${atShare(
          lives.map(({ bad }) => bad),
          0.5,
        )} failures, ${atShare(
          lives.map(({ second }) => second),
          0.5,
        )} s`,
      );
      t.ok(atShare(first, 0.95) <= most);
      t.ok(lives.every(({ rollback }) => rollback === "second_crossing"));
    }
  },
);

t.test("a canary that starts to fail after a healthy hour is off after at most 12 failures", async (t) => {
  // No error of the canary before, so that every bad response is one of the fault.
  const late = (arm: "canary" | "stable", second: number): number =>
    arm === "canary" ? Number(second >= 3600) : 0.001;
  const lives = runs(40, { perSecond: 20, weight: 0.1, seconds: 3700, errors: late });
  const first = lives.map(({ firstTrip }) => firstTrip?.bad ?? Infinity);
  t.comment(`off after ${atShare(first, 0.5)}, 95 % ${atShare(first, 0.95)} failures`);
  t.ok(atShare(first, 0.95) <= 12);
  t.ok(lives.every(({ rollback, second }) => rollback === "second_crossing" && second > 3600));
});

t.test("a canary of which 30 % fail is off after 25 responses in half of the cases", async (t) => {
  const lives = runs(100, { perSecond: 50, weight: 0.1, seconds: 600, errors: always(0.3, 0.001) });
  const first = lives.map(({ firstTrip }) => firstTrip?.responses ?? Infinity);
  t.comment(`median ${atShare(first, 0.5)}, 95 % ${atShare(first, 0.95)} responses`);
  t.ok(atShare(first, 0.5) <= 25);
  t.ok(lives.every(({ rollback }) => rollback !== null));
});

t.test("a trouble that both arms have rolls nothing back, and is seen to be shared", async (t) => {
  const outage = (_: string, second: number): number => (second >= 60 && second < 300 ? 0.6 : 0.001);
  const lives = runs(20, { perSecond: 50, weight: 0.1, seconds: 600, errors: outage });
  t.ok(lives.every(({ rollback, trips }) => rollback === null && trips === 0));
  t.ok(lives.every(({ sharedSeconds }) => sharedSeconds >= 200));
});

t.test("two bad seconds of the canary alone are a trip and no rollback", async (t) => {
  const blip = (arm: "canary" | "stable", second: number): number =>
    arm === "canary" && (second === 300 || second === 301) ? 1 : 0.001;
  const lives = runs(30, { perSecond: 100, weight: 0.1, seconds: 700, errors: blip });
  t.same(
    lives.map(({ rollback, trips }) => [rollback, trips]),
    lives.map(() => [null, 1]),
  );
});

t.test("what stays below every limit is found by comparison", async (t) => {
  const errors = runs(4, { perSecond: 50, weight: 0.1, seconds: 3600, errors: always(0.006, 0.001) });
  t.comment(`0.6 % errors: ${errors.map(({ second }) => second).join(", ")} s`);
  t.ok(errors.every(({ rollback, trips }) => rollback === "errors" && trips === 0));
  const twice = runs(3, {
    perSecond: 50,
    weight: 0.1,
    seconds: 1200,
    errors: always(0.001, 0.001),
    slower: 2,
  });
  t.comment(`twice as slow: ${twice.map(({ second }) => second).join(", ")} s`);
  t.ok(twice.every(({ rollback }) => rollback === "latency_fast" || rollback === "latency"));
  const third = runs(2, {
    perSecond: 50,
    weight: 0.1,
    seconds: 2700,
    errors: always(0.001, 0.001),
    slower: 1.3,
  });
  t.comment(`1.3 times as slow: ${third.map(({ second }) => second).join(", ")} s`);
  t.ok(third.every(({ rollback }) => rollback === "latency"));
});
