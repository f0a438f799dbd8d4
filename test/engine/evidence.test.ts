/** The tiers that look at every response, through the engine: what trips, what is confirmed, what is held, and what is nobody's evidence. */

import t from "tap";
import {
  ADA,
  bench,
  benchConfig,
  benchOf,
  checkOf,
  statusOf,
  weightOf,
  type Bench,
} from "../support/engine.ts";

const SEQUENTIAL = { metric: "error_rate", above: "1%", test: "sequential" };
const SLOW = { metric: "p95", above: "500ms", test: "sequential" };
const VERY_SLOW = { metric: "p99", above: "1s", test: "sequential" };
const WORSE = { compare: "error_rate", worseBy: "0.5%" };
const MISSING = { compare: "client_error_rate", worseBy: "0.5%", action: "pause" };
const SLOWER = { compare: "latency" };
const SUSTAINED = { metric: "error_rate", above: "1%", for: "5m" };

/** So many distinct keys come to the canary, the first `failed` of them in vain. */
function keys(b: Bench, seen: number, failed: number): void {
  for (let key = 1; key <= seen; key++) b.plane.key("app", key, key <= failed);
}

/** Traffic of a second: 90 requests to stable, 10 to the canary. */
function serve(b: Bench, canary: number, stable = 0): void {
  b.plane.serve("app", "stable", { ok: 90 - stable, failed: stable });
  b.plane.serve("app", "canary", { ok: 10 - canary, failed: canary });
}

t.test(
  "a canary that fails everything trips within a second, is tried again, and is rolled back when it fails again",
  async (t) => {
    const b = await benchOf([SEQUENTIAL]);
    keys(b, 5, 5);
    await b.run(1, () => serve(b, 10));
    t.match(statusOf(b), {
      weight: 0,
      phase: "paused",
      reason: "Tripped: error_rate above 1% on every response",
    });
    t.match(b.notices.at(-1), { event: "TRIPPED", severity: "warning" });
    t.strictSame(b.plane.closed, [], "long-lived connections stay");
    await b.run(10, () => b.plane.serve("app", "stable", { ok: 100 }));
    t.equal(weightOf(b), 10);
    keys(b, 5, 5);
    await b.run(2, () => serve(b, 10));
    t.match(statusOf(b), { weight: 0, phase: "rolled_back" });
    t.match(
      b.journal.entries.map(({ event }) => event),
      ["WEIGHT_SET", "TRIPPED", "TRIP_PROBED", "ROLLBACK_DONE"],
    );
  },
);

t.test("two seconds in which everything fails are a trip and an alert, and no rollback", async (t) => {
  const b = await benchOf([SEQUENTIAL, WORSE]);
  keys(b, 5, 5);
  await b.run(60, () => serve(b, 0));
  await b.run(2, () => serve(b, 10));
  t.equal(weightOf(b), 0);
  await b.run(11, () => b.plane.serve("app", "stable", { ok: 100 }));
  await b.run(300, () => serve(b, 0));
  t.match(statusOf(b), { weight: 10, phase: "paused" });
  t.notOk(b.notices.some(({ event }) => event === "ROLLBACK_DONE"));
});

t.test("a thread's alarm is decided at once, and what nobody meant is given back", async (t) => {
  const b = await benchOf([SEQUENTIAL]);
  b.plane.cross("app", "errors");
  t.match(statusOf(b), { weight: 0, reason: /^Tripped: error_rate above 1%/ });
  t.equal(b.plane.split?.routes.get("app")?.weight, 0);
  b.plane.cross("gone", "errors");
  const held = await benchOf([SEQUENTIAL], { confirm: false, whenStableUnhealthy: "hold" });
  held.health.stable = { healthy: false, failures: 9 };
  held.plane.weights.length = 0;
  held.plane.cross("app", "p95");
  t.equal(weightOf(held), 10);
  t.strictSame(held.plane.weights, [10], "put in force again");
});

