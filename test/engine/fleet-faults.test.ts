/** Several replicas whose store hangs, forgets and answers late. */

import t from "tap";
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
import { SharedObject } from "../support/shared-store.ts";

t.test("a word of a newer state that got lost is made good when something is saved", async (t) => {
  for (const comesMeanwhile of [false, true]) {
    const { replicas } = await fleet(2, RULE_FREE);
    const [a, b] = replicas;
    await a.controller.command("app", startOf([step(20, 600)]), ADA);
    const heal = b.store.heal.bind(b.store);
    b.store.heal = () => {};
    await a.controller.command("app", setWeight(50), ADA);
    t.same(weights(replicas), [50, 20]);
    const load = b.store.load.bind(b.store);
    b.store.load = () => {
      if (comesMeanwhile) heal();
      return load();
    };
    t.match(await b.controller.command("app", rollback, ADA), { ok: true });
    t.same(weights(replicas), [0, 0]);
  }
});

t.test("an older document changes nothing, and one in place of a lost save is lowered again", async (t) => {
  const clock = fakeClock();
  const object = new SharedObject(clock);
  const store = object.join("replica-0");
  let tell: (document: NonNullable<SharedObject["document"]>) => void = () => {};
  store.onDocument = (changed) => (tell = changed);
  const b = { ...(await bench(RULE_FREE, { store, clock })), store };
  await clock.advance("3s");
  await b.controller.command("app", startOf([step(20, 600)]), ADA);
  const before = object.document!;
  await b.controller.command("app", setWeight(5), ADA);
  const { version } = object.document!;
  tell(before);
  t.equal(weightOf(b), 5);
  tell({ ...before, version });
  t.equal(weightOf(b), 5);
  t.match(statusOf(b), { phase: "paused" });
});

t.test(
  "a store that loses everything twice, and while something is lowered, gets it back each time",
  async (t) => {
    const { clock, object, replicas } = await fleet(2, RULE_FREE);
    const [a] = replicas;
    await a.controller.command("app", startOf([step(20, 600)]), ADA);
    for (const epoch of [1, 2]) {
      object.flush();
      t.match(await a.controller.command("app", setWeight(20 - 5 * epoch), ADA), { ok: true });
      await clock.advance("8s");
      t.equal(object.document?.epoch, epoch);
      t.same(weights(replicas), [20 - 5 * epoch, 20 - 5 * epoch]);
    }
  },
);

t.test("a save that hangs, and a store that cannot be read, are not taken for lost saves", async (t) => {
  const { clock, object, replicas } = await fleet(1, RULE_FREE);
  const [a] = replicas;
  await a.controller.command("app", startOf([step(20, 600)]), ADA);
  const load = a.store.load.bind(a.store);
  const save = a.store.save.bind(a.store);
  a.store.load = () => Promise.resolve({ kind: "corrupt", detail: "", keptAs: "" });
  await clock.advance("6s");
  a.store.load = load;
  let goOn: () => void = () => {};
  a.store.save = (document, options) =>
    new Promise((resolve) => {
      goOn = () => void save(document, options).then(resolve);
    });
  await clock.advance("7s");
  a.store.save = save;
  goOn();
  await clock.advance("2s");
  t.equal(object.document?.epoch, undefined);
  t.equal(weightOf(a), 20);
});

t.test(
  "a lease that goes while a raise is being recorded takes the raise along, and leaves what was lowered",
  async (t) => {
    const { replicas } = await fleet(2, RULE_FREE);
    const [a, b] = replicas;
    await a.controller.command("app", startOf([step(20, 600)]), ADA);
    const save = a.store.save.bind(a.store);
    a.store.save = () => {
      a.store.loseLease();
      return Promise.resolve({ ok: false, kind: "unavailable", detail: "gone" });
    };
    t.match(await a.controller.command("app", setWeight(50), ADA), { ok: false });
    t.equal(weightOf(a), 20);
    a.store.save = save;
    await a.run(5);
    const leader = statusOf(a).fleet?.leads === true ? a : b;
    leader.store.isCut = true;
    t.match(await leader.controller.command("app", setWeight(10), ADA), { ok: true });
    await a.run(5);
    t.equal(weightOf(leader), 10);
    leader.store.isCut = false;
    await a.run(3);
    t.same(weights(replicas), [10, 10]);
  },
);

