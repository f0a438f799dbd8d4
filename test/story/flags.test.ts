/** Feature flags of the whole program, asked for by the real OpenFeature client, while a rollout moves under them. */

import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { Agent } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OFREPProvider } from "@openfeature/ofrep-provider";
import { OpenFeature, type Client } from "@openfeature/server-sdk";
import t, { type Test } from "tap";
import { ask, command, program, service, type Program } from "../support/program.ts";
import { operatorOf } from "../support/operator.ts";
import { until } from "../support/until.ts";

t.setTimeout(300_000);

const onOff = (more: object = {}): object => ({
  state: "ENABLED",
  variants: { on: true, off: false },
  defaultVariant: "off",
  ...more,
});
const FLAGS = {
  phase4: onOff(),
  later: onOff({ defaultVariant: "on" }),
  hardening: onOff({ defaultVariant: "on" }),
  share: onOff({
    targeting: {
      fractional: [
        ["on", 10],
        ["off", 90],
      ],
    },
  }),
  banner: { state: "ENABLED", variants: { plain: "hello", sale: "sale" }, defaultVariant: "plain" },
  asleep: onOff({ state: "DISABLED", defaultVariant: "on" }),
};
const STEPS = {
  promotion: "off",
  steps: [
    { setWeight: "50%", hold: "1m" },
    { setWeight: "100%", hold: "1m" },
  ],
};

interface Flagged {
  readonly app: Program;
  readonly file: string;
  /** What the file holds from now on; resolves when the program has seen it. */
  readonly rewrite: (flags: unknown) => Promise<void>;
  readonly evaluate: (flag: string, key?: string) => Promise<{ status: number; body: unknown }>;
}

/** The program with the flags above, a file of its own for them. */
async function flagged(t: Test, more: object = {}): Promise<Flagged> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-flags-"));
  const file = join(folder, "flags.json");
  await writeFile(file, JSON.stringify({ flags: FLAGS }));
  const flags = {
    file,
    follow: { app: ["phase4"] },
    after: { app: ["later"] },
    critical: ["hardening"],
    ...more,
  };
  const app = await program({ plan: STEPS }, { flags });
  t.teardown(async () => {
    await app.close();
    await rm(folder, { recursive: true, force: true });
  });
  const seen = async (): Promise<string> => JSON.stringify((await app.api("/v1/flags")).body);
  return {
    app,
    file,
    async rewrite(content) {
      const before = await seen();
      await writeFile(file, typeof content === "string" ? content : JSON.stringify({ flags: content }));
      await until("the file is seen", async () => (await seen()) !== before);
    },
    evaluate: (flag, key) =>
      app.api(`/ofrep/v1/evaluate/flags/${flag}`, {
        context: key === undefined ? {} : { targetingKey: key },
      }),
  };
}

/** The real client, named after its test. */
async function client(t: Test, app: Program): Promise<Client> {
  const agent = new Agent({ keepAlive: true, maxSockets: 32 });
  t.teardown(() => agent.destroy());
  const origin = `http://${app.running.adminAddress}`;
  const provider = new OFREPProvider({
    baseUrl: origin,
    // The platform's own would do, at twice the time for ten thousand of them.
    async fetchImplementation(asked: string | URL | Request) {
      const sent = new Request(asked);
      const path = new URL(sent.url).pathname;
      const headers = Object.fromEntries(sent.headers);
      const answer = await ask(origin, {
        path,
        method: sent.method,
        headers,
        body: await sent.text(),
        agent,
      });
      const type = { "content-type": answer.headers["content-type"] ?? "" };
      return new Response(answer.body, { status: answer.status, headers: type });
    },
    headers: [["authorization", `Bearer ${app.running.token}`]],
  });
  await OpenFeature.setProviderAndWait(t.name, provider);
  t.teardown(() => OpenFeature.clearProviders());
  return OpenFeature.getClient(t.name);
}

/** The arm that each key came to, asked for one after the other on one connection. */
async function armsOf(app: Program, keys: readonly string[]): Promise<readonly string[]> {
  const { hostname, port } = new URL(app.origin);
  const socket = connect({ host: hostname, port: Number(port) });
  let text = "";
  socket.setEncoding("latin1").on("data", (part: string) => (text += part));
  const ended = once(socket, "end");
  keys.forEach((key, at) => {
    const last = at === keys.length - 1 ? "connection: close\r\n" : "";
    socket.write(`GET / HTTP/1.1\r\nhost: app.example\r\nx-user-id: ${key}\r\n${last}\r\n`);
  });
  await ended;
  return [...text.matchAll(/^x-arm: (\w+)\r$/gm)].map(([, arm]) => arm ?? "");
}

