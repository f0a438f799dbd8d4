/**
 * Upgrades at their edges: what is one, what follows its head, every answer but 101, and either side leaving at any moment
 * (reliability.md A2, C17–C20, E30–E32). An error that nobody listens to would end this very process.
 */

import { once as event } from "node:events";
import type { Socket } from "node:net";
import type { Test } from "tap";
import { client2 } from "../support/h2.ts";
import { DATA, END_STREAM, frame, head, rawHttp2, WEBSOCKET, type RawHttp2 } from "../support/frames.ts";
import { inEveryLane } from "../support/lanes.ts";
import { startPlane } from "../support/plane.ts";
import { bodyOf, raw, resetConnection, statusOf, type RawClient } from "../support/raw.ts";
import { reply, switching, upstream, type Script } from "../support/upstream.ts";

const FIELDS = "Host: x\r\nX-User: u\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const HANDSHAKE = `GET /chat HTTP/1.1\r\n${FIELDS}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n`;
const SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const BEHIND = "GET /behind HTTP/1.1\r\nHost: x\r\n\r\n";

async function stand(t: Test, answer: string | Script, route: object = {}) {
  const script: Script =
    typeof answer === "string" ? (socket) => void socket.write(answer, "latin1") : answer;
  const server = await upstream(script);
  const running = await startPlane({ stable: server.url, canary: server.url }, route);
  t.teardown(async () => {
    await running.plane.close();
    await server.close();
  });
  /** Nothing is left of it on either side, and it was counted once. */
  const over = async (settled: number): Promise<void> => {
    await running.settled((now) => now.settled === settled && server.sockets.size === 0);
    await running.settled(() => {
      const gauges = running.plane.gauges();
      return gauges.connections === 0 && gauges.routes["app"]?.stable.longLived === 0;
    });
  };
  return { server, running, address: running.address, over };
}

/** A client that asks for a WebSocket over HTTP/2, on stream 1. */
async function asking(address: string, ...behind: readonly Buffer[]): Promise<RawHttp2> {
  const client = await rawHttp2(address);
  await client.until("SETTINGS", () => client.frames.length > 1);
  client.send(head(1, WEBSOCKET, 0), ...behind);
  return client;
}

const NO_UPGRADES: readonly (readonly [string, string])[] = [
  ["another protocol", HANDSHAKE.replace("websocket", "h2c")],
  ["a list of protocols", HANDSHAKE.replace("websocket", "h2c, websocket")],
  ["another protocol first", HANDSHAKE.replace("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: websocket")],
  ["a Connection without it", HANDSHAKE.replace("Connection: Upgrade", "Connection: keep-alive")],
  ["no Connection", HANDSHAKE.replace("Connection: Upgrade\r\n", "")],
  ["another version", HANDSHAKE.replace("Version: 13", "Version: 8")],
  ["no version", HANDSHAKE.replace("Sec-WebSocket-Version: 13\r\n", "")],
  ["another method", HANDSHAKE.replace("GET", "PUT")],
  ["HEAD", HANDSHAKE.replace("GET", "HEAD")],
  ["a body with a length", HANDSHAKE.replace("X-User: u", "Content-Length: 2").concat("hi")],
  [
    "a body in chunks",
    HANDSHAKE.replace("X-User: u", "Transfer-Encoding: chunked").concat("2\r\nhi\r\n0\r\n\r\n"),
  ],
];

void inEveryLane(
  "only a GET without a body that asks for a WebSocket of version 13 is an upgrade; all else loses its Upgrade and goes on as a request (reliability 32)",
  async (t) => {
    const { server, running, address } = await stand(t, (socket, seen) => {
      socket.write(reply(200, seen.method === "HEAD" ? "" : seen.target));
    });
    const client = await raw(address);
    for (const [what, bytes] of NO_UPGRADES) {
      const before = server.requests.length;
      client.send(bytes);
      await running.settled((now) => now.settled === before + 1);
      client.send(BEHIND);
      await running.settled((now) => now.settled === before + 2);
      t.notMatch(
        server.requests[before]?.head,
        /^(?:upgrade|connection):.*(?:upgrade|h2c|websocket)/im,
        what,
      );
      t.equal(server.requests[before]?.body, bytes.includes("hi") ? "hi" : "", what);
      t.equal(server.requests[before + 1]?.target, "/behind", "and the connection goes on");
    }
    client.destroy();
    const old = await raw(address);
    old.send(HANDSHAKE.replace("HTTP/1.1", "HTTP/1.0"));
    t.equal(statusOf((await old.closed()).text), 200, "HTTP/1.0");
    t.notMatch(server.requests.at(-1)?.head, /upgrade: /i);
  },
);

