/** Rules of the tiers that look at every response: their words, their limits, and what a check says to people. */

import t from "tap";
import type { HardExplained, Readings } from "../../src/domain/evidence/route.ts";
import { indexOfMicros } from "../../src/domain/hdr.ts";
import { judge } from "../../src/domain/judge.ts";
import { ruleId, type CompareRule, type Rule, type SequentialRule } from "../../src/domain/rule.ts";
import {
  armedLimitsOf,
  checkCompare,
  checkSequential,
  hardLimitsOf,
  hasFastTier,
  ruleOfAlarm,
  slowFromOf,
  type Keys,
} from "../../src/domain/tiers.ts";
import { millis, ppm } from "../../src/domain/units.ts";

const ERRORS: SequentialRule = {
  test: "sequential",
  metric: "error_rate",
  above: ppm(20_000),
  action: "rollback",
};
const P95: SequentialRule = { test: "sequential", metric: "p95", above: millis(500), action: "rollback" };
const P99: SequentialRule = { test: "sequential", metric: "p99", above: millis(1000), action: "observe" };
const WORSE: CompareRule = {
  test: "sequential",
  compare: "error_rate",
  worseBy: ppm(5000),
  action: "rollback",
};
const SLOWER: CompareRule = { ...WORSE, compare: "latency", worseBy: ppm(0) };
const HEALTH: Rule = { metric: "health_failures", atLeast: 5, action: "rollback" };
const MANY: Keys = { failed: 5, seen: 5, worst: "" };

function hard(over: Partial<HardExplained> = {}): HardExplained {
  return {
    rule: "errors",
    kind: "quiet",
    limit: 0.02,
    absolute: 3,
    relative: 2,
    need: 9.21,
    control: true,
    observed: 0.01,
    interval: { low: 0, high: 0.1 },
    n: 100,
    stable: { n: 900, observed: 0 },
    ...over,
  };
}

function readings(
  catastrophic: readonly HardExplained[],
  comparative: Readings["comparative"] = [],
): Readings {
  return {
    catastrophic,
    comparative,
    sustained: {},
    gate: null,
    lately: 1,
    success: [],
    discarded: { seconds: 0, responses: 0 },
  };
}

t.test("rules are told in their own words, and an alarm by its rule's", async (t) => {
  t.equal(ruleId(ERRORS), "error_rate above 2% on every response");
  t.equal(ruleId(P95), "p95 above 500ms on every response");
  t.equal(ruleId(WORSE), "error_rate worse than stable by 0.5%");
  t.equal(ruleId(SLOWER), "latency worse than stable");
  t.equal(ruleOfAlarm([HEALTH, WORSE, P95], "p95"), ruleId(P95));
  t.equal(ruleOfAlarm([], "errors"), "errors", "a rule that a reload has just taken away");
});

t.test("limits are shares; a rule that is not there has none, and nothing is slow by it", async (t) => {
  t.strictSame(hardLimitsOf([ERRORS, P95, HEALTH]), { errors: 0.02, p95: 0.05, p99: null });
  t.strictSame(hardLimitsOf([P99]), { errors: null, p95: null, p99: 0.01 });
  const { canary, stable } = slowFromOf([P95]);
  t.strictSame(canary, [indexOfMicros(500_000), Infinity]);
  t.strictSame(stable, [indexOfMicros(400_000), Infinity], "a quarter sooner on stable");
  t.strictSame(slowFromOf([ERRORS]).canary, [Infinity, Infinity]);
  t.ok(hasFastTier([HEALTH, { ...P99, action: "rollback" }]));
  t.notOk(hasFastTier([{ ...P99, action: "observe" }]), "what only speaks takes nothing away");
  t.same(
    armedLimitsOf([
      { ...ERRORS, action: "pause" },
      { ...P95, action: "rollback" },
    ]),
    {
      errors: null,
      p95: 0.05,
      p99: null,
    },
  );
  t.notOk(hasFastTier([WORSE]) || hasFastTier([HEALTH]));
});

