/**
 * What no HTTP/2 library sends: malformed heads, bodies that stop, clients that neither read nor leave; and upstreams whose answers HTTP/2 cannot carry
 * as they are (reliability.md I48, I49, C17, C18).
 */

import { connect } from "node:net";
import t from "tap";
import { millis } from "../../src/domain/units.ts";
import {
  block,
  DATA,
  END_HEADERS,
  END_STREAM,
  ENHANCE_YOUR_CALM,
  frame,
  GOAWAY,
  head,
  HEADERS,
  listenTo,
  NO_ERROR,
  number,
  PREFACE,
  rawHttp2,
  REFUSED_STREAM,
  request,
  RST_STREAM,
  SETTINGS,
  settings,
  WEBSOCKET,
  WINDOW_UPDATE,
  type Fields,
  type RawHttp2,
} from "../support/frames.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { strictUpstream } from "../support/strict.ts";
import { reply, upstream, switching } from "../support/upstream.ts";
import { resetConnection } from "../support/raw.ts";

const PSEUDO: readonly (readonly [string, string])[] = request("/");
const without = (name: string): Fields => PSEUDO.filter(([each]) => each !== name);
const instead = (name: string, value: string): Fields =>
  PSEUDO.map(([each, before]) => [each, each === name ? value : before]);
const also = (...more: Fields): Fields => [...PSEUDO, ...more];

/** Heads of which nothing may go on. */
const REFUSED: Readonly<Record<string, Fields>> = {
  "no :method": without(":method"),
  "no :scheme": without(":scheme"),
  "no :path": without(":path"),
  "no authority": without(":authority"),
  "another :scheme": instead(":scheme", "ftp"),
  "an empty :authority": instead(":authority", ""),
  "a user in :authority": instead(":authority", "user@app"),
  "a path in :authority": instead(":authority", "app/b"),
  "an empty :path": instead(":path", ""),
  "a :path that is *": instead(":path", "*"),
  "an absolute :path": instead(":path", "http://other/"),
  "a space in :path": instead(":path", "/a b"),
  "a head in :path": instead(":path", "/ HTTP/1.1\r\nX-A: 1"),
  "a byte above 7E in :path": instead(":path", "/caf\xe9"),
  "a fragment": instead(":path", "/a#b"),
  "a head in :method": instead(":method", "GET / HTTP/1.1\r\n\r\nGET"),
  "a space in :method": instead(":method", "GET /x"),
  ":path twice": also([":path", "/b"]),
  "a pseudo-header field behind a field": [...without(":path"), ["x-a", "1"], [":path", "/"]],
  "an unknown pseudo-header field": also([":x", "1"]),
  ":status": also([":status", "200"]),
  ":protocol without CONNECT": also([":protocol", "websocket"]),
  "another Host": also(["host", "other"]),
  "two Hosts": [...without(":authority"), ["host", "a"], ["host", "b"]],
  Connection: also(["connection", "close"]),
  "Keep-Alive": also(["keep-alive", "timeout=5"]),
  "Proxy-Connection": also(["proxy-connection", "close"]),
  "Transfer-Encoding": also(["transfer-encoding", "chunked"]),
  Upgrade: also(["upgrade", "h2c"]),
  "TE with more than trailers": also(["te", "trailers, gzip"]),
  "a name in upper case": also(["X-A", "1"]),
  "a space before a value": also(["x-a", " 1"]),
  "a space behind a value": also(["x-a", "1 "]),
  "a length without a body": also(["content-length", "5"]),
  "two lengths": also(["content-length", "0"], ["content-length", "0"]),
  "a length that is none": also(["content-length", "0x0"]),
  "CONNECT to somewhere": [
    [":method", "CONNECT"],
    [":authority", "app:1"],
  ],
  "an unknown protocol": [
    [":method", "CONNECT"],
    [":protocol", "connect-udp"],
    [":scheme", "http"],
    [":authority", "app"],
    [":path", "/"],
  ],
};

/** Whether a stream came to nothing: reset, or answered with a 4xx or 501. */
function isRefused(client: RawHttp2, stream: number): boolean {
  if (client.resetOf(stream) !== undefined) return true;
  const status = client.statusOf(stream);
  return client.hasEnded(stream) && ((status >= 400 && status < 500) || status === 501);
}

