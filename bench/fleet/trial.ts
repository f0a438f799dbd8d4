/**
 * One size: a server, a leader, and simulated replicas beside it. First a steady state in which all of them measure, after which what was merged must be what was
 * measured, to the last request; then changes of the weight.
 */

import { mkdirSync } from "node:fs";
import { loadavg } from "node:os";
import { setTimeout as wait } from "node:timers/promises";
import { wordsOf } from "../../src/domain/errors.ts";
import { publishingOf } from "../../src/domain/publishing.ts";
import { TICK_MS } from "../../src/engine/controller.ts";
import { busySeconds, cpuSecondsOf } from "../load/tree.ts";
import { Crowd } from "./crowd.ts";
import { Leader, type Change } from "./leader.ts";
import type { Sums } from "./measures.ts";
import type { Receipt, Told } from "./replica.ts";
import { Server } from "./server.ts";
import { distributionOf, type Distribution } from "./distribution.ts";

/** What a steady state costs. */
export interface Steady {
  readonly seconds: number;
  /** CPU milliseconds per second. */
  readonly leaderCpu: number;
  /** Of it, the thread that adds up measurements. */
  readonly mergeCpu: number;
  readonly redisCpu: number;
  /** Of all processes with simulated replicas together. */
  readonly simulatedCpu: number;
  /** Of everybody else on the machine. */
  readonly othersCpu: number;
  readonly measuresPerSecond: number;
  readonly measureBytes: number;
  /** Documents that a replica was given: the leader saves because time passes, too. */
  readonly documentsPerSecond: number;
  readonly commandsPerSecond: number;
  readonly receivedPerSecond: number;
  readonly sentPerSecond: number;
  readonly memory: number;
  readonly memoryPeak: number;
  /** Of the stream of measurements, by then. */
  readonly streamBytes: number;
  readonly leaderRssMib: number;
}

/** How long a weight takes to everybody. */
export interface Propagation {
  readonly changes: number;
  /** From the call to the leader's API to each replica, ms. */
  readonly fromCall: Distribution;
  /** The same, to those replicas only that have a process of their own. */
  readonly alone: Distribution;
  /** From the moment at which the leader wrote it down, to the millisecond. */
  readonly fromSave: Distribution;
  /** From the call to the answer that it is in force and recorded, ms. */
  readonly answer: Distribution;
  /** How late the processes with the simulated replicas were themselves, P99, ms. */
  readonly lateMs: number;
}

/** What was measured and what was merged. */
export interface Verdict {
  /** As the replicas have counted it themselves. */
  readonly published: Sums;
  readonly merged: Sums;
  readonly isExact: boolean;
}

/** All of one size. */
export interface Trial {
  /** With the leader; 1: nobody else. */
  readonly replicas: number;
  readonly everyMs: number;
  readonly digits: number;
  /** Load averages of the machine over a minute: before anything was started, and at the end of the steady state. */
  readonly loadBefore: number;
  readonly load: number;
  readonly steady: Steady;
  /** Undefined without replicas. */
  readonly propagation: Propagation | undefined;
  readonly verdict: Verdict;
  /** What went wrong; empty: nothing. */
  readonly failures: readonly string[];
  /** What simulated replicas have warned of, such as a store that has not answered in time: a busy machine is enough for that. */
  readonly complaints: readonly string[];
}

/** Until all have connected, and have looked who else has. */
const SETTLED_MS = 45_000;
/** Until what was measured is in the figures that are shown. */
const MERGED_MS = 20_000;
/** Measuring goes on for so long before anything is read. */
const WARM_MS = 3000;
/** Between two changes, half of it by chance, so that they fall on any moment of the leader's second; longer for those who share a process. */
const BETWEEN_MS = 250;
const BETWEEN_MS_EACH = 1;
/** Where changes take longer, there are fewer. */
const MANY = 1000;
const CHANGES_OF_MANY = 30;
/** After the last one. */
const ARRIVED_MS = 3000;

/** How long each part takes. */
interface Lengths {
  readonly seconds: number;
  readonly changes: number;
}

/** Runs one. `replicas`: with the leader. */
export async function trial(folder: string, replicas: number, lengths: Lengths): Promise<Trial> {
  mkdirSync(folder);
  const loadBefore = loadOf();
  const done = await during(await Server.start(folder), async (server) =>
    during(await Leader.start(folder, server.url), async (leader) =>
      during(await Crowd.start(server.url, replicas - 1), (crowd) =>
        tried({ server, leader, crowd, replicas }, lengths),
      ),
    ),
  );
  return { ...done, loadBefore };
}

