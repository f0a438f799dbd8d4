/** Alerts through the engine: what is measured opens them, what is decided comes first, and a restart goes on where they were. */

import t from "tap";
import { planOf, planSchema } from "../../src/config/plan.ts";
import type { Notice, Saved } from "../../src/engine/ports.ts";
import { millis, ppm } from "../../src/domain/units.ts";
import {
  ADA,
  bench,
  benchConfig,
  checkOf,
  full,
  rollback,
  setWeight,
  startOf,
  statusOf,
  step,
  storeWith,
  type Bench,
} from "../support/engine.ts";

const QUIET = { rollback: { onAny: [{ metric: "health_failures", atLeast: 50 }] } };
const LEVELS = [
  {
    severity: "warning",
    when: [
      { metric: "error_rate", above: "0.5%" },
      { metric: "p95", above: "200ms" },
    ],
  },
  { severity: "critical", when: [{ metric: "error_rate", above: "1%" }] },
  { severity: "emergency", when: [{ metric: "health_failures", atLeast: 5 }, { event: "rolled_back" }] },
];
const config = (more: object = {}) => benchConfig({ ...QUIET, alerts: LEVELS, ...more });

async function running(more: object = {}, parts: Parameters<typeof bench>[1] = {}): Promise<Bench> {
  const b = await bench(config(more), parts);
  await b.controller.command("app", startOf([step(50, 86_400)]), ADA);
  return b;
}

/** A second of a canary of which so many of 1000 fail, and a stable that is well. */
const serve =
  (b: Bench, failed: number, stableFailed = 0) =>
  (): void => {
    b.plane.serve("app", "canary", { ok: 1000 - failed, failed });
    b.plane.serve("app", "stable", { ok: 1000 - stableFailed, failed: stableFailed });
  };
const alertsOf = (b: Bench): readonly Notice[] => b.notices.filter(({ event }) => event.startsWith("ALERT_"));
const toldOf = (b: Bench): readonly string[] =>
  alertsOf(b).map(({ event, severity }) => `${event} ${severity}`);
const linesOf = (b: Bench): readonly string[] =>
  b.journal.entries.map(({ event }) => event).filter((event) => /^(ALERT|SILENCE)_/.test(event));

t.test(
  "a metric that stays above its limit opens an alert, and closes it under the same key (acceptance 29)",
  async (t) => {
    const b = await running();
    await b.run(119, serve(b, 20));
    t.same(toldOf(b), [], "not before it has lasted");
    await b.run(2, serve(b, 20));
    t.same(toldOf(b), ["ALERT_OPENED critical"], "and not its warning");
    t.match(statusOf(b).alerts, [
      { severity: "critical", metric: "error_rate", rule: "error_rate above 1%", muted: null },
      { severity: "warning", metric: "error_rate", muted: "inhibited", id: "" },
    ]);
    await b.run(300, serve(b, 0));
    const [opened, resolved, ...more] = alertsOf(b);
    t.same(more, []);
    t.match(resolved, { event: "ALERT_RESOLVED", severity: "critical", incident: { action: "resolve" } });
    const key = resolved?.incident?.key;
    t.match(opened, { incident: { action: "trigger", key }, id: `${key}:trigger:1` });
    t.match(key, /^sluice\/production\/app\/error_rate-critical-.+-1$/);
    const { lines = [] } = opened ?? {};
    t.ok(lines.length > 2 && lines.length <= 30);
    t.same(linesOf(b), ["ALERT_OPENED", "ALERT_OPENED", "ALERT_RESOLVED", "ALERT_RESOLVED"]);
    t.same(statusOf(b).alerts, []);
  },
);

t.test("a restart neither says anything again nor forgets", async (t) => {
  const first = await running();
  await first.run(130, serve(first, 20));
  const made = await first.controller.alerting.silence(
    { route: "app", severity: "warning", metric: null, forMs: millis(7_200_000), reason: "known" },
    "ada",
  );
  t.match(made, { ok: true });
  first.kill();
  const again = await bench(config(), { store: first.store, journal: first.journal, clock: first.clock });
  t.match(again.controller.alerting.open(), [
    { severity: "critical" },
    { severity: "warning", muted: "silenced" },
  ]);
  t.match(again.controller.alerting.silences(), [{ by: "ada", reason: "known" }]);
  await again.run(130, serve(again, 20));
  t.same(toldOf(again), []);
  await again.run(300, serve(again, 0));
  t.same(toldOf(again), ["ALERT_RESOLVED critical"]);
  t.equal(alertsOf(again)[0]?.incident?.key, alertsOf(first)[0]?.incident?.key);
});

