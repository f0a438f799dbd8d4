/** Real servers that a test starts: on a free port of loopback, in a folder of their own, ended by their own pid. */

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { delimiter, join } from "node:path";

/** Whether the machine is CI's, where a server that is missing is a failure. */
const IS_CI = process.env["CI"] === "true";

/** Where a program is; undefined: nowhere on the PATH. */
export function programOf(name: string): string | undefined {
  const folders = [
    ...(process.env["PATH"] ?? "").split(delimiter),
    "/usr/bin",
    "/usr/local/bin",
    "/usr/sbin",
  ];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** Why a test that needs these is left out here; false: it is not. In CI it never is. */
export function missing(...names: readonly string[]): string | false {
  const gone = names.filter((name) => programOf(name) === undefined);
  return gone.length === 0 || IS_CI ? false : `there is no ${gone.join(", ")} here`;
}

/** A port of loopback that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // A TCP server has an address of this form.
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** A server's process. */
export interface Served {
  /** What it has said on both outputs. */
  readonly output: () => string;
  close(): Promise<void>;
}

/** Starts `name` with `args`; the caller asks it until it answers. Rejects when there is no such program. */
export function serve(name: string, args: readonly string[]): Served {
  const path = programOf(name);
  if (path === undefined) throw new Error(`there is no ${name} here`);
  const child = spawn(path, args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => (output = (output + chunk.toString()).slice(-20_000)));
  return {
    output: () => output,
    async close() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), 5000);
      await once(child, "close");
      clearTimeout(late);
    },
  };
}
