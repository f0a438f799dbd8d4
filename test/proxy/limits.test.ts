/** What a client may ask for: connections, requests, pace, time (reliability.md 8, 15, 25, 26, 27, 32, 33). */

import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { test } from "tap";
import fc from "fast-check";
import { Addresses, addressWords, networkOf } from "../../src/proxy/addresses.ts";
import { inEveryLane } from "../support/lanes.ts";
import { HANDSHAKE, raw, statusOf, type RawClient } from "../support/raw.ts";
import { startPlane } from "../support/plane.ts";
import { pairOf } from "../support/tls.ts";
import { reply, upstream } from "../support/upstream.ts";

const GET = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const UNPLAIN = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: nothing\r\nConnection: Upgrade\r\n\r\n";
const SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/** A client from another address of this machine, which does not close by itself, and what it is answered. */
async function from(localAddress: string, address: string): Promise<{ text: () => string; socket: Socket }> {
  const port = Number(address.slice(address.lastIndexOf(":") + 1));
  const socket = connect({ host: "127.0.0.1", port, localAddress, allowHalfOpen: true });
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  socket.on("error", () => undefined);
  await new Promise((resolve) => socket.once("connect", resolve));
  return { text: () => text, socket };
}

async function answered(client: RawClient, request: string, nth: number): Promise<string> {
  client.send(request);
  return client.until((text) => text.split("\r\n\r\nok").length === nth + 1);
}

void inEveryLane(
  "above the limit of one address its next client is told 429 and others are served; a place is free again when one closes (reliability 25, 33)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      {},
      { limits: { perAddress: 2 } },
    );
    const first = await raw(running.address);
    await answered(first, GET, 1);
    const second = await raw(running.address);
    await answered(second, UNPLAIN, 1);
    const third = await raw(running.address);
    third.send(GET);
    const { text } = await third.closed();
    t.equal(statusOf(text), 429);
    t.match(text, /retry-after: 1\r\n[^]*too many connections from this address/i);
    const other = await from("127.0.0.2", running.address);
    other.socket.write(GET);
    await running.settled(() => other.text().endsWith("ok"));
    second.destroy();
    await running.settled(() => running.plane.gauges().connections === 2);
    const fourth = await raw(running.address);
    await answered(fourth, GET, 1);
    const totals = running.measured();
    t.strictSame(totals.events, { over_address: 1 });
    t.strictSame(totals.refused, { 429: 1 });
    t.strictSame(totals.counts, { "stable ok": 4 });
    for (const each of [first, fourth, other]) each.socket.destroy();
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "far above the limit of one address its clients are dropped unanswered (reliability 25)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      {},
      { limits: { perAddress: 1 } },
    );
    const clients = await Promise.all(Array.from({ length: 40 }, () => from("127.0.0.3", running.address)));
    await running.settled((totals) => totals.events["over_address"] === 39);
    await running.settled(() => clients.filter(({ text }) => statusOf(text()) === 429).length === 16);
    for (const { socket } of clients) socket.destroy();
    await running.settled(() => running.plane.gauges().connections === 0);
    const again = await from("127.0.0.3", running.address);
    again.socket.write(GET);
    await running.settled(() => statusOf(again.text()) === 200);
    again.socket.destroy();
    await running.plane.close();
    await server.close();
    t.pass("and the address is served again when its clients have gone");
  },
);

void inEveryLane(
  "a limit of one address that comes by a reload leaves the open connections out",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const arms = { stable: { endpoints: [server.url] }, canary: { endpoints: [server.url] } };
    const running = await startPlane({ stable: server.url, canary: server.url });
    const before = await raw(running.address);
    await answered(before, GET, 1);
    running.reconfigure(arms, { limits: { perAddress: 1 } });
    const counted = await raw(running.address);
    await answered(counted, GET, 1);
    before.destroy();
    await running.settled(() => running.plane.gauges().connections === 1);
    const over = await raw(running.address);
    t.equal(statusOf((await over.closed()).text), 429);
    counted.destroy();
    await running.plane.close();
    await server.close();
  },
);

