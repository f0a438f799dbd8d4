import { chmod, copyFile, mkdir, readFile, readdir, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { deflateRawSync } from "node:zlib";
import t from "tap";
import { nodeDisk, type Disk } from "../../src/store/disk.ts";
import { fileStore } from "../../src/store/file.ts";
import { openStore } from "../../src/store/open.ts";
import { failingDisk, platformError, temporaryFolder, tinyDisk } from "../support/disk.ts";
import { quietLog } from "../support/silence.ts";
import { storeContract } from "./contract.ts";
import { envelope, documentOf, leftovers, openOptions, rollout, saveTo, versionIn } from "./documents.ts";

storeContract("file", async (t) => {
  const folder = await temporaryFolder(t);
  return [await fileStore(folder, quietLog()), (await openStore(`file:${folder}`, openOptions())).store];
});

t.test(
  "the state is one readable file, the one before it stands beside it, and nothing else piles up (reliability 36)",
  async (t) => {
    const folder = await temporaryFolder(t);
    const store = await fileStore(folder, quietLog());
    await saveTo(store, 30);
    t.same((await readdir(folder)).toSorted(), ["state.json", "state.json.last", "state.json.saves"]);
    t.ok((await readdir(join(folder, "state.json.saves"))).length <= 8);
    t.same(JSON.parse(await readFile(join(folder, "state.json"), "utf8")).document, documentOf(30));
    t.same(JSON.parse(await readFile(join(folder, "state.json.last"), "utf8")).document, documentOf(29));
    t.equal((await stat(join(folder, "state.json"))).mode & 0o777, 0o600);
  },
);

t.test(
  "evidence goes with the state, packed, and what of it cannot be read costs nothing else",
  async (t) => {
    const folder = await temporaryFolder(t);
    const store = await fileStore(folder, quietLog());
    const evidence = {
      rules: "1a2b",
      snapshot: {
        layout: 2,
        hard: [0.5, 1e290, -3],
        rest: new Array<number>(2000).fill(0),
        latency: [17, 3],
      },
    };
    const document = { ...documentOf(1), routes: { app: { ...rollout("kept"), evidence } } };
    await store.save(document);
    const path = join(folder, "state.json");
    const text = await readFile(path, "utf8");
    t.ok(text.length < 5000, `${text.length} bytes`);
    t.same(await (await fileStore(folder, quietLog())).load(), { kind: "found", document });
    const { document: written } = JSON.parse(text) as {
      document: { routes: { app: { evidence: { packed: string } } } };
    };
    const { packed } = written.routes.app.evidence;
    for (const broken of [
      "",
      "AAAA",
      packed.slice(4),
      7,
      deflateRawSync('{"layout":2,"hard":["x"]}').toString("base64"),
    ]) {
      const app = { ...rollout("kept"), evidence: { rules: "1a2b", packed: broken } };
      await writeFile(path, envelope({ ...documentOf(1), routes: { app } }));
      await rm(join(folder, "state.json.saves"), { recursive: true, force: true });
      const loaded = await (await fileStore(folder, quietLog())).load();
      t.same(loaded, { kind: "found", document: { ...documentOf(1), routes: { app: rollout("kept") } } });
    }
  },
);

t.test(
  "a damaged state file is reported, kept aside under a free name, and never guessed at (reliability 36)",
  async (t) => {
    const folder = await temporaryFolder(t);
    const path = join(folder, "state.json");
    const good = envelope(documentOf(7));
    const damages: Readonly<Record<string, string | Buffer>> = {
      empty: "",
      blank: " \n",
      zeroed: Buffer.alloc(good.length),
      torn: good.slice(0, good.length / 2),
      "zeroed at the end": Buffer.concat([Buffer.from(good.slice(0, -40)), Buffer.alloc(40)]),
      "with one digit changed": good.replace('"weight":50000', '"weight":90000'),
      "no text": Buffer.from([0xff, 0xfe, 0x00, 0x80]),
      "another JSON": "[1, 2]",
      "a document without its checksum": JSON.stringify(documentOf(7)),
      "of another format": envelope({ ...documentOf(7), format: 2 }),
      "of no format": envelope({ version: 7 }),
      "with a field of the wrong type": envelope({ ...documentOf(7), savedAt: 7 }),
      "with an unknown phase": envelope(
        JSON.parse(JSON.stringify(documentOf(7)).replace("progressing", "flying")),
      ),
      "with a weight above 100 %": envelope(
        JSON.parse(JSON.stringify(documentOf(7)).replace("50000,", "5000000,")),
      ),
      "with a step outside its plan": envelope(
        JSON.parse(JSON.stringify(documentOf(7)).replace('"step":1', '"step":9')),
      ),
    };
    let n = 0;
    for (const [name, content] of Object.entries(damages)) {
      const log = quietLog();
      const store = await fileStore(folder, log);
      await writeFile(path, content);
      const refused = await store.save(documentOf(8));
      t.match(refused, { ok: false, kind: "unavailable" }, `${name}: is not overwritten`);
      n += 1;
      const keptAs = join(folder, `state.json.corrupt-${n}`);
      t.match(await store.load(), { kind: "corrupt", keptAs, detail: /./ }, name);
      t.same(await readFile(keptAs), Buffer.from(content), `${name}: kept byte for byte`);
      t.match(log.lines.at(-1), { level: "error", fields: { keptAs } }, `${name}: said loudly`);
      t.same(await store.load(), { kind: "none" }, `${name}: the next start is a first start`);
    }
    const store = await fileStore(folder, quietLog());
    await saveTo(store, 3);
    t.equal(await versionIn(store), 3, "a new state begins beside the old ones");
  },
);

t.test("a state file that cannot be read at all is corrupt, not a crash (reliability 36)", async (t) => {
  const folder = await temporaryFolder(t);
  const store = await fileStore(folder, quietLog());
  await mkdir(join(folder, "state.json"));
  t.match(await store.load(), { kind: "corrupt", keptAs: join(folder, "state.json.corrupt-1") });
  t.same(await store.load(), { kind: "none" });
});

t.test(
  "a state file that just now cannot be read is not touched: it may be readable again (reliability 36)",
  async (t) => {
    const folder = await temporaryFolder(t);
    await saveTo(await fileStore(folder, quietLog()), 3);
    let code = "";
    const fail = () => Promise.reject(platformError(code));
    const flaky: Disk = {
      ...nodeDisk,
      read: (path) => (code === "EMFILE" ? fail() : nodeDisk.read(path)),
      list: (path) => (code === "EIO" ? fail() : nodeDisk.list(path)),
    };
    const store = await fileStore(folder, quietLog(), flaky);
    for (code of ["EMFILE", "EIO"]) {
      t.match(await store.load(), {
        kind: "corrupt",
        keptAs: join(folder, "state.json"),
        detail: new RegExp(code),
      });
      t.match(await store.save(documentOf(4)), { ok: false, kind: "unavailable" });
    }
    code = "";
    t.equal(await versionIn(store), 3);
  },
);

t.test(
  "a damaged file that cannot be moved stays where it is and is still reported (reliability 36)",
  async (t) => {
    const folder = await temporaryFolder(t);
    const log = quietLog();
    const stuck = { ...nodeDisk, rename: () => Promise.reject(new Error("EROFS")) };
    const store = await fileStore(folder, log, stuck);
    await writeFile(join(folder, "state.json"), "");
    t.match(await store.load(), { kind: "corrupt", keptAs: join(folder, "state.json") });
  },
);

t.test(
  "a field that this version does not know is left out, so that going back a version keeps the state (reliability 36)",
  async (t) => {
    const folder = await temporaryFolder(t);
    const store = await fileStore(folder, quietLog());
    await writeFile(join(folder, "state.json"), envelope({ later: [1], ...documentOf(7) }));
    t.same(await store.load(), { kind: "found", document: documentOf(7) });
    t.same(await store.save(documentOf(8)), { ok: true });
  },
);

t.test(
  "a gate written before with a field for a no loads as well, without it (reliability 36)",
  async (t) => {
    const folder = await temporaryFolder(t);
    const store = await fileStore(folder, quietLog());
    const { routes, ...rest } = documentOf(7);
    const app = rollout("save 7");
    const progress = { ...app.progress, gate: { ...app.progress.gate, rejected: null } };
    const older = { ...rest, routes: { ...routes, app: { ...app, progress } } };
    await writeFile(join(folder, "state.json"), envelope(older));
    t.same(await store.load(), { kind: "found", document: documentOf(7) });
    t.same(await store.save(documentOf(8)), { ok: true }, "and is written without it");
  },
);

t.test(
  "a state written before it said who has scheduled a start loads as well, and names nobody (reliability 36)",
  async (t) => {
    const folder = await temporaryFolder(t);
    const store = await fileStore(folder, quietLog());
    const { routes, ...rest } = documentOf(7);
    const { scheduled: _, ...app } = rollout("save 7");
    await writeFile(join(folder, "state.json"), envelope({ ...rest, routes: { ...routes, app } }));
    t.match(await store.load(), { kind: "found", document: { routes: { app: { scheduled: null } } } });
  },
);

t.test("what stood for something before there was a field for it still does (reliability 36)", async (t) => {
  const folder = await temporaryFolder(t);
  const store = await fileStore(folder, quietLog());
  for (const [reason, meant] of [
    ["Paused (manual weight)", "manual_weight"],
    ["Paused: the plan waits here for a person", "person"],
    ["Held: stable is unhealthy too", "sick_stable"],
    ["Paused", null],
    ["constructor", null],
  ] as const) {
    const { standsFor: _, ...app } = rollout(reason);
    await writeFile(join(folder, "state.json"), envelope({ ...documentOf(7), routes: { app } }));
    t.match(await store.load(), { document: { routes: { app: { reason, standsFor: meant } } } }, reason);
    const routes = { app: { ...app, standsFor: null } };
    await writeFile(join(folder, "state.json"), envelope({ ...documentOf(7), routes }));
    t.match(await store.load(), { document: { routes } }, "and where there is one, it alone is asked");
  }
});

t.test("a state that was removed is no state, whatever stands beside it", async (t) => {
  const folder = await temporaryFolder(t);
  const store = await fileStore(folder, quietLog());
  await saveTo(store, 5);
  await rm(join(folder, "state.json"));
  t.same(await store.load(), { kind: "none" });
  await saveTo(store, 6);
  t.equal(await versionIn(store), 6);
});

t.test("an older file put back with the names of later saves removed is the state again", async (t) => {
  const folder = await temporaryFolder(t);
  const store = await fileStore(folder, quietLog());
  await saveTo(store, 3);
  await copyFile(join(folder, "state.json"), join(folder, "backup"));
  await saveTo(store, 6);
  await rm(join(folder, "state.json.saves"), { recursive: true });
  await copyFile(join(folder, "backup"), join(folder, "state.json"));
  const again = await fileStore(folder, quietLog());
  t.equal(await versionIn(again), 3);
  await saveTo(again, 5);
  t.equal(await versionIn(again), 5);
});

t.test(
  "what a killed process left is swept out at the next start, what a living one writes is not (reliability 36)",
  async (t) => {
    const folder = await temporaryFolder(t);
    await writeFile(join(folder, "state.json.tmp-old"), "half");
    await writeFile(join(folder, "state.json.tmp-new"), "half");
    await utimes(join(folder, "state.json.tmp-old"), 1e9, 1e9);
    await fileStore(folder, quietLog());
    t.same(await leftovers(folder), ["state.json.tmp-new"]);
  },
);

t.test("a folder that cannot be written is named", async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, "file"), "");
  const inside = join(folder, "file", "state");
  await t.rejects(openStore(`file:${inside}`, openOptions()), {
    code: "SPLIT_STATE_UNWRITABLE",
    message: new RegExp(inside),
  });
  const readOnly = { ...nodeDisk, write: () => Promise.reject(platformError("EROFS")) };
  await t.rejects(fileStore(folder, quietLog(), readOnly), { code: "SPLIT_STATE_UNWRITABLE" });
  const linkless = { ...nodeDisk, link: () => Promise.reject(platformError("EPERM")) };
  await t.rejects(fileStore(folder, quietLog(), linkless), { code: "SPLIT_STATE_UNWRITABLE" });
});

