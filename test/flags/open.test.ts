/** The flags in service, with a disk and a journal that fail, and a section that changes. */

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { FlagsConfig } from "../../src/config/flags.ts";
import type { RouteStand } from "../../src/domain/flag-change.ts";
import { ppm } from "../../src/domain/units.ts";
import type { FlagRecord, FlagStore, JournalEntry } from "../../src/engine/ports.ts";
import { openFlags, type Flags } from "../../src/flags/open.ts";
import { fakeClock } from "../support/clock.ts";
import { temporaryFolder } from "../support/disk.ts";
import { quietLog } from "../support/silence.ts";

const ON_OFF = { state: "ENABLED", variants: { on: true, off: false }, defaultVariant: "off" };
const STAND: RouteStand = { phase: "progressing", rollout: "r-1", salt: "s", weight: ppm(0) };

/** A store that keeps what it is given, and fails when told. */
function memory(first?: FlagRecord) {
  const kept: FlagRecord[] = first === undefined ? [] : [first];
  const store: FlagStore & { failing: boolean; kept: FlagRecord[] } = {
    failing: false,
    kept,
    load() {
      const record = kept.at(-1);
      return Promise.resolve(record === undefined ? { kind: "none" } : { kind: "found", record });
    },
    save(record) {
      if (store.failing) return Promise.resolve({ ok: false, detail: "ENOSPC" });
      kept.push(record);
      return Promise.resolve({ ok: true });
    },
  };
  return store;
}

async function opened(t: Test, store: FlagStore = memory(), more: Partial<FlagsConfig> = {}) {
  const folder = await temporaryFolder(t);
  const file = join(folder, "flags.json");
  await writeFile(file, JSON.stringify({ flags: { a: ON_OFF, b: ON_OFF } }));
  const section: FlagsConfig = { file, follow: {}, after: { app: ["b"] }, critical: [], ...more };
  const clock = fakeClock();
  const log = quietLog();
  const entries: JournalEntry[] = [];
  const world = { stand: STAND, journals: true };
  const flags = await openFlags(section, {
    store,
    journal: {
      append(entry) {
        if (world.journals) entries.push(entry);
        return Promise.resolve(world.journals);
      },
    },
    standOf: () => world.stand,
    clock,
    log,
  });
  t.teardown(() => flags.close());
  return { flags, section, clock, log, entries, world };
}

const valueOf = (flags: Flags, key: string): unknown => {
  const answer = flags.evaluate(key, {});
  return answer.ok ? answer.value : answer.code;
};

t.test("a change that cannot be recorded is not made, unless it switches off", async (t) => {
  const store = memory();
  const { flags, entries, world } = await opened(t, store);
  t.match(await flags.set("a", { state: "on", reason: "x" }, "ada"), { ok: true, status: { enabled: true } });
  t.equal(valueOf(flags, "a"), true);
  store.failing = true;
  t.match(await flags.set("a", { variant: "off", reason: "x" }, "ada"), {
    ok: false,
    code: "SPLIT_STATE_UNWRITABLE",
    message: /so it was not made/,
  });
  t.equal(valueOf(flags, "a"), true);
  t.match(await flags.set("a", { state: "off", reason: "x" }, "ada"), {
    ok: false,
    code: "SPLIT_STATE_UNWRITABLE",
    message: /the flag is off all the same/,
  });
  t.equal(valueOf(flags, "a"), false);
  store.failing = false;
  world.journals = false;
  t.match(await flags.set("a", { state: "on", reason: "x" }, "ada"), { code: "SPLIT_STATE_UNWRITABLE" });
  t.equal(valueOf(flags, "a"), false);
  t.match(store.kept.at(-1)?.overrides, { a: { state: "off" } }, "what is on the disk is what is in force");
  t.equal(entries.length, 1, "the first alone was made and recorded");
  t.match(await flags.set("nobody", { state: "on", reason: "x" }, "ada"), { code: "SPLIT_NOT_FOUND" });
});

t.test("two changes at once are made one after the other, and neither is lost", async (t) => {
  const store = memory();
  const { flags } = await opened(t, store);
  await Promise.all([
    flags.set("a", { state: "on", reason: "1" }, "ada"),
    flags.set("b", { state: "off", reason: "2" }, "bob"),
  ]);
  t.match(store.kept.at(-1)?.overrides, { a: { state: "on", by: "ada" }, b: { state: "off", by: "bob" } });
});

t.test("which rollout has opened flags is kept, tried again when the disk was full", async (t) => {
  const store = memory();
  const { flags, clock, world } = await opened(t, store, { after: { app: ["b"] } });
  const isOpen = (): boolean | undefined => flags.get("b")?.open;
  t.equal(isOpen(), false);
  store.failing = true;
  world.stand = { ...STAND, phase: "succeeded" };
  t.equal(isOpen(), true, "at once");
  await clock.advance(1000);
  store.failing = false;
  await clock.advance(1000);
  t.same(store.kept.at(-1)?.opened, { app: "r-1" });
  world.stand = { ...STAND, rollout: "r-2" };
  await clock.advance(1000);
  t.equal(isOpen(), true);
  world.stand = { ...STAND, phase: "rolled_back" };
  await clock.advance(1000);
  t.equal(isOpen(), false);
  t.same(store.kept.at(-1)?.opened, {});
});

t.test("another section is put in force when it was read whole, and none takes the flags away", async (t) => {
  const { flags, section } = await opened(t);
  await t.rejects(flags.prepare({ ...section, critical: ["a"] }), { code: "SPLIT_CONFIG_INVALID" });
  await writeFile(section.file, "{");
  await flags.adopt(await flags.prepare({ ...section }));
  t.match(
    flags.list(),
    { ok: false, flags: [{ key: "a" }, { key: "b" }] },
    "the same section goes on with what it had",
  );
  await t.rejects(flags.prepare({ ...section, after: {} }), { code: "SPLIT_CONFIG_INVALID" });
  await writeFile(section.file, JSON.stringify({ flags: { a: ON_OFF, b: ON_OFF } }));
  await flags.adopt(await flags.prepare({ ...section, after: {} }));
  t.equal(flags.get("b")?.open, true);
  t.match(await flags.check(), { ok: true, detail: "2 flags, valid" });
  await flags.adopt(await flags.prepare(undefined));
  t.equal(flags.list(), undefined);
  t.equal(flags.stats(), undefined);
  t.equal(valueOf(flags, "a"), "FLAG_NOT_FOUND");
  t.match(await flags.check(), { ok: true, detail: "there are none" });
});

t.test("a record that is none is said, and what it holds about flags that are gone, too", async (t) => {
  const corrupt: FlagStore = {
    load: () => Promise.resolve({ kind: "corrupt", detail: "torn", keptAs: "/x" }),
    save: () => Promise.resolve({ ok: true }),
  };
  t.match((await opened(t, corrupt)).log.lines, [{ level: "error", message: /cannot be read/ }]);
  const override = { state: "on", by: "ada", at: "", reason: "" } as const;
  const { log, flags } = await opened(
    t,
    memory({ format: 1, overrides: { gone: override, a: override }, opened: {} }),
  );
  t.match(log.lines, [{ level: "warn", fields: { flags: ["gone"] } }]);
  t.equal(valueOf(flags, "a"), true);
});