t.test("a malformed or ambiguous head is refused, and nothing of it goes on (reliability 49)", async (t) => {
  const stable = await strictUpstream();
  const running = await startPlane({ stable: stable.url, canary: stable.url });
  for (const [what, fields] of Object.entries(REFUSED)) {
    const client = await rawHttp2(running.address);
    client.send(head(1, fields));
    await client.until(what, () => client.resetOf(1) !== undefined || client.hasEnded(1));
    t.ok(isRefused(client, 1), `${what}: ${client.statusOf(1)}`);
    client.destroy();
  }
  t.strictSame([stable.heard, stable.broken, stable.bytes], [[], [], ""]);
  t.strictSame(running.measured().counts, {});
  await running.plane.close();
  await stable.close();
});

t.test("control bytes never reach an HTTP/1.1 head, nor a name that is none (reliability 49)", async (t) => {
  const stable = await strictUpstream();
  const running = await startPlane({ stable: stable.url, canary: stable.url });
  const bad: Fields = [
    ["x-evil", "1\r\nx-smuggled: 2"],
    ["x-evil", "1\0"],
    ["x-evil", "1\x7f"],
    ["x-evil: 1\r\nx-smuggled", "2"],
    ["x evil", "1"],
    ["", "1"],
  ];
  for (const field of bad) {
    const client = await rawHttp2(running.address);
    client.send(head(1, also(field)));
    await client.until("an end", () => client.resetOf(1) !== undefined || client.hasEnded(1));
    client.destroy();
  }
  t.strictSame(stable.broken, []);
  t.notMatch(stable.bytes, /evil|smuggled/);
  await running.plane.close();
  await stable.close();
});

/** Ways in which an upload of "abc" stops; the body is neither of ten bytes nor ended. */
const STOPS: Readonly<Record<string, (client: RawHttp2) => void>> = {
  "RST_STREAM with NO_ERROR": (client) => client.send(frame(RST_STREAM, 0, 1, number(0))),
  "RST_STREAM with CANCEL": (client) => client.send(frame(RST_STREAM, 0, 1, number(8))),
  FIN: (client) => void client.socket.end(),
  "GOAWAY and FIN": (client) => void client.socket.end(frame(GOAWAY, 0, 0, Buffer.alloc(8))),
  "a reset of the connection": (client) => resetConnection(client.socket),
  "a frame that ends the connection": (client) => client.send(frame(SETTINGS, 0, 1)),
  "a malformed trailer": (client) => client.send(head(1, [[":path", "/"]])),
  "a trailer of the connection": (client) => client.send(head(1, [["connection", "close"]])),
  "a trailer without an end": (client) => client.send(head(1, [["x-a", "1"]], 0)),
};

/** The same, for a body whose length was declared. */
const LENGTHS: typeof STOPS = {
  "an end too early": (client) => client.send(frame(DATA, END_STREAM, 1, Buffer.from("d"))),
  "an end too late": (client) => client.send(frame(DATA, END_STREAM, 1, Buffer.alloc(20))),
};

for (const [what, stop] of [...Object.entries(STOPS), ...Object.entries(LENGTHS)]) {
  t.test(`an upload that stops by ${what} never looks whole (reliability 31, 49)`, async (t) => {
    for (const fields of [[], [["content-length", "10"]]] as const satisfies readonly Fields[]) {
      if (fields.length === 0 && Object.hasOwn(LENGTHS, what)) continue;
      const stable = await upstream(reply(200, "whole"));
      let bytes = "";
      const arrived = new Promise<void>((resolve) => {
        stable.onConnection = (socket) => {
          socket.on("data", (chunk: Buffer) => {
            bytes += chunk.toString("latin1");
            if (bytes.includes("abc")) resolve();
          });
        };
      });
      const left = new Promise<void>((resolve) => (stable.onClose = resolve));
      const running = await startPlane({ stable: stable.url, canary: stable.url });
      const client = await rawHttp2(running.address);
      client.send(head(1, request("/", fields, "POST"), 0), frame(DATA, 0, 1, Buffer.from("abc")));
      await arrived;
      stop(client);
      await left;
      t.notMatch(bytes, /\r\n0\r\n/);
      const { counts } = await running.settled((now) => now.settled === 1);
      t.strictSame(counts, { "stable client_gone": 1 });
      client.destroy();
      await running.plane.close();
      await stable.close();
    }
  });
}

