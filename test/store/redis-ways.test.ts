/** The other ways to Redis, with what they are for: a Cluster whose primary dies, and Sentinels that speak TLS. */

import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { temporaryFolder } from "../support/disk.ts";
import { redisServer, redisTest, started, type RedisProcess } from "../support/redis.ts";
import { freePort } from "../support/servers.ts";
import { tlsFile } from "../support/tls.ts";
import { until } from "../support/until.ts";
import { documentOf, versionIn } from "./documents.ts";
import { leaderOf, sharedStore } from "./shared.ts";

t.setTimeout(120_000);

const SLOTS = 16_384;
/** A failover of a Cluster takes its timeout and an election; of a busy machine, several. */
const FAILOVER_MS = 40_000;

/** Three primaries that share the slots, and a replica of each slot's first. */
async function cluster(t: Test): Promise<{
  readonly primaries: readonly RedisProcess[];
  readonly replicaOf: (primary: RedisProcess) => Promise<RedisProcess>;
}> {
  const node = async (): Promise<RedisProcess> => {
    const own = ["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"];
    return redisServer(t, [
      ...own,
      "--cluster-node-timeout",
      "1000",
      "--cluster-allow-replica-migration",
      "no",
    ]);
  };
  const primaries = await Promise.all([1, 2, 3].map(node));
  const [first] = primaries;
  if (first === undefined) throw new Error("no node");
  const meet = (each: RedisProcess) => first.ask("CLUSTER", "MEET", "127.0.0.1", each.port);
  const share = Math.ceil(SLOTS / primaries.length);
  for (const [nth, each] of primaries.entries()) {
    await each.ask("CLUSTER", "SET-CONFIG-EPOCH", nth + 1);
    await each.ask("CLUSTER", "ADDSLOTSRANGE", nth * share, Math.min((nth + 1) * share, SLOTS) - 1);
    if (each !== first) await meet(each);
  }
  const says = async (each: RedisProcess, what: string, word: string): Promise<boolean> =>
    String(await each.ask("CLUSTER", what)).includes(word);
  for (const each of primaries)
    await until("it is a cluster", () => says(each, "INFO", "cluster_state:ok"), FAILOVER_MS);
  return {
    primaries,
    async replicaOf(primary) {
      const replica = await node();
      await meet(replica);
      const id = String(await primary.ask("CLUSTER", "MYID"));
      await until("they have met", () => says(replica, "NODES", id));
      await replica.ask("CLUSTER", "REPLICATE", id);
      const isThere = async (): Promise<boolean> =>
        String(await replica.ask("INFO", "replication")).includes("master_link_status:up");
      await until("it replicates", isThere);
      for (const each of primaries)
        await until("all know of it", () => says(each, "NODES", `127.0.0.1:${replica.port}@`));
      return replica;
    },
  };
}

/** Where the state is: the primary of the slot that the key of a document is in. */
async function holderOf(primaries: readonly RedisProcess[]): Promise<RedisProcess> {
  for (const each of primaries) {
    if (Number(await each.ask("DBSIZE")) > 0) return each;
  }
  throw new Error("nothing is kept");
}

redisTest(
  "a failover in a Cluster: what lowers is saved at the new primary, and nobody goes back",
  async (t) => {
    const { primaries, replicaOf } = await cluster(t);
    const servers = primaries.map(({ port }) => ({ host: "127.0.0.1", port }));
    const way = { way: "cluster", servers } as const;
    const url = primaries[0]?.url ?? "";
    const [a, b] = [await sharedStore(t, url, way), await sharedStore(t, url, way)];
    const [leader, other] = await leaderOf([a, b]);
    if (other === undefined) throw new Error("too few");
    const versions: number[] = [];
    other.onDocument((document) => void versions.push(document.version));
    t.same(await leader.save(documentOf(1), { raises: true }), { ok: true });
    const holder = await holderOf(primaries);
    const replica = await replicaOf(holder);
    // On a busy machine a replica that is in step takes its time to say so.
    await until("it rises", async () => (await leader.save(documentOf(2), { raises: true })).ok);
    await until("it is heard", () => versions.at(-1) === 2);
    await holder.kill();
    const isSaved = async (): Promise<boolean> =>
      (await other.save(documentOf((await versionIn(other)) + 1, "lowered"))).ok;
    await until("what lowers is saved", isSaved, FAILOVER_MS);
    t.match(await replica.ask("ROLE"), ["master"]);
    await until("all know it", async () => (await versionIn(leader)) >= 3, FAILOVER_MS);
    t.strictSame(
      versions,
      versions.toSorted((x, y) => x - y),
      "nobody heard an older one after a newer one",
    );
    const [now] = await leaderOf([a, b]);
    const next = (await versionIn(now)) + 1;
    t.match(await now.save(documentOf(next, "raised"), { raises: true }), { ok: false, kind: "fenced" });
  },
);

redisTest("Sentinels that speak TLS lead to a primary that speaks it, each verified", async (t) => {
  const files = { "cert-file": "cert.pem", "key-file": "key.pem", "ca-cert-file": "ca.cert.pem" };
  const tls = Object.entries(files).map(([name, file]) => [`tls-${name}`, tlsFile(file)] as const);
  const args = tls.flatMap(([name, file]) => [`--${name}`, file]);
  const primary = await redisServer(t, ["--tls-port", "PORT", "--tls-auth-clients", "no", ...args]);
  const folder = await temporaryFolder(t);
  const port = await freePort();
  const file = join(folder, "sentinel.conf");
  const lines = [
    "port 0",
    `tls-port ${port}`,
    "bind 127.0.0.1",
    `dir ${folder}`,
    "tls-replication yes",
    "tls-auth-clients no",
    ...tls.map(([name, path]) => `${name} ${path}`),
    `sentinel monitor mymaster 127.0.0.1 ${primary.port} 1`,
  ];
  await writeFile(file, `${lines.join("\n")}\n`);
  await started(t, "redis-sentinel", [file], /\+monitor/);
  const way = { way: "sentinels", servers: [{ host: "127.0.0.1", port }], master: "mymaster" } as const;
  const ca = { env: readFileSync(tlsFile("cert.pem"), "utf8") };
  const store = await sharedStore(t, "rediss://localhost:1", { ...way, ca });
  t.ok(store.isUp);
  t.same(await store.save(documentOf(1)), { ok: true });
  t.equal(await versionIn(store), 1);
  const stranger = await sharedStore(t, "rediss://localhost:1", way);
  t.notOk(stranger.isUp, "a certificate of nobody that is known is refused");
  const plain = await sharedStore(t, "redis://localhost:1", way);
  t.notOk(plain.isUp, "without TLS nobody answers");
});
