import t from "tap";
import type { Store } from "../../src/engine/ports.ts";
import { carryOut } from "../../src/engine/effects.ts";
import { reloadDifferences } from "../../src/engine/reload.ts";
import { memoryStore } from "../../src/store/memory.ts";
import {
  ADA,
  bench,
  benchConfig,
  ill,
  rollback,
  setWeight,
  startOf,
  statusOf,
  step,
  storeWith,
  weightOf,
  well,
} from "../support/engine.ts";

t.test("a rollout climbs while the canary does well, and stops at its end", async (t) => {
  const b = await bench(benchConfig());
  t.match(await b.controller.command("app", startOf(), ADA), { ok: true });
  await b.run(300, well(b));
  t.match(statusOf(b), { phase: "succeeded", weight: 100, recorded: true, verdict: "successful" });
  t.strictSame([...new Set(b.plane.weights)], [0, 5, 50, 100]);
  t.strictSame(
    b.journal.entries.map((entry) => entry.event),
    ["DEPLOY_START", "STEP_STARTED", "STEP_STARTED", "STEP_STARTED", "DEPLOY_SUCCESS", "STAKEHOLDERS_TOLD"],
  );
  t.equal(b.journal.entries[0]?.actor, "ada");
  t.equal(b.journal.entries[1]?.actor, "sluice");
});

t.test(
  "without traffic a rollout holds for ever: silence never climbs and never rolls back (acceptance 4)",
  async (t) => {
    const b = await bench(benchConfig());
    await b.controller.command("app", startOf(), ADA);
    await b.run(900);
    t.match(statusOf(b), { phase: "progressing", weight: 5, verdict: "inconclusive", rollbacks: 0 });
    t.match(statusOf(b).checks[0]?.detail, /no exchange/);
  },
);

t.test(
  "a sustained breach rolls back, with the order kept and the evidence written (reliability 35)",
  async (t) => {
    const b = await bench(benchConfig());
    await b.controller.command("app", setWeight(10), ADA);
    b.plane.sample("app", { path: "/pay", method: "POST", keyHash: "aa", traceId: "t1", rescued: true });
    b.plane.sample("app", { path: "/pay", method: "GET", keyHash: "bb", reason: "timeout" });
    b.plane.rescue("app", 7);
    await b.run(299, ill(b));
    t.equal(weightOf(b), 10);
    await b.run(2, ill(b));
    t.match(statusOf(b), { phase: "rolled_back", weight: 0, rollbacks: 1, step: 0 });
    t.match(b.reports[0], {
      route: "app",
      fromWeight: 10,
      toWeight: 0,
      actor: "sluice",
      failed: [{ rule: "error_rate above 1% for 5m", observed: 0.5, limit: 0.01, have: 3000 }],
      worstPaths: [{ name: "/pay", count: 2 }],
      worstMethods: [{ name: "GET" }, { name: "POST" }],
      byReason: [{ name: "status 500" }, { name: "timeout" }],
      distinctKeys: 2,
      keysCapped: false,
      traceIds: ["t1"],
      requestsFailed: 301 * 25,
      requestsRescued: 7,
      breachMs: 300_000,
      stableHealthy: true,
    });
    t.strictSame(b.plane.closed, [{ route: "app", how: "drain" }]);
    t.match(b.notices.at(-1), { severity: "emergency", event: "ROLLBACK_DONE", route: "app" });
    t.equal(b.plane.split?.routes.get("app")?.forcedCanary, false);
    t.match(b.controller.totals().routes[0], { rollbacks: { "error_rate above 1% for 5m": 1 } });
  },
);

t.test("to lower what a partial rollback has left is no second rollback", async (t) => {
  const b = await bench(
    benchConfig({ rollback: { onAny: [{ metric: "error_rate", above: "1%", for: "5m" }], to: "5%" } }),
  );
  await b.controller.command("app", setWeight(50), ADA);
  await b.run(301, ill(b));
  t.match(statusOf(b), { phase: "rolled_back", weight: 5, rollbacks: 1 });
  t.match(await b.controller.command("app", setWeight(1), ADA), { ok: true });
  t.match(statusOf(b), {
    phase: "rolled_back",
    weight: 1,
    rollbacks: 1,
    lastRollback: { actor: "sluice", toWeight: 5 },
  });
  t.equal(b.reports.length, 1);
});

t.test("a breach while paused rolls back (acceptance 5, reliability 35)", async (t) => {
  const b = await bench(benchConfig());
  await b.controller.command("app", startOf(), ADA);
  await b.run(5, well(b));
  await b.controller.command("app", { type: "pause", reason: "lunch" }, ADA);
  await b.run(400, ill(b));
  t.match(statusOf(b), { phase: "rolled_back", weight: 0 });
});

