/** What people are told through the controller, with the clock moved by hand: once, in time, and over a restart. */

import t, { type Test } from "tap";
import type { IncidentRecord } from "../../src/domain/incident.ts";
import type { Command } from "../../src/domain/rollout-types.ts";
import { keepMessages } from "../../src/engine/messages.ts";
import type { Notice } from "../../src/engine/ports.ts";
import { decodeState, encodeState } from "../../src/store/document.ts";
import { memoryStore } from "../../src/store/memory.ts";
import { fakeClock } from "../support/clock.ts";
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
  well,
  type Bench,
} from "../support/engine.ts";

const MINUTE = 60;
const HOUR = 3600;
/** Monday. */
const MONDAY = Date.parse("2026-01-05T09:00:00Z");
const QUIET = { onAny: [{ metric: "health_failures", atLeast: 5 }], verify: "4h", cooldown: "1m" };
const LONG = [step(0, 0), step(5, 40 * 24 * HOUR), step(100, 60)];

const FORCED: Command = { type: "start", steps: [step(50, 60)], version: "", force: true, reason: "now" };

const ids = (notices: readonly Notice[]): readonly string[] => notices.map(({ id }) => id);
const of = (b: Bench, event: string): readonly Notice[] => b.notices.filter((each) => each.event === event);
const kinds = (b: Bench, audience: Notice["audience"]): readonly string[] =>
  b.notices.filter((each) => each.audience === audience).map(({ event }) => event);

async function at(wall: number, config = benchConfig({ rollback: QUIET }), parts = {}): Promise<Bench> {
  const clock = fakeClock();
  clock.jumpWall(wall - clock.wall());
  return bench(config, { clock, ...parts });
}

/** Days pass: a second of service stands for as long as it takes. */
async function later(b: Bench, seconds: number): Promise<void> {
  b.clock.jumpWall((seconds - 1) * 1000);
  await b.run(1);
}

const again = (b: Bench, config = benchConfig({ rollback: QUIET }), parts = {}): Promise<Bench> => {
  b.kill();
  const { store, journal, clock } = b;
  return bench(config, { store, journal, clock, ...parts });
};

async function rolledBack(t: Test, config = benchConfig({ rollback: QUIET }), parts = {}): Promise<Bench> {
  const b = await at(MONDAY, config, parts);
  await b.controller.command("app", startOf(LONG), ADA);
  await b.run(3, well(b));
  t.equal(statusOf(b).weight, 5);
  t.ok((await b.controller.command("app", rollback, ADA)).ok);
  return b;
}

t.test(
  "what was told in the last hour is told again after a restart, under the same ids and no others",
  async (t) => {
    const b = await at(MONDAY);
    await b.controller.command("app", startOf(LONG), ADA);
    await b.run(3, well(b));
    const { rollout } = statusOf(b);
    t.same(ids(b.notices), [`app:${rollout}:1:DEPLOY_START`, `app:${rollout}:2:STEP_STARTED`]);
    const second = await again(b);
    t.same(second.notices, b.notices, "word for word");
    t.same(kinds(second, "stakeholders"), []);
    b.clock.jumpWall(HOUR * 1000);
    t.same((await again(second)).notices, [], "an hour later nobody waits for them");
    t.same(second.controller.incidents(), []);
  },
);

t.test("who is killed after the record and before the telling has told it after all", async (t) => {
  const inner = memoryStore();
  let isHanging = false;
  const store = storeWith((save) => (isHanging ? save().then(never) : save()), inner);
  const b = await at(MONDAY, undefined, { store });
  await b.controller.command("app", startOf(LONG), ADA);
  await b.run(3, well(b));
  isHanging = true;
  void b.controller.command("app", rollback, ADA);
  await new Promise(setImmediate);
  t.equal(statusOf(b).weight, 0, "a record that hangs holds up no rollback");
  t.same(of(b, "ROLLBACK_DONE"), []);
  b.kill();
  const second = await bench(benchConfig({ rollback: QUIET }), { store: inner, clock: b.clock });
  const { rollout } = statusOf(second);
  t.match(of(second, "ROLLBACK_DONE"), [
    {
      id: `app:${rollout}:3:ROLLBACK_DONE`,
      severity: "emergency",
      incident: { key: `sluice/production/app/${rollout}/rollback`, action: "trigger" },
    },
  ]);
  t.match(
    second.controller.incidents(),
    [{ rollout, status: "open" }],
    "and nothing of the incident is lost",
  );
});

