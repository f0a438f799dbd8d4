import fc from "fast-check";
import t from "tap";
import {
  HARD_LIMITS,
  HARD_WORDS,
  hardGuards,
  peekHard,
  startHard,
} from "../../src/domain/evidence/catastrophic.ts";
import { COLUMNS } from "../../src/domain/evidence/columns.ts";
import { type ArmCounts, type Block } from "../../src/domain/evidence/counting.ts";
import { CROSSING } from "../../src/domain/evidence/guard.ts";
import { pushRow, ringOf, rowsOf, sumsOf } from "../../src/domain/evidence/recent.ts";
import { RouteEvidence, type Readings, type Snapshot } from "../../src/domain/evidence/route.ts";
import { indexOfMicros } from "../../src/domain/hdr.ts";
import { checkCompare } from "../../src/domain/tiers.ts";
import { ppm } from "../../src/domain/units.ts";
import { fakeDice } from "../support/dice.ts";

const GUARDS = hardGuards(HARD_LIMITS);
const RULES = { limits: HARD_LIMITS, margin: 0.001 };
const arm = (n: number, e = 0, more: Partial<ArmCounts> = {}): ArmCounts => ({
  n,
  e,
  s: 0,
  v: 0,
  c4: 0,
  ...more,
});
const block = (canary: ArmCounts, stable: ArmCounts, more: Partial<Block> = {}): Block => ({
  canary,
  stable,
  canaryLatency: [],
  stableLatency: [],
  ...more,
});
function route(concurrent = true, state = new Float64Array(HARD_WORDS)): RouteEvidence {
  const evidence = new RouteEvidence(RULES, { state, at: 0 });
  evidence.fresh();
  evidence.stageStart(concurrent);
  return evidence;
}
function times(count: number, evidence: RouteEvidence, what: Block, seconds = 1): Readings {
  for (let i = 0; i < count; i++) evidence.commit(what, seconds);
  return evidence.readings();
}
const comparative = (readings: Readings, rule: string) => {
  const found = readings.comparative.find((each) => each.rule === rule);
  if (found === undefined) throw new Error(`no ${rule}`);
  return found;
};

const armCounts = fc
  .integer({ min: 0, max: 80 })
  .chain((n) => fc.tuple(fc.constant(n), ...[0, 1, 2, 3].map(() => fc.nat({ max: n }))))
  .map(([n, e, s, v, c4]): ArmCounts => ({ n: n ?? 0, e: e ?? 0, s: s ?? 0, v: v ?? 0, c4: c4 ?? 0 }));
const latency = fc
  .array(fc.tuple(fc.integer({ min: 0, max: 3000 }), fc.integer({ min: 1, max: 20 })), { maxLength: 8 })
  .map((pairs) => pairs.flat());
const anyBlock = fc.record({
  canary: armCounts,
  stable: armCounts,
  canaryLatency: latency,
  stableLatency: latency,
});
const blocks = fc.array(fc.tuple(anyBlock, fc.double({ min: 0.5, max: 3, noNaN: true })), { maxLength: 60 });

t.test("a replica that goes on from a snapshot says what the first one would have said", async () => {
  fc.assert(
    fc.property(blocks, blocks, (before, after) => {
      const [one, other] = [route(), new RouteEvidence(RULES)];
      for (const [each, seconds] of before) one.commit(each, seconds);
      // Through text, as a store does it.
      const kept = other.restore(JSON.parse(JSON.stringify(one.snapshot())) as Snapshot);
      for (const [each, seconds] of after) {
        one.commit(each, seconds);
        other.commit(each, seconds);
      }
      return (
        kept &&
        JSON.stringify(one.readings()) === JSON.stringify(other.readings()) &&
        JSON.stringify(one.snapshot()) === JSON.stringify(other.snapshot())
      );
    }),
    { numRuns: 60 },
  );
});

t.test("a snapshot of another layout changes nothing", async (t) => {
  const evidence = route();
  times(15, evidence, block(arm(5, 1), arm(45)));
  const snapshot = evidence.snapshot();
  for (const wrong of [
    { ...snapshot, layout: 99 },
    { ...snapshot, hard: snapshot.hard.slice(1) },
    { ...snapshot, rest: [] },
  ])
    t.equal(evidence.restore(wrong), false);
  t.same(evidence.snapshot(), snapshot);
});

