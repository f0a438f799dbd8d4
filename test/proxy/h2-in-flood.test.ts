/**
 * HTTP/2 clients that ask for work without asking for anything: each flood ends its connection, costs little, and nobody else notices (reliability.md I48).
 *
 * Sent frame by frame, since no library would. What the process may cost is measured here with the client in the same process, so the
 * bounds are wide; the floods of a proxy without them run until the deadline.
 */

import t from "tap";
import {
  ACK,
  block,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  ENHANCE_YOUR_CALM,
  frame,
  head,
  HEADERS,
  number,
  PING,
  PRIORITY,
  rawHttp2,
  request,
  RST_STREAM,
  settings,
  SETTINGS,
  WINDOW_UPDATE,
  type RawHttp2,
} from "../support/frames.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { reply, upstream, type Upstream } from "../support/upstream.ts";

/** A flood that is not ended by then is not ended at all. */
const PATIENCE_MS = 8000;
/** Of the whole process, its client included. */
const GROWTH_BYTES = 160 * 1024 * 1024;
const CPU_MS = 3500;

const times = (bytes: Buffer, count: number): Buffer =>
  Buffer.concat(Array.from({ length: count }, () => bytes));
/** For `count` streams of a batch, the ids in order. */
const streams = (nth: number, count: number, make: (id: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, each) => make(1 + 2 * (nth * count + each))));
const hanging = (id: number, method = "GET"): Buffer =>
  head(id, request("/hang", [], method), method === "GET" ? END_STREAM : 0);
/** The first batch begins an upload on stream 1, the others are of it. */
const upload = (nth: number, bytes: Buffer): Buffer => (nth === 0 ? hanging(1, "POST") : bytes);

/** Each flood: its nth batch of frames. */
const FLOODS: Readonly<Record<string, (nth: number) => Buffer>> = {
  PING: () => times(frame(PING, 0, 0, Buffer.alloc(8)), 500),
  "PING acknowledgements": () => times(frame(PING, ACK, 0, Buffer.alloc(8)), 500),
  SETTINGS: () => times(settings([4, 65_535]), 500),
  "empty SETTINGS": () => times(settings(), 500),
  "SETTINGS acknowledgements": () => times(frame(SETTINGS, ACK, 0), 500),
  WINDOW_UPDATE: () => times(frame(WINDOW_UPDATE, 0, 0, number(1)), 500),
  PRIORITY: () => times(frame(PRIORITY, 0, 1, Buffer.from([0, 0, 0, 0, 16])), 500),
  "empty DATA": (nth) => upload(nth, times(frame(DATA, 0, 1), 500)),
  "padded DATA": (nth) =>
    upload(nth, times(frame(DATA, 8, 1, Buffer.concat([Buffer.of(255), Buffer.alloc(255)])), 100)),
  "DATA of a byte each": (nth) => upload(nth, times(frame(DATA, 0, 1, Buffer.from("a")), 500)),
  "DATA of a byte each on a hundred streams": (nth) =>
    nth === 0
      ? streams(0, 100, (id) => hanging(id, "POST"))
      : times(frame(DATA, 0, 1 + 2 * (nth % 100), Buffer.from("a")), 500),
  "DATA behind its end": (nth) => (nth === 0 ? head(1, request("/")) : times(frame(DATA, 0, 1), 500)),
  "unknown frames": () => times(frame(0xee, 0, 0, Buffer.alloc(8)), 500),
  "large unknown frames": () => times(frame(0xee, 0, 0, Buffer.alloc(16_000)), 10),
  "resets of no stream": () => times(frame(RST_STREAM, 0, 1, number(8)), 500),
  "requests and their resets": (nth) =>
    streams(nth, 50, (id) => Buffer.concat([hanging(id), frame(RST_STREAM, 0, id, number(8))])),
  "requests that the proxy must reset": (nth) =>
    streams(nth, 50, (id) => Buffer.concat([hanging(id), frame(WINDOW_UPDATE, 0, id, number(0))])),
  "malformed requests": (nth) => streams(nth, 50, (id) => head(id, [[":method", "GET"]])),
  "requests above the limit": (nth) => streams(nth, 50, (id) => hanging(id)),
  "CONTINUATION without an end": (nth) =>
    nth === 0
      ? frame(HEADERS, END_STREAM, 1, block(request("/")))
      : times(frame(CONTINUATION, 0, 1, block([["x-a", "b".repeat(100)]])), 100),
  "empty CONTINUATION": (nth) =>
    nth === 0 ? frame(HEADERS, END_STREAM, 1, block(request("/"))) : times(frame(CONTINUATION, 0, 1), 100),
  "heads of 96 KiB": (nth) =>
    Buffer.concat([
      frame(HEADERS, END_STREAM, 1 + 2 * nth, block(request("/"))),
      ...Array.from({ length: 6 }, (_, each) =>
        frame(CONTINUATION, each === 5 ? END_HEADERS : 0, 1 + 2 * nth, block([["x-a", "b".repeat(16_000)]])),
      ),
    ]),
  "heads that unfold": (nth) =>
    frame(HEADERS, END_STREAM | END_HEADERS, 1 + 2 * nth, Buffer.concat([block(request("/")), BOMB])),
  "heads of many fields": (nth) =>
    head(
      1 + 2 * nth,
      request(
        "/",
        Array.from({ length: 1300 }, (_, each) => [`x-${each}`, "b"] as const),
      ),
    ),
};

