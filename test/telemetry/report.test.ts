import { readFile, readdir, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import t from "tap";
import { createReports } from "../../src/telemetry/report.ts";
import { fakeClock } from "../support/clock.ts";
import { temporaryFolder } from "../support/disk.ts";
import { quietLog } from "../support/silence.ts";

const PACK = { route: "app", rollout: "r-1", requestsFailed: 12 };

t.test("an evidence pack is one whole JSON file, named by environment, route and time", async (t) => {
  const folder = join(await temporaryFolder(t), "reports");
  const clock = fakeClock();
  const reports = createReports({ folder, environment: "production", clock, log: quietLog() });
  const path = await reports.write(PACK);
  t.equal(path, join(folder, "rollback_production_app_20260105T090000.000Z.json"));
  t.same(JSON.parse(await readFile(path ?? "", "utf8")), PACK);
  await clock.advance("1s");
  t.match(await reports.write(PACK), /20260105T090001\.000Z\.json$/);
  t.equal((await readdir(folder)).length, 2, "nothing else is left");
});

t.test("packs of the same moment do not overwrite each other", async (t) => {
  const folder = await temporaryFolder(t);
  const reports = createReports({ folder, environment: "production", clock: fakeClock(), log: quietLog() });
  const paths = await Promise.all(
    [1, 2, 3].map((requestsFailed) => reports.write({ ...PACK, requestsFailed })),
  );
  t.equal(new Set(paths).size, 3);
  const counts = await Promise.all(
    paths.map(async (path) => JSON.parse(await readFile(path ?? "", "utf8")).requestsFailed),
  );
  t.same(
    counts.toSorted((a, b) => a - b),
    [1, 2, 3],
  );
});

t.test("no name leads out of the folder", async (t) => {
  const folder = await temporaryFolder(t);
  const reports = createReports({ folder, environment: "../up", clock: fakeClock(), log: quietLog() });
  const path = await reports.write({ ...PACK, route: "../../etc/a\u0000b" });
  t.same(await readdir(folder), [basename(path ?? "")]);
});

t.test("a pack that cannot be written is logged and is undefined", async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, "file"), "");
  const log = quietLog();
  const clock = fakeClock();
  const nowhere = createReports({ folder: join(folder, "file"), environment: "e", clock, log });
  t.equal(await nowhere.write(PACK), undefined);
  const reports = createReports({ folder, environment: "e", clock, log });
  t.equal(await reports.write({ ...PACK, count: 1n }), undefined);
  t.match(log.lines, [
    { level: "error", fields: { route: "app", rollout: "r-1" } },
    { level: "error", fields: { route: "app" } },
  ]);
  t.same(await readdir(folder), ["file"], "no partial file");
});
