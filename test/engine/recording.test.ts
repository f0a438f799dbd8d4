/** What is in force, and what is on record: disks that fill, hang or belong to another, and decisions that overtake each other. */

import t from "tap";
import type { Saved } from "../../src/engine/ports.ts";
import { percentOf } from "../../src/domain/units.ts";
import { memoryStore } from "../../src/store/memory.ts";
import {
  ADA,
  bench,
  benchConfig,
  full,
  ill,
  never,
  rollback,
  setWeight,
  startOf,
  statusOf,
  step,
  storeWith,
  weightOf,
  well,
} from "../support/engine.ts";

t.test(
  "when the state cannot be written no weight rises, rolling back works, and people are told once (acceptance 12, reliability 35, 36)",
  async (t) => {
    let disk = (save: () => Promise<Saved>): Promise<Saved> => save();
    const b = await bench(benchConfig(), { store: storeWith((save) => disk(save)) });
    await b.controller.command("app", startOf(), ADA);
    await b.run(5, well(b));
    t.equal(weightOf(b), 5);
    disk = full;
    t.match(await b.controller.command("app", setWeight(50), ADA), {
      ok: false,
      code: "SPLIT_STATE_UNWRITABLE",
    });
    await b.run(200, well(b));
    t.match(statusOf(b), { weight: 5, recorded: false, phase: "progressing" });
    t.equal(Math.max(...b.plane.weights), 5);
    t.equal(b.notices.filter((notice) => notice.event === "state_unwritable").length, 1);
    t.ok(b.controller.totals().storeErrors > 1);
    t.match(await b.controller.command("app", rollback, ADA), {
      ok: true,
      status: { weight: 0, recorded: false },
    });
    disk = (save) => save();
    await b.run(2);
    t.match(statusOf(b), { phase: "rolled_back", recorded: true });
    t.equal(b.notices.filter((notice) => notice.event === "state_recorded_again").length, 1);
    const again = await bench(benchConfig(), { store: b.store });
    t.match(statusOf(again), { phase: "rolled_back", weight: 0 });
  },
);

t.test("a disk that hangs holds up a climb and nothing else (reliability 35, 36)", async (t) => {
  let disk = (save: () => Promise<Saved>): Promise<Saved> => save();
  const b = await bench(
    benchConfig({ rollback: { onAny: [{ metric: "error_rate", above: "1%", for: "3s" }] } }),
    {
      store: storeWith((save) => disk(save)),
    },
  );
  await b.controller.command("app", setWeight(5), ADA);
  disk = never;
  void b.controller.command("app", setWeight(50), ADA);
  // Ticks are not awaited: one of them waits for the disk for ever, the weight must not.
  b.kill();
  for (let second = 0; second < 6; second++) {
    await b.clock.advance(1000);
    ill(b)();
    void b.controller.tick();
  }
  t.match(statusOf(b), { weight: 0, phase: "rolled_back" });
  t.notOk(b.plane.weights.includes(50));
});

t.test(
  "a rollback that overtakes a raise being recorded wins, in force and on record (reliability 35)",
  async (t) => {
    const saves: (() => void)[] = [];
    let slow = false;
    const inner = memoryStore();
    const store = storeWith(async (save) => {
      if (slow) await new Promise<void>((resolve) => saves.push(resolve));
      return save();
    }, inner);
    const b = await bench(benchConfig(), { store });
    await b.controller.command("app", setWeight(5), ADA);
    slow = true;
    const raised = b.controller.command("app", setWeight(50), ADA);
    await new Promise(setImmediate);
    const lowered = b.controller.command("app", rollback, ADA);
    t.equal(weightOf(b), 0, "at once");
    slow = false;
    for (const release of saves) release();
    t.match(await raised, { ok: false, code: "SPLIT_STATE_UNWRITABLE" });
    t.match(await lowered, { ok: true, status: { weight: 0 } });
    await b.run(1);
    t.notOk(b.plane.weights.includes(50));
    const loaded = await inner.load();
    t.match(loaded, { kind: "found", document: { routes: { app: { weight: 0, phase: "rolled_back" } } } });
    t.strictSame(
      b.journal.entries.map((entry) => entry.after.weight),
      [50_000, 0],
    );
  },
);

t.test("a climb that is still being recorded is not decided again", async (t) => {
  const saves: (() => void)[] = [];
  let slow = false;
  const store = storeWith(async (save) => {
    if (slow) await new Promise<void>((resolve) => saves.push(resolve));
    return save();
  });
  const b = await bench(benchConfig(), { store });
  await b.controller.command("app", startOf([step(5, 2), step(50, 60)]), ADA);
  b.kill();
  const ticks: Promise<unknown>[] = [];
  for (let second = 0; second < 6; second++) {
    await b.clock.advance(1000);
    well(b)();
    if (second === 1) slow = true;
    ticks.push(b.controller.tick());
  }
  t.equal(weightOf(b), 5);
  slow = false;
  for (const release of saves) release();
  await Promise.all(ticks);
  t.equal(weightOf(b), 50);
  t.strictSame(
    b.journal.entries.map((entry) => entry.event),
    ["DEPLOY_START", "STEP_STARTED"],
  );
});

