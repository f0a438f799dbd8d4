/** What a plan will know: its properties, and the examples that people check by hand. */

import fc from "fast-check";
import t from "tap";
import { responsesToShow } from "../../src/domain/evidence/success.ts";
import { forecast, type Forecast } from "../../src/domain/forecast.ts";
import { points, spanOf, type Assumption } from "../../src/domain/needs.ts";
import type { Promotion, Step, SuccessLimit } from "../../src/domain/plan.ts";
import type { Rule, SustainedRule } from "../../src/domain/rule.ts";
import { FULL, millis, NONE, ppm } from "../../src/domain/units.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const sustained: SustainedRule = {
  metric: "error_rate",
  above: ppm(10_000),
  for: millis(5 * MINUTE),
  window: millis(MINUTE),
  minRequests: 20,
  action: "rollback",
};
const compare: Rule = {
  compare: "error_rate",
  test: "sequential",
  worseBy: ppm(1000),
  action: "rollback",
};
const below: SuccessLimit = { metric: "error_rate", below: ppm(1000), shown: false };
const shown: SuccessLimit = { ...below, shown: true };
const promotion: Promotion = { notWorseBy: ppm(1000), leastMs: millis(15 * MINUTE) };

const at = (weight: number, holdMs: number, more: Partial<Step> = {}): Step => ({
  weight: ppm(weight * 10_000),
  holdMs: millis(holdMs),
  bake: false,
  ...more,
});
const only = (step: Step, rules: readonly Rule[], assumed: Partial<Assumption> = {}) =>
  forecast([step], rules, { perSecond: 20, baseline: 0.001, harm: 0.005, ...assumed }, 0).steps[0]!;

const weight = fc.integer({ min: 0, max: FULL }).map((each) => ppm(each));
const limit = fc.oneof(
  fc.record({
    metric: fc.constant("error_rate" as const),
    below: fc.integer({ min: 1, max: 50_000 }).map((each) => ppm(each)),
    shown: fc.boolean(),
  }),
  fc.record({
    metric: fc.constantFrom("p50", "p95", "p99"),
    below: fc.constant(millis(200)),
    shown: fc.boolean(),
  }),
);
const step: fc.Arbitrary<Step> = fc
  .record({
    weight,
    holdMs: fc.integer({ min: 0, max: 72 * HOUR }).map((each) => millis(each)),
    limits: fc.array(limit, { maxLength: 2 }),
    isProven: fc.boolean(),
  })
  .map(({ limits, isProven, ...rest }) => ({
    ...rest,
    bake: false,
    success: limits,
    ...(isProven ? { promotion } : {}),
  }));
const rules = fc.subarray<Rule>([sustained, compare]);
const assumed: fc.Arbitrary<Assumption> = fc.record({
  perSecond: fc.double({ min: 0.01, max: 10_000, noNaN: true }),
  baseline: fc.double({ min: 0, max: 0.2, noNaN: true }),
  harm: fc.double({ min: 0.001, max: 0.3, noNaN: true }),
});
const RUNS = { numRuns: 300 };
const orNever = (value: number | null): number => value ?? Infinity;
/** Against the last digits of floating point. */
const noLater = (a: number | null, b: number | null): boolean => orNever(a) <= orNever(b) * (1 + 1e-9);

t.test("more traffic never takes longer and never knows less", async () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 3 }), rules, assumed, (steps, watched, given) => {
      const less = forecast(steps, watched, given, 0);
      const more = forecast(steps, watched, { ...given, perSecond: given.perSecond * 3 }, 0);
      return less.steps.every((each, index) => {
        const other = more.steps[index]!;
        return (
          noLater(other.ends, each.ends) &&
          noLater(other.ends90, each.ends90) &&
          noLater(other.detect?.p90Ms ?? null, each.detect?.p90Ms ?? null) &&
          noLater(other.prove?.p90Ms ?? null, each.prove?.p90Ms ?? null) &&
          noLater(other.smallestRise, each.smallestRise) &&
          (other.knows || !each.knows)
        );
      });
    }),
    RUNS,
  );
});