/** `run` for each of `count` numbers, `width` at a time. */
async function each(count: number, width: number, run: (n: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let n = next++; n < count; n = next++) await run(n);
  };
  await Promise.all(Array.from({ length: width }, lane));
}

t.test(
  "for 10,000 keys the real OpenFeature client reads the variant of the arm that the edge chose (acceptance 35)",
  async (t) => {
    const { app } = await flagged(t);
    await app.setWeight(37.5);
    const flags = await client(t, app);
    const keys = Array.from({ length: 10_000 }, (_, n) => `user-${n}@app.example`);
    const arms = await armsOf(app, keys);
    let different = 0;
    await each(keys.length, 32, async (n) => {
      const details = await flags.getBooleanDetails("phase4", false, { targetingKey: keys[n] ?? "" });
      if (details.reason !== "SPLIT" || details.value !== (arms[n] === "canary")) different++;
    });
    const canary = arms.filter((arm) => arm === "canary").length;
    t.equal(arms.length, keys.length);
    t.equal(different, 0);
    t.ok(Math.abs(canary - 3750) < 250, `${canary} of 10000 at 37.5 %`);
  },
);

t.test("a rollback turns followed flags off at the next call, for everybody", async (t) => {
  const { app, evaluate } = await flagged(t);
  await app.setWeight(100);
  t.match(await evaluate("phase4", "anna"), {
    status: 200,
    body: { value: true, variant: "on", reason: "SPLIT" },
  });
  t.equal((await app.api("/v1/rollouts/app/rollback", { reason: "story" })).status, 200);
  for (let n = 0; n < 200; n++)
    t.match(await evaluate("phase4", `user-${n}`), {
      body: { value: false, variant: "off", reason: "SPLIT" },
    });
  t.match(await evaluate("hardening"), { body: { value: true, reason: "STATIC" } }, "no rollback touches it");
});

t.test(
  "flags behind a rollout open when it has succeeded, and stay open through a restart and the next one",
  async (t) => {
    const { app, evaluate } = await flagged(t);
    t.match(await evaluate("later"), { status: 200, body: { value: false, reason: "DISABLED" } });
    const started = await app.api("/v1/rollouts/app/start", {});
    t.equal(started.status, 200, JSON.stringify(started.body));
    for (let minutes = 0; minutes < 20 && (await app.status()).phase !== "succeeded"; minutes++) {
      t.match(await evaluate("later"), { body: { value: false } });
      for (let second = 0; second < 60; second++) {
        await app.get(`user-${second}`);
        await app.clock.advance(1000);
      }
    }
    t.equal((await app.status()).phase, "succeeded");
    t.match(await evaluate("later"), { body: { value: true, reason: "STATIC" } });
    await app.clock.advance(1000);
    await app.stop();
    const again = await app.restart();
    t.teardown(() => again.stop());
    const later = (): Promise<unknown> => again.api("/ofrep/v1/evaluate/flags/later", {});
    t.match(await later(), { body: { value: true } });
    t.equal((await again.api("/v1/rollouts/app/start", {})).status, 200);
    t.match(await again.status(), { phase: "progressing" });
    t.match(await later(), { body: { value: true } }, "stable has it by now");
  },
);

t.test("a client learns what a flag is, why, and what it got wrong, in OFREP's words", async (t) => {
  const { app, evaluate } = await flagged(t);
  const flags = await client(t, app);
  t.match(await flags.getStringDetails("banner", "none"), {
    value: "hello",
    variant: "plain",
    reason: "STATIC",
  });
  t.match(await flags.getBooleanDetails("nobody", true), { value: true, errorCode: "FLAG_NOT_FOUND" });
  t.match(await flags.getBooleanDetails("phase4", true), { value: true, errorCode: "TARGETING_KEY_MISSING" });
  t.match(await flags.getBooleanDetails("banner", true), { value: true, errorCode: "TYPE_MISMATCH" });
  t.match(await flags.getBooleanDetails("asleep", true), { value: false, reason: "DISABLED" });
  t.match(await flags.getBooleanDetails("share", false, { targetingKey: "a" }), { reason: "SPLIT" });
  t.match(await evaluate("phase4"), {
    status: 400,
    body: { key: "phase4", errorCode: "TARGETING_KEY_MISSING", errorDetails: /targeting key/ },
  });
  t.match(await evaluate("nobody", "a"), {
    status: 404,
    body: { key: "nobody", errorCode: "FLAG_NOT_FOUND" },
  });
});

