/** The safety switches and the health report with the whole program: two workers under load, a kill, and a program of which much is broken. */

import { EventEmitter } from "node:events";
import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { Agent, createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { ask, command, configFile, program, service, type Program } from "../support/program.ts";
import { untilEvent } from "../support/until.ts";

t.setTimeout(110_000);

const ANSWER = { safety: { emergency: { answer: { status: 503, body: "closed" } } } };

/** Requests on connections of their own until told to stop; what each was answered, in the order in which they were sent. */
function load(p: Program, method: string) {
  const over = new AbortController();
  const exchanges = new EventEmitter();
  const seen: { readonly sent: number; readonly status: number; readonly body: string }[] = [];
  let sent = 0;
  const one = async (): Promise<void> => {
    // Two requests a connection: the system deals connections out, so both workers have some.
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (let nth = 0; nth < 2 && !over.signal.aborted; nth++) {
      const number = ++sent;
      const { status, body } = await p.get(`u${number}`, { agent, method });
      seen.push({ sent: number, status, body });
      exchanges.emit("over");
    }
    agent.destroy();
  };
  const lanes = Array.from({ length: 8 }, async () => {
    while (!over.signal.aborted) await one();
  });
  return {
    get sent() {
      return sent;
    },
    seen,
    /** Resolves when so many more were answered. */
    more(count: number): Promise<void> {
      const enough = seen.length + count;
      return untilEvent(`${count} more are answered`, exchanges, "over", () => seen.length >= enough);
    },
    async stop(): Promise<void> {
      over.abort();
      await Promise.all(lanes);
    },
  };
}

t.test(
  "thrown under load, the next exchange on every worker gets the configured answer; taken back, the one after is served; both are journaled (acceptance 24)",
  async (t) => {
    const p = await program({}, { ...ANSWER, workers: 2 });
    t.teardown(() => p.close());
    await p.setWeight(50);
    const traffic = load(p, "GET");
    await traffic.more(100);
    for (let round = 0; round < 3; round++) {
      t.match(await p.api("/v1/safety/emergency", { on: true, reason: "a leak" }), { status: 200 });
      const [thrown, upstreams] = [traffic.sent, p.stable.requests + p.canary.requests];
      await traffic.more(200);
      const late = traffic.seen.filter(({ sent }) => sent > thrown);
      t.ok(late.length > 100, `${late.length} were sent behind the answer`);
      t.ok(
        late.every(({ status, body }) => status === 503 && body === "closed"),
        "all of them were refused",
      );
      t.ok(
        p.stable.requests + p.canary.requests - upstreams <= 8,
        "and only what was in flight came through",
      );
      t.match(await p.api("/v1/safety/emergency", { on: false, reason: "over" }), { status: 200 });
      const ended = traffic.sent;
      await traffic.more(200);
      const normal = traffic.seen.filter(({ sent }) => sent > ended);
      t.ok(
        normal.every(({ status }) => status === 200),
        "from then on all are served",
      );
      t.ok(
        normal.some(({ body }) => body === "canary"),
        "by both arms",
      );
    }
    await traffic.stop();
    t.match(await p.status(), { arms: { stable: { failures: 0 }, canary: { failures: 0 } } });
    const lines = (await p.api("/v1/journal?limit=50")).body as { lines: { event: string; actor: string }[] };
    const events = lines.lines.filter(({ event }) => event.startsWith("EMERGENCY_"));
    t.match(events[0], { event: "EMERGENCY_ON", actor: "local", reason: "a leak", route: "" });
    t.equal(
      events.filter(({ event }) => event === "EMERGENCY_OFF").length,
      6,
      "of all routes, and of the one that moved",
    );
    t.match(
      p.notices
        .filter(({ event }) => event.startsWith("EMERGENCY_"))
        .map(({ event, severity }) => [event, severity])
        .slice(0, 2),
      [
        ["EMERGENCY_ON", "emergency"],
        ["EMERGENCY_OFF", "info"],
      ],
    );
  },
);

t.test(
  "read-only on two workers: GET passes, POST gets 503 and Retry-After, off: POST passes (acceptance 25)",
  async (t) => {
    const p = await program({}, { workers: 2 });
    t.teardown(() => p.close());
    await p.api("/v1/safety/read-only", { on: true });
    for (let nth = 0; nth < 20; nth++) {
      const agent = new Agent();
      t.equal((await p.get("u", { agent })).status, 200);
      t.match(await p.get("u", { agent, method: "POST", body: "x" }), {
        status: 503,
        headers: { "retry-after": "60" },
      });
      t.equal((await p.get("u", { agent, method: "OPTIONS" })).status, 200);
    }
    await p.api("/v1/safety/read-only", { on: false });
    t.equal((await p.get("u", { method: "POST", body: "x" })).status, 200);
    const metrics = (await ask(`http://${p.running.adminAddress}`, { path: "/metrics" })).body;
    t.match(metrics, /^sluice_events_total\{event="safety_read_only"\} 20$/m);
    t.match(metrics, /^sluice_safety\{route="app",switch="read-only"\} 0$/m);
  },
);

t.test("a raise in an emergency is refused with 409, and status says why", async (t) => {
  const p = await program();
  t.teardown(() => p.close());
  await p.setWeight(10);
  await p.api("/v1/safety/emergency", { on: true, route: "app", reason: "a leak" });
  t.match(await p.api("/v1/routes/app/weight", { weight: 50, force: true, reason: "now" }), {
    status: 409,
    body: { code: "SPLIT_PHASE_MISMATCH", detail: /emergency is on since .*, by local: a leak/ },
  });
  t.equal((await p.api("/v1/rollouts/app/start", { plan: "fast" })).status, 409);
  t.match(await p.status(), { weight: 0, safety: { emergency: { reason: "a leak" } } });
  for (let nth = 0; nth < 20; nth++) t.equal((await p.get(`u${nth}`)).body, "stable");
  const again = await p.restart();
  t.teardown(() => again.stop());
  t.match(await again.status(), { weight: 0, phase: "paused", safety: { emergency: { by: "local" } } });
});

/** A program as a process, on a folder of its own. */
async function site(t: { teardown(run: () => Promise<void>): void }, more: object = {}) {
  const folder = await mkdtemp(join(tmpdir(), "sluice-safety-"));
  const [stable, canary] = [await service("stable"), await service("canary")];
  const where = ["--admin", `unix:${join(folder, "admin.sock")}`, "--state", join(folder, "state")];
  const write = (route: object = {}) =>
    configFile(folder, {
      listen: [{ address: "127.0.0.1:0" }],
      admin: { address: `unix:${join(folder, "admin.sock")}` },
      state: `file:${join(folder, "state")}`,
      reports: join(folder, "reports"),
      backups: "off",
      environment: "test",
      routes: [
        {
          name: "app",
          stable: { endpoints: [stable.url] },
          canary: { endpoints: [canary.url] },
          health: { path: "/healthz", interval: "100ms", unhealthyAfter: 1 },
          key: ["header:x-user-id"],
          ...route,
        },
      ],
      ...more,
    });
  const config = await write();
  const processes: ReturnType<typeof command>[] = [];
  t.teardown(async () => {
    for (const each of processes) each.child.kill("SIGKILL");
    await Promise.all(processes.map((each) => each.ended));
    await Promise.all([stable.close(), canary.close().catch(() => undefined)]);
    await rm(folder, { recursive: true, force: true });
  });
  return {
    folder,
    config,
    canary,
    async run() {
      const started = command(["run", "-c", config]);
      processes.push(started);
      const [, address = ""] = await started.says(/"listen":\["([^"]+)"\]/);
      return { process: started, origin: `http://${address}` };
    },
    async sluice(...args: readonly string[]) {
      const each = command([...args, ...where]);
      return { code: await each.ended, output: each.output() };
    },
  };
}

t.test(
  "kill -9 with an emergency on, and the next start is in it from its first request (reliability 36)",
  async (t) => {
    const s = await site(t, { ...ANSWER, workers: 2 });
    const first = await s.run();
    t.equal((await s.sluice("set-weight", "app", "100")).code, 0);
    const on = await s.sluice("emergency", "on", "--reason", "a leak");
    t.match(on, { code: 0, output: /^emergency is on for all routes since .*, by local: a leak\n$/ });
    first.process.child.kill("SIGKILL");
    await first.process.ended;
    const second = await s.run();
    for (let nth = 0; nth < 10; nth++)
      t.match(await ask(second.origin, { agent: new Agent() }), { status: 503, body: "closed" });
    t.match((await s.sluice("status", "app")).output, /emergency is on since/);
    t.match(await s.sluice("emergency", "off", "--reason", "over"), {
      code: 0,
      output: "every safety switch is off\n",
    });
    t.match(await ask(second.origin, { agent: new Agent() }), { status: 200, body: "canary" });
    const journal = (await s.sluice("journal")).output;
    t.match(journal, /EMERGENCY_ON[^]*EMERGENCY_OFF/);
  },
);

t.test(
  "health counts what is well, and says of a broken upstream, notifier, configuration and store what is wrong with each",
  async (t) => {
    const hook = createServer((_request, response) => void response.writeHead(410).end());
    await new Promise<void>((resolve) => hook.listen(0, "127.0.0.1", resolve));
    t.teardown(() => void hook.close());
    const address = hook.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const s = await site(t, { notify: { webhook: { url: `http://127.0.0.1:${port}/` } } });
    await s.run();
    const until = async (pattern: RegExp): Promise<{ code: number | null; output: string }> => {
      let found = await s.sluice("health");
      for (let tries = 1; !pattern.test(found.output); tries++) {
        if (tries === 100) throw new Error(`health never said ${pattern}: ${found.output}`);
        found = await s.sluice("health");
      }
      return found;
    };
    t.match(await until(/canary .* healthy/), { code: 0, output: /health checks (\d+)\/\1\n$/ });
    await s.canary.close();
    t.match(await until(/FAIL app canary/), {
      code: 1,
      output: /FAIL app canary +0\/1 endpoints: http:\S+ unhealthy/,
    });
    await s.sluice("maintenance", "on");
    t.match(await until(/FAIL notifiers/), { output: /FAIL notifiers +webhook: .*410/ });
    await writeFile(s.config, "routes: nonsense\n");
    await s.sluice("reload");
    t.match(await until(/FAIL configuration/), { output: /FAIL configuration +.*sluice.yaml:1/ });
    const state = join(s.folder, "state");
    const token = (await readFile(join(state, "admin.token"), "utf8")).trim();
    await rename(state, `${state}.gone`);
    t.match(await s.sluice("read-only", "on", "--token", token), { output: /could not be recorded yet/ });
    t.match(await s.sluice("health", "--token", token), { code: 1, output: /FAIL store +\S/ });
    await rename(`${state}.gone`, state);
    const told = JSON.parse((await s.sluice("health", "--json")).output) as {
      healthy: boolean;
      checks: unknown[];
    };
    t.equal(told.healthy, false);
  },
);
