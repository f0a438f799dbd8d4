/**
 * What an HTTP/2 upstream sends too much of, or a client takes too slowly: held within bounds, delivered whole, and nobody else's problem
 * (reliability.md 14, 20, 21, 24, 25).
 */

import type { ServerHttp2Stream } from "node:http2";
import { Readable } from "node:stream";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import t from "tap";
import type { StreamBody } from "../../src/proxy/general/sender.ts";
import {
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  fieldBlock,
  frame,
  frameUpstream,
  goaway,
  headers,
  HEADERS,
  http2Upstream,
  PING,
  reset,
  RST_STREAM,
  SETTINGS,
  settings,
  type FrameConnection,
  type FrameUpstream,
} from "../support/h2-upstream.ts";
import { startPlane } from "../support/plane.ts";
import { poolFor, sendBy, slotsOf } from "../support/h2-sender.ts";
import { bodyOf, finalStatusOf, once, raw, type RawClient } from "../support/raw.ts";

const OK: readonly (readonly [string, string])[] = [[":status", "200"]];
const GET = "GET / HTTP/1.1\nHost: x";
const MIB = 1024 * 1024;

function onRequest(then: (connection: FrameConnection, stream: number) => void): FrameUpstream["script"] {
  return (connection, { type, stream }) => {
    if (type === HEADERS) then(connection, stream);
  };
}

function good(stream: number): Buffer {
  const head = headers(stream, [...OK, ["content-length", "5"]]);
  return Buffer.concat([head, frame(DATA, END_STREAM, stream, "good!")]);
}

/** Bytes that a stream was taken, and a way to go on for ever. */
function pour(stream: ServerHttp2Stream, most: number): { readonly poured: () => number } {
  const chunk = Buffer.alloc(64 * 1024, "x");
  let poured = 0;
  const more = (): void => {
    while (poured < most && !stream.destroyed) {
      poured += chunk.length;
      if (!stream.write(chunk)) return;
    }
    if (!stream.destroyed) stream.end();
  };
  stream.on("drain", more);
  more();
  return { poured: () => poured - stream.writableLength };
}

/** A body that never ends. */
function endless(): StreamBody {
  return {
    open: () => new Readable({ read: () => undefined }),
    isHeld: true,
    isWaiting: true,
    trailers: [],
  };
}

/** What buffers take in this process, upstream and clients of the test included: bytes. */
function heldBytes(): number {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
  return process.memoryUsage().arrayBuffers;
}

/** Resolves when `read` stays the same for some turns in which the loop did other things. */
async function still(read: () => number): Promise<number> {
  let before = -1;
  for (let same = 0; same < 20; same++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (read() !== before) same = 0;
    before = read();
  }
  return before;
}

void t.test(
  "clients that do not read hold little, stop nobody else, and get all of it later (reliability 24)",
  async (t) => {
    const SIZE = 24 * MIB;
    const sources: { readonly poured: () => number }[] = [];
    const server = await http2Upstream((stream, seen) => {
      stream.respond({ ":status": 200, "content-length": seen.target === "/big" ? SIZE : 5 });
      if (seen.target === "/big") sources.push(pour(stream, SIZE));
      else stream.end("quick");
    });
    const running = await startPlane({ stable: server.url, canary: server.url });
    const before = heldBytes();
    const clients: RawClient[] = [];
    for (let nth = 0; nth < 20; nth++) {
      const client = await raw(running.address);
      client.socket.pause();
      client.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
      clients.push(client);
    }
    await running.settled(() => sources.length === 20);
    const poured = await still(() => sources.reduce((sum, { poured }) => sum + poured(), 0));
    t.equal(server.accepted, 1);
    t.equal(bodyOf(await once(running.address, GET)), "quick");
    // The kernel takes some of it on either side; of 480 MiB this is what is left for the process.
    t.ok(poured < 20 * 6 * MIB, `${Math.round(poured / MIB)} MiB poured`);
    const held = heldBytes() - before;
    t.ok(held < 20 * 2 * MIB, `${Math.round(held / MIB)} MiB held`);
    const [first] = clients;
    first?.socket.removeAllListeners("data");
    let got = 0;
    first?.socket.on("data", (chunk: Buffer) => (got += chunk.length));
    first?.socket.resume();
    await running.settled(() => got > SIZE);
    for (const client of clients) client.destroy();
    await running.settled((now) => now.settled === 21);
    await running.plane.close();
    await server.close();
  },
);

