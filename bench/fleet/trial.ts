/**
 * One size: a server, a leader, so many simulated replicas. First a steady state in which all of them measure, then changes of the weight; at the end of each all that was published
 * must have been merged, to the last request.
 */

import { mkdirSync } from "node:fs";
import { loadavg } from "node:os";
import { setTimeout as wait } from "node:timers/promises";
import { publishingOf } from "../../src/domain/publishing.ts";
import { busySeconds, cpuSecondsOf } from "../load/tree.ts";
import { Crowd } from "./crowd.ts";
import { Leader, type Change } from "./leader.ts";
import type { Sums } from "./measures.ts";
import type { Receipt } from "./replica.ts";
import { Server } from "./server.ts";
import { distributionOf, type Distribution } from "./distribution.ts";
import type { Counted, Received } from "./words.ts";

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
  /** From the moment at which the leader wrote it down, to the millisecond. */
  readonly fromSave: Distribution;
  /** From the call to the answer that it is in force and recorded, ms. */
  readonly answer: Distribution;
  /** How late the processes with the simulated replicas were themselves, P99, ms. */
  readonly lateMs: number;
}

/** What was published and what was merged. */
export interface Verdict {
  readonly published: Sums;
  readonly merged: Sums;
  readonly isExact: boolean;
}

/** All of one size. */
export interface Trial {
  readonly replicas: number;
  readonly everyMs: number;
  readonly digits: number;
  readonly load: number;
  readonly steady: Steady;
  /** Undefined without replicas. */
  readonly propagation: Propagation | undefined;
  readonly verdict: Verdict;
  /** What went wrong; empty: nothing. */
  readonly failures: readonly string[];
}

/** Who looks rarely does so every 15 s. */
const SETTLED_MS = 45_000;
/** Until what is published is in the figures that are shown. */
const MERGED_MS = 20_000;
/** Measuring goes on for so long before anything is read. */
const WARM_MS = 3000;
/** Between two changes, half of it by chance, so that they fall on any moment of the leader's second. */
const BETWEEN_MS = 250;
/** After the last one. */
const ARRIVED_MS = 3000;

/** Runs one. */
export async function trial(
  folder: string,
  replicas: number,
  { seconds, changes }: { readonly seconds: number; readonly changes: number },
): Promise<Trial> {
  mkdirSync(folder);
  const server = await Server.start(folder);
  const leader = await Leader.start(folder, server.url);
  const crowd = await Crowd.start(server.url, replicas);
  try {
    return await tried(server, leader, crowd, replicas, seconds, changes);
  } finally {
    await crowd.stop();
    await leader.stop();
    await server.stop();
  }
}

async function tried(
  server: Server,
  leader: Leader,
  crowd: Crowd,
  replicas: number,
  seconds: number,
  changes: number,
): Promise<Trial> {
  const { everyMs, digits } = publishingOf(replicas + 1);
  const failures: string[] = [];
  if (replicas > 0) failures.push(...(await settled(leader, crowd, replicas, everyMs)));
  await crowd.measure(true);
  await wait(WARM_MS);
  const steady = await steadied(server, leader, crowd, seconds);
  const load = loadavg()[0] ?? 0;
  await crowd.measure(false);
  const verdict = await judged(leader, crowd);
  if (!verdict.isExact) failures.push("what the leader has merged is not what was published");
  await crowd.receive();
  const propagation = replicas === 0 ? undefined : await spread(leader, crowd, changes, failures);
  const { led, complaints } = await crowd.look();
  if (led > 0) failures.push(`${String(led)} simulated replicas have led`);
  failures.push(...complaints);
  return { replicas, everyMs, digits, load, steady, propagation, verdict, failures };
}

/** Waits until everybody knows how many they are; what is wrong when they do not. */
async function settled(
  leader: Leader,
  crowd: Crowd,
  replicas: number,
  everyMs: number,
): Promise<readonly string[]> {
  for (const end = performance.now() + SETTLED_MS; ;) {
    const { ready, every } = await crowd.look();
    const { fleet } = await leader.status();
    const isKnown = fleet?.replicas === replicas + 1 && every[everyMs] === replicas;
    if (ready === replicas && isKnown) return [];
    if (performance.now() > end)
      return [
        `not settled: ${String(ready)} ready, the leader knows ${String(fleet?.replicas)}, publishing every ${JSON.stringify(every)}`,
      ];
    await wait(250);
  }
}

async function steadied(server: Server, leader: Leader, crowd: Crowd, seconds: number): Promise<Steady> {
  const before = await reading(server, leader, crowd);
  await wait(seconds * 1000);
  const after = await reading(server, leader, crowd);
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
  readonly counted: Counted;
}

async function reading(server: Server, leader: Leader, crowd: Crowd): Promise<Reading> {
  const counted = await crowd.count();
  const usage = await server.usage();
  return {
    at: performance.now(),
    leader: leader.cpuSeconds,
    merge: leader.mergeSeconds,
    simulated: crowd.pids.reduce((sum, pid) => sum + cpuSecondsOf(pid), 0),
    busy: busySeconds(),
    usage,
    counted,
  };
}

/** Waits until the leader shows what was published, and looks whether it shows more. */
async function judged(leader: Leader, crowd: Crowd): Promise<Verdict> {
  for (const end = performance.now() + MERGED_MS; ;) {
    const { sums: published } = await crowd.count();
    const merged = mergedBy(await leader.status());
    const isExact = JSON.stringify(published) === JSON.stringify(merged);
    if (isExact || performance.now() > end) return { published, merged, isExact };
    await wait(250);
  }
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
  leader: Leader,
  crowd: Crowd,
  count: number,
  failures: string[],
): Promise<Propagation> {
  await crowd.measure(true);
  await wait(WARM_MS);
  await crowd.receive();
  const changes: Change[] = [];
  for (let nth = 0; nth < count; nth++) {
    // Up and down: one is recorded first, the other is in force first.
    changes.push(await leader.setWeight(nth % 2 === 0 ? 40 : 20));
    await wait(BETWEEN_MS * (0.5 + Math.random() / 2));
  }
  await wait(ARRIVED_MS);
  const received = await crowd.receive();
  await crowd.measure(false);
  const found = matched(changes, received);
  if (found.missing > 0)
    failures.push(`${String(found.missing)} times a replica has not had a weight, or another one instead`);
  return {
    changes: count,
    fromCall: distributionOf(found.fromCall),
    fromSave: distributionOf(found.fromSave),
    answer: distributionOf(changes.map(({ answeredMs }) => answeredMs)),
    lateMs: received.lateMs,
  };
}

/** Each change with when each replica had it. */
function matched(
  changes: readonly Change[],
  { receipts }: Received,
): { readonly fromCall: readonly number[]; readonly fromSave: readonly number[]; readonly missing: number } {
  const fromCall: number[] = [];
  const fromSave: number[] = [];
  let missing = 0;
  for (const ofReplica of receipts) {
    const byRevision = new Map<number, Receipt>(ofReplica.map((each) => [each.revision, each]));
    for (const { revision, micros } of changes) {
      const receipt = byRevision.get(revision);
      if (receipt === undefined) missing++;
      else {
        fromCall.push((receipt.micros - micros) / 1000);
        fromSave.push(receipt.afterSavedMs);
      }
    }
  }
  return { fromCall, fromSave, missing };
}
