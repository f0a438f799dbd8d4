/** Two workers on one port, with real threads and sockets: one split, one sum of counts, and the death of one that the other does not notice. */

import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { Agent } from "node:http";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Worker } from "node:worker_threads";
import t from "tap";
import { configSchema, type Config } from "../../src/config/schema.ts";
import { Secret } from "../../src/config/secret.ts";
import { REASONS } from "../../src/domain/outcome.ts";
import { armOf, bucketOf } from "../../src/domain/split.ts";
import { millis, ppm } from "../../src/domain/units.ts";
import type { RouteSplit } from "../../src/engine/routing.ts";
import { createWorkers, type WorkersPlane } from "../../src/proxy/workers.ts";
import { fakeClock, type FakeClock } from "../support/clock.ts";
import { ask, failing, program, service, type Answer, type Service } from "../support/program.ts";
import { raw, statusOf } from "../support/raw.ts";
import { upstream } from "../support/upstream.ts";

const WORKER = new URL("../../src/worker.ts", import.meta.url);
const SALT = "a salt";

interface Site {
  readonly plane: WorkersPlane;
  readonly origin: string;
  readonly clock: FakeClock;
  readonly stable: Service;
  readonly canary: Service;
  /** Every worker that was started, in order. */
  readonly threads: readonly Worker[];
  readonly lines: readonly string[];
  /** The configuration with the route `app` as given, and these routes beside it. */
  configOf(route: object, ...others: readonly object[]): Config;
  weight(percent: number, route?: string): void;
  /** One request as a user, on a connection of its own. */
  get(user: string, headers?: Record<string, string>, path?: string): Promise<Answer>;
  /** `stable ok` → count, over all drains. */
  counted(): Readonly<Record<string, number>>;
}

type Test = { teardown(run: () => Promise<void>): void };

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries++) {
    if (tries === 4000) throw new Error(`never came: ${holds.toString()}`);
    // There is no event for "was counted".
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Resolves when nobody listens on a port any more. */
async function refused(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, "127.0.0.1");
    const [answer] = await Promise.race([
      once(socket, "connect").then(() => ["accepted"]),
      new Promise<readonly string[]>((resolve) => socket.once("error", () => resolve(["refused"]))),
    ]).catch(() => ["refused"]);
    socket.destroy();
    if (answer === "refused") return;
  }
}

async function site(t: Test, route: object = {}, more: object = {}): Promise<Site> {
  const [stable, canary] = [await service("stable"), await service("canary")];
  const threads: Worker[] = [];
  const born = (worker: Worker): void => void threads.push(worker);
  process.on("worker", born);
  const configOf = (each: object, ...others: readonly object[]) =>
    configSchema.parse({
      listen: [{ address: "127.0.0.1:0" }],
      workers: 2,
      routes: [
        {
          name: "app",
          key: ["header:x-user-id"],
          anonymous: "stable",
          stable: { endpoints: [stable.url] },
          canary: { endpoints: [canary.url] },
          ...each,
        },
        ...others,
      ],
      ...more,
    });
  const clock = fakeClock();
  const lines: string[] = [];
  const line = (message: string, fields?: object): void =>
    void lines.push(`${message} ${JSON.stringify(fields ?? {})}`);
  const plane = createWorkers({
    entry: WORKER,
    config: configOf(route),
    clock,
    log: { debug: line, info: line, warn: line, error: line },
    cookieSecret: "a cookie secret",
    secretOf: (source) => new Secret("open sesame", source),
    healthy: () => true,
  });
  t.teardown(async () => {
    await plane.close();
    process.off("worker", born);
    await stable.close();
    await canary.close();
  });
  const [address = ""] = await plane.listen();
  let generation = 0;
  const routes = new Map<string, RouteSplit>();
  const counts: Record<string, number> = {};
  return {
    plane,
    origin: `http://${address}`,
    clock,
    stable,
    canary,
    threads,
    lines,
    configOf,
    weight(percent, name = "app") {
      routes.set(name, {
        route: name,
        rollout: "r",
        salt: SALT,
        weight: ppm(percent * 10_000),
        forcedCanary: true,
        bars: 0,
      });
      plane.apply({ generation: ++generation, routes: new Map(routes) });
    },
    get: (user, headers = {}, path = "/") =>
      ask(`http://${address}`, { path, agent: new Agent(), headers: { "x-user-id": user, ...headers } }),
    counted() {
      for (const measure of plane.drain().routes)
        for (const [kind, arms] of Object.entries({ "": measure.arms, "forced ": measure.forced }))
          for (const [arm, slice] of Object.entries(arms))
            REASONS.forEach((reason, index) => {
              const count = slice.byReason[index] ?? 0;
              const name = `${kind}${arm} ${reason}`;
              if (count > 0) counts[name] = (counts[name] ?? 0) + count;
            });
      return counts;
    },
  };
}