void test("addresses are counted over all threads, never too low, and a dead thread's are taken out", async (t) => {
  const words = addressWords(3);
  const threads = [0, 1, 2].map((thread) => new Addresses(words, thread, 7));
  const open = fc.array(fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 30 })), {
    maxLength: 200,
  });
  fc.assert(
    fc.property(open, (events) => {
      const counts = new Map<number, number>();
      const places: [number, number][] = [];
      for (const [thread, host] of events) {
        const of = threads[thread]!;
        const place = of.placeOf(`10.0.0.${host}`);
        places.push([thread, place]);
        counts.set(host, (counts.get(host) ?? 0) + 1);
        if (of.enter(place) < counts.get(host)!) return false;
      }
      for (const [thread, place] of places) threads[thread]!.leave(place);
      return new Int32Array(words).every((word) => word === 0);
    }),
    { numRuns: 20 },
  );
  const [first, second] = [threads[0]!, threads[1]!];
  const place = first.placeOf("192.0.2.1");
  first.enter(place);
  first.enter(place);
  t.equal(second.enter(place), 3);
  first.clear();
  t.equal(second.enter(place), 2);
  t.not(new Addresses(words, 0, 8).placeOf("192.0.2.1"), place, "another seed, another place");
});

void test("of IPv6 a /64 counts as one address, however it is spelt", async (t) => {
  const same = ["2001:db8::1", "2001:db8:0:0:ffff::", "2001:0DB8:0000:0::9", "2001:db8::5:6:7:8%eth0"];
  for (const address of same) t.equal(networkOf(address), "2001:db8:0:0");
  t.equal(networkOf("::1"), "0:0:0:0");
  t.equal(networkOf("2001:db8:0:1::1"), "2001:db8:0:1");
  t.equal(networkOf("1::2:3:4:5:6"), "1:0:0:2");
  t.equal(networkOf("64:ff9b::192.0.2.1"), "64:ff9b:0:0");
  t.equal(networkOf("192.0.2.1"), "192.0.2.1");
});

void inEveryLane(
  "the last request that a connection may bring is answered with Connection: close, whichever lane had the others (reliability 25)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      {},
      { limits: { requests: 3 } },
    );
    for (const requests of [
      [GET, GET, GET],
      [GET, UNPLAIN, GET],
      [GET, GET, UNPLAIN],
    ]) {
      const client = await raw(running.address);
      for (const [nth, request] of requests.entries()) {
        const text = await answered(client, request, nth + 1);
        t.equal(/connection: close/i.test(text), nth === 2);
      }
      client.send(GET);
      t.equal((await client.closed()).text.split("HTTP/1.1 ").length, 4);
    }
    t.equal(server.requests.length, 9);
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "a client that sends requests ahead is not read on until one is answered, and then they all are, in order (reliability 8, 24)",
  async (t) => {
    const held: (() => void)[] = [];
    const server = await upstream((socket, seen) => {
      const answer = (): void => void socket.write(reply(200, `${seen.target}.`));
      if (seen.target === "/0") held.push(answer);
      else answer();
    });
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      {},
      { limits: { pipeline: 2 } },
    );
    const client = await raw(running.address);
    const pad = "p".repeat(10_000);
    const count = 1500;
    for (let nth = 0; nth < count; nth++)
      client.send(`GET /${nth} HTTP/1.1\r\nHost: x\r\nX-Pad: ${pad}\r\n\r\n`);
    await running.settled(() => held.length === 1);
    const other = await raw(running.address);
    // As many turns as it would take to read it all.
    for (let nth = 1; nth <= 200; nth++) {
      other.send("GET /other HTTP/1.1\r\nHost: x\r\n\r\n");
      await other.until((text) => text.split("/other.").length === nth + 1);
    }
    t.ok(client.socket.writableLength > 0, "the kernel's buffers are full");
    t.equal(server.requests.filter(({ target }) => target !== "/other").length, 1);
    held[0]?.();
    const text = await client.until((received) => received.includes(`/${count - 1}.`));
    t.strictSame(
      [...text.matchAll(/\r\n\r\n\/(\d+)\./g)].map((found) => Number(found[1])),
      Array.from({ length: count }, (_, nth) => nth),
    );
    client.destroy();
    other.destroy();
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "a body that trickles is 408 after its first 10 s, and no evidence (reliability 26, 33)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const running = await startPlane({ stable: server.url, canary: server.url });
    for (const framing of ["Content-Length: 100000", "Transfer-Encoding: chunked"]) {
      const piece = framing.startsWith("C") ? "x".repeat(100) : `64\r\n${"x".repeat(100)}\r\n`;
      const client = await raw(running.address);
      client.send(`POST / HTTP/1.1\r\nHost: x\r\n${framing}\r\n\r\n${piece}`);
      await running.settled(() => server.sockets.size === 1);
      const received = seenBy(server.sockets);
      await running.settled(() => received() >= 100);
      running.advance(9_000);
      client.send(piece);
      await running.settled(() => received() >= 200);
      running.advance(2_000);
      client.send(piece);
      const { text } = await client.closed();
      t.equal(statusOf(text), 408);
      t.match(text, /came too slowly/);
      await running.settled(() => server.sockets.size === 0);
    }
    t.strictSame((await running.settled((now) => now.settled === 2)).counts, { "stable refused": 2 });
    await running.plane.close();
    await server.close();
  },
);

