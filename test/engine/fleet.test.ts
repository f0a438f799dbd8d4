/** Several replicas: one rollout, raised by one of them, and lowered by whoever sees a reason. */

import t from "tap";
import { quietLog } from "../support/silence.ts";
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
  weightOf,
  well,
} from "../support/engine.ts";
import { fakeClock } from "../support/clock.ts";
import { RULE_FREE, fleet, weights } from "../support/fleet.ts";
import { SharedObject, risesInOrder } from "../support/shared-store.ts";

t.test("one replica raises, and the others follow at once", async (t) => {
  const { object, replicas } = await fleet(3);
  const [a] = replicas;
  t.match(await a.controller.command("app", startOf([step(1, 5), step(20, 60)]), ADA), { ok: true });
  t.same(weights(replicas), [1, 1, 1]);
  t.match(statusOf(a).fleet, {
    replica: "replica-0",
    leader: "replica-0",
    leads: true,
    replicas: 3,
  });
  t.same(statusOf(a).fleet?.stale, []);
  for (const b of replicas) well(b)();
  await a.run(8, () => replicas.forEach((b) => well(b)()));
  t.same(weights(replicas), [20, 20, 20]);
  t.equal(a.controller.version, object.document?.version);
  t.equal(replicas[1].controller.version, object.document?.version);
  t.ok(risesInOrder(object.saved));
  t.equal(a.notices.filter(({ event }) => event === "STEP_STARTED").length, 1);
  t.same(replicas[1].notices, []);
  t.ok(replicas[1].journal.entries.some(({ event }) => event === "STATE_ADOPTED"));
});

t.test(
  "any replica lowers on its own evidence, at once and without the leader (acceptance 30)",
  async (t) => {
    const { clock, object, replicas } = await fleet(3);
    const [a, b, c] = replicas;
    await a.controller.command("app", startOf([step(20, 600)]), ADA);
    a.kill();
    await a.store.close();
    await b.run(5, ill(b));
    t.match(statusOf(b), { phase: "rolled_back", weight: 0 });
    t.match(statusOf(c), { phase: "rolled_back", weight: 0 }, "the others follow");
    t.equal(b.notices.filter(({ event }) => event === "ROLLBACK_DONE").length, 1);
    t.equal(c.notices.length, 0);
    await clock.advance("5s");
    t.not(object.holder, "replica-0", "another one leads");
    const leader = object.holder === "replica-1" ? b : c;
    t.match(await leader.controller.command("app", { ...setWeight(5), force: true } as never, ADA), {
      ok: true,
    });
    t.same(weights([b, c]), [5, 5]);
  },
);

t.test("a replica that is cut off lowers and cannot raise (acceptance 30)", async (t) => {
  const { replicas, object } = await fleet(3);
  const [a, b] = replicas;
  await a.controller.command("app", startOf([step(20, 5), step(50, 600)]), ADA);
  a.store.isCut = true;
  await a.run(8, () => replicas.forEach((each) => well(each)()));
  t.equal(weightOf(a), 20, "the old leader stops climbing by its own clock");
  t.equal(statusOf(a).fleet?.leads, false);
  t.match(statusOf(a).fleet, { isStoreUp: false });
  t.match(await a.controller.command("app", setWeight(60), ADA), { ok: false, code: "SPLIT_NO_LEADER" });
  const lowered = await a.controller.command("app", setWeight(10), ADA);
  t.match(lowered, { ok: true, status: { weight: 10, recorded: false } });
  t.equal(weightOf(a), 10);
  t.not(object.holder, "replica-0");
  await a.run(5, () => replicas.forEach((each) => well(each)()));
  t.equal(weightOf(b), 50, "the others go on with another leader");
  a.store.isCut = false;
  await a.run(3, () => replicas.forEach((each) => well(each)()));
  t.same(weights(replicas), [10, 10, 10], "its lowering is applied to what is newer");
  t.match(statusOf(b), { phase: "paused", reason: "Paused (manual weight)" });
});

