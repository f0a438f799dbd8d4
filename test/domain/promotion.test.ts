/** What is asked for before the weight may rise: success limits, the proof that the canary is not worse, and their checks. */

import fc from "fast-check";
import t from "tap";
import type { AlertSeverity } from "../../src/domain/alert-rule.ts";
import { gateReading, GATE_WORDS } from "../../src/domain/evidence/gate.ts";
import { isShownBelow } from "../../src/domain/evidence/proportion.ts";
import type { Readings } from "../../src/domain/evidence/route.ts";
import {
  countSuccess,
  responsesToShow,
  startSuccess,
  SUCCESS_WORDS,
  successReading,
  successReadings,
} from "../../src/domain/evidence/success.ts";
import { indexOfMicros } from "../../src/domain/hdr.ts";
import type { Step, SuccessLimit } from "../../src/domain/plan.ts";
import { calmWords, checkPromotion, limitWords } from "../../src/domain/promotion.ts";
import { FULL, millis, NONE, ppm } from "../../src/domain/units.ts";

const met: SuccessLimit = { metric: "error_rate", below: ppm(1000), shown: false };
const shown: SuccessLimit = { ...met, shown: true };
const fast: SuccessLimit = { metric: "p95", below: millis(200), shown: false };
const reading = (limit: SuccessLimit, n: number, bad: number, perSecond: number) =>
  successReading(limit, 0.001, n, bad, perSecond);

t.test("a success limit is met by the observed share and shown by its bound", async (t) => {
  t.match(reading(met, 2994, 0, 10), { passes: true, upper: null, ratio: 1, etaS: 0 });
  t.match(reading(shown, 2994, 0, 10), { passes: false, need: 2995, ratio: 2994 / 2995, etaS: 0.1 });
  t.match(reading(shown, 2995, 0, 10), { passes: true, ratio: 1, etaS: 0 });
  t.ok(Number(reading(shown, 2995, 0, 10).upper) < 0.001);
  t.match(reading(met, 1000, 1, 10), { passes: false, etaS: null }, "at the limit is not below it");
  t.match(reading(met, 0, 0, 0), { passes: false, observed: null, ratio: 0 }, "silence does not pass");
  t.match(reading(shown, 0, 0, 0), { passes: false, observed: null, need: 2995, ratio: 0, etaS: null });
  t.match(reading(shown, 100, 5, 1), { passes: false, need: null, ratio: 0, etaS: null });
  const hopeless = reading(shown, 1e6, 999.9999999999, 1);
  t.match(hopeless, { passes: false, need: null }, "too close to the limit for any number");
});

t.test(
  "a step may ask that no alert is open and that every endpoint is healthy, at weight 0 as well",
  async (t) => {
    const step: Step = { weight: NONE, holdMs: millis(0), bake: false, calm: "critical", healthy: true };
    const zone = () => "in between";
    const of = (alerts: readonly AlertSeverity[], healthy: boolean | null) =>
      checkPromotion(step, undefined, { alerts, healthy, zone }).map(
        ({ kind, detail }) => `${kind}: ${detail}`,
      );
    t.same(of([], true), ["successful: none is open", "successful: they are"]);
    t.same(of(["warning"], null), [
      "successful: none is open",
      "inconclusive: not every endpoint has been probed yet",
    ]);
    t.same(of(["critical"], false), ["inconclusive: one is open", "inconclusive: one is not"]);
    t.same(of(["emergency", "critical"], true)[0], "inconclusive: 2 are open");
    t.same([calmWords("warning"), calmWords("critical")], ["no alert open", "no critical alert open"]);
    const base = { weight: ppm(50_000), holdMs: millis(0), bake: false };
    const [known] = checkPromotion({ ...base, calm: "warning" }, undefined);
    t.match(
      known,
      { kind: "successful", tier: "promotion", action: "hold" },
      "where nothing is known of alerts, there are none",
    );
    const grey = { success: [successReading(met, 0.001, 1000, 3, 10)] } as unknown as Readings;
    t.match(checkPromotion(base, grey, { alerts: [], healthy: true, zone })[0]?.detail, /; in between$/);
  },
);

t.test("what is said to be needed is enough, and a hundredth less is not", async () => {
  const share = fc.double({ min: 0, max: 0.9, noNaN: true });
  fc.assert(
    fc.property(share, fc.double({ min: 0.001, max: 0.3, noNaN: true }), (part, limit) => {
      const observed = part * limit;
      const need = responsesToShow(observed, limit);
      const at = (n: number): boolean => isShownBelow(n * observed, n, limit);
      return need !== null && at(need) && (need < 100 || !at(need * 0.99 - 1));
    }),
  );
});

