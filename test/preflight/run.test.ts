/** All checks together: what they report, and that nothing that hangs, breaks or lies delays or hides the others. */

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { configSchema } from "../../src/config/schema.ts";
import { summary } from "../../src/domain/preflight.ts";
import { AppError } from "../../src/domain/errors.ts";
import type { Notice } from "../../src/engine/ports.ts";
import type { TestChannel } from "../../src/preflight/run.ts";
import { ON_TIME, pidIn, runs, testPreflight, until } from "../support/preflight.ts";
import { NOBODY, reply, upstream, type Upstream } from "../support/upstream.ts";

type Send = TestChannel["send"];

function channel(name: string, send: Send): TestChannel {
  return { name, send };
}

async function canaryOf(t: { teardown(run: () => unknown): unknown }): Promise<Upstream> {
  const canary = await upstream(reply(200, "", ON_TIME));
  t.teardown(() => canary.close());
  return canary;
}

t.test("all is well: every check says so, in the order of the list", async (t) => {
  const canary = await canaryOf(t);
  const hook = await canaryOf(t);
  const told: Notice[] = [];
  const preflight = {
    commands: [{ name: "env", run: ["sh", "-c", "echo $SLUICE_ROUTE $SLUICE_VERSION $SLUICE_ENVIRONMENT"] }],
    webhooks: [{ name: "calendar", url: `${hook.url}/go`, secret: { env: "S" } }],
  };
  const slack = channel("slack", async ({ notice }) => {
    told.push(notice);
    return { ok: true };
  });
  const { preflight: running, clock, log } = testPreflight(t, canary.url, preflight, { channels: [slack] });
  const results = await running.run("app", "4.0");
  t.same(
    results.map(({ name, detail }) => `${name}: ${detail.replace(/\/\S*\/sluice-\S*?\//, "")}`),
    [
      "configuration: no file to read again",
      "arms: 2/2 endpoints healthy",
      "capacity: 100 requests/s × P95 50 ms = 5 in flight; 256 (1 of 1 endpoints × 256 connections)",
      "clock: no jump since start; the canary's agrees",
      "state: state can be written, 1024 MiB free",
      "reports: reports can be written, 1024 MiB free",
      "notifier slack: delivered",
      "smoke: 1 endpoint answered 1 request",
      "command env: exit code 0: app 4.0 production",
      "webhook calendar: status 200",
    ],
  );
  t.match(summary(results), { passed: true, sentence: "10/10 checks passed" });
  t.match(told, [{ severity: "info", event: "preflight_test", route: "app", details: { version: "4.0" } }]);
  t.match(JSON.parse(hook.requests[0]?.body ?? ""), {
    type: "sluice.preflight",
    data: { environment: "production", route: "app", version: "4.0", check: "calendar" },
  });
  t.ok(hook.requests[0]?.field("webhook-signature")?.startsWith("v1,"));
  t.match(log.lines.at(-1), { level: "info", message: "preflight", fields: { passed: true } });
  t.equal(clock.timers, 0);
});

t.test(
  "a notifier, a hook, a program, a name and a file that hang delay nothing beyond the bound, and the rest is told",
  async (t) => {
    const canary = await canaryOf(t);
    const silent = await upstream(() => {});
    t.teardown(() => silent.close());
    const preflight = {
      timeout: "45s",
      commands: [
        { name: "hangs", run: ["sleep", "1000"], timeout: "10m" },
        { name: "good", run: ["true"], timeout: "10m" },
      ],
      webhooks: [
        { name: "silent", url: silent.url, timeout: "10m" },
        { name: "nameless", url: "http://hangs.example/", timeout: "20s" },
      ],
    };
    const forever = new Promise<never>(() => {});
    const { run, clock, timers } = testPreflight(t, canary.url, preflight, {
      channels: [channel("deaf", () => forever)],
      lookup: (name) => (name === "hangs.example" ? forever : Promise.resolve([])),
      reread: () => forever,
      freeOf: () => forever,
    });
    const from = clock.mono();
    const found = run();
    // Seven hang, each under the bound of the whole; the notifier, both hooks and the program have one of their own beside it.
    await timers(11);
    await until(() => silent.requests.length === 1);
    await clock.advance("44999ms");
    t.ok(clock.timers > 0, "not before");
    await clock.advance("1ms");
    const results = await found;
    t.equal(clock.mono() - from, 45_000);
    t.match(results, {
      configuration: { ok: false, detail: "no answer within 45s", tookMs: 45_000 },
      state: { ok: false, detail: "no answer within 45s" },
      reports: { ok: false },
      "notifier deaf": { ok: false, detail: "no answer within 10s" },
      "command hangs": { ok: false, detail: "no answer within 45s" },
      "webhook silent": { ok: false, detail: "no answer within 45s" },
      "webhook nameless": { ok: false, detail: "no answer within 20s" },
    });
    for (const name of ["arms", "capacity", "clock", "smoke", "command good"])
      t.match(results[name], { ok: true, tookMs: 0 }, name);
    await clock.advance("2s");
    t.equal(clock.timers, 0, "and nothing goes on behind it");
  },
);