t.test(
  "a raise that is overtaken while it is being journaled does not come into force (reliability 35)",
  async (t) => {
    const b = await bench(benchConfig());
    await b.controller.command("app", setWeight(5), ADA);
    let release = (): void => {};
    const gate = new Promise<void>((resolve) => (release = resolve));
    const append = b.journal.append.bind(b.journal);
    b.journal.append = async (entry) => {
      await gate;
      return append(entry);
    };
    const raised = b.controller.command("app", setWeight(50), ADA);
    for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
    const lowered = b.controller.command("app", rollback, ADA);
    t.equal(weightOf(b), 0);
    release();
    t.match(await raised, { ok: false });
    t.match(await lowered, { ok: true });
    t.notOk(b.plane.weights.includes(50));
    t.equal(statusOf(b).weight, 0);
  },
);

t.test(
  "a journal that stays away costs memory up to a bound, and the newest entries are kept (reliability 36)",
  async (t) => {
    const b = await bench(benchConfig());
    b.journal.fails = () => true;
    for (let i = 0; i < 1010; i++) {
      await b.controller.command("app", { ...setWeight(0), reason: `${i}` }, ADA);
    }
    t.equal(b.controller.isRecorded, false);
    b.journal.fails = () => false;
    await b.run(1);
    await new Promise(setImmediate);
    t.equal(b.journal.entries.length, 1000);
    t.equal(b.journal.entries.at(-1)?.reason, "1009");
    t.equal(b.controller.isRecorded, true);
  },
);

t.test("endpoints that nobody has probed yet are neither well nor ill", async (t) => {
  const b = await bench(benchConfig({ rollback: { onAny: [{ metric: "health_failures", atLeast: 5 }] } }));
  await b.controller.command("app", startOf(), ADA);
  for (const unknown of [{ healthy: null }, null]) {
    b.health.canary = unknown;
    await b.run(3);
    t.match(statusOf(b), { step: 0, verdict: "inconclusive" });
  }
  b.health.canary = { healthy: false, failures: 1 };
  await b.run(3);
  t.match(statusOf(b), { step: 0, verdict: "inconclusive" });
  b.health.canary = {};
  await b.run(3);
  t.match(statusOf(b), { step: 1 });
});

t.test(
  "a rollback that finds a save under way, which then fails, is recorded by a save of its own",
  async (t) => {
    let fail = (): void => {};
    let saves = 0;
    const gate = new Promise<void>((resolve) => (fail = resolve));
    const store = storeWith(async (save) => {
      if (++saves !== 2) return save();
      await gate;
      return full();
    });
    const b = await bench(benchConfig(), { store });
    await b.controller.command("app", setWeight(5), ADA);
    const raised = b.controller.command("app", setWeight(50), ADA);
    await new Promise(setImmediate);
    const lowered = b.controller.command("app", rollback, ADA);
    fail();
    t.match(await raised, { ok: false });
    t.match(await lowered, { ok: true, status: { weight: 0, recorded: true } });
    t.match(await store.load(), { kind: "found", document: { routes: { app: { weight: 0 } } } });
  },
);

t.test(
  "a disk that takes longer than the time between two ticks holds up nothing for ever (reliability 36)",
  async (t) => {
    let isSlow = false;
    let end: (() => void) | undefined;
    const store = storeWith(async (save) => {
      if (isSlow) await new Promise<void>((resolve) => (end = resolve));
      return save();
    });
    const b = await bench(benchConfig(), { store });
    await b.controller.command("app", setWeight(5), ADA);
    // Ticks are not awaited: each of them has something newer to save before the last save is through.
    b.kill();
    isSlow = true;
    const tick = async (): Promise<void> => {
      await b.clock.advance(1000);
      void b.controller.tick();
      await new Promise(setImmediate);
    };
    await tick();
    const lowered = b.controller.command("app", rollback, ADA);
    for (let second = 0; second < 4; second++) {
      await tick();
      end?.();
      await new Promise(setImmediate);
    }
    t.match(b.journal.entries.at(-1), { event: "ROLLBACK_DONE" });
    t.match(b.notices.at(-1), { event: "ROLLBACK_DONE" });
    t.match(await lowered, { ok: true, status: { weight: 0 } });
  },
);

