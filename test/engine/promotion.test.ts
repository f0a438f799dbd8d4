/** What a plan asks for before the weight rises, through the engine: evidence, limits, and the hold that says what is missing. */

import t from "tap";
import { planSchema, planOf } from "../../src/config/plan.ts";
import { ADA, bench, benchConfig, checkOf, statusOf, type Bench } from "../support/engine.ts";

const QUIET = { metric: "health_failures", atLeast: 5 };

async function climbing(plan: object, onAny: object[] = [QUIET]): Promise<Bench> {
  const b = await bench(benchConfig({ rollback: { onAny } }));
  const steps = planOf(planSchema.parse(plan)).steps;
  await b.controller.command("app", { type: "start", steps, version: "", force: false, reason: "" }, ADA);
  return b;
}

const PLAN = {
  steps: [
    { setWeight: "10%", hold: "1m" },
    { setWeight: "100%", hold: "1m" },
  ],
};

/** A second of traffic: 450 requests to stable, 50 to the canary. */
function serve(b: Bench, failed = 0, ms = 10): void {
  b.plane.serve("app", "stable", { ok: 450 });
  b.plane.serve("app", "canary", { ok: 50 - failed, failed, ms });
}

t.test(
  "a canary climbs when it is shown that it is not worse, and not when only its hold is over",
  async (t) => {
    const b = await climbing(PLAN);
    await b.run(600, () => serve(b));
    t.match(statusOf(b), {
      weight: 10,
      verdict: "inconclusive",
      evidenceRatio: 600 / 900,
      evidenceEtaMs: 300_000,
    });
    t.match(checkOf(b, "not worse"), {
      tier: "promotion",
      action: "hold",
      verdict: "inconclusive",
      detail: /of 3\.0 nats and 10m of 15m of evidence; about 5m to go at best$/,
    });
    await b.run(299, () => serve(b));
    t.equal(statusOf(b).weight, 10);
    await b.run(1, () => serve(b));
    t.equal(statusOf(b).weight, 100);
    await b.run(1, () => b.plane.serve("app", "canary", { ok: 500 }));
    t.match(checkOf(b, "not worse"), { verdict: "successful", detail: /^off: no stable traffic/ });
    t.match(statusOf(b), { evidenceRatio: 1, evidenceEtaMs: 0 });
    await b.run(60, () => b.plane.serve("app", "canary", { ok: 500 }));
    t.match(statusOf(b), { phase: "succeeded", evidenceRatio: null, evidenceEtaMs: null });
  },
);

t.test("a canary that gets no traffic does not climb, however long its hold is over", async (t) => {
  const b = await climbing(PLAN);
  await b.run(7200, () => b.plane.serve("app", "stable", { ok: 5 }));
  t.match(statusOf(b), { weight: 10, phase: "progressing", evidenceRatio: 0, evidenceEtaMs: null });
});

t.test(
  "a canary that is worse by the margin is held, below every limit that would roll it back",
  async (t) => {
    const b = await climbing(PLAN);
    let second = 0;
    await b.run(3600, () => serve(b, second++ % 5 === 0 ? 1 : 0));
    t.match(statusOf(b), { weight: 10, phase: "progressing", evidenceRatio: 0 });
    t.match(checkOf(b, "not worse")?.detail, /says that it is worse/);
  },
);

t.test("with promotion off a canary climbs by time alone", async (t) => {
  const b = await climbing({ ...PLAN, promotion: "off" });
  await b.run(61, () => serve(b));
  t.equal(statusOf(b).weight, 100);
});