t.test("a silence mutes messages while the rollback fires", async (t) => {
  const b = await running({ rollback: { onAny: [{ metric: "error_rate", above: "1%", for: "3m" }] } });
  const request = { route: "app", severity: null, metric: null, forMs: millis(3_600_000), reason: "known" };
  t.match(await b.controller.alerting.silence(request, "ada"), { ok: true, value: { by: "ada" } });
  const before = b.notices.length;
  await b.run(200, serve(b, 50));
  t.match(statusOf(b), { phase: "rolled_back", weight: 0 });
  t.same(b.notices.slice(before), []);
  t.same(linesOf(b).slice(0, 3), ["SILENCE_ADDED", "ALERT_OPENED", "ALERT_OPENED"]);
  t.ok(b.journal.entries.some(({ event }) => event === "ROLLBACK_DONE"));
  await b.run(3500);
  t.ok(linesOf(b).includes("SILENCE_EXPIRED"));
});

t.test(
  "a rollback is an alert: its message opens the incident, and its verification closes it",
  async (t) => {
    const b = await running();
    await b.controller.command("app", rollback, ADA);
    const done = b.notices.find(({ event }) => event === "ROLLBACK_DONE");
    const key = `sluice/production/app/${done?.rollout}/rollback`;
    t.match(done, { severity: "emergency", incident: { key, action: "trigger" } });
    await b.run(3);
    t.same(toldOf(b), [], "one message is enough");
    await b.run(900);
    t.same(toldOf(b), ["ALERT_ESCALATED emergency"]);
    const [{ id } = { id: "" }] = b.controller.alerting.open();
    t.match(await b.controller.alerting.acknowledge(id, "ada", "on it"), {
      ok: true,
      value: [{ acknowledged: { by: "ada" } }],
    });
    await b.run(2600);
    t.same(toldOf(b), ["ALERT_ESCALATED emergency", "ALERT_ACKNOWLEDGED emergency"], "seen is seen");
    await b.run(200);
    t.match(
      b.notices.filter(({ incident }) => incident?.action === "resolve"),
      [{ event: "ROLLBACK_VERIFIED", incident: { key } }],
      "the decision's own message closes it, once",
    );
    t.same(b.controller.alerting.open(), []);
  },
);

t.test(
  "a rollback that could not be verified stays open until a person says that it is over, or starts anew",
  async (t) => {
    const b = await running();
    await b.controller.command("app", rollback, ADA);
    b.health.stable = { healthy: false };
    await b.run(3700);
    const [{ id } = { id: "" }] = b.controller.alerting.open();
    t.same(await b.controller.alerting.resolve(id, "ada", "stable is back"), { ok: true, value: [] });
    t.match(alertsOf(b).at(-1), { event: "ALERT_RESOLVED", details: { alerts: [{ rule: "rolled_back" }] } });
    t.match(await b.controller.alerting.resolve(id, "ada", ""), { ok: false, code: "SPLIT_NOT_FOUND" });
    await b.run(10);
    t.same(b.controller.alerting.open(), [], "it does not open again by itself");

    const c = await running();
    await c.controller.command("app", rollback, ADA);
    await c.controller.command("app", { ...startOf([step(5, 60)]), force: true } as never, ADA);
    await c.run(2);
    t.match(alertsOf(c), [{ event: "ALERT_RESOLVED" }]);
  },
);

t.test("an alert about a metric is over when the metric says so, not when a person does", async (t) => {
  const b = await running();
  await b.run(130, serve(b, 20));
  const [{ id } = { id: "" }] = b.controller.alerting.open("app");
  t.match(await b.controller.alerting.resolve(id, "ada", ""), { ok: false, code: "SPLIT_PHASE_MISMATCH" });
  t.match(await b.controller.alerting.acknowledge("gone", "ada", ""), { ok: false, code: "SPLIT_NOT_FOUND" });
  t.same(b.controller.alerting.open("other"), []);
  await b.controller.command("app", setWeight(0), ADA);
  await b.run(130);
  t.same(b.controller.alerting.open(), [], "nor does it stay where no traffic is due any more");
});

