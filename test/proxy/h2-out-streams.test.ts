/**
 * Streams towards an HTTP/2 upstream: how many there are on how many connections, what ends them, which clock runs when, and how much is
 * held of what nobody takes (reliability.md 14, 21, 24, 25, 31, 50).
 */

import { mock } from "node:test";
import t from "tap";
import { millis } from "../../src/domain/units.ts";
import {
  answer,
  DATA,
  END_STREAM,
  frame,
  frameUpstream,
  headers,
  HEADERS,
  http2Upstream,
  PING,
  RST_STREAM,
  SETTINGS,
  settings,
  type Frame,
  type FrameConnection,
  type FrameUpstream,
} from "../support/h2-upstream.ts";
import { poolFor, sendBy, slotsOf } from "../support/h2-sender.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { bodyOf, once, raw, statusOf } from "../support/raw.ts";

const CANCEL = 8;
const MAX_CONCURRENT_STREAMS = 3;
const INITIAL_WINDOW_SIZE = 4;
const OK: readonly (readonly [string, string])[] = [[":status", "200"]];
const LENGTH_5: readonly (readonly [string, string])[] = [...OK, ["content-length", "5"]];
const GET = "GET / HTTP/1.1\nHost: x";

function onRequest(then: (connection: FrameConnection, stream: number) => void): FrameUpstream["script"] {
  return (connection, { type, stream }) => {
    if (type === HEADERS) then(connection, stream);
  };
}

function good(stream: number): Buffer {
  return Buffer.concat([headers(stream, LENGTH_5), frame(DATA, END_STREAM, stream, "good!")]);
}

async function startFor(url: string, arm: object = {}, route: object = {}): Promise<TestPlane> {
  const arms = { stable: { endpoints: [url], ...arm }, canary: { endpoints: [url], ...arm } };
  return startPlane({ stable: url, canary: url }, { ...arms, ...route });
}

function codeOf({ payload }: Frame): number {
  return payload.readUInt32BE(0);
}

