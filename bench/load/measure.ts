/**
 * One measurement: load on a port for a while, and what it cost. Throughput runs under wrk where it is installed and under
 * `generator.ts` where not; latency always under `generator.ts`, at a fixed rate, since the latency of a proxy that is loaded to its
 * limit is that of its queue.
 */

import { join } from "node:path";
import type { ChildProcess } from "node:child_process";
import { outputOf, start } from "./children.ts";
import type { Load } from "./generator.ts";
import { isInstalled } from "./proxies.ts";
import { cpuSecondsOf, rssMibOf } from "./tree.ts";

/** How much load, and for how long. */
export interface Plan {
  readonly connections: number;
  readonly seconds: number;
  /** Requests a second while latency is measured. */
  readonly rate: number;
}

/** One target in one round. */
export interface Figures {
  readonly requestsPerSecond: number;
  /** User and system time of the proxy's process tree, per request; null for the direct way. */
  readonly cpuUs: number | null;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly rssMib: number | null;
  readonly errors: number;
  /** Share of a core that the load generator and the backend used while throughput was measured. */
  readonly generatorCore: number;
  readonly backendCore: number;
}

/** The program that makes the load for throughput. */
export const LOAD_TOOL: "wrk" | "generator" = isInstalled("wrk") ? "wrk" : "generator";

const GENERATOR = join(import.meta.dirname, "generator.ts");

/** Load by our own generator; without a rate as much as goes. */
async function generate(port: number, connections: number, seconds: number, rate: number): Promise<Load> {
  const flags = { port, connections, seconds, rate };
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const text = await outputOf(start([process.execPath, GENERATOR, ...args], 1));
  return JSON.parse(text) as Load; // the generator's own line
}

const unit: Readonly<Record<string, number>> = { us: 1, ms: 1000, s: 1_000_000, m: 60_000_000 };

/** What wrk printed, as a Load. */
export function loadOfWrk(text: string, cpuSeconds: number): Load {
  const quantile = (percent: number): number => {
    const found = new RegExp(`^\\s+${String(percent)}%\\s+([\\d.]+)(us|ms|s|m)$`, "m").exec(text);
    return Number(found?.[1] ?? Number.NaN) * (unit[found?.[2] ?? ""] ?? Number.NaN);
  };
  const total = /^\s+(\d+) requests in ([\d.]+)(ms|s|m),/m.exec(text);
  if (total === null) throw new Error(`wrk said: ${text}`);
  const broken = [...text.matchAll(/(?:connect|read|write|timeout|responses:) (\d+)/g)];
  return {
    requests: Number(total[1]),
    seconds: (Number(total[2]) * (unit[total[3] ?? ""] ?? Number.NaN)) / 1_000_000,
    errors: broken.reduce((sum, [, count]) => sum + Number(count), 0),
    p50Us: quantile(50),
    p99Us: quantile(99),
    cpuSeconds,
  };
}

/** Load by wrk. It measures its own CPU time from outside, twenty times a second: the figure is at most 50 ms short. */
async function wrk(port: number, connections: number, seconds: number): Promise<Load> {
  const flags = ["-t1", `-c${String(connections)}`, `-d${seconds.toFixed(0)}s`, "--latency"];
  const command = ["wrk", ...flags, "-H", "Cookie: sid=user-1", `http://127.0.0.1:${String(port)}/bench`];
  const child = start(command, 1);
  let cpuSeconds = 0;
  const sampler = setInterval(() => {
    cpuSeconds = Math.max(cpuSeconds, cpuSecondsOf(child.pid ?? -1));
  }, 50);
  try {
    const text = await outputOf(child);
    return loadOfWrk(text, cpuSeconds);
  } finally {
    clearInterval(sampler);
  }
}

const saturate = (port: number, plan: Plan): Promise<Load> =>
  LOAD_TOOL === "wrk"
    ? wrk(port, plan.connections, Math.max(1, Math.round(plan.seconds)))
    : generate(port, plan.connections, plan.seconds, 0);

/** Warms the target up, then measures throughput and cost, then latency. `proxy` is undefined for the direct way. */
export async function measure(
  port: number,
  proxy: ChildProcess | undefined,
  backend: ChildProcess,
  plan: Plan,
): Promise<Figures> {
  await generate(port, plan.connections, Math.min(2, plan.seconds), 0);
  const proxyPid = proxy?.pid;
  const cpuOf = (pid: number | undefined): number => (pid === undefined ? 0 : cpuSecondsOf(pid));
  const before = { proxy: cpuOf(proxyPid), backend: cpuOf(backend.pid) };
  const load = await saturate(port, plan);
  const used = { proxy: cpuOf(proxyPid) - before.proxy, backend: cpuOf(backend.pid) - before.backend };
  const rssMib = proxyPid === undefined ? null : rssMibOf(proxyPid);
  const paced = await generate(port, plan.connections, Math.max(1, plan.seconds / 2), plan.rate);
  return {
    requestsPerSecond: load.requests / load.seconds,
    cpuUs: proxyPid === undefined ? null : (used.proxy * 1e6) / Math.max(1, load.requests),
    p50Us: paced.p50Us,
    p99Us: paced.p99Us,
    rssMib,
    errors: load.errors + paced.errors,
    generatorCore: load.cpuSeconds / load.seconds,
    backendCore: used.backend / load.seconds,
  };
}
