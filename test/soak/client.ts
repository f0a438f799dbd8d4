/** One request, over each way that leads to an edge, told as what became of it. Nothing here rejects: a soak counts. */

import { createHash } from "node:crypto";
import { Agent, request, type ClientRequest } from "node:http";
import { Agent as SecureAgent, request as secureRequest } from "node:https";
import { WebSocket } from "ws";
import { answerOn, client2, valueOf, type Client2 } from "../support/h2.ts";
import type { Site } from "./site.ts";
import { PIECE, readSlowly, SLOW_EVERY } from "./upstream.ts";

/** What became of one request. */
export interface Result {
  /** Status of the answer; 0 when there was none. */
  readonly status: number;
  /** The whole answer was read. */
  readonly isWhole: boolean;
  /** SHA-256 of what was read of the body, hex. */
  readonly digest: string;
  readonly text: string;
  readonly error: string;
  /** Id of the request that was answered, and the arm, as the upstream says; "" where nobody says. */
  readonly id: string;
  readonly arm: string;
  /** It went over a connection that had carried nothing before. */
  readonly isFresh: boolean;
  /** Of the trailers. */
  readonly trailers: readonly string[];
}

/** How a request is made. */
export interface Asking {
  readonly path: string;
  readonly method?: string;
  readonly headers?: Record<string, string>;
  /** A body, or bytes of one; over HTTP/1.1 it is chunked. */
  readonly upload?: number | Buffer;
  /** Every `SLOW_EVERY` bytes read or written so long is waited. HTTP/1.1 alone. */
  readonly slowMs?: number;
  /** The client leaves then. */
  readonly leave?: AbortSignal;
}

/** The ways that lead to an edge. */
export const ROADS = ["http1", "http1 over TLS", "http2", "http2 over TLS"] as const;
export type RoadName = (typeof ROADS)[number];

/** One client: what it asks goes over connections of its own. */
export interface Road {
  readonly name: RoadName;
  /** Asks, and waits for the end, 60 s without any progress at the most. */
  ask(asking: Asking): Promise<Result>;
  close(): void;
}

/** A client that keeps its connections, `width` of them over HTTP/1.1; `isKept` false: one for each request. */
export function road(at: Site, name: RoadName, { width = 1, isKept = true } = {}): Road {
  const isSecure = name.endsWith("TLS");
  if (name.startsWith("http2")) return road2(at, name, isSecure, isKept);
  const agent = isSecure
    ? new SecureAgent({ keepAlive: isKept, maxSockets: width, rejectUnauthorized: false })
    : new Agent({ keepAlive: isKept, maxSockets: width });
  return {
    name,
    ask: (asking) => ask1(at, asking, agent, isSecure),
    close: () => agent.destroy(),
  };
}

function ask1(at: Site, asking: Asking, agent: Agent | SecureAgent, isSecure: boolean): Promise<Result> {
  const { path, method = "GET", headers = {}, upload, slowMs = 0, leave } = asking;
  return new Promise((resolve) => {
    const hash = createHash("sha256");
    const came = { status: 0, text: "", id: "", arm: "", trailers: [] as string[] };
    let isOver = false;
    const over = (isWhole: boolean, error: string): void => {
      if (isOver) return;
      isOver = true;
      resolve({ ...came, isFresh: !sent.reusedSocket, isWhole, digest: hash.digest("hex"), error });
    };
    const make = isSecure ? secureRequest : request;
    const port = isSecure ? at.securePort : at.port;
    const how = { rejectUnauthorized: false, timeout: 60_000 };
    const sent = make({ host: at.host, port, path, method, headers, agent, ...how });
    leave?.addEventListener("abort", () => sent.destroy(), { once: true });
    sent.on("timeout", () => sent.destroy(new Error("nothing for 60 s")));
    sent.on("error", (error: NodeJS.ErrnoException) => over(false, error.code ?? error.message));
    sent.on("close", () => {
      if (came.status === 0) over(false, "closed");
    });
    sent.on("response", (response) => {
      came.status = response.statusCode ?? 0;
      came.id = String(response.headers["x-id"] ?? "");
      came.arm = String(response.headers["x-arm"] ?? "");
      response.on("error", (error: NodeJS.ErrnoException) => over(false, error.code ?? error.message));
      readSlowly(response, slowMs, (chunk) => {
        hash.update(chunk);
        if (came.text.length < 1000) came.text += chunk.toString("latin1", 0, 1000);
      });
      response.on("close", () => over(response.complete, response.complete ? "" : "cut"));
    });
    if (typeof upload === "number") write(sent, upload, slowMs);
    else sent.end(upload);
  });
}