void inEveryLane(
  "what the client sends behind its head is held until the 101 was read to its end, and comes first then (reliability 32)",
  async (t) => {
    let came = "";
    let upper: Socket | undefined;
    const { server, running, address } = await stand(t, "");
    server.onConnection = (socket) => {
      upper = socket;
      socket.on("data", (bytes: Buffer) => (came += bytes.toString("latin1")));
    };
    const client = await raw(address);
    client.send(`${HANDSHAKE}early`);
    await running.settled(() => came.endsWith("\r\n\r\n"));
    for (const piece of [SWITCH.slice(0, 20), SWITCH.slice(20, -1)]) {
      upper?.write(piece);
      // A request beside it has come and gone: whatever was going to be written has been.
      const other = await raw(address);
      other.send("GET http:/// HTTP/1.1\r\nHost: x\r\n\r\n");
      await other.closed();
      t.ok(came.endsWith("\r\n\r\n"), "nothing before the whole 101");
    }
    upper?.write(`${SWITCH.slice(-1)}first`);
    client.send(" then this");
    await running.settled(() => came.endsWith("\r\n\r\nearly then this"));
    t.match(await client.until(/first$/), /^HTTP\/1\.1 101 [^]*\r\n\r\nfirst$/);
    client.destroy();
  },
);

