/** Backups on real disks: whole or not there, bounded, and readable to the last file. */

import fc from "fast-check";
import { mkdir, readFile, readdir, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import t, { type Test } from "tap";
import { openBackups, readBackup, type BackupsOptions } from "../../src/store/backups.ts";
import { decodeState } from "../../src/store/document.ts";
import { nodeDisk } from "../../src/store/disk.ts";
import { fileStore } from "../../src/store/file.ts";
import { fakeClock } from "../support/clock.ts";
import { killAfter } from "../support/crash.ts";
import { failingDisk, platformError, temporaryFolder, tinyDisk } from "../support/disk.ts";
import { quietLog } from "../support/silence.ts";
import { documentOf, rollout, saveTo } from "./documents.ts";

const HEAD = { seq: 12, hash: "b".repeat(64) };
const CONFIG = Buffer.from("\ufeff# as it was read\nroutes: []\n");

/** Backups of a state that was saved `saves` times; `more` says otherwise. */
async function site(t: Test, saves = 3, more: Partial<BackupsOptions> = {}, root?: string) {
  const at = root ?? (await temporaryFolder(t));
  const [folder, state] = [join(at, "backups"), join(at, "state")];
  const store = await fileStore(state, quietLog());
  await saveTo(store, saves);
  const clock = fakeClock();
  const log = quietLog();
  const options: BackupsOptions = {
    folder,
    state,
    config: () => CONFIG,
    journal: () => Promise.resolve(HEAD),
    program: "0.1.0",
    keep: 3,
    days: 2,
    clock,
    log,
    ...more,
  };
  return { folder, state, store, clock, log, options, backups: openBackups(options) };
}

/** What can be seen in a folder, hidden names left out. */
async function seen(folder: string): Promise<readonly string[]> {
  return (await readdir(folder).catch(() => [])).filter((name) => !name.startsWith(".")).toSorted();
}

t.test(
  "a backup is one folder with the state, the configuration as read, the journal's end and a manifest over them",
  async (t) => {
    const { folder, backups, log } = await site(t);
    const name = "20260105T090000.000Z_before_start";
    const info = {
      name,
      at: "2026-01-05T09:00:00.000Z",
      reason: "before_start",
      program: "0.1.0",
      version: 3,
      routes: { app: { phase: "progressing", weight: 5, rollout: "r-1" } },
    } as const;
    t.same(await backups.create("before_start"), { ok: true, name, info });
    const at = join(folder, name);
    t.same((await readdir(at)).toSorted(), ["config.yaml", "journal.head", "manifest.json", "state.json"]);
    t.same(await readFile(join(at, "config.yaml")), CONFIG, "byte for byte");
    t.same(JSON.parse(await readFile(join(at, "journal.head"), "utf8")), HEAD);
    t.match(decodeState(await readFile(join(at, "state.json"), "utf8")), {
      ok: true,
      document: documentOf(3),
    });
    for (const each of ["config.yaml", "journal.head", "manifest.json", "state.json"])
      t.equal((await stat(join(at, each))).mode & 0o777, 0o600, each);
    t.equal((await stat(at)).mode & 0o777, 0o700);
    t.same(await backups.list(), [info]);
    t.same(await backups.load(name), { ok: true, info, document: documentOf(3), head: HEAD });
    t.match(log.lines.at(-1), { level: "info", fields: { name } });
  },
);

t.test("a backup takes what was saved last, also where another process put an older file back", async (t) => {
  const { state, backups } = await site(t, 9);
  await rename(join(state, "state.json.last"), join(state, "state.json"));
  t.match(await backups.create("manual"), { ok: true, info: { version: 9 } });
});

t.test(
  "before anything was saved there is a backup without a state, and one a day is not begun",
  async (t) => {
    const { folder, backups, clock } = await site(t, 0, {
      config: () => undefined,
      journal: () => Promise.resolve(undefined),
    });
    const stop = backups.daily();
    await clock.advance("25h");
    t.same(await seen(folder), [], "nothing can be lost yet");
    stop();
    const made = await backups.create("before_start");
    t.match(made, { ok: true, info: { version: 0 } });
    if (!made.ok) return;
    t.same(made.info.routes, {});
    t.same(await readdir(join(folder, made.name)), ["journal.head", "manifest.json"]);
    t.match(await backups.load(made.name), { ok: true, document: undefined, head: { seq: 0 } });
  },
);

t.test(
  "a state that is damaged is not backed up, nor moved aside by the attempt, and that is said (reliability 36)",
  async (t) => {
    const { folder, state, backups, log } = await site(t);
    await writeFile(join(state, "state.json"), "{");
    t.match(await backups.create("manual"), {
      ok: false,
      detail: /the state cannot be read: it is not JSON/,
    });
    t.same(await seen(folder), []);
    t.equal(await readFile(join(state, "state.json"), "utf8"), "{", "left where it is");
    t.match(log.lines.at(-1), { level: "error", fields: { reason: "manual" } });
  },
);

t.test(
  "a reason cannot lead out of the folder, and backups of one moment do not replace each other",
  async (t) => {
    const { folder, backups } = await site(t, 3, { keep: 100 });
    const names: string[] = [];
    for (const reason of ["../../etc", "a b\u0007/ü", "", "x".repeat(200), "same", "same", "same"]) {
      const made = await backups.create(reason);
      t.ok(made.ok);
      if (made.ok) names.push(made.name);
    }
    t.equal(new Set(names).size, names.length);
    const [up, odd, empty, long] = names;
    t.equal(up, "20260105T090000.000Z_------etc");
    t.equal(odd, "20260105T090000.000Z_a-b---");
    t.equal(empty, "20260105T090000.000Z_unnamed");
    t.ok(long!.length < 80);
    t.match(names.slice(-3), [/_same$/, /_same-2$/, /_same-3$/]);
    t.ok((await seen(folder)).length >= 3);
    t.match(
      (await backups.list()).map(({ reason }) => reason).includes("same"),
      true,
      "the manifest has it whole",
    );
  },
);

t.test("what was changed in a backup is found before it is used, and no name leads elsewhere", async (t) => {
  const { folder, state, backups, options } = await site(t);
  const made = await backups.create("manual");
  if (!made.ok) throw new Error(made.detail);
  const at = join(folder, made.name);
  for (const file of ["state.json", "config.yaml", "journal.head"]) {
    const before = await readFile(join(at, file));
    await writeFile(join(at, file), Buffer.concat([before, Buffer.from(" ")]));
    t.match(await readBackup(folder, made.name), {
      ok: false,
      kind: "damaged",
      detail: `its ${file} is not what was backed up`,
    });
    await rm(join(at, file));
    t.match(await readBackup(folder, made.name), { ok: false, detail: `its ${file} cannot be read` });
    await writeFile(join(at, file), before);
  }
  t.match(await backups.load(made.name), { ok: true });
  for (const text of ["", "{", "[]", '{"format":2}']) {
    await writeFile(join(at, "manifest.json"), text);
    t.match(await backups.load(made.name), { ok: false, kind: "damaged", detail: /manifest\.json/ });
  }
  t.same(await backups.list(), []);
  const secret = join(state, "manifest.json");
  await writeFile(secret, "{}");
  for (const name of ["../state", "..", "", ".", "20260105T090000.000Z_../x", "20260105T090000.000Z_none"])
    t.match(await backups.load(name), { ok: false, kind: "missing" }, name);
  t.same(await openBackups({ ...options, folder: `${folder}.none` }).list(), []);
});

t.test(
  "the last few stay and one a day; what a dead process left goes, what another one makes stays",
  async (t) => {
    const { folder, backups, clock } = await site(t, 3, { keep: 3, days: 3 });
    const made: string[] = [];
    const make = async (): Promise<void> => {
      const each = await backups.create("n");
      if (each.ok) made.push(each.name);
    };
    for (let n = 0; n < 10; n += 1) {
      await make();
      await clock.advance("6h");
    }
    // From Monday 9:00 in steps of six hours: the last three, and the last one of each day.
    t.same(await seen(folder), [made[2], made[6], made[7], made[8], made[9]]);
    await mkdir(join(folder, ".making-dead"));
    await mkdir(join(folder, ".removing-dead"));
    await mkdir(join(folder, ".making-alive"));
    await mkdir(join(folder, "notes"));
    const old = new Date((await stat(folder)).mtimeMs - 700_000);
    await utimes(join(folder, ".making-dead"), old, old);
    await utimes(join(folder, ".removing-dead"), old, old);
    await make();
    t.same(
      (await readdir(folder)).filter((name) => name.startsWith(".")),
      [".making-alive"],
    );
    t.ok((await seen(folder)).includes("notes"), "what is no backup is nobody's to remove");
  },
);

t.test("a clock that was set back removes neither the newest nor the one just made", async (t) => {
  const { folder, backups, clock } = await site(t, 3, { keep: 1, days: 0 });
  const first = await backups.create("a");
  clock.jumpWall(-86_400_000);
  const second = await backups.create("b");
  t.ok(first.ok && second.ok);
  if (first.ok && second.ok) t.same(await seen(folder), [second.name, first.name]);
});

t.test(
  "any sequence of backups and times keeps the newest, and at least as many as are to be kept",
  async (t) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 200_000_000 }), { minLength: 1, maxLength: 12 }),
        fc.integer({ min: 1, max: 4 }),
        fc.nat({ max: 3 }),
        async (gaps, keep, days) => {
          const { folder, backups, clock } = await site(t, 1, { keep, days });
          for (const [index, gap] of gaps.entries()) {
            clock.jumpWall(gap);
            const made = await backups.create("p");
            const names = await seen(folder);
            if (!made.ok || names.at(-1) !== made.name) return false;
            if (names.length < Math.min(keep, index + 1) || names.length > keep + days + 1) return false;
          }
          return (await backups.list()).length === (await seen(folder)).length;
        },
      ),
      { numRuns: 25 },
    );
  },
);