t.test("a raise that is not recorded is not told, and nobody hears that it was called off", async (t) => {
  let isFull = false;
  const b = await at(MONDAY, undefined, { store: storeWith((save) => (isFull ? full() : save())) });
  await b.controller.command("app", startOf(LONG), ADA);
  await b.run(3, well(b));
  isFull = true;
  const told = b.notices.length;
  t.match(await b.controller.command("app", startOf([step(5, 60)]), ADA), { ok: false });
  t.match(await b.controller.command("app", FORCED, ADA), {
    ok: false,
    code: "SPLIT_STATE_UNWRITABLE",
  });
  isFull = false;
  await b.run(5, well(b));
  t.same(
    b.notices.slice(told).map(({ event }) => event),
    ["state_unwritable", "state_recorded_again"],
  );
  t.equal((await again(b)).notices.length, told, "nor after a restart");
});

t.test(
  "stakeholders hear of an incident after fifteen minutes, then every hour, until it is verified, and that it is over",
  async (t) => {
    const files: IncidentRecord[] = [];
    const write = (incident: IncidentRecord): Promise<void> => Promise.resolve(void files.push(incident));
    let b = await rolledBack(t, undefined, { incidents: { write } });
    const { rollout } = statusOf(b);
    const [incident] = b.controller.incidents();
    t.match(incident, {
      id: "incident_production_app_20260105T090003Z",
      rollout,
      actor: "ada",
      fromWeight: 5,
    });
    t.match(files, [{ status: "open" }]);
    await later(b, 14 * MINUTE);
    t.same(kinds(b, "stakeholders"), []);
    await later(b, MINUTE);
    t.match(of(b, "incident_update"), [
      {
        id: `${incident?.id}:1`,
        audience: "stakeholders",
        severity: "warning",
        lines: [/every user is on the old/],
      },
    ]);
    await later(b, 59 * MINUTE);
    t.equal(of(b, "incident_update").length, 1);
    const { length: written } = files;
    b = await again(b, undefined, { incidents: { write } });
    t.equal(files.length, written + 1, "its files are written anew, for the end may have come before them");
    t.same(ids(of(b, "incident_update")), [`${incident?.id}:1`], "told again under its id, and not anew");
    await later(b, MINUTE);
    t.same(ids(of(b, "incident_update")), [`${incident?.id}:1`, `${incident?.id}:2`]);
    await later(b, 9 * HOUR);
    t.equal(of(b, "incident_update").length, 3, "who was asleep for nine hours is told once");
    await b.run(4 * HOUR);
    t.match(b.controller.incidents(), [
      { status: "resolved", resolvedBy: "sluice", resolution: /^stable is healthy/ },
    ]);
    t.match(of(b, "ROLLBACK_VERIFIED"), [{ incident: { key: incident?.key, action: "resolve" } }]);
    t.match(of(b, "incident_resolved"), [{ id: `${incident?.id}:end`, audience: "stakeholders" }]);
    t.match(of(b, "final_report"), [{ details: { status: "ROLLED BACK" } }]);
    const { length } = b.notices;
    await b.run(10);
    await later(b, 48 * HOUR);
    t.equal(b.notices.length, length, "and then no more");
  },
);

t.test(
  "a person's word ends an incident: the pager's by the same key, and stakeholders who never heard of it hear nothing",
  async (t) => {
    const b = await rolledBack(t);
    const [incident] = b.controller.incidents();
    const missing = { ok: false, code: "SPLIT_NOT_FOUND" };
    t.match(await b.controller.resolveIncident("incident_x", ADA, "done"), missing);
    const ended = {
      ok: true,
      value: { status: "resolved", resolvedBy: "ada", resolution: "it was a drill" },
    };
    t.match(await b.controller.resolveIncident(incident!.id, ADA, "it was a drill"), ended);
    t.match(
      await b.controller.resolveIncident(incident!.id, ADA, "twice"),
      ended,
      "asked twice is done once",
    );
    t.match(of(b, "INCIDENT_RESOLVED"), [
      { audience: "operators", incident: { key: incident?.key, action: "resolve" }, lines: { length: 12 } },
    ]);
    await later(b, HOUR);
    t.same(kinds(b, "stakeholders"), ["final_report"]);
    t.match(
      b.journal.entries.filter(({ event }) => event === "INCIDENT_RESOLVED"),
      [{ actor: "ada" }],
    );
  },
);

