/**
 * Upstreams of one arm: one for HTTP/1.1 that takes WebSockets too, one for gRPC over HTTP/2. Each answer carries the request's id and the arm's
 * name, so that an answer that went to somebody else is seen; each misbehaves when a path asks it to.
 */

import { createHash } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { ServerHttp2Stream } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { WebSocketServer } from "ws";
import { http2Upstream } from "../support/h2-upstream.ts";
import { resetConnection } from "../support/raw.ts";

/** Bytes that every large body is made of. */
export const PIECE = Buffer.alloc(64 * 1024, "soak");

/** A slow reader stops whenever it has read so much. */
export const SLOW_EVERY = 8 * 1024 * 1024;

/** What a faulty path does. */
export const FAULTS = ["reset-before", "reset-inside", "stall", "garbage", "short", "500", "close"] as const;
export type Fault = (typeof FAULTS)[number];

/** Name of an arm. */
export type Side = "stable" | "canary";

/** What all upstreams of a site saw. */
export interface Seen {
  /** How often each POST with an `x-id` was carried out. */
  readonly posts: Map<string, number>;
  /** Answers given, by arm. */
  readonly answered: Record<Side, number>;
  /** `arrived` and `left`, with the id, for requests of a path that never answers. */
  readonly hanging: EventEmitter;
}

/** A running upstream. */
export interface Upstream {
  readonly url: string;
  /** Ends the connections that carry nothing. */
  quiet(): void;
  close(): void;
}

/** Nothing seen yet. */
export function nothingSeen(): Seen {
  return {
    posts: new Map(),
    answered: { stable: 0, canary: 0 },
    hanging: new EventEmitter().setMaxListeners(0),
  };
}

function carriedOut({ posts }: Seen, id: string): void {
  posts.set(id, (posts.get(id) ?? 0) + 1);
}

/** An upstream for HTTP/1.1 and WebSockets. */
export async function upstream1(arm: Side, seen: Seen): Promise<Upstream> {
  const server = createServer({ keepAliveTimeout: 5000, requestTimeout: 0 });
  server.on("request", (request, response) => {
    request.on("error", ignore);
    response.on("error", ignore);
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://upstream");
    const id = String(request.headers["x-id"]);
    if (request.method === "POST") carriedOut(seen, id);
    seen.answered[arm]++;
    response.setHeader("x-id", id);
    response.setHeader("x-arm", arm);
    const [, kind = "", what = ""] = pathname.split("/");
    const at = searchParams.get("at") ?? "both";
    if (kind === "fault" && (at === "both" || at === arm)) return fault(what, id, request, response);
    if (kind === "bytes") return send(response, Number(searchParams.get("n")));
    if (kind === "take") return take(request, response, Number(searchParams.get("slow")));
    if (kind === "events") return void events(response, id);
    if (kind === "hang") return hang(what, id, request, response, seen.hanging);
    request.resume();
    const answer = (): void => void response.end(`hello ${id}`);
    request.on("end", () => void setTimeout(answer, Number(searchParams.get("ms"))));
  });
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) => {
    socket.on("error", ignore);
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    // A TCP server has an address of this form.
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    quiet: () => server.closeIdleConnections(),
    close() {
      for (const each of sockets.clients) each.terminate();
      sockets.close();
      server.closeAllConnections();
      server.close();
    },
  };
}

/** An upstream for gRPC: it sends each message back, and the id in its trailers. */
export async function upstream2(arm: Side, seen: Seen): Promise<Upstream> {
  const server = await http2Upstream((stream, request) => {
    seen.answered[arm]++;
    const id = request.field("x-id") ?? "";
    carriedOut(seen, id);
    const what = request.target.split("/").at(-1) ?? "";
    const head = { ":status": 200, "content-type": "application/grpc", "x-id": id, "x-arm": arm };
    if (what === "Unavailable") stream.respond({ ...head, "grpc-status": "14" }, { endStream: true });
    else if (what === "Reset") stream.close(2);
    else echo(stream, head, id);
    // Says goodbye: what is under way ends well, and what comes later goes over another connection.
    if (what === "Goodbye") stream.session?.close();
  });
  return {
    url: server.url,
    quiet() {
      for (const session of server.sessions) session.close();
    },
    close: () => void server.close(),
  };
}

function echo(stream: ServerHttp2Stream, head: object, id: string): void {
  stream.respond({ ...head }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0", "x-id": id }));
  stream.pipe(stream);
}

/** The digest of `n` bytes of `PIECE` over and over. */
export function digestOf(n: number): string {
  const hash = createHash("sha256");
  for (let left = n; left > 0; left -= PIECE.length)
    hash.update(PIECE.subarray(0, Math.min(left, PIECE.length)));
  return hash.digest("hex");
}

/** The event stream that is answered to the request with this id. */
export function eventsOf(id: string): readonly string[] {
  return [0, 1, 2, 3, 4].map((nth) => `data: ${id} ${nth}\n\n`);
}

async function events(response: ServerResponse, id: string): Promise<void> {
  response.writeHead(200, { "content-type": "text/event-stream" });
  for (const event of eventsOf(id)) {
    response.write(event);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  response.end();
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

function take(request: IncomingMessage, response: ServerResponse, slowMs: number): void {
  const hash = createHash("sha256");
  readSlowly(request, slowMs, (chunk) => hash.update(chunk));
  request.on("end", () => response.end(hash.digest("hex")));
}

/** Hands on what comes, and stops reading for so long after every `SLOW_EVERY` bytes. */
export function readSlowly(message: IncomingMessage, slowMs: number, to: (chunk: Buffer) => void): void {
  let bytes = 0;
  message.on("data", (chunk: Buffer) => {
    to(chunk);
    const before = Math.floor(bytes / SLOW_EVERY);
    bytes += chunk.length;
    if (slowMs === 0 || Math.floor(bytes / SLOW_EVERY) === before) return;
    message.pause();
    setTimeout(() => message.resume(), slowMs);
  });
}

/** Never ends: before its answer, inside it, or without reading the request. */
function hang(
  what: string,
  id: string,
  request: IncomingMessage,
  response: ServerResponse,
  hanging: EventEmitter,
): void {
  response.once("close", () => hanging.emit("left", id));
  request.resume();
  if (what === "inside") response.write("some");
  hanging.emit("arrived", id);
}

function fault(what: string, id: string, request: IncomingMessage, response: ServerResponse): void {
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
      return void socket.end(`HTTP/1.1 200 OK\r\nX-Id: ${id}\r\nContent-Length: 1000\r\n\r\nshort`);
    case "close":
      return void response.writeHead(200, { connection: "close" }).end(`hello ${id}`);
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
