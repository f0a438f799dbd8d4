/**
 * The processes of a benchmark: started on cores of their own where the machine allows it, awaited, and stopped by their own ids. None
 * outlives the run, also not when it is interrupted.
 */

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { wordsOf } from "../../src/domain/errors.ts";

const running = new Set<ChildProcess>();
let isOver = false;
const CORES = availableParallelism();

/** Whether processes are kept on cores: it needs `taskset` and two cores that this process may use. */
export const isPinned: boolean =
  CORES >= 2 && [0, 1].every((core) => spawnSync("taskset", ["-c", String(core), "true"]).status === 0);

/** Whether the load generator and the upstream have one core between them. */
export const sharesCore: boolean = !isPinned || CORES < 3;

/** What a process is for: a proxy on one core, a proxy on two, the load, the upstream; one that is kept on no core. */
export type Role = "proxy" | "wide" | "load" | "upstream" | "free";

/** The cores of a role. Two cores: the proxy on the first, all else on the second; with more, nobody shares, up to four. */
function coresOf(role: Exclude<Role, "free">): string {
  const own: Readonly<Record<typeof role, string>> =
    CORES >= 4
      ? { proxy: "0", wide: "0,1", load: "2", upstream: "3" }
      : { proxy: "0", wide: "0,1", load: "1", upstream: String(Math.min(2, CORES - 1)) };
  return own[role];
}

/** Whether a proxy on two cores has them for itself. */
export const hasTwoFreeCores: boolean = isPinned && CORES >= 4;

/** As many files as ten thousand clients need, or as many as this user may have. */
const FILES = 'ulimit -n 40000 2>/dev/null || ulimit -n "$(ulimit -Hn)"; exec "$@"';

/** Starts `command` on the cores of its role; what it writes to stderr is shown when it fails. */
export function start(
  command: readonly string[],
  role: Role,
  env: Readonly<Record<string, string>> = {},
): ChildProcess {
  if (isOver) throw new Error("the run is over");
  const pinned = isPinned && role !== "free" ? ["taskset", "-c", coresOf(role), ...command] : command;
  const child = spawn("sh", ["-c", FILES, "sh", ...pinned], {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });
  // A child that has gone takes what is still written to it; its exit code says the rest.
  child.stdin.on("error", () => {});
  running.add(child);
  child.once("exit", () => running.delete(child));
  child.once("error", () => running.delete(child));
  return child;
}

/** Everything a child writes to stdout, once it has ended with exit code 0. Rejects with its stderr otherwise. */
export async function outputOf(child: ChildProcess): Promise<string> {
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout?.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr?.on("data", (chunk: Buffer) => err.push(chunk));
  await once(child, "close");
  const text = Buffer.concat(out).toString();
  if (child.exitCode !== 0)
    throw new Error(`${child.spawnargs.slice(4).join(" ")}: ${Buffer.concat(err).toString()}${text}`);
  return text;
}

/** The first line a child writes to stdout. */
export async function firstLineOf(child: ChildProcess): Promise<string> {
  let text = "";
  for await (const chunk of child.stdout ?? []) {
    text += String(chunk);
    const end = text.indexOf("\n");
    if (end !== -1) return text.slice(0, end);
  }
  throw new Error(`${child.spawnargs.slice(4).join(" ")} ended without a word`);
}

/** Resolves once something accepts connections on the port. Rejects when `child` ends first, or after `seconds`. */
export async function listening(child: ChildProcess, port: number, seconds: number): Promise<void> {
  const said: Buffer[] = [];
  const keep = (chunk: Buffer): void => {
    if (said.length < 100) said.push(chunk);
  };
  child.stderr?.on("data", keep);
  child.stdout?.on("data", keep);
  for (const end = performance.now() + seconds * 1000; performance.now() < end;) {
    if (child.exitCode !== null || child.signalCode !== null) break;
    if (await accepts(port)) return;
    await wait(20);
  }
  const why = Buffer.concat(said).toString().trim().slice(-1000);
  throw new Error(`does not listen${why === "" ? "" : `: ${why}`}`);
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/**
 * Ports to give away: below those that the kernel takes for outgoing connections (from 32768 on Linux), or one of the thousands that a
 * proxy opens could take the port on which it is to listen a moment later.
 */
const PORTS = { first: 20_000, count: 12_000 };
let given = (process.pid * 97) % PORTS.count;

/** `count` different ports of 127.0.0.1 that nobody listens on now. Rejects when a whole turn finds too few. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const ports: number[] = [];
  for (let tried = 0; tried < PORTS.count && ports.length < count; tried += 1) {
    given = (given + 1) % PORTS.count;
    const port = PORTS.first + given;
    if (await isFree(port)) ports.push(port);
  }
  if (ports.length < count) throw new Error("no free ports");
  return ports;
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}

/** Asks a child to end, and ends it after three seconds if it does not. */
export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.stdin?.end();
  child.kill("SIGTERM");
  const force = setTimeout(() => child.kill("SIGKILL"), 3000);
  await gone;
  clearTimeout(force);
}

/** Stops every child that still runs; none can be started after. */
async function stopAll(): Promise<void> {
  isOver = true;
  await Promise.all([...running].map(stop));
}

/** Does `run` in a folder that is gone afterwards, as is every child, however it ends. The exit code: 0 when all is well. */
export async function withFolder(prefix: string, run: (folder: string) => Promise<boolean>): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), prefix));
  const cleared = async (): Promise<void> => {
    await stopAll();
    rmSync(folder, { recursive: true, force: true });
  };
  const interrupted = (): void => void cleared().then(() => process.exit(130));
  process.once("SIGINT", interrupted).once("SIGTERM", interrupted);
  try {
    return (await run(folder)) ? 0 : 1;
  } catch (error) {
    process.stderr.write(`${wordsOf(error)}\n`);
    return 1;
  } finally {
    await cleared();
  }
}

/** What a start that has begun resolves with; when it rejects, `end` undoes what has begun. */
export async function begun<T>(run: () => Promise<T>, end: () => Promise<unknown>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    await end();
    throw error;
  }
}
