/**
 * What of a request goes on, and in which form: whole or not at all, as it came, framed anew; and that nothing broken or hidden in a body,
 * a target or a field becomes a request, a field or an address of its own (reliability.md A1–A6, A9, B10, B11). The upstream is llhttp.
 */

import { hearRequest } from "../fuzz/llhttp.ts";
import { inEveryLane } from "../support/lanes.ts";
import { startPlane } from "../support/plane.ts";
import { once, raw, statusOf } from "../support/raw.ts";
import { strictPlane, valuesOf } from "../support/strict.ts";
import { reply, upstream } from "../support/upstream.ts";

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

/** The field lines of the last head in some bytes, as written. */
function linesOf(bytes: string): string[] {
  const head = bytes.slice(0, bytes.lastIndexOf("\r\n\r\n"));
  const from = head.lastIndexOf(" HTTP/1.1\r\n");
  return head.slice(from + 11).split("\r\n");
}

/** What Node's parsed headers join, drop, overwrite or lower. */
const REPEATED = [
  "Accept: a",
  "accept: b",
  "Age: 1",
  "Age: 2",
  "Authorization: one",
  "authorization: two",
  "Content-Type: a/b",
  "Content-Type: c/d",
  "Cookie: a=1",
  "Cookie: b=2",
  "ETag: 1",
  "etag: 2",
  "Max-Forwards: 1",
  "Max-Forwards: 2",
  "Referer: r1",
  "Referer: r2",
  "User-Agent: u1",
  "User-Agent: u2",
  "X-CaSe: VaLue  with   blanks",
  "X-Latin: \xe9\xff\x80",
  "__proto__: x",
  "constructor: y",
];

void inEveryLane(
  "repeated fields, their order, case and bytes go on as they came, and two Hosts in the raw list are seen as two (reliability 1)",
  async (t) => {
    const { server, address } = await strictPlane(t);
    const client = await raw(address);
    client.send(`GET / HTTP/1.1\r\nHost: x\r\n${REPEATED.join("\r\n")}\r\nX-Empty:\r\n\r\n`);
    await client.until(/ok$/);
    const wanted = [...REPEATED, "X-Empty:"];
    const names = new Set(wanted.map((line) => line.slice(0, line.indexOf(":")).toLowerCase()));
    const lines = linesOf(server.bytes).filter((line) =>
      names.has(line.slice(0, line.indexOf(":")).toLowerCase()),
    );
    t.strictSame(
      lines.map((line) => line.trimEnd()),
      wanted,
    );
    client.send("GET / HTTP/1.1\r\nHost: x\r\nX-Between: 1\r\nhOST: x\r\n\r\n");
    t.match((await client.closed()).text, /HTTP\/1\.1 400/);
    t.equal(server.heard.length, 1);
  },
);

void inEveryLane(
  "a head of two thousand fields goes on whole, its length behind them all; one of 2,500 is 431 and goes nowhere (reliability 2)",
  async (t) => {
    const { server, address } = await strictPlane(t, { limits: { fields: 2000, head: "64KiB" } });
    const fields = (count: number): string =>
      Array.from({ length: count }, (_, nth) => `A${nth}: ${nth}`).join("\n");
    const text = await once(address, `POST / HTTP/1.1\nHost: x\n${fields(1996)}\nContent-Length: 5`, "hello");
    t.equal(statusOf(text), 200);
    t.equal(server.heard[0]?.body, "hello");
    t.equal(server.heard[0]?.fields.filter((name) => /^A\d+$/.test(name)).length, 1996);
    const head = `POST / HTTP/1.1\nHost: x\n${fields(2500)}\nContent-Length: 5`;
    t.equal(statusOf(await once(address, head, `hello${SMUGGLED}`)), 431);
    t.equal(server.heard.length, 1);
    t.strictSame(server.broken, []);
  },
);