t.test("each replica knows who is there, what is in force there, and how much it carries", async (t) => {
  const log = quietLog();
  const { object, replicas } = await fleet(3, RULE_FREE, log);
  const [a, b, c] = replicas;
  await a.controller.command("app", startOf([step(20, 600)]), ADA);
  const serve = (): void => {
    a.plane.serve("app", "stable", { ok: 30 });
    b.plane.serve("app", "canary", { ok: 10 });
  };
  await a.run(6, serve);
  t.match(await b.controller.replicas(), [
    {
      replica: "replica-0",
      isLeader: true,
      isStale: false,
      routes: { app: { weight: 20, perSecond: 30, share: 0.75 } },
    },
    { replica: "replica-1", isLeader: false, routes: { app: { weight: 20, perSecond: 10, share: 0.25 } } },
    { replica: "replica-2", routes: { app: { perSecond: 0, share: 0 } } },
  ]);
  t.ok(object.document!.version - (await b.controller.replicas())[2]!.applied <= 2);
  c.store.isCut = true;
  await a.run(10);
  t.match(await b.controller.replicas(), [
    { routes: { app: { share: null } } },
    {},
    { replica: "replica-2", isStale: true, routes: { app: { share: null } } },
  ]);
  t.match(statusOf(a).fleet, { replicas: 2, stale: ["replica-2"] });
  const silent = log.lines.filter(({ message }) => message.startsWith("a replica is silent"));
  t.match(
    silent,
    [{ level: "warn", fields: { replica: "replica-2", silentMs: Number } }],
    "said once, by the leader",
  );
  t.equal(silent.length, 1);
  t.same(await (await bench(RULE_FREE)).controller.replicas(), []);
});

t.test(
  "a command that raises goes from a follower to the leader; one that lowers works anywhere",
  async (t) => {
    const { clock, replicas } = await fleet(3);
    const [a, b, c] = replicas;
    const started = b.controller.command("app", startOf([step(20, 600)]), ADA);
    await clock.advance("1s");
    t.match(await started, { ok: true, status: { weight: 20 } });
    t.same(weights(replicas), [20, 20, 20]);
    t.ok(a.journal.entries.some(({ event, actor }) => event === "DEPLOY_START" && actor === "ada"));
    t.match(await c.controller.command("app", setWeight(10), ADA), { ok: true, status: { weight: 10 } });
    t.same(weights(replicas), [10, 10, 10]);
    t.match(await b.controller.command("app", rollback, ADA), { ok: true, status: { phase: "rolled_back" } });
    t.same(weights(replicas), [0, 0, 0]);
    const refused = c.controller.command("app", setWeight(10), ADA);
    await clock.advance("1s");
    t.match(await refused, { ok: false, code: "SPLIT_COOLDOWN" });
    t.match(await b.controller.restore({ from: "x", states: {}, force: false, reason: "", actor: ADA }), {
      ok: false,
      code: "SPLIT_NO_LEADER",
      message: "a backup is restored by the replica that leads: ask replica-0, which leads",
    });
  },
);

t.test("a leader that does not answer is told of in time", async (t) => {
  const { clock, replicas } = await fleet(2);
  const [a, b] = replicas;
  a.kill();
  const asked = b.controller.command("app", startOf([step(20, 600)]), ADA);
  await clock.advance("6s");
  t.match(await asked, { ok: false, code: "SPLIT_NO_LEADER", message: /has not answered in time/ });
  t.same(weights(replicas), [0, 0]);
});

t.test(
  "the store away: no raise, everything else goes on, and what was lowered is recorded later",
  async (t) => {
    const { object, replicas } = await fleet(3, RULE_FREE);
    const [a, b, c] = replicas;
    const traffic = (): void => replicas.forEach((each) => well(each)());
    await a.controller.command("app", startOf([step(20, 5), step(50, 600)]), ADA);
    object.isUp = false;
    await a.run(30, traffic);
    t.same(weights(replicas), [20, 20, 20]);
    t.match(await c.controller.command("app", rollback, ADA), { ok: true, status: { recorded: false } });
    await a.run(1, traffic);
    t.same(weights(replicas), [20, 20, 0]);
    object.isUp = true;
    await a.run(3, traffic);
    t.same(weights(replicas), [0, 0, 0]);
    t.equal(statusOf(c).recorded, true);
    t.match(statusOf(b), { phase: "rolled_back" });
    t.equal(c.notices.filter(({ event }) => event === "ROLLBACK_DONE").length, 1);
  },
);

