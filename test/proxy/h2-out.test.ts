/** HTTP/2 towards upstreams, from HTTP/1.1 clients: what is sent, what comes back, and on how many connections (reliability.md I50; acceptance 18). */

import { createHash, randomBytes } from "node:crypto";
import type { ServerHttp2Stream } from "node:http2";
import t from "tap";
import { inEveryLane } from "../support/lanes.ts";
import { answer, http2Upstream } from "../support/h2-upstream.ts";
import { startPlane } from "../support/plane.ts";
import { bodyOf, once, raw, statusOf } from "../support/raw.ts";

void inEveryLane(
  "a request goes out and its answer comes back with nothing changed but its form",
  async (t) => {
    const server = await http2Upstream(
      answer(201, "hello", {
        "content-length": "5",
        "x-b": ["1", "2"],
        "set-cookie": ["a=1", "b=2"],
        "x-text": "caf\xe9",
      }),
    );
    const running = await startPlane({ stable: server.url, canary: server.url });
    const text = await once(
      running.address,
      "GET /a%2F..//b?x='\" HTTP/1.1\nHost: app.example:81\nX-One: 1\nX-One: 2\nX-Text: \xff caf\xe9\nTE: trailers\nKeep-Alive: 1\nCookie: a=1; b=2",
    );
    t.equal(statusOf(text), 201);
    t.equal(bodyOf(text), "hello");
    t.match(text, /x-b: 1\r\nx-b: 2\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-text: caf\xe9\r\n/);
    const [seen] = server.requests;
    t.equal(seen?.field(":path"), "/a%2F..//b?x='\"");
    t.equal(seen?.field(":authority"), "app.example:81");
    t.equal(seen?.field(":scheme"), "http");
    t.equal(seen?.field("host"), undefined);
    t.equal(seen?.field("te"), undefined);
    t.equal(seen?.field("x-text"), "\xff caf\xe9");
    t.equal(seen?.field("cookie"), "a=1; b=2");
    t.equal(seen?.field("x-forwarded-for"), "127.0.0.1");
    t.match(seen?.list.join("|"), /x-one\|1\|x-one\|2/);
    t.match(await running.settled((now) => now.settled === 1), { counts: { "stable ok": 1 } });
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane("bodies go both ways unharmed, also those that nobody takes at once", async (t) => {
  const server = await http2Upstream((stream, seen) => {
    if (seen.method === "POST") {
      const hash = createHash("sha256");
      stream.on("data", (chunk: Buffer) => hash.update(chunk));
      stream.on("end", () => {
        stream.respond({ ":status": 200 });
        stream.end(hash.digest("hex"));
      });
    } else answer(200, big, { "content-length": String(big.length) })(stream, seen);
  });
  const bytes = randomBytes(3_000_000);
  const big = bytes.toString("latin1");
  const hash = createHash("sha256").update(bytes).digest("hex");
  const running = await startPlane({ stable: server.url, canary: server.url });
  const client = await raw(running.address);
  client.send(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${bytes.length}\r\n\r\n`);
  client.send(bytes);
  client.send("GET /next HTTP/1.1\r\nHost: x\r\n\r\n");
  await client.until((text) => text.includes(hash));
  client.socket.pause();
  await new Promise((resolve) => setImmediate(resolve));
  client.socket.resume();
  const text = await client.until((all) => all.length > bytes.length + 300);
  t.ok(text.includes(big));
  client.destroy();
  await running.plane.close();
  await server.close();
});

void t.test("bodiless answers, hints and trailers come as they are, and keep the connection", async (t) => {
  const server = await http2Upstream((stream, seen) => {
    const status = Number(seen.target.slice(1));
    if (seen.method === "HEAD")
      stream.respond({ ":status": status, "content-length": 9 }, { endStream: true });
    else if (status !== 200) stream.respond({ ":status": status }, { endStream: true });
    else {
      stream.additionalHeaders({ ":status": 103, link: "</a.css>; rel=preload" });
      stream.respond({ ":status": 200, trailer: "x-sum" }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": ["1", "2"], "content-type": "7" }));
      stream.end("hello");
    }
  });
  const running = await startPlane({ stable: server.url, canary: server.url });
  const client = await raw(running.address);
  client.send(
    "HEAD /200 HTTP/1.1\r\nHost: x\r\n\r\nGET /204 HTTP/1.1\r\nHost: x\r\n\r\nGET /304 HTTP/1.1\r\nHost: x\r\n\r\n",
  );
  await client.until(/ 200 [^]* 204 [^]* 304 [^]*\r\n\r\n$/);
  t.match(client.received, /^HTTP\/1\.1 200 OK\r\n[^]*content-length: 9\r\n/i);
  client.send("GET /200 HTTP/1.1\r\nHost: x\r\n\r\n");
  const text = await client.until(/x-sum: 2\r\n\r\n$/i);
  t.match(text, /HTTP\/1\.1 103 Early Hints\r\nlink: <\/a\.css>; rel=preload\r\n\r\nHTTP\/1\.1 200 OK\r\n/i);
  t.match(text, /\r\n0\r\nx-sum: 1\r\nx-sum: 2\r\n\r\n$/i);
  t.equal(server.accepted, 1);
  client.destroy();
  await running.plane.close();
  await server.close();
});

void t.test("the trailers of a request go with it, without those that frame it", async (t) => {
  const trailers: unknown[] = [];
  const server = await http2Upstream((stream, seen) => {
    stream.on("trailers", (_trailers, _flags, list: unknown) => trailers.push(list));
    void seen.body().then((body) => answer(200, body)(stream, seen));
  });
  const running = await startPlane({ stable: server.url, canary: server.url });
  const text = await once(
    running.address,
    "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\nTrailer: X-Sum",
    "3\r\nabc\r\n0\r\nX-Sum: 1\r\nContent-Type: 9\r\nX-Sum: 2\r\n\r\n",
  );
  t.match(text, /\r\n3\r\nabc\r\n0\r\n\r\n$/);
  t.strictSame(trailers, [["x-sum", "1", "x-sum", "2"]]);
  await running.plane.close();
  await server.close();
});

void t.test(
  "gRPC is asked for with `te: trailers`, and its status decides, wherever it is or is not (acceptance 18, reliability 50)",
  async (t) => {
    const GRPC = { ":status": 200, "content-type": "application/grpc+proto" };
    const server = await http2Upstream((stream, seen) => {
      const status = seen.target.slice(1);
      if (seen.field("x-head") !== undefined) {
        stream.respond({ ...GRPC, "grpc-status": status }, { endStream: true });
        return;
      }
      stream.respond(GRPC, { waitForTrailers: status !== "" });
      stream.on("wantTrailers", () =>
        stream.sendTrailers({
          "grpc-status": status,
          "grpc-message": "of%20the%20app",
          "x-meta-bin": "AAEC",
        }),
      );
      stream.end("\0\0\0\0\0");
    });
    const running = await startPlane({ stable: server.url, canary: server.url });
    const call = async (target: string, more = ""): Promise<string> =>
      once(
        running.address,
        `POST ${target} HTTP/1.1\nHost: x\nContent-Type: application/grpc\nContent-Length: 5${more}`,
        "\0\0\0\0\0",
      );
    t.match(
      await call("/0"),
      /\r\n0\r\ngrpc-status: 0\r\ngrpc-message: of%20the%20app\r\nx-meta-bin: AAEC\r\n\r\n$/,
    );
    await call("/14");
    await call("/5");
    await call("/14", "\nX-Head: 1");
    await call("/");
    t.ok(server.requests.every((seen) => seen.field("te") === "trailers"));
    const { counts } = await running.settled((now) => now.settled === 5);
    // 14 is UNAVAILABLE, twice; 5 is NOT_FOUND, an answer of the application; none at all is UNKNOWN.
    t.strictSame(counts, { "stable ok": 2, "stable grpc": 3 });
    await running.plane.close();
    await server.close();
  },
);

void t.test(
  "HTTP/1.0 without Host is sent with the endpoint's name, and pipelined requests in order",
  async (t) => {
    const server = await http2Upstream((stream, seen) => {
      void seen.body().then((body) => answer(200, `${seen.target}${body};`)(stream, seen));
    });
    const running = await startPlane({ stable: server.url, canary: server.url });
    const client = await raw(running.address);
    client.send(
      "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: x\r\n\r\nPOST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n",
    );
    await client.until(/\/aabc;[^]*\/b;[^]*\/cxyz;\r\n0\r\n\r\n$/);
    client.send("GET /d HTTP/1.0\r\n\r\n");
    await client.closed();
    t.match(client.received, /\r\n\r\n\/d;$/);
    t.equal(server.requests[3]?.field(":authority"), server.url.slice("h2c://".length));
    t.strictSame((await running.settled((now) => now.settled === 4)).counts, { "stable ok": 4 });
    await running.plane.close();
    await server.close();
  },
);

void t.test("a reload that drops an endpoint lets its streams finish, and then its connection", async (t) => {
  const held: ServerHttp2Stream[] = [];
  const server = await http2Upstream((stream) => {
    stream.respond({ ":status": 200 });
    stream.write("first|");
    held.push(stream);
  });
  const other = await http2Upstream(answer(200, "other"));
  const running = await startPlane({ stable: server.url, canary: server.url });
  const client = await raw(running.address);
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  await client.until(/first\|/);
  running.reconfigure({ stable: { endpoints: [other.url] }, canary: { endpoints: [other.url] } });
  t.match(await once(running.address, "GET / HTTP/1.1\nHost: x"), /other/);
  t.equal(server.sessions.size, 1);
  held[0]?.end("last");
  await client.until(/last\r\n0\r\n\r\n$/);
  await running.settled(() => server.sessions.size === 0);
  t.strictSame((await running.settled((now) => now.settled === 2)).counts, { "stable ok": 2 });
  client.destroy();
  await running.plane.close();
  await Promise.all([server.close(), other.close()]);
});