const users = (count: number): readonly string[] =>
  Array.from({ length: count }, (_, index) => `user-${index}`);

/** An upstream that keeps its answers back: how many wait, and their release. */
function held(service: Service) {
  const waiting: (() => void)[] = [];
  service.answer = (_request, response) => void waiting.push(() => response.end("late"));
  return {
    get count() {
      return waiting.length;
    },
    release() {
      service.answer = undefined;
      for (const answer of waiting) answer();
    },
  };
}

t.test("both workers split alike, and what both count is one sum (reliability 34)", async (t) => {
  const s = await site(t);
  s.weight(30);
  const who = users(400);
  const answers = await Promise.all(who.map((user) => s.get(user)));
  const expected = who.map((user) => armOf(bucketOf(user, SALT), ppm(300_000)));
  t.same(
    answers.map(({ body }) => body),
    expected,
  );
  const drained = s.plane.drain().routes;
  t.same(
    drained.map(({ route }) => route),
    ["app", "app"],
    "both had a part",
  );
  const ok = drained.map(({ arms }) => (arms.stable?.byReason[0] ?? 0) + (arms.canary?.byReason[0] ?? 0));
  t.equal((ok[0] ?? 0) + (ok[1] ?? 0), 400);
  t.equal(s.plane.drain().routes.length, 0);
  t.match(s.plane.gauges(), { workers: 2, workerRestarts: 0, routes: { app: { stable: { inFlight: 0 } } } });
});

t.test(
  "a rollback is seen by the very next request on every connection of both (reliability 35)",
  async (t) => {
    const s = await site(t);
    s.weight(100);
    const agents = users(40).map(() => new Agent({ keepAlive: true, maxSockets: 1 }));
    t.teardown(async () => agents.forEach((agent) => agent.destroy()));
    const round = () =>
      Promise.all(agents.map((agent) => ask(s.origin, { agent, headers: { "x-user-id": "u" } })));
    t.ok((await round()).every(({ body }) => body === "canary"));
    s.weight(0);
    t.ok((await round()).every(({ body }) => body === "stable"));
    t.equal(s.canary.requests, 40);
    t.equal(s.plane.gauges().connections, 40);
  },
);

t.test("failed exchanges of both come with their samples, at most some hundred of each", async (t) => {
  const s = await site(t, { rescue: "off" });
  s.weight(100);
  s.canary.answer = failing;
  await Promise.all(users(50).map((user) => s.get(user, {}, "/api/users/1234")));
  const samples: string[] = [];
  await until(() => {
    for (const route of s.plane.drain().routes) samples.push(...route.samples.map(({ path }) => path));
    return samples.length >= 50;
  });
  t.same(new Set(samples), new Set(["/api/users/…"]));
});

