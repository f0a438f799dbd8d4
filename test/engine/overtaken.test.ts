/** What happens between a question and its answer, and what is left after half a rollback: the words of a person or of the judge that must not get lost. */

import t from "tap";
import { planSchema, planOf } from "../../src/config/plan.ts";
import type { Command } from "../../src/domain/rollout-types.ts";
import { millis, ppm } from "../../src/domain/units.ts";
import { ADA, bench, benchConfig, statusOf, type Bench } from "../support/engine.ts";

const QUIET = { metric: "health_failures", atLeast: 5 };
const SEQUENTIAL = { metric: "error_rate", above: "1%", test: "sequential" };
const STEPS = [{ weight: ppm(50_000), holdMs: millis(3_600_000), bake: false }];
const START: Command = { type: "start", steps: STEPS, version: "", force: false, reason: "" };
const ask = (b: Bench, command: Command) => b.controller.command("app", command, ADA);
const setTo = (percent: number): Command => ({
  type: "set_weight",
  weight: ppm(percent * 10_000),
  force: false,
  reason: "",
});

function serve(b: Bench, canary: { ok: number; failed?: number; ms?: number }, stable = 0): void {
  b.plane.serve("app", "stable", { ok: 90 - stable, failed: stable });
  b.plane.serve("app", "canary", canary);
}

/** A bench whose backups end when they are told to. */
async function slowBackups(onAny: object[] = [QUIET]) {
  let end: () => void = () => {};
  const backups = {
    create: () =>
      new Promise<{ ok: true; name: string }>((resolve) => (end = () => resolve({ ok: true, name: "b" }))),
  };
  const b = await bench(benchConfig({ rollback: { onAny } }), { backups });
  return { b, end: () => end() };
}

t.test(
  "a rollback while a start waits for its backup wins, also where there was nothing to roll back",
  async (t) => {
    const { b, end } = await slowBackups();
    const started = ask(b, START);
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    t.match(await ask(b, { type: "rollback", reason: "stop" }), { ok: false, code: "SPLIT_PHASE_MISMATCH" });
    end();
    t.match(await started, { ok: false, code: "SPLIT_STATE_CONFLICT" });
    t.equal(statusOf(b).weight, 0);
  },
);

t.test("force that was given before a rollback is not force over it", async (t) => {
  const { b, end } = await slowBackups([SEQUENTIAL]);
  await ask(b, setTo(10));
  const started = ask(b, { ...START, force: true, reason: "newer" });
  await new Promise(setImmediate);
  for (let key = 1; key <= 5; key++) b.plane.key("app", key, true);
  await b.run(1, () => serve(b, { ok: 0, failed: 10 }));
  await b.run(11, () => b.plane.serve("app", "stable", { ok: 90 }));
  for (let key = 1; key <= 5; key++) b.plane.key("app", key, true);
  await b.run(2, () => serve(b, { ok: 0, failed: 10 }));
  t.match(statusOf(b), { phase: "rolled_back", weight: 0 });
  end();
  t.match(await started, { ok: false, code: "SPLIT_STATE_CONFLICT" });
  t.match(statusOf(b), { phase: "rolled_back", weight: 0 });
});

t.test("what a partial rollback has left is judged with every response", async (t) => {
  const b = await bench(
    benchConfig({
      rollback: {
        onAny: [SEQUENTIAL, { metric: "p95", above: "100ms", for: "5s" }],
        to: "5%",
        confirm: false,
      },
    }),
  );
  await ask(b, setTo(50));
  await b.run(8, () => serve(b, { ok: 10, ms: 200 }));
  t.match(statusOf(b), { phase: "rolled_back", weight: 5 });
  for (let key = 1; key <= 5; key++) b.plane.key("app", key, true);
  await b.run(5, () => serve(b, { ok: 0, failed: 10 }));
  t.match(statusOf(b), { phase: "rolled_back", weight: 0 });
});

