/**
 * The load of our own: keep-alive connections on bare sockets, one request in flight on each, in its own process. Bounded in connections
 * and in time.
 *
 * With `--rate` it is an open loop: request k is due at start + k/rate, whatever the answers do, and its latency counts from that moment,
 * also when no connection was free or this process was late: a slow proxy cannot hide its queue, and a slow generator shows as
 * `lateUs`. Before that, a closed loop warms this process's own code: without, what is measured in the tail is its compiler. What is
 * in flight at the end has two seconds to be answered and is an error after. Without a rate, each connection sends as soon as it is
 * answered, from the first moment on.
 *
 * Prints one JSON line, a `Load`; with a rate, before it, a line `warm` at the moment from which it counts. An answer that is not a complete 200 with a Content-Length is an error.
 */

import { connect as connectPlain, type Socket } from "node:net";
import { connect as connectSecure } from "node:tls";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import type { Load } from "./load.ts";
import { monotonicMicros } from "../clock.ts";
import type { Schedule } from "./pacer.ts";

const text = { type: "string" } as const;
const { values } = parseArgs({
  options: {
    port: text,
    connections: { ...text, default: "64" },
    seconds: { ...text, default: "1" },
    rate: { ...text, default: "0" },
    path: { ...text, default: "/1k" },
    host: { ...text, default: "" },
    body: { ...text, default: "0" },
    secure: { ...text, default: "0" },
  },
});
const port = Number(values.port);
const connections = Math.min(1000, Math.max(1, Number(values.connections)));
const seconds = Math.min(60, Math.max(0.1, Number(values.seconds)));
const rate = Math.min(100_000, Number(values.rate));
const bodyBytes = Math.min(1024 * 1024, Number(values.body));

/** Before a fixed rate: how long the closed loop runs, and how long all rests after. */
const WARM_MS = 1500;
const REST_MS = 300;
/** The pacer's thread is up by then. */
const START_US = 200_000;
const LAST_ANSWERS_MS = 2000;
const END = Buffer.from("\r\n\r\n");
/** One bucket is one microsecond; what takes longer than a second is counted as a second. */
const LONGEST_US = 1_000_000;

/** How often each microsecond was seen. */
class Histogram {
  readonly #counts = new Uint32Array(LONGEST_US + 1);
  #total = 0;

  add(us: number): void {
    const bucket = Math.min(LONGEST_US, Math.max(0, Math.round(us)));
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#total += 1;
  }

  get total(): number {
    return this.#total;
  }

  /** The smallest value that a share `q` did not exceed. */
  quantile(q: number): number {
    const rank = Math.max(1, Math.ceil(this.#total * q));
    let seen = 0;
    for (let us = 0; us <= LONGEST_US; us += 1) {
      seen += this.#counts[us] ?? 0;
      if (seen >= rank) return us;
    }
    return LONGEST_US;
  }
}

const latencies = new Histogram();
const lateness = new Histogram();
let errors = 0;
let isClosed = true;
let isCounting = rate === 0;
let stopping = false;

/** One connection: idle, or waiting for the answer to a request that was due at `since`. */
class Client {
  readonly socket: Socket;
  readonly #request: Buffer;
  isBusy = false;
  #since = 0;
  #missing = 0;
  #head: Buffer | undefined;

  constructor(index: number, onConnect: () => void) {
    const host = values.host === "" ? `127.0.0.1:${String(port)}` : values.host;
    const method = bodyBytes > 0 ? "POST" : "GET";
    const length = bodyBytes > 0 ? `Content-Length: ${String(bodyBytes)}\r\n` : "";
    const head = `${method} ${values.path} HTTP/1.1\r\nHost: ${host}\r\n${length}Cookie: sid=user-${String(index % 64)}\r\n\r\n`;
    this.#request = Buffer.concat([Buffer.from(head), Buffer.alloc(bodyBytes, "x")]);
    const to = { port, host: "127.0.0.1" };
    this.socket =
      values.secure === "1"
        ? connectSecure({ ...to, rejectUnauthorized: false }, onConnect)
        : connectPlain(to, onConnect);
    this.socket.setNoDelay(true);
    this.socket.on("data", (chunk: Buffer) => this.#read(chunk));
    this.socket.on("error", () => this.socket.destroy());
    this.socket.on("close", () => {
      this.isBusy = false;
      if (!stopping) errors += 1;
    });
  }

  send(since: number): void {
    this.isBusy = true;
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
    this.isBusy = false;
    if (isCounting) latencies.add(monotonicMicros() - this.#since);
    free(this);
  }
}

/** Connections that wait for something to send, and moments that wait for a connection. */
const idle: Client[] = [];
const due: number[] = [];

/** A connection has nothing to do: it takes the oldest request that waits, or, without a rate, the next one. */
function free(client: Client): void {
  if (stopping) return;
  if (isClosed) return client.send(monotonicMicros());
  const oldest = due.shift();
  if (oldest === undefined) idle.push(client);
  else client.send(oldest);
}

/** Sends what has become due since the last call. */
function pacing(schedule: Schedule): () => void {
  let sent = 0;
  return () => {
    const now = monotonicMicros();
    for (; sent < schedule.count; sent += 1) {
      const moment = schedule.startUs + sent * schedule.stepUs;
      if (moment > now) return;
      lateness.add(now - moment);
      const client = idle.pop();
      if (client === undefined) due.push(moment);
      else client.send(moment);
    }
  };
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Warm, a fixed rate, then the last answers. */
async function paced(): Promise<void> {
  await pause(WARM_MS);
  isClosed = false;
  await pause(REST_MS);
  isCounting = true;
  process.stdout.write("warm\n");
  cpu = process.cpuUsage();
  const schedule: Schedule = {
    startUs: monotonicMicros() + START_US,
    stepUs: 1e6 / rate,
    count: Math.round(rate * seconds),
  };
  const thread = new Worker(new URL("./pacer.ts", import.meta.url), {
    workerData: schedule,
    resourceLimits: { maxYoungGenerationSizeMb: 64 },
  });
  thread.on("message", pacing(schedule));
  await new Promise((resolve) => thread.once("exit", resolve));
  const pending = (): number => clients.filter(({ isBusy }) => isBusy).length + due.length;
  for (let waited = 0; waited < LAST_ANSWERS_MS && pending() > 0; waited += 20) await pause(20);
  // What was never answered took longer than anything that was: it counts as the longest, not as nothing.
  for (let left = pending(); left > 0; left -= 1) {
    latencies.add(LONGEST_US);
    errors += 1;
  }
}

const clients: Client[] = [];
await Promise.all(
  Array.from(
    { length: connections },
    (_, index) =>
      new Promise<void>((resolve) => {
        const client = new Client(index, resolve);
        client.socket.once("close", resolve);
        clients.push(client);
      }),
  ),
);

let cpu = process.cpuUsage();
const startUs = monotonicMicros();
for (const client of clients) if (!client.socket.destroyed) free(client);
await (rate > 0 ? paced() : pause(seconds * 1000));
stopping = true;
const used = process.cpuUsage(cpu);
const load: Load = {
  requests: latencies.total,
  errors,
  seconds: rate > 0 ? seconds : (monotonicMicros() - startUs) / 1e6,
  p50Us: latencies.quantile(0.5),
  p99Us: latencies.quantile(0.99),
  p999Us: latencies.quantile(0.999),
  cpuSeconds: (used.user + used.system) / 1e6,
  ...(rate > 0 ? { lateUs: lateness.quantile(0.99) } : {}),
};
for (const client of clients) client.socket.destroy();
process.stdout.write(`${JSON.stringify(load)}\n`);