t.test("a longer hold never knows less, and never misses a smaller rise", async () => {
  fc.assert(
    fc.property(
      step,
      rules,
      assumed,
      fc.integer({ min: 0, max: 24 * HOUR }),
      (each, watched, given, more) => {
        const short = only(each, watched, given);
        const long = only({ ...each, holdMs: millis(each.holdMs + more) }, watched, given);
        return (long.knows || !short.knows) && noLater(long.smallestRise, short.smallestRise);
      },
    ),
    RUNS,
  );
});

t.test(
  "a step knows exactly when all that it needs comes within its hold, and says so when not",
  async () => {
    fc.assert(
      fc.property(step, rules, assumed, (each, watched, given) => {
        const found = only(each, watched, given);
        const isLate = (need: (typeof found.needs)[number]): boolean =>
          orNever(need.takes?.p90Ms ?? null) > each.holdMs;
        const late = found.needs.filter(isLate);
        const notes = each.weight === FULL ? 1 : 0;
        return found.knows === (late.length === 0) && found.words.length === late.length + notes;
      }),
      RUNS,
    );
  },
);

t.test("a step lasts as long as its hold and its evidence, and the next one begins then", async () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 2, maxLength: 4 }), rules, assumed, (steps, watched, given) => {
      const { steps: found, stuckAt } = forecast(steps, watched, given, 1000);
      return found.every(({ begins, ends, ends90, needs }, index) => {
        const before = index === 0 ? 1000 : found[index - 1]!.ends;
        if (begins !== before || (begins !== null) !== (stuckAt === null || index <= stuckAt)) return false;
        if (begins === null || ends === null) return ends === null && ends90 === null;
        const waits = needs.filter(({ kind }) => kind !== "detect").map(({ takes }) => takes!.p50Ms);
        const lasts = Math.max(steps[index]!.holdMs, ...waits);
        return Math.abs(ends - begins - lasts) <= 1e-9 * ends && ends <= orNever(ends90);
      });
    }),
    RUNS,
  );
});

t.test("2,995 canary requests without a failure show less than 0.1 %: 18.5 h at 0.045/s", async (t) => {
  const found = only(at(5, 8 * HOUR, { success: [shown] }), [], { perSecond: 0.9, baseline: 0 });
  t.same(found.words, [
    "needs 2,995 canary requests to show < 0.1 % at 95 %; 0.9 requests/s at 5 % give 0.045/s, that is 18.5 h: " +
      "the 8 h hold is too short; lengthen it, raise the first step or relax the criterion",
  ]);
  t.match(found, {
    knows: false,
    needs: [{ kind: "limit", what: "error_rate below 0.1%, shown", responses: 2995 }],
  });
  t.equal(found.ends, found.needs[0]?.takes?.p50Ms, "and it lasts until they have come");
  const long = only(at(5, 19 * HOUR, { success: [shown] }), [], { perSecond: 0.9, baseline: 0 });
  t.match(long, { knows: true, ends: 19 * HOUR });
  t.same(long.words, []);
  const failing = only(at(5, 8 * HOUR, { success: [shown] }), [], { perSecond: 0.9, baseline: 0.0002 });
  const half = responsesToShow(0.0002, 0.001)!;
  t.equal(failing.needs[0]?.responses, half);
  t.match(
    failing.words[0],
    /^needs 2,995 canary requests without a failure to show < 0\.1 % at 95 %, \d,\d{3} when 0\.02 % fail; /,
  );
  t.match(failing.words[0], /, that is [\d.]+ h, [\d.]+ h in nine of ten cases: the 8 h hold is too short; /);
});

t.test("the examples of the design: what 20 requests a second at 5 % find and prove", async (t) => {
  const found = only(at(5, 8 * HOUR, { promotion }), [sustained, compare]);
  t.equal(found.canaryPerSecond, 1);
  t.equal(Math.round(found.detect!.p50Ms / MINUTE), 41);
  t.equal(Math.round(found.detect!.p90Ms / MINUTE), 68);
  t.ok(found.detectLater!.p50Ms > found.detect!.p50Ms, "a harm that begins later takes longer");
  t.equal(found.smallestRise?.toFixed(5), "0.00155");
  t.ok(found.prove!.p50Ms > 0);
  const poor = only(at(5, 8 * HOUR), [compare], { perSecond: 5, baseline: 0.01 });
  t.ok(Math.abs(poor.smallestRise! - 0.0095) < 0.0001);
  t.match(poor, { knows: false, prove: null });
  t.match(poor.words, [
    /^needs about 18,8\d\d canary requests to find a rise of 0\.5 points; .* hold is too short; lengthen it or raise the first step$/,
  ]);
});

