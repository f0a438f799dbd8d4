/** The access log: lines that a backtest reads, files that stay within their bound, and a disk that fails. */

import promises, { mkdir, mkdtemp, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import type { BacktestReport } from "../../src/backtest/report.ts";
import { configSchema, type AccessLogConfig } from "../../src/config/schema.ts";
import type { Account } from "../../src/domain/account.ts";
import { accessLine, openAccessLog, type AccessLog } from "../../src/telemetry/access-log.ts";
import { RESCUED } from "../support/account.ts";
import { sluice } from "../support/cli.ts";
import { quietLog } from "../support/silence.ts";
import { failing, program } from "../support/program.ts";
import { until } from "../support/until.ts";

const QUIET = { debug() {}, info() {}, warn() {}, error() {} };
const NOWHERE = (): Promise<void> => Promise.resolve();
const folder = await mkdtemp(join(tmpdir(), "sluice-access-"));
t.teardown(() => rm(folder, { recursive: true, force: true }));

const ACCOUNT: Account = { ...RESCUED, totalMs: 20.12345, isLogged: true };

function configOf(accessLog: object): AccessLogConfig {
  const arm = { endpoints: ["http://a:1"] };
  const parsed = configSchema.parse({ accessLog, routes: [{ name: "app", stable: arm, canary: arm }] });
  if (parsed.accessLog === "off") throw new Error("off");
  return parsed.accessLog;
}

/** Resolves when so many lines are written. */
function written(log: AccessLog, count: number): Promise<void> {
  return until(`${count} lines are written`, () => log.counts.written >= count);
}

t.test("a line says what an exchange came to, and leaves out what is not known", async (t) => {
  t.strictSame(accessLine(ACCOUNT), {
    time: "2026-01-05T09:00:00.004Z",
    route: "app",
    arm: "canary",
    status: 0,
    ms: null,
    method: "GET",
    path: "/a",
    reason: "connect",
    key: "0badcafe",
    bucket: 7,
    why: "sticky",
    rescued: true,
    answered: 200,
    totalMs: 20.123,
  });
  const forced = accessLine({
    ...ACCOUNT,
    why: "forced",
    bucket: -1,
    keyHash: "",
    latencyMs: 1.5,
    traceId: "ab",
  });
  t.match(forced, { forced: true, why: "forced", ms: 1.5, traceId: "ab" });
  t.notOk("key" in forced || "bucket" in forced);
});

t.test("a file is renamed when it is long enough, and only so many stay", async (t) => {
  const file = join(folder, "rotated", "access.log");
  const size = JSON.stringify(accessLine(ACCOUNT)).length + 1;
  const log = openAccessLog(configOf({ to: { file }, size: `${size * 2}B`, keep: 2 }), NOWHERE, QUIET);
  for (let nth = 0; nth < 9; nth++) {
    log.take(ACCOUNT);
    // Each is a batch of its own.
    await written(log, nth + 1);
  }
  await log.close();
  t.strictSame((await readdir(join(folder, "rotated"))).sort(), [
    "access.log",
    "access.log.1",
    "access.log.2",
  ]);
  t.equal((await readFile(`${file}.2`, "utf8")).length, size * 2);
  t.equal((await readFile(file, "utf8")).length, size);
});

t.test(
  "a file that cannot be renamed grows, takes no older one with it, and is not tried with every batch",
  async (t) => {
    const file = join(folder, "stuck", "access.log");
    await mkdir(`${file}.2/full`, { recursive: true });
    await writeFile(`${file}.1`, "older");
    const told = quietLog();
    const size = JSON.stringify(accessLine(ACCOUNT)).length + 1;
    const log = openAccessLog(configOf({ to: { file }, size: `${size * 2}B`, keep: 2 }), NOWHERE, told);
    const take = async (count: number): Promise<void> => {
      for (let nth = 0; nth < count; nth++) {
        log.take(ACCOUNT);
        await written(log, log.counts.written + 1);
      }
    };
    const lengths = () =>
      Promise.all(["", ".1"].map(async (end) => (await readFile(file + end, "utf8")).length / size));

    await take(6);
    t.equal((await readFile(file, "utf8")).length, size * 6);
    t.equal(await readFile(`${file}.1`, "utf8"), "older");
    t.match(told.lines, [{ level: "error", message: "the access log cannot be renamed, and grows" }]);
    t.equal(told.lines.length, 1, "twice tried, once said");

    await rm(`${file}.2`, { recursive: true });
    await take(1);
    t.strictSame(await lengths(), [1, 6]);
    t.equal(await readFile(`${file}.2`, "utf8"), "older");

    // Asked to be opened anew it is tried again before it is longer by as much.
    await rm(`${file}.2`);
    await mkdir(`${file}.2/full`, { recursive: true });
    await take(2);
    t.strictSame(await lengths(), [3, 6]);
    t.equal(told.lines.length, 2, "it had been well again in between");
    await rm(`${file}.2`, { recursive: true });
    log.reopen();
    await take(2);
    t.strictSame(await lengths(), [1, 4]);
    await log.close();
  },
);

/** A log whose file is full with two lines, which keeps two older ones that are there; `fill` writes so many lines. */
async function keeping(name: string) {
  const file = join(folder, name, "access.log");
  await mkdir(join(folder, name));
  await writeFile(`${file}.1`, "older");
  await writeFile(`${file}.2`, "oldest");
  const size = JSON.stringify(accessLine(ACCOUNT)).length + 1;
  const log = openAccessLog(configOf({ to: { file }, size: `${size * 2}B`, keep: 2 }), NOWHERE, QUIET);
  const fill = async (lines: number): Promise<void> => {
    for (let nth = 0; nth < lines; nth++) {
      log.take(ACCOUNT);
      await written(log, log.counts.written + 1);
    }
  };
  const textOf = (end: string): Promise<string> => readFile(file + end, "utf8");
  return { file, log, size, fill, textOf };
}

t.test("a file that alone cannot be renamed costs none of the older ones", async (t) => {
  const { file, log, size, fill, textOf } = await keeping("immovable");
  const before = promises.rename;
  const restore = (): void => {
    promises.rename = before;
    syncBuiltinESMExports();
  };
  t.teardown(restore);
  promises.rename = (from, to) =>
    from === file
      ? Promise.reject(Object.assign(new Error("not permitted"), { code: "EPERM" }))
      : before(from, to);
  syncBuiltinESMExports();
  await fill(6);
  t.equal((await textOf("")).length, size * 6);
  t.equal(await textOf(".1"), "older");
  t.equal(await textOf(".2"), "oldest");
  restore();
  await fill(1);
  t.equal((await textOf(".1")).length, size * 6);
  t.equal(await textOf(".2"), "older");
  await log.close();
});

t.test("a file that is not there any more costs none of the older ones", async (t) => {
  const { file, log, size, fill, textOf } = await keeping("gone");
  await fill(2);
  await rm(file);
  await fill(1);
  t.equal((await textOf("")).length, size);
  t.equal(await textOf(".1"), "older");
  t.equal(await textOf(".2"), "oldest");
  await log.close();
});

t.test("a file that was being set aside when the program ended is kept", async (t) => {
  const { file, log, size, fill, textOf } = await keeping("left");
  await writeFile(`${file}.0`, "left");
  await fill(3);
  t.equal(await textOf(".1"), "left");
  t.equal(await textOf(".2"), "older");
  await fill(1);
  t.equal((await textOf(".1")).length, size * 3);
  t.equal(await textOf(".2"), "left");
  await log.close();
});

t.test("after somebody else has renamed the file, lines go to a new one when it is asked for", async (t) => {
  const file = join(folder, "moved.log");
  const log = openAccessLog(configOf({ to: { file } }), NOWHERE, QUIET);
  log.take(ACCOUNT);
  await written(log, 1);
  await rename(file, `${file}.old`);
  log.take(ACCOUNT);
  await written(log, 2);
  log.reopen();
  log.take(ACCOUNT);
  await log.close();
  t.equal((await readFile(`${file}.old`, "utf8")).split("\n").length, 3);
  t.equal((await readFile(file, "utf8")).split("\n").length, 2);
});

t.test("lines that cannot be written are counted, and told once", async (t) => {
  const file = join(folder, "a file", "access.log");
  await writeFile(join(folder, "a file"), "");
  const told: string[] = [];
  const log = openAccessLog(configOf({ to: { file } }), NOWHERE, {
    ...QUIET,
    error: (words) => void told.push(words),
  });
  log.take(ACCOUNT);
  log.take(ACCOUNT);
  await log.close();
  t.strictSame(log.counts, { written: 0, dropped: 2 });
  t.strictSame(told, ["the access log cannot be written"]);
});

t.test(
  "an output that is never done with a batch loses what is behind it, and holds up no end",
  async (t) => {
    const texts: string[] = [];
    const log = openAccessLog(configOf({}), async (text) => void texts.push(text), QUIET);
    // More than may wait, within one turn.
    const path = "x".repeat(1000);
    for (let nth = 0; nth < 20_000; nth++) log.take({ ...ACCOUNT, path });
    await log.close();
    t.ok(log.counts.dropped > 0 && log.counts.written > 0);
    t.equal(log.counts.dropped + log.counts.written, 20_000);
    t.equal(texts.join("").split("\n").length - 1, log.counts.written);
  },
);

t.test(
  "a reader of the output that stalls loses lines, which are counted, and no more wait than may",
  async (t) => {
    const texts: string[] = [];
    const taken: (() => void)[] = [];
    const stalled = (text: string): Promise<void> => {
      texts.push(text);
      return new Promise((resolve) => void taken.push(resolve));
    };
    const log = openAccessLog(configOf({}), stalled, QUIET);
    const path = "x".repeat(1000);
    for (let turn = 0; turn < 10; turn++) {
      for (let nth = 0; nth < 2000; nth++) log.take({ ...ACCOUNT, path });
      await new Promise((resolve) => setImmediate(resolve));
    }
    t.equal(texts.length, 1, "nothing more before that is taken");
    t.equal(log.counts.written, 0);
    const { dropped } = log.counts;
    t.ok(dropped > 10_000);

    taken[0]?.();
    await written(log, 2000);
    t.equal(texts.length, 2, "what had waited, in one");
    taken[1]?.();
    await log.close();
    t.strictSame(log.counts, { written: 20_000 - dropped, dropped });
  },
);

t.test("what a reader has not taken at the end is counted as dropped, once", async (t) => {
  let take = (): void => {};
  const stalled = (): Promise<void> => new Promise((resolve) => (take = resolve));
  const log = openAccessLog(configOf({}), stalled, QUIET);
  log.take(ACCOUNT);
  await new Promise((resolve) => setImmediate(resolve));
  log.take(ACCOUNT);
  await log.close();
  t.strictSame(log.counts, { written: 0, dropped: 2 });
  take();
  await new Promise((resolve) => setImmediate(resolve));
  t.strictSame(log.counts, { written: 0, dropped: 2 });
});

t.test("a log writes nothing before the one that it follows has ended", async (t) => {
  const texts: string[] = [];
  let end = (): void => {};
  const ended = new Promise<void>((resolve) => (end = resolve));
  const log = openAccessLog(configOf({}), async (text) => void texts.push(text), QUIET, ended);
  log.take(ACCOUNT);
  await new Promise((resolve) => setTimeout(resolve));
  t.equal(texts.length, 0);
  end();
  await log.close();
  t.equal(texts.length, 1);
});

t.test(
  "what a real run has written a backtest reads, every line of it, and finds the same failures",
  async (t) => {
    const file = join(folder, "run.log");
    const p = await program(
      { rescue: {}, override: { header: "x-arm", secret: { env: "S" } } },
      { accessLog: { sample: "100%", to: { file } } },
    );
    await p.setWeight(50);
    for (let nth = 0; nth < 40; nth++) await p.get(`u${nth}`, { path: `/items/${nth}?token=secret` });
    p.canary.answer = failing;
    for (let nth = 0; nth < 40; nth++) await p.get(`u${nth}`, { path: "/items" });
    await p.get("forced", { headers: { "x-arm": "canary:S" } });
    await p.close();
    const lines = (await readFile(file, "utf8"))
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    t.equal(lines.length, 81);
    const bad = lines.filter(({ reason }) => reason === "status");
    t.ok(bad.length > 5);
    t.ok(bad.every((line) => line["arm"] === "canary" && line["status"] === 500));
    t.match(bad.at(-1), { forced: true, why: "forced", rescued: false, answered: 500 });
    t.match(bad[0], { why: "sticky", rescued: true, answered: 200, bucket: Number });
    t.notMatch(JSON.stringify(lines), /secret|"u\d|token/);

    const config = join(folder, "sluice.yaml");
    await writeFile(
      config,
      "routes:\n  - { name: app, stable: { endpoints: [http://a:1] }, canary: { endpoints: [http://b:1] }, plan: p }\n" +
        "plans: { p: { promotion: off, steps: [{ setWeight: 50%, hold: 1h }] } }\n",
    );
    const { out, err } = await sluice(["backtest", "-c", config, "--log", file, "--json"]);
    t.equal(err, "");
    const report = JSON.parse(out) as BacktestReport;
    t.match(report, { log: { lines: 81, unattributed: 0, late: 0 }, trips: 1 });
    t.same(report.log.bad, []);
  },
);
