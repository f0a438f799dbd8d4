/**
 * Three real processes on a real Redis, with clients that never stop, while what they stand on is killed, stopped, emptied and cut off.
 *
 * The faults come one after the other over the same fleet, each in a rollout of its own. What must hold over all of them is looked at in the end.
 */

import t, { type Test } from "tap";
import type { JournalLine, RecordedState } from "../../src/engine/ports.ts";
import { clock } from "../../src/platform.ts";
import { ask, failing } from "../support/program.ts";
import { during, HOOK_SECRET, signedHook, type Receiver } from "../support/receivers.ts";
import { DURABLE, redisServer, redisTest, redisWithSentinels, type RedisProcess } from "../support/redis.ts";
import { listening, onRecord } from "../support/record.ts";
import { relay } from "../support/relay.ts";
import {
  BUSY,
  everywhere,
  fleet,
  type Fleet,
  type FleetOptions,
  type Replica,
  type Status,
} from "../support/replicas.ts";
import { Traffic, Watch } from "../support/traffic.ts";
import { pause, until } from "../support/until.ts";

t.setTimeout(300_000);

const STATE = "{sluice:default}:state";
const DONE = "{sluice:default}:done";
/** Two rules: what one replica sees by itself at once, and what takes more of the canary than one replica has. */
const ROUTE = {
  rollback: {
    onAny: [
      { metric: "error_rate", above: "50%", window: "5s", minRequests: 8 },
      { metric: "error_rate", above: "5%", minRequests: 40 },
    ],
    cooldown: "1s",
  },
};
const WEIGHTS = [20, 30, 40, 50, 60, 70, 80, 90, 100];
const CLIMB = {
  promotion: "off",
  steps: WEIGHTS.map((weight) => ({ setWeight: `${weight}%`, hold: "2s" })),
};
/** Decisions that lead from one step to the next. */
const STEPS = new Set(["DEPLOY_START", "STEP_STARTED"]);
const TOLD = new Set([...STEPS, "ROLLBACK_DONE"]);

interface World extends Fleet {
  readonly traffic: Traffic;
  readonly watch: Watch;
  readonly hook: Receiver;
  readonly redis: RedisProcess;
}

/** A fleet under load, with somebody who is told. */
async function world(t: Test, redis: RedisProcess, options: Pick<FleetOptions, "state">): Promise<World> {
  const hook = await during(t, signedHook());
  const notify = { webhook: { url: hook.url, secret: { env: "HOOK" }, perMinute: 1000 } };
  const f = await fleet(t, {
    ...options,
    route: ROUTE,
    more: { notify, overload: BUSY },
    env: { HOOK: HOOK_SECRET },
  });
  const traffic = new Traffic();
  const watch = new Watch(f.replicas);
  t.teardown(async () => {
    await traffic.end();
    await watch.end();
  });
  traffic.join(...f.replicas);
  return { ...f, traffic, watch, hook, redis };
}

/** Starts a rollout, over whichever replica, as soon as the one before it has cooled down. */
async function begin({ replicas: [first] }: World, plan: object = CLIMB): Promise<void> {
  const order = { plan, reason: "test" };
  await until(
    "it is started",
    async () => (await first!.operate("/v1/rollouts/app/start", order)).status === 200,
  );
}