t.test(
  "killed in minute 4 of a five-minute breach, it rolls back about a minute of breach later (acceptance 10, reliability 36, 37)",
  async (t) => {
    const before = await bench(benchConfig());
    await before.controller.command("app", setWeight(10), ADA);
    await before.run(241, ill(before));
    before.kill();
    const after = await bench(benchConfig(), { store: before.store, journal: before.journal });
    t.match(after.controller.route("app"), { phase: "paused", weight: 10 });
    await after.run(600); // Nothing measured: time without data neither adds nor takes away.
    t.equal(weightOf(after), 10);
    let seconds = 0;
    while (weightOf(after) > 0 && seconds < 400) {
      await after.run(1, ill(after));
      seconds++;
    }
    t.ok(seconds >= 58 && seconds <= 62, `${seconds} s`);
  },
);

t.test(
  "killed three quarters into a step, a quarter remains (acceptance 11, reliability 36, 37)",
  async (t) => {
    const before = await bench(benchConfig());
    await before.controller.command("app", startOf([step(5, 480), step(50, 60)]), ADA);
    await before.run(360);
    before.kill();
    const after = await bench(benchConfig(), { store: before.store, clock: before.clock });
    after.clock.jumpWall(86_400_000);
    t.match(statusOf(after), { phase: "progressing", step: 0, weight: 5, holdLeftMs: 120_000 });
    await after.run(118, well(after));
    t.equal(weightOf(after), 5);
    await after.run(3, well(after));
    t.equal(weightOf(after), 50);
  },
);

t.test("a corrupt record means weight 0, said loudly (reliability 36)", async (t) => {
  const inner = memoryStore();
  const store: Store = {
    ...storeWith((save) => save(), inner),
    load: () => Promise.resolve({ kind: "corrupt", detail: "torn", keptAs: "state.json.corrupt-1" }),
  };
  const b = await bench(benchConfig(), { store });
  t.match(statusOf(b), { weight: 0, phase: "idle" });
  t.match(b.notices[0], {
    severity: "emergency",
    event: "state_corrupt",
    details: { keptAs: "state.json.corrupt-1" },
  });
  t.match(b.journal.entries[0], { event: "STATE_CORRUPT", reason: "torn" });
});

t.test(
  "a command names its version or is refused; a wrong route or phase changes nothing (reliability 35, 44)",
  async (t) => {
    const b = await bench(benchConfig());
    t.match(await b.controller.command("nope", rollback, ADA), { ok: false, code: "SPLIT_NOT_FOUND" });
    t.match(await b.controller.command("app", rollback, ADA), { ok: false, code: "SPLIT_PHASE_MISMATCH" });
    t.match(await b.controller.command("app", setWeight(5), ADA, 7), {
      ok: false,
      code: "SPLIT_STATE_CONFLICT",
    });
    t.match(await b.controller.command("app", setWeight(5), ADA, 0), {
      ok: true,
      status: { version: 1, weight: 5 },
    });
    t.match(
      await b.controller.command("app", { type: "promote", full: false, step: null, reason: "" }, ADA),
      {
        ok: false,
      },
    );
    t.match(await b.controller.command("app", rollback, ADA), { ok: true });
    t.match(await b.controller.command("app", rollback, ADA), { ok: true }, "asked twice is done once");
    t.equal(b.journal.entries.length, 2);
  },
);

t.test(
  "time for which the process stood still is no time in service, and what was measured in it is not judged (reliability 37)",
  async (t) => {
    const b = await bench(benchConfig());
    await b.controller.command("app", startOf([step(5, 3600), step(50, 60)]), ADA);
    await b.run(10, ill(b));
    b.plane.serve("app", "canary", { failed: 100 });
    await b.clock.advance("2h", "2h");
    t.match(statusOf(b), { weight: 5, phase: "progressing" });
    t.ok(statusOf(b).heldMs <= 13_000, `${statusOf(b).heldMs}`);
    t.equal(statusOf(b).checks[0]?.have, 0);
  },
);

t.test("a jump of the wall clock changes no verdict (reliability 37)", async (t) => {
  const b = await bench(benchConfig());
  await b.controller.command("app", startOf([step(5, 100), step(50, 60)]), ADA);
  await b.run(50, well(b));
  b.clock.jumpWall(-86_400_000);
  await b.run(48, well(b));
  t.equal(weightOf(b), 5);
  b.clock.jumpWall(2 * 86_400_000);
  await b.run(4, well(b));
  t.equal(weightOf(b), 50);
});

