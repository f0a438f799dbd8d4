/** The store that replicas share, over real servers of Redis that do as they should; `redis-faults.test.ts` has those that do not. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Redis } from "ioredis";
import { HARD_LIMITS } from "../../src/domain/evidence/catastrophic.ts";
import { DEFAULT_MARGIN } from "../../src/domain/evidence/gate.ts";
import { RouteEvidence } from "../../src/domain/evidence/route.ts";
import { millis } from "../../src/domain/units.ts";
import type { Order } from "../../src/engine/orders.ts";
import type { StateDocument } from "../../src/engine/ports.ts";
import { clock } from "../../src/platform.ts";
import { nodeDisk, type Disk } from "../../src/store/disk.ts";
import { LastKnown } from "../../src/store/last-known.ts";
import { temporaryFolder } from "../support/disk.ts";
import { redisServer, redisTest } from "../support/redis.ts";
import { until } from "../support/until.ts";
import { quietLog } from "../support/silence.ts";
import { tlsFile } from "../support/tls.ts";
import { storeContract } from "./contract.ts";
import { documentOf, envelope, rollout, versionIn } from "./documents.ts";
import { fleetOf, leaderOf, sharedStore } from "./shared.ts";

redisTest("redis: the contract of every store", async (t) => {
  const server = await redisServer(t);
  storeContract(
    "redis",
    async (t) => {
      await server.ask("FLUSHALL");
      return [await sharedStore(t, server.url), await sharedStore(t, server.url)];
    },
    t,
  );
});

redisTest("redis: of twenty writers that race two hundred times, exactly one wins each time", async (t) => {
  const { url } = await redisServer(t);
  const stores = await Promise.all(Array.from({ length: 20 }, () => sharedStore(t, url)));
  let winners = 0;
  for (let version = 1; version <= 200; version += 1) {
    const saved = await Promise.all(
      stores.map((store, index) => store.save(documentOf(version, `by ${index}`))),
    );
    const lost = saved.filter((each) => !each.ok);
    winners += saved.length - lost.length;
    t.ok(lost.every((each) => each.kind === "conflict" && each.found === version));
  }
  t.equal(winners, 200);
});

redisTest(
  "redis: only the leader raises, anybody lowers, and a lease that is given up is taken at once",
  async (t) => {
    const { url, ask } = await redisServer(t);
    const stores = await fleetOf(t, url, 3);
    const [leader, second, third] = await leaderOf(stores);
    if (second === undefined || third === undefined) throw new Error("too few");
    t.equal(stores.filter((each) => each.lease().isLeader).length, 1);
    const { fence } = leader.lease();
    t.same(await leader.save(documentOf(1), { raises: true }), { ok: true });
    t.match(await second.save(documentOf(2), { raises: true }), { ok: false, kind: "fenced" });
    t.equal(await versionIn(third), 1, "nothing was written");
    t.same(await second.save(documentOf(2)), { ok: true });
    t.same(await leader.save(documentOf(3), { raises: true }), { ok: true });
    let told = 0;
    second.onLease(() => (told += 1));
    await leader.close();
    const [next] = await leaderOf([second, third]);
    t.ok(next.lease().fence > fence);
    t.ok(told > 0);
    t.same(await next.save(documentOf(4), { raises: true }), { ok: true });
    const line = (await ask("XREVRANGE", "{sluice:default}:journal", "+", "-", "COUNT", 1)) as readonly [
      readonly [string, readonly string[]],
    ];
    const [, fields] = line[0];
    t.match(
      fields,
      ["epoch", "0", "version", "4", "by", next.replica, "about"],
      "the shared copy of the journal",
    );
    t.match(JSON.parse(fields[7] ?? ""), { routes: { app: { phase: "progressing", weight: 50_000 } } });
  },
);

redisTest("redis: what one saves is pushed to the others, and what they missed they find", async (t) => {
  const { url, ask } = await redisServer(t);
  const [writer, reader] = await fleetOf(t, url, 2);
  if (writer === undefined || reader === undefined) throw new Error("too few");
  const heard: StateDocument[] = [];
  reader.onDocument((document) => void heard.push(document));
  writer.onDocument(() => t.fail("its own save is no news"));
  await writer.save(documentOf(1));
  await until("it is heard", () => heard.length === 1);
  t.same(heard, [documentOf(1)]);
  // Nobody listens while these are saved: what pub/sub tells is gone.
  await ask("CLIENT", "KILL", "TYPE", "pubsub");
  await writer.save(documentOf(2));
  await writer.save(documentOf(3));
  await until("it is found", () => heard.at(-1)?.version === 3);
  await ask("CLIENT", "KILL", "TYPE", "normal");
  await until("the connection is back", async () => (await writer.save(documentOf(4))).ok);
  await until("it is heard again", () => heard.at(-1)?.version === 4);
});

redisTest(
  "redis: others are told what has changed, and all of it when nobody can say since when",
  async (t) => {
    const server = await redisServer(t);
    const [writer, reader] = await fleetOf(t, server.url, 2);
    if (writer === undefined || reader === undefined) throw new Error("too few");
    const said: string[] = [];
    const ear = new Redis(server.port);
    t.teardown(() => ear.disconnect());
    await ear.subscribe("{sluice:default}:news");
    ear.on("message", (_channel, message) => void (/^(doc|news)/.test(message) && said.push(message)));
    const heard: StateDocument[] = [];
    reader.onDocument((document) => void heard.push(document));
    for (const version of [1, 2, 3]) await writer.save(documentOf(version));
    await until("all is heard", () => heard.length === 3 && said.length === 3);
    t.same(
      heard,
      [1, 2, 3].map((version) => documentOf(version)),
    );
    t.match(said, [/^doc 0 1 /, /^news 0 2 /, /^news 0 3 /]);
    t.ok(said[2]!.length < 250, "in a few words");
    t.same(await reader.save(documentOf(4)), { ok: true }, "and goes on from it");
    const unknown = said[2]!.replace(/^news 0 3 (\S+) 0 2 \S+/, "news 0 5 $1 0 4 nobody");
    await server.ask(
      "HSET",
      "{sluice:default}:state",
      "version",
      5,
      "by",
      "x",
      "document",
      envelope(documentOf(5), "shared"),
    );
    await server.ask("PUBLISH", "{sluice:default}:news", unknown);
    await until("what changed since another document is looked up", () => heard.at(-1)?.version === 5);
    t.same(heard.at(-1), documentOf(5));
  },
);

redisTest("redis: what another has saved is in force before it is written down here", async (t) => {
  const { url } = await redisServer(t);
  const [writer] = await fleetOf(t, url, 1);
  const order: string[] = [];
  const folder = await temporaryFolder(t);
  const disk: Disk = {
    ...nodeDisk,
    makeFolder(path, mode) {
      order.push("kept");
      return nodeDisk.makeFolder(path, mode);
    },
  };
  const lastKnown = new LastKnown(folder, "default", quietLog(), disk);
  const reader = await sharedStore(t, url, {}, quietLog(), lastKnown);
  reader.onDocument(() => void order.push("told"));
  await writer?.save(documentOf(1));
  await until("it is kept", () => order.includes("kept"));
  t.same(order, ["told", "kept"]);
});

redisTest(
  "redis: evidence that comes with another's save is there when it is asked for, and if it cannot be read nobody goes on from it",
  async (t) => {
    const { url, ask } = await redisServer(t);
    const [writer, reader] = await fleetOf(t, url, 2);
    if (writer === undefined || reader === undefined) throw new Error("too few");
    const heard: StateDocument[] = [];
    reader.onDocument((document) => void heard.push(document));
    const evidence = {
      rules: "1a2b",
      snapshot: { layout: 2, hard: [0.5, -3], rest: [0, 1], latency: [17, 3] },
      upTo: "7-0",
    };
    const document = documentOf(1);
    const withEvidence = {
      ...document,
      routes: { app: { ...rollout("first"), evidence } },
    } satisfies StateDocument;
    await writer.save(withEvidence);
    await until("it is heard", () => heard.length === 1);
    t.same(heard[0]?.routes["app"]?.evidence, evidence);
    const { routes } = heard[0] ?? { routes: {} };
    t.same(await reader.save({ ...documentOf(2), routes }), { ok: true }, "and goes on as it came");
    t.same(await writer.load(), {
      kind: "found",
      document: { ...documentOf(2), routes: withEvidence.routes },
    });

    const broken = { ...rollout("second"), evidence: { rules: "1a2b", packed: "AAAA" } };
    const text = envelope({ ...documentOf(3), routes: { app: broken } }, "shared");
    await ask("HSET", "{sluice:default}:state", "epoch", 0, "version", 3, "by", "x", "document", text);
    await ask("PUBLISH", "{sluice:default}:news", `doc 0 3 x\n${text}`);
    await until("it is heard", () => heard.some(({ version }) => version === 3));
    const snapshot = heard.at(-1)?.routes["app"]?.evidence?.snapshot;
    t.match(heard.at(-1)?.routes["app"], { reason: rollout("second").reason }, "the rollout is whole");
    const kept = new RouteEvidence({ limits: HARD_LIMITS, margin: DEFAULT_MARGIN });
    t.equal(snapshot && kept.restore(snapshot), false);
  },
);

redisTest("redis: a hundred replicas hear of each save", async (t) => {
  const { url } = await redisServer(t);
  const [writer, ...readers] = await fleetOf(t, url, 101);
  if (writer === undefined) throw new Error("too few");
  const took: number[] = [];
  let start = 0;
  for (const reader of readers) reader.onDocument(() => void took.push(clock.mono() - start));
  for (let version = 1; version <= 20; version += 1) {
    start = clock.mono();
    t.same(await writer.save(documentOf(version)), { ok: true });
    await until(`all have version ${version}`, () => took.length >= 100 * version);
  }
  t.equal(took.length, 2000);
  const sorted = took.toSorted((a, b) => a - b);
  const at = (share: number): string => (sorted[Math.floor(sorted.length * share)] ?? 0).toFixed(1);
  t.comment(`save → 100 replicas in this one process: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`);
});

redisTest(
  "redis: measurements come to the others once each, in order, and a new reader goes on anywhere",
  async (t) => {
    const { url } = await redisServer(t);
    const [a, b, c] = await fleetOf(t, url, 3);
    if (a === undefined || b === undefined || c === undefined) throw new Error("too few");
    const bytes = (n: number): Uint8Array => Uint8Array.from([n, 0, 255, 10, 13]);
    for (let n = 0; n < 5; n += 1) {
      t.ok(await a.publish(bytes(n)));
      t.ok(await b.publish(bytes(100 + n)));
    }
    const all = await c.take("", 1000);
    t.same(
      all.map(({ measure }) => measure[0]),
      [0, 100, 1, 101, 2, 102, 3, 103, 4, 104],
    );
    t.same(all[0]?.measure, bytes(0));
    t.equal(all[0]?.replica, a.replica);
    const own = await b.take(all[3]?.id ?? "", 2);
    t.same(
      own.map(({ measure }) => measure[0]),
      [2, 3],
      "its own are left out, and no more come than are asked for",
    );
  },
);

redisTest("redis: replicas are named with what they tell, and the leader among them", async (t) => {
  const { url } = await redisServer(t);
  const [leader, other] = await leaderOf(await fleetOf(t, url, 2));
  if (other === undefined) throw new Error("too few");
  const about = { applied: 3, weights: { app: 5 }, perSecond: { app: 120.5 } };
  t.ok(await leader.announce(about));
  t.ok(await other.announce({ ...about, applied: 2 }));
  const found = await other.replicas();
  t.equal(found.length, 2);
  t.match(
    found.find((each) => each.replica === leader.replica),
    { ...about, isLeader: true, isStale: false },
  );
  t.match(
    found.find((each) => each.replica === other.replica),
    { applied: 2, isLeader: false },
  );
});

redisTest("redis: a replica that tells what nobody here understands is there all the same", async (t) => {
  const server = await redisServer(t);
  const [a] = await fleetOf(t, server.url, 1);
  await a?.announce({ applied: 3, weights: { app: 5 }, perSecond: {} });
  const now = clock.wall();
  await server.ask("HSET", "{sluice:default}:replicas", "zz-later", `${now} {"applied":"of another kind"}`);
  await server.ask("HSET", "{sluice:default}:replicas", "zz-late", `${now - 20_000} not even JSON`);
  await server.ask("HSET", "{sluice:default}:replicas", "zz-long-gone", `${now - 90_000} {}`);
  t.match(await a?.replicas(), [
    { replica: a?.replica, applied: 3, weights: { app: 5 }, isStale: false },
    { replica: "zz-late", applied: 0, weights: {}, perSecond: {}, isStale: true },
    { replica: "zz-later", applied: 0, weights: {}, perSecond: {}, isStale: false },
  ]);
});

redisTest("redis: the one that leads counts heads for everybody", async (t) => {
  const server = await redisServer(t);
  const [leader, other] = await leaderOf(await fleetOf(t, server.url, 2));
  await leader.announce({ applied: 1, weights: {}, perSecond: {} });
  t.equal(await other?.headcount(), undefined, "nobody has counted");
  await server.ask("HSET", "{sluice:default}:replicas", "silent-1", `${clock.wall() - 20_000} {}`);
  t.same(await leader.headcount(), { replicas: 2, stale: ["silent-1"] });
  await server.ask("HSET", "{sluice:default}:replicas", "come-later", `${clock.wall()} {}`);
  t.same(await other?.headcount(), { replicas: 2, stale: ["silent-1"] }, "as it was counted last");
  for (const damaged of ["{", '{"replicas":-1,"stale":[]}']) {
    await server.ask("SET", "{sluice:default}:headcount", damaged);
    t.equal(await other?.headcount(), undefined, damaged);
  }
  await server.kill();
  t.equal(await leader.headcount(), undefined);
  t.same(await leader.replicas(), []);
});

redisTest("redis: what whoever is gone has begun is another's, and what is done stays done", async (t) => {
  const server = await redisServer(t);
  const [a, b, c] = await fleetOf(t, server.url, 3);
  if (a === undefined || b === undefined || c === undefined) throw new Error("too few");
  await a.announce({ applied: 1, weights: {}, perSecond: {} });
  t.equal(await a.claim("x", false), "ours");
  t.equal(await a.claim("x", false), "ours", "however often it asks");
  t.equal(await b.claim("x", true), "theirs", "nothing is taken from who is there");
  await server.ask("HSET", "{sluice:default}:replicas", a.replica, "1 {}");
  t.equal(await b.claim("x", false), "gone");
  t.equal(await b.claim("x", true), "ours");
  await b.announce({ applied: 1, weights: {}, perSecond: {} });
  t.equal(await a.claim("x", false), "theirs");
  t.ok(await b.done("x"));
  t.equal(await c.claim("x", true), "done");
  await server.ask("FLUSHALL");
  for (const each of [a, b, c])
    t.equal(await each.claim("x", true), "done", "also when Redis has forgotten it");
  const late = await sharedStore(t, server.url);
  t.equal(await late.claim("x", false), "ours", "who comes after that cannot know");
  await server.ask("CLIENT", "KILL", "TYPE", "normal");
  await until(
    "it is told again",
    async () => (await server.ask("HGET", "{sluice:default}:done", "x")) !== null,
  );
  const later = await sharedStore(t, server.url);
  t.equal(await later.claim("x", true), "done");
  await server.ask("FLUSHALL");
  t.equal(await later.claim("x", true), "done", "who has come knows of what was before");
  await until("the connection is there again", () => c.isUp);
  for (let nth = 0; nth < 2500; nth += 1) await c.done(`more ${nth}`);
  t.equal(await c.claim("x", false), "ours", "what is remembered has an end");
  t.ok(Number(await server.ask("HLEN", "{sluice:default}:done")) <= 2001, "and what is kept");
});

const ORDER: Order = { kind: "acknowledge", id: "1", by: "ada", comment: "first\nsecond line" };

redisTest(
  "redis: what is to be done once is claimed by one, and a command goes to the leader and back",
  async (t) => {
    const { url } = await redisServer(t);
    const stores = await fleetOf(t, url, 5);
    const claims = await Promise.all(stores.map((each) => each.claim("app:r-1:7:rolled_back", false)));
    // Nobody has announced itself yet, so whoever has it is not known to be there.
    const count = (claim: string): number => claims.filter((each) => each === claim).length;
    t.same([count("ours"), count("gone")], [1, 4]);
    const [leader, other] = await leaderOf(stores);
    if (other === undefined) throw new Error("too few");
    const answer = other.forward(ORDER, millis(10_000));
    let given = await leader.forwarded();
    await until("it is there", async () => given.length > 0 || (given = await leader.forwarded()).length > 0);
    t.match(given, [{ replica: other.replica, order: ORDER }]);
    t.equal(given.length, 1);
    t.same(await leader.forwarded(), [], "each is given once");
    t.same(await other.forwarded(), [], "and only to the leader");
    t.ok(await leader.answer(given[0]?.id ?? "", "done"));
    t.equal(await answer, "done");
    t.equal(await other.forward(ORDER, millis(50)), undefined);
    await until("it counts no more", async () => (await leader.forwarded()).length === 0);
  },
);

redisTest("redis: the first secret stays the fleet's", async (t) => {
  const { url } = await redisServer(t);
  const [a, b] = await fleetOf(t, url, 2);
  const secrets = await Promise.all([a?.secret("cookie.key", "of a"), b?.secret("cookie.key", "of b")]);
  t.equal(new Set(secrets).size, 1);
  t.match(secrets[0], /^of [ab]$/);
  t.equal(await b?.secret("cookie.key", "later"), secrets[0]);
});

redisTest("redis: fleets of other names do not meet", async (t) => {
  const { url } = await redisServer(t);
  const a = await sharedStore(t, url, { name: "a" });
  const b = await sharedStore(t, url, { name: "b" });
  t.same(await a.save(documentOf(1)), { ok: true });
  t.same(await b.load(), { kind: "none" });
  t.ok(a.lease().isLeader && b.lease().isLeader);
});

/** The line for Redis in SECURITY.md, with a password. */
function aclOfDocs(): string {
  const text = readFileSync(join(import.meta.dirname, "../../SECURITY.md"), "utf8");
  const line = /^user sluice .*$/m.exec(text)?.[0];
  if (line === undefined) throw new Error("SECURITY.md has no line for Redis");
  return line
    .replace(/^user /, "")
    .replace("PASSWORD", "s3cret")
    .replaceAll("NAME", "default");
}

