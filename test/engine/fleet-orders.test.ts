/** Several replicas: what the one that leads carries out, asked of one that does not. */

import t from "tap";
import { millis } from "../../src/domain/units.ts";
import type { Order } from "../../src/engine/orders.ts";
import type { FakeClock } from "../support/clock.ts";
import { ADA, bench, benchConfig, rollback, startOf, step } from "../support/engine.ts";
import { fakeClock } from "../support/clock.ts";
import { RULE_FREE, fleet, type Replica } from "../support/fleet.ts";
import { SharedObject } from "../support/shared-store.ts";

const WITH_ALERTS = benchConfig({ alerts: [{ severity: "emergency", when: [{ event: "rolled_back" }] }] });
const KNOWN = { route: "app", severity: null, metric: null, forMs: millis(60_000), reason: "known" };

/** Two replicas after a rollback: the alert and the incident of it are open, and the second does not lead. */
async function rolledBack() {
  const all = await fleet(2, WITH_ALERTS);
  const [leader, follower] = all.replicas;
  await leader.controller.command("app", startOf([step(20, 600)]), ADA);
  await leader.run(2);
  await leader.controller.command("app", rollback, ADA);
  await leader.run(2);
  const [alert] = follower.controller.alerting.open();
  const [incident] = follower.controller.incidents();
  if (alert === undefined || incident === undefined) throw new Error("nothing is open");
  return { ...all, leader, follower, alert, incident };
}

/** What comes of it, with the seconds that an order takes. */
async function given<T>(clock: FakeClock, asked: Promise<T>): Promise<T> {
  await clock.advance("2s");
  return asked;
}

/** Everything that people say to alerts and incidents, of a replica. */
const askedOf = ({ controller }: Pick<Replica, "controller">) => [
  controller.alerting.acknowledge("1", "ada", "on it"),
  controller.alerting.resolve("1", "ada", "over"),
  controller.alerting.silence(KNOWN, "ada"),
  controller.alerting.unsilence("s-1", "ada"),
  controller.resolveIncident("incident_1", ADA, "mended"),
];

t.test(
  "what people say to alerts at a follower is carried out by the leader, under their name",
  async (t) => {
    const { clock, leader, follower, alert } = await rolledBack();
    const { alerting } = follower.controller;
    const line = (event: string) => leader.journal.entries.find((each) => each.event === event);

    t.match(await given(clock, alerting.acknowledge(alert.id, "ada", "on it")), {
      ok: true,
      value: [{ id: alert.id, acknowledged: { by: "ada", comment: "on it" } }],
    });
    t.match(leader.controller.alerting.open(), [{ acknowledged: { by: "ada" } }]);
    t.match(alerting.open(), [{ acknowledged: { by: "ada" } }], "and seen where it was asked");
    t.match(line("ALERT_ACKNOWLEDGED"), { actor: "ada" });

    const made = await given(clock, alerting.silence(KNOWN, "bob"));
    t.match(made, { ok: true, value: { route: "app", by: "bob", reason: "known" } });
    t.match(leader.controller.alerting.silences(), [{ by: "bob" }]);
    const [{ id } = { id: "" }] = alerting.silences();
    t.match(await given(clock, alerting.unsilence(id, "cal")), { ok: true, value: { id } });
    t.same(leader.controller.alerting.silences(), []);
    t.match([line("SILENCE_ADDED"), line("SILENCE_REMOVED")], [{ actor: "bob" }, { actor: "cal" }]);

    t.same(await given(clock, alerting.resolve(alert.id, "ada", "over")), {
      kind: "resolve_alert",
      ok: true,
      value: [],
    });
    t.same([leader.controller.alerting.open(), alerting.open()], [[], []]);
    t.match(line("ALERT_RESOLVED"), { actor: "ada" });
  },
);

t.test("an incident is ended at any replica, once", async (t) => {
  const { clock, leader, follower, incident } = await rolledBack();
  const { controller } = follower;
  const ended = { status: "resolved", resolvedBy: "ada", resolution: "mended" };
  t.match(await given(clock, controller.resolveIncident(incident.id, ADA, "mended")), {
    ok: true,
    value: ended,
  });
  t.match([leader.controller.incidents(), controller.incidents()], [[ended], [ended]]);
  const again = await given(clock, controller.resolveIncident(incident.id, { name: "bob" }, "twice"));
  t.match(again, { ok: true, value: ended });
  t.equal(leader.journal.entries.filter(({ event }) => event === "INCIDENT_RESOLVED").length, 1);
});