t.test("forced traffic is shown and never judged (acceptance 31)", async (t) => {
  const b = await bench(benchConfig({ rollback: { onAny: [{ metric: "error_rate", above: "1%" }] } }));
  await b.controller.command("app", setWeight(5), ADA);
  await b.run(10, () => b.plane.serve("app", "canary", { failed: 100 }, "forced"));
  t.match(statusOf(b), {
    weight: 5,
    arms: { canary: { requests: 0, forced: { requests: 1000, failures: 1000 } } },
  });
});

t.test("a probed-dead canary rolls back, and a stable that is sick too is paged", async (t) => {
  const b = await bench(benchConfig({ rollback: { onAny: [{ metric: "health_failures", atLeast: 5 }] } }));
  await b.controller.command("app", setWeight(5), ADA);
  b.health.canary = { healthy: false, failures: 5 };
  b.health.stable = { healthy: false, failures: 9 };
  await b.run(1);
  t.match(statusOf(b), { weight: 0, lastRollback: { stableHealthy: false, failed: [{ observed: 5 }] } });
  const held = await bench(
    benchConfig({
      rollback: { onAny: [{ metric: "health_failures", atLeast: 5 }], whenStableUnhealthy: "lessBad" },
    }),
  );
  await held.controller.command("app", setWeight(5), ADA);
  held.plane.serve("app", "canary", { ok: 90, failed: 10 });
  held.plane.serve("app", "stable", { ok: 10, failed: 90 });
  Object.assign(held.health, {
    canary: { healthy: false, failures: 5 },
    stable: { healthy: false, failures: 5 },
  });
  await held.run(3);
  t.match(statusOf(held), { weight: 5, phase: "paused", reason: /stable is unhealthy too/ });
  t.equal(held.notices.filter((notice) => notice.event === "ROLLBACK_HELD").length, 1);
});

t.test(
  "a reload changes rules at once, keeps rollouts, and forgets routes that are gone (reliability 38)",
  async (t) => {
    const b = await bench(benchConfig());
    await b.controller.command("app", setWeight(5), ADA);
    await b.run(3, ill(b));
    b.controller.reconfigure(
      benchConfig({ rollback: { onAny: [{ metric: "error_rate", above: "60%" }] }, salt: "pinned" }),
    );
    await b.run(3, ill(b));
    t.match(statusOf(b), { weight: 5, checks: [{ rule: "error_rate above 60%", verdict: "successful" }] });
    t.equal(b.plane.split?.routes.get("app")?.salt, "pinned");
    const bare = {
      stable: { endpoints: ["http://127.0.0.1:1"] },
      canary: { endpoints: ["http://127.0.0.1:2"] },
    };
    b.controller.reconfigure(benchConfig({ name: "other", ...bare }));
    t.equal(b.controller.route("app"), undefined);
    t.strictSame([...(b.plane.split?.routes.keys() ?? [])], ["other"]);
    t.match(b.controller.routes(), [{ name: "other", phase: "idle", weight: 0 }]);
  },
);

t.test(
  "what was recorded of a route that is gone can be forgotten, of one that is there it cannot",
  async (t) => {
    const b = await bench(benchConfig());
    await b.controller.command("app", setWeight(5), ADA);
    b.controller.forget("app");
    t.equal(await b.controller.note("app", "NOTED", "ada", "seen"), true);
    t.match((await b.journal.read({ limit: 1 })).at(-1), {
      event: "NOTED",
      route: "app",
      actor: "ada",
      reason: "seen",
    });
    t.equal(await b.controller.note("other", "NOTED", "ada", "seen"), false, "of a route that there is not");
    b.controller.reconfigure(benchConfig({ name: "other" }));
    b.controller.reconfigure(benchConfig());
    t.equal(weightOf(b), 5, "it was there, so it is remembered");
    b.controller.reconfigure(benchConfig({ name: "other" }));
    b.controller.forget("app");
    b.controller.reconfigure(benchConfig());
    t.equal(weightOf(b), 0);
  },
);

t.test(
  "a route that a reload takes away and another brings back does not come back above its rollback (reliability 35, 38)",
  async (t) => {
    const before = await bench(benchConfig());
    await before.controller.command("app", setWeight(50), ADA);
    before.kill();
    const b = await bench(benchConfig(), { store: before.store });
    t.equal(weightOf(b), 50);
    await b.controller.command("app", rollback, ADA);
    b.controller.reconfigure(benchConfig({ name: "other" }));
    b.controller.reconfigure(benchConfig());
    t.match(statusOf(b), { weight: 0, phase: "rolled_back" });
    t.equal(b.plane.split?.routes.get("app")?.weight, 0);
  },
);

