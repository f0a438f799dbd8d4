/** What the program knows of its disks, also of one that does not answer. */

import t from "tap";
import { openVitals } from "../../src/telemetry/vitals.ts";
import { fakeClock } from "../support/clock.ts";

t.test("a folder whose disk hangs is not asked again before it has answered", async (t) => {
  const clock = fakeClock();
  let answers: (free: number) => void = () => {};
  const hangs = new Promise<number>((resolve) => (answers = resolve));
  let isHung = false;
  let asked = 0;
  const vitals = await openVitals({
    facts: () => ({
      routes: [],
      storeTrouble: "",
      journals: true,
      notifiers: { count: 0, failing: [] },
      reloadTrouble: "",
      loopLagMs: 0,
      loopLagMaxMs: 500,
      workers: 1,
      workersWanted: 1,
    }),
    folders: { "state folder": "/state" },
    freeOf() {
      asked++;
      return isHung ? hangs : Promise.resolve(1e12);
    },
    clock,
  });
  t.teardown(() => vitals.close());
  const roomNow = async (): Promise<object | undefined> =>
    (await vitals.report()).checks.find(({ name }) => name === "state folder");
  t.match(await roomNow(), { ok: true });
  t.equal(asked, 2);

  isHung = true;
  await Promise.all([clock.advance("10s"), vitals.report(), vitals.report()]);
  t.match(await roomNow(), { ok: false, detail: /does not answer/ });
  t.equal(asked, 3, "one question is under way, however often it is looked");

  isHung = false;
  answers(1e12);
  t.match(await roomNow(), { ok: true });
  await roomNow();
  t.equal(asked, 4, "once it has answered it is asked again");
});
