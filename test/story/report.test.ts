/** The report of a rollout, told by the whole program: the plan's own line over its files, the API, the command line. */

import { execFile } from "node:child_process";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import type { Report } from "../../src/domain/report.ts";
import { sluice } from "../support/cli.ts";
import { ask, program, type Program } from "../support/program.ts";
import { missing } from "../support/servers.ts";

const run = promisify(execFile);

const PLAN = {
  promotion: "off",
  steps: ["5%", "50%", "100%"].map((setWeight) => ({ setWeight, hold: "5s" })),
};

/** Users ask and seconds pass until the rollout is where `isThere` says, and the reports are written. */
async function walk(p: Program, isThere: (status: Awaited<ReturnType<Program["status"]>>) => boolean) {
  for (let second = 0; second < 60 && !isThere(await p.status()); second++) {
    await Promise.all(Array.from({ length: 60 }, (_, i) => p.get(`user-${second}-${i}`)));
    await p.clock.advance("1s");
  }
  if (!isThere(await p.status())) throw new Error(JSON.stringify(await p.status()));
}

/** The reports of a folder, as the shell's `deployment_*.json` finds them. */
async function filesIn(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder);
  return names.filter((name) => /^deployment_.*\.json$/.test(name)).map((name) => join(folder, name));
}

/** What the README's `jq '.events[] | select(.type == "DEPLOY_SUCCESS")'` prints over the files. */
async function successesIn(files: readonly string[]): Promise<readonly unknown[]> {
  const { stdout } = await run("jq", ["-c", '.events[] | select(.type == "DEPLOY_SUCCESS")', ...files]);
  return stdout
    .split("\n")
    .filter((each) => each !== "")
    .map((each): unknown => JSON.parse(each));
}

t.test(
  "after a full run the plan's own line prints exactly one success, across a restart (acceptance 27)",
  { skip: missing("jq") },
  async (t) => {
    const first = await program({}, { plans: {} });
    t.teardown(() => first.close());
    const started = await first.api("/v1/rollouts/app/start", {
      plan: PLAN,
      version: "4.1",
      reason: "release",
    });
    t.equal(started.status, 200, JSON.stringify(started.body));
    await walk(first, ({ step }) => step === 1);
    await first.stop();
    const p = await first.restart();
    t.teardown(() => p.stop());
    await walk(p, ({ phase }) => phase === "succeeded");
    await p.clock.advance("30s");

    const folder = join(p.folder, "reports");
    const files = await filesIn(folder);
    t.equal(files.length, 1, "one rollout, one file");
    t.match(files[0], /\/deployment_production_20260105T0900\d\dZ\.json$/);
    t.match(await successesIn(files), [
      { type: "DEPLOY_SUCCESS", route: "app", actor: "sluice", after: { phase: "succeeded", weight: 100 } },
    ]);
    t.equal((await successesIn(files)).length, 1);
    const report = JSON.parse(await readFile(files[0] ?? "", "utf8")) as Report;
    t.match(report, { status: "SUCCEEDED", startedBy: "local", reason: "release" });
    const { lines } = (await p.api("/v1/journal?route=app")).body as { lines: readonly { event: string }[] };
    t.same(
      report.events.map(({ type }) => type),
      lines.map(({ event }) => event),
      "every line of the journal, in its order",
    );

    const { reports } = (await p.api("/v1/reports?route=app")).body as { reports: readonly { id: string }[] };
    const [entry] = reports;
    t.match(reports, [{ route: "app", status: "SUCCEEDED", rollout: report.rollout }]);
    t.same((await p.api(`/v1/reports/${entry?.id}`)).body, report);
    const headers = { authorization: `Bearer ${p.running.token}`, accept: "text/markdown" };
    const markdown = await ask(`http://${p.running.adminAddress}`, {
      path: `/v1/reports/${entry?.id}`,
      headers,
    });
    t.equal(markdown.headers["content-type"], "text/markdown; charset=utf-8");
    t.match(markdown.body, /^# Rollout of app: SUCCEEDED\n/);
    t.match(markdown.body, "- Version: 4.1\n");
    t.match(markdown.body, "| 1 | 5 % | 5s |\n| 2 | 50 % | 5s |\n| 3 | 100 % | 5s |\n");
    t.match(markdown.body, /^\| 2 \| 50 % \| [^|]+ \| canary \| [1-9]\d* \| 0 \| 0\.00 % \| [\d.]+ ms \|/m);
    const where = ["--admin", `http://${p.running.adminAddress}`, "--token", p.running.token];
    t.match(await sluice(["report", "app", ...where]), { code: 0, out: markdown.body, err: "" });
    const json = await sluice(["report", entry?.id ?? "", "--json", ...where]);
    t.same(JSON.parse(json.out), report);
  },
);

t.test("a rollback is a report of its own, beside its evidence pack", async (t) => {
  const p = await program();
  t.teardown(() => p.close());
  await p.api("/v1/rollouts/app/start", { plan: PLAN, reason: "release" });
  await p.clock.advance("1s");
  await p.api("/v1/rollouts/app/rollback", { reason: "complaints" });
  await p.clock.advance("30s");
  const files = await filesIn(join(p.folder, "reports"));
  t.same(await successesIn(files), []);
  t.match(JSON.parse(await readFile(files[0] ?? "", "utf8")), {
    status: "ROLLED BACK",
    events: [
      { type: "DEPLOY_START" },
      { type: "BACKUP_CREATED" },
      { type: "ROLLBACK_DONE", actor: "local", reason: "complaints" },
    ],
  });
  t.ok((await readdir(join(p.folder, "reports"))).some((name) => name.startsWith("rollback_")));
});
