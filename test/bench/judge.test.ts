/** What the benchmark of the judge draws, and what it makes of it. */

import t from "tap";
import { markOf, markOfCount, quantileOf } from "../../bench/judge/figures.ts";
import { runGate } from "../../bench/judge/gates.ts";
import { lifeOf } from "../../bench/judge/life.ts";
import { optionsOf } from "../../bench/judge/options.ts";
import { Random } from "../../bench/judge/random.ts";
import { Tiers } from "../../bench/judge/shipped.ts";
import { runStep } from "../../bench/judge/replay.ts";
import { CALM, World, type Second, type WorldSpec } from "../../bench/judge/world.ts";
import { HARD_LIMITS } from "../../src/domain/evidence/catastrophic.ts";
import { EMPTY_BLOCK } from "../../src/domain/evidence/counting.ts";
import { DEFAULT_MARGIN } from "../../src/domain/evidence/gate.ts";
import { RouteEvidence } from "../../src/domain/evidence/route.ts";
import { addSparse, emptyCounts, quantilesOf } from "../../src/domain/latency.ts";

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;
const many = (count: number, draw: () => number): readonly number[] => Array.from({ length: count }, draw);

t.test("chance has the means and the scatter that it should", (t) => {
  const random = new Random(1, 2, 3);
  const near = (values: readonly number[], expected: number, variance: number): boolean =>
    Math.abs(mean(values) - expected) < 4 * Math.sqrt(variance / values.length) &&
    Math.abs(mean(values.map((value) => (value - expected) ** 2)) / variance - 1) < 0.1;
  t.ok(
    near(
      many(20_000, () => random.uniform()),
      0.5,
      1 / 12,
    ),
  );
  t.ok(
    near(
      many(20_000, () => random.normal()),
      0,
      1,
    ),
  );
  for (const expected of [0.3, 7, 200])
    t.ok(
      near(
        many(20_000, () => random.poisson(expected)),
        expected,
        expected,
      ),
    );
  for (const [n, share] of [
    [1, 0.3],
    [500, 0.001],
    [50, 0.8],
  ] as const)
    t.ok(
      near(
        many(20_000, () => random.binomial(n, share)),
        n * share,
        n * share * (1 - share),
      ),
    );
  t.same(
    [0, 1].map((share) => random.binomial(10, share)),
    [0, 10],
  );
  t.end();
});

t.test("the same seed gives the same run, and another one another", (t) => {
  const run = (seed: number): unknown => {
    const troubles = [{ arms: ["canary"], from: 0, to: 600, share: 0.02 }] as const;
    const world = { ...CALM, seeds: [seed], seconds: 600, perSecond: 50, troubles };
    return runStep(world, 0.1, new Tiers());
  };
  t.same(run(1), run(1));
  t.notSame(run(1), run(2));
  t.same(lifeOf("real life", 50, 1, 3), lifeOf("real life", 50, 1, 3));
  t.notSame(lifeOf("real life", 50, 1, 3).pauses, lifeOf("real life", 50, 1, 4).pauses);
  t.end();
});

/** All of a world's seconds. */
function secondsOf(spec: Partial<WorldSpec>, weight: number, see: (second: Second) => void): void {
  const world = new World({ ...CALM, seeds: [9], seconds: 2000, perSecond: 100, ...spec });
  for (let at = 0; at < 2000; at++) see(world.second(at, weight));
}

