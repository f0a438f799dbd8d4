/** Results as text. Pure. */

import { aligned } from "../aligned.ts";
import type { Distribution } from "./distribution.ts";
import { GROUP, paperOf, REPLICAS, type Inputs } from "./paper.ts";
import type { Trial } from "./trial.ts";

/** A weight is everywhere within this: P99, ms. */
const GOAL_MS = 100;
/** From a load like this on others have had the processors, or there are too few of them. */
const NOISY_LOAD = 2;
/** CPU milliseconds per second of others that disturb what is measured. */
const NOISY_CPU = 150;

const NONE = "–";
const MIB = 2 ** 20;

function figure(value: number, digits = 0): string {
  return value.toFixed(digits);
}

function perKiB(bytes: number): string {
  return figure(bytes / 1024, 1);
}

/** Why the figures of a size are not to be believed; empty: nothing speaks against them. */
export function noiseOf({ loadBefore, load, steady }: Trial): string {
  const said = [
    ...(loadBefore > NOISY_LOAD ? [`load ${figure(loadBefore, 1)} before it began`] : []),
    ...(load > NOISY_LOAD ? [`load ${figure(load, 1)}`] : []),
    ...(steady.othersCpu > NOISY_CPU ? [`others used ${figure(steady.othersCpu)} ms/s of CPU`] : []),
  ];
  return said.join(", ");
}

/** What the steady state of each size cost. */
export function steadyTableOf(trials: readonly Trial[]): string {
  const head = [
    "replicas",
    "every ms",
    "digits",
    "measures/s",
    "bytes each",
    "leader ms/s",
    "adding up",
    "its RSS MiB",
    "Redis ms/s",
    "commands/s",
    "in KiB/s",
    "out KiB/s",
    "memory MiB",
    "peak",
    "sum",
    "simulated ms/s",
    "others",
    "load",
  ];
  const rows = trials.map(({ replicas, everyMs, digits, steady: of, verdict, load }) => [
    String(replicas),
    String(everyMs),
    String(digits),
    figure(of.measuresPerSecond),
    figure(of.measureBytes),
    figure(of.leaderCpu),
    figure(of.mergeCpu),
    figure(of.leaderRssMib),
    figure(of.redisCpu),
    figure(of.commandsPerSecond),
    perKiB(of.receivedPerSecond),
    perKiB(of.sentPerSecond),
    figure(of.memory / MIB, 1),
    figure(of.memoryPeak / MIB, 1),
    verdict.isExact ? "exact" : "WRONG",
    figure(of.simulatedCpu),
    figure(of.othersCpu),
    figure(load, 1),
  ]);
  return `steady state, CPU in ms per second\n${aligned(head, rows)}`;
}

/** How long a weight takes to everybody. */
export function propagationTableOf(trials: readonly Trial[]): string {
  const head = ["replicas", "from", "to", "samples", "P50 ms", "P99 ms", "max ms", "P99 ≤ 100"];
  const rows = trials.flatMap((trial) => {
    const { replicas, propagation } = trial;
    if (propagation === undefined) return [];
    const { fromCall, alone, fromSave, answer } = propagation;
    const row = (from: string, to: string, of: Distribution): readonly string[] => [
      String(replicas),
      from,
      to,
      String(of.samples),
      ...[of.p50, of.p99, of.max].map((each) => (each === null ? NONE : figure(each, 1))),
      metOf(trial, of),
    ];
    return [
      row("call", "every replica", fromCall),
      row("call", "replicas with a process of their own", alone),
      row("saved", "every replica", fromSave),
      row("call", "answer", answer),
    ];
  });
  return `a weight, from the leader to everybody\n${aligned(head, rows)}`;
}

function metOf(trial: Trial, { p99 }: Distribution): string {
  if (p99 === null) return NONE;
  if (p99 <= GOAL_MS) return "yes";
  return noiseOf(trial) === "" ? "NO" : "no, noisy";
}

/** What to know about the figures, a line each. */
export function remarksOf(trials: readonly Trial[]): readonly string[] {
  return trials.flatMap((trial) => {
    const noise = noiseOf(trial);
    const late = trial.propagation?.lateMs ?? 0;
    return [
      ...(noise === "" ? [] : [`noisy: ${String(trial.replicas)} replicas: ${noise}`]),
      ...trial.complaints.map((said) => `${String(trial.replicas)} replicas: they have said: ${said}`),
      ...(late > GOAL_MS / 2
        ? [
            `${String(trial.replicas)} replicas: the processes with the simulated ones were ${figure(late)} ms late themselves (P99)`,
          ]
        : []),
    ];
  });
}

/** The calculation for ten thousand, with what goes into it. */
export function paperTableOf(inputs: Inputs): string {
  const given = aligned(
    ["measured", "value"],
    [
      [`documents per second, to each of ${String(inputs.replicas)}`, figure(inputs.documentsPerSecond, 2)],
      ["Redis, CPU ms/s for each", figure(inputs.redisCpuEach, 4)],
      ["Redis, received for each, bytes/s", figure(inputs.receivedEach)],
      ["Redis, sent to each, bytes/s", figure(inputs.sentEach)],
      ["Redis, memory for each, bytes", figure(inputs.memoryEach)],
      ["leader beside adding up, CPU ms/s for each", figure(inputs.leaderCpuEach, 4)],
      ["adding up one measure, CPU ms", figure(inputs.mergeCpu, 4)],
      [`adding up the sum of ${String(GROUP)}, CPU ms`, figure(inputs.sumCpu, 4)],
      ["one measure, bytes", figure(inputs.measureBytes)],
      [`the sum of ${String(GROUP)}, bytes`, figure(inputs.sumBytes)],
    ],
  );
  const lines = paperOf(inputs).map(({ what, flat, levels }) => [what, shown(flat), shown(levels)]);
  const calculated = aligned(
    ["", "everybody to the leader", `two levels, groups of ${String(GROUP)}`],
    lines,
  );
  return `${String(REPLICAS)} replicas, on paper\n${given}\n\n${calculated}`;
}

function shown(value: number): string {
  return value === 0 ? NONE : value < 10 ? figure(value, 1) : figure(value);
}
