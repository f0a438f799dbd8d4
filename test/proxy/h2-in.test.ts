/** HTTP/2 from clients: with prior knowledge and over TLS, against upstreams that speak HTTP/1.1 (reliability.md I48, I49). */

import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { connect as connectHttp2, constants } from "node:http2";
import type { AddressInfo } from "node:net";
import { connect as connectTls } from "node:tls";
import t from "tap";
import { WebSocketServer } from "ws";
import { answerOn, type Answer2, client2, valueOf } from "../support/h2.ts";
import { inEveryLane } from "../support/lanes.ts";
import { startPlane } from "../support/plane.ts";
import { reply, upstream } from "../support/upstream.ts";

const digest = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

void inEveryLane(
  "a request with prior knowledge is served as one over HTTP/1.1 is (reliability 48)",
  async (t) => {
    const stable = await upstream(
      reply(200, "hello", "X-A: 1\r\nX-A: 2\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nX-T: caf\xe9\r\n"),
    );
    const running = await startPlane({ stable: stable.url, canary: stable.url });
    const client = client2(running.address);
    const got = await client.ask("GET", "/a%2F..//b?x='", {
      "x-user": "u",
      cookie: ["a=1", "b=2"],
      "x-text": "\xff",
      host: running.address,
    });
    t.equal(got.status, 200);
    t.equal(got.body.toString(), "hello");
    t.equal(got.code, 0);
    t.match(got.fields.join("|"), /x-a\|1\|x-a\|2\|set-cookie\|a\|set-cookie\|b\|x-t\|caf\xe9/);
    const [seen] = stable.requests;
    t.equal(seen?.target, "/a%2F..//b?x='");
    t.equal(seen?.field("host"), running.address);
    t.equal(seen?.field("cookie"), "a=1; b=2");
    t.equal(seen?.field("via"), "2 sluice");
    t.equal(seen?.field("x-text"), "\xff");
    t.equal(seen?.head.match(/^host:/gim)?.length, 1);
    t.match(await running.settled((now) => now.settled === 1), { counts: { "stable ok": 1 } });
    client.close();
    await running.plane.close();
    await stable.close();
  },
);

void inEveryLane("bodies go both ways whole, with many at the same time (reliability 24, 48)", async (t) => {
  const bytes = randomBytes(300_000);
  const server = createServer((request, response) => {
    request.pipe(response);
  });
  const url = await listening(server);
  const running = await startPlane({ stable: url, canary: url });
  const client = client2(running.address);
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, nth) => client.ask("POST", `/${nth}`, { "x-user": String(nth) }, bytes)),
  );
  for (const { status, body, code } of answers) {
    t.equal(status, 200);
    t.equal(code, 0);
    t.equal(digest(body), digest(bytes));
  }
  await running.settled((now) => now.settled === 20);
  client.close();
  await running.plane.close();
  await closed(server);
});

void inEveryLane("HEAD, 204, 304 and 103 keep their form (reliability 19, 21, 48)", async (t) => {
  const stable = await upstream((socket, { method, target }) => {
    if (method === "HEAD") return void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
    if (target === "/204") return void socket.write("HTTP/1.1 204 No\r\n\r\n");
    if (target === "/304") return void socket.write("HTTP/1.1 304 No\r\nETag: x\r\n\r\n");
    return void socket.write(`HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n${reply(200, "late")}`);
  });
  const running = await startPlane({ stable: stable.url, canary: stable.url });
  const client = client2(running.address);
  const head = await client.ask("HEAD", "/");
  t.match([head.status, valueOf(head.fields, "content-length"), head.body.length], [200, "7", 0]);
  t.equal((await client.ask("GET", "/204")).status, 204);
  t.equal((await client.ask("GET", "/304")).status, 304);
  const hinted = await client.ask("GET", "/103");
  t.match(hinted, { status: 200, informational: [103] });
  t.equal(hinted.body.toString(), "late");
  client.close();
  await running.plane.close();
  await stable.close();
});

