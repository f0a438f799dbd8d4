/** A restore through the engine: lower at once, never higher, recorded, and refused over what runs. */

import fc from "fast-check";
import t from "tap";
import type { StateDocument } from "../../src/engine/ports.ts";
import type { RestoreOrder } from "../../src/engine/restore.ts";
import { fakeDice } from "../support/dice.ts";
import {
  ADA,
  bench,
  benchConfig,
  full,
  ill,
  rollback,
  setWeight,
  startOf,
  statusOf,
  step,
  storeWith,
  weightOf,
  well,
  type Bench,
} from "../support/engine.ts";

/** What is recorded now, as a backup has it. */
async function recorded(b: Bench): Promise<StateDocument["routes"]> {
  await b.run(2);
  const loaded = await b.store.load();
  return loaded.kind === "found" ? loaded.document.routes : {};
}

const order = (states: StateDocument["routes"], more: Partial<RestoreOrder> = {}): RestoreOrder => ({
  from: "20260105T090000.000Z_manual",
  states,
  force: false,
  reason: "the state was lost",
  actor: ADA,
  ...more,
});

t.test(
  "a restore is in force for the next request where it lowers, and on record with its reason",
  async (t) => {
    const b = await bench(benchConfig());
    const states = await recorded(b);
    await b.controller.command("app", setWeight(5), ADA);
    const five = await recorded(b);
    await b.controller.command("app", setWeight(50), ADA);
    const done = b.controller.restore(order(five, { force: true }));
    t.equal(b.plane.weights.at(-1), 5, "before anything is waited for");
    const restored = await done;
    t.match(restored, {
      ok: true,
      routes: [
        { route: "app", before: { phase: "paused", weight: 50 }, after: { phase: "paused", weight: 5 } },
      ],
    });
    t.same(restored.ok && restored.missing, []);
    t.match(b.journal.entries.at(-1), {
      event: "RESTORED",
      actor: "ada",
      reason: "restored from 20260105T090000.000Z_manual: the state was lost",
    });
    t.equal(b.notices.at(-1)?.event, "RESTORED");
    b.kill();
    t.equal(weightOf(await bench(benchConfig(), { store: b.store })), 5);
    t.same(states, {}, "nothing was recorded at first");
  },
);

t.test(
  "a restore over a rollout that has traffic is refused unless forced, and changes nothing",
  async (t) => {
    const b = await bench(benchConfig());
    await b.controller.command("app", startOf(), ADA);
    const first = await recorded(b);
    await b.run(30, well(b));
    t.match(statusOf(b), { phase: "progressing", weight: 5 });
    const before = await recorded(b);
    t.match(await b.controller.restore(order(first)), {
      ok: false,
      code: "SPLIT_PHASE_MISMATCH",
      message: "app is progressing at 5 %: roll it back first, or force with a reason",
    });
    t.match(statusOf(b), { phase: "progressing", weight: 5 });
    t.match(await b.controller.restore(order(before, { force: true })), { ok: true });
    t.match(statusOf(b), { phase: "paused", weight: 5, reason: /^Paused: restored from/ });
    const weights = b.plane.weights.length;
    await b.run(3600, well(b));
    t.equal(weightOf(b), 5, "it does not climb by itself");
    t.ok(b.plane.weights.slice(weights).every((weight) => weight <= 5));
    t.match(await b.controller.command("app", { type: "resume", reason: "" }, ADA), { ok: true });
    await b.run(70, well(b));
    t.equal(weightOf(b), 50, "a person lets it climb");
  },
);

t.test("after a rollback the weight of before does not come back, and its cooldown stays", async (t) => {
  const b = await bench(benchConfig());
  await b.controller.command("app", startOf([step(50, 600)]), ADA);
  const fifty = await recorded(b);
  await b.run(330, ill(b));
  t.match(statusOf(b), { phase: "rolled_back", weight: 0 });
  t.match(await b.controller.restore(order(fifty)), { ok: false, code: "SPLIT_COOLDOWN" });
  t.match(statusOf(b), { phase: "rolled_back" });
  const applied = b.plane.weights.length;
  t.match(await b.controller.restore(order(fifty, { force: true })), {
    ok: true,
    routes: [{ after: { phase: "paused", weight: 0 } }],
  });
  await b.run(600, well(b));
  t.same(new Set(b.plane.weights.slice(applied)), new Set([0]));
  t.equal(b.plane.split?.routes.get("app")?.forcedCanary, true, "a person may look at it again");
  t.ok(statusOf(b).cooldownLeftMs > 0);
  t.match(await b.controller.command("app", startOf(), ADA), { ok: false });
});

