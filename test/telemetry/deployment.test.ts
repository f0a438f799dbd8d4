/** The reports that are kept beside the journal: made of it, behind it, never in its way. */

import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import t, { type Test } from "tap";
import type { Report } from "../../src/domain/report.ts";
import { ppm } from "../../src/domain/units.ts";
import type { Journal, JournalEntry } from "../../src/engine/ports.ts";
import { keepDeployments, type Deployments } from "../../src/telemetry/deployment.ts";
import { openJournal, type OpenJournal } from "../../src/telemetry/journal.ts";
import { reportShelf } from "../../src/telemetry/report-shelf.ts";
import { fakeClock, type FakeClock } from "../support/clock.ts";
import { killAfter } from "../support/crash.ts";
import { temporaryFolder, tinyDisk } from "../support/disk.ts";
import { quietLog } from "../support/silence.ts";
import { rolloutEntry } from "./entries.ts";

/** A journal with its reports, in a folder. */
interface Desk {
  readonly folder: string;
  readonly reports: string;
  readonly clock: FakeClock;
  readonly log: ReturnType<typeof quietLog>;
  readonly inner: OpenJournal;
  readonly kept: Deployments;
  append(event: string, more?: Partial<JournalEntry>): Promise<boolean>;
  /** Waits until the reports are up to date, and goes on keeping them. */
  settle(): Promise<void>;
  close(): Promise<void>;
}

async function desk(
  t: Test,
  folder: string,
  parts: {
    readonly clock?: FakeClock;
    readonly environment?: string;
    readonly wrap?: (journal: Journal) => Journal;
  } = {},
): Promise<Desk> {
  const { clock = fakeClock(), environment = "production", wrap = (each) => each } = parts;
  const log = quietLog();
  const inner = await openJournal({ path: join(folder, "journal.jsonl"), clock, log });
  t.teardown(() => inner.close());
  const reports = join(folder, "reports");
  const kept = keepDeployments({ journal: wrap(inner), folder: reports, environment, clock, log });
  t.teardown(() => kept.close());
  return {
    folder,
    reports,
    clock,
    log,
    inner,
    kept,
    append: (event, more = {}) => kept.journal.append(rolloutEntry(event, more)),
    settle: () => clock.advance("30s"),
    async close() {
      await kept.close();
      await inner.close();
    },
  };
}

const STEM = "deployment_production_20260105T090000Z";

async function reportIn(folder: string, file = `${STEM}.json`): Promise<Report> {
  return JSON.parse(await readFile(join(folder, file), "utf8")) as Report;
}
const typesOf = ({ events }: Report): readonly string[] => events.map(({ type }) => type);
const ROLLED_BACK = { after: { phase: "rolled_back", step: 0, weight: ppm(0) } } as const;

