/**
 * The program as a process of its own, with its upstreams, for runs that are too long or too large for `npm test`. What it costs is read from the
 * outside, from /proc, so that nothing the program says of itself is believed.
 */

import { existsSync, readFileSync, readdirSync, readlinkSync } from "node:fs";
import { copyFile, mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { operatorOf, type Operator } from "../support/operator.ts";
import { command, configFile, type Process } from "../support/program.ts";
import { pairOf } from "../support/tls.ts";
import { nothingSeen, upstream1, upstream2, type Seen } from "./upstream.ts";

/** A running program with its upstreams. */
export interface Site {
  readonly host: string;
  /** For clients in the clear. */
  readonly port: number;
  /** For clients over TLS. */
  readonly securePort: number;
  readonly process: Process;
  readonly seen: Seen;
  readonly operate: Operator;
  /** Resident memory of the program, MiB. */
  rss(): number;
  /** Files that the program has open, sockets among them. */
  files(): number;
  /** Sockets that the program has open. */
  sockets(): number;
  /** Another configuration of its route, taken over by a reload. Throws when it was refused. */
  reload(route: object): Promise<void>;
  /** Another certificate of `golden/tls` in the place of the present one. */
  certify(name: string): Promise<void>;
  /** The upstreams end the connections that carry nothing. */
  quiet(): void;
  close(): Promise<void>;
}

/** What a site is made of; each is merged into the configuration. */
export interface Plan {
  /** Into both arms of the route. */
  readonly arm?: object;
  readonly route?: object;
  /** Into the configuration as a whole. */
  readonly more?: object;
}

/** Starts it with one worker, and removes everything when `run` has ended, however. */
export async function withSite<T>(run: (at: Site) => Promise<T>, plan: Plan = {}): Promise<T> {
  const at = await site(plan);
  try {
    return await run(at);
  } finally {
    await at.close();
  }
}

async function site({ arm = {}, route = {}, more = {} }: Plan): Promise<Site> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-soak-"));
  const seen = nothingSeen();
  const servers = await Promise.all([
    upstream1("stable", seen),
    upstream1("canary", seen),
    upstream2("stable", seen),
    upstream2("canary", seen),
  ]);
  const [stable, canary, stable2, canary2] = servers.map(({ url }) => ({ endpoints: [url], ...arm }));
  const cert = join(folder, "cert.pem");
  const key = join(folder, "key.pem");
  const certify = async (name: string): Promise<void> => {
    const pair = pairOf(name);
    // Renamed into place, as whatever renews certificates does.
    await copyFile(pair.cert, `${cert}.new`);
    await copyFile(pair.key, `${key}.new`);
    await rename(`${cert}.new`, cert);
    await rename(`${key}.new`, key);
  };
  await certify("");
  const both = {
    key: ["header:x-user-id"],
    timeouts: { connect: "2s", headers: "1s", idle: "1s" },
    ...route,
  };
  const write = (extra: object): Promise<string> =>
    configFile(folder, {
      listen: [{ address: "127.0.0.1:0" }, { address: "127.0.0.1:0", tls: { cert, key } }],
      admin: { address: `unix:${join(folder, "admin.sock")}` },
      state: `file:${join(folder, "state")}`,
      reports: join(folder, "reports"),
      backups: { folder: join(folder, "backups") },
      routes: [
        { name: "app", stable, canary, ...both, ...extra },
        { name: "grpc", match: { path: "/grpc.Soak" }, stable: stable2, canary: canary2, ...both },
      ],
      ...more,
    });
  const process = command(["run", "-c", await write({})]);
  const [, host = "", port, securePort] = await process.says(/"listen":\["([^":]+):(\d+)","[^":]+:(\d+)"\]/);
  const { pid } = process.child;
  const open = (): readonly string[] => readdirSync(`/proc/${pid}/fd`);
  const operate = operatorOf(folder);
  return {
    host,
    port: Number(port),
    securePort: Number(securePort),
    process,
    seen,
    operate,
    rss: () => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024,
    files: () => open().length,
    sockets: () => open().filter((each) => isSocket(`/proc/${pid}/fd/${each}`)).length,
    async reload(extra) {
      await write(extra);
      const { status, text } = await operate("/v1/config/reload", {});
      if (status !== 200) throw new Error(`a reload was answered ${status}: ${text}`);
    },
    certify,
    quiet: () => servers.forEach((server) => server.quiet()),
    async close() {
      process.child.kill("SIGKILL");
      await process.ended;
      for (const server of servers) server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function isSocket(path: string): boolean {
  try {
    return readlinkSync(path).startsWith("socket:");
  } catch {
    // Closed since it was listed.
    return false;
  }
}

/** Whether this machine shows a process's memory and files. */
export function canLook(): boolean {
  return existsSync("/proc/self/status");
}