t.test("a reload says what it changed and what waits for a restart (reliability 38)", async (t) => {
  const before = benchConfig({}, { plans: { p: { steps: [{ setWeight: "5%" }] } } });
  t.strictSame(reloadDifferences(before, before), { changed: [], needsRestart: [] });
  const after = benchConfig(
    { name: "other" },
    { environment: "staging", listen: [{ address: "127.0.0.1:1" }], workers: 2, lane: "general" },
  );
  t.strictSame(reloadDifferences(before, after), {
    changed: ["plans", "lane", "routes.other", "routes.app"],
    needsRestart: ["listen", "workers", "environment"],
  });
});

t.test("a reload tells of a change in any section, and in one way (reliability 38)", async (t) => {
  const before = benchConfig();
  for (const name of Object.keys(before).filter((each) => each !== "routes" && each !== "admin")) {
    const { changed, needsRestart } = reloadDifferences(before, { ...before, [name]: "another" });
    t.strictSame([...changed, ...needsRestart], [name]);
  }
  const inForce = benchConfig(
    {},
    {
      limits: { head: "64KiB", headTime: "1s" },
      overload: { concurrency: 7 },
      trustedProxies: ["127.0.0.0/8"],
      admin: { tokens: [{ name: "ada", token: { env: "ADA" }, scopes: ["read"] }] },
    },
  );
  t.strictSame(reloadDifferences(before, inForce), {
    changed: ["limits", "overload", "trustedProxies", "admin.tokens"],
    needsRestart: [],
  });
  t.strictSame(reloadDifferences(before, benchConfig({}, { admin: { connections: 7 } })), {
    changed: [],
    needsRestart: ["admin"],
  });
});

t.test("what people see adds up: totals, histograms, journal", async (t) => {
  const b = await bench(benchConfig());
  await b.controller.command("app", setWeight(5), ADA);
  b.plane.refused = { "400": 2 };
  b.plane.serve("app", "canary", { ok: 8, failed: 2, excluded: 3, ms: 20 });
  b.plane.serve("app", "canary", { ok: 5 }, "forced");
  t.match(statusOf(b).arms.canary, {
    version: "4",
    requests: 10,
    failures: 2,
    excluded: 3,
    errorRate: 0.2,
    windowRequests: 10,
    byReason: { ok: 8, status: 2, client_gone: 3 },
    forced: { requests: 5, failures: 0 },
  });
  t.ok(Math.abs((statusOf(b).arms.canary.p95Ms ?? 0) - 20) < 0.3);
  t.strictSame([statusOf(b).arms.stable.errorRate, statusOf(b).arms.stable.p99Ms], [null, null]);
  b.plane.refused = { "400": 1 };
  t.match(b.controller.totals(), { refused: { "400": 3 } });
  t.equal(typeof b.controller.histograms("app")?.canary.all, "string");
  t.match(b.controller.histograms("app")?.canary.percentiles.at(-1), { percentile: 90 }, "of ten");
  t.same(b.controller.histograms("app")?.stable.percentiles, []);
  t.equal(b.controller.histograms("nope"), undefined);
  t.match(await b.controller.journal({ limit: 5 }), [{ event: "WEIGHT_SET", after: { weight: 5 } }]);
  t.ok(b.controller.version > 0);
  await b.controller.close();
});

t.test("an unknown effect of a newer program is not taken for done", async (t) => {
  const hands = {
    setWeight: () => true,
    resetWindows() {},
    resetAlarm() {},
    closeLongLived() {},
    save: () => Promise.resolve(true),
    journal: () => Promise.resolve(true),
    notify() {},
    evidence() {},
  };
  const odd = [{ type: "invented" }, { type: "set_weight" }] as never;
  t.equal(await carryOut(odd, hands), true);
});

t.test(
  "how a route stands for flags is how it splits now, by the salt that the edge splits by",
  async (t) => {
    const b = await bench(benchConfig());
    t.match(b.controller.standOf("app"), { phase: "idle", weight: 0 });
    await b.controller.command("app", setWeight(50), ADA);
    t.match(b.controller.standOf("app"), { phase: "paused", weight: 500_000, salt: statusOf(b).rollout });
    t.equal(b.plane.weights.at(-1), 50);
    const done = b.controller.command("app", rollback, ADA);
    t.equal(b.controller.standOf("app")?.weight, 0, "before anything is waited for");
    await done;
    t.match(b.controller.standOf("app"), { phase: "rolled_back", weight: 0 });
    t.equal(b.controller.standOf("nobody"), undefined);
  },
);