/** One field of 4 KB that goes into the table, and ten thousand times its index (RFC 7541 §6.1, §6.2.1). */
const BOMB = Buffer.concat([
  Buffer.of(0x40),
  block([["x-a", "b".repeat(3900)]]).subarray(1),
  Buffer.alloc(10_000, 0xbe),
]);

/** Those that are seen for what they are, and so are told. */
const TOLD = ["PING", "SETTINGS", "empty SETTINGS", "WINDOW_UPDATE", "PRIORITY", "unknown frames"];

async function site(limits: object = {}): Promise<readonly [TestPlane, Upstream]> {
  const stable = await upstream((socket, { target }) => {
    if (target !== "/hang") socket.write(reply(200, "ok"));
  });
  return [await startPlane({ stable: stable.url, canary: stable.url }, {}, { limits }), stable];
}

/** Sends batches until the connection is closed. */
async function flood(client: RawHttp2, batch: (nth: number) => Buffer): Promise<void> {
  const late = AbortSignal.timeout(PATIENCE_MS);
  for (let nth = 0; !client.isClosed && !late.aborted; nth++) {
    await client.flushed(batch(nth));
    // The proxy is in this very process.
    await new Promise((resolve) => setImmediate(resolve));
  }
}

for (const [name, batch] of Object.entries(FLOODS)) {
  t.test(`a flood of ${name} ends its connection and costs little (reliability 48)`, async (t) => {
    const [running, stable] = await site();
    const honest = await rawHttp2(running.address);
    const client = await rawHttp2(running.address);
    await client.until("SETTINGS", () => client.frames.length > 1);
    const before = process.memoryUsage.rss();
    const cpu = process.cpuUsage();
    await flood(client, batch);
    const { user, system } = process.cpuUsage(cpu);
    t.ok(client.isClosed, "it is ended");
    t.ok(process.memoryUsage.rss() - before < GROWTH_BYTES, "memory");
    t.ok((user + system) / 1000 < CPU_MS, "CPU");
    if (TOLD.includes(name)) t.equal(client.goAway, ENHANCE_YOUR_CALM);
    honest.send(head(1, request("/")));
    await honest.until("an answer", () => honest.hasEnded(1));
    t.equal(honest.statusOf(1), 200, "another client is served");
    honest.destroy();
    const { counts } = await running.settled((now) => now.settled >= (now.counts["stable ok"] ?? 0));
    t.strictSame(
      Object.keys(counts).filter((each) => each !== "stable ok" && each !== "stable client_gone"),
      [],
      "no arm is blamed",
    );
    await running.plane.close();
    await stable.close();
  });
}