t.test("upstreams that cut their answers get no client disconnected (reliability 17, 33, 48)", async (t) => {
  const stable = await upstream((socket) => {
    socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome");
    setImmediate(() => socket.destroy());
  });
  const running = await startPlane(
    { stable: stable.url, canary: stable.url },
    {},
    { limits: { resets: 10 } },
  );
  const client = await rawHttp2(running.address);
  for (let id = 1; id < 41; id += 2) {
    client.send(head(id, request("/")));
    await client.until("a reset", () => client.resetOf(id) !== undefined);
    t.notOk(client.hasEnded(id));
  }
  t.equal(client.goAway, undefined);
  const totals = await running.settled((now) => now.settled === 20);
  t.strictSame([totals.counts, totals.events], [{ "stable cut": 20 }, {}]);
  client.destroy();
  await running.plane.close();
  await stable.close();
});

t.test(
  "a client that resets its requests is told to calm down, and it counts (reliability 48)",
  async (t) => {
    const stable = await upstream(() => undefined);
    const running = await startPlane(
      { stable: stable.url, canary: stable.url },
      {},
      { limits: { resets: 10 } },
    );
    for (const isApart of [true, false]) {
      const before = stable.requests.length;
      const client = await rawHttp2(running.address);
      for (let id = 1; id < 23; id += 2) {
        client.send(head(id, request("/")));
        if (isApart) await running.settled(() => stable.requests.length === before + (id + 1) / 2);
        client.send(frame(RST_STREAM, 0, id, number(8)));
      }
      await client.closed();
      t.equal(client.goAway, ENHANCE_YOUR_CALM);
    }
    const { counts, events } = await running.settled((now) => now.events["http2_resets"] === 2);
    // The eleven that were apart, and what was begun of the others.
    t.ok((counts["stable client_gone"] ?? 0) >= 11);
    t.strictSame([Object.keys(counts), events], [["stable client_gone"], { http2_resets: 2 }]);
    await running.plane.close();
    await stable.close();
  },
);

t.test(
  "the last request that a connection may have is answered, and no more (reliability 25, 48)",
  async (t) => {
    const stable = await upstream(reply(200, "ok"));
    const running = await startPlane(
      { stable: stable.url, canary: stable.url },
      {},
      { limits: { requests: 2 } },
    );
    const client = await rawHttp2(running.address);
    client.send(head(1, request("/")), head(3, request("/")), head(5, request("/")));
    await client.until("GOAWAY", () => client.goAway !== undefined && client.hasEnded(3));
    t.strictSame([client.statusOf(1), client.statusOf(3), client.statusOf(5)], [200, 200, 0]);
    t.equal(client.goAway, NO_ERROR);
    await client.until("a refusal", () => client.resetOf(5) !== undefined);
    t.equal(client.resetOf(5), REFUSED_STREAM);
    await client.closed();
    t.equal(stable.requests.length, 2);
    await running.plane.close();
    await stable.close();
  },
);

t.test("what goes up through a WebSocket is no flood (reliability 32, 48)", async (t) => {
  let bytes = 0;
  const stable = await upstream("");
  stable.onConnection = (socket) => {
    socket.once("data", (request: Buffer) => {
      socket.write(switching(/sec-websocket-key: (.*)\r/i.exec(request.toString("latin1"))?.[1]));
      socket.on("data", (chunk: Buffer) => (bytes += chunk.length));
    });
  };
  const running = await startPlane({ stable: stable.url, canary: stable.url });
  const client = await rawHttp2(running.address);
  await client.until("SETTINGS", () => client.frames.length > 1);
  client.send(head(1, WEBSOCKET, 0));
  await client.until("an answer", () => client.statusOf(1) === 200);
  const piece = Buffer.alloc(16_000);
  let window = 65_535;
  let seen = 0;
  const began = process.uptime();
  // Longer than it takes to be looked at, and more than any overhead may be.
  for (let sent = 0; sent < 12_000_000 || process.uptime() - began < 1.5; sent += piece.length) {
    while (window < piece.length) {
      await client.until("a window", () => client.frames.length > seen);
      for (; seen < client.frames.length; seen++) {
        const { type, stream, payload } = client.frames[seen]!;
        if (type === WINDOW_UPDATE && stream === 1) window += payload.readUInt32BE(0);
      }
    }
    window -= piece.length;
    await client.flushed(frame(DATA, 0, 1, piece));
  }
  t.equal(client.goAway, undefined);
  t.strictSame(running.measured().events, {});
  t.ok(bytes > 11_000_000);
  client.destroy();
  await running.plane.close();
  await stable.close();
});