t.test(
  "a rollout has one file from its start on, which grows with the journal, and Markdown beside it",
  async (t) => {
    const at = await desk(t, await temporaryFolder(t));
    t.equal(await at.append("DEPLOY_START", { reason: "4.1 is ready" }), true);
    await at.settle();
    t.same((await readdir(at.reports)).toSorted(), [`${STEM}.json`, `${STEM}.md`]);
    t.match(await reportIn(at.reports), {
      status: "RUNNING",
      route: "app",
      rollout: "r-1",
      events: { length: 1 },
    });
    await Promise.all(["CHECKPOINT", "CHECKPOINT", "STEP_STARTED"].map((event) => at.append(event)));
    await at.append("DEPLOY_SUCCESS", { after: { phase: "succeeded", step: 1, weight: ppm(1_000_000) } });
    await at.settle();
    const report = await reportIn(at.reports);
    t.same(typesOf(report), ["DEPLOY_START", "CHECKPOINT", "CHECKPOINT", "STEP_STARTED", "DEPLOY_SUCCESS"]);
    t.equal(report.status, "SUCCEEDED");
    const lines = await at.kept.journal.read({ limit: 10 });
    t.same(
      report.events.map(({ seq, timestamp }) => [seq, timestamp]),
      lines.map(({ seq, at: when }) => [seq, when]),
    );
    t.match(await readFile(join(at.reports, `${STEM}.md`), "utf8"), /^# Rollout of app: SUCCEEDED\n/);
    t.same((await readdir(at.reports)).toSorted(), [`${STEM}.json`, `${STEM}.md`], "nothing else is left");
  },
);

t.test(
  "two rollouts on two routes, in one second, are two files; what is no rollout's is in none",
  async (t) => {
    const at = await desk(t, await temporaryFolder(t));
    const api = { route: "api", rollout: "r-2" };
    await at.append("DEPLOY_START");
    await at.append("DEPLOY_START", api);
    await at.append("STATE_CORRUPT", { route: "", rollout: "" });
    await at.append("STEP_STARTED", api);
    await at.append("CHECKPOINT");
    await at.settle();
    const files = (await readdir(at.reports)).filter((each) => each.endsWith("json")).toSorted();
    t.same(files, [`${STEM}-2.json`, `${STEM}.json`]);
    t.match(await reportIn(at.reports), { route: "app", rollout: "r-1" });
    t.same(typesOf(await reportIn(at.reports)), ["DEPLOY_START", "CHECKPOINT"]);
    t.match(await reportIn(at.reports, `${STEM}-2.json`), { route: "api", rollout: "r-2" });
    t.same(typesOf(await reportIn(at.reports, `${STEM}-2.json`)), ["DEPLOY_START", "STEP_STARTED"]);
  },
);

t.test(
  "a rollout goes on in its file after a restart, and what a kill left behind is caught up (reliability 36)",
  async (t) => {
    const folder = await temporaryFolder(t);
    const before = await desk(t, folder);
    await before.append("DEPLOY_START");
    await before.append("STEP_STARTED");
    await before.settle();
    // Killed between the line and the report.
    await before.inner.append(
      rolloutEntry("DEPLOY_SUCCESS", { after: { phase: "succeeded", step: 1, weight: ppm(1) } }),
    );
    await before.close();
    t.equal((await reportIn(before.reports)).status, "RUNNING");

    const after = await desk(t, folder, { clock: before.clock });
    await after.settle();
    t.same(typesOf(await reportIn(after.reports)), ["DEPLOY_START", "STEP_STARTED", "DEPLOY_SUCCESS"]);
    t.equal((await reportIn(after.reports)).status, "SUCCEEDED");
    await after.append("ROLLBACK_DONE", ROLLED_BACK);
    await after.settle();
    t.same(typesOf(await reportIn(after.reports)).slice(2), ["DEPLOY_SUCCESS", "ROLLBACK_DONE"]);
    t.same((await readdir(after.reports)).toSorted(), [`${STEM}.json`, `${STEM}.md`]);
  },
);

t.test("a rollout whose beginning is far back in the journal is told from its beginning", async (t) => {
  const folder = await temporaryFolder(t);
  const { inner } = await desk(t, folder);
  const old = { rollout: "r-0" };
  await inner.append(rolloutEntry("ROLLBACK_DONE", { ...old, ...ROLLED_BACK }));
  await inner.append(rolloutEntry("DEPLOY_START"));
  for (let i = 0; i < 300; i += 1) await inner.append(rolloutEntry("CHECKPOINT"));
  for (let i = 0; i < 300; i += 1)
    await inner.append(rolloutEntry("CHECKPOINT", { route: "api", rollout: "r-2" }));
  await inner.close();
  await rm(join(folder, "reports"), { recursive: true, force: true });

  const at = await desk(t, folder);
  await at.append("DEPLOY_SUCCESS", { after: { phase: "succeeded", step: 1, weight: ppm(1) } });
  await at.settle();
  const entries = await reportShelf(at.reports).list({ limit: 9, route: "app" });
  t.match(entries, [{ rollout: "r-1", status: "SUCCEEDED" }]);
  const report = await reportIn(at.reports, entries[0]?.file);
  t.equal(report.events.length, 302);
  t.equal(report.events[0]?.type, "DEPLOY_START");
});

t.test(
  "what is appended after the end is left to the next start, and nothing is written any more",
  async (t) => {
    const folder = await temporaryFolder(t);
    const at = await desk(t, folder);
    await at.append("DEPLOY_START");
    await at.kept.close();
    t.same(typesOf(await reportIn(at.reports)), ["DEPLOY_START"], "what waited was written");
    await rm(at.reports, { recursive: true });
    t.equal(await at.append("CHECKPOINT"), true);
    await at.kept.close();
    t.same(await readdir(folder), ["journal.jsonl"]);
    await at.inner.close();
    const again = await desk(t, folder);
    await again.settle();
    t.same(typesOf(await reportIn(again.reports)), ["DEPLOY_START", "CHECKPOINT"]);
  },
);

t.test(
  "a scheduled rollout has a file from its start on, named by it, in which its announcement stands",
  async (t) => {
    const folder = await temporaryFolder(t);
    const before = await desk(t, folder);
    const scheduled = { phase: "scheduled", step: 0, weight: ppm(0) } as const;
    await before.append("ROLLOUT_SCHEDULED", { after: scheduled });
    await before.settle();
    t.same(await reportShelf(before.reports).list({ limit: 9 }), []);
    t.same(before.log.lines, []);
    await before.close();
    const at = await desk(t, folder, { clock: before.clock });
    await at.append("DEPLOY_START", { before: scheduled });
    await at.settle();
    const [entry] = await reportShelf(at.reports).list({ limit: 9 });
    t.match(entry, { id: "deployment_production_20260105T090030Z", startedAt: "2026-01-05T09:00:30.000Z" });
    t.same(typesOf(await reportIn(at.reports, entry?.file)), ["ROLLOUT_SCHEDULED", "DEPLOY_START"]);
  },
);

t.test("a rollout over which another is started is not said to run on", async (t) => {
  const at = await desk(t, await temporaryFolder(t));
  await at.append("DEPLOY_START");
  await at.settle();
  await at.append("DEPLOY_START", { rollout: "r-2" });
  await at.append("DEPLOY_START", { rollout: "r-3" });
  await at.settle();
  const entries = await reportShelf(at.reports).list({ limit: 9 });
  t.same(
    entries.map(({ rollout, status }) => [rollout, status]),
    [
      ["r-3", "RUNNING"],
      ["r-2", "REPLACED"],
      ["r-1", "REPLACED"],
    ],
  );
});

t.test("a full disk delays a report and nothing else, and is said once (reliability 36)", async (t) => {
  const disk = await tinyDisk(t);
  if (disk === undefined) {
    t.plan(0, "no mount allowed here");
    return;
  }
  const clock = fakeClock();
  const log = quietLog();
  const journal = await openJournal({ path: join(await temporaryFolder(t), "journal.jsonl"), clock, log });
  t.teardown(() => journal.close());
  const kept = keepDeployments({
    journal,
    folder: join(disk.folder, "r"),
    environment: "production",
    clock,
    log,
  });
  t.teardown(() => kept.close());
  await kept.journal.append(rolloutEntry("DEPLOY_START"));
  await clock.advance("30s");
  await disk.fill();
  const details = { text: "x".repeat(2000) };
  for (let i = 0; i < 10; i += 1)
    t.equal(await kept.journal.append(rolloutEntry("CHECKPOINT", { details })), true, "the journal goes on");
  await clock.advance("90s");
  t.equal(log.lines.filter(({ level }) => level === "error").length, 1);
  t.match(await reportIn(join(disk.folder, "r")), { events: { length: 1 } }, "the last whole one is there");
  await disk.empty();
  await clock.advance("30s");
  t.equal((await reportIn(join(disk.folder, "r"))).events.length, 11);
  t.match(log.lines.at(-1), { level: "info", message: "reports can be written again" });
  t.same((await readdir(join(disk.folder, "r"))).toSorted(), [`${STEM}.json`, `${STEM}.md`]);
});

t.test("a folder that cannot be made fails no append", async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, "reports"), "a file");
  const at = await desk(t, folder);
  t.equal(await at.append("DEPLOY_START"), true);
  await at.settle();
  t.match(at.log.lines, [{ level: "error", fields: { route: "app", rollout: "r-1" } }]);
  await rm(join(folder, "reports"));
  await at.settle();
  t.same(typesOf(await reportIn(at.reports)), ["DEPLOY_START"], "it is tried again");
});