t.test(
  "both arms at 8 %: held and paged, once; then the canary gets worse and is rolled back (acceptance 8)",
  async (t) => {
    for (const onAny of [[SEQUENTIAL], [SUSTAINED]]) {
      const b = await benchOf(onAny);
      keys(b, 5, 5);
      const shared = (): void => {
        b.plane.serve("app", "stable", { ok: 1656, failed: 144 });
        b.plane.serve("app", "canary", { ok: 184, failed: 16 });
      };
      await b.run(400, shared);
      t.equal(weightOf(b), 10);
      t.equal(b.notices.filter(({ event }) => event === "shared_cause").length, 1);
      t.match(
        b.notices.find(({ event }) => event === "shared_cause"),
        { severity: "critical" },
      );
      t.match(statusOf(b).checks[0], { verdict: "inconclusive", detail: /shared cause/ });
      await b.run(340, () => {
        b.plane.serve("app", "stable", { ok: 1656, failed: 144 });
        b.plane.serve("app", "canary", { ok: 100, failed: 100 });
      });
      t.match(statusOf(b), { weight: 0, phase: "rolled_back" });
    }
  },
);

t.test("one client with all the failures ends no rollout; thirty do (acceptance 9)", async (t) => {
  const b = await benchOf([SEQUENTIAL, WORSE]);
  keys(b, 5, 1);
  const one = (): void => {
    serve(b, 5);
    for (let nth = 0; nth < 5; nth++) b.plane.sample("app", { keyHash: "0badc0de" });
  };
  await b.run(30, one);
  t.equal(weightOf(b), 10);
  await b.run(600, () => {
    serve(b, 1);
    b.plane.sample("app", { keyHash: "0badc0de" });
  });
  t.match(checkOf(b, "error_rate above"), {
    verdict: "inconclusive",
    detail: /held back: one client\? Of 5 distinct keys that must fail, 1 did, most of them 0badc0de's/,
  });
  t.match(
    b.notices.find(({ event }) => event === "one_client"),
    { severity: "warning", summary: /0badc0de/ },
  );
  for (let nth = 0; nth < 1100; nth++) b.plane.sample("app", { keyHash: `other ${nth}` });
  await b.run(1);
  t.match(checkOf(b, "error_rate above").detail, /0badc0de/, "whoever has failed most is remembered");
  const many = await benchOf([SEQUENTIAL]);
  keys(many, 5, 5);
  await many.run(30, () => {
    serve(many, 5);
    for (let nth = 0; nth < 5; nth++) many.plane.sample("app", { keyHash: `key ${nth}` });
    many.plane.sample("app", {});
  });
  t.equal(weightOf(many), 0);
});

t.test("failures without a key are of one client each, however often a second is looked into", async (t) => {
  const inTwo = (b: Bench): void => {
    serve(b, 4);
    for (let nth = 0; nth < 4; nth++) {
      b.plane.sample("app", {});
      // Whoever asks for the status has what was measured so far taken in.
      if (nth === 1) b.controller.route("app");
    }
  };
  const b = await benchOf([WORSE]);
  await b.run(1, () => inTwo(b));
  t.match(checkOf(b, "error_rate worse").detail, /^canary 4 of 10,/);
});

t.test(
  "stable without an error and a canary with 2 % (acceptance 6); one error in forty is nothing (acceptance 7)",
  async (t) => {
    const b = await benchOf([WORSE]);
    let second = 0;
    await b.run(600, () => serve(b, ++second % 5 === 0 ? 1 : 0));
    t.match(statusOf(b), {
      phase: "rolled_back",
      reason: "Rolled back: error_rate worse than stable by 0.5%",
    });
    t.match(checkOf(b, "error_rate worse").rule, "error_rate worse than stable by 0.5%");
    const lucky = await benchOf([SEQUENTIAL, WORSE]);
    keys(lucky, 5, 5);
    await lucky.run(4, () => serve(lucky, 0));
    serve(lucky, 1);
    await lucky.run(60);
    t.equal(weightOf(lucky), 10);
  },
);

t.test(
  "404 more often than stable pauses the climb; on both arms alike it is nothing (acceptance 19)",
  async (t) => {
    for (const [stable, phase] of [
      [0, "paused"],
      [45, "progressing"],
    ] as const) {
      const b = await bench(benchConfig({ rollback: { onAny: [MISSING] } }));
      const steps = [{ weight: 100_000 as never, holdMs: 86_400_000 as never, bake: false }];
      await b.controller.command("app", { type: "start", steps, version: "", force: false, reason: "" }, ADA);
      await b.run(900, () => {
        b.plane.serve("app", "stable", { ok: 900 - stable, missing: stable });
        b.plane.serve("app", "canary", { ok: 95, missing: 5 });
      });
      t.match(statusOf(b), { phase, weight: 10 }, JSON.stringify(checkOf(b, "client_error_rate")));
    }
  },
);

