/** The program as a process: what it may write, who may read what it wrote, and that no secret comes out of it anywhere (reliability.md 36, 42). */

import { createHash, randomBytes } from "node:crypto";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { CONFINED_UID, cannotConfine, confined, kernelSays } from "../support/confined.ts";
import { ask, command, configFile, failing, service, type Answer } from "../support/program.ts";

/** A folder that everybody may look into, removed after the test. */
function folderOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), "sluice-process-"));
  chmodSync(folder, 0o755);
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Calls of the admin API that a process says it has at `address`. */
function caller(address: string, token: string) {
  return (path: string, body?: object): Promise<Answer> =>
    ask(`http://${address}`, {
      path,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
    });
}

/** Every file below a folder, by its path from there. */
function filesIn(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

const unable = cannotConfine();
if (unable !== false) t.comment(`skipped: ${unable}`);

t.test(
  "it runs as nobody in particular on a read-only root file system, and writes to its state, its reports and its backups alone (reliability 36)",
  { skip: unable },
  async (t) => {
    const folder = folderOf(t);
    const [state, reports, backups] = ["state", "reports", "backups"].map((each) => join(folder, each)) as [
      string,
      string,
      string,
    ];
    for (const each of [state, reports, backups]) {
      mkdirSync(each, { mode: 0o700 });
      chownSync(each, CONFINED_UID, CONFINED_UID);
    }
    const [stable, canary] = [await service("stable"), await service("canary")];
    const config = await configFile(folder, {
      listen: [{ address: "127.0.0.1:0" }],
      admin: { address: "127.0.0.1:0" },
      state: `file:${state}`,
      reports,
      backups: { folder: backups },
      environment: "test",
      workers: 2,
      routes: [{ name: "app", stable: { endpoints: [stable.url] }, canary: { endpoints: [canary.url] } }],
    });
    const proxy = confined(config, [state, reports, backups]);
    t.teardown(async () => {
      proxy.signal("SIGKILL");
      await proxy.ended;
      await stable.close();
      await canary.close();
    });
    const [, address = "", admin = ""] = await proxy.says(/"listen":\["([^"]+)"\],"admin":"([^"]+)"/);
    t.match(kernelSays(proxy.pid, "Uid"), new RegExp(`^${CONFINED_UID}\\s`));
    t.match(kernelSays(proxy.pid, "CapEff"), /^0+$/);
    t.equal(kernelSays(proxy.pid, "NoNewPrivs"), "1");

    const call = caller(admin, readFileSync(join(state, "admin.token"), "utf8").trim());
    t.match(await call("/v1/routes/app/weight", { weight: 100, reason: "x" }), { status: 200 });
    canary.answer = failing;
    t.match(await ask(`http://${address}`), { status: 200, body: "stable" }, "rescued");
    t.match(await call("/v1/rollouts/app/rollback", { reason: "x" }), { status: 200 });
    t.match(await call("/v1/config/reload", {}), { status: 200 });
    t.match(await call("/metrics"), { status: 200 });
    t.match(await call("/v1/backup", {}), { status: 200 });
    await proxy.says(/ROLLBACK_DONE[^]*configuration reloaded/);
    proxy.signal("SIGTERM");
    t.equal(await proxy.ended, 0, proxy.output());
    t.notMatch(proxy.output(), /EROFS|EACCES|EPERM/, "nothing was tried elsewhere in vain");
    t.equal(proxy.output().match(/"level":50/g)?.length, 1, "one alarm, the rollback's");
    t.match(readdirSync(reports).toSorted(), [
      /^deployment_test_\d{8}T\d{6}Z\.json$/,
      /^deployment_test_\d{8}T\d{6}Z\.md$/,
      /^incident_test_app_.*\.json$/,
      /^incident_test_app_.*\.md$/,
      /^rollback_test_app_.*\.json$/,
    ]);
    t.same(readdirSync(folder).toSorted(), ["backups", "reports", "sluice.yaml", "state"]);
  },
);

t.test(
  "whatever the umask, what it keeps is its owner's alone, and no secret comes out of it anywhere (reliability 36, 42)",
  async (t) => {
    const folder = folderOf(t);
    const [state, reports] = [join(folder, "state"), join(folder, "reports")];
    const backups = join(folder, "backups");
    const [stable, canary, hook] = [await service("stable"), await service("canary"), await service("hook")];
    const secret = (name: string): string => `${name}-${randomBytes(16).toString("hex")}`;
    const secrets = {
      token: secret("t"),
      override: secret("o"),
      webhook: secret("w"),
      next: secret("n"),
      wrong: secret("x"),
    };
    const tokenFile = join(folder, "ops.token");
    writeFileSync(tokenFile, `${secrets.token}\n`);
    const config = await configFile(folder, {
      listen: [{ address: "127.0.0.1:0" }],
      admin: {
        address: "127.0.0.1:0",
        tokens: [{ name: "ops", token: { file: tokenFile }, scopes: ["read", "operate", "admin"] }],
      },
      state: `file:${state}`,
      reports,
      backups: { folder: backups },
      environment: "test",
      notify: { webhook: { url: hook.url, secret: { env: "HOOK" } } },
      routes: [
        {
          name: "app",
          stable: { endpoints: [stable.url] },
          canary: { endpoints: [canary.url] },
          override: { header: "x-arm", secret: { env: "OVERRIDE" } },
          anonymous: "cookie",
        },
      ],
    });
    // Refused for good: it is not tried again.
    hook.answer = (_request, response) => void response.writeHead(400).end();
    const env = { OVERRIDE: secrets.override, HOOK: secrets.webhook, SLUICE_LOG_LEVEL: "debug" };
    const umask = process.umask(0);
    const proxy = command(["run", "-c", config], env);
    process.umask(umask);
    t.teardown(async () => {
      proxy.child.kill("SIGKILL");
      await proxy.ended;
      for (const each of [stable, canary, hook]) await each.close();
    });
    const [, address = "", admin = ""] = await proxy.says(/"listen":\["([^"]+)"\],"admin":"([^"]+)"/);
    const answers: Answer[] = [];
    const seen = async (answer: Promise<Answer>): Promise<Answer> => {
      answers.push(await answer);
      return answer;
    };
    const call = caller(admin, secrets.token);
    const forced = { "x-arm": `canary:${secrets.override}` };
    await seen(call("/v1/routes/app/weight", { weight: 100, reason: "x" }));
    t.match(await seen(ask(`http://${address}`, { headers: forced })), { body: "canary" });
    canary.answer = failing;
    for (let i = 0; i < 5; i++) await seen(ask(`http://${address}`, { headers: forced }));
    await seen(
      ask(`http://${address}`, {
        headers: { "x-arm": `canary:${secrets.wrong}`, cookie: `sluice_id=${secrets.wrong}` },
      }),
    );
    await seen(caller(admin, secrets.wrong)("/v1/routes"));
    await seen(call(`/v1/routes?access_token=${secrets.wrong}`));
    await seen(call("/v1/rollouts/app/pause", { reason: 5, token: 1 }));
    await seen(call("/v1/rollouts/app/rollback", { reason: "x" }));
    t.match(await seen(call("/v1/backup", {})), { status: 200 });
    for (const path of [
      "/v1/backups",
      "/v1/config",
      "/v1/routes",
      "/v1/health",
      "/v1/journal",
      "/metrics",
      "/openapi.json",
      "/readyz?verbose",
    ])
      t.match(await seen(call(path)), { status: 200 }, path);
    // A token is taken back and another given by a reload; one that is too short is refused, and said without being shown.
    writeFileSync(tokenFile, "short");
    t.match(await seen(call("/v1/config/reload", {})), {
      status: 400,
      body: /ops\.token holds a token of fewer than/,
    });
    writeFileSync(tokenFile, secrets.next);
    t.match(await seen(call("/v1/config/reload", {})), { status: 200 });
    t.equal((await seen(call("/v1/routes"))).status, 401);
    t.equal((await seen(caller(admin, secrets.next)("/v1/routes"))).status, 200);
    await proxy.says(/ROLLBACK_DONE[^]*webhook/);

    let said = "";
    const url = `http://${admin}`;
    for (const argv of [
      ["status", "--json"],
      ["journal", "--json"],
      ["health"],
      ["check", "-c", config],
      ["check", "-c", config, "--json"],
      ["status", "--token", secrets.wrong],
    ]) {
      const cli = command([...argv, ...(argv[0] === "check" ? [] : ["--admin", url])], {
        ...env,
        SLUICE_TOKEN: secrets.next,
      });
      await cli.ended;
      said += cli.output();
    }
    proxy.child.kill("SIGTERM");
    t.equal(await proxy.ended, 0);

    const kept = [state, backups].flatMap((at) => [
      at,
      ...readdirSync(at, { recursive: true }).map((name) => join(at, String(name))),
    ]);
    const modes = kept.map((path) => {
      const info = statSync(path);
      return `${(info.mode & 0o777).toString(8)} ${info.isDirectory() ? "folder" : "file"}`;
    });
    t.same([...new Set(modes)].toSorted(), ["600 file", "700 folder"]);
    for (const path of [reports, ...filesIn(reports)])
      t.equal(statSync(path).mode & 0o027, 0, `${path}: not for others`);

    const made = {
      admin: readFileSync(join(state, "admin.token"), "utf8").trim(),
      cookie: readFileSync(join(state, "cookie.key"), "utf8").trim(),
    };
    const written = filesIn(folder)
      .filter((path) => !/(?:admin\.token|cookie\.key|ops\.token)$/.test(path))
      .map((path) => readFileSync(path, "utf8"));
    t.ok(written.length >= 5, `looked at ${written.length} files`);
    const everything = [proxy.output(), said, ...written, JSON.stringify(answers)].join("\n");
    t.match(everything, /env\W+OVERRIDE/, "secrets are shown as their sources");
    for (const [name, value] of Object.entries({ ...secrets, ...made })) {
      t.notOk(everything.includes(value), `the ${name} is nowhere`);
      for (const form of ["hex", "base64"] as const)
        t.notOk(everything.includes(createHash("sha256").update(value).digest(form)), `nor its hash`);
    }
  },
);
