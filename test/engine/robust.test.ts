/** "For five minutes" in the form that survives real life, and evidence that survives a restart, through the engine. */

import t from "tap";
import { planSchema, planOf } from "../../src/config/plan.ts";
import { ADA, bench, benchConfig, benchOf, checkOf, statusOf, type Bench } from "../support/engine.ts";

const ROBUST = { metric: "error_rate", above: "1%", test: "robust" };
const SLOW = { metric: "p95", above: "100ms", test: "robust" };

/** A second of traffic. */
function serve(b: Bench, canary: { ok: number; failed?: number; ms?: number }, stable = 0): void {
  b.plane.serve("app", "stable", { ok: 90 - stable, failed: stable });
  b.plane.serve("app", "canary", canary);
}

t.test("a canary above the limit for five minutes is rolled back, with what it was", async (t) => {
  const b = await benchOf([ROBUST]);
  await b.run(299, () => serve(b, { ok: 19, failed: 1 }));
  t.match(statusOf(b), { weight: 10 });
  t.match(checkOf(b, "error_rate above 1% for 5m, robust"), {
    tier: "sustained",
    verdict: "inconclusive",
    need: 100,
    detail: "240 of 4800 over it in 4 min; not for five minutes yet",
  });
  await b.run(2, () => serve(b, { ok: 19, failed: 1 }));
  t.match(statusOf(b), { weight: 0, phase: "rolled_back" });
  t.match(statusOf(b).lastRollback?.failed, [
    {
      verdict: "failed",
      observed: 0.05,
      have: 6000,
      n: 6000,
      detail: "300 of 6000 over it in 5 min, 5 of 5 parts of the time above 1.00 %",
    },
  ]);
});

t.test("a canary that is well so far may climb before five minutes are over", async (t) => {
  const b = await benchOf([ROBUST]);
  await b.run(4, () => serve(b, { ok: 20 }));
  t.match(checkOf(b, "error_rate"), { verdict: "inconclusive", have: 80 });
  await b.run(1, () => serve(b, { ok: 20 }));
  t.match(checkOf(b, "error_rate"), { verdict: "successful", have: 100 });
  await b.run(2, () => serve(b, { ok: 0, failed: 20 }));
  t.match(checkOf(b, "error_rate"), { verdict: "inconclusive" });
});

t.test("few failures above the limit are too few for a while, and at weight 0 nothing is due", async (t) => {
  const b = await benchOf([ROBUST]);
  let second = 0;
  await b.run(305, () => serve(b, second++ % 75 === 0 ? { ok: 0, failed: 1 } : { ok: 1 }));
  t.match(checkOf(b, "error_rate"), {
    verdict: "inconclusive",
    detail: "4 of 300 over it in 5 min; needs 10 bad ones within 30 min",
  });
  const weight = 0 as never;
  await b.controller.command("app", { type: "set_weight", weight, force: false, reason: "" }, ADA);
  await b.run(1, () => b.plane.serve("app", "stable", { ok: 90 }));
  t.match(checkOf(b, "error_rate"), { verdict: "inconclusive", detail: "no traffic is due at weight 0" });
});

t.test("a minute of failures is not five, and is said", async (t) => {
  const b = await benchOf([ROBUST]);
  await b.run(60, () => serve(b, { ok: 10, failed: 10 }));
  await b.run(245, () => serve(b, { ok: 20 }));
  t.match(statusOf(b), { weight: 10 });
  t.match(checkOf(b, "error_rate"), {
    verdict: "successful",
    detail: "600 of 6000 over it in 5 min, 1 of 5 parts of the time above 1.00 %",
  });
});

t.test("little traffic is judged over up to thirty minutes, and silence not at all", async (t) => {
  const b = await benchOf([ROBUST, SLOW]);
  let second = 0;
  // One request in ten seconds.
  const rare = (failed: boolean) => () => {
    if (second++ % 10 === 0) serve(b, failed ? { ok: 0, failed: 1 } : { ok: 1 });
    else b.plane.serve("app", "stable", { ok: 90 });
  };
  await b.run(605, rare(false));
  t.match(checkOf(b, "error_rate"), {
    verdict: "inconclusive",
    detail: "0 of 60 over it in 10 min; needs 100 responses within 30 min",
  });
  await b.run(600, rare(false));
  t.match(checkOf(b, "error_rate"), { verdict: "successful", detail: "0 of 120 over it in 20 min" });
  t.match(checkOf(b, "p95"), { verdict: "successful", observed: null, unit: "ms" });
  await b.run(1865, () => b.plane.serve("app", "stable", { ok: 90 }));
  t.match(checkOf(b, "error_rate"), { verdict: "inconclusive", observed: null, have: 0 });
  t.match(statusOf(b), { weight: 10, phase: "paused" });
});