/** Resolves when the rollout has come to this step at one of these. */
async function atStep(step: number, [replica]: readonly Replica[], ms = 30_000): Promise<void> {
  let last: Status | undefined;
  const has = async (): Promise<boolean> => {
    last = await replica!.status();
    return last.step >= step && last.phase === "progressing";
  };
  await until(`step ${step}`, has, ms).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${last?.phase} at step ${last?.step}`);
  });
}

/** A rollout is under way, in the middle of its second step. */
async function underWay(
  w: World,
): Promise<{ readonly leader: Replica; readonly others: readonly Replica[] }> {
  await begin(w);
  await atStep(1, w.replicas);
  await everywhere(w.replicas, 30);
  await until("it is seen", () => w.watch.isAt(30));
  // Who is killed before that is known may have told it, or not: then it is told again under the same id.
  await until("it is known to be told", async () => {
    const told = await Promise.all(decisionsTold(w).map((id) => w.redis.ask("HGET", DONE, id)));
    return told.length > 0 && told.every((at) => at !== null);
  });
  return w.roles();
}

/** The canary begins to fail, and these take their weight away. */
async function breach(t: Test, { canary, traffic }: World, replicas: readonly Replica[]): Promise<void> {
  canary.answer = failing;
  await everywhere(replicas, 0, 30_000);
  canary.answer = undefined;
  await traffic.more(10, replicas);
  for (const replica of replicas)
    t.match(await replica.status(), { phase: "rolled_back", weight: 0 }, replica.name);
}

/** All is as before the fault: one leads, all follow, and the weight that was taken away is gone on record and everywhere. */
async function healed(w: World): Promise<void> {
  const { replicas, traffic } = w;
  await w.roles();
  await until(
    "all follow",
    async () =>
      (await Promise.all(replicas.map((each) => each.status()))).every(
        ({ phase, weight, fleet: { isStoreUp } }, _at, [first]) =>
          isStoreUp && phase === first!.phase && weight === first!.weight,
      ),
    30_000,
  );
  // Who stood still has much to do when it wakes, and says so; nobody is sent there before it answers.
  for (const { origin } of replicas) await until("it serves", async () => (await ask(origin)).status === 200);
  traffic.join(...replicas);
}

async function rolledBack(t: Test, w: World): Promise<void> {
  await healed(w);
  for (const replica of w.replicas) t.match(await replica.status(), { phase: "rolled_back", weight: 0 });
}

/** Ids of the messages that have arrived of decisions that move the weight. */
function decisionsTold({ hook }: World): readonly string[] {
  const ids = hook.taken.map(({ headers }) => String(headers["webhook-id"]));
  return ids.filter((id) => TOLD.has(id.slice(id.lastIndexOf(":") + 1)));
}

/**
 * What must hold of everything that has happened.
 *
 * @param doubts how many were killed in the middle of telling: so many messages may have come twice, under one id
 */
async function holds(t: Test, w: World, doubts = 0): Promise<void> {
  const { traffic, watch, hook, replicas } = w;
  await traffic.end();
  await watch.end();
  t.strictSame(traffic.wrong, [], "no client saw anything");
  const lines = (await Promise.all(replicas.map((each) => each.journal()))).flat();
  const decided = lines.filter(({ event }) => event !== "STATE_ADOPTED");
  const keyOf = ({ rollout, after }: JournalLine): string => `${rollout} at ${after.weight} %`;
  const steps = decided.filter(({ event }) => STEPS.has(event)).map(keyOf);
  const due = decided.filter(({ event }) => TOLD.has(event)).map((line) => `${line.event} ${keyOf(line)}`);
  t.ok(steps.length > 0 && due.length > 0 && watch.rises().length > 0, "there is something to look at");
  t.same(steps.toSorted(), [...new Set(steps)].toSorted(), "no step is done twice");
  const told = () =>
    new Set(
      hook.taken.map(({ body }) => {
        const { rollout, details } = body["data"] as { rollout: string; details: { to?: number } };
        return `${String(body["type"]).slice("sluice.".length)} ${rollout} at ${details.to} %`;
      }),
    );
  await until("all is told", () => due.every((each) => told().has(each))).catch((error: unknown) =>
    t.same([...told()], due, String(error)),
  );
  // A line is missing of somebody who was killed in the middle of it, and of a save that landed and was not confirmed; it is on the shared record.
  const raised = new Set([
    ...decided.map(keyOf),
    ...[...told()].map((each) => each.slice(each.indexOf(" ") + 1)),
  ]);
  for (const { rollout, weight } of await onRecord(w.redis)) raised.add(`${rollout} at ${weight / 10_000} %`);
  for (const { rollout, weight, replica } of watch.rises())
    t.ok(raised.has(`${rollout} at ${weight} %`), `${replica} rose to ${weight} % by a decision on record`);
  const ids = decisionsTold(w);
  const twice = ids.filter((id, at) => ids.indexOf(id) !== at);
  t.ok(twice.length <= doubts, `nothing is told twice: ${twice.join(", ")}`);
  t.same(hook.wrong, []);
}

redisTest(
  "a fleet goes on serving, protecting and climbing whatever happens to its leader and its Redis (acceptance 30, reliability 36)",
  async (t) => {
    const redis = await redisServer(t, DURABLE);
    const road = await relay(t, redis.port);
    const w = await world(t, redis, {
      state: (name) => ({ redis: name === "edge-c" ? `redis://127.0.0.1:${road.port}` : redis.url }),
    });

    await t.test("the leader is killed in the middle of a step: another goes on from there", async (t) => {
      const { leader, others } = await underWay(w);
      await w.traffic.leave(leader);
      await leader.kill();
      await w.traffic.more(20, others);
      await atStep(3, others);
      t.not((await w.roles(others)).leader, leader);
      await leader.revive();
      await healed(w);
      await breach(t, w, w.replicas);
      await rolledBack(t, w);
    });

    await t.test("the leader is killed, and the canary begins to fail", async (t) => {
      const { leader, others } = await underWay(w);
      await w.traffic.leave(leader);
      await leader.kill();
      await breach(t, w, others);
      await leader.revive();
      await rolledBack(t, w);
    });

    await t.test("Redis is killed, and the canary begins to fail", async (t) => {
      await underWay(w);
      await redis.kill();
      const mark = w.watch.seen.length;
      await w.traffic.more(20, w.replicas);
      await breach(t, w, w.replicas);
      t.same(w.watch.rises(mark), [], "nothing rises while it is away");
      await redis.restart();
      await rolledBack(t, w);
    });

    await t.test(
      "Redis is killed and comes back empty: nothing rises while it is away, and the climb goes on where it was",
      async (t) => {
        const { leader } = await underWay(w);
        await redis.kill();
        const mark = w.watch.seen.length;
        await redis.lose();
        await until("nobody leads", async () => !(await leader.status()).fleet.leads);
        await w.traffic.more(50, w.replicas);
        t.same(w.watch.rises(mark), []);
        const { step } = await leader.status();
        await redis.restart();
        await atStep(step + 2, w.replicas);
        t.ok(Number(await redis.ask("HGET", STATE, "epoch")) > 0, "what was lost was put back");
        await breach(t, w, w.replicas);
        await rolledBack(t, w);
      },
    );

    await t.test("the leader and Redis are killed together, and the canary begins to fail", async (t) => {
      const { leader, others } = await underWay(w);
      await w.traffic.leave(leader);
      await Promise.all([leader.kill(), redis.kill()]);
      const mark = w.watch.seen.length;
      await w.traffic.more(50, others);
      await breach(t, w, others);
      t.same(w.watch.rises(mark), []);
      await redis.restart();
      await w.roles(others);
      await leader.revive();
      await rolledBack(t, w);
    });

    await t.test(
      "the leader and Redis are killed together: another goes on where the record is",
      async (t) => {
        const { leader, others } = await underWay(w);
        await w.traffic.leave(leader);
        await Promise.all([leader.kill(), redis.kill()]);
        await w.traffic.more(20, others);
        await redis.restart();
        await atStep(2, others);
        await leader.revive();
        await healed(w);
        await breach(t, w, w.replicas);
        await rolledBack(t, w);
      },
    );

    await t.test("Redis stands still for ten seconds, and the canary begins to fail", async (t) => {
      await underWay(w);
      redis.halt();
      const [mark, end] = [w.watch.seen.length, clock.mono() + 10_000];
      await w.traffic.more(50, w.replicas);
      await breach(t, w, w.replicas);
      while (clock.mono() < end) await pause();
      t.same(w.watch.rises(mark), []);
      redis.goOn();
      await rolledBack(t, w);
    });

    await t.test(
      "the leader stands still past its lease: it raises nothing when it wakes, and follows who came after it",
      async (t) => {
        const { leader, others } = await underWay(w);
        await w.traffic.leave(leader);
        leader.halt();
        const mark = w.watch.seen.length;
        await atStep(2, others);
        const next = await w.roles(others);
        await breach(t, w, others);
        leader.goOn();
        await everywhere([leader], 0);
        t.same(
          w.watch.rises(mark).filter(({ replica }) => replica === leader.name),
          [],
        );
        t.equal((await w.roles()).leader, next.leader);
        await rolledBack(t, w);
      },
    );

    await t.test("FLUSHALL: the state is put back as it was", async (t) => {
      const { leader } = await underWay(w);
      const epoch = Number(await redis.ask("HGET", STATE, "epoch"));
      await redis.ask("FLUSHALL");
      await until("it is put back", async () => Number(await redis.ask("HGET", STATE, "epoch")) > epoch);
      const [first] = await onRecord(redis);
      t.ok(first!.weight <= 300_000 && first!.step === 1, "nothing has risen by it");
      await atStep(3, [leader]);
      await breach(t, w, w.replicas);
      await rolledBack(t, w);
    });

    await t.test(
      "one is cut off from Redis: it serves, does not rise, judges for itself, and follows again",
      async (t) => {
        await w.traffic.leave(...w.replicas);
        await begin(w, {
          promotion: "off",
          steps: [{ setWeight: "50%", hold: "1h" }, { setWeight: "100%" }],
        });
        await everywhere(w.replicas, 50);
        await until("it is seen", () => w.watch.isAt(50));
        const alone = w.replicas.find(({ name }) => name === "edge-c")!;
        const others = w.replicas.filter((each) => each !== alone);
        road.cut();
        await until("it knows", async () => !(await alone.status()).fleet.isStoreUp);
        await w.roles(others);
        const mark = w.watch.seen.length;
        let nth = 0;
        w.canary.answer = (request, response) => {
          if (nth++ % 5 === 0) failing(request, response);
          else response.end("canary");
        };
        const serve = async (replica: Replica, count: number): Promise<void> => {
          const end = w.canary.requests + count;
          // Half of the users are the canary's.
          for (let user = 0; w.canary.requests < end && user < count * 20; user++) {
            const { status } = await ask(replica.origin, {
              headers: { "x-user-id": `${replica.name}-${user}` },
            });
            if (status !== 200) t.fail(`${replica.name}: ${status}`);
          }
          t.ok(w.canary.requests >= end, `${replica.name} sends so many to the canary`);
        };
        // Too few for any of them to judge alone.
        for (const replica of w.replicas) await serve(replica, 25);
        await everywhere(others, 0, 30_000);
        t.match(await alone.status(), { weight: 50, phase: "progressing" });
        await serve(alone, 20);
        await everywhere([alone], 0, 30_000);
        t.same(w.watch.rises(mark), []);
        w.canary.answer = undefined;
        road.mend();
        await rolledBack(t, w);
        const { rollout } = await alone.status();
        await begin(w);
        await until(
          "it follows",
          async () => (await alone.status()).rollout !== rollout && (await alone.status()).weight > 0,
        );
        await breach(t, w, w.replicas);
        await rolledBack(t, w);
      },
    );

    await holds(t, w);
  },
);

