/**
 * When an upstream's connection is used again, when a request is sent again, how long is waited for what, and what an abort ends
 * (reliability.md B12–B14, E31).
 */

import type { Socket } from "node:net";
import type { Test } from "tap";
import { deafAddress } from "../support/deaf.ts";
import { inEveryLane } from "../support/lanes.ts";
import { startPlane } from "../support/plane.ts";
import { bodyOf, once, raw, resetConnection, statusOf } from "../support/raw.ts";
import { NOBODY, reply, upstream, type Script } from "../support/upstream.ts";

const GET = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const GOOD: Script = (socket, seen) => void socket.write(reply(200, seen.method === "HEAD" ? "" : "good"));

async function stand(t: Test, route: object = {}, top: object = {}) {
  const server = await upstream(GOOD);
  const running = await startPlane({ stable: server.url, canary: server.url }, route, top);
  t.teardown(async () => {
    await running.plane.close();
    await server.close();
  });
  return { server, running, address: running.address };
}

/** What a connection goes through, by what makes it unfit for another request. */
const TAINTS: readonly (readonly [string, Script])[] = [
  ["Connection: close", (socket) => void socket.write(reply(200, "good", "Connection: close\r\n"))],
  [
    "CONNECTION: CLOSE",
    (socket) => void socket.write(reply(200, "good", "CONNECTION: keep-alive, CLOSE\r\n")),
  ],
  ["HTTP/1.0", (socket) => void socket.write(reply(200, "good").replace("HTTP/1.1", "HTTP/1.0"))],
  ["an end soon", (socket) => void socket.write(reply(200, "good", "Keep-Alive: timeout=1\r\n"))],
  ["a body until the end", (socket) => void socket.end("HTTP/1.1 200 X\r\n\r\ngood")],
  ["an end when idle", (socket) => void socket.end(reply(200, "good"))],
  [
    "a reset when idle",
    (socket) => void socket.write(reply(200, "good"), () => setImmediate(() => resetConnection(socket))),
  ],
];

void inEveryLane(
  "a connection is used again when all is read and written and nobody said close, and never otherwise (reliability 12)",
  async (t) => {
    const { server, running, address } = await stand(t);
    const client = await raw(address);
    const ask = async (wanted: RegExp): Promise<void> => {
      const from = client.received.length;
      client.send(GET);
      await client.until((text) => wanted.test(text.slice(from)));
    };
    for (const answer of [
      reply(200, "good"),
      reply(200, "good", "Connection: keep-alive\r\nKeep-Alive: timeout=60\r\n"),
    ]) {
      server.script = (socket) => void socket.write(answer);
      await ask(/good$/);
    }
    t.equal(server.accepted, 1);
    for (const [what, script] of TAINTS) {
      server.script = script;
      await ask(/good(?:\r\n0\r\n\r\n)?$/);
      // An end when idle is on its way; the proxy sees the others in the answer itself.
      if (what.endsWith("when idle")) await running.settled(() => server.sockets.size === 0);
      server.script = (socket, seen) => void socket.write(reply(200, `nth ${seen.nth}`));
      await ask(/nth \d$/);
      t.match(client.received, /nth 0$/, what);
    }
    client.destroy();
  },
);