t.test("an append that fails, or takes its time, is in no report before it is in the journal", async (t) => {
  let answer: "yes" | "no" = "no";
  let letGo = (): void => {};
  const at = await desk(t, await temporaryFolder(t), {
    wrap: (journal) => ({
      append: async (entry) => {
        if (answer === "no") return false;
        if (entry.event === "SLOW") await new Promise<void>((resolve) => (letGo = resolve));
        return journal.append(entry);
      },
      read: (asked) => journal.read(asked),
    }),
  });
  t.equal(await at.append("DEPLOY_START"), false);
  await at.settle();
  t.same(await reportShelf(at.reports).list({ limit: 9 }), []);
  answer = "yes";
  await at.append("DEPLOY_START");
  const slow = at.append("SLOW");
  await at.settle();
  t.same(typesOf(await reportIn(at.reports, "deployment_production_20260105T090030Z.json")), [
    "DEPLOY_START",
  ]);
  letGo();
  await slow;
  await at.settle();
  t.same(typesOf(await reportIn(at.reports, "deployment_production_20260105T090030Z.json")), [
    "DEPLOY_START",
    "SLOW",
  ]);
});

t.test("a journal that could not be read for a while is read again, and no line is missing", async (t) => {
  let isBlind = false;
  const at = await desk(t, await temporaryFolder(t), {
    wrap: (journal) => ({
      append: (entry) => journal.append(entry),
      read: (asked) => (isBlind ? Promise.resolve([]) : journal.read(asked)),
    }),
  });
  await at.append("DEPLOY_START");
  await at.settle();
  isBlind = true;
  await at.append("STEP_STARTED");
  await at.settle();
  isBlind = false;
  await at.append("CHECKPOINT");
  await at.settle();
  t.same(typesOf(await reportIn(at.reports)), ["DEPLOY_START", "STEP_STARTED", "CHECKPOINT"]);
  const broken = await desk(t, await temporaryFolder(t), {
    wrap: (journal) => ({
      append: (entry) => journal.append(entry),
      read: () => Promise.reject(new Error("bug")),
    }),
  });
  t.equal(await broken.append("DEPLOY_START"), true, "not even a bug fails the journal");
  await broken.settle();
  t.match(broken.log.lines, [{ level: "error", fields: { error: Error } }, { level: "error" }]);
});

