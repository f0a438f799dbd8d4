/**
 * Ten thousand replicas, on paper: what one of a measured fleet costs, times as many, told by everybody to the leader, and told in two levels: groups of a hundred, each with one that
 * adds the others up and tells the leader the sum. Two levels are not built.
 * Pure but for the one cost that is measured here.
 */

import { publishingOf } from "../../src/domain/publishing.ts";
import { encodeShares, mergeEncoded, mergeShares, noShare } from "../../src/engine/shares.ts";
import { Random } from "../judge/random.ts";
import { madeUp } from "./measures.ts";
import type { Trial } from "./trial.ts";

/** What was measured, and goes into the calculation. */
export interface Inputs {
  /** Replicas of the fleet that was measured, and documents that each was given a second. */
  readonly replicas: number;
  readonly documentsPerSecond: number;
  /** What one more replica costs, measurements and all: CPU milliseconds and bytes per second, bytes. */
  readonly redisCpuEach: number;
  readonly receivedEach: number;
  readonly sentEach: number;
  readonly memoryEach: number;
  /** What the leader pays for each, beside adding up. */
  readonly leaderCpuEach: number;
  readonly leaderCpuAlone: number;
  readonly redisCpuAlone: number;
  /** CPU milliseconds to add up one measure of a replica, and one sum of a group, with the digits that so many use. */
  readonly mergeCpu: number;
  readonly sumCpu: number;
  readonly measureBytes: number;
  readonly sumBytes: number;
}

/** One line: a figure told to the leader by everybody, and in two levels. */
export interface Line {
  readonly what: string;
  readonly flat: number;
  readonly levels: number;
}

export const REPLICAS = 10_000;
export const GROUP = 100;
/** Connections of a replica to Redis. */
const CONNECTIONS = 2;
const KB = 1e3;
const MB = 1e6;

/** What the largest of the trials whose sum was right says of one replica; undefined without one of those, or without the leader alone. */
export function inputsOf(trials: readonly Trial[]): Inputs | undefined {
  const alone = trials.find(({ replicas }) => replicas === 1);
  const largest = trials
    .filter(({ verdict }) => verdict.isExact)
    .toSorted((a, b) => b.replicas - a.replicas)[0];
  if (alone === undefined || largest === undefined || largest.replicas < 2) return undefined;
  const each = (read: (of: Trial["steady"]) => number): number =>
    Math.max(0, read(largest.steady) - read(alone.steady)) / (largest.replicas - 1);
  const { digits } = publishingOf(REPLICAS);
  return {
    replicas: largest.replicas,
    documentsPerSecond: largest.steady.documentsPerSecond,
    redisCpuEach: each((of) => of.redisCpu),
    receivedEach: each((of) => of.receivedPerSecond),
    sentEach: each((of) => of.sentPerSecond),
    memoryEach: each((of) => of.memory - of.streamBytes),
    leaderCpuEach: each((of) => of.leaderCpu - of.mergeCpu),
    leaderCpuAlone: alone.steady.leaderCpu,
    redisCpuAlone: alone.steady.redisCpu,
    ...mergingOf(digits),
  };
}

const TURNS = 20;

/** Adds up groups, and the sums of groups, in this process. */
function mergingOf(digits: 1 | 2): Pick<Inputs, "mergeCpu" | "sumCpu" | "measureBytes" | "sumBytes"> {
  const how = { digits, samples: 2 };
  const random = new Random(10, 8);
  const groups = Array.from({ length: TURNS }, () =>
    Array.from({ length: GROUP }, () => {
      const { measure, own } = madeUp(random);
      return encodeShares([{ ...noShare(measure.route, "made-up"), arms: measure.arms, block: own }], how);
    }),
  );
  // Once before, so that the compiler has seen it.
  groups.forEach(mergeEncoded);
  const started = cpuMs();
  const sums = groups.map(mergeEncoded);
  const mergeCpu = (cpuMs() - started) / (TURNS * GROUP);
  const encoded = sums.map((sum) => encodeShares(mergeShares(sum), how));
  mergeEncoded(encoded);
  const begun = cpuMs();
  for (let turn = 0; turn < TURNS; turn++) mergeEncoded(encoded);
  const sumCpu = (cpuMs() - begun) / (TURNS * encoded.length);
  const bytesOf = (all: readonly Uint8Array[]): number =>
    all.reduce((total, { byteLength }) => total + byteLength, 0) / all.length;
  return { mergeCpu, sumCpu, measureBytes: bytesOf(groups.flat()), sumBytes: bytesOf(encoded) };
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** The calculation. */
export function paperOf(of: Inputs): readonly Line[] {
  const perSecond = 1000 / publishingOf(REPLICAS).everyMs;
  const measures = REPLICAS * perSecond;
  const sums = (REPLICAS / GROUP) * perSecond;
  const redis = of.redisCpuAlone + REPLICAS * of.redisCpuEach;
  const leaderBeside = of.leaderCpuAlone + REPLICAS * of.leaderCpuEach;
  const both = (what: string, value: number): Line => ({ what, flat: value, levels: value });
  return [
    both("connections to Redis", REPLICAS * CONNECTIONS),
    { what: "measurements that the leader adds up, per second", flat: measures, levels: sums },
    { what: "leader: adding up, CPU ms/s", flat: measures * of.mergeCpu, levels: sums * of.sumCpu },
    both("leader: the rest, CPU ms/s", leaderBeside),
    {
      what: "leader: reading, KB/s",
      flat: (measures * of.measureBytes) / KB,
      levels: (sums * of.sumBytes) / KB,
    },
    {
      what: "each of the hundred that add up a group, CPU ms/s",
      flat: 0,
      levels: (GROUP - 1) * perSecond * of.mergeCpu,
    },
    { what: "entries in streams, per second", flat: measures, levels: measures + sums },
    both("Redis: CPU ms/s of the one core that it uses", redis),
    both("Redis: received, KB/s", (REPLICAS * of.receivedEach) / KB),
    both("Redis: sent, KB/s", (REPLICAS * of.sentEach) / KB),
    both("Redis: memory without the stream, MB", (REPLICAS * of.memoryEach) / MB),
    {
      what: "Redis: the last minute of measurements, MB",
      flat: (60 * measures * of.measureBytes) / MB,
      levels: (60 * (measures * of.measureBytes + sums * of.sumBytes)) / MB,
    },
  ];
}