const LENGTHS: readonly (readonly [string, string | undefined])[] = [
  ["Content-Length: 5", "hello"],
  ["Content-Length: 00005", "hello"],
  ["content-length:5", "hello"],
  ["Content-Length:   5  ", "hello"],
  ["Content-Length: 0", ""],
  ["Transfer-Encoding: chunked", "hello"],
  ["transfer-encoding:CHUNKED", "hello"],
  ...[
    "-5",
    "5 5",
    "5,",
    ",5",
    "5;",
    "5.0",
    "5e0",
    "\xb2",
    "\xa05",
    "5\xa0",
    "\x0b5",
    "5\x0c",
    "five",
    "0x",
  ].map((value): readonly [string, undefined] => [`Content-Length: ${value}`, undefined]),
  ["Content-Length: 99999999999999999999", undefined],
  ["Content-Length: 5\r\nContent-Length:", undefined],
  ["Content-Length: 5\r\ncontent-length: 5\r\nCONTENT-LENGTH: 5", undefined],
  ["Content-Length : 5", undefined],
  [" Content-Length: 5", undefined],
  ["Content-Length: 5\r\nTransfer-Encoding: identity", undefined],
  ...[
    "identity",
    "gzip, chunked",
    "chunked,",
    ",chunked",
    "chunked;a=b",
    "xchunked",
    "chunked x",
    '"chunked"',
    "\x0bchunked",
    "\xa0chunked",
    "chunked\0",
  ].map((value): readonly [string, undefined] => [`Transfer-Encoding: ${value}`, undefined]),
  ["Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", undefined],
  ["Transfer-Encoding:\r\nTransfer-Encoding: chunked", undefined],
  ["Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", undefined],
  ["Transfer-Encoding : chunked", undefined],
  ["Transfer-Encoding:\r\n chunked", undefined],
  ["X: y\r\n\tTransfer-Encoding: chunked", undefined],
];

void inEveryLane(
  "a length that is digits and a coding that is chunked frame a body; any other spelling of either is refused with all behind it (reliability 3)",
  async (t) => {
    const { server, address } = await strictPlane(t);
    for (const [field, body] of LENGTHS) {
      const before = server.heard.length;
      const client = await raw(address);
      const sent =
        body === "" ? "" : /^transfer-encoding:.*chunked/i.test(field) ? "5\r\nhello\r\n0\r\n\r\n" : "hello";
      client.send(`POST /first HTTP/1.1\r\nHost: x\r\n${field}\r\n\r\n${sent}${SMUGGLED}`);
      if (body === undefined) {
        t.equal(statusOf((await client.closed()).text), 400, field);
        t.equal(server.heard.length, before, field);
        continue;
      }
      await client.until(/ok[^]*ok$/);
      const [first, second] = server.heard.slice(before);
      t.strictSame([first?.target, first?.body, second?.target], ["/first", body, "/smuggled"], field);
      client.destroy();
    }
    t.strictSame(server.broken, []);
  },
);

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "M-SEARCH"];