for (const stays of [false, true]) {
  t.test(
    `whichever call of a backup fails, ${stays ? "for good" : "once"}, it is there whole or not at all (reliability 36)`,
    async (t) => {
      let sweeps = 0;
      for (let failAt = 1; ; failAt += 1) {
        const disk = failingDisk(failAt, failAt % 2 ? "ENOSPC" : "EROFS", stays);
        const { folder, backups, clock, options } = await site(t, 3, { disk, keep: 1, days: 0 });
        const before = await openBackups({ ...options, disk: nodeDisk }).create("before");
        clock.jumpWall(60_000);
        const made = await backups.create("n");
        const healthy = openBackups({ ...options, disk: nodeDisk });
        const names = await seen(folder);
        for (const name of names) t.match(await healthy.load(name), { ok: true }, `call ${failAt}: ${name}`);
        if (made.ok) t.ok(names.includes(made.name), `call ${failAt}: acknowledged and there`);
        else t.ok(before.ok && names.includes(before.name), `call ${failAt}: the one of before stays`);
        const making = (await readdir(folder)).filter((name) => name.startsWith(".making-"));
        t.same(making, [], `call ${failAt}: nothing half made`);
        sweeps += 1;
        if (disk.calls < failAt) break;
      }
      t.ok(sweeps > 10, `${sweeps} faults were played`);
    },
  );
}

