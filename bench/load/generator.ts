/**
 * The load: keep-alive connections on bare sockets, one request in flight on each, in its own process. Bounded in connections and in
 * time. With `--rate` it sends that many requests a second, whatever the answers do, and a request that had to wait for a free
 * connection counts its wait: a slow proxy cannot hide its queue. Without, each connection sends as soon as it is answered.
 *
 * Prints one JSON line, a `Load`. An answer that is not a complete 200 with a Content-Length is an error.
 */

import { connect, type Socket } from "node:net";
import { parseArgs } from "node:util";

/** What one run of a load generator saw. */
export interface Load {
  readonly requests: number;
  readonly errors: number;
  readonly seconds: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** CPU time of the generator itself. */
  readonly cpuSeconds: number;
}

const { values } = parseArgs({
  options: {
    port: { type: "string" },
    connections: { type: "string", default: "64" },
    seconds: { type: "string", default: "1" },
    rate: { type: "string", default: "0" },
  },
});
const port = Number(values.port);
const connections = Math.min(1000, Math.max(1, Number(values.connections)));
const durationMs = Math.min(60, Math.max(0.1, Number(values.seconds))) * 1000;
const rate = Number(values.rate);

const END = Buffer.from("\r\n\r\n");
/** One bucket is one microsecond; what takes longer than a second is counted as a second. */
const LONGEST_US = 1_000_000;
const latencies = new Uint32Array(LONGEST_US + 1);
let requests = 0;
let errors = 0;
let stopping = false;

/** One connection: idle, or waiting for the answer to a request sent at `since`. */
class Client {
  readonly socket: Socket;
  readonly #request: Buffer;
  #since = 0;
  #missing = 0;
  #head: Buffer | undefined;

  constructor(index: number) {
    this.#request = Buffer.from(
      `GET /bench HTTP/1.1\r\nHost: 127.0.0.1:${String(port)}\r\nUser-Agent: bench\r\nAccept: */*\r\nCookie: sid=user-${String(index)}\r\n\r\n`,
    );
    this.socket = connect({ port, host: "127.0.0.1", noDelay: true });
    this.socket.on("data", (chunk) => this.#read(chunk));
    this.socket.on("connect", () => free(this));
    this.socket.on("error", () => this.socket.destroy());
    this.socket.on("close", () => {
      if (!stopping) errors += 1;
    });
  }

  send(since: number): void {
    this.#since = since;
    this.socket.write(this.#request);
  }

  #read(chunk: Buffer): void {
    if (this.#missing > 0) {
      this.#missing -= chunk.length;
    } else {
      const bytes = this.#head === undefined ? chunk : Buffer.concat([this.#head, chunk]);
      const end = bytes.indexOf(END);
      if (end === -1) {
        this.#head = bytes;
        return;
      }
      this.#head = undefined;
      const head = bytes.toString("latin1", 0, end + 2);
      const length = /\r\ncontent-length: *(\d+)\r\n/i.exec(head)?.[1];
      if (length === undefined || !head.startsWith("HTTP/1.1 200")) return this.#fail();
      this.#missing = Number(length) - (bytes.length - end - END.length);
    }
    if (this.#missing < 0) return this.#fail();
    if (this.#missing === 0) this.#answered();
  }

  #fail(): void {
    this.socket.destroy();
  }

  #answered(): void {
    requests += 1;
    const us = Math.round((performance.now() - this.#since) * 1000);
    const bucket = Math.min(LONGEST_US, us);
    latencies[bucket] = (latencies[bucket] ?? 0) + 1;
    free(this);
  }
}

/** Connections that wait for something to send, and moments that wait for a connection. */
const idle: Client[] = [];
const due: number[] = [];

/** A connection has nothing to do: it takes the oldest request that waits, or, without a rate, the next one. */
function free(client: Client): void {
  if (stopping) return;
  if (rate === 0) return client.send(performance.now());
  const oldest = due.shift();
  if (oldest === undefined) idle.push(client);
  else client.send(oldest);
}

/** Sends what has become due since the last call. */
function pace(start: number): () => void {
  let sent = 0;
  return () => {
    const now = performance.now();
    for (const target = Math.floor(((now - start) * rate) / 1000); sent < target; sent += 1) {
      const client = idle.pop();
      if (client === undefined) due.push(now);
      else client.send(now);
    }
  };
}

/** The smallest latency that a share `q` of the answers did not exceed, in microseconds. */
function quantile(q: number): number {
  const rank = Math.max(1, Math.ceil(requests * q));
  let seen = 0;
  for (let us = 0; us <= LONGEST_US; us += 1) {
    seen += latencies[us] ?? 0;
    if (seen >= rank) return us;
  }
  return LONGEST_US;
}

const start = performance.now();
const cpu = process.cpuUsage();
const clients = Array.from({ length: connections }, (_, index) => new Client(index));
const pacer = rate > 0 ? setInterval(pace(start), 1) : undefined;
setTimeout(() => {
  stopping = true;
  clearInterval(pacer);
  const seconds = (performance.now() - start) / 1000;
  const used = process.cpuUsage(cpu);
  for (const client of clients) client.socket.destroy();
  const load: Load = {
    requests,
    errors,
    seconds,
    p50Us: quantile(0.5),
    p99Us: quantile(0.99),
    cpuSeconds: (used.user + used.system) / 1e6,
  };
  process.stdout.write(`${JSON.stringify(load)}\n`);
}, durationMs);