void inEveryLane(
  "a connection on which either side stopped half way is not used again, and what it still brings is nobody's (reliability 12, 31)",
  async (t) => {
    const { server, running, address } = await stand(t);
    const cuts: readonly (readonly [string, string, string])[] = [
      ["in the answer", GET, "HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nhalf"],
      ["before the answer", GET, ""],
      ["in the request", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf", ""],
      ["in a chunked request", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha", ""],
    ];
    for (const [nth, [what, request, answer]] of cuts.entries()) {
      const arrived = new Promise<void>((resolve) => {
        server.onConnection = (socket) =>
          void socket.once("data", () => {
            socket.write(answer);
            resolve();
          });
      });
      const client = await raw(address);
      client.send(request);
      await arrived;
      if (answer !== "") await client.until(/half$/);
      client.destroy();
      await running.settled((now) => now.settled === 2 * nth + 1 && server.sockets.size === 0);
      server.onConnection = undefined;
      server.script = (socket, seen) => void socket.write(reply(200, `nth ${seen.nth}`));
      t.equal(bodyOf(await once(address, "GET / HTTP/1.1\nHost: x\nConnection: close")), "nth 0", what);
      await running.settled((now) => now.settled === 2 * nth + 2);
      for (const socket of server.sockets) socket.destroy();
    }
    t.strictSame(running.measured().counts, { "stable client_gone": 4, "stable ok": 4 });
  },
);

const AGAIN = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"];
const NEVER_AGAIN = ["POST", "PATCH", "PROPFIND"];

void inEveryLane(
  "what a dead kept connection took is sent once more if the method allows, on the same arm, and never after a byte of an answer (reliability 13)",
  async (t) => {
    const stable = await upstream(reply(200, "stable"));
    const { server, running, address } = await stand(t, {
      stable: { endpoints: [stable.url] },
      rescue: "off",
    });
    t.teardown(() => stable.close());
    running.weight(100);
    // By the same method: it decides in which lane a connection is kept.
    const warm = async (method: string): Promise<void> => {
      server.script = GOOD;
      t.equal(statusOf(await once(address, `${method} / HTTP/1.1\nHost: x\nX-User: u`)), 200);
    };
    let asked = 0;
    const deaths: readonly (readonly [string, Script, boolean])[] = [
      ["closed", (socket) => void socket.destroy(), true],
      ["reset", resetConnection, true],
      ["one byte, closed", (socket) => void socket.end("H"), false],
      ["a hint, closed", (socket) => void socket.end("HTTP/1.1 103 X\r\n\r\n"), false],
      ["a head, closed", (socket) => void socket.end("HTTP/1.1 200 X\r\nContent-Length: 5\r\n"), false],
    ];
    for (const method of [...AGAIN, ...NEVER_AGAIN]) {
      for (const [what, die, isRetried] of deaths) {
        await warm(method);
        const before = server.requests.length;
        server.script = (socket, seen) => (seen.nth > 0 ? die(socket, seen) : GOOD(socket, seen));
        const text = await once(address, `${method} / HTTP/1.1\nHost: x\nX-User: u`);
        const isFine = isRetried && AGAIN.includes(method);
        t.equal(statusOf(text.slice(text.lastIndexOf("HTTP/1.1"))), isFine ? 200 : 502, `${method}, ${what}`);
        t.equal(server.requests.length - before, isFine ? 2 : 1, `${method}, ${what}`);
        asked += 2;
        // A minute later, so that the budget is never what decides.
        running.advance(60_000);
      }
    }
    t.equal(stable.requests.length, 0, "the other arm saw nothing of it");
    const { events } = await running.settled((now) => now.settled === asked);
    t.equal(events["canary retried"], AGAIN.length * 2);
  },
);

void inEveryLane(
  "sent once more and lost again it is a 502; it is not sent for a client that has left, nor beyond the budget (reliability 13)",
  async (t) => {
    const { server, running, address } = await stand(t, { retry: { budget: "1%" } });
    const ask = async (): Promise<number> => statusOf(await once(address, "GET / HTTP/1.1\nHost: x"));
    t.equal(await ask(), 200);
    server.script = (socket) => void socket.destroy();
    t.equal(await ask(), 502);
    t.equal(server.requests.length, 3, "twice, and no more");
    server.script = GOOD;
    t.equal(await ask(), 200);
    let die: () => void = () => undefined;
    const arrived = new Promise<void>((resolve) => {
      server.script = (socket) => {
        die = () => void socket.destroy();
        resolve();
      };
    });
    const leaves = await raw(address);
    leaves.send(GET);
    await arrived;
    leaves.destroy();
    await running.settled((now) => now.settled === 4);
    die();
    const before = server.requests.length;
    running.advance(60_000);
    let retried = 0;
    for (let nth = 0; nth < 15; nth++) {
      server.script = GOOD;
      t.equal(await ask(), 200);
      server.script = (socket, seen) => (seen.nth > 0 ? void socket.destroy() : GOOD(socket, seen));
      if ((await ask()) === 200) retried++;
    }
    t.equal(retried, 10, "ten always may");
    t.equal(server.requests.length - before, 30 + 10);
    t.equal(running.measured().events["stable retry_refused"], 5);
  },
);

void inEveryLane(
  "a request whose connection never opened goes to another endpoint, whatever its method; if there is none it is a 502 (reliability 13)",
  async (t) => {
    const { server, running, address } = await stand(t);
    running.reconfigure({
      stable: { endpoints: [NOBODY, server.url], outlier: "off" },
      retry: { budget: "100%" },
    });
    const asked = Array.from(
      { length: 12 },
      (_, nth) => `${nth % 2 === 0 ? "POST" : "PATCH"} / HTTP/1.1\nHost: x`,
    );
    for (const head of asked)
      t.equal(statusOf(await once(address, `${head}\nContent-Length: 5`, "hello")), 200);
    t.ok(server.requests.every(({ body }) => body === "hello"));
    t.equal(server.requests.length, asked.length);
    running.reconfigure({ stable: { endpoints: [NOBODY] } });
    t.equal(statusOf(await once(address, "POST / HTTP/1.1\nHost: x")), 502);
  },
);

void inEveryLane(
  "each wait has its time: a connection, the first byte, a body either way; and an answer that makes progress is not cut (reliability 14)",
  async (t) => {
    const deaf = await deafAddress();
    t.teardown(() => deaf.close());
    const times = { connect: "300ms", headers: "300ms", idle: "400ms" };
    const { server, running, address } = await stand(t, { timeouts: times, retry: { budget: "0%" } });
    const gone = (): Promise<unknown> => running.settled(() => server.sockets.size === 0);
    server.script = () => undefined;
    t.equal(statusOf(await once(address, "GET / HTTP/1.1\nHost: x")), 504);
    await gone();
    server.script = (socket) => void socket.write("HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\nhalf");
    t.equal(bodyOf(await once(address, "GET / HTTP/1.1\nHost: x")), "half", "and cut");
    await gone();
    server.onConnection = (socket) => void socket.pause();
    const size = 20_000_000;
    const client = await raw(address);
    client.send(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${size}\r\n\r\n`);
    client.socket.write(Buffer.alloc(size, "a"));
    t.equal(statusOf(await client.until(/\}$/)), 504, "an upstream that takes nothing of a body");
    client.destroy();
    for (const socket of server.sockets) socket.destroy();
    server.onConnection = undefined;
    server.script = (socket) => {
      socket.write("HTTP/1.1 200 X\r\nContent-Length: 12\r\n\r\n");
      let left = 12;
      const timer = setInterval(() => {
        socket.write("a");
        if (--left === 0) clearInterval(timer);
      }, 80);
      socket.on("close", () => clearInterval(timer));
    };
    t.equal(
      bodyOf(await once(address, "GET / HTTP/1.1\nHost: x")),
      "a".repeat(12),
      "more than twice its idle time",
    );
    running.reconfigure({ stable: { endpoints: [deaf.url] }, timeouts: times });
    t.equal(statusOf(await once(address, "GET / HTTP/1.1\nHost: x")), 504);
    t.strictSame((await running.settled((now) => now.settled === 5)).counts, {
      "stable timeout": 2,
      "stable cut": 1,
      "stable ok": 1,
      "stable connect": 1,
    });
  },
);

void inEveryLane(
  "a client that leaves while its request waits in the queue or for a connection takes it along (reliability 31)",
  async (t) => {
    const deaf = await deafAddress();
    t.teardown(() => deaf.close());
    const { server, running, address } = await stand(t);
    running.reconfigure({ stable: { endpoints: [server.url], connections: 1 } });
    const held: Socket[] = [];
    server.script = (socket) => void held.push(socket);
    const inFlight = (count: number) =>
      running.settled(() => running.plane.gauges().routes["app"]?.stable.inFlight === count);
    const first = await raw(address);
    first.send(GET);
    await running.settled(() => held.length === 1);
    const waits = await raw(address);
    waits.send(GET);
    await inFlight(2);
    waits.destroy();
    await inFlight(1);
    server.script = GOOD;
    held[0]?.write(reply(200, "good"));
    await first.until(/good$/);
    first.send(GET);
    await first.until(/good[^]*good$/);
    t.equal(server.requests.length, 2, "nobody else's request was sent");
    running.reconfigure({ stable: { endpoints: [deaf.url] }, timeouts: { connect: "20s" } });
    const knocks = await raw(address);
    knocks.send(GET);
    await inFlight(1);
    knocks.destroy();
    await inFlight(0);
    t.strictSame(running.measured().counts, { "stable ok": 2, "stable client_gone": 2 });
    first.destroy();
  },
);