t.test("a world has the responses, errors and latencies that it was asked for", (t) => {
  const canary = emptyCounts();
  const stable = emptyCounts();
  const sums = { n1: 0, e1: 0, s1: 0, v1: 0, n0: 0, e0: 0, bad: 0 };
  const troubles = [{ arms: ["canary"], from: 0, to: 2000, share: 0.05 }] as const;
  secondsOf({ troubles, slow: { times: 1, stretched: true, stuck: 0.02 } }, 0.25, (second) => {
    addSparse(canary, second.canaryLatency);
    addSparse(stable, second.stableLatency);
    sums.n1 += second.canary.n;
    sums.e1 += second.canary.e;
    sums.s1 += second.canary.s;
    sums.v1 += second.canary.v;
    sums.n0 += second.stable.n;
    sums.e0 += second.stable.e;
    sums.bad += second.bad.length;
    const places = second.bad.map(({ at }) => at);
    const rising = places.every((at, index) => at > (places[index - 1] ?? 0) && at <= second.canary.n);
    if (!rising) t.fail("the bad responses of a second have their places in it");
  });
  const about = (value: number, expected: number, share: number): boolean =>
    Math.abs(value / expected - 1) < share;
  t.ok(about(sums.n1, 50_000, 0.03) && about(sums.n0, 150_000, 0.03));
  t.ok(about(sums.e1, 2500, 0.1) && about(sums.e0, 150, 0.4));
  t.equal(sums.bad, sums.e1 + sums.s1);
  t.ok(about(sums.v1, 0.022 * sums.n1, 0.15));
  t.same([canary.total, stable.total], [sums.n1, sums.n0]);
  const [p50, p95] = quantilesOf(stable, [0.5, 0.95]);
  t.ok(about(p50!, 60_000, 0.02) && about(p95!, 170_000, 0.02));
  const [stretched50] = quantilesOf(canary, [0.5]);
  t.ok(about(stretched50!, 60_000, 0.05));
  t.end();
});

t.test("who arrives in a pause waits for its end", (t) => {
  const slow: number[] = [];
  const pauses = [{ arm: "stable", from: 100.5, to: 102.5 }] as const;
  secondsOf({ pauses }, 0.1, ({ at, stable }) => {
    if (at >= 100 && at <= 102) slow.push(stable.s, stable.v);
  });
  // 90 responses a second: of the first 45 all wait for 1.5 s or more; of the next 90 for 0.5 to 1.5 s; of the last 45 for 0.5 s at most.
  const [firstSlow, firstVery, nextSlow, nextVery, lastSlow] = slow as [
    number,
    number,
    number,
    number,
    number,
  ];
  t.ok(firstSlow > 25 && firstVery === firstSlow);
  t.ok(nextSlow > 70 && nextVery > 40 && nextVery < nextSlow);
  t.ok(lastSlow > 0 && lastSlow < 25);
  t.end();
});

t.test("the gate of the benchmark is the route's own gate", (t) => {
  const evidence = new RouteEvidence({ limits: HARD_LIMITS, margin: DEFAULT_MARGIN });
  evidence.fresh();
  evidence.stageStart(true);
  const random = new Random(4, 2);
  let at = 0;
  for (; at < 28_800 && evidence.readings().gate?.passes !== true; at += 10) {
    const n1 = random.poisson(50);
    const n0 = random.poisson(450);
    const canary = { ...EMPTY_BLOCK.canary, n: n1, e: random.binomial(n1, 0.001) };
    const stable = { ...EMPTY_BLOCK.stable, n: n0, e: random.binomial(n0, 0.001) };
    evidence.commit({ ...EMPTY_BLOCK, canary, stable }, 10);
  }
  t.equal(at, runGate(0.001, [4, 2]));
  t.end();
});

t.test("figures come with the interval in which the true one lies", (t) => {
  const hundred = Array.from({ length: 100 }, (_, index) => index + 1);
  t.same(quantileOf(hundred, 0.5), { value: 50, low: 40, high: 61 });
  t.same(quantileOf([1, 2, Infinity], 0.5), { value: 2, low: 0, high: Infinity });
  const figure = { value: 50, low: 40, high: 61 };
  t.same(
    [39.6, 61, 30, 70, Infinity, null].map((design) => markOf(design, figure)),
    ["yes", "yes", "MORE", "less", "MORE", "–"],
  );
  t.equal(markOf(Infinity, { value: Infinity, low: Infinity, high: Infinity }), "yes");
  t.same(
    [markOfCount(1, 10, 4, 250), markOfCount(9, 10, 4, 250), markOfCount(0, 20, 248, 250)],
    ["yes", "MORE", "less"],
  );
  t.end();
});

t.test("options of the benchmark are checked", (t) => {
  t.match(optionsOf([]), { weeks: 10, rates: [5, 50, 500], seed: 1, json: false });
  t.match(optionsOf(["--only", "gate", "--rate", "50", "--weeks", "3"]), {
    parts: ["gate"],
    rates: [50],
    weeks: 3,
  });
  for (const wrong of [["--only", "gates"], ["--rate", "7"], ["--weeks", "0"], ["--seed", "x"], ["--what"]])
    t.throws(() => optionsOf(wrong));
  t.end();
});
