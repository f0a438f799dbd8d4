/**
 * What a process and all its children cost, from the kernel's own accounting in `/proc` (Linux). CPU time ticks at 100 Hz, so figures
 * need a few seconds of load to mean something; RSS counts memory that several processes share once for each of them.
 */

import { readdirSync, readFileSync } from "node:fs";

/** Ticks per second of the times in `/proc/PID/stat`: USER_HZ, which Linux fixes at 100 on all its usual architectures. */
const TICKS = 100;

interface Stat {
  readonly parent: number;
  readonly cpuSeconds: number;
}

/** One process; undefined when it has gone. */
function statOf(pid: number): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${String(pid)}/stat`, "utf8");
    // The name in parentheses may hold spaces: count from behind it. Field 4 is the parent, 14 and 15 are utime and stime.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return { parent: Number(fields[1]), cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS };
  } catch {
    return undefined;
  }
}

/** `root` and every process below it that lives. */
function treeOf(root: number): readonly number[] {
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
  return treeOf(root).reduce((sum, pid) => sum + (statOf(pid)?.cpuSeconds ?? 0), 0);
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
