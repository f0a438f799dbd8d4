import { createHash } from "node:crypto";
import { appendFile, mkdir, readFile, readdir, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { openJournal, verifyJournal, type OpenJournal } from "../../src/telemetry/journal.ts";
import type { JournalLine } from "../../src/engine/ports.ts";
import { fakeClock } from "../support/clock.ts";
import { killAfter } from "../support/crash.ts";
import { temporaryFolder, tinyDisk } from "../support/disk.ts";
import { quietLog } from "../support/silence.ts";
import { entryOf } from "./entries.ts";

const APPENDER = join(import.meta.dirname, "appender.ts");

function open(path: string | null, log = quietLog()): Promise<OpenJournal> {
  return openJournal({ path, clock: fakeClock(), log });
}

async function linesIn(path: string): Promise<readonly JournalLine[]> {
  const text = await readFile(path, "utf8");
  if (!text.endsWith("\n")) throw new Error("the last line is torn");
  return text
    .slice(0, -1)
    .split("\n")
    .map((line) => JSON.parse(line));
}

t.test(
  "a line says who, what, why, before and after, in percent, and is chained to the one before",
  async (t) => {
    const path = join(await temporaryFolder(t), "new", "journal.jsonl");
    const journal = await open(path);
    t.equal(await journal.append({ ...entryOf("first"), details: { rule: "error_rate" } }), true);
    t.equal(await journal.append(entryOf("second")), true);
    const [first, second] = await linesIn(path);
    t.match(first, {
      seq: 1,
      at: "2026-01-05T09:00:00.000Z",
      event: "climbed",
      route: "app",
      rollout: "r-1",
      actor: "sluice",
      reason: "first",
      before: { phase: "progressing", step: 0, weight: 5 },
      after: { phase: "progressing", step: 1, weight: 12.5 },
      details: { rule: "error_rate" },
      prev: "0".repeat(64),
    });
    t.match(second, { seq: 2, prev: first?.hash });
    t.notOk(second !== undefined && "details" in second);
    // Anyone can check a line with a shell: its text without the hash, hashed.
    const [text = ""] = (await readFile(path, "utf8")).split("\n");
    const body = text.replace(/,"hash":"[0-9a-f]{64}"\}$/, "}");
    t.equal(createHash("sha256").update(body).digest("hex"), first?.hash);
    t.equal((await stat(path)).mode & 0o777, 0o600);
    await journal.close();
  },
);

t.test(
  "a change, a loss, an insertion and a swap of lines are found at the first line they touch",
  async (t) => {
    const path = join(await temporaryFolder(t), "journal.jsonl");
    const journal = await open(path);
    for (let n = 1; n <= 6; n += 1) await journal.append(entryOf(`entry ${n}`));
    const lines = await linesIn(path);
    const at = (index: number): JournalLine => lines[index] ?? (t.fail() as never); // six were written
    t.equal(verifyJournal(lines), -1);
    t.equal(verifyJournal([]), -1);
    t.equal(verifyJournal(lines.slice(3)), -1, "the end of a journal holds by itself");
    t.equal(verifyJournal(lines.with(2, { ...at(2), reason: "nothing happened" })), 2);
    t.equal(verifyJournal(lines.with(2, { ...at(2), after: { ...at(2).after, weight: 100 } })), 2);
    t.equal(verifyJournal(lines.toSpliced(2, 1)), 2);
    t.equal(verifyJournal(lines.toSpliced(2, 0, at(1))), 2);
    t.equal(verifyJournal(lines.with(2, at(3)).with(3, at(2))), 2);
    t.equal(verifyJournal([{ ...at(0), prev: "1".repeat(64) }]), 0);
    await journal.close();
  },
);

t.test("the chain goes on after a restart, and reading gives the newest, oldest first", async (t) => {
  const path = join(await temporaryFolder(t), "journal.jsonl");
  for (let start = 0; start < 4; start += 1) {
    const journal = await open(path);
    for (let n = 0; n < 5; n += 1) await journal.append(entryOf(`${start}.${n}`, n % 2 ? "odd" : "even"));
    await journal.close();
  }
  t.equal(verifyJournal(await linesIn(path)), -1);
  const journal = await open(path);
  const reasons = async (options: { limit: number; route?: string }) =>
    (await journal.read(options)).map((line) => line.reason);
  t.same(await reasons({ limit: 3 }), ["3.2", "3.3", "3.4"]);
  t.same(await reasons({ limit: 3, route: "odd" }), ["2.3", "3.1", "3.3"]);
  t.same(await reasons({ limit: 3, route: "none" }), []);
  t.equal((await reasons({ limit: 1e9 })).length, 20);
  t.same(await reasons({ limit: 0 }), []);
  await journal.close();
  t.same(await journal.read({ limit: 1 }), [], "a closed journal has nothing to say");
  t.equal(await journal.append(entryOf("late")), false);
  await journal.close();
});