t.test("a rule that compares asks for its own least difference, and for no other rule's", async (t) => {
  for (const onAny of [
    [MISSING],
    [MISSING, { compare: "error_rate", worseBy: "2%" }],
    [{ compare: "error_rate", worseBy: "2%" }, MISSING],
  ]) {
    const b = await benchOf(onAny);
    await b.run(600, () => {
      b.plane.serve("app", "stable", { ok: 900 });
      b.plane.serve("app", "canary", { ok: 99, missing: 1 });
    });
    t.match(checkOf(b, "client_error_rate"), { verdict: "failed", observed: 0.01 }, JSON.stringify(onAny));
  }
});

t.test("slow answers trip as failures do, even where the failures are fast (acceptance 20)", async (t) => {
  const b = await benchOf([SLOW, VERY_SLOW]);
  keys(b, 5, 5);
  await b.run(10, () => {
    if (weightOf(b) === 0) return;
    b.plane.serve("app", "stable", { ok: 90, ms: 60 });
    b.plane.serve("app", "canary", { ok: 6, ms: 900, failed: 4, failedMs: 5 });
  });
  t.equal(weightOf(b), 0);
  t.match(statusOf(b).reason, /^Tripped: p95 above 500ms/);
});

t.test("a canary that is slower than stable is found, though it is within its limit", async (t) => {
  const b = await benchOf([SLOWER]);
  await b.run(900, () => {
    for (let nth = 0; nth < 9; nth++) b.plane.serve("app", "stable", { ok: 10, ms: 50 + nth });
    b.plane.serve("app", "canary", { ok: 10, ms: 110 });
  });
  t.match(statusOf(b), { phase: "rolled_back", reason: "Rolled back: latency worse than stable" });
});

t.test(
  "what was measured while the proxy's own event loop was late is no evidence (acceptance 21)",
  async (t) => {
    const b = await benchOf([SEQUENTIAL]);
    keys(b, 5, 5);
    b.plane.lagMs = 2000;
    await b.run(5, () => serve(b, 10));
    t.equal(weightOf(b), 10);
    b.plane.lagMs = 0;
    await b.run(1, () => serve(b, 10));
    t.equal(weightOf(b), 0);
  },
);

t.test("without stable traffic the limit alone decides, and comparisons say that they are off", async (t) => {
  const b = await benchOf([SEQUENTIAL, WORSE, SLOWER]);
  await b.controller.command(
    "app",
    { type: "set_weight", weight: 1_000_000 as never, force: false, reason: "" },
    ADA,
  );
  keys(b, 5, 5);
  await b.run(400, () => b.plane.serve("app", "canary", { ok: 100 }));
  t.match(checkOf(b, "error_rate worse"), { verdict: "successful", detail: /^off: no stable traffic/ });
  t.match(checkOf(b, "error_rate above"), { detail: /no stable traffic to compare with/ });
  await b.run(2, () => b.plane.serve("app", "canary", { failed: 100 }));
  t.equal(weightOf(b), 0);
});

t.test(
  "other rules begin anew, the same ones go on, and none ends the evidence; before a rollout there is none",
  async (t) => {
    const idle = await bench(benchConfig({ rollback: { onAny: [SEQUENTIAL, WORSE] } }));
    await idle.run(2, () => serve(idle, 10));
    for (const rule of ["error_rate above", "error_rate worse"])
      t.match(checkOf(idle, rule), { verdict: "inconclusive", detail: "no rollout is under way" });
    const b = await benchOf([WORSE]);
    const seen = (): number => checkOf(b, "error_rate worse").have;
    let second = 0;
    const worse = (): void => serve(b, ++second % 3 === 0 ? 1 : 0);
    await b.run(25, worse);
    const before = seen();
    t.ok(before > 0);
    b.controller.reconfigure(benchConfig({ rollback: { onAny: [WORSE] } }));
    await b.run(1);
    t.equal(seen(), before, "the same rules go on");
    b.controller.reconfigure(benchConfig({ rollback: { onAny: [{ ...WORSE, worseBy: "1%" }] } }));
    await b.run(1);
    t.not(seen(), before, "others begin anew");
    b.controller.reconfigure(benchConfig({ rollback: { onAny: [SUSTAINED] } }));
    await b.run(1);
    t.equal(statusOf(b).checks.length, 1);
  },
);
