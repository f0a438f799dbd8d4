/** The safety switches in motion: in force before they are recorded, off only when that is recorded, and back after a kill. */

import t from "tap";
import type { Command } from "../../src/domain/rollout-types.ts";
import { BARS } from "../../src/domain/safety.ts";
import type { StateDocument } from "../../src/engine/ports.ts";
import type { TurnOrder } from "../../src/engine/safety.ts";
import { memoryStore } from "../../src/store/memory.ts";
import {
  ADA,
  bench,
  benchConfig,
  full,
  never,
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

const order = (which: TurnOrder["which"], on: boolean, where: string | null = null): TurnOrder => ({
  which,
  on,
  route: where,
  reason: "a leak",
  actor: ADA,
});
const turn = (b: Bench, ...which: Parameters<typeof order>) => b.controller.safety.turn(order(...which));
const inForce = (b: Bench) => b.plane.split?.routes.get("app");
const events = (b: Bench): readonly string[] => b.journal.entries.map(({ event }) => event);
/** Two routes, `app` and `api`. */
const two = () => {
  const endpoints = (port: number) => ({ endpoints: [`http://127.0.0.1:${port}`] });
  const api = { name: "api", match: { path: "/api" }, stable: endpoints(3), canary: endpoints(4) };
  const app = { name: "app", stable: endpoints(1), canary: endpoints(2) };
  return benchConfig({}, { routes: [app, api] });
};

t.test(
  "an emergency is in force before anything is recorded: nobody on the canary, forced or not, and its connections close (acceptance 24)",
  async (t) => {
    let hangs = false;
    const inner = memoryStore();
    const store = storeWith((save) => (hangs ? never() : save()), inner);
    const b = await bench(benchConfig(), { store });
    await b.controller.command("app", setWeight(25), ADA);
    await b.run(1);
    hangs = true;
    void turn(b, "emergency", true);
    t.match(inForce(b), { weight: 0, forcedCanary: false, bars: 0 });
    t.match(statusOf(b), {
      weight: 0,
      phase: "paused",
      safety: { emergency: { by: "ada", reason: "a leak" } },
    });
    t.strictSame(b.plane.closed, [{ route: "app", how: "drain" }]);
    t.match(b.notices.at(-1), {
      severity: "emergency",
      event: "EMERGENCY_ON",
      summary: "emergency is on for all routes, by ada: a leak",
      incident: { key: "sluice/production/all/emergency", action: "trigger" },
    });
  },
);

t.test(
  "off gives back what the rollout has, recorded first; both are journaled with who and why, and told",
  async (t) => {
    const b = await bench(benchConfig());
    await b.controller.command("app", setWeight(25), ADA);
    t.match(await turn(b, "emergency", true), { ok: true, recorded: true });
    t.match(await turn(b, "emergency", true), { ok: true, recorded: true }, "asked twice is done once");
    t.same(await turn(b, "emergency", false), {
      ok: true,
      state: { all: {}, routes: {} },
      recorded: true,
    });
    t.match(await turn(b, "emergency", false), { ok: true });
    t.match(inForce(b), { weight: 250_000, forcedCanary: true });
    t.strictSame(events(b), ["WEIGHT_SET", "EMERGENCY_ON", "EMERGENCY_ON", "EMERGENCY_OFF", "EMERGENCY_OFF"]);
    t.match(b.journal.entries.slice(1), [
      { route: "", actor: "ada", reason: "a leak", details: { scope: "all" } },
      { route: "app", before: { weight: 250_000 }, after: { weight: 0 } },
      { route: "" },
      { route: "app", before: { weight: 0 }, after: { weight: 250_000 } },
    ]);
    t.match(b.notices.slice(-2), [
      { event: "EMERGENCY_ON", incident: { action: "trigger" } },
      { event: "EMERGENCY_OFF", severity: "info", incident: { action: "resolve" } },
    ]);
  },
);

t.test("read-only and maintenance bar requests and leave the weight alone", async (t) => {
  const b = await bench(benchConfig());
  await b.controller.command("app", setWeight(25), ADA);
  await turn(b, "read-only", true, "app");
  await turn(b, "maintenance", true);
  t.match(inForce(b), { weight: 250_000, forcedCanary: true, bars: BARS["read-only"] | BARS.maintenance });
  t.match(b.notices.slice(-2), [{ severity: "critical" }, { severity: "warning" }]);
  t.match(b.journal.entries.slice(-2), [
    { event: "READ_ONLY_ON", route: "app", before: { weight: 250_000 }, after: { weight: 250_000 } },
    { event: "MAINTENANCE_ON", route: "" },
  ]);
  await turn(b, "maintenance", false);
  await turn(b, "read-only", false, "app");
  t.match(inForce(b), { bars: 0 });
  t.match(events(b).slice(-2), ["MAINTENANCE_OFF", "READ_ONLY_OFF"]);
});

t.test("a configured answer is in the split with the emergency, also when a reload brings it", async (t) => {
  const answering = { safety: { emergency: { answer: { body: "closed" } } } };
  const b = await bench(benchConfig({}, answering));
  await turn(b, "emergency", true);
  t.match(inForce(b), { weight: 0, forcedCanary: false, bars: BARS.emergency });
  b.controller.reconfigure(benchConfig());
  t.match(inForce(b), { weight: 0, forcedCanary: false, bars: 0 });
  b.controller.reconfigure(benchConfig({}, answering));
  t.match(inForce(b), { bars: BARS.emergency });
});

t.test(
  "a switch for one route leaves the others alone, and one for all is not taken back for one",
  async (t) => {
    const b = await bench(two());
    await b.controller.command("app", setWeight(10), ADA);
    await b.controller.command("api", setWeight(10), ADA);
    await turn(b, "emergency", true, "app");
    t.equal(inForce(b)?.weight, 0);
    t.equal(b.plane.split?.routes.get("api")?.weight, 100_000);
    t.match(await turn(b, "emergency", false), {
      ok: false,
      code: "SPLIT_PHASE_MISMATCH",
      message: /for app/,
    });
    t.match(await turn(b, "emergency", true, "nobody"), { ok: false, code: "SPLIT_NOT_FOUND" });
    await turn(b, "emergency", true);
    t.equal(b.plane.split?.routes.get("api")?.weight, 0);
    t.match(await turn(b, "emergency", false), { ok: true });
    t.equal(inForce(b)?.weight, 0, "what was thrown for it alone is still on");
    t.equal(b.plane.split?.routes.get("api")?.weight, 100_000);
  },
);

t.test(
  "killed with an emergency on, it comes back in it, and so does a route that is new by then",
  async (t) => {
    const before = await bench(benchConfig());
    await before.controller.command("app", setWeight(25), ADA);
    await turn(before, "emergency", true);
    before.kill();
    const after = await bench(two(), { store: before.store, journal: before.journal });
    t.match(inForce(after), { weight: 0, forcedCanary: false });
    t.match(after.controller.safety.state, { all: { emergency: { by: "ada", reason: "a leak" } } });
    t.match(after.controller.routes(), [{ safety: { emergency: {} } }, { safety: { emergency: {} } }]);
    t.notOk(
      after.plane.weights.some((weight) => weight > 0),
      "not for a moment",
    );
    await turn(after, "emergency", false);
    t.equal(inForce(after)?.weight, 250_000);
  },
);

t.test(
  "on while nothing can be recorded is in force, says so, and is recorded when that works again",
  async (t) => {
    let isFull = true;
    const store = storeWith((save) => (isFull ? full() : save()));
    const b = await bench(benchConfig(), { store });
    t.match(await turn(b, "read-only", true), { ok: true, recorded: false });
    t.match(inForce(b), { bars: BARS["read-only"] });
    t.match(b.controller.recording, { trouble: "ENOSPC" });
    isFull = false;
    await b.run(2);
    t.match(b.controller.recording, { trouble: "", journals: true });
    const loaded = await store.load();
    t.match(loaded, { document: { safety: { all: { "read-only": { by: "ada" } } } } });
  },
);

t.test("off while nothing can be recorded stays on, and is on after a restart too", async (t) => {
  let isFull = false;
  const saved: StateDocument[] = [];
  const inner = memoryStore();
  const store = storeWith((save) => (isFull ? full() : save()), {
    ...inner,
    save: (document) => {
      saved.push(document);
      return inner.save(document);
    },
  });
  const b = await bench(benchConfig(), { store });
  await b.controller.command("app", setWeight(25), ADA);
  await turn(b, "emergency", true);
  isFull = true;
  t.match(await turn(b, "emergency", false), {
    ok: false,
    code: "SPLIT_STATE_UNWRITABLE",
    message: /still on/,
  });
  t.equal(inForce(b)?.weight, 0);
  isFull = false;
  await b.run(3);
  t.match(saved.at(-1)?.safety, { all: { emergency: {} } });
  t.notOk(events(b).includes("EMERGENCY_OFF"));
});

t.test("a switch thrown while another is being taken back wins, and the other stays on", async (t) => {
  let release: (() => void) | undefined;
  let holds = false;
  const store = storeWith(async (save) => {
    if (holds) await new Promise<void>((resolve) => (release = resolve));
    return save();
  });
  const b = await bench(benchConfig(), { store });
  await turn(b, "emergency", true);
  holds = true;
  const off = turn(b, "emergency", false);
  await new Promise(setImmediate);
  holds = false;
  const on = turn(b, "read-only", true);
  release?.();
  t.match(await off, { ok: false, code: "SPLIT_STATE_CONFLICT" });
  await on;
  await b.run(1);
  t.match(await store.load(), { document: { safety: { all: { emergency: {}, "read-only": {} } } } });
  t.match(statusOf(b), { weight: 0, safety: { emergency: {}, "read-only": {} } });
});

t.test("a raise that is being recorded when the emergency comes does not come into force", async (t) => {
  let release: (() => void) | undefined;
  let holds = false;
  const store = storeWith(async (save) => {
    if (holds) await new Promise<void>((resolve) => (release = resolve));
    return save();
  });
  const b = await bench(benchConfig(), { store });
  holds = true;
  const raise = b.controller.command("app", setWeight(25), ADA);
  await new Promise(setImmediate);
  holds = false;
  const on = turn(b, "emergency", true);
  release?.();
  t.equal((await raise).ok, false);
  await on;
  await turn(b, "emergency", false);
  t.equal(weightOf(b), 0);
  t.notOk(b.plane.weights.some((weight) => weight > 0));
});

t.test(
  "in an emergency a raise is refused, a rollback is not, and a frozen rollout goes on where it was",
  async (t) => {
    const b = await bench(benchConfig());
    await b.controller.command("app", startOf([step(5, 60), step(50, 60)]), ADA);
    await b.run(30, well(b));
    await turn(b, "emergency", true);
    const raises: readonly Command[] = [setWeight(50), startOf(), { type: "resume", reason: "" }];
    for (const command of raises)
      t.match(await b.controller.command("app", command, ADA), { ok: false, code: "SPLIT_PHASE_MISMATCH" });
    await b.run(600, well(b));
    t.match(statusOf(b), { phase: "progressing", step: 0, weight: 0, waiting: { for: "emergency" } });
    await turn(b, "emergency", false);
    t.match(statusOf(b), { weight: 5, waiting: { for: "hold", words: "30s of its hold are left" } });
    await turn(b, "emergency", true);
    t.match(await b.controller.command("app", rollback, ADA), { ok: true, status: { phase: "rolled_back" } });
    await turn(b, "emergency", false);
    t.equal(weightOf(b), 0);
  },
);

t.test("a canary whose probes fail in an emergency is rolled back: off gives nothing back", async (t) => {
  const b = await bench(benchConfig({ rollback: { onAny: [{ metric: "health_failures", atLeast: 5 }] } }));
  await b.controller.command("app", setWeight(25), ADA);
  await turn(b, "emergency", true);
  b.health.canary = { healthy: false, failures: 5, detail: "refused" };
  await b.run(2);
  t.match(statusOf(b), { phase: "rolled_back" });
  await turn(b, "emergency", false);
  t.equal(inForce(b)?.weight, 0);
});

t.test("a gate that asks for health waits while a check fails, and the wait says which", async (t) => {
  let unwell: string | undefined = "store: the disk is full";
  const gate = {
    roles: [],
    acknowledge: [],
    checklist: [],
    expiresMs: null,
    samePerson: false,
    health: true as const,
  };
  const start = { type: "start", version: "4.1", force: false, reason: "" } as const;
  const b = await bench(benchConfig(), { unwell: () => unwell });
  await b.controller.command("app", { ...start, steps: [{ ...step(5, 10), gate }, step(50, 60)] }, ADA);
  await b.run(60, well(b));
  t.match(statusOf(b), { weight: 5, waiting: { for: "health", words: /store: the disk is full/ } });
  unwell = undefined;
  await b.run(2, well(b));
  t.match(statusOf(b), { step: 1, weight: 50 });
});
