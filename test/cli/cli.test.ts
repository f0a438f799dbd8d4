import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tmpdir } from "node:os";
import t from "tap";
import { parseConfig } from "../../src/config/load.ts";
import { api, LINE, problem, ran, sluice } from "../support/cli.ts";
import { fakeAdmin, routeStatus } from "../support/fake-admin.ts";

t.test(
  "every refusal of the API and every failed call exits by the table, with one line on stderr",
  async (t) => {
    const table: readonly (readonly [string, number, number])[] = [
      ["SPLIT_INPUT_INVALID", 400, 2],
      ["SPLIT_UNAUTHORIZED", 401, 2],
      ["SPLIT_NOT_FOUND", 404, 2],
      ["SPLIT_PHASE_MISMATCH", 409, 4],
      ["SPLIT_COOLDOWN", 409, 4],
      ["SPLIT_STATE_CONFLICT", 412, 4],
      ["SPLIT_STATE_UNWRITABLE", 503, 1],
      ["SPLIT_INTERNAL", 500, 1],
    ];
    for (const [code, status, exit] of table) {
      const admin = await fakeAdmin(() => [status, problem(code, status, "so it is")]);
      const result = await sluice(["pause", "app", "--admin", admin.address]);
      t.equal(result.code, exit, code);
      t.equal(result.err, `sluice: so it is (${code})\n`);
      t.equal(result.out, "");
      await admin.close();
    }
    const newer = await fakeAdmin(() => [409, problem("SPLIT_OF_TOMORROW", 409, "new")]);
    t.equal(
      (await sluice(["pause", "app", "--admin", newer.address])).code,
      4,
      "an unknown code goes by its status",
    );
    await newer.close();
    const field = await fakeAdmin(() => [
      400,
      { ...problem("SPLIT_INPUT_INVALID", 400, "too much"), field: "weight" },
    ]);
    t.equal(
      (await sluice(["set-weight", "app", "0", "--admin", field.address])).err,
      "sluice: weight: too much (SPLIT_INPUT_INVALID)\n",
    );
    await field.close();
    const gone = await sluice(["status", "--admin", field.address]);
    t.equal(gone.code, 5);
    t.match(
      gone.err,
      /^sluice: cannot reach the admin API at http:.*: connection refused \(SPLIT_UNREACHABLE\)\n$/,
    );
    for (const strange of ["<html>", [1], { name: "app" }]) {
      const other = await fakeAdmin(() => [200, strange]);
      t.equal(
        (await sluice(["status", "app", "--admin", other.address])).code,
        5,
        "something else answers there",
      );
      await other.close();
    }
  },
);

t.test("what was typed wrong exits 2 before anything is called", async (t) => {
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [["fly"], /unknown command 'fly'/],
    [["statsu"], /unknown command 'statsu' \(Did you mean status\?\)/],
    [["status", "--wtach"], /unknown option '--wtach' \(Did you mean --watch\?\)/],
    [["run"], /required option '-c, --config <file>' not specified/],
    [["set-weight", "app"], /missing required argument 'percent'/],
    [["set-weight", "app", "101"], /percent from 0 to 100/],
    [["set-weight", "app", "0.00001"], /percent from 0 to 100/],
    [["set-weight", "app", "ten"], /percent from 0 to 100/],
    [["set-weight", "app", "5", "--force"], /--force needs a --reason/],
    [["deploy", "app", "--strategy", "custom"], /--strategy custom needs --steps/],
    [["deploy", "app", "--strategy", "fast", "--steps", "5"], /--steps goes with --strategy custom only/],
    [["deploy", "app", "--hold", "5m"], /--hold goes with --steps/],
    [["deploy", "app", "--steps", "5,x"], /--steps takes percent/],
    [["deploy", "app", "--steps", "5", "--hold", "5"], /--hold takes a duration with its unit/],
    [["deploy", "app", "--force"], /--force needs a --reason/],
    [["promote", "app", "--step", "x"], /--step takes a whole number/],
    [["status", "--watch", "--timeout", "5"], /--timeout takes a duration/],
    [["journal", "--limit", "0"], /--limit must be at least 1/],
    [["status", "--admin", "ftp://x"], /--admin takes http/],
    [["status", "--admin", "https://x/path"], /--admin takes http/],
  ];
  for (const [argv, message] of wrong) {
    const { code, err } = await sluice([...argv], { env: { SLUICE_ADMIN: "http://127.0.0.1:1" } });
    t.equal(code, 2, argv.join(" "));
    t.match(err, message);
    t.match(err, /^sluice: .* \(SPLIT_USAGE\)\n$/, "one line");
  }
  const bare = await sluice([]);
  t.equal(bare.code, 2);
  t.match(bare.err, /Usage: sluice/);
});

