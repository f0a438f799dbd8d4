/** Upgrades, long-lived exchanges, reload and going away (reliability.md E30, E32, 38, 39; acceptance 17). */

import { once as event } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { WebSocket, WebSocketServer } from "ws";
import { millis } from "../../src/domain/units.ts";
import { inEveryLane } from "../support/lanes.ts";
import { once, raw, statusOf } from "../support/raw.ts";
import { startPlane } from "../support/plane.ts";
import { NOBODY, reply, upstream } from "../support/upstream.ts";

const HANDSHAKE =
  "GET /chat?x=%20'a HTTP/1.1\r\nHost: app.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-User: u\r\n\r\n";
const SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

async function echo(): Promise<{ readonly url: string; readonly server: WebSocketServer }> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  server.on("connection", (socket) => socket.on("message", (data) => socket.send(data)));
  await event(server, "listening");
  // A TCP server has an address of this form.
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

void inEveryLane(
  "a WebSocket goes through both ways, is counted, and closes with its other side (reliability 32)",
  async (t) => {
    const { server, url } = await echo();
    const running = await startPlane({ stable: url, canary: url });
    running.weight(100);
    const client = new WebSocket(`ws://${running.address}/chat`, { headers: { "x-user": "u" } });
    await event(client, "open");
    const long = "x".repeat(300_000);
    client.send(long);
    const [data] = (await event(client, "message")) as [Buffer];
    t.equal(data.toString(), long);
    t.strictSame(running.plane.gauges().routes["app"]?.canary, { inFlight: 0, longLived: 1 });
    t.strictSame((await running.settled((now) => now.settled === 1)).counts, { "canary ok": 1 });
    for (const each of server.clients) each.terminate();
    await event(client, "close");
    await running.settled(() => running.plane.gauges().routes["app"]?.canary.longLived === 0);
    await running.plane.close();
    server.close();
  },
);

