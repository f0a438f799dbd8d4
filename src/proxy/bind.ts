/** Places to listen at: `host:port` or `unix:PATH`, with or without TLS; and whether several threads can share one. */

import { createServer, type ListenOptions, type Server } from "node:net";
import type { Config } from "../config/schema.ts";
import { AppError, wordsOf } from "../domain/errors.ts";
import { bareHost } from "../domain/host.ts";
import type { ListenTls } from "./pem.ts";

/** Where a listener is to be. */
export interface Place {
  readonly address: string;
  readonly tls: ListenTls | undefined;
  /** Whether connections begin with a PROXY protocol header. */
  readonly proxyProtocol: boolean;
}

/** The places of a configuration. */
export function placesOf(config: Config): readonly Place[] {
  return config.listen.map(({ address, tls, proxyProtocol }) => ({ address, tls, proxyProtocol }));
}

/** Whether an address is a path in the file system, which cannot be shared. */
export function isPath(address: string): boolean {
  return address.startsWith("unix:");
}

/** Whether the system chooses the port. */
export function isAnyPort(address: string): boolean {
  return !isPath(address) && address.endsWith(":0");
}

/** Listens; resolves the bound address. With `isShared` other sockets of this process may listen there too. Rejects with SPLIT_LISTEN_FAILED. */
export async function bind(server: Server, address: string, isShared: boolean): Promise<string> {
  try {
    await listening(server, { ...optionsOf(address), reusePort: isShared && !isPath(address) });
  } catch (error) {
    const why = wordsOf(error);
    throw new AppError("SPLIT_LISTEN_FAILED", `cannot listen on ${address}: ${why}`, { cause: error });
  }
  const at = server.address();
  if (at === null || typeof at === "string") return address;
  return at.family === "IPv6" ? `[${at.address}]:${at.port}` : `${at.address}:${at.port}`;
}

/**
 * Resolves when nobody listens there; rejects with SPLIT_LISTEN_FAILED when somebody does. To be asked before an address is shared: the system would let
 * another program of the same user share it too, and give it half of the requests without a word.
 */
export async function assertFree(address: string): Promise<void> {
  const server = createServer();
  await bind(server, address, false);
  await new Promise((resolve) => server.close(resolve));
}

/** Whether this system lets several sockets listen on one port. */
export async function canShare(): Promise<boolean> {
  const server = createServer();
  try {
    await listening(server, { host: "127.0.0.1", port: 0, reusePort: true });
  } catch {
    return false;
  }
  await new Promise((resolve) => server.close(resolve));
  return true;
}

function optionsOf(address: string): ListenOptions {
  if (isPath(address)) return { path: address.slice("unix:".length) };
  const colon = address.lastIndexOf(":");
  const host = bareHost(address.slice(0, colon));
  return { port: Number(address.slice(colon + 1)), ...(host === "" ? {} : { host }) };
}

function listening(server: Server, options: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(options, () => {
      server.off("error", reject);
      resolve();
    });
  });
}