t.test("counts of two workers in one block are the counts of one, and a peek changes nothing", async () => {
  const sum = (a: ArmCounts, b: ArmCounts): ArmCounts => ({
    n: a.n + b.n,
    e: a.e + b.e,
    s: a.s + b.s,
    v: a.v + b.v,
    c4: a.c4 + b.c4,
  });
  fc.assert(
    fc.property(fc.array(fc.tuple(anyBlock, anyBlock), { maxLength: 25 }), (pairs) => {
      const hard = new Float64Array(HARD_WORDS);
      const [summed, whole] = [route(true, hard), route()];
      for (const [a, b] of pairs) {
        const together: Block = {
          canary: sum(a.canary, b.canary),
          stable: sum(a.stable, b.stable),
          canaryLatency: [...a.canaryLatency, ...b.canaryLatency],
          stableLatency: [...b.stableLatency, ...a.stableLatency],
        };
        peekHard(GUARDS, hard, 0, together, 1);
        summed.commit(together, 1);
        whole.commit({ ...together, stableLatency: [...a.stableLatency, ...b.stableLatency] }, 1);
      }
      return JSON.stringify(summed.snapshot()) === JSON.stringify(whole.snapshot());
    }),
    { numRuns: 40 },
  );
});

t.test("what a thread sees in shared memory is what the route sees", async (t) => {
  const state = new Float64Array(new SharedArrayBuffer((HARD_WORDS + 5) * 8));
  const evidence = new RouteEvidence(RULES, { state, at: 5 });
  evidence.fresh();
  evidence.stageStart(true);
  times(20, evidence, block(arm(5), arm(45)));
  const bad = block(arm(8, 8), arm(45));
  t.equal(peekHard(GUARDS, state, 5, bad, 1), "errors");
  t.ok(
    state.subarray(0, 5).every((value) => value === 0),
    "nothing before its place",
  );
  const own = new Float64Array(HARD_WORDS);
  startHard(GUARDS, own, 0, true);
  evidence.fresh();
  evidence.stageStart(true);
  t.ok(own.every((value, index) => value === state[5 + index]));
});

t.test("the catastrophic rules are explained with what was observed", async (t) => {
  const evidence = route();
  const { catastrophic } = times(
    30,
    evidence,
    block(arm(10, 1, { s: 2, v: 3 }), arm(90, 0, { s: 9, v: 18 })),
  );
  t.match(catastrophic, [
    { rule: "errors", kind: "fires", observed: 0.1, n: 300, limit: 0.01, stable: { n: 2700, observed: 0 } },
    { rule: "p95", observed: 0.2, limit: 0.05, stable: { observed: 0.1 } },
    { rule: "p99", observed: 0.3, limit: 0.01, stable: { observed: 0.2 } },
  ]);
  for (const { interval, observed } of catastrophic)
    t.ok(interval.low < Number(observed) && Number(observed) < interval.high);
  t.match(route().readings().catastrophic[0], { observed: null, n: 0, stable: { observed: null } });
});

t.test("a trip starts the catastrophic tier again and leaves the other evidence", async (t) => {
  const evidence = route();
  const before = times(30, evidence, block(arm(10, 1), arm(90)));
  evidence.trip();
  const after = evidence.readings();
  t.ok(Number(after.catastrophic[0]?.absolute) < 0);
  t.same(after.comparative, before.comparative);
  t.same(after.gate, before.gate);
});

t.test(
  "more errors than stable are found below the limit, with the difference and its interval",
  async (t) => {
    const found = comparative(times(600, route(), block(arm(50, 1), arm(450, 1))), "errors");
    t.match(found, {
      fires: true,
      control: true,
      need: CROSSING,
      canary: { n: 30_000, bad: 600 },
      stable: { n: 270_000, bad: 600 },
      quantile: null,
    });
    t.ok(found.have >= CROSSING);
    t.ok(found.interval.low < Number(found.difference) && Number(found.difference) < found.interval.high);
  },
);