t.test("each command sends what was typed, and shows what came of it", async (t) => {
  const admin = await fakeAdmin(api(() => routeStatus(), "staging"));
  t.teardown(() => admin.close());
  const table: readonly (readonly [readonly string[], string, unknown])[] = [
    [
      ["set-weight", "app", "12.5%", "--reason", "why"],
      "/v1/routes/app/weight",
      { weight: 12.5, reason: "why" },
    ],
    [
      ["set-weight", "app", "30", "--force", "--reason", "why"],
      "/v1/routes/app/weight",
      { weight: 30, reason: "why", force: true },
    ],
    [["pause", "app"], "/v1/rollouts/app/pause", { reason: "manual" }],
    [["resume", "app", "--reason", "ok"], "/v1/rollouts/app/resume", { reason: "ok" }],
    [["promote", "app"], "/v1/rollouts/app/promote", { reason: "manual", full: false, step: 1 }],
    [
      ["promote", "app", "--full", "--step", "0"],
      "/v1/rollouts/app/promote",
      { reason: "manual", full: true, step: 0 },
    ],
    [["rollback", "app", "--reason", "bad"], "/v1/rollouts/app/rollback", { reason: "bad" }],
    [["abort", "app"], "/v1/rollouts/app/rollback", { reason: "manual" }],
    [["deploy", "app"], "/v1/rollouts/app/start", {}],
    [
      ["deploy", "app", "--strategy", "fast", "--wait", "300", "--version", "4.0"],
      "/v1/rollouts/app/start",
      { plan: "fast", wait: "5m", version: "4.0" },
    ],
    [
      ["deploy", "app", "--steps", "0, 5,25%", "--hold", "90s", "--force", "--reason", "why"],
      "/v1/rollouts/app/start",
      { steps: [0, 5, 25], hold: "1m30s", force: true, reason: "why" },
    ],
    [["reload"], "/v1/config/reload", {}],
  ];
  for (const [argv, path, body] of table) {
    const { code, out, asked } = await sluice([...argv, "--admin", admin.address]);
    t.equal(code, 0, argv.join(" "));
    t.match(admin.calls.at(-1), { method: "POST", path, headers: { authorization: "Bearer secret-token" } });
    t.same(admin.calls.at(-1)?.body, body);
    t.not(out, "");
    t.same(asked, []);
  }
  const json = await sluice(["pause", "app", "--json", "--admin", admin.address]);
  t.same(JSON.parse(json.out), routeStatus());
  t.match(
    (await sluice(["reload", "--admin", admin.address])).out,
    /changed: app\nneeds a restart.*: listen\n/,
  );
});

t.test(
  "what raises traffic in production asks for the word yes, and is refused without a terminal",
  async (t) => {
    const admin = await fakeAdmin(api(() => routeStatus()));
    t.teardown(() => admin.close());
    const raising = [
      ["deploy", "app"],
      ["set-weight", "app", "26"],
      ["resume", "app"],
      ["promote", "app"],
    ];
    const posts = (): number => admin.calls.filter((each) => each.method === "POST").length;
    for (const argv of raising) {
      const command = [...argv, "--admin", admin.address];
      const before = posts();
      const piped = await sluice(command);
      t.equal(piped.code, 2, `${argv.join(" ")} without a terminal`);
      t.match(piped.err, /in production without a terminal, say --yes \(SPLIT_USAGE\)/);
      for (const answer of ["", "y", "no"]) {
        t.equal((await sluice(command, { isTTY: true, answer })).code, 2, `answered "${answer}"`);
      }
      t.equal(posts(), before, "nothing was sent");
      const confirmed = await sluice(command, { isTTY: true, answer: "yes" });
      t.equal(confirmed.code, 0);
      t.equal(confirmed.asked.length, 1);
      t.equal((await sluice([...command, "--yes"])).code, 0);
      t.equal(posts(), before + 2);
    }
    for (const argv of [
      ["set-weight", "app", "25"],
      ["set-weight", "app", "0"],
      ["pause", "app"],
      ["rollback", "app"],
    ]) {
      const result = await sluice([...argv, "--admin", admin.address]);
      t.equal(result.code, 0, `${argv.join(" ")} does not ask`);
      t.same(result.asked, []);
    }
  },
);

t.test("to weight 0 there is nothing to ask the API about first", async (t) => {
  const admin = await fakeAdmin(api(() => routeStatus()));
  t.teardown(() => admin.close());
  await sluice(["set-weight", "app", "0", "--admin", admin.address]);
  await sluice(["rollback", "app", "--admin", admin.address]);
  t.same(
    admin.calls.map((each) => each.method),
    ["POST", "POST"],
  );
});

