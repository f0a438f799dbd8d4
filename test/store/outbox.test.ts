import { appendFile, mkdtemp, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { openOutbox } from "../../src/store/outbox.ts";
import { fakeClock } from "../support/clock.ts";
import { quietLog } from "../support/silence.ts";

async function place(t: Test) {
  const folder = await mkdtemp(join(tmpdir(), "sluice-outbox-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const clock = fakeClock();
  const log = quietLog();
  const file = join(folder, "outbox.jsonl");
  return { folder, file, clock, log, open: () => openOutbox({ folder, clock, log }) };
}

t.test("what was told, and what a channel has noted, is there again at the next start", async (t) => {
  const { open, file } = await place(t);
  const first = await open();
  t.equal(first.fate("a", "slack"), "new");
  t.equal(await first.mark("a", "slack", "begun"), true, "on the disk before the message goes out");
  t.equal(await first.mark("b", "slack", "done"), true);
  await first.mark("c", "slack", "done");
  await first.mark("c", "slack", "new");
  await first.note("slack", "thread:app", '{"ts":"1"}');
  await first.note("slack", "gone", "x");
  await first.note("slack", "gone", undefined);
  // Killed: nobody has closed it.
  const second = await open();
  for (const outbox of [first, second]) {
    t.same(
      ["a", "b", "c", "d"].map((id) => outbox.fate(id, "slack")),
      ["begun", "done", "new", "new"],
    );
    t.equal(outbox.fate("b", "email"), "new", "each channel for itself");
    t.same([...outbox.notes("slack")], [["thread:app", '{"ts":"1"}']]);
    t.same([...outbox.notes("email")], []);
  }
  t.equal((await stat(file)).mode & 0o777, 0o600);
  await first.close();
  t.equal(await first.mark("e", "slack", "done"), false);
  await second.close();
});

t.test(
  "a torn last line, and lines that are none, cost themselves and nothing else (reliability 36)",
  async (t) => {
    const { open, file } = await place(t);
    const first = await open();
    await first.mark("a", "slack", "done");
    await first.close();
    await appendFile(
      file,
      '{"at":1}\n[]\nnull\n{"at":1,"channel":"slack","id":"x","fate":"sent"}\n{"at":1,"channel":"sl',
    );
    const second = await open();
    t.equal(second.fate("a", "slack"), "done");
    t.equal(await second.mark("b", "slack", "done"), true);
    await second.close();
    const third = await open();
    t.same(
      ["a", "b"].map((id) => third.fate(id, "slack")),
      ["done", "done"],
    );
    await third.close();
  },
);

t.test("the file stays small however much is told, and what is a day old is forgotten", async (t) => {
  const { open, file, clock } = await place(t);
  const first = await open();
  await first.mark("old", "slack", "done");
  await first.note("slack", "kept", "as long as it is");
  clock.jumpWall(86_400_001);
  const marks: Promise<boolean>[] = [];
  for (let n = 0; n < 3000; n += 1) marks.push(first.mark(`id-${n % 100}`, "slack", "done"));
  await Promise.all(marks);
  t.equal(first.fate("old", "slack"), "new");
  const lines = (await readFile(file, "utf8")).split("\n").length;
  t.ok(lines < 2500, `${lines} lines`);
  await first.close();
  const second = await open();
  t.equal(second.fate("id-99", "slack"), "done");
  t.same([...second.notes("slack").keys()], ["kept"]);
  for (let n = 0; n < 6000; n += 1) void second.mark(`more-${n}`, "slack", "done");
  t.equal(second.fate("more-0", "slack"), "new", "the oldest is forgotten");
  t.equal(second.fate("more-5999", "slack"), "done");
  await second.close();
});

t.test("without a disk people are told all the same, and it is said once (reliability 36)", async (t) => {
  const { folder, clock, log } = await place(t);
  await writeFile(join(folder, "a-file"), "");
  const outbox = await openOutbox({ folder: join(folder, "a-file"), clock, log });
  t.equal(await outbox.mark("a", "slack", "begun"), false);
  t.equal(await outbox.mark("b", "slack", "begun"), false);
  t.equal(outbox.fate("a", "slack"), "begun", "it knows until the process ends");
  t.match(log.lines, [
    { level: "error", message: "what was told before is not known" },
    { level: "error", message: "what was told cannot be kept; after a restart it may be told again" },
  ]);
  t.equal(log.lines.length, 2);
  await outbox.close();
});

t.test(
  "an outbox that could not be opened is written as soon as it can be, and has forgotten nothing (reliability 36)",
  async (t) => {
    const { folder, clock, log } = await place(t);
    const within = { folder: join(folder, "state"), clock, log };
    const before = await openOutbox(within);
    await before.mark("old", "slack", "done");
    await before.mark("older", "slack", "begun");
    await before.note("slack", "thread:old", "0");
    await before.close();

    await rename(within.folder, join(folder, "away"));
    await writeFile(within.folder, "in the way");
    const first = await openOutbox(within);
    t.equal(await first.mark("a", "slack", "done"), false);
    t.equal(await first.mark("older", "slack", "done"), false);
    await rm(within.folder);
    await rename(join(folder, "away"), within.folder);
    t.equal(await first.mark("b", "slack", "begun"), true);
    t.equal(await first.note("slack", "thread:app", "1"), true);
    t.equal(first.fate("old", "slack"), "done");
    await first.close();
    t.equal(await first.mark("c", "slack", "done"), false, "and not after it was closed");

    const second = await openOutbox(within);
    t.same(
      ["old", "older", "a", "b", "c"].map((id) => second.fate(id, "slack")),
      ["done", "done", "done", "begun", "new"],
    );
    t.same(
      [...second.notes("slack")],
      [
        ["thread:old", "0"],
        ["thread:app", "1"],
      ],
    );
    await second.close();
  },
);
