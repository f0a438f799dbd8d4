/** Three real processes on one real Redis behind one client: one rollout, one verdict. */

import t, { type Test } from "tap";
import { failing } from "../support/program.ts";
import { redisServer, redisTest } from "../support/redis.ts";
import { BUSY, everywhere, fleet, weightsOf, type Fleet, type Replica } from "../support/replicas.ts";
import { until } from "../support/until.ts";

t.setTimeout(180_000);

/** A fleet on a Redis of its own. */
async function fleetOnRedis(t: Test, route: object = {}) {
  const redis = await redisServer(t);
  const state = () => ({ redis: redis.url });
  return { redis, ...(await fleet(t, { state, route, more: { overload: BUSY } })) };
}

/** So many requests to each replica are answered, and none with a failure. */
async function serves(t: Test, f: Fleet, count: number): Promise<void> {
  t.same(await f.serve(count), new Array(count * f.replicas.length).fill(200), "no client sees anything");
}

redisTest(
  "weight 0 through any replica: no request to the canary from any of them, and the others' figures are named (acceptance 16)",
  async (t) => {
    const f = await fleetOnRedis(t);
    const { leader, others } = await f.roles();
    const [follower = leader] = others;
    const raised = await follower.sluice("set-weight", "app", "50", "--reason", "test", "--yes");
    t.equal(raised.code, 0, raised.output);
    await everywhere(f.replicas, 50);
    await serves(t, f, 20);
    t.ok(f.canary.requests > 10);
    const lowered = await follower.sluice("set-weight", "app", "0", "--reason", "test", "--yes");
    t.equal(lowered.code, 0, lowered.output);
    await everywhere(f.replicas, 0);
    const before = f.canary.requests;
    await serves(t, f, 30);
    t.equal(f.canary.requests, before);
    await until("all are named", async () => {
      const { output } = await follower.sluice("replicas");
      return f.replicas.every(({ name }) => output.includes(name)) && output.includes("leader");
    });
  },
);

redisTest(
  "a failure that only the sum shows rolls back; the leader killed, another leads; each still lowers (acceptance 30)",
  async (t) => {
    const f = await fleetOnRedis(t, {
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
    await everywhere(f.replicas, 0);

    f.canary.answer = undefined;
    await leader.kill();
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
    await everywhere(others, 40);
    const stopped = await next.others[0]!.sluice("rollback", "app", "--reason", "manual");
    t.equal(stopped.code, 0, stopped.output);
    await everywhere(others, 0);
  },
);

redisTest(
  "an alert is acknowledged and silenced, and an incident ended, through a replica that does not lead",
  async (t) => {
    const f = await fleetOnRedis(t);
    const { leader, others } = await f.roles();
    const [follower = leader] = others;
    await leader.sluice("set-weight", "app", "50", "--reason", "test", "--yes");
    await everywhere(f.replicas, 50);
    await leader.sluice("rollback", "app", "--reason", "manual");
    const known = async (replica: Replica, path: string, key: string) => {
      const { text } = await replica.operate(path);
      return (JSON.parse(text) as Readonly<Record<string, readonly { readonly id: string }[]>>)[key] ?? [];
    };
    await until(
      "the follower knows the alert",
      async () => (await known(follower, "/v1/alerts", "alerts")).length > 0,
    );
    const [alert = { id: "" }] = await known(follower, "/v1/alerts", "alerts");
    const seen = await follower.sluice("acknowledge", alert.id, "--reason", "on it");
    t.equal(seen.code, 0, seen.output);
    const shown = await leader.sluice("alerts");
    t.match(shown, { code: 0, output: /rolled_back[^]*local/ }, "the leader knows who has seen it");
    const silenced = await follower.sluice("silence", "app", "--for", "1h", "--reason", "known");
    t.equal(silenced.code, 0, silenced.output);
    const silences = await known(leader, "/v1/silences", "silences");
    t.match(silences, [{ reason: "known", by: "local" }]);
    t.equal(silences.length, 1);
    const [incident = { id: "" }] = await known(follower, "/v1/incidents", "incidents");
    const ended = await follower.sluice("incident", "resolve", incident.id, "--reason", "a drill");
    t.equal(ended.code, 0, ended.output);
    const incidents = await known(leader, "/v1/incidents", "incidents");
    t.match(incidents, [{ status: "resolved", resolution: "a drill" }]);
    t.equal(incidents.length, 1);
    const lines = await leader.journal();
    for (const event of ["ALERT_ACKNOWLEDGED", "SILENCE_ADDED", "INCIDENT_RESOLVED"])
      t.same(
        lines.filter((each) => each.event === event).map(({ actor }) => actor),
        ["local"],
        event,
      );
  },
);

redisTest("Redis gone: no client sees it, nothing rises, and lowering works (reliability 36)", async (t) => {
  const f = await fleetOnRedis(t);
  const { leader, others } = await f.roles();
  await leader.sluice("set-weight", "app", "30", "--reason", "test", "--yes");
  await everywhere(f.replicas, 30);
  await f.redis.kill();
  await serves(t, f, 10);
  const raised = await leader.sluice("set-weight", "app", "60", "--reason", "test", "--yes");
  t.not(raised.code, 0);
  t.match(raised.output, /SPLIT_(NO_LEADER|STATE_UNWRITABLE)/);
  t.same(await weightsOf(f.replicas), [30, 30, 30]);
  const [follower = leader] = others;
  const lowered = await follower.sluice("set-weight", "app", "10", "--reason", "test", "--yes");
  t.equal(lowered.code, 0, lowered.output);
  t.equal((await follower.status()).weight, 10);
  await f.redis.restart();
  await everywhere(f.replicas, 10, 40_000);
});