t.test("all flags come in one answer, and not again while it would be the same", async (t) => {
  const { app } = await flagged(t);
  const bulk = (tag: string, context: object = { targetingKey: "anna" }) =>
    ask(`http://${app.running.adminAddress}`, {
      path: "/ofrep/v1/evaluate/flags",
      method: "POST",
      headers: {
        authorization: `Bearer ${app.running.token}`,
        "content-type": "application/json",
        ...(tag === "" ? {} : { "if-none-match": tag }),
      },
      body: JSON.stringify({ context }),
    });
  const first = await bulk("");
  t.equal(first.status, 200);
  const { flags } = JSON.parse(first.body) as { flags: { key: string }[] };
  t.same(
    flags.map(({ key }) => key),
    Object.keys(FLAGS),
  );
  const tag = first.headers.etag ?? "";
  t.match(tag, /^"[\w-]+"$/);
  const same = await bulk(tag);
  t.match(same, { status: 304, body: "" });
  t.equal(same.headers.etag, tag);
  t.equal(same.headers["content-length"], undefined);
  t.equal((await bulk(`"other", W/${tag}`)).status, 304);
  t.equal((await bulk(tag, {})).status, 200, "without a key it is another answer");
  t.match(JSON.parse((await bulk("", {})).body), {
    flags: [{ key: "phase4", errorCode: "TARGETING_KEY_MISSING" }],
  });
  await app.setWeight(100);
  t.equal((await bulk(tag)).status, 200, "the weight has changed what a flag is");
});

t.test("a file that is wrong leaves the flags of before in force, and that is said", async (t) => {
  const { app, rewrite, evaluate } = await flagged(t);
  await rewrite({ ...FLAGS, banner: { ...FLAGS.banner, defaultVariant: "sale" } });
  t.match(await evaluate("banner"), { body: { value: "sale" } });
  await rewrite({ ...FLAGS, banner: { ...FLAGS.banner, defaultVariant: "nothing" } });
  t.match(await evaluate("banner"), { body: { value: "sale" } });
  t.match((await app.api("/v1/flags")).body, {
    ok: false,
    detail: /flags\.json:1:\d+: there is no such variant/,
  });
  const metrics = await ask(`http://${app.running.adminAddress}`, { path: "/metrics" });
  t.match(metrics.body, /^sluice_flags_last_load_successful 0$/m);
  t.match(metrics.body, /^sluice_flag_evaluations_total\{reason="STATIC"\} [1-9]/m);
  const checked = await app.api("/v1/rollouts/app/preflight", {});
  const { results } = checked.body as { results: { name: string; ok: boolean }[] };
  t.match(
    results.find(({ name }) => name === "flags"),
    { ok: false, required: true },
  );
  await rewrite(FLAGS);
  t.match((await app.api("/v1/flags")).body, { ok: true, detail: "" });
});

t.test("a critical flag is switched off with force and a reason, and not else", async (t) => {
  const { app, evaluate } = await flagged(t);
  for (const body of [{ state: "off" }, { variant: "off", reason: "tidy up" }])
    t.match(await app.api("/v1/flags/hardening", body), {
      status: 409,
      body: { code: "SPLIT_FLAG_CRITICAL" },
    });
  t.match(await app.api("/v1/flags/hardening", { state: "off", force: true }), { status: 400 });
  t.match(await evaluate("hardening"), { body: { value: true } });
  const forced = { state: "off", force: true, reason: "it breaks the login" };
  t.match(await app.api("/v1/flags/hardening", forced), { status: 200, body: { enabled: false } });
  t.match(await evaluate("hardening"), { body: { value: false, reason: "DISABLED" } });
  const { body } = await app.api("/v1/journal?limit=1");
  t.match(body, {
    lines: [
      {
        event: "FLAG_CHANGED",
        actor: "local",
        reason: "it breaks the login",
        details: { flag: "hardening", from: null, to: { state: "off" }, forced: true },
      },
    ],
  });
});

