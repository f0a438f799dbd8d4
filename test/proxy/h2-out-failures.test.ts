/**
 * What an HTTP/2 upstream may do wrong, in frames: each is the failure that it is over HTTP/1.1, nothing is sent twice that may not be, and
 * nothing that was cut looks whole (reliability.md 12, 13, 17–20, 31).
 */

import t from "tap";
import {
  DATA,
  END_HEADERS,
  END_STREAM,
  frame,
  frameUpstream,
  goaway,
  headers,
  HEADERS,
  PING,
  reset,
  type Frame,
  type FrameConnection,
} from "../support/h2-upstream.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { finalStatusOf, once, raw, resetConnection, statusOf } from "../support/raw.ts";

const NO_ERROR = 0;
const INTERNAL_ERROR = 2;
const REFUSED_STREAM = 7;
const CANCEL = 8;
const OK: readonly (readonly [string, string])[] = [[":status", "200"]];
const LENGTH_5: readonly (readonly [string, string])[] = [...OK, ["content-length", "5"]];
const GET = "GET / HTTP/1.1\nHost: x";

/** Calls `then` for the HEADERS of each request. */
function onRequest(then: (connection: FrameConnection, stream: number, request: Frame) => void) {
  return (connection: FrameConnection, frame: Frame): void => {
    if (frame.type === HEADERS) then(connection, frame.stream, frame);
  };
}

/** A whole answer. */
function good(stream: number, body = "good!"): Buffer {
  return Buffer.concat([headers(stream, LENGTH_5), frame(DATA, END_STREAM, stream, body)]);
}

async function startFor(url: string, route: object = {}): Promise<TestPlane> {
  return startPlane({ stable: url, canary: url }, route);
}

interface Fault {
  readonly does: string;
  readonly answers: (connection: FrameConnection, stream: number) => void;
  readonly counts: string;
  /** Of the answer; 0: a head was passed on, and what came behind it was cut. */
  readonly status: number;
}