t.test(
  "a follower whose stable is sick holds nothing for the others, and a signature counts when it is recorded",
  async (t) => {
    const onAny = [{ metric: "error_rate", above: "1%", test: "sequential" }];
    const config = benchConfig({ rollback: { onAny, confirm: false, whenStableUnhealthy: "hold" } });
    const { replicas } = await fleet(2, config);
    const [a, b] = replicas;
    const gate = { roles: ["qa"], acknowledge: [], checklist: [], expiresMs: null, samePerson: false };
    await a.controller.command("app", startOf([{ ...step(20, 600), gate }, step(50, 60)] as never), ADA);
    b.health.stable = { healthy: false };
    b.plane.cross("app", "errors");
    await a.run(1);
    t.same(weights(replicas), [20, 20]);
    t.match(statusOf(b), { phase: "progressing" });
    const sign = { type: "approve", step: 0, role: "qa", items: [], reason: "" } as const;
    t.match(await a.controller.command("app", sign, ADA), { ok: true });
    t.match(statusOf(b).gate?.signatures, [{ by: "ada" }]);
  },
);

t.test("what was found beforehand is not decided on by a replica that leads no more", async (t) => {
  const clock = fakeClock();
  const store = new SharedObject(clock).join("replica-0");
  let found: () => void = () => {};
  const result = { name: "smoke", ok: true, required: true, detail: "", tookMs: 1 };
  const preflight = {
    run: () => new Promise<readonly (typeof result)[]>((resolve) => (found = () => resolve([result]))),
  };
  const b = await bench(RULE_FREE, { store, clock, preflight });
  await clock.advance("3s");
  const checked = { ...step(20, 600), preflight: true };
  await b.controller.command("app", startOf([checked, step(50, 60)]), ADA);
  await clock.advance("2s");
  store.isCut = true;
  await clock.advance("4s");
  found();
  await clock.advance("1s");
  t.notOk(b.journal.entries.some(({ event }) => event.startsWith("VALIDATION")));
});

t.test("a raise after a lowering that is not recorded yet waits for that", async (t) => {
  const { replicas } = await fleet(1, RULE_FREE);
  const [a] = replicas;
  await a.controller.command("app", startOf([step(20, 600)]), ADA);
  const save = a.store.save.bind(a.store);
  a.store.save = () => Promise.resolve({ ok: false, kind: "unavailable", detail: "full" });
  t.match(await a.controller.command("app", setWeight(10), ADA), { ok: true, status: { recorded: false } });
  t.match(await a.controller.command("app", setWeight(15), ADA), { ok: false });
  t.equal(weightOf(a), 10);
  a.store.save = save;
  t.match(await a.controller.command("app", setWeight(15), ADA), { ok: true });
  t.equal(weightOf(a), 15);
});

t.test("what was measured before another replica's rollout began is no evidence about it", async (t) => {
  const { replicas } = await fleet(2);
  const [a, b] = replicas;
  await a.controller.command("app", startOf([step(50, 600)]), ADA);
  ill(b)();
  t.match(await a.controller.command("app", { ...startOf([step(20, 600)]), force: true } as never, ADA), {
    ok: true,
  });
  // As somebody who looks at it, again and again within the second.
  for (let looks = 0; looks < 5; looks++) {
    await b.clock.advance("100ms");
    well(b)();
    statusOf(b);
  }
  await b.run(6, well(b));
  t.same(weights(replicas), [20, 20]);
});