void inEveryLane(
  "a body that is cut upstream is a reset and never an end (reliability 17, 48)",
  async (t) => {
    const stable = await upstream((socket) => {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome");
      setImmediate(() => socket.destroy());
    });
    const running = await startPlane({ stable: stable.url, canary: stable.url });
    const client = client2(running.address);
    const got = await client.ask("GET", "/");
    t.equal(got.status, 200);
    t.equal(got.code, constants.NGHTTP2_INTERNAL_ERROR);
    t.match(await running.settled((now) => now.settled === 1), { counts: { "stable cut": 1 } });
    client.close();
    await running.plane.close();
    await stable.close();
  },
);

void inEveryLane("a request that is reset ends its sending at once (reliability 31, 48)", async (t) => {
  const stable = await upstream(() => undefined);
  const running = await startPlane({ stable: stable.url, canary: stable.url });
  const client = client2(running.address);
  const arrived = new Promise<void>((resolve) => {
    stable.script = () => resolve();
  });
  const left = new Promise<void>((resolve) => (stable.onClose = resolve));
  const stream = client.open("GET", "/");
  stream.end();
  await arrived;
  stream.close(constants.NGHTTP2_CANCEL);
  await left;
  t.match(await running.settled((now) => now.settled === 1), { counts: { "stable client_gone": 1 } });
  client.close();
  await running.plane.close();
  await stable.close();
});

void inEveryLane("what HTTP/1.1 could be confused by goes no further (reliability 49)", async (t) => {
  const stable = await upstream(reply(200, "no"));
  const running = await startPlane({ stable: stable.url, canary: stable.url });
  const bad: Record<string, Record<string, string>> = {
    "a Host that is not the authority": { ":authority": "one", host: "other" },
    "an authority with a path": { ":authority": "a/b" },
    "a path that is none": { ":path": "http://other/" },
    "a fragment": { ":path": "/a#b" },
    "a length that is none": { "content-length": "+1" },
  };
  for (const [what, fields] of Object.entries(bad)) {
    const session = connectHttp2(`http://${running.address}`);
    session.on("error", () => undefined);
    const stream = session.request({ ":path": "/", ...fields });
    stream.on("error", () => undefined);
    const got = await answerOn(stream);
    t.ok(got.status === 400 || got.code !== 0, `${what}: ${got.status} ${got.code}`);
    session.destroy();
  }
  t.equal(stable.requests.length, 0);
  await running.plane.close();
  await stable.close();
});

void inEveryLane("a length that the body does not keep ends both sides (reliability 49)", async (t) => {
  const stable = await upstream(reply(200, "no"));
  const running = await startPlane({ stable: stable.url, canary: stable.url });
  const client = client2(running.address);
  const got = await client.ask("POST", "/", { "content-length": "10" }, Buffer.from("short"));
  t.not(got.status, 200);
  t.equal(stable.requests.length, 0);
  client.close();
  await running.plane.close();
  await stable.close();
});

void inEveryLane(
  "CONNECT is refused, and what is over a limit has its own answer (reliability 6, 25, 48)",
  async (t) => {
    const stable = await upstream(reply(200, "no"));
    const running = await startPlane(
      { stable: stable.url, canary: stable.url },
      {},
      { limits: { url: "100B", head: "1KiB", fields: 10, body: "10B" } },
    );
    const client = client2(running.address);
    const many = Object.fromEntries(Array.from({ length: 20 }, (_, nth) => [`x-${nth}`, "a"]));
    t.equal((await client.ask("GET", `/${"a".repeat(200)}`)).status, 414);
    t.equal((await client.ask("GET", "/", many)).status, 431);
    t.equal((await client.ask("GET", "/", { "x-a": "b".repeat(2000) })).status, 431);
    t.equal((await client.ask("POST", "/", { "content-length": "11" }, Buffer.alloc(11))).status, 413);
    const connect = client.session.request({ ":method": "CONNECT", ":authority": "a:1" });
    connect.on("error", () => undefined);
    const refused = await answerOn(connect);
    t.ok(refused.status === 400 || refused.code !== 0);
    t.equal(stable.requests.length, 0);
    client.close();
    await running.plane.close();
    await stable.close();
  },
);

