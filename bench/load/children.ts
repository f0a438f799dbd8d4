/**
 * The processes of a benchmark: started on a core of their own where the machine allows it, awaited, and stopped by their own ids. None
 * outlives the run, also not when it is interrupted.
 */

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { availableParallelism } from "node:os";
import { setTimeout as wait } from "node:timers/promises";

const running = new Set<ChildProcess>();

/** Whether processes are kept on cores: it needs `taskset` and two cores that this process may use. */
export const isPinned: boolean =
  availableParallelism() >= 2 &&
  [0, 1].every((core) => spawnSync("taskset", ["-c", String(core), "true"]).status === 0);

/** Starts `command` on `core`; what it writes to stderr is shown when it fails. */
export function start(command: readonly string[], core: 0 | 1): ChildProcess {
  const [file = "", ...args] = isPinned ? ["taskset", "-c", String(core), ...command] : command;
  const child = spawn(file, args, { stdio: ["pipe", "pipe", "pipe"] });
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
    throw new Error(`${child.spawnargs.join(" ")}: ${Buffer.concat(err).toString()}${text}`);
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
  throw new Error(`${child.spawnargs.join(" ")} ended without a word`);
}

/** Resolves once something accepts connections on the port. Rejects when `child` ends first, or after ten seconds. */
export async function listening(child: ChildProcess, port: number): Promise<void> {
  const err: Buffer[] = [];
  child.stderr?.on("data", (chunk: Buffer) => err.push(chunk));
  child.stdout?.resume();
  for (let attempt = 0; attempt < 200; attempt += 1) {
    if (child.exitCode !== null) break;
    if (await accepts(port)) return;
    await wait(50);
  }
  throw new Error(`nothing listens on port ${String(port)}: ${Buffer.concat(err).toString().trim()}`);
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

/** `count` different ports of 127.0.0.1 that nobody listens on now. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  const ports: number[] = [];
  for (const server of servers) {
    if (!server.listening) await once(server, "listening");
    const address = server.address();
    if (address !== null && typeof address === "object") ports.push(address.port);
  }
  for (const server of servers) await new Promise((done) => server.close(done));
  return ports;
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

/** Stops every child that still runs. */
export async function stopAll(): Promise<void> {
  await Promise.all([...running].map(stop));
}
