/** What an adversary, a slow client or an unlucky moment does to the proxy: each test is named for what went wrong or might (reliability.md A, B13, D24, D25, E32). */

import { createHash, type Hash } from "node:crypto";
import { once as event } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { WebSocket, WebSocketServer } from "ws";
import { bucketOf } from "../../src/domain/split.ts";
import { millis } from "../../src/domain/units.ts";
import { inEveryLane } from "../support/lanes.ts";
import { bodyOf, once, raw, statusOf } from "../support/raw.ts";
import { startPlane } from "../support/plane.ts";
import { reply, upstream } from "../support/upstream.ts";

const HANDSHAKE =
  "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-User: u\r\n\r\n";
const SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const STREAM = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

void inEveryLane(
  "what opens on the canary behind a rollback is closed with the rest: it was sent before, and nobody would close it",
  async (t) => {
    for (const how of ["close", "drain"] as const) {
      const held: Socket[] = [];
      let arrived: () => void = () => undefined;
      const server = await upstream((socket) => {
        held.push(socket);
        if (held.length === 2) arrived();
      });
      const both = new Promise<void>((resolve) => (arrived = resolve));
      const running = await startPlane({ stable: server.url, canary: server.url });
      running.weight(100);
      const tunnel = await raw(running.address);
      tunnel.send(HANDSHAKE);
      const stream = await raw(running.address);
      stream.send("GET / HTTP/1.1\r\nHost: x\r\nX-User: u\r\n\r\n");
      await both;
      running.weight(0);
      running.plane.closeLongLived("app", how, millis(30));
      for (const seen of server.requests.keys())
        held[seen]?.write(server.requests[seen]?.field("upgrade") === undefined ? STREAM : SWITCH);
      await tunnel.closed();
      await stream.closed();
      await running.settled(() => running.plane.gauges().routes["app"]?.canary.longLived === 0);
      t.pass("nothing is left on the canary");
      await running.plane.close();
      await server.close();
    }
  },
);

void inEveryLane(
  "a WebSocket on the canary is closed at a rollback, at once or within the deadline",
  async (t) => {
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    await event(server, "listening");
    // A TCP server has an address of this form.
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const running = await startPlane({ stable: url, canary: url });
    for (const how of ["close", "drain"] as const) {
      running.weight(100);
      const leaving = new WebSocket(`ws://${running.address}/`, { headers: { "x-user": "u" } });
      await event(leaving, "open");
      running.weight(0);
      const staying = new WebSocket(`ws://${running.address}/`, { headers: { "x-user": "u" } });
      await event(staying, "open");
      const gone = event(leaving, "close");
      running.plane.closeLongLived("app", how, millis(50));
      if (how === "drain")
        t.equal(leaving.readyState, WebSocket.OPEN, "a drain lets it be until the deadline");
      await gone;
      t.equal(staying.readyState, WebSocket.OPEN, "stable's stays");
      staying.terminate();
      await event(staying, "close");
    }
    await running.plane.close();
    server.close();
  },
);