t.test("on a disk that is really full no backup is made and none is lost (reliability 36)", async (t) => {
  const disk = await tinyDisk(t);
  if (disk === undefined) {
    t.plan(0, "no mount allowed here");
    return;
  }
  const { folder, backups, clock } = await site(t, 3, { keep: 1, days: 0 }, disk.folder);
  const first = await backups.create("first");
  await disk.fill();
  clock.jumpWall(1000);
  t.match(await backups.create("second"), { ok: false, detail: /ENOSPC/ });
  t.same(await readdir(folder), first.ok ? [first.name] : []);
  await disk.empty();
  t.match(await backups.create("third"), { ok: true });
});

t.test(
  "killed twenty times in the middle of making one, every backup that can be seen is whole (reliability 36, 47)",
  async (t) => {
    const root = await temporaryFolder(t);
    const folder = join(root, "backups");
    for (let kill = 1; kill <= 20; kill += 1) {
      const acknowledged = await killAfter(
        join(import.meta.dirname, "backup-writer.ts"),
        [root],
        1 + (kill % 4),
      );
      const names = await seen(folder);
      t.ok(names.includes(acknowledged.at(-1)!) || names.at(-1)! > acknowledged.at(-1)!, `kill ${kill}`);
      for (const name of names)
        t.match(await readBackup(folder, name), { ok: true }, `kill ${kill}: ${name}`);
      t.ok(names.length <= 5, `kill ${kill}: ${names.length} backups`);
    }
  },
);