t.test("a difference too small to matter fails no rule, however sure it is", async (t) => {
  const evidence = route();
  // 0.05 points more than stable, on a million responses.
  for (let i = 0; i < 400; i++) evidence.commit(block(arm(100_000, 70), arm(900_000, 180)), 1);
  const readings = evidence.readings();
  t.equal(comparative(readings, "errors").fires, true);
  const rule = { test: "sequential", compare: "error_rate", action: "rollback" } as const;
  const keys = { failed: 5, seen: 5, worst: "" };
  t.equal(checkCompare({ ...rule, worseBy: ppm(1000) }, readings, keys).kind, "successful");
  t.equal(checkCompare({ ...rule, worseBy: ppm(400) }, readings, keys).kind, "failed");
});

t.test("4xx are compared, not limited", async (t) => {
  const many = { c4: 5 };
  const alike = times(300, route(), block(arm(100, 0, many), arm(900, 0, { c4: 45 })));
  t.equal(comparative(alike, "4xx").fires, false);
  const worse = times(300, route(), block(arm(100, 0, many), arm(900, 0, { c4: 5 })));
  t.equal(comparative(worse, "4xx").fires, true);
  t.equal(comparative(worse, "errors").fires, false);
});

/** Latencies around `ms`: a spread in which the median, P90 and P99 differ. */
const spread = (ms: number, each: number): readonly number[] =>
  [0.5, 0.8, 1, 1.2, 1.5, 2, 3].flatMap((factor) => [indexOfMicros(ms * 1000 * factor), each]);

t.test("a slower canary is found by latency, an equal one is not, and a pause is not", async (t) => {
  const with60 = (ms: number, each = 2): Block =>
    block(arm(7 * each), arm(70), { canaryLatency: spread(ms, each), stableLatency: spread(60, 10) });
  const equal = times(600, route(), with60(60));
  t.ok(["latency", "latency_fast"].every((rule) => !comparative(equal, rule).fires));
  const slower = times(460, route(), with60(78));
  t.match(comparative(slower, "latency"), { fires: true });
  t.ok([0.5, 0.9, 0.99].includes(Number(comparative(slower, "latency").quantile)));
  const twice = route();
  times(60, twice, with60(60));
  t.equal(comparative(times(40, twice, with60(150)), "latency_fast").fires, true);
  t.equal(comparative(twice.readings(), "latency").fires, false, "drift of half a minute");
});

t.test("three guards on latency start with no more evidence than one on errors", async (t) => {
  for (const { have } of route().readings().comparative) t.ok(Math.abs(have - Math.log(0.5)) < 1e-9);
});

t.test("without stable's latencies there are no cut points and no latency is compared", async (t) => {
  const readings = times(60, route(), block(arm(7), arm(70), { canaryLatency: spread(600, 1) }));
  t.match(comparative(readings, "latency"), { canary: { n: 0 }, difference: null, fires: false });
});

t.test("at 100 % the comparative tier and the gate are off and say so", async (t) => {
  const hard = new Float64Array(HARD_WORDS);
  const evidence = route(true, hard);
  times(600, evidence, block(arm(50, 1), arm(450, 1)));
  evidence.stageStart(false);
  const readings = times(30, evidence, block(arm(500), arm(0)));
  t.equal(readings.gate, null);
  for (const { control, fires } of readings.comparative)
    t.same({ control, fires }, { control: false, fires: false });
  t.equal(peekHard(GUARDS, hard, 0, block(arm(60, 60), arm(0)), 1), "errors");
});

t.test("the sustained rules see whole minutes since the weight changed", async (t) => {
  const evidence = route();
  const bad = block(arm(10, 1), arm(90));
  t.match(times(299, evidence, bad).sustained, { errors: { kind: "inconclusive", minutes: 4 } });
  t.match(times(1, evidence, bad).sustained, {
    errors: { kind: "breach", observed: 0.1, n: 3000, bad: 300, partsOver: 5 },
    p95: { kind: "within" },
    p99: { kind: "within" },
  });
  evidence.stageStart(true);
  t.match(evidence.readings().sustained, { errors: { kind: "inconclusive", n: 0 } });
});

