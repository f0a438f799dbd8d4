/** WebSockets to upstreams that are spoken to in HTTP/2 (RFC 8441; reliability.md 32). */

import { randomBytes } from "node:crypto";
import { once as event } from "node:events";
import type { ServerHttp2Stream } from "node:http2";
import t from "tap";
import { answerOn, client2 } from "../support/h2.ts";
import {
  frame,
  frameUpstream,
  HEADERS,
  http2Upstream,
  reset,
  SETTINGS,
  type Http2Upstream,
  type StreamScript,
} from "../support/h2-upstream.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { raw, resetConnection, statusOf } from "../support/raw.ts";
import { NOBODY } from "../support/upstream.ts";

const HANDSHAKE =
  "GET /chat?x=%20'a HTTP/1.1\r\nHost: app.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat\r\nX-User: u\r\n\r\n";

async function pair(
  script: StreamScript,
  takesTunnels = true,
  connect = "100ms",
): Promise<{ readonly server: Http2Upstream; readonly running: TestPlane }> {
  const settings = takesTunnels ? { enableConnectProtocol: true } : {};
  const server = await http2Upstream(script, { settings });
  const times = { connect, headers: "100ms" };
  return {
    server,
    running: await startPlane({ stable: server.url, canary: server.url }, { timeouts: times }),
  };
}

function longLived(running: TestPlane): number | undefined {
  return running.plane.gauges().routes["app"]?.stable.longLived;
}

void t.test(
  "a WebSocket goes through both ways over one stream, with what came early, and closes with either side (reliability 32)",
  async (t) => {
    const streams: ServerHttp2Stream[] = [];
    const { server, running } = await pair((stream) => {
      streams.push(stream);
      stream.respond({ ":status": 200, "sec-websocket-protocol": "chat" });
      stream.write("early from upstream|");
      stream.pipe(stream);
    });
    const client = await raw(running.address);
    client.send(`${HANDSHAKE}early from client|`);
    await client.until(/early from client\|$/);
    t.match(client.received, /^HTTP\/1\.1 101 Switching Protocols\r\n/);
    t.match(client.received, /\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n/i);
    t.match(client.received, /\r\nsec-websocket-protocol: chat\r\n/i);
    const [seen] = server.requests;
    t.strictSame(
      [":method", ":protocol", ":scheme", ":authority", ":path"].map((name) => seen?.field(name)),
      ["CONNECT", "websocket", "http", "app.example", "/chat?x=%20'a"],
    );
    t.equal(seen?.field("sec-websocket-version"), "13");
    t.equal(seen?.field("sec-websocket-key"), undefined);
    t.equal(seen?.field("upgrade"), undefined);
    t.equal(longLived(running), 1);
    const bytes = randomBytes(2_000_000);
    client.send(bytes);
    await client.until((text) => text.endsWith(bytes.subarray(-1000).toString("latin1")));
    t.ok(client.received.endsWith(bytes.toString("latin1")));
    resetConnection(client.socket);
    await running.settled(() => streams[0]?.destroyed === true);
    t.equal(streams[0]?.rstCode, 8);
    const second = await raw(running.address);
    second.send(HANDSHAKE);
    await second.until(/upstream\|$/);
    streams[1]?.end();
    await second.closed();
    const third = await raw(running.address);
    third.send(HANDSHAKE);
    await third.until(/upstream\|$/);
    streams[2]?.close(2);
    await third.closed();
    await running.settled(() => longLived(running) === 0);
    t.strictSame((await running.settled((now) => now.settled === 3)).counts, { "stable ok": 3 });
    t.equal(server.accepted, 1);
    await running.plane.close();
    await server.close();
  },
);

void t.test(
  "an upgrade that opens nothing is relayed, or is an answer of the proxy's, and its connection ends (reliability 32)",
  async (t) => {
    const { server, running } = await pair((stream) => {
      stream.respond({ ":status": 403, "x-a": "1" });
      stream.end("no");
    });
    const refused = await raw(running.address);
    refused.send(`${HANDSHAKE}GET /behind HTTP/1.1\r\nHost: x\r\n\r\n`);
    const { text } = await refused.closed();
    t.match(text, /^HTTP\/1\.1 403 Forbidden\r\n[^]*x-a: 1\r\n[^]*\r\n2\r\nno\r\n0\r\n\r\n$/);
    t.equal(server.requests.length, 1);
    server.script = () => undefined;
    const silent = await raw(running.address);
    silent.send(HANDSHAKE);
    t.equal(statusOf((await silent.closed()).text), 504);
    server.script = (stream) => stream.close(2);
    const reset = await raw(running.address);
    reset.send(HANDSHAKE);
    t.equal(statusOf((await reset.closed()).text), 502);
    server.script = (stream) => {
      // Node would end one without trailers before it resets it.
      stream.respond({ ":status": 500 }, { waitForTrailers: true });
      stream.write("half", () => stream.close(2));
    };
    const cut = await raw(running.address);
    cut.send(HANDSHAKE);
    t.match((await cut.closed()).text, /^HTTP\/1\.1 500 [^]*\r\n4\r\nhalf\r\n$/);
    const totals = await running.settled((now) => now.settled === 4);
    t.strictSame(totals.counts, {
      "stable ok": 1,
      "stable timeout": 1,
      "stable reset": 1,
      "stable status": 1,
    });
    await running.plane.close();
    await server.close();
    const gone = NOBODY.replace("http", "h2c");
    const dead = await startPlane({ stable: gone, canary: gone });
    const client = await raw(dead.address);
    client.send(HANDSHAKE);
    t.equal(statusOf((await client.closed()).text), 502);
    t.strictSame((await dead.settled((now) => now.settled === 1)).counts, { "stable connect": 1 });
    await dead.plane.close();
  },
);

