/** Drills over the running program: the whole way back, from the first failure to the message, and nothing of it reaches a user. */

import { readdir, readFile } from "node:fs/promises";
import { Server } from "node:net";
import { join } from "node:path";
import t from "tap";
import type { DrillReport } from "../../src/domain/drill.ts";
import { failing, program, type Program } from "../support/program.ts";
import { until } from "../support/until.ts";

t.setTimeout(100_000);

/** A drill under a moved clock takes seconds of the machine. */
const PATIENCE_MS = 60_000;

/** Moves the clock while the answer is awaited. */
async function during<T>(p: Program, work: Promise<T>): Promise<T> {
  const over = new AbortController();
  const done = work.finally(() => over.abort());
  while (!over.signal.aborted) {
    // Its disk has the real time: no second goes by before the last one is on record.
    if ((await p.status()).recorded) await p.clock.advance(50);
  }
  return done;
}

async function drilled(p: Program, body: object = {}) {
  const answer = await during(p, p.api("/v1/routes/app/drill", body));
  // The API's own contract.
  return { status: answer.status, report: answer.body as DrillReport };
}

t.test("a drill proves the way back, to the message, and files a report", async (t) => {
  const p = await program();
  t.teardown(() => p.close());
  const { status, report } = await drilled(p, { reason: "weekly" });
  t.equal(status, 200);
  t.same(
    report.checks.map(({ name, ok }) => [name, ok]),
    [
      ["both arms", true],
      ["rollback", true],
      ["next request", true],
      ["record", true],
      ["journal", true],
      ["evidence", true],
      ["notification log", true],
      ["restored", true],
    ],
    JSON.stringify(report.checks),
  );
  t.equal(report.passed, true);
  t.ok(report.figures.failed >= 5 && report.figures.failed <= 60, `${report.figures.failed} failures`);
  t.equal(report.figures.failedToClients, 0, "every failure of a GET was rescued");

  const [file] = (await readdir(join(p.folder, "reports"))).filter((name) => name.startsWith("drill_"));
  t.match(file, /^drill_production_app_\d{8}T\d{6}\.\d{3}Z\.json$/);
  t.same(JSON.parse(await readFile(join(p.folder, "reports", file!), "utf8")), report);
  t.match((await p.api("/v1/drills?route=app")).body, { drills: [{ file, passed: true }] });
  const { lines } = (await p.api("/v1/journal?route=app")).body as { lines: readonly { event: string }[] };
  t.same(
    lines.map(({ event }) => event),
    ["DRILL_STARTED", "DRILL_PASSED"],
  );
  const told = p.notices.filter(({ route }) => route === "app.drill");
  t.ok(told.length > 0);
  for (const { summary } of told) t.match(summary, /^DRILL, nothing has to be done: /);
});

t.test("no user takes part in a drill: the real route keeps weight, evidence and canary", async (t) => {
  const p = await program();
  t.teardown(() => p.close());
  await p.setWeight(50);
  for (let n = 0; n < 20; n++) await p.get(`u${n}`);
  await p.clock.advance("1s");
  const before = await p.status();
  t.equal((await p.api("/v1/routes/app/drill", {})).status, 409, "a weight by hand is a rollout under way");
  t.equal((await p.api("/v1/routes/app/drill", { force: true })).status, 400, "force has a reason");
  const seen = p.canary.requests;
  const { report } = await drilled(p, { force: true, reason: "now" });
  t.equal(report.passed, true, JSON.stringify(report.checks));
  t.equal(p.canary.requests, seen, "the real canary saw none of it");
  const after = await p.status();
  t.match(after, { weight: 50, phase: before.phase, version: before.version });
  t.equal(after.arms.canary.requests, before.arms.canary.requests);
  t.equal(after.arms.stable.requests, before.arms.stable.requests);
  t.same(
    ((await p.api("/v1/routes")).body as { routes: readonly { name: string }[] }).routes.map(
      ({ name }) => name,
    ),
    ["app"],
  );
});

t.test("a drill that meets a sick stable has failed, says so, and leaves nothing behind", async (t) => {
  const p = await program({ drill: { timeout: "20s" } });
  t.teardown(() => p.close());
  p.stable.answer = failing;
  const { status, report } = await drilled(p);
  t.equal(status, 200);
  t.equal(report.passed, false);
  t.match(report.sentence, /^drill failed: both arms/);
  t.match(p.notices.at(-1), { severity: "critical", event: "drill_failed", route: "app" });
  t.equal((await p.status()).weight, 0);
  t.equal((await p.api("/v1/routes/app.drill")).status, 404);
});

t.test("rules that cannot see it in time are found by a drill", async (t) => {
  const p = await program({
    drill: { timeout: "30s" },
    rollback: { onAny: [{ metric: "error_rate", above: "1%", for: "10m" }] },
  });
  t.teardown(() => p.close());
  const { report } = await drilled(p);
  t.match(report, {
    passed: false,
    checks: [
      { name: "both arms", ok: true },
      { name: "rollback", ok: false },
      { name: "restored", ok: true },
    ],
  });
});

t.test("a scheduled drill is made when its window opens, once", async (t) => {
  const schedule = { from: "10:00", to: "11:00" };
  const p = await program({ drill: { schedule } });
  t.teardown(() => p.close());
  const reports = async (): Promise<number> =>
    ((await p.api("/v1/drills")).body as { drills: readonly unknown[] }).drills.length;
  await p.clock.advance("59m", "10s");
  t.equal(await reports(), 0);
  await p.clock.advance("2m", "10s");
  await during(
    p,
    until("it is made", async () => (await reports()) > 0, PATIENCE_MS),
  );
  await p.clock.advance("30m", "10s");
  t.equal(await reports(), 1);
});

t.test("a drill whose canary finds no port has failed and says so, and ends nothing else", async (t) => {
  const p = await program({ drill: { schedule: { from: "10:00", to: "11:00" } } });
  t.teardown(() => p.close());
  const listens = t.capture(Server.prototype, "listen", function (this: Server) {
    const full = Object.assign(new Error("too many open files"), { code: "EMFILE" });
    process.nextTick(() => this.emit("error", full));
    return this;
  });
  const { status, report } = await drilled(p);
  t.equal(status, 200);
  t.match(report, {
    passed: false,
    checks: [
      { name: "drill", ok: false, detail: "EMFILE" },
      { name: "restored", ok: true },
    ],
    figures: { requests: 0, failed: 0 },
  });
  t.match(p.notices.at(-1), { severity: "critical", event: "drill_failed", route: "app" });

  // The scheduled one has nobody who would take a rejection.
  await p.clock.advance("61m", "10s");
  const failed = (): number => p.notices.filter(({ event }) => event === "drill_failed").length;
  await during(
    p,
    until("it has failed, too", () => failed() === 2, PATIENCE_MS),
  );
  t.equal(listens().length, 2);
  listens.restore();
  await p.stop();
  t.equal(p.clock.timers, 0, "all of it is closed");
});