void inEveryLane(
  "a body of any method has exactly one framing upstream and stays a body; without one there is none, and 0 where one is usual (reliability 4)",
  async (t) => {
    const { server, address } = await strictPlane(t);
    for (const method of METHODS) {
      const client = await raw(address);
      const head = (target: string): string => `${method} ${target} HTTP/1.1\r\nHost: x\r\n`;
      const size = SMUGGLED.length.toString(16);
      client.send(
        `${head("/chunked")}Transfer-Encoding: chunked\r\n\r\n${size};a=b\r\n${SMUGGLED}\r\n0\r\n\r\n`,
      );
      client.send(`${head("/length")}Content-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`);
      client.send(`${head("/none")}\r\n`);
      client.send(`${head("/zero")}Content-Length: 0\r\nConnection: close\r\n\r\n`);
      await client.closed();
    }
    t.strictSame(server.broken, []);
    t.notMatch(server.bytes, /;a=b/);
    t.equal(server.heard.length, METHODS.length * 4);
    for (const heard of server.heard) {
      const { method, target, body } = heard;
      const what = `${method} ${target}`;
      const lengths = valuesOf(heard, "content-length");
      const codings = valuesOf(heard, "transfer-encoding");
      const isUsual = ["POST", "PUT", "PATCH"].includes(method);
      if (target === "/chunked" || target === "/length") {
        t.equal(body, SMUGGLED, what);
        t.equal(lengths.length + codings.length, 1, what);
      } else {
        t.equal(body, "", what);
        t.strictSame(codings, [], what);
        t.ok(lengths.every((value) => value === "0") && lengths.length <= 1, what);
        if (isUsual) t.equal(lengths.length, 1, what);
      }
    }
    const odd = await raw(address);
    odd.send(`BREW /odd HTTP/1.1\r\nHost: x\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`);
    t.equal(statusOf((await odd.closed()).text), 400, "a method that the parser does not know goes nowhere");
    t.equal(server.heard.length, METHODS.length * 4);
  },
);

const DROPPED_TRAILERS = [
  "Host: evil",
  "Authorization: evil",
  "Cookie: evil",
  "Set-Cookie: evil",
  "Content-Type: evil",
  "Content-Encoding: evil",
  "TE: evil",
  "Proxy-Authorization: evil",
  "If-Match: evil",
  "Cache-Control: evil",
];

void inEveryLane(
  "trailers that name the host, the credentials or the form of a message go no further, and those that frame are refused (reliability 4)",
  async (t) => {
    const { server, address } = await strictPlane(t);
    const post = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
    for (const line of DROPPED_TRAILERS) {
      const text = await once(
        address,
        "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked",
        `5\r\nhello\r\n0\r\n${line}\r\nX-Sum: 1\r\n\r\n`,
      );
      t.equal(statusOf(text), 200, line);
    }
    t.equal(server.heard.length, DROPPED_TRAILERS.length);
    t.ok(server.heard.every(({ body }) => body === "hello"));
    t.notMatch(server.bytes, /evil/);
    for (const line of ["Content-Length: 5", "Transfer-Encoding: chunked"]) {
      const client = await raw(address);
      client.send(`${post}${line}\r\n\r\n${SMUGGLED}`);
      const { text } = await client.closed();
      t.equal(statusOf(text), 400, line);
    }
    t.equal(server.heard.length, DROPPED_TRAILERS.length, "nothing more was whole");
    t.strictSame(server.broken, []);
  },
);

const BROKEN_BODIES = [
  " 5\r\nhello\r\n0\r\n\r\n",
  "5 \r\nhello\r\n0\r\n\r\n",
  "5\nhello\r\n0\r\n\r\n",
  "5\rhello\r\n0\r\n\r\n",
  "+5\r\nhello\r\n0\r\n\r\n",
  "-5\r\nhello\r\n0\r\n\r\n",
  "0x5\r\nhello\r\n0\r\n\r\n",
  "5\r\nhelloX\r\n0\r\n\r\n",
  "5\r\nhello\n0\r\n\r\n",
  "5\r\nhello0\r\n\r\n",
  "\r\n5\r\nhello\r\n0\r\n\r\n",
  "5;a\nb\r\nhello\r\n0\r\n\r\n",
  "5;a=\0\r\nhello\r\n0\r\n\r\n",
  '5;a="\r\nhello\r\n0\r\n\r\n',
  "10000000000000005\r\nhello\r\n0\r\n\r\n",
  "5\r\nhello\r\n0\r\nA\r\n\r\n",
  "5\r\nhello\r\n0\r\nA : b\r\n\r\n",
  "5\r\nhello\r\n0\r\n: b\r\n\r\n",
  "5\r\nhello\r\n0\r\nA(: b\r\n\r\n",
  "5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n",
  "5\r\nhello\r\n0\r\nA: b\0\r\n\r\n",
  "5\r\nhello\r\n0\r\nA: b\rc\r\n\r\n",
  "5\r\nhello\r\n0\r\nA: b\nc: d\r\n\r\n",
  "5\r\nhello\r\n0\r\nA: \x01\r\n\r\n",
];