t.test("what the leader refuses is refused where it was asked, for the leader's reason", async (t) => {
  const { clock, leader, follower } = await rolledBack();
  const { controller } = follower;
  const missing = { ok: false, code: "SPLIT_NOT_FOUND" };
  t.match(await given(clock, Promise.all(askedOf(follower).toSpliced(2, 1))), [
    missing,
    missing,
    missing,
    missing,
  ]);
  const silence = (more: object) => given(clock, controller.alerting.silence({ ...KNOWN, ...more }, "ada"));
  t.match(await silence({ route: "api" }), { ok: false, code: "SPLIT_NOT_FOUND", message: /no route/ });
  t.match(await silence({ forMs: 31 * 86_400_000 }), {
    ok: false,
    code: "SPLIT_INPUT_INVALID",
    message: /30d/,
  });
  leader.store.isUnsure = true;
  t.match(await silence({}), { ok: false, code: "SPLIT_STATE_UNWRITABLE" });
});

t.test(
  "nobody leads: what people say to alerts and incidents is refused at once, and nothing is done",
  async (t) => {
    const clock = fakeClock();
    const object = new SharedObject(clock);
    object.isUp = false;
    const alone = await bench(RULE_FREE, { store: object.join("alone"), clock });
    for (const refused of await Promise.all(askedOf(alone)))
      t.match(refused, { ok: false, code: "SPLIT_NO_LEADER", message: /^no replica leads just now, and/ });
    t.same(alone.controller.alerting.silences(), []);
    const order = { from: "x", states: {}, force: false, reason: "", actor: ADA };
    t.match(await alone.controller.restore(order), {
      code: "SPLIT_NO_LEADER",
      message: /none leads just now$/,
    });
  },
);

t.test(
  "a leader of a version that knows commands alone: what it does not know is refused in so many words",
  async (t) => {
    const { clock, object, leader, follower } = await rolledBack();
    leader.kill();
    const asked = Promise.all(askedOf(follower));
    const { orders } = object;
    object.orders = [];
    for (const { written, answered } of orders) {
      // What that version read of an order, and what it answered.
      const { route } = JSON.parse(written) as { readonly route?: string };
      const message = `there is no route named "${route}"`;
      answered(JSON.stringify({ ok: false, code: "SPLIT_NOT_FOUND", message }));
    }
    const refused = {
      ok: false,
      code: "SPLIT_NO_LEADER",
      message: /^the leader, replica-0, is of another version/,
    };
    t.match(await asked, [refused, refused, refused, refused, refused]);
    const started = follower.controller.command("app", { ...startOf(), force: true } as never, ADA);
    const status = { name: "app", weight: 20 };
    object.orders[0]!.answered(JSON.stringify({ ok: true, status }));
    t.match(await started, { ok: true, status }, "commands it knows");
    await clock.advance("1s");
  },
);

t.test(
  "an order of another version is carried out where it is known, and answered where it is not",
  async (t) => {
    const { clock, replicas } = await fleet(2, RULE_FREE);
    const [leader, follower] = replicas;
    const { ifVersion, ...before } = {
      route: "app",
      command: startOf([step(20, 600)]),
      actor: ADA,
      ifVersion: undefined,
    };
    const written = (order: unknown) => given(clock, follower.store.write(JSON.stringify(order), 5000));
    t.match(await written({ ...before, ifVersion }), /"ok":true/, "without a kind it is a command");
    t.equal(leader.controller.route("app")?.weight, 20);
    const unknown = /SPLIT_INPUT_INVALID.*does not know this order/;
    for (const order of [
      {},
      { kind: "dance" },
      { kind: "unsilence", id: 5, by: "ada" },
      { ...before, command: {} },
    ])
      t.match(await written(order), unknown, JSON.stringify(order));
    t.match(await given(clock, follower.store.write("garbled", 5000)), unknown);
  },
);

t.test("an order that the leader stumbles over is answered, and the next one is carried out", async (t) => {
  const clock = fakeClock();
  const object = new SharedObject(clock);
  let isBroken = true;
  const token = (): string => {
    if (isBroken) throw new Error("no chance");
    return "token";
  };
  const leader = await bench(RULE_FREE, {
    store: object.join("a"),
    clock,
    dice: { random: () => 0.5, token },
  });
  const store = object.join("b");
  await clock.advance("3s");
  const silence: Order = { kind: "silence", request: KNOWN, by: "ada" };
  t.match(await given(clock, store.forward(silence, 5000)), /SPLIT_INPUT_INVALID.*no chance.*"silence"/);
  isBroken = false;
  t.match(await given(clock, store.forward(silence, 5000)), /"ok":true/);
  t.equal(leader.controller.alerting.silences().length, 1);
});
