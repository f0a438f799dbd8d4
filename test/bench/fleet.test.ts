/** The benchmark of the fleet: that it runs, fails when it should, leaves nothing behind, and what it makes of what was measured. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { z } from "zod";
import { distributionOf } from "../../bench/fleet/distribution.ts";
import { madeUp, NO_SUMS, addSums, sumsOf } from "../../bench/fleet/measures.ts";
import { optionsOf } from "../../bench/fleet/options.ts";
import { inputsOf, paperOf } from "../../bench/fleet/paper.ts";
import {
  noiseOf,
  paperTableOf,
  propagationTableOf,
  remarksOf,
  steadyTableOf,
} from "../../bench/fleet/table.ts";
import type { Steady, Trial } from "../../bench/fleet/trial.ts";
import { Random } from "../../bench/judge/random.ts";
import { treeOf } from "../../bench/load/tree.ts";
import { byOutcome } from "../../src/domain/window.ts";
import { encodeShares, mergeEncoded, noShare } from "../../src/engine/shares.ts";
import { temporaryFolder } from "../support/disk.ts";
import { redisTest } from "../support/redis.ts";
import { until } from "../support/until.ts";

t.setTimeout(110_000);

const RUN = fileURLToPath(new URL("../../bench/fleet/run.ts", import.meta.url));

const sums = z.object({ requests: z.number(), failures: z.number() });
const distribution = z.object({ samples: z.number(), p50: z.number(), p99: z.number(), max: z.number() });
const written = z.object({
  trials: z.array(
    z.object({
      replicas: z.number(),
      verdict: z.object({
        published: z.object({ stable: sums, canary: sums }),
        merged: z.object({ stable: sums, canary: sums }),
        isExact: z.boolean(),
      }),
      propagation: z
        .object({ fromCall: distribution, alone: distribution, fromSave: distribution })
        .optional(),
      failures: z.array(z.string()),
    }),
  ),
});

redisTest("a benchmark of three replicas: every weight is everywhere, and the sum is exact", async (t) => {
  const json = join(await temporaryFolder(t), "result.json");
  const args = ["--replicas", "3", "--seconds", "2", "--changes", "6", "--json", json];
  const child = spawn(process.execPath, [RUN, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  t.teardown(() => child.kill("SIGTERM"));
  child.stdout.on("data", (chunk: Buffer) => (said += String(chunk)));
  child.stderr.on("data", (chunk: Buffer) => (said += String(chunk)));
  const [code] = (await once(child, "close")) as [number];
  t.equal(code, 0, said);
  t.match(said, /10000 replicas, on paper/);
  const { trials } = written.parse(JSON.parse(await readFile(json, "utf8")));
  t.same(
    trials.map(({ replicas }) => replicas),
    [1, 3],
  );
  const [alone, three] = trials;
  t.same(alone?.verdict.merged, NO_SUMS, "nobody measured");
  t.same(three?.failures, []);
  t.same(three?.verdict.merged, three?.verdict.published);
  t.ok((three?.verdict.merged.canary.requests ?? 0) >= 2 * 2 * 50, "two replicas measured for seconds");
  const { propagation } = three ?? {};
  t.equal(propagation?.fromCall.samples, 12);
  t.equal(propagation?.fromSave.samples, 12);
  t.equal(propagation?.alone.samples, 12, "each has a process of its own");
});

redisTest("an interrupted benchmark leaves no process behind", async (t) => {
  const child = spawn(process.execPath, [RUN, "--replicas", "3"], { stdio: ["ignore", "ignore", "ignore"] });
  t.teardown(() => child.kill("SIGTERM"));
  const pid = child.pid ?? 0;
  let below: readonly number[] = [];
  await until("a server and a leader run", () => {
    below = treeOf(pid).filter((each) => each !== pid);
    return below.length >= 2;
  });
  child.kill("SIGINT");
  const [code] = (await once(child, "exit")) as [number];
  t.equal(code, 130);
  const isGone = (each: number): boolean => {
    try {
      process.kill(each, 0);
      return false;
    } catch {
      return true;
    }
  };
  await until("all of them are gone", () => below.every(isGone));
});

t.test("the options have bounds", async (t) => {
  t.same(optionsOf([]), { sizes: [10, 100, 1000], seconds: 20, changes: 50, json: undefined });
  t.same(optionsOf(["--replicas", "3,7", "--json", "a"]).sizes, [3, 7]);
  for (const args of [
    ["--replicas", "1"],
    ["--replicas", "10,x"],
    ["--replicas", "100000"],
    ["--seconds", "41"],
    ["--changes", "0"],
  ])
    t.throws(
      () => optionsOf(args),
      { message: new RegExp(`^${args[0]} takes whole numbers from `) },
      args.join(" "),
    );
  t.throws(() => optionsOf(["--unknown"]), { message: /'--unknown'/ });
});

t.test("what was made up comes to the sums that are told of it", async (t) => {
  const random = new Random(1, 2);
  const seconds = Array.from({ length: 50 }, () => madeUp(random));
  const told = seconds.map(sumsOf).reduce(addSums);
  const [share] = mergeEncoded(
    seconds.map(({ measure, own }) =>
      encodeShares([{ ...noShare("app", "r/0"), arms: measure.arms, block: own }], { digits: 2, samples: 0 }),
    ),
  );
  for (const arm of ["stable", "canary"] as const) {
    const [successes, failures] = byOutcome(share?.arms[arm]?.byReason ?? []);
    t.same({ requests: successes + failures, failures }, told[arm]);
    t.equal(share?.block[arm].n, told[arm].requests);
    t.equal(share?.block[arm].e, told[arm].failures);
  }
});

t.test("many figures in a few", async (t) => {
  t.same(distributionOf([]), { samples: 0, p50: null, p99: null, max: null });
  const values = Array.from({ length: 200 }, (_, nth) => 200 - nth);
  t.same(distributionOf(values), { samples: 200, p50: 100, p99: 198, max: 200 });
});

const steady = (some: Partial<Steady>): Steady => ({
  seconds: 20,
  leaderCpu: 30,
  mergeCpu: 0,
  redisCpu: 2,
  simulatedCpu: 0,
  othersCpu: 0,
  measuresPerSecond: 0,
  measureBytes: 0,
  documentsPerSecond: 1,
  commandsPerSecond: 20,
  receivedPerSecond: 7000,
  sentPerSecond: 6000,
  memory: 1e6,
  memoryPeak: 1e6,
  streamBytes: 0,
  leaderRssMib: 200,
  ...some,
});
const trialOf = (replicas: number, some: Partial<Steady>, more: Partial<Trial> = {}): Trial => ({
  replicas,
  everyMs: 1000,
  digits: 2,
  loadBefore: 0.5,
  load: 1,
  steady: steady(some),
  propagation: undefined,
  verdict: { published: NO_SUMS, merged: NO_SUMS, isExact: true },
  failures: [],
  complaints: [],
  ...more,
});
const alone = trialOf(1, {});

t.test("ten thousand replicas are what one more of those measured costs, times as many", async (t) => {
  t.equal(inputsOf([alone]), undefined);
  const measured = trialOf(101, { redisCpu: 32, leaderCpu: 60, mergeCpu: 10, sentPerSecond: 106_000 });
  const small = trialOf(11, { redisCpu: 400 });
  const verdict = { published: NO_SUMS, merged: NO_SUMS, isExact: false };
  const wrong = trialOf(1000, { redisCpu: 0 }, { verdict });
  const inputs = inputsOf([alone, measured, small, wrong]);
  t.match(inputs, { replicas: 101, redisCpuEach: 0.3, leaderCpuEach: 0.2, sentEach: 1000 });
  if (inputs === undefined) return;
  const lines = new Map(paperOf({ ...inputs, mergeCpu: 0.1, sumCpu: 0.5 }).map((each) => [each.what, each]));
  const line = (start: string) => [...lines.values()].find(({ what }) => what.startsWith(start));
  t.match(line("measurements that the leader"), { flat: 2000, levels: 20 });
  t.match(line("leader: adding up"), { flat: 200, levels: 10 });
  t.match(line("leader: the rest"), { flat: 2030, levels: 2030 });
  t.match(line("Redis: CPU"), { flat: 3002 });
  t.match(line("Redis: sent"), { flat: 10_000 });
  t.match(line("connections"), { flat: 20_000 });
  t.match(paperTableOf(inputs), /\| connections to Redis +\| +20000 \|/);
});

t.test("the tables say what is exact, what is in time, and what is not to be believed", async (t) => {
  const of = (p99: number) => ({ samples: 9, p50: 1, p99, max: p99 });
  const propagation = (p99: number) => ({
    changes: 3,
    fromCall: of(p99),
    alone: of(5),
    fromSave: of(5),
    answer: of(5),
    lateMs: 80,
  });
  const quick = trialOf(10, {}, { propagation: propagation(20) });
  const slow = trialOf(100, {}, { propagation: propagation(120) });
  const noisy = trialOf(1000, { othersCpu: 500 }, { propagation: propagation(120), load: 3 });
  const wrong = trialOf(5, {}, { verdict: { published: NO_SUMS, merged: NO_SUMS, isExact: false } });
  const steadyLines = steadyTableOf([quick, wrong]).split("\n");
  t.match(steadyLines[3], / exact /);
  t.match(steadyLines[4], / WRONG /);
  const lines = propagationTableOf([alone, quick, slow, noisy]).split("\n");
  t.match(lines[3], /^\| 10 .* yes \|$/);
  t.match(lines[7], /^\| 100 .* NO \|$/);
  t.match(lines[11], /^\| 1000 .* no, noisy \|$/);
  t.equal(noiseOf(quick), "");
  t.equal(noiseOf(noisy), "load 3.0, others used 500 ms/s of CPU");
  const remarks = remarksOf([quick, noisy]);
  t.match(remarks, [/80 ms late/, /^noisy: 1000/, /80 ms late/]);
  t.equal(remarks.length, 3);
});