redisTest(
  "redis: speaks TLS, verified, as a user who may do what SECURITY.md lists and no more",
  async (t) => {
    const acl = aclOfDocs();
    const tls = `--tls-port PORT --tls-auth-clients no --tls-cert-file ${tlsFile("cert.pem")} --tls-key-file ${tlsFile("key.pem")} --tls-ca-cert-file ${tlsFile("ca.cert.pem")}`;
    const server = await redisServer(t, `${tls} --user ${acl} --user default off`.split(" "));
    const url = `rediss://sluice@localhost:${server.port}`;
    // A secret of a test is the name of where it would be.
    const ca = { env: readFileSync(tlsFile("cert.pem"), "utf8") };
    const log = quietLog();
    const store = await sharedStore(t, url, { password: { env: "s3cret" }, ca }, log);
    t.ok(store.isUp);
    t.same(await store.save(documentOf(1), { raises: true }), { ok: true });
    await store.publish(Uint8Array.from([1]));
    await store.take("", 10);
    await store.announce({ applied: 1, weights: {}, perSecond: {} });
    t.equal((await store.replicas()).length, 1);
    t.match(await store.headcount(), { replicas: 1 });
    t.equal(await store.claim("x", false), "ours");
    t.ok(await store.done("x"));
    t.equal(await store.secret("cookie.key", "mine"), "mine");
    t.equal(await store.forward(ORDER, millis(50)), undefined);
    t.equal((await store.forwarded()).length, 0);
    t.ok(await store.answer("x", "y"));
    t.notMatch(JSON.stringify(log.lines), /NOPERM/);
    const stranger = quietLog();
    const unverified = await sharedStore(t, url, { password: { env: "s3cret" } }, stranger);
    t.notOk(unverified.isUp);
    t.match(stranger.lines[0], { level: "warn", fields: { detail: /certificate/ } });
  },
);

