/** Several replicas: what goes with a rollout's record is everybody's, too: switches, alerts, incidents. */

import { setImmediate as saves } from "node:timers/promises";
import t from "tap";
import { IDLE } from "../../src/domain/rollout-move.ts";
import { millis, ppm } from "../../src/domain/units.ts";
import { NO_DOCUMENT, Recorder, type RecorderStart } from "../../src/engine/recorder.ts";
import type { TurnOrder } from "../../src/engine/safety.ts";
import { fakeClock, type FakeClock } from "../support/clock.ts";
import {
  ADA,
  benchConfig,
  ill,
  rollback,
  setWeight,
  startOf,
  statusOf,
  step,
  well,
  type Bench,
} from "../support/engine.ts";
import { RULE_FREE, fleet, weights } from "../support/fleet.ts";
import { SharedObject, type SharedMember } from "../support/shared-store.ts";
import { quietLog } from "../support/silence.ts";

/** Nothing that a test does breaks it for long enough. */
const SLOW_RULE = benchConfig({
  rollback: { onAny: [{ metric: "error_rate", above: "1%", for: "10m" }] },
});

const turn = (b: Bench, which: TurnOrder["which"], on: boolean, route: string | null = null) =>
  b.controller.safety.turn({ which, on, route, reason: "a leak", actor: ADA });
const shares = (replicas: readonly Bench[]) =>
  replicas.map((each) => each.plane.split?.routes.get("app")?.weight);
const linesOf = (b: Bench) =>
  b.journal.entries.map(({ event }) => event).filter((event) => /^(EMERGENCY|READ|MAINT)/.test(event));
const toldOf = (b: Bench, of: RegExp) => b.notices.map(({ event }) => event).filter((each) => of.test(each));

t.test(
  "an emergency at any replica is in force there at once, and everywhere once it is recorded",
  async (t) => {
    const { replicas } = await fleet(3, RULE_FREE);
    const [a, b, c] = replicas;
    await a.controller.command("app", startOf([step(20, 600)]), ADA);
    const thrown = turn(b, "emergency", true);
    t.same(shares(replicas), [200_000, 0, 200_000], "before anything is recorded");
    t.match(await thrown, { ok: true, recorded: true });
    t.same(shares(replicas), [0, 0, 0]);
    t.match(statusOf(c).safety, { emergency: { by: "ada", reason: "a leak" } });
    t.same(replicas.map(linesOf), [
      ["EMERGENCY_ON", "EMERGENCY_ON"],
      ["EMERGENCY_ON", "EMERGENCY_ON"],
      ["EMERGENCY_ON", "EMERGENCY_ON"],
    ]);
    t.same(
      replicas.map((each) => toldOf(each, /^EMERGENCY/)),
      [[], ["EMERGENCY_ON"], []],
    );
    t.match(await a.controller.command("app", setWeight(50), ADA), { ok: false }, "nothing rises");
    t.match(await turn(c, "emergency", false), { ok: true, recorded: true });
    t.same(shares(replicas), [200_000, 200_000, 200_000]);
    t.equal(a.journal.entries.at(-1)?.reason, "taken back at another replica");
  },
);

t.test("switches that are thrown apart come together, and off needs the store", async (t) => {
  const { replicas } = await fleet(2, RULE_FREE);
  const [a, b] = replicas;
  await turn(a, "maintenance", true);
  b.store.isCut = true;
  t.match(await turn(b, "read-only", true, "app"), { ok: true, recorded: false });
  t.match(await turn(b, "maintenance", false), { ok: false, code: "SPLIT_STATE_UNWRITABLE" });
  t.match(await turn(a, "emergency", true, "app"), { ok: true, recorded: true });
  b.store.isCut = false;
  await a.run(6);
  for (const each of [a, b]) {
    t.same(Object.keys(statusOf(each).safety).sort(), ["emergency", "maintenance", "read-only"]);
    t.ok(each.controller.isRecorded);
  }
});

