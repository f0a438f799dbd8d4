/** What a check tells a person: what its responses had in common, and what to do; the same object wherever it is shown. */

import t from "tap";
import { explain } from "../../src/engine/explain.ts";
import { FailureMarks, RecentMarks } from "../../src/engine/marks.ts";
import type { CheckStatus } from "../../src/engine/status.ts";
import { millis } from "../../src/domain/units.ts";
import { ADA, benchOf, checkOf, sampleOf, statusOf, type Bench } from "../support/engine.ts";

const SEQUENTIAL = { metric: "error_rate", above: "1%", test: "sequential" };
const SUSTAINED = { metric: "error_rate", above: "1%", for: "2m" };

function serve(b: Bench, failed: number, stable = 0): void {
  b.plane.serve("app", "stable", { ok: 90 - stable, failed: stable });
  b.plane.serve("app", "canary", { ok: 10 - failed, failed });
}

const NO_RESCUES = { answered: 0, failed: 0, refused: 0 };

t.test(
  "a rollback by an alarm between two ticks names its rule, its numbers and where to look",
  async (t) => {
    const b = await benchOf([SEQUENTIAL], { confirm: false, cooldown: "30m" });
    for (let key = 1; key <= 5; key++) b.plane.key("app", key, true);
    await b.run(5, () => serve(b, 0));
    serve(b, 10);
    for (let i = 0; i < 4; i++)
      b.plane.sample("app", { path: "/checkout", keyHash: `k${i}`, traceId: `t${i}` });
    b.plane.sample("app", { path: "/cart", method: "PUT", status: 503, keyHash: "k4" });
    b.plane.cross("app", "errors");
    t.match(statusOf(b), { phase: "rolled_back", weight: 0 });
    const { failed, explanation } = statusOf(b).lastRollback!;
    t.match(failed, [
      {
        rule: "error_rate above 1% on every response",
        verdict: "failed",
        observed: 10 / 60,
        n: 60,
        interval: { low: Number, high: Number },
        limit: 0.01,
        marks: {
          worstPaths: [
            { name: "/checkout", count: 4 },
            { name: "/cart", count: 1 },
          ],
          worstMethods: [{ name: "GET" }, { name: "PUT" }],
          byReason: [{ name: "status 500", count: 4 }, { name: "status 503" }],
          distinctKeys: 5,
          traceIds: ["t0", "t1", "t2", "t3"],
        },
        advice:
          "All users are on stable; nothing more has to be done at once. Look in the canary's log for status 500 at /checkout, e.g. trace t3.",
      },
    ]);
    t.same(explanation, [
      "The weight went from 10 % to 0 % by itself: Rolled back: error_rate above 1% on every response. Now every user is on stable.",
      "10 requests failed on the canary in this rollout, 0 of them were answered by stable.",
      "error_rate above 1% on every response: failed. 16.67 % of 60 responses over it, stable 0.00 % of 540 (95 %: 9.31 % to 28.03 %)",
      "In the last minutes mostly /checkout × 4, /cart × 1 (GET × 4, PUT × 1): status 500 × 4, status 503 × 1; 5 distinct keys; traces t1, t2, t3.",
      failed[0]?.advice,
      "A new rollout needs a person, and 30m of cooldown unless forced.",
    ]);
    // Recording comes after the weight.
    await new Promise(setImmediate);
    // The same object wherever it is read.
    t.same(b.reports[0]?.["failed"], failed);
    t.same(b.notices.at(-1)?.details["failed"], failed);
    t.same(b.notices.at(-1)?.details["explanation"], explanation);
    t.same(b.journal.entries.at(-1)?.details?.["checks"], failed);
    t.same(statusOf(b).checks, failed);
  },
);

t.test("what asks for a decision says which, and what happens without one", async (t) => {
  const pause = { ...SUSTAINED, for: "1m", action: "pause" };
  const b = await benchOf([SUSTAINED, pause]);
  const steps = [{ weight: 100_000 as never, holdMs: millis(3_600_000), bake: false }];
  await b.controller.command("app", { type: "start", steps, version: "", force: true, reason: "" }, ADA);
  await b.run(30, () => serve(b, 1));
  t.match(
    checkOf(b, "error_rate above 1% for 2m").advice,
    /^Look in the canary's log\. If it stays so, it is rolled back in 1m\d\ds?\.$/,
  );
  await b.run(60, () => serve(b, 1));
  t.match(
    checkOf(b, "error_rate above 1% for 1m").advice,
    "The climb is paused and 10 % of the users are still on the canary: decide (sluice rollback app --reason CODE, or sluice resume app).",
  );
});