t.test(
  "one is made a day, the first when the newest is a day old, by time in service (reliability 37)",
  async (t) => {
    const { folder, backups, clock, options } = await site(t, 3, { keep: 50 });
    await openBackups(options).create("manual");
    clock.jumpWall(20 * 3_600_000);
    const stop = backups.daily();
    await clock.advance("3h");
    t.equal((await seen(folder)).length, 1, "the newest is 23 hours old");
    await clock.advance("2h");
    t.equal((await seen(folder)).length, 2);
    clock.jumpWall(86_400_000 * 7);
    await clock.advance("20h");
    t.equal((await seen(folder)).length, 2, "a clock that jumps makes none");
    await clock.advance("5h");
    t.equal((await seen(folder)).length, 3);
    stop();
    await clock.advance("50h");
    t.equal((await seen(folder)).length, 3);
    t.equal(clock.timers, 0);
    // A backup of the future, by a clock that was wrong: it does not hold up the day's.
    clock.jumpWall(-86_400_000 * 30);
    const again = openBackups(options);
    const end = again.daily();
    await clock.advance("1h");
    t.equal((await seen(folder)).length, 4);
    end();
  },
);

t.test(
  "a day's backup that could not be made is tried again an hour later, and said each time",
  async (t) => {
    let full = true;
    const disk = {
      ...nodeDisk,
      makeFolder: (path: string, mode: number) =>
        full ? Promise.reject(platformError("ENOSPC")) : nodeDisk.makeFolder(path, mode),
    };
    const { folder, backups, clock, log } = await site(t, 3, { disk });
    const stop = backups.daily();
    await clock.advance("3h");
    t.ok(log.lines.filter(({ level }) => level === "error").length >= 3);
    full = false;
    await clock.advance("1h");
    t.equal((await seen(folder)).length, 1);
    stop();
  },
);

t.test("a disk that hangs keeps nobody waiting for long, and no crowd behind it", async (t) => {
  let hang = (): void => {};
  const hanging = new Promise<void>((resolve) => (hang = resolve));
  const disk = {
    ...nodeDisk,
    makeFolder: async (path: string, mode: number) => {
      await hanging;
      return nodeDisk.makeFolder(path, mode);
    },
  };
  const { folder, backups, clock } = await site(t, 3, { disk, keep: 100 });
  const all = Array.from({ length: 20 }, () => backups.create("n"));
  t.match(await all[19], { ok: false, detail: /too many wait/ });
  await clock.advance("31s");
  t.match(await all[0], { ok: false, detail: /not done in 30 s/ });
  hang();
  await backups.close();
  t.equal((await seen(folder)).length, 16, "what was begun is ended");
  t.match(await backups.create("after"), { ok: true });
});

t.test("a backup on a disk that hangs for good does not keep the program from its end", async (t) => {
  const disk = { ...nodeDisk, makeFolder: () => new Promise<never>(() => {}) };
  const { backups, clock, log } = await site(t, 3, { disk });
  void backups.create("n");
  let isClosed = false;
  const closed = backups.close().then(() => (isClosed = true));
  await clock.advance("29s");
  t.notOk(isClosed, "it is waited for");
  await clock.advance("2s");
  await setImmediate();
  t.ok(isClosed, "and not for ever");
  if (isClosed) await closed;
  t.match(log.lines.at(-1), { level: "warn", message: /a backup is left unfinished/ });
  t.equal(clock.timers, 0);
});

t.test("evidence of a rollout goes into the backup with its state", async (t) => {
  const { store, backups } = await site(t, 1);
  const evidence = { rules: "1a2b", snapshot: { layout: 2, hard: [0.5], rest: [0, 0], latency: [3] } };
  const document = { ...documentOf(2), routes: { app: { ...rollout("x"), evidence } } };
  t.match(await store.save(document), { ok: true });
  const made = await backups.create("manual");
  t.ok(made.ok);
  if (made.ok) t.match(await backups.load(made.name), { ok: true, document });
});