t.test(
  "a disk that is already full at start is an error in the log, not the end (reliability 36)",
  async (t) => {
    const folder = await temporaryFolder(t);
    const log = quietLog();
    const full = { ...nodeDisk, write: () => Promise.reject(platformError("ENOSPC")) };
    const store = await fileStore(folder, log, full);
    t.match(log.lines[0], { level: "error", fields: { folder } });
    t.match(await store.save(documentOf(1)), { ok: false, kind: "unavailable", detail: /ENOSPC/ });
  },
);

t.test(
  "a disk too full for the state's folders is found as full as any other (reliability 36)",
  async (t) => {
    const folder = join(await temporaryFolder(t), "state");
    const log = quietLog();
    const full = { ...nodeDisk, makeFolder: () => Promise.reject(platformError("ENOSPC")) };
    await fileStore(folder, log, full);
    t.match(log.lines[0], { level: "error", fields: { code: "SPLIT_STATE_UNWRITABLE", folder } });
    const readOnly = { ...nodeDisk, makeFolder: () => Promise.reject(platformError("EROFS")) };
    await t.rejects(fileStore(folder, quietLog(), readOnly), { code: "SPLIT_STATE_UNWRITABLE" });
  },
);

// --- faults, one call after the other -----------------------------------------------------------------------------------------------

