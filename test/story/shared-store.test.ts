/** The program on a store that replicas share: what of it is the fleet's, what a replica's own, and what an operator sees of it. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { temporaryFolder } from "../support/disk.ts";
import { ask, program } from "../support/program.ts";
import { redisServer, redisTest } from "../support/redis.ts";
import { until } from "../support/until.ts";

redisTest("replicas of one store share the cookies' secret and keep their own token", async (t) => {
  const server = await redisServer(t);
  const { url } = server;
  const folders = [await temporaryFolder(t), await temporaryFolder(t)];
  const replicas = await Promise.all(
    folders.map((folder) => program({ key: [], anonymous: "cookie" }, { state: { redis: url, folder } })),
  );
  const [first, second] = replicas;
  if (first === undefined || second === undefined) throw new Error("too few");
  try {
    const given = await ask(first.origin);
    const [cookie] = given.headers["set-cookie"] ?? [];
    t.ok(cookie, "a key for who has none");
    const known = await ask(second.origin, { headers: { cookie: cookie?.split(";")[0] ?? "" } });
    t.equal(known.headers["set-cookie"], undefined, "the other replica takes it for its own");
    const shared = await server.ask("KEYS", "*secret*");
    t.same(shared, ["{sluice:default}:secret:cookie.key"], "the admin token is in no store");
    const keys = await Promise.all(folders.map((folder) => readFile(join(folder, "cookie.key"), "utf8")));
    t.equal(keys[0], keys[1], "and a start without the store has it");
  } finally {
    await Promise.all(replicas.map((each) => each.close()));
  }
});

redisTest("the store goes away: serving goes on, readiness stays, and the metrics say so", async (t) => {
  const server = await redisServer(t);
  const folder = await temporaryFolder(t);
  const replica = await program({}, { state: { redis: server.url, folder } });
  const admin = async (path: string) => ask(`http://${replica.running.adminAddress}`, { path });
  const metrics = async (): Promise<string> => (await admin("/metrics")).body;
  try {
    t.match(await metrics(), /^sluice_store_up 1$/m);
    t.match(await metrics(), /^sluice_leader 1$/m);
    await server.kill();
    await until("it is noticed", async () => /^sluice_store_up 0$/m.test(await metrics()));
    t.equal((await replica.get("ada")).status, 200);
    t.equal((await admin("/readyz")).status, 200);
    await replica.clock.advance("5s");
    await until("nobody leads", async () => /^sluice_leader 0$/m.test(await metrics()));
    await until("it is counted", async () =>
      /^sluice_store_command_failures_total [1-9]/m.test(await metrics()),
    );
  } finally {
    await replica.close();
  }
});
