/**
 * The second oracle: `node:http` itself, strict, over a stream in memory. It says less than `llhttp.ts` about where a message ends, namely
 * only whether the next one behind it is understood as that; but it is what the general lane is built on, with all that Node adds.
 */

import { createServer, request as send, type IncomingMessage, type Server } from "node:http";
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import type { Heard } from "./llhttp.ts";

const STRICT = { insecureHTTPParser: false, maxHeaderSize: 256 * 1024 };
/** Some turns of the loop in which nothing happens: it waits for more. */
const PATIENCE = 20;

/** What Node made of a message, and of what stands behind it. */
export interface NodeHeard extends Pick<Heard, "method" | "target" | "status" | "fields" | "body"> {
  /** The body has ended. */
  readonly isWhole: boolean;
}

/** One end of a connection of which the other end is this test: it gives `bytes`, and nothing more. */
class Memory extends Duplex {
  readonly #bytes: Buffer;
  /** Whether the connection ends behind the bytes. */
  readonly #ends: boolean;

  constructor(bytes: Buffer, ends: boolean) {
    super({ allowHalfOpen: true });
    this.#bytes = bytes;
    this.#ends = ends;
  }

  /** Gives all bytes, once. */
  give(): void {
    this.push(this.#bytes);
    if (this.#ends) this.push(null);
  }

  override _read(): void {
    // all is given at once
  }

  override _write(_: unknown, __: unknown, done: () => void): void {
    done();
  }

  // What a socket has and a stream has not.
  setTimeout(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}

/** Until something says that it is over, or nothing happens any more. */
async function settled(isOver: () => boolean): Promise<void> {
  for (let turn = 0; turn < PATIENCE && !isOver(); turn++)
    await new Promise((resolve) => setImmediate(resolve));
}

type Collected = { -readonly [K in keyof NodeHeard]: NodeHeard[K] };

function collect(message: IncomingMessage): Collected {
  const heard: Collected = {
    method: message.method ?? "",
    target: message.url ?? "",
    status: message.statusCode ?? 0,
    fields: message.rawHeaders,
    body: "",
    isWhole: false,
  };
  message.on("data", (chunk: Buffer) => (heard.body += chunk.toString("latin1")));
  message.on("end", () => (heard.isWhole = message.complete));
  message.on("error", () => undefined);
  return heard;
}

/** A server for all requests of a process. */
let server: Server | undefined = undefined;

/** The requests that Node finds in the bytes, until one that it refuses. */
export async function nodeRequests(bytes: Buffer): Promise<readonly NodeHeard[]> {
  const heard: Collected[] = [];
  let isOver = false;
  // Turns since something happened.
  let idle = 0;
  server ??= createServer({ ...STRICT, requireHostHeader: false });
  server.maxHeadersCount = 0;
  for (const event of ["request", "checkContinue", "checkExpectation", "upgrade", "connect"])
    server
      .removeAllListeners(event)
      .on(event, (message: IncomingMessage, response?: { end?: () => void }) => {
        idle = 0;
        heard.push(collect(message));
        // Answered at its end, so that the next one has its turn.
        message.on("end", () => response?.end?.());
      });
  server.removeAllListeners("clientError").on("clientError", () => (isOver = true));
  const memory = new Memory(bytes, false);
  // It says of itself that any Duplex will do.
  server.emit("connection", memory as unknown as Socket);
  memory.give();
  await settled(() => isOver || memory.destroyed || ++idle > 4);
  memory.destroy();
  return heard;
}

/** The response that Node finds in the bytes, informational ones included; undefined: it refuses them. */
export async function nodeResponse(
  bytes: Buffer,
  isHead: boolean,
  ends: boolean,
): Promise<NodeHeard | undefined> {
  let heard: Collected | undefined = undefined;
  let isOver = false;
  const memory = new Memory(bytes, ends);
  const client = send({
    ...STRICT,
    method: isHead ? "HEAD" : "GET",
    path: "/",
    createConnection: () => memory,
  });
  client.maxHeadersCount = 0;
  client.on("response", (message) => {
    heard ??= collect(message);
    message.on("close", () => (isOver = true));
  });
  client.on("information", ({ statusCode, rawHeaders }) => {
    heard ??= { method: "", target: "", status: statusCode, fields: rawHeaders, body: "", isWhole: true };
    isOver = true;
  });
  client.on("upgrade", (message) => {
    heard ??= { ...collect(message), isWhole: true };
    isOver = true;
  });
  client.on("error", () => (isOver = true));
  client.end();
  await new Promise((resolve) => setImmediate(resolve));
  memory.give();
  await settled(() => isOver);
  client.destroy();
  memory.destroy();
  return heard;
}