t.test("what fires fails, what is quiet is successful, and what is held says why", async (t) => {
  const check = (over: Partial<HardExplained>, keys: Keys = MANY) =>
    checkSequential(ERRORS, { readings: readings([hard(over)]), keys, sharedCause: "hold" });
  t.match(check({}), {
    tier: "catastrophic",
    kind: "successful",
    observed: 0.01,
    limit: 0.02,
    have: 2,
    detail: "1.00 % of 100 responses over it, stable 0.00 % of 900",
  });
  t.match(check({ kind: "fires" }), { kind: "failed" });
  const alone = check({ kind: "fires" }, { failed: 1, seen: 5, worst: "abc" });
  t.match(alone, { kind: "inconclusive", detail: /held back: one client\? .* 1 did, most of them abc's$/ });
  t.equal(alone.held, "one_client");
  t.match(check({ kind: "fires" }, { failed: 1, seen: 4, worst: "" }), { kind: "failed" });
  t.match(check({ kind: "undecided" }), { kind: "inconclusive", detail: /not yet shown/ });
  const shared = check({ kind: "shared_cause" });
  t.equal(shared.held, "shared_cause");
  const anyhow = {
    readings: readings([hard({ kind: "shared_cause" })]),
    keys: MANY,
    sharedCause: "rollback",
  } as const;
  t.match(checkSequential(ERRORS, anyhow), { kind: "failed" }, "where that is wanted");
  t.match(check({ control: false, observed: null, n: 0, stable: { n: 0, observed: null } }), {
    have: 3,
    detail: "no response, stable has none; no stable traffic to compare with",
  });
  t.match(checkSequential(P95, { readings: readings([hard()]), keys: MANY, sharedCause: "hold" }), {
    kind: "inconclusive",
    observed: null,
    unit: "ms",
  });
  t.match(
    checkSequential(P95, { readings: readings([hard({ rule: "p95" })]), keys: MANY, sharedCause: "hold" }),
    { observed: null, limit: 500 },
  );
});

t.test("a comparison tells both arms, and is off without stable", async (t) => {
  const one = {
    rule: "errors",
    fires: true,
    have: 10,
    need: 9.21,
    difference: 0.02,
    interval: { low: 0.01, high: 0.03 },
    canary: { n: 100, bad: 2 },
    stable: { n: 900, bad: 0 },
    quantile: null,
    control: true,
  } as const;
  const check = (over: object, rule = WORSE, keys = MANY) =>
    checkCompare(rule, readings([], [{ ...one, ...over }]), keys);
  t.match(check({}), {
    tier: "comparative",
    kind: "failed",
    observed: 0.02,
    interval: { low: 0.01, high: 0.03 },
    n: 100,
    detail: "canary 2 of 100, stable 0 of 900, over ten minutes",
  });
  t.match(check({ difference: 0.004 }), { kind: "successful" }, "less than the least difference");
  t.match(check({ fires: false, difference: null }), { kind: "successful", observed: null });
  t.match(check({}, WORSE, { failed: 1, seen: 5, worst: "" }), {
    kind: "inconclusive",
    detail: /; held back: .*1 did$/,
  });
  t.match(check({ control: false, fires: false }), { kind: "successful", detail: /^off/ });
  t.match(check({ rule: "latency", quantile: 0.9 }, SLOWER, { failed: 0, seen: 5, worst: "" }), {
    kind: "failed",
    observed: 0.02,
    limit: 0,
    detail:
      "canary 2 of 100 slower than 1.1 × stable's P90, stable 0 of 900 slower than stable's P90, over ten minutes",
  });
  t.match(
    check({ rule: "latency_fast", quantile: 0.5, difference: -0.3 }, SLOWER),
    { kind: "failed", detail: /1\.5 × stable's P50/ },
    "the time before the fault began is in the ten minutes, too",
  );
  const nobody = {
    rule: "latency",
    fires: false,
    difference: null,
    canary: { n: 0, bad: 0 },
    stable: { n: 0, bad: 0 },
  };
  t.match(check(nobody, SLOWER), { kind: "successful", observed: null, limit: 0 });
  const both = [
    { ...one, rule: "latency" as const, fires: false, have: 99 },
    { ...one, rule: "latency_fast" as const },
  ];
  t.match(
    checkCompare(SLOWER, readings([], both), MANY),
    { kind: "failed", have: 10 },
    "what fires comes first",
  );
  const quiet = both.map((each) => ({ ...each, fires: false }));
  t.match(checkCompare(SLOWER, readings([], quiet), MANY), { kind: "successful", have: 99 });
  t.match(checkCompare(WORSE, undefined, MANY), { kind: "inconclusive", detail: "no rollout is under way" });
});

t.test(
  "a sustained breach that stable shares is held, by errors and by latency, unless the canary is clearly worse",
  async (t) => {
    const latency = (ms: number) => ({ n: 1000, p50: ms, p95: ms, p99: ms });
    const reading = (failures: number, ms: number) => ({
      requests: 1000,
      failures,
      excluded: 0,
      all: latency(ms),
      successes: latency(ms),
    });
    const base = { for: millis(0), window: millis(60_000), minRequests: 20, action: "rollback" } as const;
    const errors: Rule = { ...base, metric: "error_rate", above: ppm(10_000) };
    const slow: Rule = { ...base, metric: "p95", above: millis(500), of: "all" };
    const kindOf = (
      rule: Rule,
      canary: ReturnType<typeof reading>,
      stable: ReturnType<typeof reading>,
      sharedCause: "hold" | "rollback" = "hold",
    ) =>
      judge({
        rules: [rule],
        step: undefined,
        weight: ppm(100_000),
        canary: () => canary,
        stable: () => stable,
        readings: undefined,
        keys: MANY,
        sharedCause,
        health: { failures: 0, healthy: true },
        clocks: {},
        elapsedMs: millis(1000),
      }).checks[0]?.kind;
    t.equal(kindOf(errors, reading(80, 10), reading(78, 10)), "inconclusive");
    t.equal(kindOf(errors, reading(80, 10), reading(60, 10)), "inconclusive", "not clearly worse");
    t.equal(kindOf(errors, reading(200, 10), reading(60, 10)), "failed");
    t.equal(kindOf(errors, reading(80, 10), reading(5, 10)), "failed", "stable is within the limit");
    t.equal(
      kindOf(errors, reading(80, 10), { ...reading(8, 10), requests: 90 }),
      "failed",
      "too little of stable",
    );
    t.equal(kindOf(errors, reading(80, 10), reading(78, 10), "rollback"), "failed", "where that is wanted");
    t.equal(kindOf(slow, reading(0, 900), reading(0, 800)), "inconclusive");
    t.equal(kindOf(slow, reading(0, 2000), reading(0, 800)), "failed");
    t.equal(kindOf(slow, reading(0, 900), reading(0, 400)), "failed");
  },
);