t.test(
  "between the success limit and the one that rolls back the weight stays, and it is said why",
  async (t) => {
    const limits = [
      { metric: "error_rate", below: "0.1%" },
      { metric: "p95", below: "200ms" },
    ];
    const rollback = { metric: "error_rate", above: "1%", for: "1m" };
    const b = await climbing({ ...PLAN, promotion: "off", success: limits }, [rollback]);
    let second = 0;
    await b.run(300, () => serve(b, second++ % 10 === 0 ? 1 : 0));
    t.match(statusOf(b), { weight: 10, phase: "progressing" });
    t.match(checkOf(b, "error_rate below 0.1%"), {
      verdict: "inconclusive",
      observed: 30 / 15_000,
      limit: 0.001,
      detail: "30 of 15000 failed at this step (0.2 %, fewer than 0.1 % may)",
    });
    t.match(checkOf(b, "p95 below 200ms"), { verdict: "successful" });
    t.match(checkOf(b, "error_rate above 1%"), { verdict: "successful" });
    await b.run(400, () => serve(b));
    t.equal(statusOf(b).weight, 100, "30 of 30,000 and fewer");
  },
);

t.test("a step's own limit takes the place of the plan's, and slow answers hold", async (t) => {
  const steps = [{ setWeight: "10%", success: [{ metric: "p95", below: "50ms" }] }, { setWeight: "20%" }];
  const success = [{ metric: "p95", below: "200ms" }];
  const b = await climbing({ success, promotion: "off", steps });
  await b.run(60, () => serve(b, 0, 100));
  t.match(statusOf(b), { weight: 10 });
  t.match(checkOf(b, "p95 below 50ms"), { verdict: "inconclusive", observed: null, limit: 50, unit: "ms" });
  t.equal(checkOf(b, "p95 below 200ms"), undefined);
  await b.controller.command("app", { type: "promote", full: false, step: 0, reason: "" }, ADA);
  await b.run(10, () => serve(b, 0, 100));
  t.match(statusOf(b), { phase: "succeeded", weight: 20 });
});

t.test("what must be shown needs the bound below the limit, and says how long that takes", async (t) => {
  const success = [{ metric: "error_rate", below: "0.1%", shown: true }];
  const b = await climbing({
    success,
    promotion: "off",
    steps: [{ setWeight: "10%" }, { setWeight: "20%" }],
  });
  await b.run(50, () => serve(b));
  t.match(statusOf(b), { weight: 10, evidenceRatio: 2500 / 2995, evidenceEtaMs: 9900 });
  await b.run(10, () => serve(b));
  t.equal(statusOf(b).weight, 20);
});

t.test(
  "what is held back can be compared with to the end, and goes when the rollout has succeeded",
  async (t) => {
    const steps = [{ setWeight: "50%" }, { setWeight: "100%", hold: "10s" }, { bake: "10m" }];
    const b = await climbing({ steps, holdback: "2%", promotion: { atLeast: "1m" } });
    const half = () => {
      b.plane.serve("app", "stable", { ok: 250 });
      b.plane.serve("app", "canary", { ok: 250 });
    };
    const rest = () => {
      b.plane.serve("app", "stable", { ok: 10 });
      b.plane.serve("app", "canary", { ok: 490 });
    };
    await b.run(65, () => (statusOf(b).weight === 50 ? half() : rest()));
    t.match(statusOf(b), {
      weight: 98,
      step: 1,
      steps: [{ weight: 50 }, { weight: 98 }, { weight: 98, bake: true }],
    });
    t.match(checkOf(b, "not worse"), { verdict: "inconclusive", have: Number });
    await b.controller.command("app", { type: "promote", full: true, step: null, reason: "" }, ADA);
    t.match(statusOf(b), { weight: 98, phase: "baking" });
    await b.run(700, rest);
    t.match(statusOf(b), { weight: 100, phase: "succeeded" });
    t.same(b.plane.weights.slice(-2), [98, 100]);
  },
);

t.test("other rules by a reload begin the evidence anew, with the step's limits", async (t) => {
  const b = await climbing({ ...PLAN, success: [{ metric: "error_rate", below: "0.1%" }] });
  await b.run(100, () => serve(b));
  b.controller.reconfigure(benchConfig({ rollback: { onAny: [{ ...QUIET, atLeast: 6 }] } }));
  await b.run(1, () => serve(b));
  t.match(checkOf(b, "error_rate below"), { verdict: "inconclusive", have: 0 });
  await b.run(10, () => serve(b));
  t.match(checkOf(b, "error_rate below"), { verdict: "successful" });
});