t.test(
  "one that is killed takes its own exchanges with it, counted as unavailable, and is replaced (reliability 40)",
  async (t) => {
    const s = await site(t);
    s.weight(100);
    await s.get("before");
    const late = held(s.canary);
    const asked = users(60).map((user) =>
      s.get(user).then(
        ({ body }) => body,
        () => "broken",
      ),
    );
    await until(() => late.count === 60);
    t.equal(s.plane.gauges().routes["app"]?.canary.inFlight, 60);
    await s.threads[0]?.terminate();
    await until(() => s.plane.gauges().workers === 2);
    t.equal(s.threads.length, 3);
    const { exchangesLost, workerRestarts, routes, connections } = s.plane.gauges();
    t.equal(workerRestarts, 1);
    t.ok(exchangesLost > 0 && exchangesLost < 60, `${exchangesLost} of 60 were its own`);
    t.equal(routes["app"]?.canary.inFlight, 60 - exchangesLost);
    t.equal(connections, 60 - exchangesLost);
    late.release();
    const bodies = await Promise.all(asked);
    t.equal(bodies.filter((body) => body === "late").length, 60 - exchangesLost, "the other lost none");
    t.same(s.counted(), { "canary ok": 1 + 60 - exchangesLost, "canary unavailable": exchangesLost });
    t.match(s.lines.join("\n"), new RegExp(`a worker died.*"exchangesLost":${exchangesLost}`));

    const after = await Promise.all(users(60).map((user) => s.get(user)));
    t.ok(
      after.every(({ body }) => body === "canary"),
      "with the split in force",
    );
    t.equal(s.plane.drain().routes.length, 2, "and both carry it");
  },
);

t.test("one that dies again and again is replaced more and more slowly (reliability 40)", async (t) => {
  const s = await site(t);
  const dies = async (): Promise<void> => {
    await s.threads.at(-1)?.terminate();
    await until(() => s.plane.gauges().workers < 2);
  };
  const before = s.threads.length;
  await s.threads[0]?.terminate();
  await until(() => s.plane.gauges().workers === 2 && s.threads.length === before + 1);
  for (const wait of ["1s", "2s", "4s"]) {
    await dies();
    const started = s.threads.length;
    await s.clock.advance(parseInt(wait, 10) * 1000 - 1);
    t.equal(s.threads.length, started, `not before ${wait}`);
    await s.clock.advance(1);
    await until(() => s.plane.gauges().workers === 2);
  }
  await s.clock.advance("60s");
  await s.threads.at(-1)?.terminate();
  await until(() => s.plane.gauges().workers === 2 && s.plane.gauges().workerRestarts === 5);
  t.equal((await s.get("u")).status, 200);
});

t.test("a replacement that cannot listen is tried again, and the log says so (reliability 40)", async (t) => {
  const s = await site(t, {}, { workers: 1 });
  const port = Number(s.origin.split(":").at(-1));
  await s.threads[0]?.terminate();
  await until(() => s.plane.gauges().workers === 1 && s.threads.length === 2);
  await s.threads[1]?.terminate();
  await until(() => s.plane.gauges().workers === 0);
  const squatter = createServer().listen(port, "127.0.0.1");
  await once(squatter, "listening");
  await s.clock.advance("1s");
  await until(() => s.lines.some((line) => line.includes("a worker cannot serve")));
  squatter.close();
  await once(squatter, "close");
  await until(() => s.lines.some((line) => line.includes('"waitMs":2000')));
  await s.clock.advance("2s");
  await until(() => s.plane.gauges().workers === 1);
  t.equal((await s.get("u")).body, "stable");
});

t.test("a reload reaches both, new routes, endpoints and secrets with it (reliability 38)", async (t) => {
  const s = await site(t);
  const more = await service("more");
  t.teardown(() => more.close());
  const added = {
    name: "new",
    match: { path: "/new" },
    key: ["header:x-user-id"],
    stable: { endpoints: [more.url] },
    canary: { endpoints: [s.canary.url] },
    override: { header: "x-arm", secret: { env: "ARM" } },
  };
  await s.plane.reconfigure(s.configOf({ stable: { endpoints: [more.url] } }, added));
  const all = async (path: string, headers: Record<string, string> = {}) =>
    new Set((await Promise.all(users(30).map((user) => s.get(user, headers, path)))).map(({ body }) => body));
  t.same(await all("/"), new Set(["more"]));
  t.same(await all("/new"), new Set(["more"]), "on stable until it is told otherwise");
  s.weight(100, "new");
  t.same(await all("/new"), new Set(["canary"]));
  s.weight(0, "new");
  t.same(await all("/new", { "x-arm": "canary:open sesame" }), new Set(["canary"]));
  t.same(await all("/new", { "x-arm": "canary:guessed" }), new Set(["more"]));
  t.match(s.counted(), { "stable ok": 90, "canary ok": 30, "forced canary ok": 30 });
  await s.threads[0]?.terminate();
  await until(() => s.plane.gauges().workers === 2);
  t.same(await all("/new", { "x-arm": "canary:open sesame" }), new Set(["canary"]), "a replacement too");
  t.notMatch(s.lines.join("\n"), /sesame/);
});

