import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tmpdir } from "node:os";
import t from "tap";
import { watchConfig } from "../../src/config/watch.ts";

/** A counter of changes that can be waited for. */
function changes() {
  let count = 0;
  const waiting: (() => void)[] = [];
  return {
    seen: () => {
      count += 1;
      for (const each of waiting.splice(0)) each();
    },
    next: () => new Promise<void>((resolve) => waiting.push(resolve)),
    get count() {
      return count;
    },
  };
}

// A watch does not keep the process alive; the tests do, and fail rather than wait for ever.
const alive = setTimeout(() => t.fail("no event came"), 60_000);
t.teardown(() => clearTimeout(alive));

/** Events only, no looks in between. */
const EVENTS = { debounceMs: 5, pollMs: 3_600_000 };

t.test("a file replaced by rename, as editors do, is seen each time (reliability 38)", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-watch-"));
  const file = join(folder, "sluice.yaml");
  writeFileSync(file, "1");
  const change = changes();
  const watch = await watchConfig(file, change.seen, EVENTS);
  t.teardown(() => watch.close());
  for (const content of ["2", "3"]) {
    const next = change.next();
    writeFileSync(`${file}.new`, content);
    renameSync(`${file}.new`, file);
    await next;
  }
  t.equal(change.count, 2);
});

t.test(
  "a swap of a ConfigMap, in which only a link beside the file changes, is seen (reliability 38)",
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "sluice-watch-"));
    for (const name of ["one", "two"]) {
      mkdirSync(join(folder, name));
      writeFileSync(join(folder, name, "sluice.yaml"), name);
    }
    symlinkSync("one", join(folder, "..data"));
    symlinkSync(join("..data", "sluice.yaml"), join(folder, "sluice.yaml"));
    const change = changes();
    const watch = await watchConfig(join(folder, "sluice.yaml"), change.seen, EVENTS);
    t.teardown(() => watch.close());
    const next = change.next();
    symlinkSync("two", join(folder, "..data_tmp"));
    renameSync(join(folder, "..data_tmp"), join(folder, "..data"));
    await next;
    t.equal(change.count, 1);
  },
);

t.test("what leaves the content as it was is nobody's reload", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-watch-"));
  const file = join(folder, "sluice.yaml");
  writeFileSync(file, "1");
  const change = changes();
  const watch = await watchConfig(file, change.seen, EVENTS);
  t.teardown(() => watch.close());
  utimesSync(file, 1, 1);
  writeFileSync(file, "1");
  writeFileSync(join(folder, "neighbour"), "x");
  await watch.look();
  t.equal(change.count, 0);
  rmSync(file);
  await watch.look();
  t.equal(change.count, 0, "a file that is gone is waited for");
  writeFileSync(file, "2");
  await watch.look();
  t.equal(change.count, 1);
});

t.test("a reload that throws is told, and the next one comes all the same (reliability 38)", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-watch-"));
  const file = join(folder, "sluice.yaml");
  writeFileSync(file, "1");
  const told: string[] = [];
  let calls = 0;
  const watch = await watchConfig(
    file,
    () => {
      calls += 1;
      throw new Error(`call ${calls}`);
    },
    { debounceMs: 3_600_000, pollMs: 3_600_000, onError: (error) => told.push(error.message) },
  );
  for (const content of ["2", "3"]) {
    writeFileSync(file, content);
    await watch.look();
  }
  t.same(told, ["call 1", "call 2"]);
  watch.close();
  writeFileSync(file, "4");
  await watch.look();
  t.equal(calls, 2, "closed is closed");
});

t.test("a folder that cannot be watched is told, not thrown", async (t) => {
  const told: string[] = [];
  const watch = await watchConfig("/nowhere/at/all.yaml", () => undefined, {
    ...EVENTS,
    onError: (error) => told.push(error.message),
  });
  t.match(told, [/ENOENT/]);
  watch.close();
});