t.test(
  "a rollback that is not well when it has stood for its time leaves the incident open, and a second one adds to it",
  async (t) => {
    const steps = [step(0, 0), step(5, 2), step(50, 40 * HOUR), step(100, 60)];
    const b = await at(
      MONDAY,
      benchConfig({
        rollback: {
          ...QUIET,
          onAny: [{ metric: "error_rate", above: "1%", for: "10s" }],
          to: "previousStep",
          verify: "1m",
        },
      }),
    );
    await b.controller.command("app", startOf(steps), ADA);
    await b.run(30, well(b));
    t.equal(statusOf(b).weight, 50);
    await b.run(80, () => {
      b.plane.serve("app", "stable", { ok: 50 });
      b.plane.serve("app", "canary", { ok: 25, failed: 25 });
    });
    t.match(statusOf(b), { phase: "rolled_back", weight: 0 });
    const [incident, ...others] = b.controller.incidents();
    t.same(others, [], "what was left of it was rolled back, too: one incident");
    t.equal(incident?.updates.length, 2);
    b.health.stable = { healthy: false, failures: 5, detail: "status 503" };
    await b.run(70);
    t.match(of(b, "ROLLBACK_VERIFIED"), [{ severity: "emergency" }]);
    t.match(b.controller.incidents(), [{ status: "open", updates: { length: 3 } }]);
  },
);

t.test("a rollback that took nobody's traffic away is told, and opens nothing", async (t) => {
  const b = await at(MONDAY);
  await b.controller.command("app", startOf([step(0, 9 * HOUR), step(100, 60)]), ADA);
  await b.controller.command("app", rollback, ADA);
  t.match(of(b, "ROLLBACK_DONE"), [{ incident: undefined }]);
  t.same(b.controller.incidents(), []);
  await b.run(2);
  t.match(of(b, "final_report"), [{ summary: /ROLLED BACK/ }]);
});

t.test("stakeholders are told a day before a start, once, and when it is called off", async (t) => {
  const b = await at(MONDAY);
  const start = { ...startOf(LONG), startsAtMs: MONDAY + 30 * HOUR * 1000 };
  t.ok((await b.controller.command("app", start, ADA)).ok);
  await b.run(1);
  t.same(kinds(b, "stakeholders"), []);
  await later(b, 6 * HOUR - 2);
  t.same(kinds(b, "stakeholders"), []);
  await b.run(2);
  t.match(of(b, "announced"), [
    {
      summary: "app: a rollout of version 4.1 in production begins Tue 2026-01-06 15:00 UTC",
      details: { lead: "ada" },
    },
  ]);
  const second = await again(b);
  await second.run(10);
  t.equal(of(second, "announced").length, 1, "told again under its id, and not anew");
  await second.controller.command("app", { type: "rollback", reason: "not ready" }, ADA);
  await second.run(2);
  t.match(of(second, "schedule_cancelled"), [{ lines: [/is cancelled$/, /production/, /Key Updates/] }]);
  t.match(second.journal.entries.at(-1), { event: "STAKEHOLDERS_TOLD", reason: /is cancelled$/ });
});

t.test("stakeholders do not hear that a start is called off of which they never heard", async (t) => {
  const b = await at(MONDAY);
  const start = { ...startOf(LONG), startsAtMs: MONDAY + 30 * HOUR * 1000 };
  await b.controller.command("app", start, ADA);
  await b.controller.command("app", { type: "rollback", reason: "not ready" }, ADA);
  t.ok(of(b, "SCHEDULE_CANCELLED").length, "operators do");
  await b.run(2);
  t.same(kinds(b, "stakeholders"), []);
});

t.test(
  "the digest is told once a day, at its time of its zone, also after days asleep, and never where it is off",
  async (t) => {
    const config = benchConfig(
      { rollback: QUIET },
      { bulletins: { lead: "Ada Lovelace", digest: { at: "08:30", timezone: "Europe/Berlin" } } },
    );
    let b = await at(MONDAY, config);
    await b.controller.command("app", startOf(LONG), ADA);
    await b.run(5, well(b));
    await later(b, 22 * HOUR);
    t.same(of(b, "digest"), []);
    await later(b, HOUR);
    t.match(of(b, "digest"), [
      {
        id: `app:${statusOf(b).rollout}:digest:2026-01-06T07:30:00.000Z`,
        lines: { length: 12 },
        details: { status: "ON TRACK", rolloutPercent: 5, lead: "Ada Lovelace", updates: { length: 2 } },
      },
    ]);
    b = await again(b, config);
    await b.run(60, well(b));
    t.equal(of(b, "digest").length, 1);
    b.kill();
    b.clock.jumpWall(3 * 24 * HOUR * 1000);
    b = await again(b, config);
    await b.run(60, well(b));
    t.same(
      of(b, "digest").map(({ details }) => details["updates"]),
      [[]],
      "one for all the days",
    );
    await later(b, 24 * HOUR);
    t.equal(of(b, "digest").length, 2);
    const off = await at(MONDAY, benchConfig({ rollback: QUIET }, { bulletins: { digest: "off" } }));
    await off.controller.command("app", startOf(LONG), ADA);
    await later(off, 72 * HOUR);
    t.same(kinds(off, "stakeholders"), []);
  },
);

