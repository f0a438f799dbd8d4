/** A drill whose surroundings fail, and what it may not take with it. */

import t from "tap";
import { configSchema } from "../../src/config/schema.ts";
import { createDrills } from "../../src/preflight/drill.ts";
import { fakeClock } from "../support/clock.ts";
import { fakeDice } from "../support/dice.ts";
import { routeStatus } from "../support/fake-admin.ts";
import { until } from "../support/preflight.ts";
import { quietLog } from "../support/silence.ts";

t.test("a drill that ends in an error ends neither the schedule nor the way out", async (t) => {
  const arm = { endpoints: ["http://10.0.0.1:8080"] };
  const drill = { schedule: { from: "10:00", to: "11:00" } };
  const config = configSchema.parse({
    listen: [{ address: "127.0.0.1:0" }],
    routes: [{ name: "app", stable: arm, canary: arm, drill }],
  });
  const [clock, log] = [fakeClock(), quietLog()];
  const broken = (): Promise<never> => Promise.reject(new Error("broken"));
  const keeping: ((error: Error) => void)[] = [];
  const drills = createDrills({
    config: () => config,
    control: {
      route: () => routeStatus({ phase: "idle" }),
      command: broken,
      journal: broken,
    },
    place: broken,
    addresses: () => ["127.0.0.1:1"],
    isRecorded: () => true,
    channels: () => [],
    packs: broken,
    keep: () => new Promise((_resolve, reject) => void keeping.push(reject)),
    tell() {},
    clock,
    dice: fakeDice(3),
    log,
  });

  await clock.advance("61m", "10s");
  await until(() => keeping.length === 1);
  keeping[0]?.(new Error("the disk is gone"));
  await until(() => log.lines.some(({ message }) => message === "a scheduled drill was not made"));
  t.match(log.lines.at(-1), { fields: { route: "app", why: "the disk is gone" } });

  const asked = t.rejects(
    drills.run({ route: "app", actor: "mia", reason: "", force: false }),
    /the disk is gone/,
  );
  await until(() => keeping.length === 2);
  const closed = t.resolves(drills.close());
  keeping[1]?.(new Error("the disk is gone"));
  await Promise.all([asked, closed]);
  t.equal(clock.timers, 0);
});