t.test("appends that are made at once stand in the order in which they were made", async (t) => {
  const path = join(await temporaryFolder(t), "journal.jsonl");
  const journal = await open(path);
  const done = await Promise.all(
    Array.from({ length: 50 }, (_, n) => journal.append(entryOf(`entry ${n + 1}`))),
  );
  t.ok(done.every(Boolean));
  const lines = await linesIn(path);
  t.equal(verifyJournal(lines), -1);
  t.ok(lines.every((line) => line.reason === `entry ${line.seq}`));
  await journal.close();
});

t.test("lines longer than what is read at once, and of many bytes a character, are found", async (t) => {
  const path = join(await temporaryFolder(t), "journal.jsonl");
  const journal = await open(path);
  for (let n = 0; n < 6; n += 1) await journal.append(entryOf("ü€😀".repeat(9000 + n * 3001)));
  await journal.close();
  const again = await open(path);
  t.same(await again.read({ limit: 10 }), await linesIn(path));
  t.equal(await again.append(entryOf("short")), true);
  t.equal(verifyJournal(await again.read({ limit: 10 })), -1);
  await again.close();
});

t.test("a torn end is moved aside byte for byte, and nothing that was acknowledged is lost", async (t) => {
  const tears: Readonly<Record<string, Buffer>> = {
    "half a line": Buffer.from('{"seq":4,"at":"2026-01'),
    "zero bytes": Buffer.alloc(5000),
    "a whole line without its newline": Buffer.from(JSON.stringify({ seq: 4 })),
    "lines that are none": Buffer.from("garbage\n\n{}\n[1]\n"),
    "a large torn part": Buffer.alloc(200_000, "x"),
  };
  for (const [name, tear] of Object.entries(tears)) {
    const folder = await temporaryFolder(t);
    const path = join(folder, "journal.jsonl");
    const log = quietLog();
    const before = await open(path);
    for (let n = 1; n <= 3; n += 1) await before.append(entryOf(`entry ${n}`));
    await before.close();
    await appendFile(path, tear);
    const journal = await open(path, log);
    t.same(await readFile(join(folder, "journal.jsonl.torn-1")), tear, `${name}: kept`);
    t.match(log.lines, [{ level: "warn", fields: { bytes: tear.length } }], `${name}: said`);
    t.equal(await journal.append(entryOf("entry 4")), true);
    t.same(
      (await linesIn(path)).map((line) => line.reason),
      ["entry 1", "entry 2", "entry 3", "entry 4"],
      name,
    );
    t.equal(verifyJournal(await linesIn(path)), -1, `${name}: the chain holds`);
    await appendFile(path, "torn again");
    await journal.close();
    await (await open(path)).close();
    t.same((await readdir(folder)).length, 3, `${name}: the second one under its own name`);
  }
});

t.test(
  "a journal that is torn in its first line, or is something else altogether, begins anew beside it",
  async (t) => {
    const folder = await temporaryFolder(t);
    const path = join(folder, "journal.jsonl");
    await writeFile(path, "not a journal\n".repeat(10_000));
    const journal = await open(path);
    t.equal(await journal.append(entryOf("first")), true);
    t.match(await linesIn(path), [{ seq: 1, prev: "0".repeat(64) }]);
    t.equal((await stat(join(folder, "journal.jsonl.torn-1"))).size, 140_000);
    await journal.close();
  },
);

t.test("two that write to one journal keep one chain", async (t) => {
  const path = join(await temporaryFolder(t), "journal.jsonl");
  const [first, second] = [await open(path), await open(path)];
  for (let n = 0; n < 10; n += 1) {
    t.equal(await (n % 2 ? first : second).append(entryOf(`entry ${n}`)), true);
  }
  const lines = await linesIn(path);
  t.equal(lines.length, 10);
  t.equal(verifyJournal(lines), -1);
  await first.close();
  await second.close();
});

t.test("an entry that is not JSON is refused, counted and logged, and the chain goes on", async (t) => {
  for (const path of [null, join(await temporaryFolder(t), "journal.jsonl")]) {
    const log = quietLog();
    const journal = await open(path, log);
    t.equal(await journal.append({ ...entryOf("bad"), details: { count: 1n } }), false);
    t.equal(journal.errors, 1);
    t.match(log.lines.at(-1), { level: "error", fields: { route: "app" } });
    t.equal(await journal.append(entryOf("good")), true);
    t.match(await journal.read({ limit: 9 }), [{ seq: 1, reason: "good" }]);
    await journal.close();
  }
});

