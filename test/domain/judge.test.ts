import fc from "fast-check";
import t from "tap";
import { judge, type Evidence } from "../../src/domain/judge.ts";
import { ruleId, type Rule } from "../../src/domain/rule.ts";
import { millis, ppm, type Millis } from "../../src/domain/units.ts";
import type { Latency, Reading } from "../../src/domain/window.ts";

const NO_LATENCY: Latency = { n: 0, p50: null, p95: null, p99: null };
const flat = (n: number, ms: number): Latency => (n === 0 ? NO_LATENCY : { n, p50: ms, p95: ms, p99: ms });

function reading(requests: number, failures: number, allMs = 10, successMs = allMs): Reading {
  const successes = requests - failures;
  return {
    requests,
    failures,
    excluded: 0,
    all: flat(requests, allMs),
    successes: flat(successes, successMs),
  };
}

const ERRORS: Rule = {
  metric: "error_rate",
  above: ppm(10_000),
  for: millis(300_000),
  window: millis(60_000),
  minRequests: 20,
  action: "rollback",
};
const P95: Rule = { ...ERRORS, metric: "p95", above: millis(500), of: "worse" };
const HEALTH: Rule = { metric: "health_failures", atLeast: 5, action: "rollback" };
const WELL = { failures: 0, healthy: true };

function evidence(over: Partial<Evidence> & { readonly at?: Reading }): Evidence {
  return {
    rules: [ERRORS],
    step: undefined,
    weight: ppm(100_000),
    canary: () => over.at ?? reading(0, 0),
    stable: () => reading(0, 0),
    readings: undefined,
    keys: { failed: 0, seen: 0, worst: "" },
    sharedCause: "hold",
    health: WELL,
    clocks: {},
    elapsedMs: millis(1000),
    ...over,
  };
}

/** The verdict after each second of `script`, the clocks carried on. */
function play(script: readonly Reading[], rules: readonly Rule[] = [ERRORS]) {
  let clocks: Readonly<Record<string, Millis>> = {};
  return script.map((at) => {
    const verdict = judge(evidence({ at, rules, clocks }));
    clocks = verdict.clocks;
    return verdict;
  });
}

const seconds = (count: number, at: Reading): readonly Reading[] => new Array<Reading>(count).fill(at);
const BAD = reading(100, 10);
const GOOD = reading(100, 0);
const FEW = reading(19, 19);

t.test("a rule fires when its breach has lasted, at the very tick", async (t) => {
  const verdicts = play(seconds(302, BAD));
  t.equal(
    verdicts.findIndex((verdict) => verdict.kind === "failed"),
    300,
  );
  t.equal(verdicts[299]?.kind, "inconclusive", "above the limit is no success either");
  t.match(verdicts[299]?.checks[0]?.detail, /4m59s of 5m/);
});

t.test("how long a breach has lasted is said in seconds, not to the microsecond of a tick", async (t) => {
  const saidAfter = (before: number, last: number): string =>
    judge(
      evidence({
        at: BAD,
        rules: [{ ...ERRORS, for: millis(2000) }],
        clocks: { [ruleId({ ...ERRORS, for: millis(2000) })]: millis(before) },
        elapsedMs: millis(last),
      }),
    ).checks[0]?.detail ?? "";
  t.equal(saidAfter(2000.379, 1000.25), "above the limit for 3s");
  t.equal(saidAfter(500.1, 200.2), "above the limit for 700ms of 2s");
});

t.test("one tick within the limit starts the clock anew", async (t) => {
  const verdicts = play([...seconds(300, BAD), GOOD, ...seconds(300, BAD)]);
  t.notOk(verdicts.some((verdict) => verdict.kind === "failed"));
  t.equal(verdicts[300]?.kind, "successful");
});

t.test("a tick without enough data neither starts, advances nor resets the clock", async (t) => {
  t.notOk(
    play(seconds(900, FEW)).some((verdict) => verdict.kind === "failed"),
    "silence and scraps never fail",
  );
  t.same(play([FEW])[0]?.clocks, {});
  const verdicts = play([...seconds(200, BAD), ...seconds(500, FEW), ...seconds(101, BAD)]);
  t.equal(
    verdicts.findIndex((verdict) => verdict.kind === "failed"),
    800,
  );
});

t.test("exactly at the limit is not above it", async (t) => {
  const atOnce = (rule: Rule): Rule => ({ ...rule, for: millis(0) }) as Rule; // a rule of the same kind
  t.equal(judge(evidence({ at: reading(1000, 10), rules: [atOnce(ERRORS)] })).kind, "successful");
  t.equal(judge(evidence({ at: reading(1000, 11), rules: [atOnce(ERRORS)] })).kind, "failed");
  // 500 ms reads back as 501.759 from its bucket: still the limit, not above it.
  t.equal(judge(evidence({ at: reading(100, 0, 501.759), rules: [atOnce(P95)] })).kind, "successful");
  t.equal(judge(evidence({ at: reading(100, 0, 504), rules: [atOnce(P95)] })).kind, "failed");
});