void t.test(
  "an upload that the upstream does not read is held back at the client (reliability 24)",
  async (t) => {
    const server = await frameUpstream(() => undefined);
    const running = await startPlane({ stable: server.url, canary: server.url });
    const SIZE = 64 * MIB;
    const client = await raw(running.address);
    client.send(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${SIZE}\r\n\r\n`);
    const chunk = Buffer.alloc(MIB, "x");
    for (let sent = 0; sent < SIZE; sent += chunk.length) client.send(chunk);
    await server.until(() => (server.connections[0]?.got(DATA).length ?? 0) >= 4);
    const taken = await still(() => client.socket.bytesWritten - client.socket.writableLength);
    // What the kernel takes on its way is nobody's.
    t.ok(taken < 12 * MIB, `${Math.round(taken / MIB)} MiB taken`);
    client.destroy();
    await running.plane.close();
    await server.close();
  },
);

void t.test(
  "a whole answer whose connection ends before the client has taken it is delivered whole (reliability 20)",
  async (t) => {
    const PIECE = "x".repeat(16_000);
    const ends: readonly ((connection: FrameConnection) => void)[] = [
      ({ socket }) => void socket.end(),
      ({ socket }) => void socket.end(goaway(1, 0)),
      ({ socket }) => void socket.end(goaway(1, 2)),
      (connection) => connection.send(reset(1, 0)),
      (connection) => connection.send(reset(1, 2)),
      (connection) => connection.send(frame(PING, 0, 0, "broken")),
    ];
    for (const end of ends)
      for (const body of [undefined, endless()]) {
        const server = await frameUpstream(
          onRequest((connection, stream) => {
            const pieces = Array.from({ length: 12 }, () => frame(DATA, 0, stream, PIECE));
            const last = headers(stream, [["x-last", "1"]], END_HEADERS | END_STREAM);
            connection.send(headers(stream, OK), ...pieces, last);
            end(connection);
          }),
        );
        const pool = poolFor(server.url, slotsOf());
        const sent = sendBy(pool, { body }, 1);
        await sent.until(() => sent.chunks.length === 1);
        await still(() => Number(server.connections[0]?.socket.destroyed));
        t.equal(sent.chunks.length, 1);
        sent.take(Infinity);
        await sent.until(() => sent.end !== "");
        t.equal(sent.end, "whole");
        t.equal(Buffer.concat(sent.chunks).toString(), PIECE.repeat(12));
        t.strictSame(sent.trailers, ["x-last", "1"]);
        pool.close();
        await server.close();
      }
  },
);

void t.test(
  "an answer that comes before the whole request is a whole answer, and its connection goes on",
  async (t) => {
    const server = await frameUpstream(
      onRequest((connection, stream) => {
        connection.send(good(stream));
        if (stream === 3) connection.send(reset(stream, 0));
      }),
      { greeting: settings({ 4: 1000 }) },
    );
    const running = await startPlane({ stable: server.url, canary: server.url });
    for (let nth = 1; nth <= 2; nth++) {
      const client = await raw(running.address);
      client.send(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30000\r\n\r\n${"b".repeat(20_000)}`);
      await client.until(/good!/);
      client.destroy();
      if (nth === 1) await server.until(() => server.connections[0]?.got(RST_STREAM, 1).length === 1);
    }
    t.equal(bodyOf(await once(running.address, GET)), "good!");
    t.equal(server.connections.length, 1);
    t.strictSame((await running.settled((now) => now.settled === 3)).counts, { "stable ok": 3 });
    await running.plane.close();
    await server.close();
  },
);

void t.test(
  "floods of an upstream end its connection or its stream, within bounds (reliability 21, 25)",
  async (t) => {
    const field = (size: number): readonly [string, string] => ["x-long", "v".repeat(size)];
    const floods: readonly (readonly [string, (connection: FrameConnection, stream: number) => void])[] = [
      [
        "a head above 64 KiB",
        (connection, stream) => {
          const block = fieldBlock([...OK, ...Array.from({ length: 10 }, () => field(8000))]);
          connection.send(frame(HEADERS, 0, stream, block.subarray(0, 16_000)));
          for (let at = 16_000; at < block.length; at += 16_000)
            connection.send(
              frame(
                CONTINUATION,
                at + 16_000 < block.length ? 0 : END_HEADERS,
                stream,
                block.subarray(at, at + 16_000),
              ),
            );
        },
      ],
      [
        "too many fields",
        (connection, stream) => {
          const block = fieldBlock([...OK, ...Array.from({ length: 2100 }, () => ["a", "b"] as const)]);
          connection.send(frame(HEADERS, END_HEADERS, stream, block));
        },
      ],
      [
        "a head without end",
        (connection, stream) => {
          connection.send(frame(HEADERS, 0, stream, fieldBlock(OK)));
          for (let nth = 0; nth < 5000; nth++) connection.send(frame(CONTINUATION, 0, stream, ""));
        },
      ],
      [
        "1xx without end",
        (connection, stream) => {
          for (let nth = 0; nth < 5000; nth++) connection.send(headers(stream, [[":status", "103"]]));
        },
      ],
      [
        "SETTINGS without end",
        (connection) => {
          connection.socket.pause();
          const many = Buffer.concat(Array.from({ length: 50_000 }, () => frame(SETTINGS)));
          connection.send(many, many, many);
        },
      ],
      [
        "PING without end",
        (connection) => {
          connection.socket.pause();
          const many = Buffer.concat(Array.from({ length: 50_000 }, () => frame(PING, 0, 0, "12345678")));
          connection.send(many, many, many);
        },
      ],
      [
        "a push",
        (connection, stream) => {
          connection.send(
            frame(5, END_HEADERS, stream, Buffer.concat([Buffer.from([0, 0, 0, 2]), fieldBlock(OK)])),
          );
        },
      ],
    ];
    for (const [does, flood] of floods) {
      const server = await frameUpstream(onRequest(flood));
      const running = await startPlane(
        { stable: server.url, canary: server.url },
        { timeouts: { headers: "2s" } },
      );
      const text = await once(running.address, GET);
      t.equal(finalStatusOf(text), 502, does);
      t.ok(text.length < 20_000, does);
      server.script = onRequest((connection, stream) => connection.send(good(stream)));
      t.equal(bodyOf(await once(running.address, GET)), "good!", does);
      const { counts } = await running.settled((now) => now.settled === 2);
      t.equal(counts["stable ok"], 1, does);
      await running.plane.close();
      await server.close();
    }
  },
);
