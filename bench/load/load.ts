/**
 * The load, as its measurer asks for it: as much as goes (wrk where it is installed, `generator.ts` where not), or so many requests a
 * second (always `generator.ts`: wrk knows no rate), or connections that are only held (`holder.ts`).
 */

import { once } from "node:events";
import { join } from "node:path";
import type { ChildProcess } from "node:child_process";
import { firstLineOf, outputOf, start } from "./children.ts";
import { isInstalled } from "./installed.ts";
import { endedCpuSeconds } from "./tree.ts";

/** One kind of request, and on how many connections it is sent. */
export interface Demand {
  readonly connections: number;
  /** Its last segment is the size of the answer: `/1k`. */
  readonly path: string;
  /** The Host field; left out: the address. */
  readonly host?: string;
  /** 0 sends GET, more sends POST with so many bytes. */
  readonly bodyBytes: number;
  readonly secure: boolean;
}

/** What one run of a load generator saw. */
export interface Load {
  readonly requests: number;
  readonly errors: number;
  readonly seconds: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  /** CPU time of the generator itself. */
  readonly cpuSeconds: number;
  /** At a rate: how late the generator itself sent, P99. It is within the latencies. */
  readonly lateUs?: number;
}

/** The program that makes the load for throughput. */
export const LOAD_TOOL: "wrk" | "generator" = isInstalled("wrk") ? "wrk" : "generator";

const HERE = import.meta.dirname;

/** Room for new objects: our own processes should not collect garbage while they measure. */
export const YOUNG: readonly string[] = ["--max-semi-space-size=64", "--min-semi-space-size=64"];

/** As much as goes on the demand's connections, for whole seconds. */
export function saturate(port: number, demand: Demand, seconds: number): Promise<Load> {
  return LOAD_TOOL === "wrk" ? wrk(port, demand, seconds) : generate(port, demand, seconds, 0);
}

/** `rate` requests a second, whatever the answers do; 0: as much as goes. `onCount` is called when counting begins, at a rate. */
export async function generate(
  port: number,
  demand: Demand,
  seconds: number,
  rate: number,
  onCount?: () => void,
): Promise<Load> {
  const { connections, path, host = "", bodyBytes, secure } = demand;
  const flags = { port, connections, path, host, body: bodyBytes, secure: secure ? 1 : 0, seconds, rate };
  const args = Object.entries(flags).map(([name, value]) => `--${name}=${String(value)}`);
  const command = [process.execPath, ...YOUNG, join(HERE, "generator.ts"), ...args];
  const child = start(command, "load");
  if (onCount !== undefined) child.stdout?.once("data", onCount);
  return lineOf(await outputOf(child));
}

async function wrk(port: number, demand: Demand, seconds: number): Promise<Load> {
  const { connections, path, host = "", bodyBytes, secure } = demand;
  const flags = ["-t1", `-c${String(connections)}`, `-d${seconds.toFixed(0)}s`, "--timeout", "5s"];
  const url = `${secure ? "https" : "http"}://127.0.0.1:${String(port)}`;
  const before = endedCpuSeconds();
  const child = start(["wrk", ...flags, "-s", join(HERE, "wrk.lua"), url], "load", {
    BENCH_PATH: path,
    BENCH_HOST: host,
    BENCH_BODY: String(bodyBytes),
  });
  return { ...lineOf(await outputOf(child)), cpuSeconds: endedCpuSeconds() - before };
}

/** The line of JSON in what a load generator printed. */
export function lineOf(text: string): Load {
  const line = /^\{.*\}$/m.exec(text)?.[0];
  if (line === undefined) throw new Error(`the load generator said: ${text}`);
  return JSON.parse(line) as Load; // our own lines: generator.ts and wrk.lua
}

/** Connections that have had one answer each and now do nothing, until `release`. */
export interface Held {
  /** How many of them there are. */
  readonly count: number;
  /** Closes them; resolves how many the other side had closed before. */
  release(): Promise<number>;
}

/** Opens `count` connections, one request each. */
export async function hold(port: number, count: number): Promise<Held> {
  const child: ChildProcess = start(
    [process.execPath, join(HERE, "holder.ts"), String(port), String(count)],
    "load",
  );
  const held = Number(await firstLineOf(child));
  return {
    count: held,
    async release() {
      const gone = once(child, "exit");
      child.stdin?.end();
      const [code] = await gone;
      // The exit code says whether any was lost; how many matters to nobody.
      return code === 0 ? 0 : 1;
    },
  };
}