/** What `opened` is for, and its end. */
async function during<O extends { stop(): Promise<void> }, T>(
  opened: O,
  run: (opened: O) => Promise<T>,
): Promise<T> {
  try {
    return await run(opened);
  } finally {
    await opened.stop();
  }
}

/** What there is while one runs. */
interface Scene {
  readonly server: Server;
  readonly leader: Leader;
  readonly crowd: Crowd;
  readonly replicas: number;
}

async function tried(scene: Scene, { seconds, changes }: Lengths): Promise<Omit<Trial, "loadBefore">> {
  const { leader, crowd, replicas } = scene;
  const { everyMs, digits } = publishingOf(replicas);
  const failures: string[] = [];
  if (replicas > 1) failures.push(...(await settled(scene, everyMs)));
  await crowd.measure(true);
  await wait(WARM_MS);
  const steady = await steadied(scene, seconds);
  const load = loadOf();
  await crowd.measure(false);
  const verdict = await judged(leader, crowd, everyMs);
  if (!verdict.isExact) failures.push("what the leader has merged is not what was measured");
  const most = replicas < MANY ? changes : Math.min(changes, CHANGES_OF_MANY);
  const propagation = replicas === 1 ? undefined : await spread(scene, most, failures);
  const { led, complaints } = await crowd.look();
  if (led > 0) failures.push(`${String(led)} simulated replicas have led`);
  return {
    replicas,
    everyMs,
    digits,
    load,
    steady,
    propagation,
    verdict,
    failures: counted(failures),
    complaints: counted(complaints),
  };
}

function loadOf(): number {
  return loadavg()[0] ?? 0;
}

/** The same once, with how often it was so. */
function counted(said: readonly string[]): readonly string[] {
  const times = new Map<string, number>();
  for (const each of said) times.set(each, (times.get(each) ?? 0) + 1);
  return [...times].map(([each, count]) => (count === 1 ? each : `${each} (${String(count)} times)`));
}

/** Waits until everybody knows how many they are; what is wrong when they do not. */
async function settled({ leader, crowd, replicas }: Scene, everyMs: number): Promise<readonly string[]> {
  for (const end = performance.now() + SETTLED_MS; ;) {
    const { ready, every } = await crowd.look();
    const { fleet } = await leader.status();
    if (fleet?.leads !== true)
      throw new Error("the leader has lost its lease before anything was measured: the machine is too busy");
    const isKnown = fleet?.replicas === replicas && every[everyMs] === replicas - 1;
    if (ready === replicas - 1 && isKnown) return [];
    if (performance.now() > end)
      return [
        `not settled: ${String(ready)} ready, the leader knows ${String(fleet?.replicas)}, publishing every ${JSON.stringify(every)}`,
      ];
    await wait(250);
  }
}

async function steadied(scene: Scene, seconds: number): Promise<Steady> {
  const { server, leader, replicas } = scene;
  const before = await reading(scene);
  await wait(seconds * 1000);
  const after = await reading(scene);
  const took = (after.at - before.at) / 1000;
  const perSecond = (read: (of: Reading) => number): number => (read(after) - read(before)) / took;
  const cpu = (read: (of: Reading) => number): number => perSecond(read) * 1000;
  const measures = after.counted.published - before.counted.published;
  const bytes = after.counted.publishedBytes - before.counted.publishedBytes;
  const { used, peak } = await server.memory();
  const [leaderCpu, redisCpu, simulatedCpu] = [
    cpu(({ leader: of }) => of),
    cpu(({ usage }) => usage.cpuSeconds),
    cpu(({ simulated }) => simulated),
  ];
  return {
    seconds: took,
    leaderCpu,
    mergeCpu: cpu(({ merge }) => merge),
    redisCpu,
    simulatedCpu,
    othersCpu: Math.max(0, cpu(({ busy }) => busy) - leaderCpu - redisCpu - simulatedCpu),
    measuresPerSecond: measures / took,
    measureBytes: measures === 0 ? 0 : bytes / measures,
    documentsPerSecond: perSecond((of) => of.counted.documents) / Math.max(1, replicas - 1),
    commandsPerSecond: perSecond(({ usage }) => usage.commands),
    receivedPerSecond: perSecond(({ usage }) => usage.receivedBytes),
    sentPerSecond: perSecond(({ usage }) => usage.sentBytes),
    memory: used,
    memoryPeak: peak,
    streamBytes: await server.streamBytes(),
    leaderRssMib: leader.rssMib,
  };
}