const FAULTS: readonly Fault[] = [
  {
    does: "resets the stream",
    answers: (connection, stream) => connection.send(reset(stream, INTERNAL_ERROR)),
    counts: "reset",
    status: 502,
  },
  {
    does: "resets the stream without an error before any answer",
    answers: (connection, stream) => connection.send(reset(stream, NO_ERROR)),
    counts: "reset",
    status: 502,
  },
  {
    does: "closes the connection",
    answers: ({ socket }) => void socket.end(),
    counts: "reset",
    status: 502,
  },
  {
    does: "resets the connection",
    answers: ({ socket }) => resetConnection(socket),
    counts: "reset",
    status: 502,
  },
  {
    does: "closes after a 103 alone",
    answers(connection, stream) {
      connection.send(headers(stream, [[":status", "103"]]));
      connection.socket.end();
    },
    counts: "reset",
    status: 502,
  },
  {
    does: "ends with a 103 alone",
    answers: (connection, stream) =>
      connection.send(headers(stream, [[":status", "103"]], END_HEADERS | END_STREAM)),
    counts: "malformed",
    status: 502,
  },
  {
    does: "says 101",
    answers: (connection, stream) => connection.send(headers(stream, [[":status", "101"]])),
    counts: "malformed",
    status: 502,
  },
  {
    does: "says no status",
    answers: (connection, stream) => connection.send(headers(stream, [["x-a", "1"]])),
    counts: "malformed",
    status: 502,
  },
  {
    does: "says a status that is none",
    answers: (connection, stream) => connection.send(headers(stream, [[":status", "999"]])),
    counts: "malformed",
    status: 502,
  },
  {
    does: "sends a connection-specific field",
    answers: (connection, stream) =>
      connection.send(headers(stream, [...OK, ["transfer-encoding", "chunked"]])),
    counts: "malformed",
    status: 502,
  },
  {
    does: "sends a name with a capital",
    answers: (connection, stream) => connection.send(headers(stream, [...OK, ["X-A", "1"]])),
    counts: "malformed",
    status: 502,
  },
  {
    does: "sends two lengths",
    answers: (connection, stream) => connection.send(headers(stream, [...LENGTH_5, ["content-length", "6"]])),
    counts: "malformed",
    status: 502,
  },
  {
    does: "sends a body before a head",
    answers: (connection, stream) => connection.send(frame(DATA, END_STREAM, stream, "hello")),
    counts: "malformed",
    status: 502,
  },
  {
    does: "sends a frame of the wrong size",
    answers: (connection) => connection.send(frame(PING, 0, 0, "short")),
    counts: "malformed",
    status: 502,
  },
  {
    does: "breaks the field compression",
    answers: (connection, stream) =>
      connection.send(frame(HEADERS, END_HEADERS, stream, "\xff\xff\xff\xff\xff")),
    counts: "malformed",
    status: 502,
  },
  {
    does: "sends something that is not HTTP/2",
    answers: (connection) =>
      connection.send(Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".repeat(9))),
    counts: "malformed",
    status: 502,
  },
  {
    does: "goes away with an error",
    answers: (connection, stream) => connection.send(goaway(stream, INTERNAL_ERROR)),
    counts: "reset",
    status: 502,
  },
  {
    does: "resets inside the body",
    answers: (connection, stream) =>
      connection.send(headers(stream, OK), frame(DATA, 0, stream, "he"), reset(stream, INTERNAL_ERROR)),
    counts: "cut",
    status: 0,
  },
  {
    does: "resets without an error inside the body",
    answers: (connection, stream) =>
      connection.send(headers(stream, OK), frame(DATA, 0, stream, "he"), reset(stream, NO_ERROR)),
    counts: "cut",
    status: 0,
  },
  {
    does: "cancels behind the head",
    answers: (connection, stream) => connection.send(headers(stream, OK), reset(stream, CANCEL)),
    counts: "cut",
    status: 0,
  },
  {
    does: "closes inside the body",
    answers(connection, stream) {
      connection.send(headers(stream, OK), frame(DATA, 0, stream, "he"));
      connection.socket.end();
    },
    counts: "cut",
    status: 0,
  },
  {
    does: "goes away in order and closes inside the body",
    answers(connection, stream) {
      connection.send(headers(stream, OK), frame(DATA, 0, stream, "he"), goaway(stream, NO_ERROR));
      connection.socket.end();
    },
    counts: "cut",
    status: 0,
  },
  {
    does: "sends less than it said",
    answers: (connection, stream) =>
      connection.send(headers(stream, LENGTH_5), frame(DATA, END_STREAM, stream, "hell")),
    counts: "cut",
    status: 0,
  },
  {
    does: "sends more than it said",
    answers: (connection, stream) =>
      connection.send(
        headers(stream, LENGTH_5),
        frame(DATA, 0, stream, "hell"),
        frame(DATA, END_STREAM, stream, "o!"),
      ),
    counts: "cut",
    status: 0,
  },
  {
    does: "sends a body behind 204",
    answers: (connection, stream) =>
      connection.send(headers(stream, [[":status", "204"]]), frame(DATA, END_STREAM, stream, "hello")),
    counts: "cut",
    status: 0,
  },
  {
    does: "sends a second head",
    answers: (connection, stream) =>
      connection.send(headers(stream, OK), headers(stream, OK), frame(DATA, END_STREAM, stream, "hello")),
    counts: "cut",
    status: 0,
  },
  {
    does: "sends pseudo-fields in its trailers",
    answers: (connection, stream) =>
      connection.send(headers(stream, OK), headers(stream, [[":status", "200"]], END_HEADERS | END_STREAM)),
    counts: "cut",
    status: 0,
  },
];

void t.test(
  "each fault of an upstream is a failure of its kind, once, and never a whole answer (reliability 17, 18, 19, 20)",
  async (t) => {
    for (const { does, answers, counts, status } of FAULTS) {
      const server = await frameUpstream(onRequest(answers));
      const running = await startFor(server.url);
      for (const [nth, head] of [GET, `POST / HTTP/1.1\nHost: x\nContent-Length: 3`].entries()) {
        const text = await once(running.address, head, nth === 0 ? "" : "abc");
        if (status > 0) t.equal(finalStatusOf(text), status, `${does}: ${head}`);
        // A head may be passed on or not, but its end never is.
        else t.notMatch(text, /\r\n0\r\n\r\n$|hello/, `${does}: ${head}`);
      }
      const totals = await running.settled((now) => now.settled === 2);
      t.strictSame(totals.counts, { [`stable ${counts}`]: 2 }, does);
      t.equal(server.connections.flatMap((each) => each.got(HEADERS)).length, 2, `${does}: sent once`);
      await running.plane.close();
      await server.close();
    }
  },
);

void t.test(
  "a value that is illegal never reaches the client; nghttp2 leaves such a field out (reliability 18)",
  async (t) => {
    const fields = [...LENGTH_5, ["x-a", "1\r\nx-evil: 2"], ["x-b", "\x01"], ["x-c", "3"]] as const;
    const server = await frameUpstream(
      onRequest((connection, stream) =>
        connection.send(headers(stream, fields), frame(DATA, END_STREAM, stream, "hello")),
      ),
    );
    const running = await startFor(server.url);
    const text = await once(running.address, GET);
    t.match(text, /^HTTP\/1\.1 200 OK\r\n[^]*x-c: 3\r\n[^]*\r\n\r\nhello$/);
    t.notMatch(text, /x-evil|x-a|x-b/);
    await running.plane.close();
    await server.close();
  },
);

void t.test(
  "what the upstream did not look at is sent once more elsewhere, whatever the method (reliability 13)",
  async (t) => {
    const body = "b".repeat(10_000);
    for (const refuse of [
      (connection: FrameConnection, stream: number) => connection.send(reset(stream, REFUSED_STREAM)),
      (connection: FrameConnection) => connection.send(goaway(0, NO_ERROR)),
      (connection: FrameConnection) => connection.send(goaway(0, INTERNAL_ERROR)),
    ])
      for (const head of [GET, `POST / HTTP/1.1\nHost: x\nContent-Length: ${body.length}`]) {
        const server = await frameUpstream(
          onRequest((connection, stream) => {
            if (connection.nth === 1) refuse(connection, stream);
          }),
        );
        const running = await startFor(server.url);
        const answered = once(running.address, head, head === GET ? "" : body);
        await server.until(() => server.connections[1]?.frames.some(isLast) === true);
        const [first, second] = server.connections;
        second?.send(good(second.got(HEADERS)[0]?.stream ?? 0));
        t.match(await answered, /^HTTP\/1\.1 200 [^]*good!$/);
        const sent = second?.got(DATA).map(({ payload }) => payload.toString()) ?? [];
        t.equal(sent.join(""), head === GET ? "" : body);
        t.equal(first?.got(HEADERS).length, 1);
        t.equal(server.connections.length, 2);
        t.match(await running.settled((now) => now.settled === 1), { counts: { "stable ok": 1 } });
        await running.plane.close();
        await server.close();
      }
  },
);

void t.test(
  "what is refused twice, or was refused with a body that is not held, is a failure (reliability 13)",
  async (t) => {
    const server = await frameUpstream(
      onRequest((connection, stream) => connection.send(reset(stream, REFUSED_STREAM))),
    );
    const running = await startFor(server.url);
    t.equal(statusOf(await once(running.address, GET)), 502);
    t.equal(server.connections.length, 2);
    server.script = (connection, { type, stream }) => {
      if (type === DATA && connection.got(DATA).length === 2) connection.send(reset(stream, REFUSED_STREAM));
    };
    const client = await raw(running.address);
    client.send(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n${"b".repeat(40_000)}`);
    t.equal(statusOf((await client.closed()).text), 502);
    t.equal(server.connections.flatMap((each) => each.got(HEADERS)).length, 3);
    t.strictSame((await running.settled((now) => now.settled === 2)).counts, { "stable reset": 2 });
    await running.plane.close();
    await server.close();
  },
);

void t.test(
  "a kept connection that dies under a request: GET is sent once more, POST is not (reliability 12, 13)",
  async (t) => {
    for (const [method, status, count] of [
      ["GET", 200, "stable ok"],
      ["POST", 502, "stable reset"],
    ] as const)
      for (const end of [
        ({ socket }: FrameConnection) => void socket.end(),
        ({ socket }: FrameConnection) => resetConnection(socket),
      ]) {
        const server = await frameUpstream(
          onRequest((connection, stream) => {
            if (connection.nth === 1 && stream > 1) end(connection);
            else connection.send(good(stream));
          }),
        );
        const running = await startFor(server.url);
        t.equal(statusOf(await once(running.address, GET)), 200);
        t.equal(statusOf(await once(running.address, `${method} / HTTP/1.1\nHost: x`)), status, method);
        t.equal(server.connections.length, method === "GET" ? 2 : 1);
        const { counts } = await running.settled((now) => now.settled === 2);
        t.strictSame(counts, count === "stable ok" ? { "stable ok": 2 } : { "stable ok": 1, [count]: 1 });
        await running.plane.close();
        await server.close();
      }
  },
);

void t.test(
  "an idle connection that closes, or goes away, as it is used again costs no request (reliability 12)",
  async (t) => {
    let nth = 0;
    const server = await frameUpstream(
      onRequest((connection, stream) => {
        connection.send(good(stream));
        if (nth++ % 3 === 0) connection.socket.end();
        else if (nth % 3 === 1) connection.send(goaway(stream, NO_ERROR));
        else connection.socket.destroySoon();
      }),
    );
    const running = await startFor(server.url);
    const client = await raw(running.address);
    for (let count = 1; count <= 300; count++) {
      client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      await client.until((text) => text.split("good!").length > count);
    }
    t.notMatch(client.received, /HTTP\/1\.1 5/);
    t.strictSame((await running.settled((now) => now.settled === 300)).counts, { "stable ok": 300 });
    client.destroy();
    await running.plane.close();
    await server.close();
  },
);

/** Whether a frame ends a request. */
function isLast({ type, flags }: Frame): boolean {
  return (type === DATA || type === HEADERS) && (flags & END_STREAM) !== 0;
}