t.test("fast errors do not hide slow successes (acceptance 20)", async (t) => {
  const fastErrors = reading(1000, 960, 5, 900);
  const now: Rule = { ...P95, for: millis(0) };
  t.equal(judge(evidence({ at: fastErrors, rules: [now] })).kind, "failed");
  t.equal(judge(evidence({ at: fastErrors, rules: [{ ...now, of: "successes" }] })).kind, "failed");
  t.equal(judge(evidence({ at: fastErrors, rules: [{ ...now, of: "all" }] })).kind, "successful");
  const slowFailures = reading(1000, 500, 900, 5);
  t.equal(
    judge(evidence({ at: slowFailures, rules: [now] })).kind,
    "failed",
    "time-outs count by their time",
  );
  t.equal(
    judge(evidence({ at: reading(100, 90, 5, 900), rules: [now] })).kind,
    "successful",
    "ten are too few to judge by",
  );
});

t.test("every measurement missing is inconclusive: no success, no failure (acceptance 4)", async (t) => {
  const verdict = judge(evidence({ rules: [ERRORS, P95, HEALTH], health: { failures: 0, healthy: null } }));
  t.equal(verdict.kind, "inconclusive");
  t.strictSame(
    verdict.checks.map((check) => check.kind),
    ["inconclusive", "inconclusive", "inconclusive"],
  );
  t.strictSame(
    verdict.checks.map((check) => check.observed),
    [null, null, null],
  );
  t.match(verdict.checks[0]?.detail, /no exchange in the last 1m, needs 20/);
  t.match(judge(evidence({ at: FEW })).checks[0]?.detail, /19 of 20 exchanges/);
});

t.test("failed probes in a row fail the rule, whatever the traffic says", async (t) => {
  const at = (failures: number, healthy: boolean | null) =>
    judge(evidence({ rules: [HEALTH], at: GOOD, health: { failures, healthy } }));
  t.equal(at(5, false).kind, "failed");
  t.equal(at(5, null).kind, "failed");
  t.equal(at(4, true).kind, "inconclusive");
  t.equal(at(0, true).kind, "successful");
});

t.test("at weight 0 no traffic is due, and only health says whether to climb", async (t) => {
  const at = (healthy: boolean | null) =>
    judge(evidence({ rules: [ERRORS, HEALTH], weight: ppm(0), health: { failures: 0, healthy } }));
  t.equal(at(true).kind, "successful");
  t.equal(at(false).kind, "inconclusive");
  t.equal(at(null).kind, "inconclusive");
  t.match(at(true).checks[0]?.detail, /no traffic is due/);
});

t.test("a rule that only observes shows its failure and decides nothing", async (t) => {
  const watched: Rule = { ...ERRORS, for: millis(0), action: "observe" };
  const verdict = judge(evidence({ rules: [watched], at: BAD }));
  t.equal(verdict.kind, "successful");
  t.equal(verdict.checks[0]?.kind, "failed");
  t.equal(judge(evidence({ rules: [{ ...watched, action: "pause" }], at: BAD })).kind, "failed");
});

t.test("a rule's id is its own words", async (t) => {
  t.equal(ruleId(ERRORS), "error_rate above 1% for 5m");
  t.equal(ruleId({ ...P95, of: "successes", for: millis(0) }), "p95 of successes above 500ms");
  t.equal(ruleId(HEALTH), "health_failures at least 5");
});

const second = fc
  .record({ requests: fc.nat({ max: 60 }), bad: fc.nat({ max: 100 }) })
  .map(({ requests, bad }) => reading(requests, Math.floor((requests * bad) / 100)));

t.test("no verdict ever fails before its breach has lasted, nor without enough data", async () => {
  fc.assert(
    fc.property(fc.array(second, { maxLength: 60 }), fc.integer({ min: 0, max: 10 }), (script, lasting) => {
      const rule: Rule = { ...ERRORS, for: millis(lasting * 1000) };
      let breached = -1;
      return play(script, [rule]).every((verdict, index) => {
        const at = script[index] ?? reading(0, 0);
        const enough = at.requests >= 20;
        const bad = at.failures * 100 > at.requests;
        if (enough && !bad) breached = -1;
        if (enough && bad) breached++;
        return (verdict.kind === "failed") === (enough && bad && breached >= lasting);
      });
    }),
  );
});