void inEveryLane(
  "an upgrade pipelined behind a large answer does not stop that answer for ever (reliability 8, 32)",
  async (t) => {
    const size = 8_000_000;
    const server = await upstream((socket, seen) => {
      if (seen.field("upgrade") === undefined) socket.write(reply(200, "z".repeat(size)));
      else socket.write(SWITCH);
    });
    const running = await startPlane({ stable: server.url, canary: server.url });
    const client = await raw(running.address);
    client.send(`GET / HTTP/1.1\r\nHost: x\r\n\r\n${HANDSHAKE}`);
    await client.until((text) => text.length > size && text.includes("101 Switching"));
    t.equal(statusOf(client.received), 200);
    client.destroy();
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "a client that takes nothing of its answer is cut after the idle time, and is nobody's failure (reliability 24, 33)",
  async (t) => {
    const server = await upstream((socket) => void socket.write(reply(200, "z".repeat(30_000_000))));
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      {},
      { limits: { bodyIdle: "100ms" } },
    );
    const client = await raw(running.address);
    client.socket.pause();
    const gone = new Promise<void>((resolve) => (server.onClose = resolve));
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await gone;
    t.strictSame((await running.settled((now) => now.settled === 1)).counts, { "stable client_gone": 1 });
    client.destroy();
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "a refused upgrade with a large body waits for a client that does not read (reliability 24, 32)",
  async (t) => {
    const size = 50_000_000;
    const piece = Buffer.alloc(64 * 1024, "z");
    let written = 0;
    let blocked: () => void = () => undefined;
    const stuck = new Promise<void>((resolve) => (blocked = resolve));
    const server = await upstream((socket) => {
      socket.write(`HTTP/1.1 403 No\r\nContent-Length: ${size}\r\n\r\n`);
      const more = (): void => {
        while (written < size) {
          written += piece.length;
          if (!socket.write(piece)) {
            socket.once("drain", more);
            // Nothing was taken for a while: the proxy has stopped reading.
            socket.setTimeout(300, blocked);
            return;
          }
        }
        blocked();
      };
      more();
    });
    const running = await startPlane({ stable: server.url, canary: server.url });
    const client = await raw(running.address);
    client.socket.pause();
    client.send(HANDSHAKE);
    await stuck;
    t.ok(written < size, `${written} of ${size} bytes left the upstream`);
    client.destroy();
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane("a tunnel whose upstream has ended does not stay half open (reliability 32)", async (t) => {
  const server = await upstream((socket) => void socket.end(SWITCH));
  const running = await startPlane({ stable: server.url, canary: server.url });
  const client = await raw(running.address);
  client.socket.allowHalfOpen = true;
  client.send(HANDSHAKE);
  await running.settled((now) => now.settled === 1);
  await client.until(/101/);
  await running.settled(() => running.plane.gauges().connections === 0);
  t.equal(running.plane.gauges().routes["app"]?.stable.longLived, 0);
  client.destroy();
  await running.plane.close();
  await server.close();
});

void inEveryLane(
  "an untrusted peer's X-Forwarded-For is not believed, a trusted one's is: the key and the override see the client (reliability 11, 34)",
  async (t) => {
    const stable = await upstream(reply(200, "stable"));
    const canary = await upstream(reply(200, "canary"));
    const override = { header: "x-arm", from: ["9.9.9.0/24"] };
    const side = (address: string): string => (bucketOf(address, "salt") < 500_000 ? "canary" : "stable");
    const addresses = Array.from({ length: 40 }, (_, nth) => `8.8.8.${nth}`);
    for (const trusted of [true, false]) {
      const top = trusted
        ? { trustedProxies: ["127.0.0.0/8", "10.0.0.0/8"] }
        : { trustedProxies: ["10.0.0.0/8"] };
      const running = await startPlane(
        { stable: stable.url, canary: canary.url },
        { key: ["ip"], override },
        top,
      );
      const ask = async (fields: string): Promise<string> =>
        bodyOf(await once(running.address, `GET / HTTP/1.1\nHost: x\n${fields}`));
      running.weight(50);
      for (const address of addresses) {
        const body = await ask(`X-Forwarded-For: 6.6.6.6, ${address}, 10.1.1.1`);
        t.equal(body, side(trusted ? address : "127.0.0.1"), `${address}, trusted ${trusted}`);
      }
      running.weight(0);
      t.equal(await ask("X-Arm: canary\nX-Forwarded-For: 9.9.9.9"), trusted ? "canary" : "stable");
      t.equal(
        await ask("X-Arm: canary\nX-Forwarded-For: 9.9.9.9, 8.8.8.8"),
        "stable",
        "what a stranger wrote",
      );
      await running.plane.close();
    }
    await stable.close();
    await canary.close();
  },
);

void inEveryLane(
  "on a connection that turns out to be dead an empty and a held PUT are sent again whole, a long one is not (reliability 13)",
  async (t) => {
    const server = await upstream("");
    const running = await startPlane({ stable: server.url, canary: server.url });
    const long = "y".repeat(100_000);
    for (const [body, status] of [
      ["", 200],
      ["held", 200],
      [long, 502],
    ] as const) {
      server.script = (socket) => void socket.write(reply(200, "ok"));
      await once(running.address, "GET / HTTP/1.1\nHost: x");
      server.script = (socket, seen) => {
        if (seen.nth > 0) socket.destroy();
        else socket.write(reply(200, `got ${seen.body}`));
      };
      const text = await once(
        running.address,
        `PUT / HTTP/1.1\nHost: x\nContent-Length: ${body.length}`,
        body,
      );
      t.equal(statusOf(text), status, `${body.length} bytes`);
      if (status === 200) t.equal(bodyOf(text), `got ${body}`);
    }
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "when rescues are out of guard or budget the canary's failures pass through, and stable never has more at once than the guard",
  async (t) => {
    const GUARD = 3;
    const waiting: Socket[] = [];
    let open = 0;
    let most = 0;
    let full: () => void = () => undefined;
    const stable = await upstream((socket) => {
      most = Math.max(most, ++open);
      waiting.push(socket);
      if (open === GUARD) full();
    });
    const canary = await upstream(reply(500, "broken"));
    const rescue = { budget: "10%", concurrency: GUARD };
    const running = await startPlane({ stable: stable.url, canary: canary.url }, { rescue });
    running.weight(100);
    const ask = (): Promise<string> => once(running.address, "GET / HTTP/1.1\nHost: x\nX-User: u");
    let answered = 0;
    let broken = 0;
    for (let round = 0; round < 4; round++) {
      const reached = new Promise<void>((resolve) => (full = resolve));
      const asked = Array.from({ length: 10 }, ask);
      const wanted = round < 3 ? GUARD : 1;
      if (wanted === GUARD) await reached;
      // The other ones need nothing of stable.
      await running.settled(
        (now) => now.settled === (round + 1) * 10 && now.rescues.refused === round * 7 + (10 - wanted),
      );
      if (wanted === 1) await running.settled(() => waiting.length === 1);
      for (const socket of waiting.splice(0)) {
        open--;
        socket.write(reply(200, "saved"));
      }
      for (const text of await Promise.all(asked)) {
        if (bodyOf(text) === "saved") answered++;
        else if (statusOf(text) === 500 && bodyOf(text) === "broken") broken++;
      }
    }
    t.equal(most, GUARD);
    t.strictSame({ answered, broken }, { answered: 10, broken: 30 });
    const totals = await running.settled((now) => now.rescues.answered === 10);
    t.strictSame(totals.rescues, { answered: 10, failed: 0, refused: 30 });
    t.strictSame(totals.counts, { "canary status": 40 });
    await running.plane.close();
    await stable.close();
    await canary.close();
  },
);

/** Takes bytes off a chunked stream and hashes what they carry. */
function chunkedInto(hash: Hash, done: () => void): (bytes: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  let left = 0;
  return (bytes) => {
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
    for (;;) {
      if (left > 2) {
        const piece = rest.subarray(0, left - 2);
        hash.update(piece);
        rest = rest.subarray(piece.length);
        left -= piece.length;
        if (left > 2) return;
      }
      if (left > 0) {
        if (rest.length < 2) return;
        rest = rest.subarray(2);
        left = 0;
      }
      const line = rest.indexOf("\r\n");
      if (line < 0) return;
      const size = Number.parseInt(rest.subarray(0, line).toString("latin1"), 16);
      rest = rest.subarray(line + 2);
      if (size === 0) {
        done();
        return;
      }
      left = size + 2;
    }
  };
}

function plainInto(hash: Hash, length: number, done: () => void): (bytes: Buffer) => void {
  let got = 0;
  return (bytes) => {
    hash.update(bytes);
    got += bytes.length;
    if (got === length) done();
  };
}

/** A reader that stops now and then; returns the hash of the body behind the first head. */
function hashOf(socket: Socket, length: number): Promise<string> {
  const hash = createHash("sha256");
  return new Promise((resolve) => {
    const done = (): void => resolve(hash.copy().digest("hex"));
    let head = "";
    let take: ((bytes: Buffer) => void) | undefined;
    let reads = 0;
    socket.on("data", (bytes: Buffer) => {
      if (++reads % 64 === 0) {
        socket.pause();
        setImmediate(() => socket.resume());
      }
      if (take !== undefined) {
        take(bytes);
        return;
      }
      head += bytes.toString("latin1");
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) return;
      take = /transfer-encoding: chunked/i.test(head)
        ? chunkedInto(hash, done)
        : plainInto(hash, length, done);
      const rest = Buffer.from(head.slice(end + 4), "latin1");
      if (rest.length > 0) take(rest);
    });
  });
}

async function pour(socket: Socket, body: Buffer, chunked: boolean): Promise<void> {
  // Pieces of odd sizes, so that no boundary of chunk, read and write falls together.
  for (let at = 0, size = 1; at < body.length; at += size, size = (size * 31 + 7) % 190_001) {
    const piece = body.subarray(at, at + size);
    if (piece.length === 0) continue;
    if (chunked) socket.write(`${piece.length.toString(16)}\r\n`);
    const taken = socket.write(piece);
    if (chunked) socket.write("\r\n");
    if (!taken) await event(socket, "drain");
  }
  if (chunked) socket.write("0\r\n\r\n");
}

void inEveryLane(
  "20 MB go through both ways byte for byte, chunked and with a length, when both readers stop now and then (reliability 4, 24)",
  async (t) => {
    const body = Buffer.alloc(20_000_003);
    for (let at = 0, seed = 1; at < body.length; at += 4096) {
      seed = (seed * 48_271) % 2_147_483_647;
      body.fill(`${seed}-${at};`, at, Math.min(at + 4096, body.length));
    }
    const wanted = createHash("sha256").update(body).digest("hex");
    for (const chunked of [true, false]) {
      const framing = chunked ? "Transfer-Encoding: chunked" : `Content-Length: ${body.length}`;
      let arrived: (hash: string) => void = () => undefined;
      const up = new Promise<string>((resolve) => (arrived = resolve));
      const server = createServer((socket) => {
        socket.on("error", () => undefined);
        void hashOf(socket, body.length).then(async (hash) => {
          arrived(hash);
          socket.write(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n`);
          await pour(socket, body, chunked);
        });
      });
      server.listen(0, "127.0.0.1");
      await event(server, "listening");
      // A TCP server has an address of this form.
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const running = await startPlane({ stable: url, canary: url });
      const client = await raw(running.address);
      client.socket.removeAllListeners("data");
      const down = hashOf(client.socket, body.length);
      client.send(`POST / HTTP/1.1\r\nHost: x\r\n${framing}\r\n\r\n`);
      await pour(client.socket, body, chunked);
      t.equal(await up, wanted, `${framing}, to the upstream`);
      t.equal(await down, wanted, `${framing}, to the client`);
      client.destroy();
      await running.plane.close();
      server.close();
    }
  },
);
