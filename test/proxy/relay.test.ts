/** Pooling, streaming, time-outs, aborts and cuts, on real sockets (reliability.md B12–B14, C17–C23, D24, E31). */

import { readdirSync } from "node:fs";
import { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { inEveryLane } from "../support/lanes.ts";
import { bodyOf, once, raw, resetConnection, statusOf } from "../support/raw.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { NOBODY, reply, upstream, type Script, type Upstream } from "../support/upstream.ts";

const GET = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

async function pair(
  script: string | Script,
  route: object = {},
): Promise<{ server: Upstream; running: TestPlane }> {
  const server = await upstream(script);
  return { server, running: await startPlane({ stable: server.url, canary: server.url }, route) };
}

async function stop({ server, running }: { server: Upstream; running: TestPlane }): Promise<void> {
  await running.plane.close();
  await server.close();
}

void inEveryLane(
  "many requests of one client go over one upstream connection (reliability 12)",
  async (t) => {
    const both = await pair(reply(200, "ok"));
    const client = await raw(both.running.address);
    for (let nth = 1; nth <= 20; nth++) {
      client.send(GET);
      await client.until((text) => text.split("\r\n\r\nok").length === nth + 1);
    }
    t.equal(both.server.requests.length, 20);
    t.equal(both.server.accepted, 1);
    client.destroy();
    await stop(both);
  },
);

void inEveryLane(
  "above the connection cap exchanges wait in order, and above the queue they are 503 and no evidence (reliability 25, 33)",
  async (t) => {
    const held: Socket[] = [];
    const server = await upstream((socket) => void held.push(socket));
    const arm = { endpoints: [server.url], connections: 1, queue: 2 };
    const running = await startPlane({ stable: server.url, canary: server.url }, { stable: arm });
    const first = await raw(running.address);
    first.send(GET);
    const waiting = [await raw(running.address), await raw(running.address)];
    for (const client of waiting) client.send(GET);
    await running.settled(() => running.plane.gauges().routes["app"]?.stable.inFlight === 3);
    const over = await once(running.address, "GET / HTTP/1.1\nHost: x");
    t.equal(statusOf(over), 503);
    t.match(over, /SPLIT_OVERLOADED/);
    server.script = (socket) => void socket.write(reply(200, "ok"));
    await running.settled(() => held.length === 1);
    held[0]?.write(reply(200, "ok"));
    for (const client of [first, ...waiting]) t.equal(statusOf(await client.until(/ok$/)), 200);
    t.equal(server.accepted, 1);
    const totals = await running.settled((now) => now.settled === 4);
    t.strictSame(totals.counts, { "stable ok": 3, "stable unavailable": 1 });
    for (const client of [first, ...waiting]) client.destroy();
    await stop({ server, running });
  },
);

void inEveryLane(
  "a dead reused connection is not the arm's failure: GET and a held PUT are sent once more, POST is not (reliability 13)",
  async (t) => {
    const both = await pair(reply(200, "ok"));
    for (const [method, status] of [
      ["GET", 200],
      ["POST", 502],
      ["DELETE", 200],
    ] as const) {
      both.server.script = (socket) => void socket.write(reply(200, "ok"));
      await once(both.running.address, "GET / HTTP/1.1\nHost: x");
      // The reused connection dies with the request on it.
      both.server.script = (socket, seen) => {
        if (seen.nth > 0) socket.destroy();
        else socket.write(reply(200, "ok"));
      };
      const text = await once(both.running.address, `${method} / HTTP/1.1\nHost: x`);
      t.equal(statusOf(text), status, method);
    }
    const totals = await both.running.settled((now) => now.settled === 6);
    t.strictSame(totals.counts, { "stable ok": 5, "stable reset": 1 });
    await stop(both);
  },
);

void inEveryLane(
  "a fresh connection that dies is the arm's failure, and nothing is sent twice (reliability 13, 33)",
  async (t) => {
    const both = await pair((socket) => void socket.destroy());
    t.equal(statusOf(await once(both.running.address, "GET / HTTP/1.1\nHost: x")), 502);
    t.equal(both.server.requests.length, 1);
    t.strictSame((await both.running.settled((now) => now.settled === 1)).counts, { "stable reset": 1 });
    await stop(both);
  },
);

void inEveryLane(
  "100 MB either way is streamed with back-pressure, and comes through whole (reliability 24)",
  async (t) => {
    const size = 100 * 1024 * 1024;
    const server = await upstream("");
    server.onConnection = (socket) => {
      let bytes = 0;
      let head = 0;
      socket.on("data", (chunk: Buffer) => {
        if (head === 0) head = chunk.indexOf("\r\n\r\n") + 4;
        bytes += chunk.length;
        if (bytes !== head + size) return;
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
        const piece = Buffer.alloc(64 * 1024, "z");
        let left = size / piece.length;
        const more = (): void => {
          while (left > 0) {
            left--;
            if (!socket.write(piece)) {
              socket.once("drain", more);
              return;
            }
          }
        };
        more();
      });
    };
    const running = await startPlane({ stable: server.url, canary: server.url });
    const client = await raw(running.address);
    client.socket.removeAllListeners("data");
    let got = 0;
    const whole = new Promise<void>((resolve) => {
      client.socket.on("data", (chunk: Buffer) => {
        got += chunk.length;
        if (got > size) resolve();
      });
    });
    client.send(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${size}\r\n\r\n`);
    const piece = Buffer.alloc(1024 * 1024, "a");
    for (let left = size / piece.length; left > 0; left--)
      if (!client.socket.write(piece)) await new Promise((resolve) => client.socket.once("drain", resolve));
    await whole;
    t.ok(got > size);
    t.strictSame((await running.settled((now) => now.settled === 1)).counts, { "stable ok": 1 });
    client.destroy();
    await stop({ server, running });
  },
);

void inEveryLane(
  "a client that does not read stops the upstream, instead of filling the proxy (reliability 24)",
  async (t) => {
    let written = 0;
    let blocked = false;
    const both = await pair((socket) => {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 300000000\r\n\r\n");
      const piece = Buffer.alloc(64 * 1024);
      const more = (): void => {
        blocked = false;
        while (written < 300_000_000) {
          written += piece.length;
          if (!socket.write(piece)) {
            blocked = true;
            socket.once("drain", more);
            return;
          }
        }
      };
      more();
    });
    const client = await raw(both.running.address);
    client.socket.pause();
    client.send(GET);
    let before = -1;
    let same = 0;
    // Quiet for a while: nothing moves any more.
    await both.running.settled(() => {
      same = blocked && written === before ? same + 1 : 0;
      before = written;
      return same > 50;
    });
    t.ok(written < 30_000_000, `${written} bytes left the upstream`);
    client.destroy();
    t.strictSame((await both.running.settled((now) => now.settled === 1)).counts, {
      "stable client_gone": 1,
    });
    await stop(both);
  },
);

const CUTS: readonly (readonly [string, string, boolean])[] = [
  ["inside a length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", false],
  ["inside a length, by reset", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", true],
  ["between chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", false],
  ["inside a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", false],
  ["between chunks, by reset", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", true],
  [
    "by garbage for a chunk",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
    false,
  ],
  ["until the end, by reset", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc", true],
];

void inEveryLane(
  "a response body that was cut stays cut, and is never completed or tried again (reliability 17, 33)",
  async (t) => {
    for (const [what, bytes, reset] of CUTS) {
      for (const version of ["1.1", "1.0"]) {
        const both = await pair((socket) => {
          socket.write(bytes);
          // The cut comes after the bytes were delivered.
          setTimeout(() => (reset ? resetConnection(socket) : socket.destroy()), 30);
        });
        const client = await raw(both.running.address);
        client.send(`GET / HTTP/${version}\r\nHost: x\r\nConnection: close\r\n\r\n`);
        const { text, error } = await client.closed();
        const complete =
          text.endsWith("\r\n0\r\n\r\n") ||
          (version === "1.0" && !/content-length/i.test(text) && error === "");
        t.notOk(complete, `${what} to HTTP/${version}: ${JSON.stringify(text)} ${error}`);
        const totals = await both.running.settled((now) => now.settled === 1);
        t.strictSame(totals.counts, { "stable cut": 1 }, what);
        t.equal(both.server.requests.length, 1);
        await stop(both);
      }
    }
  },
);

void inEveryLane(
  "an answer whose body is broken where it came with its head is no empty end: a 502 where nothing was sent, else a cut (reliability 17, 33)",
  async (t) => {
    const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n";
    for (const [what, bytes] of [
      ["garbage for the first chunk", `${chunked}\r\nZZ\r\n`],
      ["a length behind the last chunk", `${chunked}\r\n5\r\nabcde\r\n0\r\nContent-Length: 9\r\n\r\n`],
      ["a head that is composed anew", `${chunked}Connection: x\r\nX: y\r\n\r\n5\r\nabcde\r\nZZ\r\n`],
    ] as const) {
      const both = await pair((socket) => void socket.write(bytes));
      const client = await raw(both.running.address);
      client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      await client.until(/HTTP\/1\.1 (?:502[^]*\}|200)/);
      if (statusOf(client.received) === 200) t.notMatch((await client.closed()).text, /0\r\n\r\n/, what);
      else {
        // It is an answer like any other: the connection goes on.
        both.server.script = (socket) => void socket.write(reply(200, "ok"));
        client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        t.match((await client.closed()).text, /502[^]*\}HTTP\/1\.1 200 [^]*ok$/, what);
      }
      t.equal((await both.running.settled((now) => now.settled > 0)).counts["stable cut"], 1, what);
      await stop(both);
    }
  },
);

const MALFORMED: readonly (readonly [string, string])[] = [
  ["garbage", "garbage\r\n\r\n"],
  ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na"],
  [
    "a length and chunks",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  ],
  ["chunked twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"],
  ["an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"],
  ["status 700", "HTTP/1.1 700 X\r\nContent-Length: 0\r\n\r\n"],
  ["a 101 that nobody asked for", "HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"],
  ["a control byte in a value", "HTTP/1.1 200 OK\r\nA: b\x01\r\nContent-Length: 0\r\n\r\n"],
  [
    "a field smuggled behind a bare LF",
    "HTTP/1.1 200 OK\r\nA: b\nSet-Cookie: evil=1\r\nContent-Length: 0\r\n\r\n",
  ],
  [
    "a field smuggled behind a bare CR",
    "HTTP/1.1 200 OK\r\nA: b\rSet-Cookie: evil=1\r\nContent-Length: 0\r\n\r\n",
  ],
  ["a folded field", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n"],
  ["a NUL in a value", "HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 0\r\n\r\n"],
  ["a head without end", `HTTP/1.1 200 OK\r\nA: ${"b".repeat(100_000)}`],
];

void inEveryLane(
  "a response that is not HTTP is a 502, counts as malformed, and its connection is gone (reliability 12, 18, 19, 21, 33)",
  async (t) => {
    for (const [what, bytes] of MALFORMED) {
      const both = await pair((socket) => void socket.write(bytes, "latin1"));
      t.equal(statusOf(await once(both.running.address, "GET / HTTP/1.1\nHost: x")), 502, what);
      t.strictSame(
        (await both.running.settled((now) => now.settled === 1)).counts,
        { "stable malformed": 1 },
        what,
      );
      await both.running.settled(() => both.server.sockets.size === 0);
      await stop(both);
    }
  },
);

void inEveryLane(
  "HEAD, 204 and 304 have no body, and excess bytes reach neither this nor a later client (reliability 19, 20)",
  async (t) => {
    const both = await pair((socket, seen) => {
      if (seen.target === "/head") socket.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
      else if (seen.target === "/204") socket.write("HTTP/1.1 204 X\r\n\r\n");
      else if (seen.target === "/304") socket.write("HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n");
      else socket.write(`${reply(200, "good")}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`);
    });
    const client = await raw(both.running.address);
    client.send(
      "HEAD /head HTTP/1.1\r\nHost: x\r\n\r\nGET /204 HTTP/1.1\r\nHost: x\r\n\r\nGET /304 HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    client.send("GET /excess HTTP/1.1\r\nHost: x\r\n\r\nGET /excess HTTP/1.1\r\nHost: x\r\n\r\n");
    const text = await client.until(/good[^]*good$/);
    t.match(text, /200 OK\r\n(?:.+\r\n)*Content-Length: 5\r\n(?:.+\r\n)*\r\nHTTP\/1\.1 204/);
    t.match(text, /304 X\r\n(?:.+\r\n)*Content-Length: 9\r\n/);
    t.notMatch(text, /evil/);
    client.destroy();
    t.strictSame((await both.running.settled((now) => now.settled === 5)).counts, { "stable ok": 5 });
    await stop(both);
  },
);

void inEveryLane(
  "103 is passed on before the answer, and trailers behind it (reliability 4, 21)",
  async (t) => {
    const both = await pair(
      "HTTP/1.1 103 Early Hints\r\nX-Hint: caf\xe9\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nHost: evil\r\nSet-Cookie: a=1\r\n\r\n",
    );
    const client = await raw(both.running.address);
    client.send(GET);
    const text = await client.until(/0\r\n(?:.+\r\n)*\r\n$/);
    t.match(text, /^HTTP\/1\.1 103 [^]*Link: <\/a\.css>; rel=preload[^]*HTTP\/1\.1 200 OK/);
    t.match(text, /0\r\nX-Sum: 1\r\n\r\n$/);
    if ("writeInformation" in ServerResponse.prototype)
      t.match(text, /103 [^]*X-Hint: caf\xe9\r\n[^]*200 OK/);
    client.destroy();
    await stop(both);
  },
);

void inEveryLane("an event is passed on when it comes, head first (reliability 22)", async (t) => {
  let stream: Socket | undefined;
  const both = await pair((socket) => {
    stream = socket;
    socket.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Latin: \xe9\r\n\r\n", "latin1");
  });
  const client = await raw(both.running.address);
  client.send(GET);
  await client.until(/X-Latin: \xe9\r\n(?:.+\r\n)*\r\n$/);
  t.equal(both.running.plane.gauges().routes["app"]?.stable.longLived, 1);
  stream?.write("data: 1\n\n");
  await client.until(/data: 1\n\n/);
  client.destroy();
  await both.running.settled(() => both.server.sockets.size === 0);
  t.equal(both.running.plane.gauges().routes["app"]?.stable.longLived, 0);
  await stop(both);
});

void inEveryLane(
  "a silent upstream is 504, one that nobody listens at 502, one that stops in its body a cut (reliability 14, 33)",
  async (t) => {
    const timeouts = { timeouts: { connect: "100ms", headers: "60ms", idle: "60ms" } };
    const silent = await pair(() => undefined, timeouts);
    t.equal(statusOf(await once(silent.running.address, "GET / HTTP/1.1\nHost: x")), 504);
    const totals = await silent.running.settled((now) => now.settled === 1);
    t.strictSame(totals.counts, { "stable timeout": 1 });
    t.strictSame(totals.latencies, { "stable failures": 1 }, "a time-out enters at the time that had passed");
    await stop(silent);
    const gone = NOBODY;
    const dead = await startPlane({ stable: gone, canary: gone }, timeouts);
    t.equal(statusOf(await once(dead.address, "GET / HTTP/1.1\nHost: x")), 502);
    t.strictSame((await dead.settled((now) => now.settled === 1)).counts, { "stable connect": 1 });
    await dead.plane.close();
    const stuck = await pair("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", timeouts);
    t.equal(bodyOf(await once(stuck.running.address, "GET / HTTP/1.1\nHost: x")), "abc");
    t.strictSame((await stuck.running.settled((now) => now.settled === 1)).counts, { "stable cut": 1 });
    await stop(stuck);
    const total = await pair(
      (socket) => {
        socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        const timer = setInterval(() => socket.write("1\r\na\r\n"), 10);
        socket.on("close", () => clearInterval(timer));
      },
      { timeouts: { total: "150ms" } },
    );
    t.notMatch(await once(total.running.address, "GET / HTTP/1.1\nHost: x"), /\r\n0\r\n\r\n$/);
    t.strictSame((await total.running.settled((now) => now.settled === 1)).counts, { "stable cut": 1 });
    await stop(total);
  },
);

void inEveryLane(
  "a client that leaves, or closes its side, ends its upstream request at once, and counts against nobody (reliability 31, 33)",
  async (t) => {
    for (const [bytes, isWhole] of [
      [GET, true],
      ["POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", true],
      ["POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", true],
      ["POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", false],
    ] as const) {
      for (const leave of [
        (socket: Socket) => socket.destroy(),
        resetConnection,
        (socket: Socket) => socket.end(),
      ]) {
        let body = "";
        const server = await upstream("");
        const arrived = new Promise<void>((resolve) => {
          server.onConnection = (socket) => {
            socket.on("data", (chunk: Buffer) => {
              body += chunk.toString("latin1");
              if (body.includes("abc") || bytes === GET) resolve();
            });
          };
        });
        const running = await startPlane({ stable: server.url, canary: server.url });
        const client = await raw(running.address);
        client.send(bytes);
        await arrived;
        const closed = new Promise<void>((resolve) => (server.onClose = resolve));
        leave(client.socket);
        await closed;
        if (!isWhole) t.notMatch(body, /\r\n0\r\n\r\n$/, "a body that the client cut is never ended");
        t.strictSame((await running.settled((now) => now.settled === 1)).counts, { "stable client_gone": 1 });
        await stop({ server, running });
      }
    }
  },
);

void inEveryLane(
  "an answer before the whole body ends the upstream connection, and is no sample of latency (reliability 12, 33)",
  async (t) => {
    const server = await upstream("");
    server.onConnection = (socket) => socket.once("data", () => socket.write(reply(413, "no")));
    const running = await startPlane({ stable: server.url, canary: server.url });
    const client = await raw(running.address);
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc");
    await client.until(/413[^]*no$/);
    const totals = await running.settled((now) => now.settled === 1);
    t.strictSame(totals.counts, { "stable ok": 1 });
    t.strictSame(totals.latencies, {});
    await running.settled(() => server.sockets.size === 0);
    client.destroy();
    await stop({ server, running });
  },
);

void inEveryLane(
  "an answer that is cut while its client's end is under way leaves no descriptor behind (reliability 17, 30)",
  async (t) => {
    const server = await upstream("");
    server.onConnection = (socket) => socket.once("data", () => socket.write("HTTP/1.1 200 OK\r\n\r\nabc"));
    const running = await startPlane({ stable: server.url, canary: server.url });
    const files = (): number => readdirSync("/proc/self/fd").length;
    const before = files();
    for (let round = 0; round < 20; round++) {
      const clients = await Promise.all(Array.from({ length: 10 }, async () => raw(running.address)));
      for (const client of clients) client.send("GET / HTTP/1.0\r\n\r\n");
      await Promise.all(clients.map(async (client) => client.until(/abc$/)));
      // Both come in one turn of the loop, in either order.
      for (const client of clients) client.socket.end();
      if (round % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
      for (const socket of server.sockets) resetConnection(socket);
      await Promise.all(clients.map(async (client) => client.closed()));
    }
    await running.settled((now) => now.settled === 200 && files() <= before + 2);
    t.pass("all are closed");
    await stop({ server, running });
  },
);