t.test("where a rule never gets its data the rollout never climbs, and that is said", async (t) => {
  const steps = [at(0, 0), at(5, HOUR), at(10, HOUR), at(50, HOUR)];
  const slow: Rule = { ...sustained, metric: "p95", above: millis(500), of: "worse" };
  const all: Forecast = forecast(steps, [sustained, slow], { perSecond: 3, baseline: 0.001, harm: 0.005 }, 0);
  t.match(all, { knows: false, stuckAt: 1 });
  t.match(all.steps, [
    { ends: 0 },
    { begins: 0, ends: null },
    { begins: null },
    { begins: null, knows: true },
  ]);
  t.same(all.steps[1]?.words, [
    'CANNOT CLIMB: needs 20 canary requests within 1 min for "error_rate above 1% for 5m" and "p95 above 500ms for 5m"; ' +
      "3 requests/s at 5 % give 0.15/s, 9 in that time: the verdict stays inconclusive, and the rollout can never climb " +
      "from here by itself; raise the first step, lengthen the window or lower minRequests",
  ]);
  t.match(all.steps[2]?.words, [/; raise this step, /], "nine of ten is not enough");
  t.match(
    only(at(100, HOUR), [sustained], { perSecond: 0.1 }).words[0],
    /by itself; lengthen the window or lower minRequests$/,
  );
  t.match(
    only(at(5, 5000), [sustained], {}).words[0],
    /needs 20 canary requests within 1 min for .*, that is 20 s: the 5 s hold is too short/,
  );
  const shownOnly = only(at(5, HOUR), [{ ...sustained, action: "observe" }], { perSecond: 1 });
  t.same([shownOnly.knows, shownOnly.needs], [true, []]);
  t.same(only(at(5, HOUR), [{ metric: "health_failures", atLeast: 3, action: "rollback" }]).needs, []);
});

t.test("a robust rule needs a hundred responses within half an hour", async (t) => {
  const robust: Rule = {
    test: "robust",
    metric: "error_rate",
    above: ppm(10_000),
    action: "rollback",
  };
  t.match(only(at(5, HOUR), [robust], { perSecond: 1 }), {
    knows: false,
    needs: [{ responses: 100, takes: null }],
  });
  t.match(only(at(5, HOUR), [robust], { perSecond: 1 }).words, [
    /^CANNOT CLIMB: needs 100 canary requests within 30 min for .* 90 in that time: .*; raise the first step or judge by another rule$/,
  ]);
  t.match(only(at(5, HOUR), [robust], { perSecond: 2 }), {
    knows: true,
    needs: [{ takes: { p50Ms: 1_000_000 } }],
  });
});

t.test("what no traffic can show is said to be so", async (t) => {
  const same = only(at(5, 8 * HOUR, { success: [shown] }), []);
  t.match(same, { knows: false, ends: null, needs: [{ responses: null, takes: null }] });
  t.match(same.words, [
    /^CANNOT CLIMB: "error_rate below 0\.1%, shown" can never be shown, for 0\.1 % fail even when all is well; /,
  ]);
  t.match(only(at(5, 8 * HOUR, { success: [below] }), []).words, [/can never be met/]);
  t.match(only(at(5, 8 * HOUR, { success: [below] }), [], { baseline: 0.0009 }), {
    knows: true,
    needs: [{ responses: 1 }],
  });
  t.match(only(at(5, 10, { success: [below] }), [], { baseline: 0 }).words, [
    /^needs 1 canary request to see < 0\.1 %; .* that is 1 s: the 10 ms hold is too short; /,
  ]);
  const slow: SuccessLimit = { metric: "p95", below: millis(200), shown: true };
  t.match(only(at(5, 10_000, { success: [slow] }), []).words, [
    /^needs 59 canary requests to show P95 < 200 ms at 95 %; /,
  ]);
  const small = only(at(5, HOUR), [compare], { harm: 0.0005 });
  t.match(
    small,
    { detect: null, detectLater: null, knows: false, ends: HOUR },
    "the climb does not wait for it",
  );
  t.match(small.words, [
    /^no traffic is enough to find a rise of 0\.05 points: the comparison looks for 0\.1 points or more, /,
  ]);
  t.match(
    only(at(5, HOUR), [compare], { baseline: 0.1 }),
    { detect: null, knows: false },
    "a twentieth more is no rise",
  );
  t.equal(
    only(at(5, 8 * HOUR), [compare], { perSecond: 1000 }).smallestRise,
    0.001,
    "nor is less than the rule asks for",
  );
  t.equal(only(at(5, 0), [compare]).smallestRise, null);
});