/** What has been used up to a moment. */
interface Reading {
  readonly at: number;
  readonly leader: number;
  readonly merge: number;
  readonly simulated: number;
  readonly busy: number;
  readonly usage: Awaited<ReturnType<Server["usage"]>>;
  readonly counted: Told;
}

async function reading({ server, leader, crowd }: Scene): Promise<Reading> {
  const told = await crowd.count();
  const usage = await server.usage();
  return {
    at: performance.now(),
    leader: leader.cpuSeconds,
    merge: leader.mergeSeconds,
    simulated: crowd.pids.reduce((sum, pid) => sum + cpuSecondsOf(pid), 0),
    busy: busySeconds(),
    usage,
    counted: told,
  };
}

/** Waits until the leader shows what was measured, and looks once more after what is published twice would have come. */
async function judged(leader: Leader, crowd: Crowd, everyMs: number): Promise<Verdict> {
  const compared = async (): Promise<Verdict> => {
    const { sums: measured } = await crowd.count();
    const merged = mergedBy(await leader.status());
    return { published: measured, merged, isExact: JSON.stringify(measured) === JSON.stringify(merged) };
  };
  for (const end = performance.now() + MERGED_MS; ;) {
    const verdict = await compared();
    if (verdict.isExact) break;
    if (performance.now() > end) return verdict;
    await wait(250);
  }
  await wait(everyMs + TICK_MS);
  return compared();
}

/** The leader's own requests are none. */
function mergedBy({ arms }: Awaited<ReturnType<Leader["status"]>>): Sums {
  const of = (arm: "stable" | "canary"): Sums["stable"] => ({
    requests: arms[arm].windowRequests,
    failures: arms[arm].windowFailures,
  });
  return { stable: of("stable"), canary: of("canary") };
}

async function spread(
  { leader, crowd, replicas }: Scene,
  count: number,
  failures: string[],
): Promise<Propagation> {
  await crowd.measure(true);
  await wait(WARM_MS);
  await crowd.receive();
  const changes: Change[] = [];
  for (let nth = 0; nth < count; nth++) {
    try {
      // Up and down: one is recorded first, the other is in force first.
      changes.push(await leader.setWeight(nth % 2 === 0 ? 40 : 20));
    } catch (error) {
      failures.push(`a weight was not set: ${wordsOf(error)}`);
    }
    await wait((BETWEEN_MS + BETWEEN_MS_EACH * replicas) * (0.5 + Math.random() / 2));
  }
  await wait(ARRIVED_MS);
  const received = await crowd.receive();
  await crowd.measure(false);
  const { delays, missing } = delaysOf(changes, received.receipts);
  if (missing > 0)
    failures.push(`${String(missing)} times a replica had another weight before it had heard of one`);
  return {
    changes: changes.length,
    fromCall: distributionOf(delays.map(({ fromCallMs }) => fromCallMs)),
    alone: distributionOf(delaysOf(changes, received.alone).delays.map(({ fromCallMs }) => fromCallMs)),
    fromSave: distributionOf(delays.map(({ fromSaveMs }) => fromSaveMs)),
    answer: distributionOf(changes.map(({ answeredMs }) => answeredMs)),
    lateMs: received.lateMs,
  };
}

interface Delay {
  readonly fromCallMs: number;
  readonly fromSaveMs: number;
}

/** For each change and each replica, when it had it. */
function delaysOf(
  changes: readonly Change[],
  receipts: readonly (readonly Receipt[])[],
): { readonly delays: readonly Delay[]; readonly missing: number } {
  const delays = receipts.flatMap((ofReplica) => {
    const byRevision = new Map(ofReplica.map((each) => [each.revision, each]));
    return changes.flatMap(({ revision, micros }): readonly Delay[] => {
      const found = byRevision.get(revision);
      if (found === undefined) return [];
      return [{ fromCallMs: (found.micros - micros) / 1000, fromSaveMs: found.afterSavedMs }];
    });
  });
  return { delays, missing: receipts.length * changes.length - delays.length };
}