t.test("silences are asked for, listed and ended", async (t) => {
  const b = await bench(config());
  const { alerting } = b.controller;
  const request = { route: "app", severity: null, metric: "p95", forMs: millis(60_000), reason: "known" };
  t.match(await alerting.silence({ ...request, route: "other" }, "ada"), {
    ok: false,
    code: "SPLIT_NOT_FOUND",
  });
  t.match(await alerting.silence({ ...request, forMs: millis(0) }, "ada"), {
    ok: false,
    code: "SPLIT_INPUT_INVALID",
  });
  const made = await alerting.silence(request, "ada");
  t.match(alerting.silences("app"), [{ metric: "p95", reason: "known" }]);
  const id = made.ok ? made.value.id : "";
  t.match(await alerting.unsilence(id, "bob"), { ok: true, value: { id } });
  t.match(await alerting.unsilence(id, "bob"), { ok: false, code: "SPLIT_NOT_FOUND" });
  t.same(linesOf(b), ["SILENCE_ADDED", "SILENCE_REMOVED"]);
  t.match(b.journal.entries.at(-1), { actor: "bob", reason: "known" });
  await alerting.silence(request, "ada");
  await b.run(62);
  t.same(alerting.silences(), [], "at its time");
  t.ok(linesOf(b).includes("SILENCE_EXPIRED"));
});

t.test(
  "a silence that has ended where nothing goes on is off the record, and a restart does not end it again",
  async (t) => {
    const b = await bench(config());
    const request = { route: "app", severity: null, metric: null, forMs: millis(60_000), reason: "known" };
    t.ok((await b.controller.alerting.silence(request, "ada")).ok);
    t.match(await b.store.load(), {
      document: { routes: { app: { alerts: { silences: [{ by: "ada" }] } } } },
    });
    await b.run(62);
    t.match(await b.store.load(), { document: { routes: { app: { alerts: undefined } } } });
    b.kill();
    const second = await bench(config(), { store: b.store, journal: b.journal, clock: b.clock });
    await second.run(2);
    t.same(linesOf(second), ["SILENCE_ADDED", "SILENCE_EXPIRED"]);
  },
);

t.test("what could not be recorded is in force, and says so", async (t) => {
  const b = await bench(config(), { store: storeWith(full) });
  const request = { route: "app", severity: null, metric: null, forMs: millis(60_000), reason: "known" };
  t.match(await b.controller.alerting.silence(request, "ada"), { ok: false, code: "SPLIT_STATE_UNWRITABLE" });
  t.equal(b.controller.alerting.silences().length, 1);
});

t.test("what is recorded while one raise follows another takes the place of neither", async (t) => {
  for (const what of ["a silence", "the end of an incident"]) {
    let disk: ((save: () => Promise<Saved>) => Promise<Saved>) | undefined = undefined;
    const store = storeWith((save) => disk?.(save) ?? save());
    const b = await bench(config(), { store });
    b.kill();
    await b.controller.command("app", setWeight(5), ADA);
    await b.controller.command("app", rollback, ADA);
    const [incident] = b.controller.incidents();
    let release = (): void => {};
    const first = new Promise<void>((resolve) => (release = resolve));
    disk = async (save) => {
      await first;
      return save();
    };
    const raises = [200_000, 400_000].map((weight) =>
      b.controller.command(
        "app",
        { type: "set_weight", weight: ppm(weight), force: true, reason: "mended" },
        ADA,
      ),
    );
    const request = { route: "app", severity: null, metric: null, forMs: millis(60_000), reason: "known" };
    const said =
      what === "a silence"
        ? b.controller.alerting.silence(request, "ada")
        : b.controller.resolveIncident(incident!.id, ADA, "mended");
    release();
    t.match(await Promise.all(raises), [{ ok: true }, { ok: true }], what);
    t.match(await said, { ok: true }, what);
    const loaded = await store.load();
    const app = loaded.kind === "found" ? loaded.document.routes["app"] : undefined;
    t.match(app, { weight: 400_000 }, what);
    if (what === "a silence") t.match(app?.alerts?.silences, [{ reason: "known", by: "ada" }]);
    else t.match(app?.bulletins?.incidents, [{ id: incident!.id, status: "resolved" }]);
  }
});

