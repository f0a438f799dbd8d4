/** The checks before a rollout as an operator has them: a process, its file, the command line, and a canary that is asked and not measured. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { command, configFile, failing, service } from "../support/program.ts";
import { pidIn, runs, until } from "../support/preflight.ts";

t.setTimeout(60_000);

async function site(t: Test, preflightOf: (folder: string) => object) {
  const folder = mkdtempSync(join(tmpdir(), "sluice-preflight-"));
  const [stable, canary, hook] = [await service("stable"), await service("canary"), await service("hook")];
  const socket = `unix:${join(folder, "admin.sock")}`;
  const config = await configFile(folder, {
    listen: [{ address: "127.0.0.1:0" }],
    admin: { address: socket },
    state: `file:${join(folder, "state")}`,
    reports: join(folder, "reports"),
    environment: "test",
    drain: { delay: "0s", timeout: "1s" },
    notify: { webhook: { url: `${hook.url}/notices` } },
    routes: [
      {
        name: "app",
        stable: { endpoints: [stable.url] },
        canary: { endpoints: [canary.url], version: "4.0" },
        health: { interval: "50ms" },
        preflight: { ...preflightOf(folder), webhooks: [{ name: "calendar", url: `${hook.url}/go` }] },
      },
    ],
  });
  const running = command(["run", "-c", config]);
  await running.says(/"listen":/);
  t.teardown(async () => {
    running.child.kill("SIGKILL");
    await running.ended;
    for (const each of [stable, canary, hook]) await each.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const sluice = async (...args: readonly string[]) => {
    const process = command([...args, "--admin", socket, "--state", join(folder, "state")]);
    return { code: await process.ended, output: process.output() };
  };
  // The first probes have been made.
  for (let health = ""; !/stable .* healthy(.|\n)*canary .* healthy/.test(health);)
    health = (await sluice("health")).output;
  return { folder, running, canary, hook, sluice };
}

t.test("a good site passes, a canary that answers 500 does not, and none of it is evidence", async (t) => {
  const test = 'test "$SLUICE_ROUTE $SLUICE_VERSION $SLUICE_ENVIRONMENT" = "app 4.0 test" && echo as agreed';
  const { sluice, canary, hook } = await site(t, () => ({
    smoke: [{ path: "/", body: "canary" }],
    commands: [{ name: "names", run: ["sh", "-c", test] }],
  }));
  const good = await sluice("preflight", "app");
  t.equal(good.code, 0, good.output);
  for (const line of [
    /^ok {3}configuration +valid, and what is in force$/m,
    /^ok {3}arms +2\/2 endpoints healthy$/m,
    /^ok {3}clock +no jump since start; the canary's agrees$/m,
    /^ok {3}state +.* can be written/m,
    /^ok {3}notifier webhook +delivered$/m,
    /^ok {3}smoke +1 endpoint answered 1 request$/m,
    /^ok {3}command names +exit code 0: as agreed$/m,
    /^ok {3}webhook calendar +status 200$/m,
    /^10\/10 checks passed$/m,
  ])
    t.match(good.output, line);
  t.equal(canary.requests, 1);
  t.equal(hook.requests, 2);

  canary.answer = failing;
  const bad = await sluice("preflight", "app", "--version", "4.1");
  t.equal(bad.code, 1);
  t.match(bad.output, /^FAIL smoke +GET .*: status 500$/m);
  t.match(bad.output, /^2 of 10 failed: smoke, command names$/m);
  const status: unknown = JSON.parse((await sluice("status", "app", "--json")).output);
  const nothing = { requests: 0, failures: 0, excluded: 0, forced: { requests: 0, failures: 0 } };
  t.match(status, { phase: "idle", weight: 0, arms: { stable: nothing, canary: nothing } });
});

t.test("a program that is told to stop takes along what a check has started", async (t) => {
  const { folder, running, sluice } = await site(t, (here) => ({
    commands: [
      {
        name: "deaf",
        run: ["sh", "-c", "trap '' TERM; echo $$ > $0; while :; do sleep 1; done", join(here, "pid")],
      },
    ],
  }));
  const asked = sluice("preflight", "app");
  const pid = await pidIn(join(folder, "pid"));
  running.child.kill("SIGTERM");
  t.equal(await running.ended, 0);
  t.notSame((await asked).code, 0);
  await until(() => !runs(pid));
});
