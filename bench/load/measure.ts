/**
 * One measurement: a target is warmed up, given its work for a while, and what that cost is read from the kernel's accounting. What the
 * figures are, and which of them count when, is in bench/README.md.
 */

import { setTimeout as wait } from "node:timers/promises";
import type { ChildProcess } from "node:child_process";
import { generate, hold, saturate, type Demand, type Load } from "./load.ts";
import { busySeconds, cpuSecondsOf, rssMibOf } from "./tree.ts";

/** What a target has to do. */
export type Task =
  /** As much as goes, every connection always busy. */
  | { readonly kind: "saturate"; readonly demand: Demand }
  /** So many requests a second. */
  | { readonly kind: "pace"; readonly demand: Demand; readonly rate: number }
  /** First the demand, as much as goes; then so many connections that do nothing. */
  | { readonly kind: "hold"; readonly demand: Demand; readonly count: number };

/** One target in one round. CPU and memory are those of the proxy's process tree, null for the direct way. */
export interface Figures {
  readonly requestsPerSecond: number;
  readonly cpuUs: number | null;
  /** CPU milliseconds per million bytes of bodies, both ways together. */
  readonly cpuMsPerMb: number | null;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  /** At the end; with idle connections, while they are held. */
  readonly rssMib: number | null;
  /** What one idle connection added to it. */
  readonly idleKib: number | null;
  readonly errors: number;
  /** Shares of a core that were used meanwhile. */
  readonly proxyCore: number | null;
  readonly generatorCore: number;
  readonly upstreamCore: number;
  /** By everybody else on the machine. */
  readonly othersCore: number;
  /** At a fixed rate: how late the generator itself sent, P99. */
  readonly lateUs: number | null;
}

/** Who is measured. */
export interface Subject {
  readonly port: number;
  /** Undefined for the direct way. */
  readonly proxy: ChildProcess | undefined;
  readonly upstream: ChildProcess;
}

const WARM_SECONDS = 1;
/** A tail needs some thousand requests, also in a quick run. */
const PACED_SECONDS = 3;
/** A larger share of failed requests is no measurement. */
const MOST_ERRORS = 0.01;
/** Sockets that were closed a moment ago are still being tidied up. */
const SETTLE_MS = 200;
/** How long memory has to settle with the idle connections held. */
const HELD_MS = 1000;

const UNITS: Readonly<Record<string, number>> = { "": 1, k: 1024, m: 1024 * 1024 };

/** Bytes of the bodies of one exchange. */
function bytesOf({ path, bodyBytes }: Demand): number {
  const [, digits = "0", unit = ""] = /\/(\d+)([km]?)$/.exec(path) ?? [];
  return bodyBytes + Number(digits) * (UNITS[unit] ?? 1);
}

/** Warms up, measures, and reads the memory. Throws when what was asked for was not done: then there is no figure. */
export async function measure(subject: Subject, task: Task, seconds: number): Promise<Figures> {
  const { port, proxy, upstream } = subject;
  const { demand } = task;
  await saturate(port, demand, WARM_SECONDS);
  await wait(SETTLE_MS);
  const cpuOf = (child: ChildProcess | undefined): number =>
    child?.pid === undefined ? 0 : cpuSecondsOf(child.pid);
  const read = () => ({
    proxy: cpuOf(proxy),
    upstream: cpuOf(upstream),
    busy: busySeconds(),
    at: performance.now(),
  });
  let before = read();
  const load =
    task.kind === "pace"
      ? await generate(port, demand, Math.max(PACED_SECONDS, seconds), task.rate, () => {
          before = read();
        })
      : await saturate(port, demand, seconds);
  const after = read();
  if (load.errors > load.requests * MOST_ERRORS)
    throw new Error(`${String(load.errors)} requests failed, ${String(load.requests)} did not`);
  const used = { proxy: after.proxy - before.proxy, upstream: after.upstream - before.upstream };
  const others = after.busy - before.busy - used.proxy - used.upstream - load.cpuSeconds;
  const requests = Math.max(1, load.requests);
  return {
    requestsPerSecond: load.requests / load.seconds,
    cpuUs: proxy !== undefined ? (used.proxy * 1e6) / requests : null,
    cpuMsPerMb: proxy !== undefined ? (used.proxy * 1e9) / (requests * bytesOf(demand)) : null,
    p50Us: load.p50Us,
    p99Us: load.p99Us,
    p999Us: load.p999Us,
    proxyCore: proxy !== undefined ? used.proxy / load.seconds : null,
    generatorCore: load.cpuSeconds / load.seconds,
    upstreamCore: used.upstream / load.seconds,
    othersCore: Math.max(0, (others * 1000) / (after.at - before.at)),
    lateUs: load.lateUs ?? null,
    ...(await memoryOf(subject, task, load)),
  };
}

/** Memory now, or with the idle connections of the task; and every error so far. */
async function memoryOf(
  { port, proxy }: Subject,
  task: Task,
  load: Load,
): Promise<Pick<Figures, "rssMib" | "idleKib" | "errors">> {
  const rss = (): number | null => (proxy?.pid === undefined ? null : rssMibOf(proxy.pid));
  if (task.kind !== "hold") return { rssMib: rss(), idleKib: null, errors: load.errors };
  const empty = rss();
  const held = await hold(port, task.count);
  await wait(HELD_MS);
  const full = rss();
  const lost = await held.release();
  return {
    rssMib: full,
    idleKib: full === null || empty === null ? null : ((full - empty) * 1024) / Math.max(1, held.count),
    errors: load.errors + (task.count - held.count) + lost,
  };
}