function write(sent: ClientRequest, n: number, slowMs: number): void {
  let left = n;
  const go = (): void => {
    while (left > 0 && !sent.destroyed) {
      const piece = PIECE.subarray(0, Math.min(left, PIECE.length));
      const before = Math.floor(left / SLOW_EVERY);
      left -= piece.length;
      const taken = sent.write(piece);
      if (slowMs > 0 && Math.floor(left / SLOW_EVERY) < before) return void setTimeout(go, slowMs);
      if (!taken) return void sent.once("drain", go);
    }
    sent.end();
  };
  go();
}

function road2(at: Site, name: RoadName, isSecure: boolean, isKept: boolean): Road {
  const address = `${at.host}:${isSecure ? at.securePort : at.port}`;
  const open = (): Client2 => client2(address, isSecure ? { rejectUnauthorized: false } : undefined);
  let kept: Client2 | undefined;
  return {
    name,
    async ask(asking) {
      const isFresh = kept === undefined || kept.session.closed || kept.session.destroyed;
      if (kept === undefined || isFresh) kept = open();
      const { session } = kept;
      const result = await ask2(kept, asking);
      if (!isKept) session.close();
      return { ...result, isFresh };
    },
    close: () => kept?.session.close(),
  };
}

async function ask2(
  client: Client2,
  { path, method = "GET", headers, upload, leave }: Asking,
): Promise<Omit<Result, "isFresh">> {
  const stream = client.open(method, path, headers);
  const answered = answerOn(stream);
  leave?.addEventListener("abort", () => stream.close(CANCEL), { once: true });
  const late = setTimeout(() => stream.close(CANCEL), 60_000);
  stream.end(typeof upload === "number" ? bytesOf(upload) : upload);
  const { status, body, fields, trailers, code } = await answered;
  clearTimeout(late);
  return {
    status,
    // A session that was lost takes its streams along without a code.
    isWhole: code === 0 && status > 0 && stream.readableEnded,
    digest: createHash("sha256").update(body).digest("hex"),
    text: body.toString("latin1", 0, 1000),
    error: code === 0 ? (valueOf(fields, "grpc-message") ?? "") : `reset ${code}`,
    id: valueOf(fields, "x-id") ?? "",
    arm: valueOf(fields, "x-arm") ?? "",
    trailers,
  };
}

const CANCEL = 8;

function bytesOf(n: number): Buffer {
  return Buffer.alloc(n, PIECE);
}

/** A WebSocket that sends an id, waits until it comes back, and says goodbye: "" when all went well, otherwise what did not. */
export function echoed(
  at: Site,
  isSecure: boolean,
  id: string,
  headers: Record<string, string>,
): Promise<string> {
  const url = isSecure ? `wss://${at.host}:${at.securePort}/socket` : `ws://${at.host}:${at.port}/socket`;
  const socket = new WebSocket(url, { headers, rejectUnauthorized: false });
  return new Promise((resolve) => {
    let back = "";
    const late = setTimeout(() => socket.terminate(), 60_000);
    socket.on("open", () => socket.send(id));
    socket.on("message", (data: Buffer) => {
      back = data.toString("latin1");
      socket.close(1000);
    });
    socket.on("error", (error) => (back = error.message));
    socket.on("close", (code) => {
      clearTimeout(late);
      resolve(back === id && code === 1000 ? "" : `closed with ${code}, got ${JSON.stringify(back)}`);
    });
  });
}
