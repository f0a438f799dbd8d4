/** Messages that wait for a claim: how long, how many, and what waits behind them. */

import t from "tap";
import { millis } from "../../src/domain/units.ts";
import { FleetNotices } from "../../src/engine/fleet-notices.ts";
import type { Claim, Handing, Notice, SharedStore } from "../../src/engine/ports.ts";
import { noticeOf } from "../support/notices.ts";
import { quietLog } from "../support/silence.ts";

/** One replica of several, whose store answers as it is told. */
function replica() {
  const told: string[] = [];
  const handed: Handing[] = [];
  const asked: string[] = [];
  const said: (readonly string[])[] = [];
  const log = quietLog();
  const at = { now: 0, claim: undefined as Claim | undefined, isUp: false };
  const store = {
    claim(id: string) {
      asked.push(id);
      return Promise.resolve(at.claim);
    },
    done(...ids: readonly string[]) {
      said.push(ids);
      return Promise.resolve(at.isUp);
    },
  } as unknown as SharedStore;
  const inner = {
    notify(notice: Notice, handing?: Handing) {
      told.push(notice.id);
      if (handing !== undefined) handed.push(handing);
    },
  };
  const notices = new FleetNotices(store, inner, () => millis(at.now), log);
  const notify = async (id: string, severity: Notice["severity"] = "critical"): Promise<void> => {
    notices.notify(noticeOf({ id: `app:${id}`, severity }));
    await new Promise((resolve) => setImmediate(resolve));
  };
  const retry = async (now: number, claim: Claim | undefined): Promise<void> => {
    Object.assign(at, { now, claim });
    asked.length = 0;
    await notices.retry(millis(now));
  };
  return { told, handed, asked, said, log, at, notify, retry };
}

t.test(
  "a message of which another replica never says that it is done is not told a week later",
  async (t) => {
    const a = replica();
    a.at.claim = "theirs";
    await a.notify("1");
    await a.retry(3_599_000, "theirs");
    t.same(a.asked, ["app:1"]);
    await a.retry(3_600_000, "theirs");
    await a.retry(7 * 86_400_000, "ours");
    t.same(a.told, []);
  },
);

t.test("what waits for a store that is away for hours is told when it is back", async (t) => {
  const a = replica();
  await a.notify("1", "info");
  await a.retry(7_200_000, undefined);
  await a.retry(7_201_000, "ours");
  t.same(a.told, ["app:1"]);
});

t.test("of too many messages that wait the mildest is given up, and the log says so", async (t) => {
  const a = replica();
  await a.notify("loud", "critical");
  for (let n = 0; n < 100; n++) await a.notify(`${n}`, "info");
  t.match(a.log.lines, [{ level: "warn", fields: { id: "app:0", severity: "info" } }]);
  await a.retry(1000, "ours");
  t.equal(a.told.length, 100);
  t.ok(a.told.includes("app:loud"));
  t.notOk(a.told.includes("app:0"));
});

t.test("a store that hangs is asked once in a round, not once for each message that waits", async (t) => {
  const a = replica();
  for (let n = 0; n < 50; n++) await a.notify(`${n}`);
  await a.retry(1000, undefined);
  t.equal(a.asked.length, 1);
  // Those that could not be asked for are told late as well.
  await a.retry(30_000, undefined);
  t.equal(a.told.length, 50);
  for (const { done } of a.handed) done();
  await new Promise((resolve) => setImmediate(resolve));
  a.said.length = 0;
  a.at.isUp = true;
  await a.retry(31_000, undefined);
  t.same(
    a.said.map((ids) => ids.length),
    [50],
    "what is done is said in one",
  );
  await a.retry(32_000, undefined);
  t.equal(a.said.length, 1);
});
