/** Alerts through the running program: real sockets, the clock moved by hand. */

import t from "tap";
import type { Notice } from "../../src/engine/ports.ts";
import { failing, program, type Program } from "../support/program.ts";
import { until } from "../support/until.ts";

const ROUTE = {
  rollback: { onAny: [{ metric: "error_rate", above: "50%", for: "4m" }], confirm: false },
  alerts: [
    { severity: "warning", when: [{ metric: "error_rate", above: "0.5%" }] },
    { severity: "critical", when: [{ metric: "error_rate", above: "1%" }] },
    { severity: "emergency", when: [{ event: "rolled_back" }] },
  ],
};

/** So many seconds in which forty users ask each half minute. */
async function serve(p: Program, seconds: number): Promise<void> {
  for (let passed = 0; passed < seconds; passed += 30) {
    await Promise.all(Array.from({ length: 60 }, (_, i) => p.get(`user-${i}`)));
    await p.clock.advance("30s");
  }
}

const alertsOf = (p: Program): readonly Notice[] =>
  p.notices.filter(({ event }) => event.startsWith("ALERT_"));
const eventsOf = (p: Program): readonly string[] =>
  alertsOf(p).map(({ event, severity }) => `${event} ${severity}`);
const openOf = async (p: Program) =>
  ((await p.api("/v1/alerts?route=app")).body as { alerts: readonly { id: string; severity: string }[] })
    .alerts;

t.test(
  "a warning is silent while its critical alert is open, and what is resolved has the key of what was opened (acceptance 29)",
  async (t) => {
    const p = await program(ROUTE);
    t.teardown(() => p.close());
    await p.setWeight(50);
    let asked = 0;
    // A third: above every alert's limit, and below that of the rollback.
    p.canary.answer = (request, response) =>
      ++asked % 3 === 0 ? failing(request, response) : void response.end("canary");
    await serve(p, 180);
    t.same(eventsOf(p), ["ALERT_OPENED critical"]);
    t.match(await openOf(p), [
      { severity: "critical", metric: "error_rate", muted: null },
      { severity: "warning", muted: "inhibited" },
    ]);
    t.match(await p.status(), { weight: 50, alerts: [{ severity: "critical" }, { severity: "warning" }] });
    const [{ id } = { id: "" }] = await openOf(p);
    const seen = await p.api(`/v1/alerts/${id}/acknowledge`, { comment: "on it" });
    t.match(seen, {
      status: 200,
      body: { alerts: [{ acknowledged: { by: "local", comment: "on it" } }, {}] },
    });
    await serve(p, 1200);
    t.same(eventsOf(p), ["ALERT_OPENED critical", "ALERT_ACKNOWLEDGED critical"], "it climbs no level");
    p.canary.answer = undefined;
    await serve(p, 240);
    t.same(await openOf(p), []);
    const keys = alertsOf(p).map(({ incident }) => `${incident?.action} ${incident?.key}`);
    const key = `sluice/production/app/${id}`;
    t.same(keys, [`trigger ${key}`, `acknowledge ${key}`, `resolve ${key}`]);
    const linesOf = async () => {
      const { body } = await p.api("/v1/journal?limit=100");
      return (body as { lines: readonly { event: string; actor: string }[] }).lines;
    };
    let lines: Awaited<ReturnType<typeof linesOf>> = [];
    // The journal is written behind what is decided.
    await until("both are in the journal", async () => {
      lines = await linesOf();
      return lines.filter(({ event }) => event === "ALERT_RESOLVED").length >= 2;
    });
    t.match(
      lines.filter(({ event }) => event.startsWith("ALERT_")).map(({ event }) => event),
      ["ALERT_OPENED", "ALERT_OPENED", "ALERT_ACKNOWLEDGED", "ALERT_RESOLVED", "ALERT_RESOLVED"],
    );
    t.match(
      lines.find(({ event }) => event === "ALERT_ACKNOWLEDGED"),
      { actor: "local" },
    );
  },
);

t.test("a silence mutes the messages, and the rollback fires; a restart says nothing twice", async (t) => {
  const p = await program(ROUTE);
  await p.setWeight(50);
  p.canary.answer = failing;
  await serve(p, 180);
  t.same(eventsOf(p), ["ALERT_OPENED critical"]);
  const body = { route: "app", for: "2h", reason: "the canary is known to be broken" };
  t.match(await p.api("/v1/silences", body), { status: 200, body: { by: "local", severity: null } });
  await p.stop();
  const again = await p.restart();
  t.teardown(() => again.close());
  t.match((await again.api("/v1/silences")).body, { silences: [{ reason: body.reason }] });
  t.match(await openOf(again), [{ severity: "critical", muted: "silenced" }, { severity: "warning" }]);
  await serve(again, 300);
  t.match(await again.status(), { phase: "rolled_back", weight: 0 });
  await serve(again, 180);
  t.match((await again.status()).alerts, [{ metric: "rolled_back", muted: "silenced" }]);
  const told = again.notices.filter(({ route }) => route === "app").map(({ event }) => event);
  t.same(told, ["ALERT_RESOLVED"], "what was opened before is closed after, and that is all");
  t.equal(alertsOf(again)[0]?.incident?.key, alertsOf(p)[0]?.incident?.key);
  const { silences } = (await again.api("/v1/silences")).body as { silences: readonly { id: string }[] };
  const metrics = await fetch(`http://${again.running.adminAddress}/metrics`).then((answer) => answer.text());
  t.match(metrics, 'sluice_alerts_open{route="app",severity="emergency"} 1');
  t.equal(silences.length, 1);
});
