/** A journal's file checked as it lies there: whole, changed, cut, growing, and long. */

import { appendFile, open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { openJournal } from "../../src/telemetry/journal.ts";
import { checkJournal } from "../../src/telemetry/journal-verify.ts";
import { fakeClock } from "../support/clock.ts";
import { temporaryFolder } from "../support/disk.ts";
import { quietLog } from "../support/silence.ts";
import { entryOf } from "./entries.ts";

async function journalOf(t: Test, count: number) {
  const file = join(await temporaryFolder(t), "journal.jsonl");
  const journal = await openJournal({ path: file, clock: fakeClock(), log: quietLog() });
  for (let n = 1; n <= count; n += 1) await journal.append(entryOf(`Überzeugt: entry ${n}`));
  const lines = await journal.read({ limit: count + 1 });
  await journal.close();
  const texts = (await readFile(file, "utf8")).split("\n").slice(0, -1);
  const write = (some: readonly string[]): Promise<void> =>
    writeFile(
      file,
      some.map((each) => `${each}\n`),
    );
  return { file, lines, texts, write, last: lines.at(-1)! };
}

t.test("a journal that is whole holds to its last line, and an empty one holds", async (t) => {
  const { file, last, texts, write } = await journalOf(t, 500);
  const whole = { lines: 500, first: 1, last: { seq: 500, hash: last.hash }, unfinished: 0 };
  t.match(await checkJournal(file), { ...whole, broken: undefined, against: undefined });
  await write(texts.slice(200));
  t.match(await checkJournal(file), { lines: 300, first: 201, broken: undefined });
  await write([]);
  t.same(await checkJournal(file), {
    lines: 0,
    first: 0,
    last: undefined,
    unfinished: 0,
    broken: undefined,
    against: undefined,
  });
  await t.rejects(checkJournal(`${file}.none`), { code: "ENOENT" });
});

t.test("whatever is done to a line is found, with the line and what is wrong with it", async (t) => {
  const { file, texts, write } = await journalOf(t, 6);
  const at = (index: number): string => texts[index]!;
  const table: readonly (readonly [string, readonly string[], number, RegExp])[] = [
    ["changed", texts.with(2, at(2).replace("entry 3", "entry 4")), 3, /it was changed/],
    ["weight changed", texts.with(4, at(4).replace('"weight":5', '"weight":6')), 5, /it was changed/],
    ["taken out", texts.toSpliced(2, 1), 3, /line 4 of the journal comes after line 2/],
    ["put in", texts.toSpliced(2, 0, at(1)), 3, /line 2 of the journal comes after line 2/],
    ["exchanged", texts.with(2, at(3)).with(3, at(2)), 3, /line 4 .* after line 2/],
    ["torn", texts.with(3, at(3).slice(0, 40)), 4, /it is no line of a journal/],
    ["empty", texts.toSpliced(3, 0, ""), 4, /it is no line of a journal/],
    ["no text", texts.with(3, "\u0000\u0001"), 4, /it is no line/],
  ];
  for (const [name, some, line, what] of table) {
    await write(some);
    t.match(await checkJournal(file), { lines: line - 1, broken: { line, what } }, name);
  }
});

t.test("a line that is being written is not whole yet, and no fault", async (t) => {
  const { file, texts, write } = await journalOf(t, 6);
  await write(texts.slice(0, 5));
  const last = Buffer.from(`${texts[5]!}\n`);
  for (const length of [1, 40, last.length - 1]) {
    await write(texts.slice(0, 5));
    await appendFile(file, last.subarray(0, length));
    t.match(await checkJournal(file), { lines: 5, unfinished: length, broken: undefined }, `${length} bytes`);
  }
  await write(texts);
  t.match(await checkJournal(file), { lines: 6, unfinished: 0 });
});

t.test("a journal that was cut, rewritten or begun anew since a backup is found", async (t) => {
  const { file, lines, texts, write, last } = await journalOf(t, 6);
  const head = { seq: 4, hash: lines[3]!.hash };
  t.equal((await checkJournal(file, head)).against, undefined);
  t.equal((await checkJournal(file, { seq: 0, hash: "0".repeat(64) })).against, undefined);
  t.equal((await checkJournal(file, last)).against, undefined);
  await write(texts.slice(0, 3));
  t.match(await checkJournal(file, head), {
    broken: undefined,
    against: "it ends at line 3, and had line 4",
  });
  await write(texts.slice(4));
  t.match(await checkJournal(file, head), { against: "it begins at line 5, behind line 4" });
  await write([]);
  t.match(await checkJournal(file, head), { against: "it ends at line 0, and had line 4" });
  // A chain that is whole in itself, with another past.
  await write([]);
  const journal = await openJournal({ path: file, clock: fakeClock(), log: quietLog() });
  for (let n = 1; n <= 6; n += 1) await journal.append(entryOf(`another entry ${n}`));
  await journal.close();
  t.match(await checkJournal(file, head), {
    broken: undefined,
    against: "line 4 is another one than it was",
  });
  await write(texts.with(1, "{}"));
  t.match(await checkJournal(file, head), { broken: { line: 2 }, against: undefined });
});

t.test("what has no line end for 16 MiB is no journal, and is not read into memory", async (t) => {
  const file = join(await temporaryFolder(t), "journal.jsonl");
  const handle = await open(file, "w");
  // A hole takes no room on the disk.
  await handle.truncate(1024 ** 3);
  await handle.close();
  const found = await checkJournal(file);
  t.match(found, { lines: 0, broken: { line: 1, what: /no end within 16 MiB/ } });
  t.ok(found.unfinished < 17 * 1024 ** 2, `${found.unfinished} bytes were looked at`);
});