void inEveryLane("trailers of a response arrive (reliability 49)", async (t) => {
  const stable = await upstream((socket, seen) => {
    t.equal(seen.body, "abc");
    socket.write(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n3\r\nabc\r\n0\r\nX-End: 1\r\n\r\n",
    );
  });
  const running = await startPlane({ stable: stable.url, canary: stable.url });
  const client = client2(running.address);
  const got = await client.ask("POST", "/", {}, Buffer.from("abc"));
  t.equal(got.body.toString(), "abc");
  t.strictSame(got.trailers, ["x-end", "1"]);
  client.close();
  await running.plane.close();
  await stable.close();
});

void inEveryLane("a drain lets streams finish and takes no new ones (reliability 39, 48)", async (t) => {
  let answer: () => void = () => undefined;
  const stable = await upstream((socket) => {
    answer = () => void socket.write(reply(200, "late"));
  });
  const running = await startPlane({ stable: stable.url, canary: stable.url });
  const client = client2(running.address);
  const asked = new Promise<void>((resolve) => {
    const script = stable.script;
    stable.script = (socket, seen) => {
      script(socket, seen);
      resolve();
    };
  });
  const pending = client.ask("GET", "/");
  await asked;
  const goaway = once(client.session, "goaway");
  const retired = running.plane.retire(5000 as Parameters<typeof running.plane.retire>[0]);
  await goaway;
  answer();
  t.match(await pending, { status: 200, code: 0 });
  t.match(await retired, { cut: 0 });
  await stable.close();
});

void inEveryLane(
  "a client that resets what it opens, over and over, is told to calm down (reliability 48)",
  async (t) => {
    const stable = await upstream(() => undefined);
    const running = await startPlane(
      { stable: stable.url, canary: stable.url },
      {},
      { limits: { resets: 20 } },
    );
    const client = client2(running.address);
    await once(client.session, "remoteSettings");
    const goaway = once(client.session, "goaway");
    for (let nth = 0; nth < 60 && !client.session.destroyed; nth++) {
      const stream = client.open("GET", "/");
      stream.end();
      // What was never sent is not reset either.
      await new Promise((resolve) => setImmediate(resolve));
      stream.close(constants.NGHTTP2_CANCEL);
    }
    const [code] = (await goaway) as [number];
    t.equal(code, constants.NGHTTP2_ENHANCE_YOUR_CALM);
    client.close();
    await running.plane.close();
    await stable.close();
  },
);

void inEveryLane("a WebSocket goes through a stream of HTTP/2 (reliability 32; RFC 8441)", async (t) => {
  const server = createServer();
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) =>
    socket.on("message", (data: Buffer) => socket.send(`echo ${data.toString()}`)),
  );
  const url = await listening(server);
  const running = await startPlane({ stable: url, canary: url });
  const client = client2(running.address);
  await once(client.session, "remoteSettings");
  t.equal(client.session.remoteSettings.enableConnectProtocol, true);
  const stream = client.session.request(
    { ":method": "CONNECT", ":protocol": "websocket", ":path": "/chat", ":scheme": "http" },
    { endStream: false },
  );
  stream.on("error", () => undefined);
  const [headers] = (await once(stream, "response")) as [Record<string, unknown>];
  t.equal(headers[":status"], 200);
  // A masked text frame "hi" (RFC 6455 §5.7).
  stream.write(Buffer.from([0x81, 0x82, 1, 2, 3, 4, 0x68 ^ 1, 0x69 ^ 2]));
  const [frame] = (await once(stream, "data")) as [Buffer];
  t.equal(frame.subarray(2).toString(), "echo hi");
  t.match(await running.settled((now) => now.settled === 1), { counts: { "stable ok": 1 } });
  const gone = once(sockets.clients.values().next().value!, "close");
  stream.close(constants.NGHTTP2_CANCEL);
  await gone;
  client.close();
  await running.plane.close();
  sockets.close();
  await closed(server);
});