t.test("the leader keeps the alerts, everybody sees them, and the next one goes on with them", async (t) => {
  const alerts = [{ severity: "critical", when: [{ metric: "error_rate", above: "1%" }] }];
  const onAny = [{ metric: "health_failures", atLeast: 50 }];
  const { clock, object, replicas } = await fleet(2, benchConfig({ alerts, rollback: { onAny } }));
  const [a, b] = replicas;
  await a.controller.command("app", startOf([step(20, 86_400)]), ADA);
  const serve = (): void => {
    for (const each of replicas) {
      each.plane.serve("app", "canary", { ok: 90, failed: 10 });
      each.plane.serve("app", "stable", { ok: 100 });
    }
  };
  await a.run(125, serve);
  const [open] = a.controller.alerting.open();
  t.match(open, { severity: "critical", metric: "error_rate" });
  t.match(b.controller.alerting.open(), [{ id: open!.id }]);
  t.same(
    replicas.map((each) => toldOf(each, /^ALERT/)),
    [["ALERT_OPENED"], []],
  );
  t.match(await a.controller.alerting.acknowledge(open!.id, "ada", "on it"), { ok: true });
  t.match(b.controller.alerting.open(), [{ acknowledged: { by: "ada" } }]);
  a.kill();
  await a.store.close();
  await clock.advance("5s");
  t.equal(object.holder, "replica-1");
  await b.run(10, () => {
    b.plane.serve("app", "canary", { ok: 90, failed: 10 });
    b.plane.serve("app", "stable", { ok: 100 });
  });
  t.match(b.controller.alerting.open(), [{ id: open!.id, acknowledged: { by: "ada" } }]);
  t.same(toldOf(b, /^ALERT/), [], "told before");
});

t.test("the incident of a rollback at a follower is everybody's, and so is its end", async (t) => {
  const { replicas } = await fleet(2, RULE_FREE);
  const [a, b] = replicas;
  await a.controller.command("app", startOf([step(20, 600)]), ADA);
  await a.run(5, () => replicas.forEach((each) => well(each)()));
  await b.controller.command("app", rollback, ADA);
  const [incident] = b.controller.incidents();
  t.match(incident, { status: "open", route: "app" });
  t.match(a.controller.incidents(), [{ id: incident!.id, status: "open" }]);
  t.same(
    replicas.map((each) => toldOf(each, /^ROLLBACK_DONE/)),
    [[], ["ROLLBACK_DONE"]],
  );
  t.match(await a.controller.resolveIncident(incident!.id, ADA, "mended"), { ok: true });
  t.match(b.controller.incidents(), [{ status: "resolved" }]);
});

t.test("a route that another replica has, and this one has not, is kept on record", async (t) => {
  const { object, replicas } = await fleet(1, RULE_FREE);
  const [a] = replicas;
  await a.controller.command("app", startOf([step(20, 600)]), ADA);
  const { version, routes, ...document } = object.document!;
  const { app } = routes;
  await object.join("other").save({ ...document, version: version + 1, routes: { ...routes, api: app! } });
  await a.controller.command("app", rollback, ADA);
  t.match(object.document!.routes, { app: { phase: "rolled_back" }, api: { weight: 200_000 } });
});

t.test("a lowering that meets something newer brings along what is told of it", async (t) => {
  const { object, replicas } = await fleet(2, RULE_FREE);
  const [a, b] = replicas;
  await a.controller.command("app", startOf([step(20, 600)]), ADA);
  await a.run(5, () => replicas.forEach((each) => well(each)()));
  b.store.isCut = true;
  await b.controller.command("app", rollback, ADA);
  await a.controller.command("app", setWeight(50), ADA);
  b.store.isCut = false;
  await a.run(6);
  t.same(shares(replicas), [0, 0]);
  t.match(a.controller.incidents(), [{ route: "app", status: "open" }]);
  const told = object.document!.routes["app"]?.notices?.map(({ notice }) => notice.event) ?? [];
  t.ok(told.includes("ROLLBACK_DONE"));
  t.ok(told.length > 1, "beside what the newer one tells");
});

function recorderOn(
  store: SharedMember,
  clock: FakeClock,
  found: RecorderStart = NO_DOCUMENT,
  everyMs = 1000,
): Recorder {
  const ports = {
    store,
    shared: {
      store,
      leads: () => true,
      every: () => millis(everyMs),
      onAdopted: () => {},
      onSafety: () => {},
    },
    journal: { append: () => Promise.resolve(true), read: () => Promise.resolve([]) },
    clock,
    log: quietLog(),
    onHealth: () => {},
  };
  return new Recorder(ports, found);
}

t.test("a raise that waited for a lowering to be recorded does not take the place of the next", async (t) => {
  const clock = fakeClock();
  const object = new SharedObject(clock);
  const store = object.join("a");
  const recorder = recorderOn(store, clock);
  const at = (revision: number, percent: number) => ({
    ...IDLE,
    id: "r-1",
    revision,
    weight: ppm(percent * 10_000),
  });
  const lowered = recorder.record("app", at(2, 5), "lowers");
  const raised = recorder.record("app", at(3, 50));
  const loweredAgain = recorder.record("app", at(3, 0), "lowers");
  t.same(await Promise.all([lowered, loweredAgain]), [true, true]);
  await raised;
  t.match(object.document!.routes, { app: { revision: 3, weight: 0 } });
  t.notOk(
    object.saved.some(({ routes }) => routes["app"]!.weight === 500_000),
    "nor for a moment",
  );
  await store.close();
});