t.test(
  "the digest is AT RISK while a rule is in breach, is held, or an alert is open (acceptance 28)",
  async (t) => {
    const alerts = [{ severity: "warning", when: [{ metric: "error_rate", above: "0.5%" }] }];
    const breach = [{ metric: "error_rate", above: "1%", for: "5m" }];
    const b = await at(MONDAY, benchConfig({ rollback: { onAny: breach }, alerts }));
    await b.controller.command("app", startOf(LONG), ADA);
    await b.run(5, well(b));
    b.clock.jumpWall((24 * HOUR - 40) * 1000);
    await b.run(60, () => {
      b.plane.serve("app", "stable", { ok: 50 });
      b.plane.serve("app", "canary", { ok: 48, failed: 2 });
    });
    t.match(of(b, "digest"), [
      { summary: /AT RISK/, details: { risks: [/^error_rate above 1% for 5m: above the limit/] } },
    ]);
    await b.run(400, () => {
      b.plane.serve("app", "stable", { ok: 500 });
      b.plane.serve("app", "canary", { ok: 496, failed: 4 });
    });
    await later(b, 24 * HOUR);
    t.match(of(b, "digest").at(-1), {
      details: { status: "AT RISK", risks: [/^warning: error_rate above 0.5%/] },
    });
  },
);

t.test(
  "what people were told is left out of a weight set by hand, which has no plan to report on",
  async (t) => {
    const b = await at(MONDAY);
    await b.controller.command("app", setWeight(5), ADA);
    await later(b, 48 * HOUR);
    t.same(kinds(b, "stakeholders"), []);
  },
);

t.test(
  "a document without what people were told, or with something strange in its place, costs no rollout",
  async (t) => {
    const b = await rolledBack(t);
    const loaded = await b.store.load();
    if (loaded.kind !== "found") throw new Error(loaded.kind);
    const { document } = loaded;
    const encoded = encodeState(document, "line");
    const decoded = decodeState(encoded.ok ? encoded.text : "");
    t.same(
      decoded.ok && decoded.document.routes,
      JSON.parse(JSON.stringify(document.routes)),
      "all of it is kept",
    );
    const { notices, bulletins, ...bare } = document.routes["app"]!;
    t.equal(notices?.length, 3);
    t.equal(bulletins?.incidents.length, 1);
    const odd = { ...bare, notices: [{ atMs: "soon" }], bulletins: { rollout: 7 } };
    for (const app of [bare, odd]) {
      // Written as another version of the program might have.
      const text = encodeState({ ...document, routes: { app } }, "line");
      const back = decodeState(text.ok ? text.text : "");
      t.match(back, { ok: true, document: { routes: { app: { phase: "rolled_back" } } } });
      t.equal(back.ok && back.document.routes["app"]?.notices, undefined);
      if (!back.ok) throw new Error(back.detail);
      const store = memoryStore();
      await store.save({ ...back.document, version: 1 });
      const next = await bench(benchConfig({ rollback: QUIET }), { store });
      await next.run(3);
      t.match(statusOf(next), { phase: "rolled_back", recorded: true });
      t.same(next.notices, []);
    }
  },
);

t.test("the last messages can be looked at, of one route or of all", async (t) => {
  const told: Notice[] = [];
  const messages = keepMessages({ notify: (notice) => void told.push(notice) }, { wall: () => MONDAY });
  const b = await rolledBack(t);
  const [one] = b.notices;
  for (let n = 0; n < 600; n++) messages.notify({ ...one!, id: `m${n}`, route: n % 2 === 0 ? "app" : "api" });
  t.equal(told.length, 600, "all of it is handed on");
  t.equal(messages.last({ limit: 9999 }).length, 500);
  t.match(messages.last({ limit: 2, route: "api" }), [
    { id: "m597", at: "2026-01-05T09:00:00.000Z" },
    { id: "m599", route: "api" },
  ]);
});

t.test("a drill's own route has no book: none of it is the stakeholders' business", async (t) => {
  const config = benchConfig({ rollback: QUIET });
  // No operator may call a route so.
  const b = await at(MONDAY, { ...config, routes: [{ ...config.routes[0]!, name: "app.drill" }] });
  await b.controller.command("app.drill", setWeight(50), ADA);
  await b.controller.command("app.drill", rollback, ADA);
  t.same(kinds(b, "stakeholders"), []);
  t.same(b.controller.incidents(), []);
});