t.test("a shared cause, one client and a sick endpoint each say where to look", async (t) => {
  const shared = await benchOf([SEQUENTIAL]);
  for (let key = 1; key <= 5; key++) shared.plane.key("app", key, true);
  await shared.run(300, () => serve(shared, 1, 9));
  t.match(
    checkOf(shared, "error_rate").advice,
    /^Both versions suffer: .* sluice rollback app --reason CODE$/,
  );
  t.match(shared.notices.find(({ event }) => event === "shared_cause")?.details, {
    check: { rule: checkOf(shared, "error_rate").rule, advice: checkOf(shared, "error_rate").advice },
  });
  const one = await benchOf([SEQUENTIAL]);
  for (let key = 1; key <= 9; key++) one.plane.key("app", key, key === 1);
  await one.run(5, () => serve(one, 10));
  t.match(checkOf(one, "error_rate").advice, /^Too few users are affected/);
  const sick = await benchOf([{ metric: "health_failures", atLeast: 5, action: "observe" }]);
  sick.health.canary = { healthy: false, failures: 5, detail: "status 503" };
  await sick.run(1);
  t.equal(
    checkOf(sick, "health").advice,
    "Look at the canary's endpoint http://canary: status 503. Nothing follows by itself: the rule only observes.",
  );
  t.equal(checkOf(sick, "health").marks, undefined);
  sick.health.canary = null;
  await sick.run(1);
  t.match(checkOf(sick, "health"), { verdict: "inconclusive", advice: "" });
});

t.test(
  "a shared cause that comes and goes is told once, and again when it comes back much later",
  async (t) => {
    const b = await benchOf([SUSTAINED]);
    let second = 0;
    const told = () => b.notices.filter(({ event }) => event === "shared_cause").length;
    // Stable hovers about the limit while the canary is over it.
    const hovering = () => serve(b, 1, second++ % 130 < 65 ? 9 : 0);
    await b.run(120, () => serve(b, 1, 9));
    await b.run(600, hovering);
    t.equal(told(), 1);
    await b.run(700, () => serve(b, 0));
    await b.run(200, () => serve(b, 1, 9));
    t.equal(told(), 2);
  },
);

t.test("a partial rollback says who is still on the canary", async (t) => {
  const b = await benchOf([{ ...SUSTAINED, for: "5s" }], { to: "2%" });
  await b.run(10, () => serve(b, 10));
  t.match(statusOf(b), { phase: "rolled_back", weight: 2 });
  t.match(statusOf(b).lastRollback?.explanation.join("\n"), /Now 2 % of the users are still on the canary\./);
  t.match(statusOf(b).lastRollback?.failed[0]?.advice, /to take it away: sluice rollback app --reason CODE$/);
  const tripped = await benchOf([SEQUENTIAL]);
  tripped.plane.cross("app", "errors");
  await tripped.controller.command("app", { type: "rollback", reason: "enough" }, ADA);
  t.match(statusOf(tripped).lastRollback?.explanation[0], "from 10 % to 0 % by ada", "an alarm had taken it");
  const hand = await benchOf([SUSTAINED]);
  await hand.controller.command("app", { type: "rollback", reason: "security" }, ADA);
  t.match(
    statusOf(hand).lastRollback?.explanation[0],
    "from 10 % to 0 % by ada: security. Now every user is on stable.",
  );
});

t.test("slow answers and 4xx are told apart from failures, each for its own rules", async (t) => {
  const slow = { metric: "p95", above: "100ms", for: "5m" };
  const missing = { compare: "client_error_rate", action: "observe" };
  const b = await benchOf([SUSTAINED, slow, missing]);
  b.plane.sample("app", { kind: "slow", path: "/slow", reason: "ok", status: 200 });
  b.plane.sample("app", { kind: "client_error", path: "/gone", reason: "ok", status: 404 });
  b.plane.sample("app", { path: "/broken", reason: "connect", status: 502 });
  await b.run(1, () => serve(b, 1));
  const seen = (words: string) => checkOf(b, words).marks;
  t.match(seen("error_rate"), { worstPaths: [{ name: "/broken" }], byReason: [{ name: "connect" }] });
  t.match(seen("p95"), { worstPaths: [{ name: "/slow" }], byReason: [{ name: "slow" }] });
  t.match(seen("client_error_rate"), { worstPaths: [{ name: "/gone" }], byReason: [{ name: "status 404" }] });
});

