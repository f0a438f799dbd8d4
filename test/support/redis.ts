/**
 * Real servers of Redis for tests, each on a free port of loopback with nothing on disk unless it is asked for, ended with the test by their process ids.
 *
 * Where there is no redis-server, a test is skipped by name; CI must have one.
 */

import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Redis } from "ioredis";
import t, { type Test } from "tap";
import { freePort } from "./servers.ts";
import { until } from "./until.ts";

/** A server of Redis. */
export interface RedisProcess {
  readonly port: number;
  readonly url: string;
  /** One command over a connection of its own. */
  readonly ask: (name: string, ...words: readonly (string | number)[]) => Promise<unknown>;
  /** kill -9; resolves when it is gone. */
  kill(): Promise<void>;
  /** Stands still (SIGSTOP), and goes on (SIGCONT). */
  halt(): void;
  goOn(): void;
  /** Starts it on the same port again, with what it has kept on disk. */
  restart(): Promise<void>;
  /** What it has kept on disk is gone; for one that is dead. */
  lose(): Promise<void>;
}

const READY_MS = 10_000;
const hasRedis = isInstalled("redis-server") && isInstalled("redis-sentinel");

function isInstalled(program: string): boolean {
  try {
    execFileSync(program, ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** A test that needs servers of Redis. */
export function redisTest(name: string, run: (t: Test) => Promise<void>): void {
  if (hasRedis) t.test(name, run);
  else if (process.env["CI"] === undefined) t.test(name, { skip: "there is no redis-server" }, () => {});
  else t.fail(`${name}: there is no redis-server, and CI must have one`);
}

/** The arguments of a server that has on disk what it has acknowledged. */
export const DURABLE = ["--appendonly", "yes", "--appendfsync", "always"];

/** A server of Redis that listens; `more` are further arguments, e.g. `--replicaof`. */
export async function redisServer(t: Test, more: readonly string[] = []): Promise<RedisProcess> {
  const folder = await temporary(t);
  const port = await freePort();
  const own = more.includes("--tls-port") ? ["--port", "0"] : ["--port", `${port}`];
  const args = [...own, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder];
  const all = [...args, ...more.map((each) => each.replace("PORT", `${port}`))];
  let child = await started(t, "redis-server", all, /Ready to accept connections/);
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    async ask(name, ...words) {
      const client = new Redis({ port, host: "127.0.0.1", lazyConnect: true, maxRetriesPerRequest: 1 });
      try {
        return await client.call(name, ...words);
      } finally {
        client.disconnect();
      }
    },
    kill: () => killed(child),
    halt: () => void child.kill("SIGSTOP"),
    goOn: () => void child.kill("SIGCONT"),
    async restart() {
      child = await started(t, "redis-server", all, /Ready to accept connections/);
    },
    async lose() {
      for (const name of await readdir(folder)) await rm(join(folder, name), { recursive: true });
    },
  };
}

/** A primary with a replica, and three Sentinels that watch them under the name `mymaster`. */
export async function redisWithSentinels(t: Test): Promise<{
  readonly primary: RedisProcess;
  readonly replica: RedisProcess;
  readonly sentinels: readonly string[];
}> {
  const primary = await redisServer(t);
  const replica = await redisServer(t, ["--replicaof", `127.0.0.1 ${primary.port}`]);
  await until("the replica is in step", async () =>
    String(await replica.ask("INFO", "replication")).includes("master_link_status:up"),
  );
  const sentinels: string[] = [];
  const folder = await temporary(t);
  for (let n = 0; n < 3; n += 1) {
    const port = await freePort();
    const file = join(folder, `sentinel-${n}.conf`);
    await writeFile(
      file,
      [
        `port ${port}`,
        "bind 127.0.0.1",
        `dir ${folder}`,
        `sentinel monitor mymaster 127.0.0.1 ${primary.port} 2`,
        "sentinel down-after-milliseconds mymaster 1000",
        "sentinel failover-timeout mymaster 3000",
        "",
      ].join("\n"),
    );
    await started(t, "redis-sentinel", [file], /\+monitor/);
    sentinels.push(`127.0.0.1:${port}`);
  }
  // They find each other and the replica through the primary; without that there is no majority and nobody to promote.
  const client = new Redis({ host: "127.0.0.1", port: Number(sentinels[0]?.split(":")[1]) });
  const known = async (what: string): Promise<number> =>
    ((await client.call("SENTINEL", what, "mymaster")) as readonly unknown[]).length;
  try {
    await until(
      "the Sentinels know each other",
      async () => (await known("sentinels")) >= 2 && (await known("replicas")) >= 1,
      60_000,
    );
  } finally {
    client.disconnect();
  }
  return { primary, replica, sentinels };
}

async function temporary(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-redis-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A server of its own, ended with the test: resolves when it says so. */
export function started(
  t: Test,
  program: string,
  args: readonly string[],
  ready: RegExp,
): Promise<ChildProcess> {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  t.teardown(() => killed(child));
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${program} is not ready`)), READY_MS);
    let said = "";
    createInterface(child.stdout).on("line", (line) => {
      said += `${line}\n`;
      if (!ready.test(line)) return;
      clearTimeout(timer);
      resolve(child);
    });
    child.on("error", reject);
    child.on("exit", () => reject(new Error(`${program} ended: ${said}`)));
  });
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}
