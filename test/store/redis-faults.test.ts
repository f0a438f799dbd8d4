/** The store that replicas share, while Redis is killed, hangs, forgets, and is replaced by its replica. */

import t, { type Test } from "tap";
import type { StateDocument } from "../../src/engine/ports.ts";
import { clock } from "../../src/platform.ts";
import type { RedisStore } from "../../src/store/redis.ts";
import { temporaryFolder } from "../support/disk.ts";
import { redisServer, redisTest, redisWithSentinels, type RedisProcess } from "../support/redis.ts";
import { freePort } from "../support/servers.ts";
import { quietLog, type Remembered } from "../support/silence.ts";
import { pause, until } from "../support/until.ts";
import { documentOf, versionIn } from "./documents.ts";
import { fleetOf, leaderOf, sharedStore } from "./shared.ts";

// Ten seconds of standing still are ten seconds.
t.setTimeout(120_000);

const epochOf = ({ epoch = 0 }: StateDocument): number => epoch;

/** The document that a store gives, and that must be there. */
async function stateIn(store: RedisStore): Promise<StateDocument> {
  const loaded = await store.load();
  if (loaded.kind !== "found") throw new Error(loaded.kind);
  return loaded.document;
}

async function isInEpoch(server: RedisProcess, epoch: number): Promise<boolean> {
  return (await server.ask("HGET", "{sluice:default}:state", "epoch")) === String(epoch);
}

/** Every document that comes to a store, with a check that none is older than the one before. */
function watched(t: Test, store: RedisStore): readonly StateDocument[] {
  const seen: StateDocument[] = [];
  store.onDocument((document) => {
    const before = seen.at(-1);
    const isNewer =
      before === undefined ||
      epochOf(document) > epochOf(before) ||
      (epochOf(document) === epochOf(before) && document.version > before.version);
    if (!isNewer) t.fail(`(${epochOf(document)}, ${document.version}) came after a newer one`);
    seen.push(document);
  });
  return seen;
}

const saysOf = (lines: readonly Remembered[], pattern: RegExp): number =>
  lines.filter(({ message }) => pattern.test(message)).length;

redisTest(
  "redis killed and started empty: nothing rises meanwhile, and the state is what it was",
  async (t) => {
    const server = await redisServer(t);
    const log = quietLog();
    const logged = await sharedStore(t, server.url, {}, log);
    const stores = [logged, await sharedStore(t, server.url)];
    const [leader, other] = await leaderOf(stores);
    if (other === undefined) throw new Error("too few");
    const seen = watched(t, other);
    for (let version = 1; version <= 5; version += 1) await leader.save(documentOf(version));
    await until("it is heard", () => seen.length === 5);
    const { fence } = leader.lease();
    await server.kill();
    t.match(await leader.save(documentOf(6), { raises: true }), { ok: false, kind: "unavailable" });
    t.match(await other.save(documentOf(6)), { ok: false, kind: "unavailable" });
    t.notOk(leader.isUp || other.isUp);
    t.same(await other.load(), { kind: "found", document: documentOf(5) }, "what is known stays known");
    await until("nobody leads", () => !leader.lease().isLeader);
    t.match(await leader.save(documentOf(6), { raises: true }), { ok: false, kind: "fenced" });
    await server.restart();
    await until("it is published again", async () => epochOf(await stateIn(other)) === 1);
    t.same(await stateIn(other), { ...documentOf(5), epoch: 1 });
    const [next] = await leaderOf(stores);
    t.ok(next.lease().fence > fence, "a fence is never given twice");
    await until("all go on", async () => (await next.save(documentOf(6), { raises: true })).ok);
    t.equal(epochOf(await stateIn(other)), 1);
    t.equal(saysOf(log.lines, /does not answer/), 1, `said once: ${JSON.stringify(log.lines)}`);
    t.equal(saysOf(log.lines, /answers again/), 1);
  },
);