for (const stays of [false, true]) {
  t.test(
    `whichever call of a save fails, ${stays ? "for good" : "once"}, the state is whole and saving goes on (reliability 36)`,
    async (t) => {
      let sweeps = 0;
      for (const start of [0, 1, 12]) {
        for (let failAt = 1; ; failAt += 1) {
          const folder = await temporaryFolder(t);
          const healthy = await fileStore(folder, quietLog());
          await saveTo(healthy, start);
          const counting = failingDisk(Infinity, "ENOSPC", stays);
          await fileStore(folder, quietLog(), counting);
          const opened = counting.calls; // so that opening never fails
          const disk = failingDisk(opened + failAt, failAt % 2 ? "ENOSPC" : "EROFS", stays);
          const store = await fileStore(folder, quietLog(), disk);
          const saved = await store.save(documentOf(start + 1));
          const finished = disk.calls < opened + failAt;
          const seen = await versionIn(healthy);
          if (saved.ok) t.equal(seen, start + 1, `call ${failAt}: acknowledged and there`);
          else {
            t.equal(saved.kind, "unavailable", `call ${failAt}`);
            t.ok(seen === start || seen === start + 1, `call ${failAt}: before or after, not between`);
          }
          t.same(await leftovers(folder), [], `call ${failAt}: no partial file`);
          t.same(await healthy.save(documentOf(seen + 1)), { ok: true }, `call ${failAt}: saving goes on`);
          sweeps += 1;
          if (finished) break;
        }
      }
      t.ok(sweeps > 20, `${sweeps} faults were played`);
    },
  );
}