t.test(
  "memory is bounded: reports of many routes are let go of, and read again when they go on",
  async (t) => {
    const at = await desk(t, await temporaryFolder(t));
    const routes = Array.from({ length: 40 }, (_, i) => ({ route: `route-${i}`, rollout: `r-${i}` }));
    for (const each of routes) await at.append("DEPLOY_START", each);
    await at.settle();
    for (const each of routes) await at.append("CHECKPOINT", each);
    await at.settle();
    const entries = await reportShelf(at.reports).list({ limit: 99 });
    t.equal(entries.length, 40);
    for (const { file } of entries)
      t.same(typesOf(await reportIn(at.reports, file)), ["DEPLOY_START", "CHECKPOINT"]);
  },
);

t.test("a file that is none of ours, or a folder of that name, is left as it is", async (t) => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, "reports", `${STEM}-2.json`), { recursive: true });
  await writeFile(join(folder, "reports", `${STEM}.json`), "{}");
  const at = await desk(t, folder);
  await at.append("DEPLOY_START");
  await at.append("STEP_STARTED");
  await at.settle();
  t.equal(await readFile(join(at.reports, `${STEM}.json`), "utf8"), "{}");
  t.same(typesOf(await reportIn(at.reports, `${STEM}-3.json`)), ["DEPLOY_START", "STEP_STARTED"]);
});

t.test("no name leads out of the folder", async (t) => {
  const at = await desk(t, await temporaryFolder(t), { environment: "../../up/a\u0000b" });
  await at.append("DEPLOY_START", { route: "../../etc", rollout: "../r" });
  await at.settle();
  t.same((await readdir(at.folder)).toSorted(), ["journal.jsonl", "reports"]);
  const files = await readdir(at.reports);
  t.equal(files.length, 2);
  const shelf = reportShelf(at.reports);
  const [entry] = await shelf.list({ limit: 1 });
  t.type(await shelf.read(entry?.id ?? "", "json"), "string");
});