redisTest(
  "redis standing still for ten seconds: every call ends, the lease is given up, and all comes back",
  async (t) => {
    const server = await redisServer(t);
    const [leader, other] = await leaderOf(await fleetOf(t, server.url, 2));
    if (other === undefined) throw new Error("too few");
    const seen = watched(t, other);
    t.same(await leader.save(documentOf(1)), { ok: true });
    server.halt();
    const end = clock.mono() + 10_000;
    let refused = 0;
    while (clock.mono() < end) {
      const saved = await Promise.all([
        leader.save(documentOf(2), { raises: true }),
        other.save(documentOf(2)),
        other.publish(Uint8Array.from([1])),
        other.claim("x", false),
        other.replicas(),
      ]);
      if (saved[0].ok || saved[1].ok) t.fail("saved nowhere");
      refused += 1;
      await pause();
    }
    t.ok(refused > 3, `${refused} rounds`);
    t.notOk(leader.lease().isLeader || other.lease().isLeader);
    t.notOk(leader.isUp || other.isUp);
    server.goOn();
    await leaderOf([leader, other]);
    const next = async (): Promise<number> => (await versionIn(leader)) + 1;
    await until("it is saved", async () => (await leader.save(documentOf(await next(), "after"))).ok);
    await until("it is heard", () => seen.at(-1)?.routes["app"]?.reason === "after");
  },
);

redisTest("FLUSHALL: the leader publishes again what anybody knows, under a higher epoch", async (t) => {
  const server = await redisServer(t);
  const [leader, other, third] = await leaderOf(await fleetOf(t, server.url, 3));
  if (other === undefined || third === undefined) throw new Error("too few");
  const seen = watched(t, third);
  for (let version = 1; version <= 3; version += 1) await leader.save(documentOf(version));
  await until("it is heard", () => seen.length === 3);
  for (const epoch of [1, 2]) {
    await server.ask("FLUSHALL");
    t.notMatch(await other.save(documentOf(1)), { ok: true }, "nobody begins anew");
    await until(`epoch ${epoch}`, () => isInEpoch(server, epoch));
    t.same(await stateIn(third), { ...documentOf(2 + epoch), epoch });
    await until("it goes on", async () => (await other.save(documentOf(3 + epoch))).ok);
    await until("it is heard", () => seen.at(-1)?.version === 3 + epoch);
  }
  t.match(await stateIn(leader), { epoch: 2, version: 5 });
});

redisTest("a store that has lost everything gets back the secret that the fleet works with", async (t) => {
  const server = await redisServer(t);
  const [a] = await fleetOf(t, server.url, 1);
  if (a === undefined) throw new Error("too few");
  t.equal(await a.secret("cookie.key", "the fleet's"), "the fleet's");
  const isBack = async (): Promise<boolean> =>
    ((await server.ask("KEYS", "*secret:cookie.key")) as readonly string[]).length > 0;
  const newcomers = async (): Promise<string | undefined> =>
    (await sharedStore(t, server.url)).secret("cookie.key", "a newcomer's");
  await server.kill();
  await server.restart();
  await until("it is back after a restart", isBack);
  t.equal(await newcomers(), "the fleet's");
  t.same(await a.save(documentOf(1)), { ok: true });
  await server.ask("FLUSHALL");
  await until("it is back after a flush", isBack);
  t.equal(await newcomers(), "the fleet's");
});

redisTest("saves that only a follower knows are not lost with the store", async (t) => {
  const server = await redisServer(t);
  const [leader, other] = await leaderOf(await fleetOf(t, server.url, 2));
  if (other === undefined) throw new Error("too few");
  const seen = watched(t, leader);
  t.same(await leader.save(documentOf(1)), { ok: true });
  await until("it is known", async () => (await versionIn(other)) === 1);
  // The word of the follower's save finds nobody, and the save is gone before anybody looks for it.
  await server.ask("CLIENT", "KILL", "TYPE", "pubsub");
  t.same(await other.save(documentOf(2, "lowered")), { ok: true });
  await server.ask("FLUSHALL");
  t.equal(seen.length, 0, "the leader has not heard of it");
  await until("it is published again", () => isInEpoch(server, 1));
  t.match(await stateIn(leader), { epoch: 1, routes: { app: { reason: "lowered" } } });
});