t.test("a limit on a percentile is one on the share that is slower", async (t) => {
  const state = new Float64Array(SUCCESS_WORDS + 1);
  startSuccess(state, 1);
  const median: SuccessLimit = { metric: "p50", below: millis(100), shown: false };
  const limits = [met, fast, median];
  const at = (ms: number, count: number): readonly number[] => [indexOfMicros(ms * 1000), count];
  const arm = { n: 100, e: 1, s: 0, v: 0, c4: 0 };
  countSuccess(state, 1, limits, arm, [...at(50, 60), ...at(150, 36), ...at(300, 4)], 10);
  t.match(successReadings(state, 1, limits), [
    { n: 100, bad: 1, passes: false },
    { n: 100, bad: 4, share: 0.05, passes: true },
    { n: 100, bad: 40, share: 0.5, passes: true },
  ]);
  countSuccess(state, 1, limits, { ...arm, n: 1, e: 0 }, at(300, 2), 10);
  t.match(successReadings(state, 1, limits)[1], { n: 102, bad: 6, passes: false });
  countSuccess(state, 1, limits, arm, at(200, 1000), 10);
  t.match(
    successReadings(state, 1, limits)[1],
    { bad: 6 },
    "what cannot be told from the limit is not above it",
  );
  startSuccess(state, 1);
  t.match(successReadings(state, 1, limits), [{ n: 0 }, { n: 0, bad: 0 }, { n: 0 }]);
});

const step = (over: Partial<Step> = {}): Step => ({
  weight: ppm(100_000),
  holdMs: millis(0),
  bake: false,
  promotion: { notWorseBy: ppm(1000), leastMs: millis(900_000) },
  ...over,
});
const gate = {
  ...gateReading(new Float64Array(GATE_WORDS), 0, 0.001),
  seconds: 300,
  have: 1.234,
  ratio: 1 / 3,
};
const known = (over: Partial<Readings>): Readings => ({
  catastrophic: [],
  comparative: [],
  sustained: {},
  lately: 1,
  gate,
  success: [],
  discarded: { seconds: 0, responses: 0 },
  ...over,
});

t.test("what is missing before the weight may rise is said, with how much and for how long", async (t) => {
  t.match(checkPromotion(step(), known({ gate: { ...gate, etaS: 4020 } })), [
    {
      rule: "not worse than stable by 0.1%",
      tier: "promotion",
      kind: "inconclusive",
      action: "hold",
      have: 1.234,
      need: Math.log(20),
      ratio: 1 / 3,
      etaMs: 4_020_000,
      detail: "has 1.2 of 3.0 nats and 5m of 15m of evidence; about 1h7m to go at best",
    },
  ]);
  const [worse] = checkPromotion(step(), known({ gate: { ...gate, have: -2, etaS: null } }));
  t.match(worse, { have: 0, etaMs: null });
  t.match(worse?.detail, /says that it is worse; no telling how long/);
  t.match(checkPromotion(step(), known({ gate: { ...gate, passes: true } })), [
    { kind: "successful", detail: "shown" },
  ]);
});

t.test("without stable traffic the proof is off at 100 %, and missing below", async (t) => {
  t.match(checkPromotion(step(), known({ gate: null })), [{ kind: "inconclusive", ratio: 0, etaMs: null }]);
  t.match(checkPromotion(step(), undefined), [{ kind: "inconclusive" }], "nothing is measured yet");
  const [full] = checkPromotion(step({ weight: FULL }), known({ gate: null }));
  t.match(full, { kind: "successful", ratio: 1 });
  t.match(full?.detail, /^off: no stable traffic/);
  t.same(checkPromotion(step({ weight: NONE }), known({})), [], "no traffic is due at weight 0");
});

t.test("a plan that asks for no proof has none", async (t) => {
  const { promotion: _, ...plain } = step();
  t.same(checkPromotion(plain, known({})), []);
});

t.test("success limits hold the weight in their own words", async (t) => {
  t.equal(limitWords(shown), "error_rate below 0.1%, shown");
  t.equal(limitWords(fast), "p95 below 200ms");
  const { promotion: _, ...plain } = step();
  const words = (...readings: Readings["success"]) =>
    checkPromotion(plain, known({ success: readings })).map(({ kind, detail }) => `${kind}: ${detail}`);
  t.same(
    words(
      reading(met, 0, 0, 0),
      reading(met, 1000, 5, 1),
      successReading(fast, 0.05, 1000, 31, 1),
      reading(shown, 2995, 0, 1),
      reading(shown, 1000, 0, 1),
      reading(shown, 1000, 5, 1),
    ),
    [
      "inconclusive: no response of the canary at this step yet",
      "inconclusive: 5 of 1000 failed at this step (0.5 %, fewer than 0.1 % may)",
      "successful: 31 of 1000 slower than 200ms at this step (3.1 %, fewer than 5 % may)",
      "successful: 0 of 2995 failed at this step (0 %, fewer than 0.1 % may); at most 0.1 % with 95 % confidence",
      "inconclusive: 0 of 1000 failed at this step (0 %, fewer than 0.1 % may); at most 0.299 % with 95 % confidence; " +
        "needs 2995 responses at this rate, about 34m to go at best",
      "inconclusive: 5 of 1000 failed at this step (0.5 %, fewer than 0.1 % may); at most 1.048 % with 95 % confidence; " +
        "too many for any number of responses to show it",
    ],
  );
  const [errors, slow] = checkPromotion(
    plain,
    known({ success: [reading(met, 10, 1, 1), successReading(fast, 0.05, 10, 1, 1)] }),
  );
  t.match(errors, { observed: 0.1, limit: 0.001, unit: "fraction", have: 10, need: 1, n: 10 });
  t.match(slow, { observed: null, limit: 200, unit: "ms" });
});