t.test("what a probe has learnt is known to both", async (t) => {
  const gone = "http://127.0.0.1:1";
  const s = await site(t, { rescue: "off" });
  const canary = { endpoints: [s.canary.url, gone], outlier: "off" };
  await s.plane.reconfigure(s.configOf({ rescue: "off", canary }));
  s.weight(100);
  s.plane.setHealth("app", "canary", gone, false);
  const answers = await Promise.all(users(60).map((user) => s.get(user)));
  t.ok(answers.every(({ status }) => status === 200));
  s.plane.setHealth("app", "canary", gone, true);
  const again = await Promise.all(users(60).map((user) => s.get(user)));
  t.ok(again.some(({ status }) => status === 502));
});

t.test("the limit of connections is one for both (reliability 25)", async (t) => {
  const s = await site(t, {}, { limits: { connections: 6 } });
  const port = Number(s.origin.split(":").at(-1));
  const sockets: Socket[] = [];
  t.teardown(async () => sockets.forEach((socket) => socket.destroy()));
  for (let each = 0; each < 6; each++) {
    const socket = connect(port, "127.0.0.1").on("error", () => undefined);
    sockets.push(socket);
    await until(() => s.plane.gauges().connections === each + 1);
  }
  t.equal((await s.get("one too many")).status, 503);
  sockets.forEach((socket) => socket.destroy());
  await until(() => s.plane.gauges().connections === 0);
  t.equal((await s.get("u")).status, 200);
  t.same(s.plane.drain().refused, { 503: 1 });
});

t.test("what an arm may have in flight is divided among them (reliability 25)", async (t) => {
  const s = await site(t);
  const stable = { endpoints: [s.stable.url], concurrency: 6 };
  await s.plane.reconfigure(s.configOf({ stable }));
  const late = held(s.stable);
  const asked = users(60).map((user) => s.get(user));
  let refused = 0;
  for (const each of asked) void each.then(({ status }) => status === 503 && refused++);
  await until(() => refused === 54 && late.count >= 6);
  t.equal(late.count, 6);
  late.release();
  await Promise.all(asked);
});

t.test("the WebSockets that an arm may have are divided among them (reliability 32)", async (t) => {
  const s = await site(t);
  const server = await upstream(
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
  );
  t.teardown(() => server.close());
  const stable = { endpoints: [server.url] };
  await s.plane.reconfigure(s.configOf({ stable, longLived: { connections: 4 } }));
  const statuses = await Promise.all(
    users(60).map(async () => {
      const client = await raw(s.origin.slice("http://".length));
      client.send(
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n",
      );
      return statusOf(await client.until(/\r\n\r\n/));
    }),
  );
  t.equal(statuses.filter((status) => status === 101).length, 4);
  t.equal(statuses.filter((status) => status === 503).length, 56);
});

t.test(
  "going away, both finish what is in flight; what is late is cut and counted (reliability 39)",
  async (t) => {
    for (const [deadline, body] of [
      [60_000, "late"],
      [1, "broken"],
    ] as const) {
      const s = await site(t);
      const late = held(s.stable);
      const asked = users(20).map((user) =>
        s.get(user).then(
          (answer) => answer.body,
          () => "broken",
        ),
      );
      await until(() => late.count === 20);
      const retired = s.plane.retire(millis(deadline));
      if (body === "late") {
        await refused(Number(s.origin.split(":").at(-1)));
        late.release();
        t.same(new Set(await Promise.all(asked)), new Set(["late"]));
      } else t.notOk((await Promise.all(asked)).includes("late"));
      t.same(await retired, { cut: body === "late" ? 0 : 20 });
      t.equal(s.plane.gauges().workerRestarts, 0);
    }
  },
);