redisTest(
  "a leader that is killed right after it has recorded something leaves the telling to the next: everything is told, and nothing twice (acceptance 30)",
  async (t) => {
    const redis = await redisServer(t);
    const w = await world(t, redis, { state: () => ({ redis: redis.url }) });

    let is: (app: RecordedState) => boolean = () => false;
    let dead: Replica | undefined;
    /** Kills whoever saves what `is` is looked for, the moment that it is saved; resolves with it. */
    const killing = async (what: typeof is): Promise<Replica> => {
      [is, dead] = [what, undefined];
      await until("it is killed", () => dead !== undefined);
      return dead!;
    };
    await listening(t, redis, (by, app) => {
      if (!is(app)) return;
      is = () => false;
      const replica = w.replicas.find(({ name }) => by.startsWith(name))!;
      void replica.kill().then(() => (dead = replica));
    });

    await t.test("after a step", async (t) => {
      const { leader, others } = await underWay(w);
      await w.traffic.leave(leader);
      t.equal(await killing(({ step }) => step === 2), leader);
      await atStep(3, others);
      await leader.revive();
      await healed(w);
      await breach(t, w, w.replicas);
      await rolledBack(t, w);
    });

    await t.test("after a rollback by hand", async (t) => {
      const { leader, others } = await underWay(w);
      await w.traffic.leave(leader);
      const gone = killing(({ phase }) => phase === "rolled_back");
      await leader.operate("/v1/rollouts/app/rollback", { reason: "test" }).catch(() => undefined);
      t.equal(await gone, leader);
      await everywhere(others, 0);
      await leader.revive();
      await rolledBack(t, w);
    });

    await t.test("while the receiver cannot take it", async (t) => {
      const { leader, others } = await underWay(w);
      await w.traffic.leave(leader);
      let refused = 0;
      w.hook.instead = (response) => {
        refused += 1;
        response.writeHead(503).end();
        return true;
      };
      const rolled = await leader.operate("/v1/rollouts/app/rollback", { reason: "test" });
      t.equal(rolled.status, 200, rolled.text);
      await until("it was tried", () => refused > 0);
      await leader.kill();
      w.hook.instead = () => false;
      await everywhere(others, 0);
      await until(
        "another one tells it",
        () =>
          w.hook.taken.some(({ headers }) => String(headers["webhook-id"]).includes(rolledOut(rolled.text))),
        30_000,
      );
      await leader.revive();
      await rolledBack(t, w);
    });

    await holds(t, w, 3);
  },
);

/** The id of the message of a rollback, by what the API answered. */
function rolledOut(text: string): string {
  return `${(JSON.parse(text) as Status).rollout}:${(JSON.parse(text) as Status).version}:ROLLBACK_DONE`;
}

redisTest(
  "a Sentinel failover: nobody sees it, nothing rises without a record, and the climb goes on (reliability 36)",
  async (t) => {
    const { primary, replica, sentinels } = await redisWithSentinels(t);
    const w = await world(t, primary, { state: () => ({ sentinels }) });
    await underWay(w);
    const mark = w.watch.seen.length;
    await primary.kill();
    await w.traffic.more(50, w.replicas);
    await until("it is promoted", async () => String(await replica.ask("ROLE")).startsWith("master"), 30_000);
    await w.roles();
    const { step } = await w.replicas[0]!.status();
    // A raise is to survive the next failover, too: it waits for a copy.
    await w.traffic.more(50, w.replicas);
    t.same(w.watch.rises(mark), []);
    await primary.restart();
    await atStep(step + 1, w.replicas, 60_000);
    await breach(t, w, w.replicas);
    await rolledBack(t, w);
    await holds(t, w);
  },
);
