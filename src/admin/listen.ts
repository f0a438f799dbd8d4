/**
 * Where the admin API listens: loopback, a unix socket that is the owner's alone, or, with tokens and TLS, another address
 * (`config/reach.ts` says which are refused).
 *
 * A unix socket is made under a umask that gives nobody else anything, because a `chmod` afterwards leaves a moment in which anybody could connect. One
 * that was left behind by a crash is removed, but only after nobody answered on it.
 */

import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { createConnection, type Server } from "node:net";
import { AppError, causeOf, codeOf } from "../domain/errors.ts";
import { bareHost } from "../domain/host.ts";

/**
 * Has `server` listen on `address` (`host:port`, `[v6]:port`, `:port`, `unix:PATH`) and resolves where it listens, in the same form, with the port that
 * was given out for port 0. Rejects with SPLIT_LISTEN_FAILED.
 */
export async function listen(server: Server, address: string): Promise<string> {
  try {
    if (address.startsWith("unix:")) {
      await listenOnPath(server, address.slice("unix:".length));
      return address;
    }
    const split = address.lastIndexOf(":");
    const host = address.slice(0, split);
    const port = Number(address.slice(split + 1));
    const plain = bareHost(host);
    await started(server, () => server.listen(plain === "" ? { port } : { port, host: plain }));
    const bound = server.address();
    return typeof bound === "object" && bound !== null ? `${host}:${bound.port}` : address;
  } catch (error) {
    throw new AppError(
      "SPLIT_LISTEN_FAILED",
      `cannot listen on ${address} for the admin API: ${causeOf(error, WHY)}`,
      {
        cause: error,
      },
    );
  }
}

async function listenOnPath(server: Server, path: string): Promise<void> {
  if (await isLeftBehind(path)) unlinkSync(path);
  await started(server, () => {
    const before = process.umask(0o177);
    try {
      server.listen({ path });
    } finally {
      process.umask(before);
    }
  });
  // Where the file system does not heed the umask.
  chmodSync(path, 0o600);
}

/** Whether there is a socket at `path` on which nobody answers. */
function isLeftBehind(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createConnection({ path });
    probe.once("connect", () => {
      probe.destroy();
      resolve(false);
    });
    // Any other error (no such file, not a socket) is for `listen` to report.
    probe.once("error", (error) =>
      // ECONNREFUSED comes for a plain file too, and that one is not ours to remove.
      resolve(codeOf(error) === "ECONNREFUSED" && lstatSync(path).isSocket()),
    );
  });
}

function started(server: Server, begin: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => reject(error);
    server.once("error", failed);
    server.once("listening", () => {
      server.off("error", failed);
      resolve();
    });
    begin();
  });
}

const WHY: Readonly<Record<string, string>> = {
  EADDRINUSE: "the address is in use",
  EACCES: "permission denied",
  EADDRNOTAVAIL: "this machine has no such address",
  ENOENT: "the folder does not exist",
  ENOTFOUND: "unknown host",
};