t.test("to restore what was rolled back is no rollback: none is counted, and none overwritten", async (t) => {
  const before = await bench(benchConfig());
  await before.controller.command("app", setWeight(50), ADA);
  await before.controller.command("app", rollback, ADA);
  const rolledBack = await recorded(before);
  before.kill();
  const idle = await bench(benchConfig());
  t.match(await idle.controller.restore(order(rolledBack)), { ok: true });
  t.match(statusOf(idle), { phase: "rolled_back", weight: 0, rollbacks: 0, lastRollback: null });
  t.same(idle.reports, []);
  const other = await bench(benchConfig(), { dice: fakeDice(8) });
  await other.controller.command("app", setWeight(50), ADA);
  await other.run(330, ill(other));
  await other.controller.command("app", { ...setWeight(20), force: true } as never, ADA);
  t.match(await other.controller.restore(order(rolledBack, { force: true })), { ok: true });
  t.match(statusOf(other), { phase: "rolled_back", rollbacks: 1, lastRollback: { actor: "sluice" } });
  t.equal(other.reports.length, 1);
  const last = other.notices.at(-1);
  t.equal(last?.event, "RESTORED");
  t.same(last?.details["explanation"], [], "what another rollout came to explains nothing");
});

t.test("an alarm that has taken the weight away does not give it back after a restore", async (t) => {
  const config = benchConfig({
    rollback: { onAny: [{ metric: "error_rate", above: "1%", test: "sequential" }] },
  });
  const b = await bench(config);
  await b.controller.command("app", startOf([step(50, 600)]), ADA);
  await b.run(3, well(b));
  b.plane.cross("app", "errors");
  t.match(statusOf(b), { phase: "progressing", weight: 0 });
  const tripped = await recorded(b);
  t.ok(tripped["app"]!.trippedFrom > 0);
  t.match(await b.controller.restore(order(tripped)), { ok: false, code: "SPLIT_PHASE_MISMATCH" });
  t.match(await b.controller.restore(order(tripped, { force: true })), { ok: true });
  await b.run(60, well(b));
  t.match(statusOf(b), { phase: "paused", weight: 0 });
});

t.test("a full disk does not hold a restore up where it lowers (reliability 35, 36)", async (t) => {
  let isFull = false;
  const b = await bench(benchConfig(), { store: storeWith((save) => (isFull ? full() : save())) });
  await b.controller.command("app", setWeight(5), ADA);
  const five = await recorded(b);
  await b.controller.command("app", setWeight(50), ADA);
  isFull = true;
  t.match(await b.controller.restore(order(five, { force: true })), { ok: true });
  t.match(statusOf(b), { weight: 5, recorded: false });
  isFull = false;
  await b.run(2);
  t.match(statusOf(b), { weight: 5, recorded: true });
});

t.test("a restore overtakes a raise that is still being recorded", async (t) => {
  let letGo = (): void => {};
  let hang = false;
  const b = await bench(benchConfig(), {
    store: storeWith(async (save) => {
      if (hang) await new Promise<void>((resolve) => (letGo = resolve));
      return save();
    }),
  });
  await b.controller.command("app", setWeight(5), ADA);
  const five = await recorded(b);
  hang = true;
  const raise = b.controller.command("app", setWeight(50), ADA);
  await b.run(1);
  const done = b.controller.restore(order(five, { force: true }));
  hang = false;
  letGo();
  t.match(await raise, { ok: false });
  t.match(await done, { ok: true });
  t.notOk(b.plane.weights.includes(50));
  t.match(statusOf(b), { weight: 5, recorded: true });
});

t.test(
  "routes that are not in the backup stay as they are, and routes that are gone are named",
  async (t) => {
    const b = await bench(benchConfig());
    await b.controller.command("app", setWeight(5), ADA);
    const states = await recorded(b);
    const { app } = states;
    await b.controller.command("app", rollback, ADA);
    const restored = await b.controller.restore(order({ other: app!, constructor: app! }));
    t.same(restored.ok && [restored.routes, restored.missing], [[], ["other", "constructor"]]);
    t.match(statusOf(b), { phase: "rolled_back" });
  },
);

t.test("whatever was done before and after, a restore never puts a higher weight in force", async () => {
  const act = fc.oneof(
    fc.constant("start" as const),
    fc.constant("rollback" as const),
    fc.constant("pause" as const),
    fc.constantFrom(0, 5, 50, 100),
  );
  const perform = async (b: Bench, acts: readonly (string | number)[]): Promise<void> => {
    for (const each of acts) {
      if (each === "start") await b.controller.command("app", { ...startOf(), force: true } as never, ADA);
      else if (each === "rollback") await b.controller.command("app", rollback, ADA);
      else if (each === "pause") await b.controller.command("app", { type: "pause", reason: "" }, ADA);
      else await b.controller.command("app", { ...setWeight(Number(each)), force: true } as never, ADA);
      await b.run(2, well(b));
    }
  };
  await fc.assert(
    fc.asyncProperty(
      fc.array(act, { maxLength: 4 }).map((acts) => [5, ...acts]),
      fc.array(act, { maxLength: 4 }),
      async (first, second) => {
        const b = await bench(benchConfig());
        await perform(b, first);
        const states = await recorded(b);
        await perform(b, second);
        const now = weightOf(b);
        const from = b.plane.weights.length;
        const result = await b.controller.restore(order(states, { force: true }));
        await b.run(120, well(b));
        b.kill();
        return result.ok && b.plane.weights.slice(from).every((weight) => weight <= now);
      },
    ),
    { numRuns: 25 },
  );
});