/** Counts what comes in, from now on, on the sockets of an upstream; what came before as far as it was read. */
function seenBy(sockets: ReadonlySet<Socket>): () => number {
  return () => Math.max(0, ...[...sockets].map((socket) => socket.bytesRead));
}

void inEveryLane(
  "an honest slow upload passes, and so does one that its upstream held up (reliability 26)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const running = await startPlane({ stable: server.url, canary: server.url });
    const slow = await raw(running.address);
    slow.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30000\r\n\r\n");
    await running.settled(() => server.sockets.size === 1);
    const received = seenBy(server.sockets);
    for (let sent = 3_000; sent <= 30_000; sent += 3_000) {
      running.advance(10_000);
      slow.send("x".repeat(3_000));
      await running.settled(() => received() >= sent);
    }
    await slow.until(/ok$/);
    slow.destroy();
    const paused: Socket[] = [];
    server.onConnection = (socket) => void paused.push(socket);
    await running.settled(() => server.sockets.size === 0 || dropped(server.sockets));
    const big = await raw(running.address);
    const size = 16 * 1024 * 1024;
    big.send(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${size + 1}\r\n\r\n`);
    big.send(Buffer.alloc(size, "x"));
    await running.settled(() => paused.length === 1);
    let before = -1;
    let still = 0;
    // Nothing moves any more, and has not for many turns: the upstream does not read.
    await running.settled(() => {
      const now = big.socket.writableLength;
      still = now > 0 && now === before ? still + 1 : 0;
      before = now;
      return still === 50;
    });
    running.advance(7 * 86_400_000);
    let bytes = 0;
    paused[0]?.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > size && chunk.at(-1) === 0x79) paused[0]?.write(reply(200, "ok"));
    });
    await running.settled(() => bytes > size);
    big.send("y");
    t.equal(statusOf(await big.until(/ok$/)), 200);
    big.destroy();
    await running.plane.close();
    await server.close();
  },
);

/** Ends the kept connections, so that the next request needs a new one. */
function dropped(sockets: ReadonlySet<Socket>): boolean {
  for (const socket of sockets) socket.destroy();
  return false;
}

void inEveryLane("with no least rate a body may trickle (reliability 26)", async (t) => {
  const server = await upstream(reply(200, "ok"));
  const running = await startPlane(
    { stable: server.url, canary: server.url },
    {},
    { limits: { bodyRate: "none" } },
  );
  const client = await raw(running.address);
  client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na");
  await running.settled(() => server.sockets.size === 1);
  running.advance(60_000);
  client.send("b");
  t.equal(statusOf(await client.until(/ok$/)), 200);
  client.destroy();
  await running.plane.close();
  await server.close();
});

void inEveryLane(
  "an idle connection outlives the time of a head, and the head of its second request does not (reliability 26, 27)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      {},
      { limits: { headTime: "100ms", keepAlive: "1m" } },
    );
    const idle = await raw(running.address);
    await answered(idle, GET, 1);
    const slow = await raw(running.address);
    await answered(slow, GET, 1);
    slow.send("GET / HTTP/1.1\r\nHost");
    t.match((await slow.closed()).text, /ok[^]*408 Request Timeout/);
    const silent = await raw(running.address);
    t.equal(statusOf((await silent.closed()).text), 408);
    await answered(idle, GET, 2);
    t.strictSame(running.measured().refused, { 408: 2 });
    idle.destroy();
    await running.plane.close();
    await server.close();
  },
);

/** Sends `begin` and then `piece` after `piece` until the other side ends the connection; what it said. Rejects when it does not. */
async function dripped(socket: Socket, begin: string, piece: string): Promise<string> {
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  socket.on("error", () => undefined);
  const late = AbortSignal.timeout(5000);
  socket.write(begin);
  const drip = setInterval(() => void socket.write(piece), 10);
  await new Promise((resolve, reject) => {
    socket.once("end", resolve);
    late.addEventListener("abort", () => reject(new Error(`still open, said: ${text}`)));
  }).finally(() => {
    clearInterval(drip);
    socket.destroy();
  });
  return text;
}

void inEveryLane(
  "a head that comes drop by drop has no more time than one that stops, with and without TLS, the first and the second (reliability 26)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const arms = { stable: server.url, canary: server.url };
    const limits = { headTime: "150ms", keepAlive: "1m" };
    const running = await startPlane(arms, {}, { limits });
    const secure = await startPlane(
      arms,
      {},
      { limits, listen: [{ address: "127.0.0.1:0", tls: pairOf("") }] },
    );
    const portOf = ({ address }: { readonly address: string }): number => Number(address.split(":")[1]);
    const plain = (): Socket => connect(portOf(running), "127.0.0.1");
    const post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na";
    const [begin, field] = ["GET / HTTP/1.1\r\nHost: x\r\n", "X: y\r\n"];
    t.match(await dripped(plain(), begin, field), /^HTTP\/1\.1 408 /, "field by field");
    t.match(await dripped(plain(), "GET /", "a"), /^HTTP\/1\.1 408 /, "letter by letter of the target");
    t.match(await dripped(plain(), `${GET}${begin}`, field), /ok[^]*408 Request/, "behind another");
    t.match(await dripped(plain(), `${post}${begin}`, field), /ok[^]*408 Request/, "behind a body");
    const client = connectTls({ port: portOf(secure), host: "127.0.0.1", rejectUnauthorized: false });
    t.match(await dripped(client, begin, field), /^HTTP\/1\.1 408 /, "over TLS");
    await Promise.all([running.plane.close(), secure.plane.close()]);
    await server.close();
  },
);

void inEveryLane(
  "a tunnel is closed when nothing goes through it, and when its time is over; one in use is left alone (reliability 32)",
  async (t) => {
    const server = await upstream((socket) => void socket.write(SWITCH));
    server.onConnection = (socket) => {
      socket.once("data", () => {
        socket.write(SWITCH);
        socket.on("data", (chunk: Buffer) => void socket.write(chunk));
      });
    };
    const arms = { stable: { endpoints: [server.url] }, canary: { endpoints: [server.url] } };
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      { longLived: { idle: "500ms" } },
      { limits: { connections: 2 } },
    );
    const [busy, idle] = [await raw(running.address), await raw(running.address)];
    for (const each of [busy, idle]) {
      each.send(HANDSHAKE);
      await each.until(/101/);
    }
    t.strictSame(running.plane.gauges().routes["app"]?.stable, { inFlight: 0, longLived: 2 });
    t.equal(running.plane.gauges().connections, 2);
    const over = await raw(running.address);
    t.equal(statusOf((await over.closed()).text), 503, "tunnels are among the connections");
    const ping = setInterval(() => busy.send("ping "), 10);
    await idle.closed();
    await running.settled(() => running.plane.gauges().routes["app"]?.stable.longLived === 1);
    t.notOk(busy.socket.destroyed);
    clearInterval(ping);
    await busy.closed();
    await running.settled(() => server.sockets.size === 0);
    running.reconfigure({ ...arms, longLived: { lifetime: "80ms" } });
    const old = await raw(running.address);
    old.send(HANDSHAKE);
    await old.until(/101/);
    const more = setInterval(() => old.send("ping "), 10);
    await old.closed();
    clearInterval(more);
    await running.settled(() => server.sockets.size === 0);
    t.equal(running.plane.gauges().routes["app"]?.stable.longLived, 0);
    t.strictSame(running.measured().counts, { "stable ok": 3 });
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "an upstream that answers before the body came is believed, whether or not the client waits for 100 (reliability 15)",
  async (t) => {
    const server = await upstream("");
    server.onConnection = (socket) => {
      let text = "";
      socket.on("data", (chunk: Buffer) => {
        text += chunk.toString("latin1");
        t.notMatch(text, /^expect/im);
        if (/\r\n\r\nh/.test(text)) socket.end(reply(403, "no", "Connection: close\r\n"));
      });
    };
    const running = await startPlane({ stable: server.url, canary: server.url });
    const head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n";
    const waits = await raw(running.address);
    waits.send(`${head}Expect: 100-continue\r\n\r\n`);
    await waits.until(/100 Continue/);
    waits.send("h");
    t.match(await waits.until(/no$/), /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 403 /);
    const rushes = await raw(running.address);
    rushes.send(`${head}Expect: 100-Continue\r\n\r\nhello`);
    t.match(await rushes.until(/no$/), /HTTP\/1\.1 403 /);
    const plain = await raw(running.address);
    plain.send(`${head}\r\nh`);
    t.match(await plain.until(/no$/), /^HTTP\/1\.1 403 /);
    const old = await raw(running.address);
    old.send("POST / HTTP/1.0\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello");
    t.match((await old.closed()).text, /^HTTP\/1\.1 403 /, "HTTP/1.0 has no 100");
    for (const each of [waits, rushes, plain]) each.destroy();
    t.strictSame((await running.settled((now) => now.settled === 4)).counts, { "stable ok": 4 });
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane("an expectation that is none of ours is 417, in its turn (reliability 15)", async (t) => {
  const server = await upstream(reply(200, "ok"));
  const running = await startPlane({ stable: server.url, canary: server.url });
  const client = await raw(running.address);
  client.send(`${GET}PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 200-ok\r\n\r\na${GET}`);
  const { text } = await client.closed();
  t.strictSame(
    [...text.matchAll(/HTTP\/1\.1 (\d+) /g)].map((found) => found[1]),
    ["200", "417"],
  );
  for (const expected of [
    "100-continue, x",
    "100-continue;a",
    '"100-continue"',
    "x 100-continue",
    "",
    "100-continue\r\nExpect: 100-continue",
  ]) {
    const each = await raw(running.address);
    each.send(`PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: ${expected}\r\n\r\na`);
    t.match((await each.closed()).text, /^HTTP\/1\.1 417 /, expected);
  }
  t.equal(server.requests.length, 1);
  await running.plane.close();
  await server.close();
});
