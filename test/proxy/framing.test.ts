/** What is refused, and that nothing of it reaches an upstream (reliability.md A1–A9, B10, B11). */

import { inEveryLane, laneConfig } from "../support/lanes.ts";
import { once, raw, statusOf } from "../support/raw.ts";
import { startPlane, type Totals } from "../support/plane.ts";
import { reply, upstream } from "../support/upstream.ts";

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

const REFUSED: readonly (readonly [string, string, number])[] = [
  [
    "both Content-Length and Transfer-Encoding",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    400,
  ],
  [
    "Transfer-Encoding before Content-Length",
    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    400,
  ],
  [
    "two Content-Length that differ",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    400,
  ],
  [
    "two Content-Length that agree",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    400,
  ],
  ["a signed Content-Length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello", 400],
  ["a hexadecimal Content-Length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\nhello", 400],
  ["a list as Content-Length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello", 400],
  ["an empty Content-Length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\nhello", 400],
  [
    "a Content-Length above 2^53",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9007199254740993\r\n\r\nhello",
    400,
  ],
  ["an unknown coding", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n", 400],
  [
    "chunked twice",
    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    400,
  ],
  [
    "chunked over two lines",
    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    400,
  ],
  [
    "chunked not last",
    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    400,
  ],
  ["an empty Transfer-Encoding", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n", 400],
  [
    "Transfer-Encoding in HTTP/1.0",
    "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    400,
  ],
  ["no Host", "GET / HTTP/1.1\r\n\r\n", 400],
  ["two Hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400],
  ["a Host that is no authority", "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400],
  ["a space before a colon", "GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400],
  ["a folded field", "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400],
  ["a bare CR in a value", "GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400],
  ["a NUL in a value", "GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", 400],
  ["a control byte in a value", "GET / HTTP/1.1\r\nHost: x\r\nA: b\x01c\r\n\r\n", 400],
  ["a field without a colon", "GET / HTTP/1.1\r\nHost: x\r\nAbc\r\n\r\n", 400],
  ["a name that is no token", "GET / HTTP/1.1\r\nHost: x\r\nA(b: c\r\n\r\n", 400],
  ["HTTP/2.0 on a request line", "GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505],
  ["HTTP/0.9 on a request line", "GET / HTTP/0.9\r\nHost: x\r\n\r\n", 505],
  ["CONNECT", "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", 400],
  ["a target that is no path", "GET x HTTP/1.1\r\nHost: x\r\n\r\n", 400],
  ["an asterisk with GET", "GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400],
  ["an absolute target with user information", "GET http://a@b/ HTTP/1.1\r\nHost: x\r\n\r\n", 400],
  ["a broken chunk size", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400],
  [
    "an Expect that nobody knows",
    "POST / HTTP/1.1\r\nHost: x\r\nExpect: tea\r\nContent-Length: 1\r\n\r\na",
    417,
  ],
  ["a body above the limit", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n", 413],
  [
    "a chunked body above the limit",
    `POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n${"a".repeat(2000)}\r\n0\r\n\r\n`,
    413,
  ],
  ["a target above the limit", `GET /${"a".repeat(3000)} HTTP/1.1\r\nHost: x\r\n\r\n`, 414],
  ["more fields than the limit", `GET / HTTP/1.1\r\nHost: x\r\n${"A: b\r\n".repeat(50)}\r\n`, 431],
  ["a head above the limit", `GET / HTTP/1.1\r\nHost: x\r\nA: ${"b".repeat(4500)}\r\n\r\n`, 431],
  ["a head far above the limit", `GET / HTTP/1.1\r\nHost: x\r\nA: ${"b".repeat(90_000)}\r\n\r\n`, 431],
];

const LIMITS = { limits: { body: "1KiB", url: "2KiB", head: "4KiB", fields: 40 } };

void inEveryLane(
  "an ambiguous or oversized request is refused, and nothing of it reaches an upstream (reliability 2, 3, 5, 6, 9, 15, 25, 33)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const running = await startPlane({ stable: server.url, canary: server.url }, {}, LIMITS);
    for (const [what, bytes, status] of REFUSED) {
      const client = await raw(running.address);
      client.send(bytes + SMUGGLED);
      const { text } = await client.closed();
      t.equal(statusOf(text), status, what);
      t.equal(text.match(/HTTP\/1\.1 \d/g)?.length, 1, `one answer to ${what}`);
      t.match(text, /connection: close/i, what);
      t.match(text, /SPLIT_REQUEST_REFUSED/, what);
    }
    t.strictSame(
      server.requests.filter((seen) => seen.target === "/smuggled"),
      [],
    );
    const evidence = Object.keys(running.measured().counts).filter((name) => !name.endsWith(" refused"));
    t.strictSame(evidence, [], "no refusal is evidence about an arm");
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane("a body is framed anew for every method, and stays a body (reliability 4)", async (t) => {
  const server = await upstream(reply(200, "ok"));
  const running = await startPlane({ stable: server.url, canary: server.url });
  for (const method of ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]) {
    const client = await raw(running.address);
    const chunked = `${SMUGGLED.length.toString(16)};ext=1\r\n${SMUGGLED}\r\n0\r\nHost: evil\r\n\r\n`;
    client.send(`${method} /chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunked}`);
    await client.until(/ok$/);
    client.send(
      `${method} /length HTTP/1.1\r\nHost: x\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`,
    );
    await client.until(/ok[^]*ok$/);
    client.send(`${method} /none HTTP/1.1\r\nHost: x\r\n\r\n`);
    await client.until(/ok[^]*ok[^]*ok$/);
    client.destroy();
  }
  t.equal(server.requests.length, 21);
  for (const seen of server.requests) {
    const lengths = seen.head.match(/^(content-length|transfer-encoding):/gim)?.length ?? 0;
    t.ok(lengths <= 1, seen.head);
    t.equal(seen.body, seen.target === "/none" ? "" : SMUGGLED, `${seen.method} ${seen.target}`);
    t.notMatch(seen.head, /evil|ext=/);
  }
  await running.plane.close();
  await server.close();
});

void inEveryLane(
  "connection-specific fields go no further, and Connection cannot strip what the upstream relies on (reliability 1, 6, 10, 11, 23)",
  async (t) => {
    const server = await upstream(
      reply(
        200,
        "ok",
        "Connection: X-Secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-Caf: \xe9\r\n",
      ),
    );
    const running = await startPlane({ stable: server.url, canary: server.url });
    const text = await once(
      running.address,
      "GET //a/../b?x=%20'\"<> HTTP/1.1\nHost: app.example\nConnection: X-Hop, Host, Cookie, Authorization, X-Forwarded-For, Content-Length\nX-Hop: 1\nKeep-Alive: 1\nTE: trailers, gzip\nTrailer: X\nProxy-Connection: 1\nUpgrade: h2c\nHTTP2-Settings: x\nCookie: c=1\nAuthorization: Bearer x\nX-Forwarded-For: 6.6.6.6\nX_Forwarded_For: 6.6.6.6\nX-Forwarded-Proto: https\nForwarded: for=6.6.6.6\nX-Same: 1\nx-same: 2\nX-Latin: \xe9",
    );
    const seen = server.requests[0];
    t.equal(seen?.target, "//a/../b?x=%20'\"<>", "byte for byte");
    const head = seen?.head ?? "";
    t.notMatch(head, /x-hop|proxy-connection|^te:|^trailer|upgrade|http2-settings|6\.6\.6\.6|x_forwarded/im);
    t.match(head, /\r\nhost: app\.example\r\n/);
    t.match(head, /\r\nCookie: c=1\r\n/);
    t.match(head, /\r\nAuthorization: Bearer x\r\n/);
    t.match(head, /\r\nx-forwarded-for: 127\.0\.0\.1\r\n/);
    t.match(head, /\r\nx-forwarded-proto: http\r\n/);
    t.match(head, /\r\nX-Same: 1\r\nx-same: 2\r\nX-Latin: \xe9\r\n/);
    t.notMatch(text, /x-secret/i);
    t.match(text, /Set-Cookie: a=1\r\nset-cookie: b=2\r\nX-Caf: \xe9\r\n/);
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "a trusted proxy's forwarding fields are appended to, and the client is the first stranger from the right (reliability 11)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      { key: ["ip"] },
      { trustedProxies: ["127.0.0.0/8", "10.0.0.0/8"] },
    );
    await once(
      running.address,
      "GET / HTTP/1.1\nHost: x\nX-Forwarded-For: 6.6.6.6, 9.9.9.9, 10.1.1.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: app.example",
    );
    const seen = server.requests[0];
    t.equal(seen?.field("x-forwarded-for"), "6.6.6.6, 9.9.9.9, 10.1.1.1, 127.0.0.1");
    t.equal(seen?.field("x-forwarded-proto"), "https");
    t.equal(seen?.field("x-forwarded-host"), "app.example");
    await running.plane.close();
    await server.close();
  },
);

const FOREIGN = [
  "GET /x RTSP/1.0",
  "POST /x RTSP/1.1",
  "OPTIONS /x RTSP/1.0",
  "GET /x ICE/1.0",
  "GET /x http/1.1",
  "GET /x HTTPS/1.1",
  "\r\nGET  /x  RTSP/1.0",
  "DESCRIBE /x RTSP/1.0",
  "SET_PARAMETER /x RTSP/1.0",
  "SOURCE /x ICE/1.0",
];

void inEveryLane(
  "a request of another protocol, which llhttp takes for one of HTTP, goes nowhere (reliability 5)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const running = await startPlane({ stable: server.url, canary: server.url });
    const { address } = running;
    for (const line of FOREIGN) {
      // The platform does not say which protocol it read, and these methods are in both.
      if (laneConfig().lane === "general" && /(?:GET|POST|OPTIONS) .*RTSP/.test(line)) continue;
      const fields = "Host: x\r\nContent-Length: 0\r\n\r\n";
      const alone = await raw(address);
      alone.send(`${line}\r\n${fields}`);
      t.equal(statusOf((await alone.closed()).text), 400, line);
      const behind = await raw(address);
      behind.send(`GET /first HTTP/1.1\r\nHost: x\r\n\r\n${line}\r\n${fields}`);
      t.match((await behind.closed()).text, /^HTTP\/1\.1 200 [^]*HTTP\/1\.1 400 /, line);
    }
    t.strictSame([...new Set(server.requests.map(({ target }) => target))], ["/first"]);
    const old = await raw(address);
    old.send("\r\nGET  /y  HTTP/1.0\r\nHost: x\r\n\r\n");
    t.equal(statusOf((await old.closed()).text), 200, "as the other lane takes it");
    await running.plane.close();
    await server.close();
  },
);

const FAMILY = [
  "X-Forwarded-Port: 666",
  "x-forwarded-prefix: /evil",
  "X-FORWARDED-SERVER: evil",
  "X-Forwarded-Client-Cert: evil",
  "X_Forwarded_Port: 667",
  "x-forwarded_prefix: /evil",
];

void inEveryLane(
  "whatever else is said of forwarding is a trusted proxy's to say, and in no other spelling (reliability 11)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const arms = { stable: server.url, canary: server.url };
    for (const trustedProxies of [[], ["127.0.0.0/8"]]) {
      const running = await startPlane(arms, {}, { trustedProxies });
      // One that is plain, and one that is not.
      for (const more of ["", "\nTE: trailers\nConnection: TE"]) {
        const head = `GET / HTTP/1.1\nHost: x\nX-Forward: 1\n${FAMILY.join("\n")}\nX-Between: 1${more}`;
        t.equal(statusOf(await once(running.address, head)), 200);
        const lines = server.requests.at(-1)?.head.split("\r\n") ?? [];
        const passed = FAMILY.slice(0, trustedProxies.length === 0 ? 0 : 4);
        t.strictSame(
          lines.filter((line) => /^x[-_]forwarded[-_](?!for:|host:|proto:)/i.test(line)),
          passed,
        );
        for (const line of ["X-Forward: 1", "X-Between: 1"]) t.ok(lines.includes(line), line);
      }
      await running.plane.close();
    }
    await server.close();
  },
);

void inEveryLane(
  "pipelined requests are answered in order, one at a time, and none behind Connection: close (reliability 8)",
  async (t) => {
    let open = 0;
    let most = 0;
    const server = await upstream((socket, seen) => {
      most = Math.max(most, ++open);
      setImmediate(() => {
        open--;
        socket.write(reply(200, seen.target));
      });
    });
    const running = await startPlane({ stable: server.url, canary: server.url });
    const client = await raw(running.address);
    const paths = Array.from({ length: 50 }, (_, nth) => `/${nth}`);
    client.send(paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`).join(""));
    client.send(
      "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /behind HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    const { text } = await client.closed();
    t.strictSame(
      [...text.matchAll(/\r\n\r\n(\/(?:\d+|last|behind))/g)].map((match) => match[1]),
      [...paths, "/last"],
    );
    t.equal(most, 1);
    t.notOk(server.requests.some((seen) => seen.target === "/behind"));
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "a broken request behind one in flight does not take that one's answer (reliability 7)",
  async (t) => {
    const server = await upstream(() => undefined);
    const running = await startPlane({ stable: server.url, canary: server.url });
    const client = await raw(running.address);
    const arrived = new Promise<void>((resolve) => {
      server.script = (socket) => {
        resolve();
        setImmediate(() => setImmediate(() => socket.write(reply(200, "first"))));
      };
    });
    client.send("GET /first HTTP/1.1\r\nHost: x\r\n\r\nBROKEN\r\n\r\n");
    await arrived;
    const { text } = await client.closed();
    t.equal(statusOf(text), 200);
    t.match(text, /first[^]*HTTP\/1\.1 400/);
    await running.plane.close();
    await server.close();
  },
);

const BROKEN: readonly (readonly [string, string, number])[] = [
  ["what is no HTTP", "BROKEN\r\n\r\n", 400],
  ["a head without end", `GET / HTTP/1.1\r\nHost: x\r\nA: ${"b".repeat(90_000)}`, 431],
  ["another version", "GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505],
  ["two lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na", 400],
  ["no Host", "GET / HTTP/1.1\r\n\r\n", 400],
  ["a head that is late", "GET / HTTP/1.1\r\nHost:", 408],
  ["CONNECT", "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n", 400],
  [
    "a body with garbage for a chunk",
    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    400,
  ],
  [
    "a body that breaks behind a chunk",
    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    400,
  ],
];
const PENDING: readonly (readonly [string, string])[] = [
  ["with a length", reply(200, "first")],
  ["in chunks", "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n"],
  ["that fails", reply(503, "first")],
];

void inEveryLane(
  "whatever is broken behind a request, that one is answered first and by its upstream, then comes the refusal, and the end (reliability 7, 9)",
  async (t) => {
    const server = await upstream("");
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      {},
      { limits: { headTime: "400ms" } },
    );
    const cases = BROKEN.flatMap((broken) =>
      PENDING.flatMap((pending) => [true, false].map((atOnce) => ({ broken, pending, atOnce }))),
    );
    const waiting = new Map<string, () => void>();
    server.script = (socket, seen) => {
      const pending = PENDING[Number(seen.field("x-pending"))]?.[1] ?? "";
      // Half of it now, if it is to come in two pieces.
      const half = pending.length - 4;
      socket.write(pending.slice(0, half));
      waiting.set(seen.target, () => void socket.write(pending.slice(half)));
    };
    await Promise.all(
      cases.map(async ({ broken: [what, bytes, status], pending, atOnce }, nth) => {
        const name = `${what} behind an answer ${pending[0]}, at once: ${atOnce}`;
        const client = await raw(running.address);
        const first = `GET /${nth} HTTP/1.1\r\nHost: x\r\nX-Pending: ${PENDING.indexOf(pending)}\r\n\r\n`;
        client.send(atOnce ? first + bytes : first);
        await running.settled(() => waiting.has(`/${nth}`));
        if (!atOnce) client.send(bytes);
        // The broken one has been read when the first byte of the pending answer has come: it was sent before.
        await client.until(/HTTP\/1\.1 /);
        waiting.get(`/${nth}`)?.();
        const { text } = await client.closed();
        const statuses = [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1]));
        t.strictSame(statuses, [Number(pending[1].slice(9, 12)), status], name);
        t.match(text, /\r\n\r\n(?:5\r\n)?first(?:\r\n0\r\n\r\n)?HTTP/, name);
      }),
    );
    t.equal(server.requests.length, cases.length);
    const answered = ({ counts }: Totals): number =>
      (counts["stable ok"] ?? 0) + (counts["stable status"] ?? 0);
    const { counts } = await running.settled((now) => answered(now) === cases.length);
    // A request whose body broke may have been an exchange by then.
    const evidence = Object.keys(counts).filter((name) => name !== "stable refused");
    t.strictSame(evidence.sort(), ["stable ok", "stable status"], "and no refusal is evidence");
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "after a refusal whatever still comes on the connection is ignored, at once or later (reliability 9)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const running = await startPlane({ stable: server.url, canary: server.url });
    const client = await raw(running.address);
    client.send(`GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n${SMUGGLED}`);
    await client.until(/400[^]*\}$/);
    for (let nth = 0; nth < 20; nth++) {
      client.socket.write(SMUGGLED);
      await new Promise((resolve) => setImmediate(resolve));
    }
    client.socket.end();
    const { text } = await client.closed();
    t.equal(text.match(/HTTP\/1\.1 \d/g)?.length, 1);
    t.strictSame(server.requests, []);
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "100-continue is answered at once, and a client that does not wait is served (reliability 15)",
  async (t) => {
    const server = await upstream((socket, seen) => void socket.write(reply(200, seen.body)));
    const running = await startPlane({ stable: server.url, canary: server.url });
    const client = await raw(running.address);
    client.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    await client.until(/100 Continue\r\n\r\n$/);
    client.send("hello");
    await client.until(/200[^]*hello$/);
    client.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nworld");
    await client.until(/200[^]*world$/);
    t.notMatch(server.requests[0]?.head ?? "", /expect/i);
    client.destroy();
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "a slow head and a stalled body are 408, and no evidence (reliability 26, 33)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      {},
      { limits: { headTime: "200ms", bodyIdle: "100ms" } },
    );
    const slow = await raw(running.address);
    slow.send("GET / HTTP/1.1\r\nHost:");
    t.equal(statusOf((await slow.closed()).text), 408);
    const stalled = await raw(running.address);
    stalled.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    t.equal(statusOf((await stalled.closed()).text), 408);
    const totals = await running.settled((now) => now.settled === 1);
    t.strictSame(totals.counts, { "stable refused": 1 });
    await running.plane.close();
    await server.close();
  },
);
