/** Drills where several replicas share a state: the one that leads makes them. */

import t from "tap";
import { configSchema } from "../../src/config/schema.ts";
import type { FleetStatus } from "../../src/engine/status.ts";
import { createDrills } from "../../src/preflight/drill.ts";
import { fakeClock } from "../support/clock.ts";
import { fakeDice } from "../support/dice.ts";
import { routeStatus } from "../support/fake-admin.ts";
import { quietLog } from "../support/silence.ts";

/** Replica `a` of two, whose drills end at once. */
function replica() {
  const arm = { endpoints: ["http://10.0.0.1:8080"] };
  const drill = { schedule: { from: "10:00", to: "11:00" } };
  const config = configSchema.parse({
    listen: [{ address: "127.0.0.1:0" }],
    routes: [{ name: "app", stable: arm, canary: arm, drill }],
  });
  const clock = fakeClock();
  const told: string[] = [];
  const at = { fleet: null as FleetStatus | null };
  const broken = (): Promise<never> => Promise.reject(new Error("broken"));
  const drills = createDrills({
    config: () => config,
    control: {
      route: () => routeStatus({ phase: "idle", fleet: at.fleet }),
      command: broken,
      journal: broken,
    },
    place: broken,
    addresses: () => ["127.0.0.1:1"],
    isRecorded: () => true,
    channels: () => [],
    packs: broken,
    keep: () => Promise.resolve(undefined),
    tell: (_route, event) => void told.push(event),
    clock,
    dice: fakeDice(3),
    log: quietLog(),
  });
  const led = (leader: string, leads = leader === "a"): void =>
    void (at.fleet = { replica: "a", leader, leads, replicas: 2, stale: [], isStoreUp: true });
  return { clock, drills, told, led };
}

t.test(
  "a drill at a follower is refused with the leader's name, and nobody is told that it failed",
  async (t) => {
    const a = replica();
    const ask = () => a.drills.run({ route: "app", actor: "mia", reason: "", force: false });
    a.led("b");
    t.match(await ask(), { ok: false, kind: "follower", message: /ask b, which leads/ });
    a.led("");
    t.match(await ask(), { ok: false, kind: "follower", message: /none leads just now/ });
    t.same(a.told, []);
    a.led("a");
    t.match(await ask(), { ok: true });
    t.same(a.told, ["DRILL_STARTED", "DRILL_FAILED"]);
    await a.drills.close();
  },
);

t.test("a scheduled drill is made by the replica that leads, and by no other", async (t) => {
  const a = replica();
  a.led("b");
  await a.clock.advance("61m", "10s");
  a.led("a");
  await a.clock.advance("10m", "10s");
  t.same(a.told, [], "it was the other one's to make when it opened");
  a.led("");
  await a.clock.advance("24h", "10s");
  t.same(a.told, []);
  // Its lease is there, and what is on record is not yet taken over.
  a.led("a", false);
  await a.clock.advance("1m", "10s");
  t.same(a.told, []);
  a.led("a");
  await a.clock.advance("1m", "10s");
  t.equal(a.told[0], "DRILL_STARTED", "what opened while nobody led is made by who comes to lead");
  await a.drills.close();
});