t.test("silence climbs on nothing: what is known of before says nothing about it", async (t) => {
  const b = await benchOf([ROBUST]);
  await b.run(120, () => serve(b, { ok: 2 }));
  t.match(checkOf(b, "error_rate"), { verdict: "successful" });
  await b.run(125, () => b.plane.serve("app", "stable", { ok: 90 }));
  t.match(checkOf(b, "error_rate"), { verdict: "inconclusive", detail: "no response in the last minute" });
  await b.run(1, () => serve(b, { ok: 1 }));
  t.match(checkOf(b, "error_rate"), { verdict: "successful" });
});

t.test(
  "slow answers are counted by the same limit, also where none is judged with every response",
  async (t) => {
    const b = await benchOf([SLOW]);
    await b.run(301, () => serve(b, { ok: 20, ms: 200 }));
    t.match(statusOf(b), { phase: "rolled_back", reason: "Rolled back: p95 above 100ms for 5m, robust" });
  },
);

t.test("when stable is about as bad the weight stays, unless told otherwise", async (t) => {
  const held = await benchOf([ROBUST]);
  await held.run(320, () => serve(held, { ok: 19, failed: 1 }, 4));
  t.match(statusOf(held), { weight: 10 });
  t.match(checkOf(held, "error_rate"), { verdict: "inconclusive", detail: /shared cause/ });
  t.match(held.notices.at(-1), { event: "shared_cause", severity: "critical" });
  const told = await benchOf([ROBUST], { sharedCause: "rollback" });
  await told.run(320, () => serve(told, { ok: 19, failed: 1 }, 4));
  t.match(statusOf(told), { weight: 0, phase: "rolled_back" });
});

t.test("another weight is another test for the sustained rule", async (t) => {
  const b = await benchOf([ROBUST]);
  await b.run(240, () => serve(b, { ok: 19, failed: 1 }));
  const weight = 50_000 as never;
  await b.controller.command("app", { type: "set_weight", weight, force: false, reason: "" }, ADA);
  await b.run(290, () => serve(b, { ok: 19, failed: 1 }));
  t.equal(statusOf(b).weight, 5);
  await b.run(15, () => serve(b, { ok: 19, failed: 1 }));
  t.equal(statusOf(b).weight, 0);
});

t.test("a restart in minute four goes on from there, with the robust rule too (acceptance 10)", async (t) => {
  const b = await benchOf([ROBUST]);
  await b.run(241, () => serve(b, { ok: 19, failed: 1 }));
  b.kill();
  const { store, journal, clock } = b;
  const again = await bench(benchConfig({ rollback: { onAny: [ROBUST] } }), { store, journal, clock });
  t.equal(statusOf(again).weight, 10);
  await again.run(75, () => serve(again, { ok: 19, failed: 1 }));
  t.match(statusOf(again), { weight: 0, phase: "rolled_back" });
});

t.test("a restart costs no proof that the canary is not worse; other rules do", async (t) => {
  const config = benchConfig({ rollback: { onAny: [ROBUST] } });
  const b = await bench(config);
  const success = [{ metric: "error_rate", below: "0.1%" }];
  const steps = planOf(
    planSchema.parse({ success, steps: [{ setWeight: "10%" }, { setWeight: "20%" }] }),
  ).steps;
  await b.controller.command("app", { type: "start", steps, version: "", force: false, reason: "" }, ADA);
  const well = (each: Bench) => () => {
    each.plane.serve("app", "stable", { ok: 450 });
    each.plane.serve("app", "canary", { ok: 50 });
  };
  await b.run(600, well(b));
  b.kill();
  const { store, journal, clock } = b;
  const again = await bench(config, { store, journal, clock });
  await again.run(295, well(again));
  t.match(statusOf(again), { weight: 10 });
  t.ok(Number(statusOf(again).evidenceRatio) > 0.95, String(statusOf(again).evidenceRatio));
  again.kill();
  const changed = benchConfig({ rollback: { onAny: [{ ...ROBUST, above: "2%" }] } });
  const other = await bench(changed, { store, journal, clock: again.clock });
  await other.run(20, well(other));
  t.match(statusOf(other), { weight: 10 });
  t.ok(Number(statusOf(other).evidenceRatio) < 0.1, "evidence for other rules says nothing");
});