for (const action of ["pause", "rollback"] as const) {
  t.test(`a warning for 15 minutes: ${action}, where that is asked for`, async (t) => {
    const b = await running({ alerting: { onWarning: { do: action } } });
    await b.run(1, serve(b, 0));
    t.match(checkOf(b, "a warning"), { verdict: "successful", action });
    await b.run(1014, serve(b, 7));
    t.match(statusOf(b), { phase: "progressing" });
    t.match(checkOf(b, "a warning"), {
      tier: "warning",
      verdict: "inconclusive",
      detail: "error_rate above 0.5%",
    });
    await b.run(10, serve(b, 7));
    t.match(statusOf(b), { phase: action === "pause" ? "paused" : "rolled_back" });
    t.match(statusOf(b).reason, /a warning for 15m/);
    if (action === "rollback") return;
    await b.controller.command("app", { type: "resume", reason: "seen" }, ADA);
    await b.run(800, serve(b, 7));
    t.match(statusOf(b), { phase: "progressing" }, "whoever resumes has the whole time again");
    await b.run(110, serve(b, 7));
    t.match(statusOf(b), { phase: "paused" });
  });
}

t.test("a warning that stable has as well neither pauses nor rolls back", async (t) => {
  const b = await running({ alerting: { onWarning: { do: "rollback" } } });
  await b.run(1200, serve(b, 7, 7));
  t.match(statusOf(b), { phase: "progressing", alerts: [{ severity: "warning" }] });
});

t.test("a failing health check is an emergency, and ends when the canary is well again", async (t) => {
  const b = await running();
  b.health.canary = { healthy: false, failures: 6 };
  await b.run(2, serve(b, 0));
  t.same(toldOf(b), ["ALERT_OPENED emergency"]);
  b.health.canary = { healthy: true, failures: 1 };
  await b.run(200, serve(b, 0));
  t.equal(b.controller.alerting.open().length, 1, "one that fails now and then is not well");
  b.health.canary = {};
  await b.run(125, serve(b, 0));
  t.same(toldOf(b), ["ALERT_OPENED emergency", "ALERT_RESOLVED emergency"]);
});

t.test(
  "a step waits while an alert is open, an endpoint is sick or a value is in the grey zone, and says why",
  async (t) => {
    const b = await bench(config());
    const { steps } = planOf(
      planSchema.parse({
        promotion: "off",
        success: [
          { metric: "error_rate", below: "0.1%" },
          { alerts: "none", severity: "warning" },
          { health: "all" },
        ],
        steps: [{ setWeight: "0%", success: [] }, { setWeight: "50%", hold: "1m" }, { setWeight: "100%" }],
      }),
    );
    b.health.stable = { healthy: false };
    await b.controller.command("app", startOf([...steps]), ADA);
    await b.run(5, serve(b, 0));
    t.match(statusOf(b), {
      step: 0,
      waiting: { for: "evidence", words: /every endpoint healthy: one is not/ },
    });
    b.health.stable = {};
    await b.run(200, serve(b, 3));
    t.match(statusOf(b), { step: 1, weight: 50 });
    t.match(
      statusOf(b).waiting?.words,
      /error_rate below 0\.1%: .*0\.30 % of late: neither good nor an alert/,
    );
    t.match(checkOf(b, "no alert"), { verdict: "successful", detail: "none is open" });
    await b.run(200, serve(b, 7));
    t.match(statusOf(b).waiting?.words, /no alert open: one is open/);
    t.match(statusOf(b).waiting?.words, /0\.70 % of late: warning \(error_rate above 0\.5%\)/);
    t.match(statusOf(b).targets, [{ met: false }, { met: true }, { met: true }]);
    await b.run(100, serve(b, 20));
    t.match(checkOf(b, "no alert"), { verdict: "inconclusive" });
  },
);

t.test("the alert of a rollback and its incident are one to a pager", async (t) => {
  const b = await running();
  await b.controller.command("app", rollback, ADA);
  const [incident] = b.controller.incidents();
  const keys = b.notices.flatMap(({ incident: of }) => (of === undefined ? [] : [of.key]));
  t.same([...new Set(keys)], [incident!.key]);
  const [alert] = b.controller.alerting.open();
  await b.controller.alerting.acknowledge(alert!.id, "ada", "on it");
  t.match(b.notices.at(-1), {
    event: "ALERT_ACKNOWLEDGED",
    incident: { key: incident!.key, action: "acknowledge" },
  });
});