redisTest("a start without the store goes on from what was last known on this disk", async (t) => {
  const server = await redisServer(t);
  const folder = await temporaryFolder(t);
  const first = await sharedStore(t, server.url, { folder });
  for (let version = 1; version <= 4; version += 1)
    t.same(await first.save(documentOf(version)), { ok: true });
  await first.close();
  await server.kill();
  const second = await sharedStore(t, server.url, { folder });
  t.notOk(second.isUp);
  t.same(await second.load(), { kind: "found", document: documentOf(4) });
  t.notOk(second.lease().isLeader);
  await server.restart();
  await until("it is published again", async () => (await second.save(documentOf(5))).ok);
  t.same(await stateIn(second), { ...documentOf(5), epoch: 1 });
  const log = quietLog();
  const stranger = await sharedStore(t, `redis://127.0.0.1:${await freePort()}`, { folder, name: "b" }, log);
  t.same(await stranger.load(), { kind: "none" }, "another fleet's is not taken");
  t.equal(saysOf(log.lines, /left alone/), 1);
});

redisTest(
  "a raise waits for a replica of Redis and is refused without; what lowers waits for nothing",
  async (t) => {
    const server = await redisServer(t);
    const replica = await redisServer(t, ["--replicaof", `127.0.0.1 ${server.port}`]);
    await until("it is in step", async () =>
      String(await server.ask("INFO", "replication")).includes("state=online"),
    );
    const store = await sharedStore(t, server.url);
    await leaderOf([store]);
    // On a busy machine a replica that is in step takes its time to say so.
    await until("it rises", async () => (await store.save(documentOf(1), { raises: true })).ok);
    t.match(await replica.ask("HGET", "{sluice:default}:state", "version"), "1");
    replica.halt();
    t.match(await store.save(documentOf(2), { raises: true }), {
      ok: false,
      kind: "fenced",
      detail: /replica/,
    });
    t.equal(await versionIn(store), 1, "nothing was written");
    t.same(await store.save(documentOf(2)), { ok: true });
    replica.goOn();
    await until("it may rise again", async () => (await store.save(documentOf(3), { raises: true })).ok);
  },
);

redisTest("a failover by Sentinels: saves go on at the new primary, and nobody goes back", async (t) => {
  const { primary, sentinels } = await redisWithSentinels(t);
  const servers = sentinels.map((each) => ({ host: "127.0.0.1", port: Number(each.split(":")[1]) }));
  const way = { way: "sentinels", servers, master: "mymaster" } as const;
  const stores = await Promise.all([1, 2, 3].map(() => sharedStore(t, primary.url, way)));
  const [leader, other] = await leaderOf(stores);
  if (other === undefined) throw new Error("too few");
  const seen = watched(t, other);
  for (let version = 1; version <= 5; version += 1)
    t.same(await leader.save(documentOf(version), { raises: true }), { ok: true });
  await until("it is heard", async () => (await versionIn(other)) === 5 && seen.at(-1)?.version === 5);
  const { fence } = leader.lease();
  await primary.kill();
  const next = async (store: RedisStore, reason: string): Promise<StateDocument> =>
    documentOf((await versionIn(store)) + 1, reason);
  await until(
    "what lowers is saved",
    async () => (await other.save(await next(other, "lowered"))).ok,
    30_000,
  );
  const isLowered = async (): Promise<boolean> => (await stateIn(leader)).routes["app"]?.reason === "lowered";
  await until("all know it", isLowered);
  t.ok((await versionIn(leader)) >= 6);
  const [now] = await leaderOf(stores);
  t.ok(now.lease().fence >= fence);
  // There is no second replica: nothing may rise until there is one.
  t.match(await now.save(await next(now, "raised"), { raises: true }), { ok: false, kind: "fenced" });
});