t.test("what a shared store has lost is saved again, also when nothing new waits", async (t) => {
  const clock = fakeClock();
  const object = new SharedObject(clock);
  const store = object.join("a");
  const state = { ...IDLE, id: "r-1", revision: 1 };
  const recorder = recorderOn(store, clock);
  t.equal(await recorder.record("app", state), true);
  object.flush();
  store.renew();
  await recorder.restoreLost();
  t.match(object.document, { epoch: 1, routes: { app: { id: "r-1" } } });
  await recorder.restoreLost();
  t.equal(object.document?.epoch, 1, "nothing is lost now");

  object.flush();
  store.renew();
  await recorderOn(store, clock, { version: 7, routes: { app: state } }).restoreLost();
  t.match(object.document, { epoch: 1, routes: { app: { id: "r-1" } } }, "of before there were epochs, too");
  await store.close();
});

t.test("that time has passed waits where many are given it, and nothing else does", async (t) => {
  const clock = fakeClock();
  const object = new SharedObject(clock);
  const store = object.join("a");
  const recorder = recorderOn(store, clock, NO_DOCUMENT, 10_000);
  const at = (heldMs: number) => ({ ...IDLE, id: "r-1", revision: 1, heldMs: millis(heldMs) });
  const helds = () => object.saved.map(({ routes }) => routes["app"]?.heldMs);
  await recorder.record("app", at(0));
  for (let second = 1; second <= 20; second++) {
    await clock.advance("1s");
    recorder.retry();
    recorder.offer("app", at(second * 1000), true);
    await saves();
    t.equal(recorder.isCurrent, true, "nothing is missing on record");
  }
  t.same(helds(), [0, 10_000, 20_000]);
  recorder.offer("app", at(21_000));
  recorder.offer("app", at(21_500));
  recorder.offer("app", at(22_000), true);
  t.equal(recorder.isCurrent, false);
  await saves();
  t.same(helds().slice(3), [21_000, 22_000], "what presses does so until it is saved");
  recorder.offer("app", at(23_000), true);
  await recorder.finish();
  t.same(helds().slice(5), [23_000], "the end of the process waits for nothing");
  store.isCut = true;
  t.equal(await recorder.record("app", at(24_000), "lowers"), false);
  recorder.offer("app", at(25_000), true);
  await saves();
  t.equal(recorder.isCurrent, false);
  store.isCut = false;
  recorder.retry();
  await saves();
  t.equal(recorder.isCurrent, true);
  t.same(helds().slice(6), [25_000], "what could not be saved is tried again at once");
  await store.close();
});

function manyOthers(object: SharedObject, clock: FakeClock): void {
  const about = { applied: 0, weights: {}, perSecond: {} };
  for (let nth = 0; nth < 998; nth++) object.told.set(`other-${nth}`, { about, at: clock.mono() });
}

t.test("of a thousand replicas the leader records time every ten seconds", async (t) => {
  const { clock, object, replicas } = await fleet(2, SLOW_RULE);
  const [a] = replicas;
  manyOthers(object, clock);
  await a.controller.command("app", startOf([step(20, 600)]), ADA);
  await a.run(20, well(a));
  const before = object.saved.length;
  await a.run(30, well(a));
  t.equal(object.saved.length - before, 3);
  t.match(statusOf(a), { recorded: true });
  await a.controller.command("app", setWeight(10), ADA);
  t.same(weights(replicas), [10, 10], "a decision waits for nothing");
  const decided = object.saved.length;
  await a.run(10, ill(a));
  t.ok(object.saved.length - decided >= 9, "while a rule is broken, everybody is to know for how long");
});

t.test("a new leader serves again what of the time was not on record (acceptance 30)", async (t) => {
  const { clock, object, replicas } = await fleet(2, SLOW_RULE);
  const [a, b] = replicas;
  manyOthers(object, clock);
  await a.controller.command("app", startOf([step(20, 60), step(50, 600)]), ADA);
  await a.run(34, () => replicas.forEach((each) => well(each)()));
  const recorded = object.document!.routes["app"]!.heldMs;
  t.ok(recorded < statusOf(a).heldMs);
  a.kill();
  await a.store.close();
  await b.run(6, well(b));
  t.equal(object.holder, "replica-1");
  const led = statusOf(b).heldMs;
  t.ok(led >= recorded && led <= recorded + 6000, `${recorded}, then ${led}`);
});
