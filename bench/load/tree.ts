/**
 * What a process and all its children cost, from the kernel's own accounting in `/proc` (Linux). CPU time comes from the scheduler's
 * nanoseconds where the kernel keeps them, else from ticks of 10 ms, which need a few seconds of load to mean something; RSS counts memory that
 * several processes share once for each of them.
 */

import { readdirSync, readFileSync } from "node:fs";

/** Ticks per second of the times in `/proc/PID/stat`: USER_HZ, which Linux fixes at 100 on all its usual architectures. */
const TICKS = 100;

interface Stat {
  readonly parent: number;
  readonly cpuSeconds: number;
  /** Of its children that have ended and were waited for. */
  readonly endedSeconds: number;
}

/** One process; undefined when it has gone. */
function statOf(pid: number): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${String(pid)}/stat`, "utf8");
    // The name in parentheses may hold spaces: count from behind it. Field 4 is the parent, 14 to 17 are utime, stime, cutime, cstime.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return {
      parent: Number(fields[1]),
      cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS,
      endedSeconds: (Number(fields[13]) + Number(fields[14])) / TICKS,
    };
  } catch {
    return undefined;
  }
}

/** Seconds that the threads of a process have run, to the nanosecond; undefined where the kernel does not say. Ended threads are lost. */
function ranSecondsOf(pid: number): number | undefined {
  try {
    const folder = `/proc/${String(pid)}/task`;
    const ran = readdirSync(folder).map((task) =>
      Number(readFileSync(`${folder}/${task}/schedstat`, "utf8").split(" ")[0]),
    );
    return ran.reduce((sum, each) => sum + each, 0) / 1e9;
  } catch {
    return undefined;
  }
}

/** CPU seconds so far of a process' threads of a name, as far as the kernel tells names (15 characters); 0 where it does not say. */
export function threadSecondsOf(pid: number, name: string): number {
  const folder = `/proc/${String(pid)}/task`;
  let seconds = 0;
  for (const task of namesIn(folder)) {
    try {
      const isMeant = readFileSync(`${folder}/${task}/comm`, "utf8").trim() === name.slice(0, 15);
      if (isMeant) seconds += Number(readFileSync(`${folder}/${task}/schedstat`, "utf8").split(" ")[0]) / 1e9;
    } catch {
      // It has ended meanwhile.
    }
  }
  return seconds;
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** `root` and every process below it that lives. */
export function treeOf(root: number): readonly number[] {
  const children = new Map<number, number[]>();
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    const parent = Number.isInteger(pid) ? statOf(pid)?.parent : undefined;
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const below = (pid: number): readonly number[] => [pid, ...(children.get(pid) ?? []).flatMap(below)];
  return below(root);
}

/** CPU seconds, user and system, that the living processes of a tree have used so far. */
export function cpuSecondsOf(root: number): number {
  return treeOf(root).reduce((sum, pid) => sum + (ranSecondsOf(pid) ?? statOf(pid)?.cpuSeconds ?? 0), 0);
}

/** CPU seconds of all children of this process that have ended: the difference of two readings is what ended in between. */
export function endedCpuSeconds(): number {
  return statOf(process.pid)?.endedSeconds ?? 0;
}

/** Seconds that all cores together were not idle so far, whoever used them, another machine on the same hardware included. */
export function busySeconds(): number {
  const line = /^cpu +(.*)$/m.exec(readFileSync("/proc/stat", "utf8"))?.[1] ?? "";
  // user, nice, system, (idle, iowait,) irq, softirq, steal; what follows is counted within user.
  const [user = 0, nice = 0, system = 0, , , irq = 0, soft = 0, steal = 0] = line.split(" ").map(Number);
  return (user + nice + system + irq + soft + steal) / TICKS;
}

/** Resident memory of the tree, in MiB. */
export function rssMibOf(root: number): number {
  const kib = treeOf(root).map((pid) => {
    try {
      return Number(
        /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${String(pid)}/status`, "utf8"))?.[1] ?? 0,
      );
    } catch {
      return 0;
    }
  });
  return kib.reduce((sum, each) => sum + each, 0) / 1024;
}