t.test("what was measured while the event loop lagged is left out and counted", async (t) => {
  const evidence = route();
  times(5, evidence, block(arm(5), arm(45)));
  evidence.discard(block(arm(40, 40), arm(60, 5)), 2);
  const readings = evidence.readings();
  t.same(readings.discarded, { seconds: 2, responses: 100 });
  t.match(readings.catastrophic[0], { kind: "quiet", observed: 0, n: 25 });
});

t.test("the gate and the success limits read what was committed, of this step", async (t) => {
  const evidence = route();
  const limits = [{ metric: "error_rate", below: ppm(1000), shown: true }] as const;
  evidence.stageStart(true, limits);
  const { gate, success } = times(900, evidence, block(arm(50), arm(450)));
  t.match(gate, { passes: true, seconds: 900 });
  t.match(success, [{ passes: true, n: 45_000, bad: 0 }]);
  const other = route();
  other.watch(limits);
  other.restore(evidence.snapshot());
  t.same(other.readings().success, success, "a replica that takes over goes on from there");
  evidence.stageStart(true, limits);
  t.match(evidence.readings().success, [{ passes: false, n: 0 }]);
  evidence.stageStart(true);
  t.same(evidence.readings().success, []);
});

t.test("a slowdown that begins on the way is found as soon as one at the start", async (t) => {
  const dice = fakeDice(5);
  // Lognormal about 60 ms, near enough; then the canary takes twice as long.
  const spread = (count: number, slower: number): readonly number[] =>
    Array.from({ length: count }, () => {
      let z = -6;
      for (let k = 0; k < 12; k++) z += dice.random();
      return [indexOfMicros(60_000 * slower * Math.exp(0.6 * z)), 1];
    }).flat();
  const second = (slower: number): Block =>
    block(arm(5), arm(45), { canaryLatency: spread(5, slower), stableLatency: spread(45, 1) });
  const secondsToFind = (healthy: number): number => {
    const evidence = route();
    for (let i = 0; i < healthy; i++) times(1, evidence, second(1));
    for (let seconds = 1; seconds < 600; seconds++) {
      const { comparative } = times(1, evidence, second(2));
      if (comparative.some(({ fires }) => fires)) return seconds;
    }
    return Infinity;
  };
  const [early, late] = [secondsToFind(60), secondsToFind(1200)];
  t.ok(early <= 90 && late <= early + 30, `${early} s and ${late} s`);
});

t.test("a rollout begins with nothing from the one before", async (t) => {
  const evidence = route();
  const empty = evidence.snapshot();
  times(45, evidence, block(arm(5, 1), arm(45), { stableLatency: [900, 3] }));
  evidence.fresh();
  evidence.stageStart(true);
  t.same(evidence.snapshot(), empty);
});

t.test("a ring keeps the newest rows, newest last, and their sums", async () => {
  const numbers = fc.array(fc.nat({ max: 1000 }), { maxLength: 40 });
  fc.assert(
    fc.property(numbers, fc.integer({ min: 1, max: 7 }), (values, slots) => {
      const ring = ringOf(slots, 2);
      const state = new Float64Array(ring.words + 2);
      const rowAt = ring.words;
      for (const value of values) {
        state[rowAt] = value;
        state[rowAt + 1] = 1;
        pushRow(ring, state, 0, rowAt);
      }
      state[rowAt] = 5;
      const newest = values.slice(-slots);
      const rows = rowsOf(ring, state, 0).map(([first]) => first);
      const sums = sumsOf(ring, state, 0, rowAt);
      const total = newest.reduce((sum, value) => sum + value, 0);
      return (
        JSON.stringify(rows) === JSON.stringify(newest) && sums[0] === total + 5 && sums[1] === newest.length
      );
    }),
  );
});

t.test("a document of a route's evidence is small enough to be saved every tick", async (t) => {
  const evidence = route();
  times(
    700,
    evidence,
    block(arm(5), arm(45), { stableLatency: spread(60, 6), canaryLatency: spread(60, 1) }),
  );
  const { length } = JSON.stringify(evidence.snapshot());
  t.comment(`${length} bytes, ${COLUMNS} columns`);
  t.ok(length < 20_000);
});