const CHUNKED = "Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n";
const ANSWERS: readonly (readonly [string, string, number])[] = [
  ["200", reply(200, "no"), 200],
  ["200 in chunks", `HTTP/1.1 200 X\r\n${CHUNKED}`, 200],
  ["200 until the end", "HTTP/1.1 200 X\r\n\r\nno", 200],
  ["302", reply(302, "no", "Location: /a\r\n"), 302],
  ["401", reply(401, "no", "WWW-Authenticate: a\r\nWWW-Authenticate: b\r\n"), 401],
  [
    "426",
    reply(426, "no", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"),
    426,
  ],
  ["500", reply(500, "no"), 500],
  ["a hint, then 403", `HTTP/1.1 103 X\r\nLink: </a>\r\n\r\n${reply(403, "no")}`, 403],
  ["garbage", "garbage\r\n\r\n", 502],
  ["nothing", "", 502],
  ["half a head", "HTTP/1.1 101 Swi", 502],
  ["only a hint", "HTTP/1.1 103 X\r\n\r\n", 502],
  ["two lengths", "HTTP/1.1 200 X\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nno", 502],
];

void inEveryLane(
  "any answer but 101 is an ordinary one with its body, behind which the connection ends and nothing is tunnelled; no answer is a 502 (reliability 30, 32)",
  async (t) => {
    const { server, address, over } = await stand(t, "");
    for (const [nth, [what, answer, status]] of ANSWERS.entries()) {
      let came = "";
      server.onConnection = (socket) => {
        socket.on("data", (bytes: Buffer) => {
          if (came === "") socket.end(answer);
          came += bytes.toString("latin1");
        });
      };
      const client = await raw(address);
      client.send(HANDSHAKE + BEHIND);
      const { text } = await client.closed();
      const last = text.slice(text.lastIndexOf("HTTP/1.1 "));
      t.equal(statusOf(last), status, what);
      if (status !== 502) {
        t.match(bodyOf(last), /^(?:2\r\n)?no(?:\r\n0\r\n\r\n)?$/, what);
        t.match(last, /\r\nconnection: close\r\n/i, what);
        t.notMatch(last, /\r\nupgrade: /i);
      }
      t.notMatch(came, /behind/, what);
      await over(nth + 1);
    }
  },
);

type Leave = readonly [string, (socket: Socket) => void];
const LEAVES: readonly Leave[] = [
  ["ends", (socket) => void socket.end()],
  ["closes", (socket) => void socket.destroy()],
  ["resets", resetConnection],
];

void inEveryLane(
  "a client that leaves before, at or behind the 101 takes the upstream's connection along, once counted and without a throw (reliability 30, 31, 32)",
  async (t) => {
    const { server, running, address, over } = await stand(t, "");
    let count = 0;
    const moments: readonly (readonly [
      string,
      (leave: () => void, client: RawClient, socket: Socket) => Promise<void>,
    ])[] = [
      ["before", async (leave) => leave()],
      [
        "at",
        async (leave, _client, socket) => {
          socket.write(SWITCH);
          leave();
        },
      ],
      [
        "before, with the 101 on the heels of it",
        async (leave, _client, socket) => {
          leave();
          socket.write(`${SWITCH}hello`);
        },
      ],
      [
        "behind",
        async (leave, client, socket) => {
          socket.write(SWITCH);
          await client.until(/101/);
          leave();
          socket.write("hello");
        },
      ],
    ];
    for (const [when, act] of moments) {
      for (const [how, leave] of LEAVES) {
        const met = new Promise<Socket>((resolve) => (server.script = resolve));
        const client = await raw(address);
        client.send(`${HANDSHAKE}early`);
        const socket = await met;
        await act(() => leave(client.socket), client, socket);
        await over(++count);
        t.pass(`${when}, ${how}`);
      }
    }
    const { counts } = running.measured();
    const { "stable ok": opened = 0, "stable client_gone": left = 0 } = counts;
    t.equal(opened + left, count);
  },
);

void inEveryLane(
  "of an open tunnel the end, the close and the reset of either side end the other, and what was sent before an end arrives (reliability 30, 32)",
  async (t) => {
    const { server, address, over } = await stand(t, "");
    let count = 0;
    for (const isUpper of [true, false]) {
      for (const [how, leave] of LEAVES) {
        let came = "";
        const met = new Promise<Socket>((resolve) => (server.script = resolve));
        const client = await raw(address);
        client.send(HANDSHAKE);
        const socket = await met;
        socket.on("data", (bytes: Buffer) => (came += bytes.toString("latin1")));
        socket.write(SWITCH);
        await client.until(/101/);
        if (isUpper) socket.write("last words");
        else client.send("last words");
        leave(isUpper ? socket : client.socket);
        await over(++count);
        if (how === "ends") t.match(isUpper ? client.received : came, /last words$/);
        t.pass(`${isUpper ? "the upstream" : "the client"} ${how}`);
      }
    }
  },
);

void inEveryLane(
  "tunnels to an arm are limited, over HTTP/1.1 and HTTP/2 together: above it a client is told 503, which says nothing about the arm (reliability 32, 33)",
  async (t) => {
    const { server, running, address, over } = await stand(
      t,
      (socket, seen) => void socket.write(switching(seen.field("sec-websocket-key"))),
      { longLived: { connections: 1 } },
    );
    running.weight(100);
    const client = await raw(address);
    client.send(HANDSHAKE);
    await client.until(/101/);
    const second = await raw(address);
    second.send(HANDSHAKE);
    const { text } = await second.closed();
    t.equal(statusOf(text), 503);
    t.match(text, /SPLIT_OVERLOADED/);
    const http2 = client2(address);
    await event(http2.session, "remoteSettings");
    const status = async (): Promise<unknown> => {
      const stream = http2.session.request(
        {
          ":method": "CONNECT",
          ":protocol": "websocket",
          ":path": "/chat",
          ":scheme": "http",
          "x-user": "u",
        },
        { endStream: false },
      );
      stream.on("error", () => undefined);
      const [head] = (await event(stream, "response")) as [Record<string, unknown>];
      return head[":status"];
    };
    t.equal(await status(), 503);
    t.equal(server.accepted, 1);
    const totals = await running.settled((now) => now.settled === 3);
    t.strictSame(totals.counts, { "canary ok": 1, "canary unavailable": 2 });
    t.strictSame(totals.events, { "canary over_tunnels": 2 });
    t.strictSame(totals.failures, []);
    client.destroy();
    await running.settled(() => running.plane.gauges().routes["app"]?.canary.longLived === 0);
    t.equal(await status(), 200, "and has its place when one has closed");
    const third = await raw(address);
    third.send(HANDSHAKE);
    t.equal(statusOf((await third.closed()).text), 503);
    running.weight(0);
    const other = await raw(address);
    other.send(HANDSHAKE);
    await other.until(/101/);
    other.destroy();
    http2.close();
    await over(6);
  },
);

void inEveryLane(
  "an open tunnel whose client has ended is closed, though its upstream does not end (reliability 32)",
  async (t) => {
    const { server, running, address } = await stand(t, "");
    server.onConnection = (socket) => {
      socket.allowHalfOpen = true;
      socket.once("data", () => {
        socket.write(SWITCH);
        socket.resume();
      });
    };
    const client = await raw(address);
    client.send(HANDSHAKE);
    await client.until(/101/);
    t.equal(running.plane.gauges().connections, 1);
    client.socket.end();
    await running.settled(() => {
      const gauges = running.plane.gauges();
      return gauges.connections === 0 && gauges.routes["app"]?.stable.longLived === 0;
    });
  },
);

const REFUSED = "HTTP/1.1 403 No\r\nContent-Length: 10\r\n\r\nabc";
const CUTS: readonly (readonly [string, string, ((socket: Socket) => void)?])[] = [
  ["ends inside its length", REFUSED, (socket) => void socket.end()],
  ["is reset inside its length", REFUSED, resetConnection],
  [
    "ends between its chunks",
    "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    (socket) => void socket.end(),
  ],
  [
    "is reset between its chunks",
    "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    resetConnection,
  ],
  ["is reset without a length", "HTTP/1.1 403 No\r\n\r\nabc", resetConnection],
  [
    "has a chunk that is none",
    "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    (socket) => void socket.write("ZZ\r\n"),
  ],
];

void inEveryLane(
  "a refused upgrade's answer that stops or breaks in its body is cut, and never ended as if it were whole (reliability 17, 32)",
  async (t) => {
    const { server, address, over } = await stand(t, "");
    let count = 0;
    for (const [what, answer, stop] of CUTS) {
      const meet = (): Promise<Socket> =>
        new Promise((resolve) => {
          server.script = (socket) => {
            socket.write(answer);
            resolve(socket);
          };
        });
      const first = meet();
      const client = await raw(address);
      client.send(HANDSHAKE);
      await client.until(/abc/);
      stop?.(await first);
      t.match((await client.closed()).text, /^HTTP\/1\.1 403 [^]*\r\nabc(?:\r\n)?$/, what);
      await over(++count);
      const second = meet();
      const other = await asking(address);
      await other.until("a piece", () => other.bodyOf(1).length === 3);
      stop?.(await second);
      await other.until("a reset", () => other.resetOf(1) !== undefined);
      t.notOk(other.hasEnded(1), what);
      other.destroy();
      await over(++count);
    }
  },
);

void inEveryLane(
  "a refused upgrade's answer that stops for longer than the idle time is cut on both sides (reliability 14, 17)",
  async (t) => {
    const { address, over } = await stand(t, REFUSED, { timeouts: { idle: "100ms" } });
    const client = await raw(address);
    client.send(HANDSHAKE);
    t.match((await client.closed()).text, /\r\n\r\nabc$/);
    const other = await asking(address);
    await other.until("a reset", () => other.resetOf(1) !== undefined);
    t.notOk(other.hasEnded(1));
    other.destroy();
    await over(2);
  },
);

void inEveryLane(
  "a client that leaves while the body of a refused upgrade hangs takes the upstream's connection along (reliability 31, 32, 39)",
  async (t) => {
    const { address, over } = await stand(t, REFUSED);
    let count = 0;
    for (const [how, leave] of LEAVES) {
      const client = await raw(address);
      client.send(HANDSHAKE);
      await client.until(/abc/);
      leave(client.socket);
      await over(++count);
      t.pass(how);
    }
    const other = await asking(address);
    await other.until("a piece", () => other.bodyOf(1).length === 3);
    other.destroy();
    await over(++count);
  },
);

/** What an upstream says, and the status that it comes to over HTTP/1.1 and over HTTP/2. */
const RULES: readonly (readonly [string, string, number, number])[] = [
  ["a success that opens nothing", reply(200, "no"), 200, 502],
  ["a success without a body", "HTTP/1.1 204 X\r\n\r\n", 204, 502],
  ["101 alone", "HTTP/1.1 101 X\r\n\r\n", 502, 502],
  ["101 to another protocol", SWITCH.replace("websocket", "h2c"), 502, 502],
  // A client of HTTP/1.1 has a key of its own, and looks itself.
  ["101 without a proof that the key was seen", SWITCH, 101, 502],
  ["status 000", reply(200, "no").replace("200", "000"), 502, 502],
  ["status 099", reply(200, "no").replace("200", "099"), 502, 502],
  ["status 600", reply(600, "no"), 502, 502],
  ["a control byte in its reason", reply(403, "no").replace("X", "N\0o"), 403, 403],
  ["a control byte in a value", reply(403, "no", "X-A: a\0b\r\n"), 502, 502],
  ["chunked twice", `HTTP/1.1 403 X\r\nTransfer-Encoding: chunked\r\n${CHUNKED}`, 502, 502],
  ["chunked twice in one", `HTTP/1.1 403 X\r\n${CHUNKED.replace("chunked", "chunked, chunked")}`, 502, 502],
  ["another coding", "HTTP/1.1 403 X\r\nTransfer-Encoding: gzip\r\n\r\nno", 502, 502],
  ["bytes behind its end", `${reply(403, "no")}HTTP/1.1 200 OK\r\n\r\n`, 403, 403],
  ["garbage behind its end", `${reply(403, "no")}EXTRA`, 403, 403],
];

void inEveryLane(
  "an answer to an upgrade is held to the rules of every other answer, and opens a tunnel only as RFC 6455 and RFC 8441 say (reliability 18, 19, 20, 21, 32)",
  async (t) => {
    const { server, address, over } = await stand(t, "");
    let count = 0;
    for (const [what, answer, status, status2] of RULES) {
      server.script = (socket) => void socket.write(answer, "latin1");
      const client = await raw(address);
      client.send(HANDSHAKE);
      if (status === 101) {
        await client.until(/101/);
        client.destroy();
      }
      const { text } = await client.closed();
      t.equal(statusOf(text), status, what);
      if (status === 403) t.match(text, /^HTTP\/1\.1 403 [\x20-\x7e]+\r\n[^]*\r\n\r\nno$/, what);
      await over(++count);
      const other = await asking(address);
      await other.until("an end", () => other.hasEnded(1));
      t.equal(other.statusOf(1), status2, what);
      if (status2 === 403) t.equal(other.bodyOf(1).toString(), "no", what);
      other.destroy();
      await over(++count);
    }
  },
);

void inEveryLane(
  "a client of HTTP/2 that has ended its side reads a refused upgrade's answer all the same (reliability 32)",
  async (t) => {
    const { address, over } = await stand(t, reply(403, "no"));
    const client = await asking(address, frame(DATA, END_STREAM, 1));
    await client.until("an end", () => client.hasEnded(1));
    t.equal(client.statusOf(1), 403);
    t.equal(client.bodyOf(1).toString(), "no");
    client.destroy();
    await over(1);
  },
);

void inEveryLane(
  "a silent upgrade is a 504 when the time for a head is over, from the request on, however long a connection may take (reliability 14)",
  async (t) => {
    const { running, address, over } = await stand(t, "", { timeouts: { connect: "30s", headers: "100ms" } });
    const client = await raw(address);
    client.send(HANDSHAKE);
    t.equal(statusOf((await client.closed()).text), 504);
    await over(1);
    t.match(running.measured().counts, { "stable timeout": 1 });
  },
);
