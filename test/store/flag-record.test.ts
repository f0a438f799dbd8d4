/** What was set about flags, on a disk that fails, tears and forgets. */

import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import type { FlagRecord } from "../../src/engine/ports.ts";
import { nodeDisk } from "../../src/store/disk.ts";
import { FLAG_RECORD, flagStore } from "../../src/store/flag-record.ts";
import { ppm } from "../../src/domain/units.ts";
import { temporaryFolder } from "../support/disk.ts";

const RECORD: FlagRecord = {
  format: 1,
  overrides: {
    a: { state: "off", by: "ada", at: "2026-01-05T09:00:00.000Z", reason: "x" },
    b: { percentage: ppm(1), by: "ada", at: "2026-01-05T09:00:00.000Z", reason: "" },
    c: { variant: "v", by: "ada", at: "2026-01-05T09:00:00.000Z", reason: "" },
  },
  opened: { app: "r-1" },
};

t.test("what is saved is read back, and nothing lies beside it", async (t) => {
  const folder = await temporaryFolder(t);
  const store = flagStore(folder);
  t.same(await store.load(), { kind: "none" });
  t.same(await store.save(RECORD), { ok: true });
  t.same(await flagStore(folder).load(), { kind: "found", record: RECORD });
  await writeFile(join(folder, `${FLAG_RECORD}.tmp`), "left by a kill");
  t.same(await store.save({ ...RECORD, opened: {} }), { ok: true });
  t.same(await store.load(), { kind: "found", record: { ...RECORD, opened: {} } });
  t.same(await readdir(folder), [FLAG_RECORD]);
});

t.test("a record that cannot be read is moved aside and not guessed at", async (t) => {
  for (const text of ["", "{", "{}", JSON.stringify({ ...RECORD, format: 2 }), "\u0000\u0000"]) {
    const folder = await temporaryFolder(t);
    await writeFile(join(folder, FLAG_RECORD), text);
    const store = flagStore(folder);
    t.match(await store.load(), { kind: "corrupt", keptAs: join(folder, `${FLAG_RECORD}.corrupt`) });
    t.equal(await readFile(join(folder, `${FLAG_RECORD}.corrupt`), "utf8"), text);
    t.same(await store.load(), { kind: "none" });
  }
  const folder = await temporaryFolder(t);
  const store = flagStore(folder, { ...nodeDisk, read: () => Promise.reject(new Error("EIO")) });
  t.match(await store.load(), { kind: "corrupt", detail: "EIO", keptAs: join(folder, FLAG_RECORD) });
});

t.test("whatever of a save fails, the record of before is whole (reliability 36)", async (t) => {
  const fails = (): Promise<never> => Promise.reject(new Error("ENOSPC: no space left"));
  for (const call of ["write", "rename"] as const) {
    const folder = await temporaryFolder(t);
    await flagStore(folder).save(RECORD);
    const failing = flagStore(folder, { ...nodeDisk, [call]: fails });
    t.same(await failing.save({ ...RECORD, overrides: {} }), { ok: false, detail: "ENOSPC: no space left" });
    t.same(await flagStore(folder).load(), { kind: "found", record: RECORD }, call);
  }
});

t.test("without a folder nothing is kept", async (t) => {
  const store = flagStore(null);
  t.same(await store.save(RECORD), { ok: true });
  t.same(await store.load(), { kind: "none" });
});