t.test("what throws has failed, with its reason, and takes nothing along", async (t) => {
  const canary = await canaryOf(t);
  const { run, folder } = testPreflight(
    t,
    canary.url,
    { webhooks: [{ name: "x", url: NOBODY, required: false }] },
    {
      channels: [
        channel("rejects", () => Promise.reject(new Error("no \u001b[31mroute"))),
        channel("refuses", async () => ({ ok: false, detail: "status 403" })),
      ],
      loadOf: () => {
        throw new Error("no figures");
      },
      reread: () =>
        Promise.reject(new AppError("SPLIT_CONFIG_INVALID", "sluice.yaml:3:5: unknown key `rute`")),
    },
  );
  await writeFile(`${folder}/reports`, "a file is in the way");
  const results = await run();
  t.match(results, {
    configuration: { ok: false, detail: "sluice.yaml:3:5: unknown key `rute`" },
    arms: { ok: true },
    capacity: { ok: false, detail: "no figures" },
    reports: { ok: false, detail: "EEXIST" },
    "notifier rejects": { ok: false, detail: "no  [31mroute" },
    "notifier refuses": { ok: false, detail: "status 403" },
    smoke: { ok: true },
    "webhook x": { ok: false, required: false, detail: "ECONNREFUSED" },
  });
  t.match(summary(Object.values(results)), {
    passed: false,
    sentence:
      "5 of 9 failed: configuration, capacity, reports, notifier rejects, notifier refuses; without webhook x",
  });
});

t.test("the file on the disk has to be what is in force", async (t) => {
  const canary = await canaryOf(t);
  const of = (more: object, route: object = {}) =>
    configSchema.parse({
      routes: [
        {
          name: "app",
          stable: { endpoints: ["http://10.0.0.1:8080"] },
          canary: { endpoints: [canary.url], version: "4.0" },
          ...route,
        },
      ],
      state: "memory:",
      reports: t.testdirName,
      ...more,
    });
  const force = of({});
  const check = async (file: ReturnType<typeof of>) => {
    const { run } = testPreflight(
      t,
      canary.url,
      {},
      {
        config: () => force,
        reread: () => Promise.resolve({ config: file }),
      },
    );
    const { configuration, state } = await run();
    t.match(state, { ok: true, detail: "in memory" });
    return configuration;
  };
  t.match(await check(of({})), { ok: true, detail: "valid, and what is in force" });
  t.match(await check(of({ workers: 2 })), { ok: true, detail: "valid; waits for a restart: workers" });
  t.match(await check(of({}, { anonymous: "stable" })), {
    ok: false,
    detail: "the file differs from what is in force: routes.app",
  });
});

t.test("a reload moves neither state nor reports, and what waits for a restart is said", async (t) => {
  const canary = await canaryOf(t);
  const folder = t.testdir({});
  const of = (name: string) =>
    configSchema.parse({
      state: `file:${folder}/${name}`,
      reports: `${folder}/${name}-reports`,
      environment: name,
      routes: [{ name: "app", stable: { endpoints: ["http://a:1"] }, canary: { endpoints: [canary.url] } }],
    });
  let config = of("before");
  const { run } = testPreflight(
    t,
    canary.url,
    {},
    { config: () => config, reread: () => Promise.resolve({ config: of("after") }) },
  );
  config = of("after");
  t.match(await run(), {
    configuration: { ok: true, detail: "valid; waits for a restart: state, reports, environment" },
    state: { ok: true, detail: /before can be written/ },
    reports: { ok: true, detail: /before-reports can be written/ },
  });
});

t.test("reports that are kept in the folder of the state can be written like any others", async (t) => {
  const canary = await canaryOf(t);
  const folder = t.testdir({});
  const config = configSchema.parse({
    state: `file:${folder}`,
    reports: folder,
    routes: [{ name: "app", stable: { endpoints: ["http://a:1"] }, canary: { endpoints: [canary.url] } }],
  });
  const { run } = testPreflight(t, canary.url, {}, { config: () => config });
  t.match(await run(), { state: { ok: true }, reports: { ok: true } });
});