t.test("evidence that takes its time says so", async (t) => {
  const quick = only(at(5, MINUTE, { promotion }), [compare], { perSecond: 10_000 });
  t.match(quick.words, [
    /^needs about \d,\d{3} canary requests, in 15 min at least, to prove that it is not worse than stable by 0\.1 points; 10,000 requests\/s /,
  ]);
  t.match(quick.words, [
    /that is 15 min: the 1 min hold is too short; lengthen it, raise the first step or widen the margin$/,
  ]);
  const near = only(at(5, HOUR, { promotion }), [], { baseline: 0.0001, perSecond: 20 });
  t.match(near.words, [/hold is too short/]);
  const between = only(at(5, 1.5 * HOUR, { promotion }), [], { baseline: 0.0001, perSecond: 20 });
  t.match(between.words, [/the 1\.5 h hold may be too short/], "half of the cases come in time");
});

t.test("at 100 % comparison and proof are off and said to be, at 0 % nothing is asked", async (t) => {
  const rulesOf = [sustained, compare];
  const full = only(at(100, HOUR, { promotion, success: [below] }), rulesOf, { baseline: 0 });
  t.match(full, { knows: true, detect: null, prove: null, smallestRise: null });
  t.same(
    full.needs.map(({ kind }) => kind),
    ["data", "limit"],
  );
  t.same(full.words, ["no stable traffic is left at 100 %: comparison and proof are off"]);
  const held = only(at(99, MINUTE, { promotion, holdback: ppm(10_000) }), rulesOf, { perSecond: 0.9 });
  t.match(
    held,
    { knows: false, needs: [{ kind: "data" }, { kind: "detect" }, { kind: "prove" }] },
    "unless some is held back",
  );
  t.match(
    held.words.at(-1),
    /^needs about .* lengthen it or widen the margin$/,
    "and there is no higher step",
  );
  const none = only(at(0, 0, { promotion, success: [shown] }), rulesOf);
  t.match(none, { step: { weight: NONE }, knows: true, canaryPerSecond: 0, ends: 0 });
  t.same([none.needs, none.words], [[], []]);
  for (const change of [{ action: "observe" }, { compare: "latency" }] as const) {
    const { detect, needs } = only(at(50, HOUR), [{ ...compare, ...change }]);
    t.same([detect, needs], [null, []], "what is only shown protects nobody");
  }
});

t.test("times are told in one unit, differences in points", async (t) => {
  t.same([0.01, 0.005, 0.1234, 0.00012345].map(points), [
    "1 point",
    "0.5 points",
    "12.3 points",
    "0.0123 points",
  ]);
  const told = [0, 450, 1000, 66_555_000, 8 * HOUR, 48 * HOUR, 72 * HOUR, 90 * 24 * HOUR * 20].map(spanOf);
  t.same(told, ["0 ms", "450 ms", "1 s", "18.5 h", "8 h", "48 h", "3 d", "1,800 d"]);
});

t.test("what is so or not is named among the needs, and takes neither traffic nor time", async (t) => {
  const asked: Step = { weight: NONE, holdMs: millis(0), bake: false, calm: "critical", healthy: true };
  const [found] = forecast([asked], [], { perSecond: 1, baseline: 0.001, harm: 0.005 }, 0).steps;
  t.same(
    found?.needs.map(({ what, takes }) => [what, takes?.p90Ms]),
    [
      ["no critical alert open", 0],
      ["every endpoint healthy", 0],
    ],
  );
  t.equal(found?.knows, true);
});