void inEveryLane(
  "chunk lines and trailers are held to the same syntax as heads: whatever is broken there, no whole request comes of it (reliability 5)",
  async (t) => {
    const { server, address } = await strictPlane(t, { limits: { bodyIdle: "300ms" } });
    const results = await Promise.all(
      BROKEN_BODIES.map(async (body) => {
        const client = await raw(address);
        client.send(
          `POST /broken HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${body}${SMUGGLED}`,
        );
        const { text } = await client.closed();
        return [JSON.stringify(body), statusOf(text), text.match(/HTTP\/1\.1 \d/g)?.length] as const;
      }),
    );
    for (const [body, status, answers] of results) t.strictSame([status, answers], [400, 1], body);
    t.strictSame(server.heard, []);
    t.strictSame(server.broken, []);
  },
);

void inEveryLane(
  "the rest of a body that was refused or answered early is never the next request (reliability 9)",
  async (t) => {
    // Answers at the end of the head, whatever follows, and keeps what came over each connection.
    const came: string[] = [];
    const early = await upstream("");
    early.onConnection = (socket) => {
      const nth = came.push("") - 1;
      socket.on("data", (bytes: Buffer) => {
        if (came[nth] === "") socket.write(reply(403, "no"));
        came[nth] += bytes.toString("latin1");
      });
    };
    const running = await startPlane(
      { stable: early.url, canary: early.url },
      { match: { path: "/here" } },
      { limits: { body: "1MiB" } },
    );
    t.teardown(async () => {
      await running.plane.close();
      await early.close();
    });
    const filler = SMUGGLED.repeat(30_000);
    const cases = ["/here 403", "/nowhere 404"].flatMap((each) =>
      ["Content-Length: 1000000", "Transfer-Encoding: chunked"].map((framing) => [
        ...each.split(" "),
        framing,
      ]),
    );
    await Promise.all(
      cases.map(async ([target = "", status = "", framing = ""]) => {
        const client = await raw(running.address);
        const size = framing.startsWith("T") ? "f4240\r\n" : "";
        client.send(`POST ${target} HTTP/1.1\r\nHost: x\r\n${framing}\r\n\r\n${size}`);
        await client.until(new RegExp(` ${status} `));
        // Whatever the connection does now, what comes is body.
        client.socket.write(filler, () => client.socket.end());
        const { text } = await client.closed();
        t.equal(text.match(/HTTP\/1\.1 \d/g)?.length, 1, `${target}, ${framing}`);
      }),
    );
    t.equal(came.length, 2);
    for (const bytes of came)
      t.equal(hearRequest(Buffer.from(bytes, "latin1")).verdict, "more", "one request, not whole");
    t.strictSame(Object.keys((await running.settled((now) => now.settled === 2)).counts), ["stable ok"]);
  },
);