void t.test(
  "a client that leaves cancels its stream at once, wherever it is, and its body is never ended (reliability 31)",
  async (t) => {
    const stages: readonly (readonly [string, string, readonly Buffer[]])[] = [
      ["waiting for a head", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", []],
      ["behind the head", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", [headers(1, OK)]],
      ["inside the body", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", [headers(1, OK), frame(DATA, 0, 1, "he")]],
      ["inside its own body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", []],
      [
        "inside its own chunks",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        [headers(1, OK)],
      ],
    ];
    for (const [stage, request, answers] of stages) {
      const server = await frameUpstream(onRequest((connection) => connection.send(...answers)));
      const running = await startFor(server.url);
      const client = await raw(running.address);
      client.send(request);
      const upload = request.startsWith("POST");
      await server.until(() => server.connections[0]?.got(upload ? DATA : HEADERS).length === 1);
      if (answers.length > 0) await client.until(/200/);
      client.destroy();
      await server.until(() => server.connections[0]?.got(RST_STREAM).length === 1);
      const [connection] = server.connections;
      t.strictSame(connection?.got(RST_STREAM).map(codeOf), [CANCEL], stage);
      t.notOk(upload && connection?.got(DATA).some(({ flags }) => (flags & END_STREAM) !== 0), stage);
      const totals = await running.settled((now) => now.settled === 1);
      t.strictSame(totals.counts, { "stable client_gone": 1 }, stage);
      // The connection goes on.
      server.script = onRequest((other, stream) => other.send(good(stream)));
      t.equal(bodyOf(await once(running.address, GET)), "good!");
      t.equal(server.connections.length, 1);
      await running.plane.close();
      await server.close();
    }
  },
);

void t.test(
  "a hundred streams share few connections, and no more begin than the upstream takes (reliability 25)",
  async (t) => {
    for (const [most, connections] of [
      [100, 1],
      [30, 4],
      [1, 100],
    ] as const) {
      const held: (() => void)[] = [];
      const server = await http2Upstream(
        (stream, seen) => void held.push(() => answer(200, "good!")(stream, seen)),
        { settings: { maxConcurrentStreams: most } },
      );
      const running = await startFor(server.url);
      const answers = Array.from({ length: 100 }, () => once(running.address, GET));
      await running.settled(() => server.requests.length === 100);
      t.equal(server.accepted, connections);
      for (let nth = 1; nth <= connections; nth++)
        t.ok(server.requests.filter((seen) => seen.connection === nth).length <= most);
      for (const release of held) release();
      for (const text of await Promise.all(answers)) t.match(text, /good!/);
      t.strictSame((await running.settled((now) => now.settled === 100)).counts, { "stable ok": 100 });
      await running.plane.close();
      await server.close();
    }
  },
);

void t.test(
  "above connections times streams exchanges wait in order, above the queue they are 503 and no evidence",
  async (t) => {
    const held: { readonly stream: number; readonly connection: FrameConnection }[] = [];
    const server = await frameUpstream(
      onRequest((connection, stream) => void held.push({ connection, stream })),
      { greeting: settings({ [MAX_CONCURRENT_STREAMS]: 1 }) },
    );
    const running = await startFor(server.url, { connections: 2, queue: 1 });
    const first = [once(running.address, GET), once(running.address, GET)];
    await server.until(() => held.length === 2);
    const third = once(running.address, GET);
    await running.settled(() => running.plane.gauges().routes["app"]?.stable.inFlight === 3);
    t.equal(statusOf(await once(running.address, GET)), 503);
    t.equal(server.connections.length, 2);
    const [one, two] = held;
    one?.connection.send(good(one.stream));
    await server.until(() => held.length === 3);
    t.equal(held[2]?.connection, one?.connection);
    for (const each of [two, held[2]]) each?.connection.send(good(each.stream));
    for (const text of await Promise.all([...first, third])) t.equal(bodyOf(text), "good!");
    const totals = await running.settled((now) => now.settled === 4);
    t.strictSame(totals.counts, { "stable ok": 3, "stable unavailable": 1 });
    await running.plane.close();
    await server.close();
  },
);

void t.test("an upstream that takes no streams, then some, then more, gets just that many", async (t) => {
  const streams: number[] = [];
  const server = await frameUpstream(
    onRequest((_connection, stream) => void streams.push(stream)),
    { greeting: settings({ [MAX_CONCURRENT_STREAMS]: 0 }) },
  );
  const running = await startFor(server.url, { connections: 1 });
  const answers = [once(running.address, GET), once(running.address, GET), once(running.address, GET)];
  await running.settled(() => running.plane.gauges().routes["app"]?.stable.inFlight === 3);
  const [connection] = server.connections;
  connection?.send(settings({ [MAX_CONCURRENT_STREAMS]: 1 }));
  await server.until(() => streams.length === 1);
  connection?.send(settings({ [MAX_CONCURRENT_STREAMS]: 2 }));
  await server.until(() => streams.length === 2);
  connection?.send(good(1));
  await server.until(() => streams.length === 3);
  connection?.send(good(3), good(5));
  for (const text of await Promise.all(answers)) t.equal(bodyOf(text), "good!");
  t.equal(server.connections.length, 1);
  await running.plane.close();
  await server.close();
});

void t.test(
  "each clock has its own answer, and the client's is not the upstream's (reliability 14)",
  async (t) => {
    const SHORT = { connect: "150ms", headers: "150ms", idle: "150ms" };
    const upload = "POST / HTTP/1.1\nHost: x\nContent-Length: 500000";
    const cases: readonly (readonly [
      string,
      string,
      string,
      number,
      string,
      FrameUpstream["script"],
      Buffer,
    ])[] = [
      ["no SETTINGS", GET, "", 504, "connect", () => undefined, Buffer.alloc(0)],
      ["no head", GET, "", 504, "timeout", () => undefined, frame(SETTINGS)],
      [
        "does not read",
        upload,
        "b".repeat(500_000),
        504,
        "timeout",
        () => undefined,
        settings({ [INITIAL_WINDOW_SIZE]: 100 }),
      ],
      [
        "stops in the body",
        GET,
        "",
        200,
        "cut",
        onRequest((connection, stream) => connection.send(headers(stream, OK), frame(DATA, 0, stream, "he"))),
        frame(SETTINGS),
      ],
    ];
    for (const [does, head, body, status, reason, script, greeting] of cases) {
      const server = await frameUpstream(script, { greeting, acks: greeting.length > 0 });
      const running = await startFor(server.url, {}, { timeouts: SHORT });
      const text = await once(running.address, head, body);
      t.equal(statusOf(text), status, does);
      t.notMatch(text, /\r\n0\r\n\r\n$/, does);
      if (reason !== "connect") {
        await server.until(() => server.connections[0]?.got(RST_STREAM).length === 1);
        t.strictSame(server.connections[0]?.got(RST_STREAM).map(codeOf), [CANCEL], does);
      }
      t.strictSame(
        (await running.settled((now) => now.settled === 1)).counts,
        { [`stable ${reason}`]: 1 },
        does,
      );
      await running.plane.close();
      await server.close();
    }
    const server = await frameUpstream(() => undefined);
    const slow = await startPlane(
      { stable: server.url, canary: server.url },
      { timeouts: { idle: "40ms" } },
      { limits: { bodyIdle: "200ms" } },
    );
    t.equal(statusOf(await once(slow.address, "POST / HTTP/1.1\nHost: x\nContent-Length: 9", "abc")), 408);
    t.strictSame((await slow.settled((now) => now.settled === 1)).counts, { "stable refused": 1 });
    await slow.plane.close();
    await server.close();
  },
);

void t.test(
  "after a time-out nothing begins on a connection until it answers a PING; one that does not is given up (reliability 14)",
  async (t) => {
    const timeouts = { headers: "60ms", connect: "100ms" };
    const server = await frameUpstream(
      onRequest((connection, stream) => {
        if (stream > 1 || connection.nth > 1) connection.send(good(stream));
      }),
      { acks: false },
    );
    const running = await startFor(server.url, {}, { timeouts });
    t.equal(statusOf(await once(running.address, GET)), 504);
    const [first] = server.connections;
    await server.until(() => first?.got(PING).length === 1);
    t.equal(bodyOf(await once(running.address, GET)), "good!");
    t.strictSame([first?.got(HEADERS).length, server.connections.length], [1, 2]);
    await server.until(() => first?.socket.destroyed === true);
    await running.plane.close();
    await server.close();
    const alive = await frameUpstream(
      onRequest((connection, stream) => {
        if (stream > 1) connection.send(good(stream));
      }),
    );
    const going = await startFor(alive.url, {}, { timeouts });
    t.equal(statusOf(await once(going.address, GET)), 504);
    await alive.until(() => alive.connections[0]?.got(PING).length === 1);
    let text = "";
    for (let nth = 0; nth < 50 && alive.connections[0]?.got(HEADERS).length !== 2; nth++)
      text = await once(going.address, GET);
    t.equal(bodyOf(text), "good!");
    await going.plane.close();
    await alive.close();
  },
);

void t.test(
  "a connection without streams is closed after a minute, and one with streams is not",
  async (t) => {
    const server = await frameUpstream(
      onRequest((connection, stream) => {
        if (stream === 1) connection.send(good(stream));
        else connection.send(headers(stream, LENGTH_5));
      }),
    );
    const pool = poolFor(server.url, slotsOf());
    mock.timers.enable({ apis: ["setTimeout"] });
    const first = sendBy(pool);
    await first.until(() => first.end !== "");
    mock.timers.tick(59_000);
    const LONG = { connect: millis(1e6), headers: millis(1e6), idle: millis(1e6), stream: millis(1e6) };
    const second = sendBy(pool, { timeouts: LONG });
    await second.until(() => second.head !== undefined);
    mock.timers.tick(100_000);
    const [connection] = server.connections;
    connection?.send(frame(DATA, END_STREAM, 3, "good!"));
    await second.until(() => second.end === "whole");
    t.equal(server.connections.length, 1);
    // The stream is over a moment after its last byte.
    await new Promise((resolve) => setImmediate(resolve));
    const closed = new Promise((resolve) => connection?.socket.once("close", resolve));
    mock.timers.tick(60_000);
    await closed;
    mock.timers.reset();
    pool.close();
    await server.close();
  },
);