redisTest("redis: a wrong password is told, without it, and stops no start", async (t) => {
  const server = await redisServer(t, ["--requirepass", "right"]);
  const log = quietLog();
  const store = await sharedStore(t, server.url, { password: { env: "wr0ng" } }, log);
  t.notOk(store.isUp);
  t.same(await store.load(), { kind: "none" });
  t.match(await store.save(documentOf(1)), { ok: false, kind: "unavailable" });
  t.match(log.lines, [{ level: "warn", fields: { detail: /WRONGPASS/ } }]);
  t.notMatch(JSON.stringify(log.lines), /wr0ng/);
});

redisTest("redis: a Cluster has everything in one slot", async (t) => {
  const server = await redisServer(t, ["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"]);
  await server.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16_383);
  await until("it is a cluster", async () =>
    String(await server.ask("CLUSTER", "INFO")).includes("cluster_state:ok"),
  );
  const way = { way: "cluster", servers: [{ host: "127.0.0.1", port: server.port }] } as const;
  const a = await sharedStore(t, server.url, way);
  const b = await sharedStore(t, server.url, way);
  const heard: StateDocument[] = [];
  b.onDocument((document) => void heard.push(document));
  const [leader] = await leaderOf([a, b]);
  t.same(await a.save(documentOf(1)), { ok: true });
  await until("it is heard", () => heard.length === 1);
  t.same(await leader.save(documentOf(2), { raises: true }), { ok: true });
  t.ok(await a.publish(Uint8Array.from([7])));
  t.equal((await b.take("", 10)).length, 1);
  t.ok(await a.announce({ applied: 2, weights: {}, perSecond: {} }));
  t.equal((await b.replicas()).length, 1);
});