t.test("nothing outside of the reports can be read by an id", async (t) => {
  const at = await desk(t, await temporaryFolder(t));
  await at.append("DEPLOY_START");
  await at.settle();
  await writeFile(join(at.reports, "rollback_production_app_20260105T090000.000Z.json"), "{}");
  await writeFile(join(at.folder, `${STEM}.json`), "secret");
  const shelf = reportShelf(at.reports);
  for (const id of [
    `../${STEM}`,
    `./${STEM}`,
    `deployment_../../${STEM}`,
    "../journal",
    "rollback_production_app_20260105T090000.000Z",
    `${STEM}\u0000`,
    `${STEM}.json`,
    "deployment_production_20260105T090001Z",
    "",
  ])
    t.equal(await shelf.read(id, "json"), undefined, JSON.stringify(id));
  t.match(await shelf.read(STEM, "md"), /^# Rollout/);
});

t.test("a list is newest first, in its bounds, and leaves out what is no report", async (t) => {
  const at = await desk(t, await temporaryFolder(t));
  const shelf = reportShelf(at.reports);
  t.same(await shelf.list({ limit: 5 }), [], "no folder yet");
  for (let i = 1; i <= 11; i += 1)
    await at.append("DEPLOY_START", { route: `route-${i}`, rollout: `r-${i}` });
  await at.settle();
  await at.append("DEPLOY_START");
  await at.settle();
  await writeFile(join(at.reports, "deployment_production_20260105T100000Z.json"), "{}");
  await mkdir(join(at.reports, "deployment_production_20260105T100001Z.json"));
  await writeFile(join(at.reports, "notes.json"), "{}");
  const routes = (await shelf.list({ limit: 99 })).map(({ route }) => route);
  t.same(routes.slice(0, 3), ["app", "route-11", "route-10"]);
  t.equal(routes.length, 12);
  t.equal((await shelf.list({ limit: 2 })).length, 2);
  t.match(await shelf.list({ limit: 2, route: "route-3" }), [
    { id: `${STEM}-3`, file: `${STEM}-3.json`, route: "route-3", status: "RUNNING", endedAt: null },
  ]);
  await rm(at.reports, { recursive: true });
  await writeFile(at.reports, "");
  await t.rejects(shelf.list({ limit: 1 }), { code: "ENOTDIR" });
  await t.rejects(shelf.read(STEM, "json"), { code: "ENOTDIR" });
});

t.test(
  "killed at any moment, the report is whole, and the next start makes it complete (reliability 36)",
  async (t) => {
    const folder = await temporaryFolder(t);
    const script = join(import.meta.dirname, "reporter.ts");
    let seen = 0;
    for (const lines of [3, 7, 9, 12, 14, 17]) {
      await killAfter(script, [folder], lines);
      const reports = join(folder, "reports");
      const names = await readdir(reports).catch(() => []);
      for (const name of names.filter((each) => /^deployment_.*\.json$/.test(each))) {
        t.match(await reportIn(reports, name), { status: "RUNNING" }, "whole before anybody mends it");
        seen += 1;
      }
    }
    t.ok(seen > 0, "there was a report to look at");
    const at = await desk(t, folder);
    await at.settle();
    const entries = await reportShelf(at.reports).list({ limit: 9 });
    t.equal(entries.length, 1);
    const report = await reportIn(at.reports, entries[0]?.file);
    const journal = await at.inner.read({ limit: 9999 });
    t.same(
      report.events.map(({ seq }) => seq),
      journal.map(({ seq }) => seq),
    );
    t.ok(journal.length >= 22, `${journal.length} lines`);
    const left = (await readdir(at.reports)).filter((name) => name.startsWith("."));
    t.ok(
      left.length <= 5,
      `what kills leave behind does not pile up: ${left.map((each) => basename(each)).join(" ")}`,
    );
  },
);