t.test("a port that somebody else has is refused, even if they would share it", async (t) => {
  for (const reusePort of [false, true]) {
    const taken = createServer().listen({ host: "127.0.0.1", port: 0, reusePort });
    await once(taken, "listening");
    const address = taken.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    await t.rejects(site(t, {}, { listen: [{ address: `127.0.0.1:${port}` }] }), {
      code: "SPLIT_LISTEN_FAILED",
    });
    taken.close();
  }
});

t.test("a path in the file system is served by the first of them", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const s = await site(t, {}, { listen: [{ address: "127.0.0.1:0" }, { address: `unix:${folder}/s` }] });
  const viaPath = async (): Promise<string> => {
    const socket = connect(`${folder}/s`);
    socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    const chunks: Buffer[] = await socket.toArray();
    return Buffer.concat(chunks).toString();
  };
  t.match(await viaPath(), /^HTTP\/1\.1 200 OK/);
  await s.threads[0]?.terminate();
  await until(() => s.plane.gauges().workers === 2);
  t.match(await viaPath(), /^HTTP\/1\.1 200 OK/);
});

t.test("one that fails before it serves stops the start, and the log says how", async (t) => {
  const lines: string[] = [];
  const line = (message: string, fields?: object): void =>
    void lines.push(`${message} ${JSON.stringify(fields)}`);
  const plane = createWorkers({
    entry: new URL("data:text/javascript,throw new Error('no such luck')"),
    config: configSchema.parse({
      listen: [{ address: "127.0.0.1:0" }],
      routes: [{ name: "app", stable: { endpoints: ["http://a:1"] }, canary: { endpoints: ["http://b:1"] } }],
    }),
    clock: fakeClock(),
    log: { debug: line, info: line, warn: line, error: line },
    cookieSecret: "",
    secretOf: (source) => new Secret("", source),
    healthy: () => true,
  });
  await t.rejects(plane.listen(), { code: "SPLIT_INTERNAL", message: /died before it served/ });
  t.match(lines.join("\n"), /a worker failed.*no such luck/);
  t.match(plane.gauges(), { workers: 0, workerRestarts: 0 });
});

t.test("the bypass of the benchmark sends all to stable, counts nothing, and says so", async (t) => {
  process.env["SLUICE_BENCH_BYPASS"] = "1";
  t.teardown(async () => void delete process.env["SLUICE_BENCH_BYPASS"]);
  const s = await site(t);
  s.weight(100);
  const answers = await Promise.all(users(20).map((user) => s.get(user)));
  t.ok(answers.every(({ body }) => body === "stable"));
  t.same(s.counted(), {});
  t.equal(s.lines.filter((line) => line.includes("SLUICE_BENCH_BYPASS")).length, 2);
});

t.test("the whole program with two workers: rolled back through the API, told by the metrics", async (t) => {
  const p = await program({}, { workers: 2 });
  t.teardown(() => p.close());
  await p.setWeight(100);
  const all = async () =>
    new Set((await Promise.all(users(60).map((user) => p.get(user)))).map(({ body }) => body));
  t.same(await all(), new Set(["canary"]));
  t.equal((await p.api("/v1/rollouts/app/rollback", { reason: "manual" })).status, 200);
  t.same(await all(), new Set(["stable"]));
  t.match(await p.status(), { arms: { canary: { requests: 60 }, stable: { requests: 60 } } });
  const { body } = await ask(`http://${p.running.adminAddress}`, {
    path: "/metrics",
    headers: { authorization: `Bearer ${p.running.token}` },
  });
  t.match(body, /^sluice_workers 2$/m);
  t.match(body, /^sluice_worker_restarts_total 0$/m);
});