t.test(
  "hundreds of downloads that are broken off leave a connection as it was (reliability 31, 48)",
  async (t) => {
    const stable = await upstream(reply(200, "x".repeat(400_000)));
    const running = await startPlane(
      { stable: stable.url, canary: stable.url },
      {},
      { limits: { resets: 1000 } },
    );
    const client = await rawHttp2(running.address);
    for (let id = 1; id < 601; id += 2) {
      client.send(head(id, request("/")));
      await client.until("a body", () => client.bodyOf(id).length > 0 || client.resetOf(id) !== undefined);
      if (client.resetOf(id) !== undefined) break;
      client.send(frame(RST_STREAM, 0, id, number(8)), frame(WINDOW_UPDATE, 0, 0, number(64 * 1024)));
    }
    t.equal(client.resetOf(601 - 2), undefined);
    t.equal(client.statusOf(601 - 2), 200);
    client.destroy();
    await running.settled((now) => now.settled === 300);
    await running.plane.close();
    await stable.close();
  },
);

t.test("fields that upstreams repeat are passed on, whatever they are (reliability 18, 23)", async (t) => {
  const twice = ["X-Content-Type-Options: nosniff", "ETag: a", "Age: 1", "Location: /", "Content-Type: a/b"];
  const fields = twice.map((line) => `${line}\r\n${line}\r\n`).join("");
  const stable = await upstream(reply(200, "ok", fields));
  const running = await startPlane({ stable: stable.url, canary: stable.url });
  const client = await rawHttp2(running.address);
  client.send(head(1, request("/")));
  await client.until("an answer", () => client.hasEnded(1));
  t.equal(client.statusOf(1), 200);
  t.match(await running.settled((now) => now.settled === 1), { counts: { "stable ok": 1 } });
  client.destroy();
  await running.plane.close();
  await stable.close();
});

t.test("100-continue is answered at once, anything else expected is refused (reliability 15)", async (t) => {
  const stable = await upstream(reply(200, "ok"));
  const running = await startPlane({ stable: stable.url, canary: stable.url });
  const client = await rawHttp2(running.address);
  const post = (id: number, expected: string): Buffer =>
    head(id, request("/", [["expect", expected]], "POST"), 0);
  client.send(post(1, "100-continue"));
  await client.until("100", () => client.statusOf(1) === 100);
  client.send(frame(DATA, END_STREAM, 1, Buffer.from("abc")));
  await client.until("an answer", () => client.hasEnded(1));
  t.equal(client.statusOf(1), 200);
  t.equal(stable.requests[0]?.body, "abc");
  client.send(post(3, "more"));
  await client.until("a refusal", () => client.statusOf(3) !== 0);
  t.equal(client.statusOf(3), 417);
  t.equal(stable.requests.length, 1);
  client.destroy();
  await running.plane.close();
  await stable.close();
});

/** A client whose side stays open when the proxy ends its own. */
async function stubborn(address: string, first: Buffer): Promise<RawHttp2> {
  const [host = "", port = ""] = address.split(":");
  const socket = connect({ host, port: Number(port), allowHalfOpen: true });
  await new Promise((resolve) => socket.once("connect", resolve));
  socket.write(first);
  return listenTo(socket);
}

/** Waits until no connection is left; the client has not closed. */
async function empty(running: TestPlane): Promise<void> {
  await running.settled(() => running.plane.gauges().connections === 0);
}

t.test("a client that begins nothing is gone after the time of a head (reliability 26, 48)", async (t) => {
  const stable = await upstream(reply(200, "no"));
  const running = await startPlane(
    { stable: stable.url, canary: stable.url },
    {},
    { limits: { headTime: "200ms", keepAlive: "400ms" } },
  );
  for (const [what, first] of Object.entries({
    "a preface alone": PREFACE,
    "half of SETTINGS": Buffer.concat([PREFACE, settings([1, 0]).subarray(0, 12)]),
    "SETTINGS alone": Buffer.concat([PREFACE, settings([1, 0])]),
  })) {
    const client = await stubborn(running.address, first);
    await empty(running);
    t.pass(what);
    client.destroy();
  }
  // A head that is never finished, behind a connection that was well begun.
  const client = await stubborn(running.address, Buffer.concat([PREFACE, settings([1, 0])]));
  await client.until("SETTINGS", () => client.frames.length > 1);
  client.send(frame(HEADERS, END_STREAM, 1, block(request("/"))));
  await empty(running);
  client.destroy();
  await running.plane.close();
  await stable.close();
});