t.test("the journal is shown to people and to programs", async (t) => {
  const admin = await fakeAdmin(api(() => routeStatus()));
  t.teardown(() => admin.close());
  const table = await sluice(["journal", "--route", "a b", "--limit", "3", "--admin", admin.address]);
  t.equal(admin.calls.at(-1)?.path, "/v1/journal?limit=3&route=a+b");
  t.match(
    table.out,
    /4 {2}2026-01-05T09:00:00\.000Z {2}app +climbed +5 % -> 25 % +progressing +sluice +the rules are met\n/,
  );
  t.notMatch(table.out, /(?!\n)\p{Cc}/u, "what others wrote does not drive the terminal");
  const json = await sluice(["journal", "--json", "--admin", admin.address]);
  t.same(JSON.parse(json.out), { lines: [LINE] });
});

t.test(
  "address and token are found in the options, the configuration, the environment, beside the state",
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "sluice-cli-"));
    const state = join(folder, "state");
    mkdirSync(state);
    writeFileSync(join(state, "admin.token"), "from-state\n");
    const admin = await fakeAdmin(
      api(() => routeStatus()),
      join(folder, "admin.sock"),
    );
    t.teardown(() => admin.close());
    const config = join(folder, "sluice.yaml");
    writeFileSync(
      config,
      `admin: { address: "${admin.address}" }\nstate: file:${state}\nroutes:\n  - name: app\n    stable: { endpoints: ["http://a:1"] }\n    canary: { endpoints: ["http://b:1"] }\n`,
    );
    const none = { SLUICE_TOKEN: "" };
    const sent = async (argv: readonly string[], env: Readonly<Record<string, string>>): Promise<unknown> => {
      const { code, err } = await sluice(["status", ...argv], { env });
      t.equal(code, 0, err);
      return admin.calls.at(-1)?.headers.authorization;
    };
    t.equal(await sent(["-c", config], none), "Bearer from-state");
    t.equal(await sent(["--admin", admin.address, "--state", state], none), "Bearer from-state");
    t.equal(
      await sent([], { ...none, SLUICE_ADMIN: admin.address, SLUICE_STATE: state }),
      "Bearer from-state",
    );
    t.equal(await sent(["-c", config], { SLUICE_TOKEN: "env" }), "Bearer env");
    t.equal(await sent(["-c", config, "--token", "typed"], { SLUICE_TOKEN: "env" }), "Bearer typed");

    const locked = await fakeAdmin(() => [401, problem("SPLIT_UNAUTHORIZED", 401, "no token")]);
    t.teardown(() => locked.close());
    const refused = await sluice(["status", "--admin", locked.address, "--state", folder], { env: none });
    t.equal(refused.code, 2);
    t.match(refused.err, `sluice: no token; there is no ${join(folder, "admin.token")}`);
    mkdirSync(join(folder, "odd", "admin.token"), { recursive: true });
    const odd = await sluice(["status", "--state", join(folder, "odd")], { env: none });
    t.equal(odd.code, 2);
    t.match(odd.err, /cannot read the token/);
  },
);

t.test("check prints the effective configuration, or every problem on a line", async (t) => {
  const good = await sluice(["check", "-c", "config/minimal.yaml"]);
  t.equal(good.code, 0);
  const again = parseConfig(good.out, "printed");
  t.ok(again.ok, "what it prints is valid");
  const json = await sluice(["check", "-c", "config/minimal.yaml", "--json"]);
  const asJson = parseConfig(json.out, "json");
  t.ok(asJson.ok);
  if (again.ok && asJson.ok) t.same(asJson.config, again.config);

  const folder = mkdtempSync(join(tmpdir(), "sluice-check-"));
  const bad = join(folder, "bad.yaml");
  writeFileSync(bad, "routs: []\nlimits: { url: 3 }\n");
  const refused = await sluice(["check", "-c", bad]);
  t.equal(refused.code, 2);
  t.equal(refused.out, "");
  t.same(
    refused.err
      .split("\n")
      .map((line) => /^sluice: .*:(\d+:\d+): .* \(SPLIT_CONFIG_INVALID\)$/.exec(line)?.[1]),
    ["1:1", "1:1", "2:16", undefined],
  );
  t.equal((await sluice(["check", "-c", join(folder, "none")])).code, 2);

  const secret = join(folder, "secret.yaml");
  writeFileSync(
    secret,
    "routes:\n  - name: app\n    stable: { endpoints: ['http://a:1'] }\n    canary: { endpoints: ['http://b:1'] }\n    override: { header: x, secret: { env: ABSENT } }\n",
  );
  t.equal((await sluice(["check", "-c", secret])).code, 2, "what run would refuse, check refuses");
  t.equal((await sluice(["check", "-c", secret, "--skip-secrets"])).code, 0);
});

t.test("run and demo are handed on, and their exit code is the program's", async (t) => {
  t.equal((await sluice(["run", "-c", "x.yaml"])).code, 1);
  await sluice(["demo"]);
  await sluice(["demo", "--break", "--json"]);
  t.same(ran, [
    ["run", { config: "x.yaml" }],
    ["demo", { break: false, json: false, stay: false }],
    ["demo", { break: true, json: true, stay: false }],
  ]);
});