t.test(
  "what is left out is not done, and says so; without smoke the clock has nothing to be compared with",
  async (t) => {
    const canary = await canaryOf(t);
    const told: string[] = [];
    const preflight = {
      commands: [
        { name: "no", run: ["false"] },
        { name: "yes", run: ["true"] },
      ],
      skip: ["smoke", "notifier", "command no"],
    };
    const { run } = testPreflight(t, canary.url, preflight, {
      channels: [channel("slack", async () => ({ ok: told.push("told") > 0 }) as { ok: true })],
    });
    const left = { ok: false, required: false, detail: "left out by preflight.skip" };
    t.match(await run(), {
      smoke: left,
      "notifier slack": left,
      "command no": left,
      "command yes": { ok: true },
      clock: { ok: true, detail: /no answer of the canary to compare with/ },
    });
    t.same(told, []);
    t.equal(canary.accepted, 0);
  },
);

t.test("a canary whose clock is wrong by an hour stops a rollout", async (t) => {
  const canary = await upstream(reply(200, "", "Date: Mon, 05 Jan 2026 10:00:00 GMT\r\n"));
  t.teardown(() => canary.close());
  const { run, clock } = testPreflight(t, canary.url);
  t.match(await run(), {
    clock: { ok: false, detail: "the canary's clock is 1h ahead" },
    smoke: { ok: true },
  });
  clock.jumpWall(3_600_000);
  t.match(await run(), { clock: { ok: true, detail: /jumped by 1h since start; the canary's agrees/ } });
});

t.test("a route that there is not fails, and two runs at a time do not meet", async (t) => {
  const canary = await canaryOf(t);
  const { preflight, run } = testPreflight(t, canary.url);
  t.match(await preflight.run("none\u001b", ""), [
    { ok: false, required: true, detail: "there is no route named none" },
  ]);
  for (const results of await Promise.all([run(), run(), run()]))
    t.ok(summary(Object.values(results)).passed, JSON.stringify(results));
});

t.test("a program that stops ends a run under way at once", async (t) => {
  const silent = await upstream(() => {});
  t.teardown(() => silent.close());
  const file = join(t.testdir({}), "pid");
  const commands = [
    { name: "deaf", run: ["sh", "-c", "trap '' TERM; echo $$ > $0; while :; do sleep 1; done", file] },
  ];
  const { preflight, run, clock } = testPreflight(t, silent.url, { commands });
  const found = run();
  await until(() => silent.requests.length === 1);
  const pid = await pidIn(file);
  preflight.close();
  t.same(await found, {}, "what was broken off says nothing");
  await until(() => !runs(pid) && clock.timers === 0);
  t.same(await run(), {}, "nor does one begin");
});

t.test(
  "a name twice, a check that there is not, and a time that nobody would wait for are refused",
  async (t) => {
    const of = (preflight: object) =>
      configSchema.safeParse({
        routes: [
          {
            name: "app",
            stable: { endpoints: ["http://a:1"] },
            canary: { endpoints: ["http://b:1"] },
            preflight,
          },
        ],
      });
    const command = { name: "a", run: ["true"] };
    const webhook = { name: "a", url: "https://x.example/" };
    const good = { commands: [command], webhooks: [webhook] };
    for (const skip of [
      ["arms", "notifier", "command"],
      ["command a", "webhook a", "notifier slack"],
    ])
      t.ok(of({ ...good, skip }).success, skip.join());
    const bad: readonly (readonly [preflight: object, message: RegExp])[] = [
      [{ commands: [command, command] }, /another one named "a"/],
      [{ webhooks: [webhook, webhook] }, /another one named "a"/],
      [{ ...good, skip: ["armz"] }, /no check "armz"/],
      [{ ...good, skip: ["command b"] }, /no check "command b"/],
      [{ ...good, skip: ["arms a"] }, /no check "arms a"/],
      [{ timeout: "11m" }, /at most 10m/],
      [{ commands: [{ ...command, run: [] }] }, /./],
      [{ commands: [{ ...command, run: [""] }] }, /names no program/],
      [{ commands: [{ ...command, run: ["a\0b"] }] }, /without NUL/],
      [{ webhooks: [{ ...webhook, url: "file:///etc/passwd" }] }, /expected a URL/],
      [{ smoke: [{ path: "no-slash" }] }, /expected a path/],
    ];
    for (const [preflight, message] of bad)
      t.match(of(preflight).error?.issues[0]?.message, message, JSON.stringify(preflight));
  },
);