t.test("an endpoint that has recovered since the verdict stands in the way of no rollback", async (t) => {
  const b = await bench(benchConfig({ rollback: { onAny: [{ ...QUIET, action: "observe" }] } }));
  await ask(b, setTo(10));
  b.health.canary = { healthy: false, failures: 5, detail: "status 503" };
  await b.run(1);
  b.health.canary = { healthy: true, failures: 0, detail: "" };
  t.match(await ask(b, { type: "rollback", reason: "stop" }), { ok: true, status: { weight: 0 } });
  await new Promise(setImmediate);
  t.match(b.journal.entries.at(-1), { event: "ROLLBACK_DONE" });
  t.match(b.notices.at(-1), { event: "ROLLBACK_DONE" });
});

t.test("a raise is recorded without the evidence of the step before", async (t) => {
  const config = benchConfig({ rollback: { onAny: [QUIET] } });
  const b = await bench(config);
  const plan = {
    promotion: { atLeast: "5s" },
    steps: [{ setWeight: "10%", hold: "1h" }, { setWeight: "20%" }, { setWeight: "30%" }],
  };
  const steps = planOf(planSchema.parse(plan)).steps;
  await ask(b, { ...START, steps });
  const well = (each: Bench) => () => {
    each.plane.serve("app", "stable", { ok: 4500 });
    each.plane.serve("app", "canary", { ok: 500 });
  };
  await b.run(120, well(b));
  t.equal(statusOf(b).evidenceRatio, 1);
  await ask(b, { type: "promote", full: false, step: 0, reason: "" });
  b.kill();
  const { store, journal, clock } = b;
  const again = await bench(config, { store, journal, clock });
  await again.run(1, well(again));
  t.match(statusOf(again), { step: 1, weight: 20 });
  t.ok(Number(statusOf(again).evidenceRatio) < 0.5, String(statusOf(again).evidenceRatio));
});

t.test("a weight that comes down from 100 % has stable to be compared with again", async (t) => {
  const b = await bench(benchConfig({ rollback: { onAny: [{ compare: "error_rate", worseBy: "0.5%" }] } }));
  for (const weight of [5, 100, 5]) await ask(b, setTo(weight));
  for (let key = 1; key <= 5; key++) b.plane.key("app", key, true);
  let second = 0;
  await b.run(300, () => serve(b, second++ % 3 === 0 ? { ok: 9, failed: 1 } : { ok: 10 }));
  t.match(statusOf(b), { phase: "rolled_back", weight: 0 });
});

t.test("a rule that only observes takes nothing away", async (t) => {
  const b = await bench(benchConfig({ rollback: { onAny: [{ ...SEQUENTIAL, action: "observe" }] } }));
  await ask(b, setTo(10));
  for (let key = 1; key <= 5; key++) b.plane.key("app", key, true);
  await b.run(30, () => serve(b, { ok: 0, failed: 10 }));
  t.match(statusOf(b), { weight: 10 });
  t.match(statusOf(b).checks[0], { verdict: "failed", action: "observe" });
});

t.test("a schedule that is cancelled is journaled under its own rollout", async (t) => {
  const b = await bench(benchConfig({ rollback: { onAny: [QUIET] } }));
  await ask(b, { ...START, startsAtMs: b.clock.wall() + 60_000 });
  const { rollout } = statusOf(b);
  await ask(b, { type: "rollback", reason: "not today" });
  await new Promise(setImmediate);
  t.match(b.journal.entries.at(-1), { event: "SCHEDULE_CANCELLED", rollout });
});

t.test("a route that cannot be judged leaves the others their judge", async (t) => {
  const [only] = benchConfig().routes;
  const config = benchConfig({ rollback: { onAny: [{ metric: "error_rate", above: "1%", for: "2s" }] } });
  const two = { ...config, routes: [{ ...only!, name: "odd" }, ...config.routes] };
  const b = await bench(two);
  await ask(b, setTo(10));
  Object.defineProperty(two.routes[0]!.rollback, "onAny", {
    get() {
      throw new Error("a bug");
    },
  });
  await b.run(30, () => serve(b, { ok: 5, failed: 5 }));
  t.match(statusOf(b), { phase: "rolled_back", weight: 0 });
});