t.test("a store that has lost everything gets it back, and nothing rises", async (t) => {
  const { clock, object, replicas } = await fleet(3, RULE_FREE);
  const [a, b] = replicas;
  await a.controller.command("app", startOf([step(20, 600)]), ADA);
  await clock.advance("3s");
  const before = object.document!;
  object.flush();
  t.match(await b.controller.command("app", setWeight(10), ADA), { ok: true });
  await clock.advance("15s");
  t.same(weights(replicas), [10, 10, 10]);
  t.equal(object.document?.epoch, (before.epoch ?? 0) + 1);
  t.ok(risesInOrder(object.saved));
});

t.test("a new leader goes on with the time served, the evidence and the clocks on record", async (t) => {
  const config = benchConfig({ rollback: { onAny: [{ metric: "error_rate", above: "1%", for: "20s" }] } });
  const { clock, object, replicas } = await fleet(2, config);
  const [a, b] = replicas;
  await a.controller.command("app", startOf([step(20, 60), step(50, 60)]), ADA);
  await a.run(30, () => {
    well(a)();
    well(b)();
  });
  a.kill();
  await a.store.close();
  await b.run(5, well(b));
  t.equal(object.holder, "replica-1");
  t.equal(weightOf(b), 20);
  t.ok(statusOf(b).heldMs >= 29_000 && statusOf(b).heldMs < 36_000, String(statusOf(b).heldMs));
  await b.run(40, well(b));
  t.equal(weightOf(b), 50);
  t.equal(
    b.notices.filter(({ event }) => event === "DEPLOY_START").length,
    0,
    "what was told is not told again",
  );
  await clock.advance("1s");
});

t.test("a deposed leader's raise is refused by the store and goes no further", async (t) => {
  const { object, replicas } = await fleet(2, RULE_FREE);
  const [a] = replicas;
  await a.controller.command("app", startOf([step(20, 600)]), ADA);
  object.holder = "replica-1";
  object.fence++;
  t.match(await a.controller.command("app", setWeight(50), ADA), {
    ok: false,
    code: "SPLIT_STATE_UNWRITABLE",
  });
  t.equal(weightOf(a), 20);
  t.notOk(a.journal.entries.some(({ event }) => event === "WEIGHT_SET"));
  t.equal(Math.max(...replicas[1].plane.weights), 20);
});

t.test(
  "a leader whose journal fails takes its raise back, and raises no more until lines are written",
  async (t) => {
    const { object, replicas } = await fleet(3);
    const [leader] = replicas;
    await leader.controller.command("app", startOf([step(1, 5), step(20, 60)]), ADA);
    leader.journal.fails = () => true;
    const saved = object.saved.length;
    const passing = (seconds: number): Promise<void> =>
      leader.run(seconds, () => replicas.forEach((each) => well(each)()));
    await passing(30);
    const recorded = object.saved.slice(saved).map(({ routes }) => routes["app"]?.weight);
    t.same(
      recorded.filter((weight, nth) => weight !== recorded[nth - 1]),
      [10_000, 200_000, 10_000],
    );
    t.same(weights(replicas), [1, 1, 1]);
    leader.journal.fails = () => false;
    await passing(10);
    t.same(weights(replicas), [20, 20, 20]);
    const steps = leader.journal.entries.filter(({ event }) => /^STEP|^RAISE/.test(event));
    t.same(
      steps.map(({ event, before, after }) => [event, before.weight, after.weight]),
      [
        ["STEP_STARTED", 10_000, 200_000],
        ["RAISE_TAKEN_BACK", 200_000, 10_000],
        ["STEP_STARTED", 10_000, 200_000],
      ],
    );
  },
);

t.test("two that save at once: the lowering wins, whoever was first", async (t) => {
  for (const first of ["raise", "lower"]) {
    const { replicas } = await fleet(2, RULE_FREE);
    const [a, b] = replicas;
    await a.controller.command("app", startOf([step(20, 600)]), ADA);
    const raise = () => a.controller.command("app", setWeight(50), ADA);
    const lower = () => b.controller.command("app", rollback, ADA);
    const both = first === "raise" ? [raise(), lower()] : [lower(), raise()];
    await Promise.all(both);
    t.same(weights(replicas), [0, 0], first);
    t.match(statusOf(a), { phase: "rolled_back" }, first);
  }
});

