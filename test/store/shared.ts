/** Stores that replicas share, for tests. */

import type { Test } from "tap";
import { stateOf, type SharedState } from "../../src/config/state.ts";
import type { Log } from "../../src/engine/ports.ts";
import type { Keeper } from "../../src/store/last-known.ts";
import { redisStore, type RedisStore } from "../../src/store/redis.ts";
import { temporaryFolder } from "../support/disk.ts";
import { quietLog } from "../support/silence.ts";
import { until } from "../support/until.ts";
import { openOptions } from "./documents.ts";

/** A store that replicas share, closed with the test; its folder is new and empty unless `state` says otherwise. */
export async function sharedStore(
  t: Test,
  redis: string,
  state: Partial<SharedState> = {},
  log: Log = quietLog(),
  lastKnown?: Keeper,
): Promise<RedisStore> {
  const folder = await temporaryFolder(t);
  const of = stateOf(redis);
  if (of.kind !== "redis") throw new Error(`not shared: ${redis}`);
  const store = await redisStore({
    ...openOptions(log),
    replica: "test",
    state: { ...of, folder, ...state },
    lastKnown,
  });
  t.teardown(() => store.close());
  return store;
}

/** The store that holds the lease, and the others. */
export async function leaderOf(
  stores: readonly RedisStore[],
): Promise<readonly [leader: RedisStore, ...others: RedisStore[]]> {
  await until("one leads", () => stores.some((each) => each.lease().isLeader));
  const leader = stores.find((each) => each.lease().isLeader);
  if (leader === undefined) throw new Error("nobody leads");
  await until("all know who", () => stores.every((each) => each.lease().leader === leader.replica));
  return [leader, ...stores.filter((each) => each !== leader)];
}

/** So many replicas of one fleet. */
export async function fleetOf(t: Test, url: string, count: number): Promise<readonly RedisStore[]> {
  return Promise.all(Array.from({ length: count }, () => sharedStore(t, url)));
}
