/** Three real processes on one real Redis behind one client: one rollout, one verdict. */

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import {
  ask,
  command,
  configFile,
  failing,
  service,
  type Process,
  type Service,
} from "../support/program.ts";
import { redisServer, redisTest, type RedisProcess } from "../support/redis.ts";
import { until } from "../support/until.ts";

t.setTimeout(180_000);

interface Replica {
  readonly name: string;
  readonly process: Process;
  readonly origin: string;
  sluice(...args: readonly string[]): Promise<{ readonly code: number | null; readonly output: string }>;
  /** The route as this replica sees it. */
  status(): Promise<Status>;
}

interface Status {
  readonly weight: number;
  readonly phase: string;
  readonly fleet: { readonly leader: string; readonly leads: boolean; readonly replicas: number };
}

interface Fleet {
  readonly redis: RedisProcess;
  readonly stable: Service;
  readonly canary: Service;
  readonly replicas: readonly Replica[];
  /** So many requests to each replica, each of another user. */
  serve(count: number, replicas?: readonly Replica[]): Promise<void>;
  /** Who leads, and the others. */
  roles(
    among?: readonly Replica[],
  ): Promise<{ readonly leader: Replica; readonly others: readonly Replica[] }>;
}

async function fleet(t: Test, route: object = {}): Promise<Fleet> {
  const redis = await redisServer(t);
  const [stable, canary] = [await service("stable"), await service("canary")];
  const folder = await mkdtemp(join(tmpdir(), "sluice-fleet-"));
  const processes: Process[] = [];
  t.teardown(async () => {
    for (const each of processes) each.child.kill("SIGKILL");
    await Promise.all(processes.map((each) => each.ended));
    await stable.close();
    await canary.close();
    await rm(folder, { recursive: true, force: true });
  });
  const start = async (name: string): Promise<Replica> => {
    const home = join(folder, name);
    const admin = `unix:${join(folder, `${name}.sock`)}`;
    await mkdir(home);
    const config = await configFile(home, {
      listen: [{ address: "127.0.0.1:0" }],
      admin: { address: admin },
      state: { redis: redis.url, folder: join(home, "state"), replica: name },
      reports: join(home, "reports"),
      backups: "off",
      workers: 1,
      environment: "test",
      routes: [
        {
          name: "app",
          stable: { endpoints: [stable.url] },
          canary: { endpoints: [canary.url] },
          key: ["header:x-user-id"],
          ...route,
        },
      ],
    });
    const process = command(["run", "-c", config]);
    processes.push(process);
    const [, address = ""] = await process.says(/"listen":\["([^"]+)"\]/);
    const sluice = async (...args: readonly string[]) => {
      const called = command([...args, "--admin", admin, "--state", join(home, "state")]);
      return { code: await called.ended, output: called.output() };
    };
    const status = async (): Promise<Status> => {
      const { output } = await sluice("status", "app", "--json");
      return JSON.parse(output) as Status;
    };
    return { name, process, origin: `http://${address}`, sluice, status };
  };
  const replicas = await Promise.all(["edge-a", "edge-b", "edge-c"].map(start));
  let user = 0;
  const self: Fleet = {
    redis,
    stable,
    canary,
    replicas,
    async serve(count, among = replicas) {
      for (let nth = 0; nth < count; nth++)
        await Promise.all(
          among.map(({ origin }) => ask(origin, { headers: { "x-user-id": `user-${user++}` } })),
        );
    },
    async roles(among = replicas) {
      let found: Replica | undefined;
      await until("one leads", async () => {
        for (const each of among) if ((await each.status()).fleet.leads) found = each;
        return found !== undefined;
      });
      return { leader: found!, others: among.filter((each) => each !== found) };
    },
  };
  await self.roles();
  return self;
}

const weights = (replicas: readonly Replica[]) =>
  Promise.all(replicas.map(async (each) => (await each.status()).weight));

redisTest(
  "weight 0 through any replica: no request to the canary from any of them, and the others' figures are named (acceptance 16)",
  async (t) => {
    const f = await fleet(t);
    const { leader, others } = await f.roles();
    const [follower = leader] = others;
    const raised = await follower.sluice("set-weight", "app", "50", "--reason", "test", "--yes");
    t.equal(raised.code, 0, raised.output);
    t.same(await weights(f.replicas), [50, 50, 50], "a raise through a follower is everybody's");
    await f.serve(20);
    t.ok(f.canary.requests > 10);
    const lowered = await follower.sluice("set-weight", "app", "0", "--reason", "test", "--yes");
    t.equal(lowered.code, 0, lowered.output);
    const before = f.canary.requests;
    await f.serve(30);
    t.equal(f.canary.requests, before);
    t.same(await weights(f.replicas), [0, 0, 0]);
    await until("all are named", async () => {
      const { output } = await follower.sluice("replicas");
      return f.replicas.every(({ name }) => output.includes(name)) && output.includes("leader");
    });
  },
);

redisTest(
  "a failure that only the sum shows rolls back; the leader killed, another leads; each still lowers (acceptance 30)",
  async (t) => {
    const f = await fleet(t, {
      rollback: { onAny: [{ metric: "error_rate", above: "5%", for: "2s", minRequests: 60 }] },
    });
    const { leader, others } = await f.roles();
    const started = await leader.sluice("set-weight", "app", "50", "--reason", "test", "--yes");
    t.equal(started.code, 0, started.output);
    f.canary.answer = failing;
    // Each of two sees at most 40 responses of the canary in the window: too few for the rule.
    const two = others.slice(0, 2);
    await f.serve(70, two);
    await until("the sum is judged", async () => (await leader.status()).phase === "rolled_back", 60_000);
    await until("everywhere", async () => (await weights(f.replicas)).every((weight) => weight === 0));

    f.canary.answer = undefined;
    leader.process.child.kill("SIGKILL");
    await leader.process.ended;
    const next = await f.roles(others);
    t.not(next.leader, leader);
    const again = await next.others[0]!.sluice(
      "set-weight",
      "app",
      "40",
      "--force",
      "--reason",
      "once more",
      "--yes",
    );
    t.equal(again.code, 0, again.output);
    t.same(await weights(others), [40, 40]);
    const stopped = await next.others[0]!.sluice("rollback", "app", "--reason", "manual");
    t.equal(stopped.code, 0, stopped.output);
    t.same(await weights(others), [0, 0]);
  },
);

redisTest("Redis gone: no client sees it, nothing rises, and lowering works (reliability 36)", async (t) => {
  const f = await fleet(t);
  const { leader, others } = await f.roles();
  await leader.sluice("set-weight", "app", "30", "--reason", "test", "--yes");
  await f.redis.kill();
  await f.serve(10);
  const raised = await leader.sluice("set-weight", "app", "60", "--reason", "test", "--yes");
  t.not(raised.code, 0);
  t.match(raised.output, /SPLIT_(NO_LEADER|STATE_UNWRITABLE)/);
  t.same(await weights(f.replicas), [30, 30, 30]);
  const [follower = leader] = others;
  const lowered = await follower.sluice("set-weight", "app", "10", "--reason", "test", "--yes");
  t.equal(lowered.code, 0, lowered.output);
  t.equal((await follower.status()).weight, 10);
  await f.redis.restart();
  await until(
    "what was lowered is everybody's",
    async () => (await weights(f.replicas)).every((weight) => weight === 10),
    40_000,
  );
});