t.test(
  "a save that landed and was not answered is in force, on record and told once it is known",
  async (t) => {
    const { clock, replicas } = await fleet(2, RULE_FREE);
    const [a, b] = replicas;
    const events = (): readonly string[] => a.journal.entries.map(({ event }) => event);
    a.store.isUnsure = true;
    t.match(await a.controller.command("app", startOf([step(20, 600)]), ADA), { ok: false });
    t.equal(weightOf(b), 20);
    t.notOk(events().includes("DEPLOY_START"), "whether it is so is not known");
    const told = () => a.notices.map(({ event }) => event).filter((event) => !event.startsWith("state_"));
    t.same(told(), []);
    a.store.isUnsure = false;
    await clock.advance("2s");
    t.same(weights(replicas), [20, 20]);
    const starts = a.journal.entries.filter(({ event }) => event === "DEPLOY_START");
    t.match(starts, [{ actor: "ada", before: { weight: 0 }, after: { weight: 200_000 } }]);
    t.equal(starts.length, 1);
    t.notOk(events().includes("STATE_ADOPTED"), "it is nobody else's");
    t.same(told(), ["DEPLOY_START"]);
  },
);

t.test("a raise that is asked for again before it is known that it landed is told once", async (t) => {
  const { clock, replicas } = await fleet(2, RULE_FREE);
  const [a, b] = replicas;
  await a.controller.command("app", startOf([step(20, 600)]), ADA);
  const save = a.store.save.bind(a.store);
  a.store.isUnsure = true;
  a.store.save = async (...saved) => {
    const answer = await save(...saved);
    a.store.isCut = true;
    return answer;
  };
  t.match(await a.controller.command("app", setWeight(30), ADA), { ok: false });
  Object.assign(a.store, { save, isCut: false, isUnsure: false });
  await a.controller.command("app", setWeight(30), ADA);
  // Another one leads, and is followed.
  a.store.loseLease();
  b.store.renew();
  await clock.advance("5s");
  t.same(weights(replicas), [30, 30]);
  t.equal(a.journal.entries.filter(({ event }) => event === "WEIGHT_SET").length, 1);
});

t.test("one round with the others at a time, and a rare look around where there are hundreds", async (t) => {
  const { clock, object, replicas } = await fleet(2, RULE_FREE);
  const [a, b] = replicas;
  const both = [a.controller.tick(), a.controller.tick()];
  await Promise.all(both);
  for (let nth = 0; nth < 400; nth++)
    object.told.set(`other-${nth}`, {
      about: { applied: 1, weights: { app: 0, elsewhere: 5 }, perSecond: {} },
      at: clock.mono() + 4000,
    });
  await clock.advance("4s");
  t.equal(statusOf(b).fleet?.replicas, 402);
  t.match((await b.controller.replicas())[2]?.routes, {
    app: { perSecond: 0 },
    elsewhere: { weight: 5, share: null },
  });
  object.told.clear();
  await clock.advance("5s");
  t.equal(statusOf(b).fleet?.replicas, 402, "a follower looks rarely");
  t.equal(statusOf(a).fleet?.replicas, 2, "the leader does not");
});

t.test("a route that comes later is shared from then on", async (t) => {
  const { clock, replicas } = await fleet(2, RULE_FREE);
  const [a, b] = replicas;
  const more = benchConfig({}, {});
  const two = { ...more, routes: [...more.routes, { ...more.routes[0]!, name: "late" }] };
  for (const each of replicas) {
    each.plane.configure(two);
    each.controller.reconfigure(two);
  }
  await clock.advance("3s");
  t.match(await a.controller.command("late", startOf([step(10, 600)]), ADA), { ok: true });
  t.match(await a.controller.command("app", startOf([step(10, 600)]), ADA), { ok: true });
  t.match(b.controller.route("late"), { weight: 10 });
  await a.run(15, () => {
    for (const name of ["app", "late"]) {
      a.plane.serve(name, "canary", { ok: 5 });
      b.plane.serve(name, "canary", { ok: 5 });
    }
  });
  a.kill();
  await a.store.close();
  await b.run(6);
  t.match(await b.controller.replicas(), [
    { isStale: true },
    { isLeader: true, routes: { app: { weight: 10 } } },
  ]);
});