void inEveryLane(
  "Connection takes with it what it names, but nothing that the proxy or the upstream relies on, in any spelling (reliability 10)",
  async (t) => {
    const { server, address } = await strictPlane(t, { trustedProxies: ["127.0.0.1"] });
    const named = [
      "Host",
      "CONTENT-LENGTH",
      "Transfer-Encoding",
      "cookie",
      "Authorization",
      "X-Forwarded-For",
      "x-forwarded-proto",
      "X-Forwarded-Host",
      "X-Forwarded-Port",
      "Via",
      "X-Request-Id",
    ];
    for (const connection of [named.join(", "), named.join(","), `,, ${named.join(" ,\t")} ,close,`]) {
      const text = await once(
        address,
        `POST / HTTP/1.1\nHost: app.example\nX-Hop: 1\nx-HOP: 2\nConnection: x-hop\nConnection: ${connection}\nCookie: c=1\nAuthorization: a\nX-Forwarded-Port: 443\nX-Request-Id: id\nContent-Length: 5`,
        "hello",
      );
      t.equal(statusOf(text), 200, connection);
      const heard = server.heard.at(-1)!;
      t.equal(heard.body, "hello");
      for (const [name, value] of [
        ["host", "app.example"],
        ["cookie", "c=1"],
        ["authorization", "a"],
        ["x-forwarded-for", "127.0.0.1"],
        ["x-forwarded-proto", "http"],
        ["x-forwarded-host", "app.example"],
        ["x-forwarded-port", "443"],
        ["via", "1.1 sluice"],
        ["x-request-id", "id"],
        ["content-length", "5"],
      ] as const)
        t.strictSame(valuesOf(heard, name), [value], name);
      t.strictSame(valuesOf(heard, "x-hop"), []);
    }
    for (const field of [
      "Keep-Alive: timeout=5",
      "Proxy-Connection: keep-alive",
      "TE: trailers, deflate",
      "Trailer: X-Sum",
      "Upgrade: h2c",
      "HTTP2-Settings: x",
    ]) {
      await once(address, `GET / HTTP/1.1\nHost: x\n${field}`);
      t.strictSame(valuesOf(server.heard.at(-1)!, field.split(":")[0]!.toLowerCase()), [], field);
    }
    t.strictSame(server.broken, []);
  },
);

/** Every spelling of a name with `-` or `_` at each place. */
function spellings(name: string): string[] {
  const [first = "", ...rest] = name.split("-");
  return rest.reduce(
    (before, part) => before.flatMap((each) => [`${each}-${part}`, `${each}_${part}`]),
    [first],
  );
}

void inEveryLane(
  "what a stranger says of itself is replaced, in every spelling with _ for -; a trusted peer's word is kept and added to (reliability 11)",
  async (t) => {
    const names = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"];
    const lies = names.flatMap(spellings).map((name) => `${name}: lie`);
    const { server, address } = await strictPlane(t);
    await once(
      address,
      `GET / HTTP/1.1\nHost: app.example\n${lies.join("\n")}\nForwarded: for=lie\nForwarded: lie`,
    );
    t.notMatch(server.bytes, /lie/);
    const heard = server.heard[0]!;
    t.strictSame(valuesOf(heard, "x-forwarded-for"), ["127.0.0.1"]);
    t.strictSame(valuesOf(heard, "x-forwarded-proto"), ["http"]);
    t.strictSame(valuesOf(heard, "x-forwarded-host"), ["app.example"]);
    t.strictSame(valuesOf(heard, "host"), ["app.example"]);
    const trusting = await strictPlane(t, { trustedProxies: ["127.0.0.1/32"] });
    const told =
      "X-Forwarded-For: 9.9.9.9\nX-Forwarded-For: 8.8.8.8\nX-Forwarded-Proto: https\nX-Forwarded-Host: outer";
    const aliases = names.flatMap(spellings).filter((name) => name.includes("_"));
    await once(
      trusting.address,
      `GET / HTTP/1.1\nHost: inner\n${told}\n${aliases.map((name) => `${name}: lie`).join("\n")}\nForwarded: for=9.9.9.9`,
    );
    t.notMatch(trusting.server.bytes, /lie/, "an alias is nobody's word");
    const seen = trusting.server.heard[0]!;
    t.strictSame(valuesOf(seen, "x-forwarded-for"), ["9.9.9.9, 8.8.8.8, 127.0.0.1"]);
    t.strictSame(valuesOf(seen, "x-forwarded-proto"), ["https"]);
    t.strictSame(valuesOf(seen, "x-forwarded-host"), ["outer"]);
    t.strictSame(valuesOf(seen, "forwarded"), ["for=9.9.9.9, for=127.0.0.1"]);
    t.strictSame(valuesOf(seen, "host"), ["inner"]);
  },
);