t.test("an event is over when it is true no more", async (t) => {
  const events = ["paused", "rollback_held", "validation_failed", "tripped"] as const;
  const b = await running({
    alerts: [{ severity: "warning", when: events.map((event) => ({ event })) }],
    targets: [],
    rollback: { onAny: [{ metric: "error_rate", above: "1%", test: "sequential" }] },
  });
  const open = () => b.controller.alerting.open().map(({ metric }) => metric);
  await b.controller.command("app", { type: "pause", reason: "look" }, ADA);
  await b.run(2);
  t.same(open(), ["paused"]);
  t.match(b.notices.at(-1), {
    event: "ROLLOUT_PAUSED",
    severity: "warning",
    incident: { action: "trigger" },
  });
  await b.controller.command("app", { type: "resume", reason: "go" }, ADA);
  await b.run(2);
  t.same(open(), []);
  t.match(alertsOf(b).at(-1), { event: "ALERT_RESOLVED", incident: { action: "resolve" } });
  for (let key = 0; key < 5; key++) b.plane.key("app", key, true);
  await b.run(4, serve(b, 500));
  t.same(open(), ["tripped"]);
  t.equal(statusOf(b).phase, "progressing");
});

t.test("checks before a step that failed are an alert until they pass", async (t) => {
  let isWell = false;
  const run = () => Promise.resolve([{ name: "arms", ok: isWell, required: true, detail: "3/4", tookMs: 1 }]);
  const alerts = [{ severity: "warning", when: [{ event: "validation_failed" }] }];
  const b = await bench(config({ alerts, targets: [] }), { preflight: { run } });
  const checked = { ...step(0, 0), preflight: true as const };
  await b.controller.command("app", startOf([checked, step(5, 60)]), ADA);
  await b.run(3);
  await new Promise(setImmediate);
  await b.run(2);
  t.match(b.controller.alerting.open(), [{ metric: "validation_failed" }]);
  isWell = true;
  await b.controller.command("app", { type: "retry", force: false, reason: "fixed" }, ADA);
  await b.run(3);
  await new Promise(setImmediate);
  await b.run(2);
  t.same(b.controller.alerting.open(), []);
});

t.test("trouble with the alerts stands in no decision's way", async (t) => {
  const b = await running({ rollback: { onAny: [{ metric: "error_rate", above: "1%", for: "3m" }] } });
  let asked = 0;
  const wall = b.clock.wall.bind(b.clock);
  // Whatever alerts ask for fails from now on; others are answered.
  Object.assign(b.clock, {
    wall: () => (new Error().stack?.includes("alerts.ts") === true && ++asked > 0 ? fail() : wall()),
  });
  await b.run(200, serve(b, 50));
  Object.assign(b.clock, { wall });
  t.ok(asked > 0);
  t.match(statusOf(b), { phase: "rolled_back", weight: 0 });
});

function fail(): never {
  throw new Error("broken");
}

t.test("an alert of a decision is journaled, though carrying it out failed", async (t) => {
  const b = await running();
  b.kill();
  b.plane.closeLongLived = fail;
  await t.rejects(b.controller.command("app", rollback, ADA));
  t.same(linesOf(b), ["ALERT_OPENED"]);
});

t.test(
  "an alert of a decision that is being carried out at the end of the program is journaled",
  async (t) => {
    let release = (): void => {};
    const hung = new Promise<void>((resolve) => (release = resolve));
    let isSlow = false;
    const store = storeWith(async (save) => {
      if (isSlow) await hung;
      return save();
    });
    const b = await running({}, { store });
    b.kill();
    isSlow = true;
    const rolledBack = b.controller.command("app", rollback, ADA);
    const closed = b.controller.close();
    release();
    await closed;
    t.same(linesOf(b), ["ALERT_OPENED"]);
    t.match(await rolledBack, { ok: true });
    t.same(linesOf(b), ["ALERT_OPENED"], "once");
  },
);

t.test("with `repeat: none` an alert is told once, however long it stays", async (t) => {
  const b = await running({ alerting: { repeat: "none", escalation: [] } });
  // By default it would be told again after an hour.
  await b.run(3700, serve(b, 20));
  t.same(toldOf(b), ["ALERT_OPENED critical"]);
});