t.test(
  "on a disk that is really full a save is refused without a trace, and works again when there is room (reliability 36)",
  async (t) => {
    const disk = await tinyDisk(t);
    if (disk === undefined) {
      t.plan(0, "no mount allowed here");
      return;
    }
    const store = await fileStore(disk.folder, quietLog());
    await saveTo(store, 3);
    await disk.fill();
    const before = (await readdir(disk.folder)).toSorted();
    t.match(await store.save(documentOf(4)), { ok: false, kind: "unavailable", detail: /ENOSPC/ });
    t.same((await readdir(disk.folder)).toSorted(), before);
    t.equal(await versionIn(store), 3);
    const restarted = await fileStore(disk.folder, quietLog());
    t.equal(await versionIn(restarted), 3, "a restart on the full disk reads the state");
    await disk.empty();
    await saveTo(store, 5);
    t.equal(await versionIn(restarted), 5);
  },
);

t.test(
  "on a disk that became read-only a save is refused, and the state can still be read (reliability 36)",
  async (t) => {
    const disk = await tinyDisk(t);
    if (disk === undefined) {
      t.plan(0, "no mount allowed here");
      return;
    }
    const store = await fileStore(disk.folder, quietLog());
    await saveTo(store, 3);
    await disk.setReadOnly(true);
    t.match(await store.save(documentOf(4)), { ok: false, kind: "unavailable", detail: /EROFS/ });
    t.equal(await versionIn(store), 3);
    await t.rejects(fileStore(disk.folder, quietLog()), {
      code: "SPLIT_STATE_UNWRITABLE",
      message: new RegExp(disk.folder),
    });
    await disk.setReadOnly(false);
    await saveTo(store, 4);
  },
);

t.test(
  "a folder that another user owns is refused by name, unless this user may do everything",
  async (t) => {
    if (process.getuid?.() === 0) {
      t.plan(0, "root may write everywhere");
      return;
    }
    const folder = await temporaryFolder(t);
    await chmod(folder, 0o500);
    await t.rejects(fileStore(folder, quietLog()), { code: "SPLIT_STATE_UNWRITABLE" });
    await chmod(folder, 0o700);
  },
);
