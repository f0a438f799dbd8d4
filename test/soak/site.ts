/**
 * The program as a process of its own, with upstreams that misbehave when a path asks them to, for runs that are too long or too large for
 * `npm test`. What it costs is read from the outside, from /proc, so that nothing the program says of itself is believed.
 */

import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { command, configFile, type Process } from "../support/program.ts";
import { resetConnection } from "../support/raw.ts";

/** Bytes that every large body is made of. */
export const PIECE = Buffer.alloc(64 * 1024, "soak");

/** A running program with its upstreams. */
export interface Site {
  readonly host: string;
  readonly port: number;
  readonly process: Process;
  /** How often each POST with an `x-id` was carried out. */
  readonly posts: ReadonlyMap<string, number>;
  /** Resident memory of the program, MiB. */
  rss(): number;
  /** Files and sockets that the program has open. */
  files(): number;
  close(): Promise<void>;
}

/** What a faulty path does; each ends in an error or a cut that the client can see. */
export const FAULTS = ["reset-before", "reset-inside", "stall", "garbage", "short", "500", "close"] as const;

/** Starts it with one worker. `arm`, `route` and `more` are merged into the configuration. */
export async function site(arm: object = {}, route: object = {}, more: object = {}): Promise<Site> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-soak-"));
  const posts = new Map<string, number>();
  const servers = [upstream(posts), upstream(posts)];
  const [stable, canary] = await Promise.all(servers.map(listening));
  const config = await configFile(folder, {
    listen: [{ address: "127.0.0.1:0" }],
    admin: { address: `unix:${join(folder, "admin.sock")}` },
    state: `file:${join(folder, "state")}`,
    reports: join(folder, "reports"),
    routes: [
      {
        name: "app",
        stable: { endpoints: [stable], ...arm },
        canary: { endpoints: [canary], ...arm },
        key: ["header:x-user-id"],
        timeouts: { connect: "2s", headers: "1s", idle: "1s" },
        ...route,
      },
    ],
    ...more,
  });
  const process = command(["run", "-c", config]);
  const [, host = "", port = ""] = await process.says(/"listen":\["([^":]+):(\d+)"\]/);
  const { pid } = process.child;
  return {
    host,
    port: Number(port),
    process,
    posts,
    rss: () => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024,
    files: () => readdirSync(`/proc/${pid}/fd`).length,
    async close() {
      process.child.kill("SIGKILL");
      await process.ended;
      for (const server of servers) {
        server.closeAllConnections();
        server.close();
      }
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Whether this machine shows a process's memory and files. */
export function canLook(): boolean {
  return existsSync("/proc/self/status");
}

async function listening(server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // A TCP server has an address of this form.
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function upstream(posts: Map<string, number>): Server {
  const server = createServer({ keepAliveTimeout: 5000 });
  server.on("request", (request, response) => {
    request.on("error", ignore);
    response.on("error", ignore);
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://upstream");
    const id = request.headers["x-id"];
    if (request.method === "POST" && typeof id === "string") posts.set(id, (posts.get(id) ?? 0) + 1);
    const [, kind = "", what = ""] = pathname.split("/");
    if (kind === "fault") return fault(what, request, response);
    if (kind === "bytes") return send(response, Number(searchParams.get("n")));
    if (kind === "take") return take(request, response);
    request.resume();
    request.on("end", () => response.end(`hello ${String(id)}`));
  });
  return server;
}

/** The digest of `n` bytes of `PIECE` over and over. */
export function digestOf(n: number): string {
  const hash = createHash("sha256");
  for (let left = n; left > 0; left -= PIECE.length)
    hash.update(PIECE.subarray(0, Math.min(left, PIECE.length)));
  return hash.digest("hex");
}

function send(response: ServerResponse, n: number): void {
  response.writeHead(200, { "content-length": n });
  let left = n;
  const go = (): void => {
    while (left > 0) {
      const piece = PIECE.subarray(0, Math.min(left, PIECE.length));
      left -= piece.length;
      if (!response.write(piece)) return void response.once("drain", go);
    }
    response.end();
  };
  go();
}

function take(request: IncomingMessage, response: ServerResponse): void {
  const hash = createHash("sha256");
  request.on("data", (chunk: Buffer) => hash.update(chunk));
  request.on("end", () => response.end(hash.digest("hex")));
}

function fault(what: string, request: IncomingMessage, response: ServerResponse): void {
  request.resume();
  const { socket } = request;
  switch (what) {
    case "reset-before":
      return reset(socket);
    case "reset-inside":
      response.writeHead(200, { "content-length": 1000 });
      response.write("some");
      return void setImmediate(reset, socket);
    case "stall":
      return undefined;
    case "garbage":
      return void socket.end("this is no HTTP\r\n\r\n");
    case "short":
      return void socket.end("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort");
    case "close":
      return void response.writeHead(200, { connection: "close" }).end("bye");
    default:
      return void response.writeHead(500).end("broken");
  }
}

function reset(socket: Socket): void {
  resetConnection(socket);
}

function ignore(): void {
  // the fault was asked for
}