t.test("an alarm on a follower takes the weight away everywhere, and the leader gives it back", async (t) => {
  const config = benchConfig({
    rollback: { onAny: [{ metric: "error_rate", above: "1%", test: "sequential" }] },
  });
  const { replicas } = await fleet(2, config);
  const [a, b] = replicas;
  await a.controller.command("app", startOf([step(20, 600)]), ADA);
  b.plane.cross("app", "errors");
  await a.run(1);
  t.same(weights(replicas), [0, 0]);
  t.match(statusOf(a), { phase: "progressing", reason: /^Tripped/ });
  t.same(b.plane.closed, [], "long-lived connections stay for the ten seconds");
  t.same(a.plane.closed, []);
  await a.run(15);
  t.same(weights(replicas), [20, 20]);
  b.plane.cross("app", "errors");
  await a.run(1);
  t.match(statusOf(a), { phase: "rolled_back", weight: 0 });
  t.equal(a.plane.closed.length, 1);
});

t.test("a follower that finds a reason to pause leaves that to the leader", async (t) => {
  const onAny = [{ metric: "error_rate", above: "1%", for: "3s", action: "pause" }];
  const { replicas } = await fleet(2, benchConfig({ rollback: { onAny } }));
  const [a, b] = replicas;
  await a.controller.command("app", startOf([step(20, 600)]), ADA);
  a.store.isCut = true;
  a.kill();
  await b.run(2, ill(b));
  t.match(statusOf(b), { phase: "progressing" });
  await b.run(8, ill(b));
  t.match(statusOf(b), { phase: "paused", fleet: { leads: true } });
});

t.test("nobody leads: what raises is refused at once", async (t) => {
  const clock = fakeClock();
  const object = new SharedObject(clock);
  object.isUp = false;
  const store = object.join("alone");
  const b = { ...(await bench(RULE_FREE, { store, clock })), store };
  t.match(await b.controller.command("app", startOf(), ADA), {
    ok: false,
    code: "SPLIT_NO_LEADER",
    message: /no replica leads/,
  });
  object.isUp = true;
  await b.run(2);
  t.match(await b.controller.command("app", startOf(), ADA), { ok: true });
});

t.test("what the deposed leader had begun is taken back to what is on record", async (t) => {
  const { object, replicas } = await fleet(2, RULE_FREE);
  const [a, b] = replicas;
  object.holder = "replica-1";
  object.fence++;
  t.match(await a.controller.command("app", startOf([step(0, 60), step(20, 60)]), ADA), {
    ok: false,
    code: "SPLIT_STATE_UNWRITABLE",
  });
  t.match(statusOf(a), { phase: "idle", rollout: "" }, "nothing was on record");
  await b.run(4);
  t.same(weights(replicas), [0, 0]);
});

t.test("a pause and a signature are in force once they are recorded", async (t) => {
  const gate = { roles: ["qa"], acknowledge: [], checklist: [], expiresMs: null, samePerson: false };
  const { object, replicas } = await fleet(2, RULE_FREE);
  const [a, b] = replicas;
  await a.controller.command("app", startOf([{ ...step(20, 1), gate }, step(50, 60)] as never), ADA);
  const sign = { type: "approve", step: 0, role: "qa", items: [], reason: "" } as const;
  object.holder = "replica-1";
  object.fence++;
  t.match(await a.controller.command("app", sign, ADA), { ok: false, code: "SPLIT_STATE_UNWRITABLE" });
  t.same(statusOf(a).gate?.signatures, []);
  await b.run(2);
  t.match(await b.controller.command("app", { type: "pause", reason: "lunch" }, ADA), { ok: true });
  t.match(statusOf(a), { phase: "paused", reason: "Paused: lunch" });
});

t.test("a save that others always come before is not tried for ever", async (t) => {
  const { replicas } = await fleet(1, RULE_FREE);
  const [a] = replicas;
  await a.controller.command("app", startOf([step(20, 600)]), ADA);
  let lost = 0;
  a.store.save = (document) => {
    lost++;
    return Promise.resolve({ ok: false, kind: "conflict", found: document.version - 1 });
  };
  t.match(await a.controller.command("app", rollback, ADA), { ok: true, status: { recorded: false } });
  t.equal(lost, 8);
});