t.test("in memory it keeps the last thousand lines of one chain", async (t) => {
  const journal = await open(null);
  for (let n = 1; n <= 1005; n += 1) await journal.append(entryOf(`entry ${n}`, n % 2 ? "odd" : "even"));
  const lines = await journal.read({ limit: 5000 });
  t.equal(lines.length, 1000);
  t.equal(lines[0]?.seq, 6);
  t.equal(verifyJournal(lines), -1);
  t.match(await journal.read({ limit: 2, route: "even" }), [{ seq: 1002 }, { seq: 1004 }]);
  t.same(await journal.read({ limit: 0 }), []);
  await journal.close();
});

t.test("a journal that cannot be opened says so", async (t) => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, "journal.jsonl"));
  await t.rejects(open(join(folder, "journal.jsonl")), {
    code: "SPLIT_STATE_UNWRITABLE",
    message: `cannot write the journal in ${folder}: EISDIR`,
    cause: { code: "EISDIR" },
  });
});

t.test(
  "a line that does not fit on the disk is taken back whole, and the chain goes on when there is room",
  async (t) => {
    const disk = await tinyDisk(t);
    if (disk === undefined) {
      t.plan(0, "no mount allowed here");
      return;
    }
    const path = join(disk.folder, "journal.jsonl");
    const journal = await open(path);
    await journal.append(entryOf("before"));
    await disk.fill();
    let kept = 1;
    // The last page has some room left: lines fit until one fits only in part.
    while (await journal.append(entryOf(`entry ${kept}`))) kept += 1;
    t.ok(journal.errors === 1 && kept > 1, `${kept} fitted`);
    t.equal((await linesIn(path)).length, kept);
    t.equal(await journal.append(entryOf("still full".repeat(500))), false);
    const restarted = await open(path);
    t.equal((await restarted.read({ limit: 99 })).length, kept, "a restart on the full disk reads it");
    await disk.empty();
    t.equal(await restarted.append(entryOf("after")), true);
    t.equal(await journal.append(entryOf("after")), true);
    const lines = await linesIn(path);
    t.equal(lines.length, kept + 2);
    t.equal(verifyJournal(lines), -1);
    await journal.close();
    await restarted.close();
  },
);

t.test("a torn end that cannot be kept stays where it is, and nothing is written behind it", async (t) => {
  const disk = await tinyDisk(t);
  if (disk === undefined) {
    t.plan(0, "no mount allowed here");
    return;
  }
  const path = join(disk.folder, "journal.jsonl");
  const before = await open(path);
  await before.append(entryOf("before"));
  await before.close();
  await appendFile(path, "torn");
  await disk.fill();
  const log = quietLog();
  const journal = await open(path, log);
  t.match(log.lines.at(-1), { level: "error" });
  t.equal(await journal.append(entryOf("refused")), false);
  t.match(await readFile(path, "utf8"), /\ntorn$/);
  t.match(await journal.read({ limit: 9 }), [{ reason: "before" }]);
  await disk.empty();
  t.equal(await journal.append(entryOf("after")), true);
  t.equal(verifyJournal(await linesIn(path)), -1);
  await journal.close();
});

t.test("a file that was cut by someone else is gone on with from what is left", async (t) => {
  const path = join(await temporaryFolder(t), "journal.jsonl");
  const journal = await open(path);
  await journal.append(entryOf("first"));
  const { size } = await stat(path);
  await journal.append(entryOf("second"));
  await truncate(path, size);
  t.equal(await journal.append(entryOf("third")), true);
  t.match(await linesIn(path), [{ seq: 1 }, { seq: 2, reason: "third" }]);
  await journal.close();
});

t.test(
  "killed twelve times in the middle of appending, every acknowledged line is there and the chain holds",
  async (t) => {
    const path = join(await temporaryFolder(t), "journal.jsonl");
    for (let kill = 1; kill <= 12; kill += 1) {
      const acknowledged = await killAfter(APPENDER, [path], 3 + kill * 3);
      const last = Number(acknowledged.at(-1));
      const journal = await open(path);
      await journal.close();
      const lines = await linesIn(path);
      t.equal(verifyJournal(lines), -1);
      t.ok(lines.length === last || lines.length === last + 1, `kill ${kill}: ${lines.length} of ${last}`);
      t.ok(lines.every((line) => line.reason === `entry ${line.seq}`));
    }
  },
);