t.test(
  "what is set about a flag stays over the file, and over a followed flag only `off` goes",
  async (t) => {
    const { app, rewrite, evaluate } = await flagged(t);
    t.match(await app.api("/v1/flags/share", { percentage: 100 }), {
      body: { strategy: "percentage", percentage: 100, phase: "completed" },
    });
    t.match(await evaluate("share", "anybody"), { body: { value: true, reason: "SPLIT" } });
    await rewrite({ ...FLAGS, extra: FLAGS.banner });
    t.match(await evaluate("share", "anybody"), { body: { value: true } });
    t.match(await app.api("/v1/flags/share", { reset: true }), { body: { percentage: 10, override: null } });
    t.match(await app.api("/v1/flags/phase4", { percentage: 100 }), {
      status: 409,
      body: { code: "SPLIT_FLAG_FOLLOWS" },
    });
    await app.setWeight(100);
    t.equal((await app.api("/v1/flags/phase4", { state: "off" })).status, 200);
    t.match(await evaluate("phase4", "anna"), { body: { value: false, reason: "DISABLED" } });
    t.equal((await app.api("/v1/flags/phase4", { state: "on" })).status, 200);
    t.match(await evaluate("phase4", "anna"), { body: { value: true, reason: "SPLIT" } });
    t.match(await app.api("/v1/flags/asleep", { state: "on" }), { body: { enabled: true } });
    t.match(await evaluate("asleep"), { body: { value: true } }, "switched on is on, whatever its default");
  },
);

t.test("a token that may evaluate flags may do nothing else", async (t) => {
  const tokens = [{ name: "shop", token: { env: "a-token-of-the-shop" }, scopes: ["flags"] }];
  const folder = await mkdtemp(join(tmpdir(), "sluice-flags-"));
  const file = join(folder, "flags.json");
  await writeFile(file, JSON.stringify({ flags: FLAGS }));
  const app = await program({}, { flags: { file }, admin: { address: "127.0.0.1:0", tokens } });
  t.teardown(() => app.close());
  const as = (path: string, body?: unknown) => app.api(path, body, "a-token-of-the-shop");
  t.match(await as("/ofrep/v1/evaluate/flags/banner", {}), { status: 200, body: { value: "hello" } });
  t.match(await as("/ofrep/v1/evaluate/flags", {}), { status: 200 });
  t.match(await as("/v1/flags"), { status: 403 });
  t.match(await as("/v1/flags/banner", { state: "off" }), { status: 403 });
  t.match(await as("/v1/routes"), { status: 403 });
});

t.test("a flag that was set survives kill -9 (reliability 36)", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-flags-"));
  const upstream = await service("stable");
  t.teardown(async () => {
    await upstream.close();
    await rm(folder, { recursive: true, force: true });
  });
  await writeFile(join(folder, "flags.json"), JSON.stringify({ flags: FLAGS }));
  const arm = { endpoints: [upstream.url] };
  await writeFile(
    join(folder, "sluice.yaml"),
    JSON.stringify({
      listen: [{ address: "127.0.0.1:0" }],
      admin: { address: `unix:${join(folder, "admin.sock")}` },
      state: `file:${join(folder, "state")}`,
      reports: join(folder, "reports"),
      backups: "off",
      routes: [{ name: "app", stable: arm, canary: arm, key: ["header:x-user-id"] }],
      flags: { file: join(folder, "flags.json"), critical: ["hardening"] },
    }),
  );
  const operator = operatorOf(folder);
  const run = async () => {
    const started = command(["run", "-c", join(folder, "sluice.yaml")]);
    await started.says(/"msg":"serving"/);
    return started;
  };
  const first = await run();
  const set = await operator("/v1/flags/banner", { variant: "sale", reason: "black friday" });
  first.child.kill("SIGKILL");
  t.equal(set.status, 200);
  await once(first.child, "exit");
  const second = await run();
  const { text } = await operator("/ofrep/v1/evaluate/flags/banner", {});
  t.match(JSON.parse(text), { value: "sale", variant: "sale", reason: "STATIC" });
  t.match(
    await readFile(join(folder, "state", "journal.jsonl"), "utf8"),
    /"event":"FLAG_CHANGED".*black friday/,
  );
  second.child.kill("SIGTERM");
  t.equal(await second.ended, 0);
});