void inEveryLane(
  "bytes behind either head are delivered, and the target goes out as it came (reliability 6, 32)",
  async (t) => {
    const server = await upstream((socket) => void socket.write(`${SWITCH}early from upstream`));
    const running = await startPlane({ stable: server.url, canary: server.url });
    let tail = "";
    server.onConnection = (socket) => {
      socket.once("data", (chunk: Buffer) => {
        t.match(chunk.toString(), /^GET \/chat\?x=%20'a HTTP\/1\.1\r\n/);
        t.match(chunk.toString(), /\r\nhost: app\.example\r\n/i);
        t.match(chunk.toString(), /\r\nx-forwarded-for: 127\.0\.0\.1\r\n/i);
        tail = chunk.toString().split("\r\n\r\n")[1] ?? "";
        socket.write(`${SWITCH}early from upstream`);
        socket.on("data", (more: Buffer) => (tail += more.toString()));
      });
    };
    const client = await raw(running.address);
    client.send(`${HANDSHAKE}early from client`);
    await client.until(/^HTTP\/1\.1 101[^]*early from upstream$/);
    await running.settled(() => tail === "early from client");
    client.destroy();
    await running.settled(() => server.sockets.size === 0);
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "an upgrade that fails is a real 502 or 504, and one that is refused is relayed and closed (reliability 32)",
  async (t) => {
    const gone = NOBODY;
    const dead = await startPlane({ stable: gone, canary: gone });
    const client = await raw(dead.address);
    client.send(HANDSHAKE);
    t.equal(statusOf((await client.closed()).text), 502);
    t.strictSame((await dead.settled((now) => now.settled === 1)).counts, { "stable connect": 1 });
    await dead.plane.close();
    const server = await upstream(reply(403, "no", "X-A: 1\r\n"));
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      { timeouts: { connect: "50ms", headers: "50ms" } },
    );
    const refused = await raw(running.address);
    refused.send(`${HANDSHAKE}GET /behind HTTP/1.1\r\nHost: x\r\n\r\n`);
    const { text } = await refused.closed();
    t.equal(statusOf(text), 403);
    t.match(text, /x-a: 1\r\n[^]*connection: close\r\n[^]*no$/i);
    t.notOk(server.requests.some((seen) => seen.target === "/behind"));
    server.script = () => undefined;
    const silent = await raw(running.address);
    silent.send(HANDSHAKE);
    t.equal(statusOf((await silent.closed()).text), 504);
    server.script = (socket) => void socket.destroy();
    const reset = await raw(running.address);
    reset.send(HANDSHAKE);
    t.equal(statusOf((await reset.closed()).text), 502);
    const totals = await running.settled((now) => now.settled === 3);
    t.strictSame(totals.counts, { "stable ok": 1, "stable timeout": 1, "stable reset": 1 });
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "what is no WebSocket loses its Upgrade and is an ordinary request (reliability 32)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const running = await startPlane({ stable: server.url, canary: server.url });
    const client = await raw(running.address);
    for (const [nth, bytes] of [
      HANDSHAKE.replace("websocket", "h2c"),
      HANDSHAKE.replace("Version: 13", "Version: 8"),
      HANDSHAKE.replace("GET", "DELETE"),
      HANDSHAKE.replace("X-User: u", "Content-Length: 2").concat("hi"),
    ].entries()) {
      client.send(bytes);
      await client.until((text) => text.split("\r\n\r\nok").length === nth + 2);
    }
    for (const seen of server.requests) t.notMatch(seen.head, /upgrade/i);
    client.destroy();
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "after a rollback the canary's tunnels and event streams are closed, at once or by the deadline, and stable's are not",
  async (t) => {
    const server = await upstream((socket, seen) => {
      if (seen.field("upgrade") !== undefined) socket.write(SWITCH);
      else
        socket.write(
          "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
    });
    const running = await startPlane({ stable: server.url, canary: server.url });
    for (const how of ["close", "drain"] as const) {
      running.weight(100);
      const tunnel = await raw(running.address);
      tunnel.send(HANDSHAKE);
      await tunnel.until(/101/);
      const stream = await raw(running.address);
      stream.send("GET / HTTP/1.1\r\nHost: x\r\nX-User: u\r\n\r\n");
      await stream.until(/event-stream/);
      running.weight(0);
      const other = await raw(running.address);
      other.send(HANDSHAKE);
      await other.until(/101/);
      t.equal(running.plane.gauges().routes["app"]?.canary.longLived, 2);
      running.plane.closeLongLived("app", how, millis(40));
      await tunnel.closed();
      await stream.closed();
      await running.settled(() => running.plane.gauges().routes["app"]?.canary.longLived === 0);
      t.strictSame(running.plane.gauges().routes["app"]?.stable, { inFlight: 0, longLived: 1 });
      t.notOk(other.socket.destroyed);
      other.destroy();
      await running.settled(() => running.plane.gauges().routes["app"]?.stable.longLived === 0);
    }
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "going away: nothing is accepted, idle connections close, what is in flight or was sent ahead is answered, the last with Connection: close (reliability 39)",
  async (t) => {
    let waiting: Socket | undefined;
    const server = await upstream((socket, seen) => {
      if (seen.target === "/slow") waiting = socket;
      else socket.write(reply(200, "ok"));
    });
    const running = await startPlane({ stable: server.url, canary: server.url });
    const idle = await raw(running.address);
    idle.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await idle.until(/ok$/);
    const unused = await raw(running.address);
    const busy = await raw(running.address);
    busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n");
    await running.settled(() => waiting !== undefined);
    const retired = running.plane.retire(millis(5000));
    await idle.closed();
    await unused.closed();
    waiting?.write(reply(200, "slow"));
    const { text } = await busy.closed();
    t.match(text, /slow[^]*Connection: close\r\n(?:.+\r\n)*\r\nok$/i);
    t.strictSame(await retired, { cut: 0 });
    await t.rejects(raw(running.address));
    await server.close();
  },
);

void inEveryLane(
  "a connection whose answer had begun when the process began to go away does not hold it up (reliability 39)",
  async (t) => {
    let waiting: Socket | undefined;
    const server = await upstream((socket) => {
      waiting = socket;
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
    });
    const running = await startPlane({ stable: server.url, canary: server.url });
    const client = await raw(running.address);
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await client.until(/ab$/);
    const retired = running.plane.retire(millis(20_000));
    waiting?.write("cd");
    t.match((await client.closed()).text, /abcd$/);
    t.strictSame(await retired, { cut: 0 });
    await server.close();
  },
);

void inEveryLane(
  "a request that comes right behind the signal on a connection that had none is answered, and told that it was the last (reliability 39)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const running = await startPlane({ stable: server.url, canary: server.url });
    const [one, two] = [await raw(running.address), await raw(running.address)];
    await running.settled(() => running.plane.gauges().connections === 2);
    const retired = running.plane.retire(millis(20_000));
    one.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    t.match((await one.closed()).text, /^HTTP\/1\.1 200 [^]*connection: close\r\n[^]*ok$/i);
    t.equal((await two.closed()).text, "", "one that sends nothing does not hold it up");
    t.strictSame(await retired, { cut: 0 });
    await server.close();
  },
);

void inEveryLane(
  "at the deadline tunnels and what is still in flight are cut, and counted (reliability 32, 39)",
  async (t) => {
    const server = await upstream((socket, seen) => {
      if (seen.field("upgrade") !== undefined) socket.write(SWITCH);
    });
    const running = await startPlane({ stable: server.url, canary: server.url });
    const tunnel = await raw(running.address);
    tunnel.send(HANDSHAKE);
    await tunnel.until(/101/);
    const slow = await raw(running.address);
    slow.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await running.settled(() => server.requests.length === 2);
    t.strictSame(await running.plane.retire(millis(50)), { cut: 2 });
    await tunnel.closed();
    await slow.closed();
    t.strictSame((await running.settled((now) => now.settled === 2)).counts, {
      "stable ok": 1,
      "stable unavailable": 1,
    });
    await server.close();
  },
);

void inEveryLane(
  "a reload keeps the connections of unchanged endpoints, and lets those in flight on the others finish (reliability 38)",
  async (t) => {
    let waiting: Socket | undefined;
    const kept = await upstream(reply(200, "kept"));
    const left = await upstream((socket) => (waiting = socket));
    const running = await startPlane({ stable: kept.url, canary: left.url });
    const client = await raw(running.address);
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await client.until(/kept$/);
    running.weight(100);
    const old = await raw(running.address);
    old.send("GET / HTTP/1.1\r\nHost: x\r\nX-User: u\r\n\r\n");
    await running.settled(() => waiting !== undefined);
    running.reconfigure({ canary: { endpoints: [kept.url] } });
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await client.until(/kept[^]*kept$/);
    t.equal(kept.accepted, 1);
    waiting?.write(reply(200, "old"));
    t.equal(statusOf(await old.until(/old$/)), 200);
    await running.settled(() => left.sockets.size === 0);
    client.destroy();
    old.destroy();
    await running.plane.close();
    await kept.close();
    await left.close();
  },
);

void inEveryLane(
  "a head limit that a reload raises or lowers holds for the next connection, as large as it may be (reliability 25, 38)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const running = await startPlane({ stable: server.url, canary: server.url });
    const arms = { stable: { endpoints: [server.url] }, canary: { endpoints: [server.url] } };
    const status = async (bytes: number): Promise<number> =>
      statusOf(await once(running.address, `GET / HTTP/1.1\nHost: x\nX-Long: ${"x".repeat(bytes)}`));
    t.equal(await status(50_000), 431);
    running.reconfigure(arms, { limits: { head: "64KiB" } });
    t.equal(await status(50_000), 200);
    running.reconfigure(arms, { limits: { head: "1KiB" } });
    t.equal(await status(2000), 431);
    const endless = await raw(running.address);
    endless.send(`GET / HTTP/1.1\r\nHost: x\r\nX-Long: ${"x".repeat(20_000)}`);
    t.equal(statusOf((await endless.closed()).text), 431, "without waiting for its end");
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane("an address that is taken is named, with its code", async (t) => {
  const server = await upstream("");
  const address = server.url.slice("http://".length);
  await t.rejects(startPlane({ stable: server.url, canary: server.url }, {}, { listen: [{ address }] }), {
    code: "SPLIT_LISTEN_FAILED",
    message: new RegExp(address),
  });
  await server.close();
});

void inEveryLane(
  "above the connection limit a client is told 503, and the others are served on (reliability 25)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      {},
      { limits: { connections: 1 } },
    );
    const first = await raw(running.address);
    first.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await first.until(/ok$/);
    t.equal(statusOf(await once(running.address, "GET / HTTP/1.1\nHost: x")), 503);
    first.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await first.until(/ok[^]*ok$/);
    first.destroy();
    await running.plane.close();
    await server.close();
  },
);