void inEveryLane(
  "a 205 with content is a 205 without over HTTP/2 (RFC 9110 §15.3.6; reliability 19)",
  async (t) => {
    const stable = await upstream("");
    let finish: () => void = () => undefined;
    stable.script = (socket, seen) => {
      socket.write(`HTTP/1.1 205 Reset Content\r\nX-A: 1\r\nContent-Length: ${seen.target.length}\r\n\r\n/`);
      finish = () => void socket.write(seen.target.slice(1));
    };
    const running = await startPlane({ stable: stable.url, canary: stable.url });
    const client = client2(running.address);
    const got = await client.ask("GET", "/long");
    t.strictSame([got.status, got.code, got.body.length], [205, 0, 0]);
    t.strictSame([valueOf(got.fields, "x-a"), valueOf(got.fields, "content-length")], ["1", undefined]);
    finish();
    t.strictSame((await running.settled((now) => now.settled === 1)).counts, { "stable ok": 1 });
    client.close();
    await running.plane.close();
    await stable.close();
  },
);

void inEveryLane(
  "a WebSocket over HTTP/2 that declares a body never reaches an upstream (reliability 32, 33, 49)",
  async (t) => {
    const stable = await upstream(reply(403, "no"));
    const running = await startPlane({ stable: stable.url, canary: stable.url });
    const client = client2(running.address);
    await once(client.session, "remoteSettings");
    const ask = (length: string): Promise<Answer2> => {
      const stream = client.session.request(
        {
          ":method": "CONNECT",
          ":protocol": "websocket",
          ":path": "/",
          ":scheme": "http",
          "content-length": length,
        },
        { endStream: false },
      );
      stream.on("error", () => undefined);
      return answerOn(stream);
    };
    t.equal((await ask("5")).status, 400);
    t.equal(stable.requests.length, 0);
    t.equal((await ask("0")).status, 403);
    t.notMatch(stable.requests[0]?.head, /content-length/i);
    t.strictSame((await running.settled((now) => now.settled === 1)).counts, { "stable ok": 1 });
    client.close();
    await running.plane.close();
    await stable.close();
  },
);

void inEveryLane(
  "an upgrade over HTTP/2 that the upstream refuses is an ordinary answer (reliability 32)",
  async (t) => {
    const stable = await upstream(
      "HTTP/1.1 403 No\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
    );
    const running = await startPlane({ stable: stable.url, canary: stable.url });
    const client = client2(running.address);
    await once(client.session, "remoteSettings");
    const stream = client.session.request(
      { ":method": "CONNECT", ":protocol": "websocket", ":path": "/", ":scheme": "http" },
      { endStream: false },
    );
    stream.on("error", () => undefined);
    const got = await answerOn(stream);
    t.equal(got.status, 403);
    t.equal(got.body.toString(), "no");
    client.close();
    await running.plane.close();
    await stable.close();
  },
);

t.test("over TLS a client gets HTTP/2 or HTTP/1.1, as it chooses by ALPN (reliability 48, 51)", async (t) => {
  const stable = await upstream(reply(200, "hello"));
  const folder = new URL("../golden/tls/", import.meta.url);
  const running = await startPlane(
    { stable: stable.url, canary: stable.url },
    {},
    {
      listen: [
        {
          address: "127.0.0.1:0",
          tls: { cert: new URL("cert.pem", folder).pathname, key: new URL("key.pem", folder).pathname },
        },
      ],
    },
  );
  const ca = readFileSync(new URL("cert.pem", folder));
  const client = client2(running.address, { ca, servername: "localhost" });
  const got = await client.ask("GET", "/");
  t.equal(got.body.toString(), "hello");
  t.equal(stable.requests[0]?.field("x-forwarded-proto"), "https");
  client.close();
  for (const [offered, chosen] of [
    [["http/1.1"], "http/1.1"],
    [undefined, false],
    [["h2", "http/1.1"], "h2"],
  ] as const) {
    const [host = "", port = ""] = running.address.split(":");
    const socket = connectTls({
      host,
      port: Number(port),
      ca,
      servername: "localhost",
      ...(offered === undefined ? {} : { ALPNProtocols: [...offered] }),
    });
    await once(socket, "secureConnect");
    t.equal(socket.alpnProtocol, chosen);
    socket.destroy();
  }
  await running.plane.close();
  await stable.close();
});

async function listening(server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // A TCP server has an address of this form.
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function closed(server: Server): Promise<void> {
  server.closeAllConnections();
  server.close();
  await once(server, "close");
}