void t.test(
  "an upstream that takes no WebSockets in HTTP/2 is not asked, and it is no evidence against it",
  async (t) => {
    const { server, running } = await pair(() => undefined, false);
    const client = await raw(running.address);
    client.send(HANDSHAKE);
    t.equal(statusOf((await client.closed()).text), 502);
    t.equal(server.requests.length, 0);
    t.strictSame((await running.settled((now) => now.settled === 1)).counts, { "stable unavailable": 1 });
    await running.plane.close();
    await server.close();
  },
);

void t.test(
  "a client that leaves while its upgrade is asked for cancels the stream (reliability 31)",
  async (t) => {
    const { server, running } = await pair(() => undefined);
    const client = await raw(running.address);
    client.send(HANDSHAKE);
    await running.settled(() => server.requests.length === 1);
    client.destroy();
    await running.settled(() => server.requests[0]?.stream.destroyed === true);
    t.equal(server.requests[0]?.stream.rstCode, 8);
    t.strictSame((await running.settled((now) => now.settled === 1)).counts, { "stable client_gone": 1 });
    await running.plane.close();
    await server.close();
  },
);

void t.test("a WebSocket of an HTTP/2 client goes through a stream on either side (RFC 8441)", async (t) => {
  const { server, running } = await pair((stream) => {
    stream.respond({ ":status": 200, "sec-websocket-protocol": "chat" });
    stream.pipe(stream);
  });
  const client = client2(running.address);
  await event(client.session, "remoteSettings");
  const stream = client.open("CONNECT", "/chat", {
    ":protocol": "websocket",
    ":scheme": "http",
    "sec-websocket-version": "13",
    "sec-websocket-protocol": "chat",
  });
  const answer = answerOn(stream);
  const bytes = randomBytes(500_000);
  stream.end(bytes);
  const { status, body, fields } = await answer;
  t.equal(status, 200);
  t.ok(body.equals(bytes));
  t.match(fields.join("|"), "sec-websocket-protocol|chat");
  t.notMatch(fields.join("|"), /sec-websocket-accept|upgrade/);
  t.strictSame((await running.settled((now) => now.settled === 1)).counts, { "stable ok": 1 });
  client.close();
  await running.plane.close();
  await server.close();
});

void t.test(
  "a stream that the upstream resets without an error before any answer is a 502 (reliability 17, 32)",
  async (t) => {
    // SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 §3).
    const greeting = frame(SETTINGS, 0, 0, Buffer.of(0, 8, 0, 0, 0, 1));
    const server = await frameUpstream(
      (connection, { type, stream }) => {
        if (type === HEADERS) connection.send(reset(stream, 0));
      },
      { greeting },
    );
    const running = await startPlane({ stable: server.url, canary: server.url });
    const client = await raw(running.address);
    client.send(HANDSHAKE);
    t.equal(statusOf((await client.closed()).text), 502);
    t.strictSame((await running.settled((now) => now.settled === 1)).counts, { "stable reset": 1 });
    const other = client2(running.address);
    await event(other.session, "remoteSettings");
    const { status, code } = await answerOn(
      other.open("CONNECT", "/chat", { ":protocol": "websocket", ":scheme": "http" }),
    );
    t.strictSame({ status, code }, { status: 502, code: 0 });
    other.close();
    await running.plane.close();
    await server.close();
  },
);

void t.test(
  "a tunnel whose client has ended is closed, though its upstream does not end the stream (reliability 32)",
  async (t) => {
    const { server, running } = await pair((stream) => stream.respond({ ":status": 200 }));
    const client = await raw(running.address);
    client.send(HANDSHAKE);
    await client.until(/101/);
    t.equal(longLived(running), 1);
    client.socket.end();
    await running.settled(() => server.requests[0]?.stream.destroyed === true && longLived(running) === 0);
    await running.plane.close();
    await server.close();
  },
);

void t.test(
  "a silent upgrade is a 504 when the time for a head is over, from the request on (reliability 14)",
  async (t) => {
    const { server, running } = await pair(() => undefined, true, "30s");
    const client = await raw(running.address);
    client.send(HANDSHAKE);
    t.equal(statusOf((await client.closed()).text), 504);
    t.strictSame((await running.settled((now) => now.settled === 1)).counts, { "stable timeout": 1 });
    await running.plane.close();
    await server.close();
  },
);

void t.test(
  "a success that opens nothing does not reach a client for which it would open something (RFC 8441 §5)",
  async (t) => {
    const { server, running } = await pair((stream) =>
      stream.respond({ ":status": 204 }, { endStream: true }),
    );
    const client = client2(running.address);
    await event(client.session, "remoteSettings");
    const { status } = await answerOn(
      client.open("CONNECT", "/chat", { ":protocol": "websocket", ":scheme": "http" }),
    );
    t.equal(status, 502);
    client.close();
    await running.plane.close();
    await server.close();
  },
);

void t.test(
  "an answer that opens nothing is cut when it stops for longer than the idle time (reliability 14, 17)",
  async (t) => {
    const { server, running } = await pair((stream) => {
      stream.respond({ ":status": 403, "content-length": "10" });
      stream.write("abc");
    });
    running.reconfigure({ timeouts: { idle: "100ms" } });
    const client = await raw(running.address);
    client.send(HANDSHAKE);
    t.match((await client.closed()).text, /^HTTP\/1\.1 403 [^]*\r\n\r\nabc$/);
    await running.settled(() => server.requests[0]?.stream.destroyed === true);
    await running.plane.close();
    await server.close();
  },
);