t.test("a connection that has ended is closed, whatever its client does (reliability 25, 48)", async (t) => {
  const stable = await upstream(reply(200, "ok"));
  const running = await startPlane({ stable: stable.url, canary: stable.url });
  for (const [what, last] of Object.entries({
    "a GOAWAY of the client": frame(GOAWAY, 0, 0, Buffer.alloc(8)),
    "an error of the client": frame(SETTINGS, 0, 1),
  })) {
    const client = await stubborn(running.address, Buffer.concat([PREFACE, settings([1, 0])]));
    await client.until("SETTINGS", () => client.frames.length > 1);
    client.send(last);
    await empty(running);
    t.pass(what);
    client.destroy();
  }
  await running.plane.close();
  await stable.close();
});

t.test("a connection is idle again when its last request is reset (reliability 26, 48)", async (t) => {
  const stable = await upstream(() => undefined);
  const running = await startPlane(
    { stable: stable.url, canary: stable.url },
    {},
    { limits: { keepAlive: "200ms" } },
  );
  const client = await stubborn(running.address, Buffer.concat([PREFACE, settings([1, 0])]));
  client.send(head(1, request("/")));
  await client.until("SETTINGS", () => client.frames.length > 1);
  const late = new Promise((resolve) => setTimeout(resolve, 400));
  // The time of an idle connection passes with a request open.
  await late;
  t.equal(client.goAway, undefined);
  client.send(frame(RST_STREAM, 0, 1, number(8)));
  await empty(running);
  client.destroy();
  await running.plane.close();
  await stable.close();
});

t.test(
  "a client that takes nothing is cut, and does not hold up a drain (reliability 24, 39, 48)",
  async (t) => {
    const body = "x".repeat(8_000_000);
    const stable = await upstream(reply(200, body));
    for (const isReading of [true, false]) {
      const running = await startPlane(
        { stable: stable.url, canary: stable.url },
        {},
        { limits: { bodyIdle: "300ms", keepAlive: "60s" } },
      );
      const window = isReading ? 0 : 2 ** 31 - 1;
      const client = await rawHttp2(running.address, [[4, window]]);
      await client.until("SETTINGS", () => client.frames.length > 1);
      if (!isReading) {
        client.send(frame(WINDOW_UPDATE, 0, 0, number(2 ** 31 - 1 - 65_535)));
        client.socket.pause();
      }
      client.send(head(1, request("/")));
      t.match(await running.settled((now) => now.settled === 1), { counts: { "stable client_gone": 1 } });
      if (isReading) await client.until("a reset", () => client.resetOf(1) !== undefined);
      const { cut } = await running.plane.retire(millis(300));
      t.equal(cut, 0);
      t.equal(running.plane.gauges().connections, 0);
      client.destroy();
      await running.plane.close();
    }
    await stable.close();
  },
);

t.test("an upgrade that is answered with no status of HTTP is a failure (reliability 18, 32)", async (t) => {
  for (const status of ["999", "600", "099"]) {
    const stable = await upstream(`HTTP/1.1 ${status} X\r\nContent-Length: 2\r\n\r\nok`);
    const running = await startPlane({ stable: stable.url, canary: stable.url });
    const client = await rawHttp2(running.address);
    await client.until("SETTINGS", () => client.frames.length > 1);
    client.send(head(1, WEBSOCKET, END_HEADERS));
    await client.until("an end", () => client.hasEnded(1) || client.resetOf(1) !== undefined);
    t.not(client.statusOf(1), 200);
    client.destroy();
    await running.plane.close();
    await stable.close();
  }
});

t.test("an answer to an upgrade that is cut never looks whole (reliability 17, 32)", async (t) => {
  for (const framing of [
    "Content-Length: 50\r\n\r\nhello",
    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
  ]) {
    const stable = await upstream((socket) => {
      socket.write(`HTTP/1.1 403 X\r\n${framing}`);
      setImmediate(() => socket.destroy());
    });
    const running = await startPlane({ stable: stable.url, canary: stable.url });
    const client = await rawHttp2(running.address);
    await client.until("SETTINGS", () => client.frames.length > 1);
    client.send(head(1, WEBSOCKET, 0));
    await client.until("a reset", () => client.resetOf(1) !== undefined);
    t.notOk(client.hasEnded(1));
    client.destroy();
    await running.plane.close();
    await stable.close();
  }
});