t.test(
  "raises that wait for one go one after the other, each from where the last one led (reliability 35)",
  async (t) => {
    let release: (() => void) | undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const b = await bench(benchConfig(), { store: storeWith((save) => held.then(save)) });
    const asked = [5, 10, 20, 30].map((weight) => b.controller.command("app", setWeight(weight), ADA));
    release?.();
    t.same(
      (await Promise.all(asked)).map(({ ok }) => ok),
      [true, true, true, true],
    );
    t.same(
      b.journal.entries.map(({ before, after }) => [percentOf(before.weight), percentOf(after.weight)]),
      [
        [0, 5],
        [5, 10],
        [10, 20],
        [20, 30],
      ],
      "and the journal tells of nothing that never was",
    );
    t.equal(weightOf(b), 30);
  },
);

t.test("a start whose backup ends while a raise is being recorded does not go beside it", async (t) => {
  const ends: (() => void)[] = [];
  const backups = {
    create: () =>
      new Promise<{ ok: true; name: string }>((resolve) => ends.push(() => resolve({ ok: true, name: "b" }))),
  };
  const saves: (() => void)[] = [];
  const store = storeWith((save) => new Promise<void>((resolve) => saves.push(resolve)).then(save));
  const b = await bench(benchConfig(), { store, backups });
  const started = b.controller.command("app", startOf([step(5, 60)]), ADA);
  await new Promise(setImmediate);
  const raised = b.controller.command("app", setWeight(20), ADA);
  await new Promise(setImmediate);
  for (const end of ends) end();
  t.match(await started, { ok: false, code: "SPLIT_STATE_CONFLICT" });
  for (const save of saves) save();
  t.match(await raised, { ok: true, status: { weight: 20 } });
  t.same(
    b.journal.entries.map(({ event }) => event),
    ["WEIGHT_SET"],
  );
});

t.test("a rollout that stands still is recorded once, and not every second", async (t) => {
  let saves = 0;
  const store = storeWith((save) => (saves++, save()));
  const b = await bench(benchConfig({ rollback: { cooldown: "1m", verify: "1m" } }), { store });
  await b.controller.command("app", setWeight(5), ADA);
  await b.run(5, well(b));
  await b.controller.command("app", rollback, ADA);
  await b.run(70);
  t.match(statusOf(b), { phase: "rolled_back", cooldownLeftMs: 0, recorded: true });
  saves = 0;
  await b.run(60);
  t.equal(saves, 0);
  await b.controller.command("app", setWeight(5), ADA);
  t.ok(saves > 0);
  await b.controller.command("app", setWeight(0), ADA);
  await b.run(60);
  saves = 0;
  await b.run(60);
  t.ok(saves <= 7, `at a weight of 0, ${saves}: no more than the evidence, which is taken every ten seconds`);
});

t.test("what waits to be recorded is written before the end", async (t) => {
  let disk = (save: () => Promise<Saved>): Promise<Saved> => save();
  const store = storeWith((save) => disk(save));
  const b = await bench(benchConfig(), { store });
  await b.controller.command("app", setWeight(5), ADA);
  disk = full;
  await b.controller.command("app", rollback, ADA);
  disk = (save) => save();
  await b.controller.close();
  t.match(await store.load(), { kind: "found", document: { routes: { app: { weight: 0 } } } });
});

t.test(
  "a journal that cannot be written holds up a climb; a rollback's entry is kept until it can (reliability 35, 36)",
  async (t) => {
    const b = await bench(benchConfig());
    await b.controller.command("app", setWeight(5), ADA);
    b.journal.fails = () => true;
    t.match(await b.controller.command("app", setWeight(50), ADA), { ok: false });
    t.equal(weightOf(b), 5);
    await b.controller.command("app", rollback, ADA);
    t.match(statusOf(b), { weight: 0, recorded: false });
    t.ok(b.controller.totals().journalErrors >= 2);
    b.journal.fails = () => false;
    await b.run(2);
    t.strictSame(
      b.journal.entries.map((entry) => entry.event),
      ["WEIGHT_SET", "ROLLBACK_DONE"],
    );
    t.equal(statusOf(b).recorded, true);
  },
);

t.test("another writer on the same state is noticed, and what is in force is recorded on top", async (t) => {
  const store = memoryStore();
  const b = await bench(benchConfig(), { store });
  await b.controller.command("app", setWeight(5), ADA);
  const loaded = await store.load();
  if (loaded.kind !== "found") throw new Error("not saved");
  await store.save({ ...loaded.document, version: loaded.document.version + 1 });
  t.match(await b.controller.command("app", setWeight(6), ADA), { ok: false });
  t.equal(weightOf(b), 5);
  t.ok(
    b.notices.some(
      ({ event, summary }) => event === "state_unwritable" && summary.includes("another process"),
    ),
  );
  await b.run(1);
  t.match(await b.controller.command("app", setWeight(6), ADA), { ok: true });
});