t.test("what is shown of late is of the last five to ten minutes, with bounds", async (t) => {
  const recent = new RecentMarks();
  const at = (seconds: number) => millis(seconds * 1000);
  recent.take([sampleOf({ path: "/a", keyHash: "1" })], at(310));
  recent.take([sampleOf({ path: "/b", keyHash: "1" }), sampleOf({ path: "/b", keyHash: "2" })], at(650));
  t.match(recent.of("failure", at(700)), {
    worstPaths: [
      { name: "/b", count: 2 },
      { name: "/a", count: 1 },
    ],
    distinctKeys: 2,
  });
  t.match(recent.of("failure", at(920)), { worstPaths: [{ name: "/b" }] }, "the older half is gone");
  t.equal(recent.of("slow", at(920)), undefined);
  t.equal(recent.of("failure", at(2000)), undefined);
  const many = Array.from({ length: 5000 }, (_, i) =>
    sampleOf({ path: `/${i}`, keyHash: String(i), traceId: String(i) }),
  );
  recent.take(many, at(2000));
  t.match(recent.of("failure", at(2001)), { distinctKeys: 1000, keysCapped: true });
  t.equal(recent.of("failure", at(2001))?.worstPaths.length, 5);
  const [, told] = explain({ ...plain, marks: recent.of("failure", at(2001))! });
  t.match(told, /at least 1000 distinct keys; traces /);
  t.ok(Number(told?.length) < 300, "one line, whatever the clients do");
});

t.test("the traces that are shown are the newest, the newest last", async (t) => {
  const many = Array.from({ length: 5000 }, (_, nth) => sampleOf({ traceId: String(nth) }));
  const recent = new RecentMarks();
  recent.take(many, millis(300_000));
  const seen = () => recent.of("failure", millis(600_000))?.traceIds;
  t.strictSame(seen(), ["4995", "4996", "4997", "4998", "4999"]);
  recent.take([sampleOf({ traceId: "later" })], millis(600_000));
  t.strictSame(seen(), ["4996", "4997", "4998", "4999", "later"]);
  const whole = new FailureMarks();
  whole.take({ route: "app", arms: {}, forced: {}, rescues: NO_RESCUES, events: {}, samples: many });
  const last = many.slice(-20).map(({ traceId }) => traceId);
  t.strictSame(whole.marks.traceIds, last, "of a whole rollout too, and no more than twenty");
});

const plain: CheckStatus = {
  rule: "health_failures at least 5",
  tier: "health",
  verdict: "failed",
  action: "rollback",
  observed: 5,
  limit: 5,
  unit: "count",
  have: 1,
  need: 1,
  breachMs: null,
  forMs: 0,
  detail: "5 failed probes in a row",
  advice: "",
};

t.test(
  "checks of the same kind have the same marks, gathered once, whatever their rules are called",
  async (t) => {
    const b = await benchOf([
      SUSTAINED,
      SEQUENTIAL,
      { metric: "p95", above: "100ms", for: "2m" },
      { compare: "latency", worseBy: "20%" },
      { compare: "client_error_rate", worseBy: "2%" },
      { metric: "health_failures", atLeast: 3 },
    ]);
    for (const kind of ["failure", "slow", "client_error"] as const)
      b.plane.sample("app", { kind, path: `/${kind}` });
    await b.run(1, () => serve(b, 0));
    const { checks } = statusOf(b);
    t.same(
      checks.map(({ marks }) => marks?.worstPaths[0]?.name),
      ["/failure", "/failure", "/slow", "/slow", "/client_error", undefined],
    );
    t.equal(checks[0]!.marks, checks[1]!.marks);
    t.equal(checks[2]!.marks, checks[3]!.marks);
    t.notOk(
      checks.some((each) => "about" in each),
      "what is public stays as it was",
    );
  },
);

t.test("a check without marks and advice is one line", async (t) => {
  t.same(explain(plain), ["health_failures at least 5: failed. 5 failed probes in a row"]);
  const recent = new RecentMarks();
  recent.take([sampleOf({})], millis(1000));
  const [, told] = explain({ ...plain, marks: recent.of("failure", millis(1000))! });
  t.equal(told, "In the last minutes mostly / × 1 (GET × 1): status 500 × 1.", "nobody's key, no trace");
  t.same(explain({ ...plain, interval: { low: 0, high: 9 } }), explain(plain), "no share, no interval");
});
