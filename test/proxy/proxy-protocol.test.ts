/**
 * The PROXY protocol: the parser by properties and by the examples of the specification, and the listener with real sockets
 * (reliability.md B11, D26).
 */

import fc from "fast-check";
import { connect, type Socket } from "node:net";
import { Duplex } from "node:stream";
import t from "tap";
import { parseProxyHeader, type ProxyVerdict } from "../../src/proxy/proxy-protocol.ts";
import { inEveryLane } from "../support/lanes.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { raw, statusOf } from "../support/raw.ts";
import { LAST_GET, pairOf, talk } from "../support/tls.ts";
import { reply, upstream, type Upstream } from "../support/upstream.ts";

const MARK = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");

function binary(command: number, family: number, rest: Buffer | string): Buffer {
  const bytes = typeof rest === "string" ? Buffer.from(rest, "hex") : rest;
  const head = Buffer.from([command, family, bytes.length >> 8, bytes.length & 255]);
  return Buffer.concat([MARK, head, bytes]);
}

const V4 = "01020304050607081f900050";
const V6 = "20010db800000000000000000000000120010db80000000000000000000000021f900050";
const MAPPED = "00000000000000000000ffff0102030420010db80000000000000000000000021f900050";

/** Headers, and whom they announce. */
const GOOD: readonly (readonly [Buffer, string | undefined])[] = [
  [Buffer.from("PROXY TCP4 1.2.3.4 5.6.7.8 8080 80\r\n"), "1.2.3.4"],
  [Buffer.from("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), "255.255.255.255"],
  [Buffer.from("PROXY TCP6 2001:DB8:0::1 ::2 0 80\r\n"), "2001:db8::1"],
  [Buffer.from("PROXY TCP6 ::ffff:1.2.3.4 ::2 1 80\r\n"), "1.2.3.4"],
  [Buffer.from("PROXY UNKNOWN\r\n"), undefined],
  [Buffer.from(`PROXY UNKNOWN ${"f".repeat(91)}\r\n`), undefined],
  [binary(0x21, 0x11, V4), "1.2.3.4"],
  [binary(0x21, 0x11, `${V4}0400010005000461626364`), "1.2.3.4"],
  [binary(0x21, 0x21, V6), "2001:db8::1"],
  [binary(0x21, 0x21, MAPPED), "1.2.3.4"],
  [binary(0x21, 0x31, Buffer.alloc(216, 47)), undefined],
  [binary(0x21, 0x12, V4), undefined],
  [binary(0x21, 0x00, ""), undefined],
  [binary(0x21, 0x00, "0011223344"), undefined],
  [binary(0x20, 0x00, ""), undefined],
  [binary(0x20, 0x11, V4), undefined],
  [binary(0x20, 0x11, ""), undefined],
  [binary(0x21, 0x11, Buffer.concat([Buffer.from(V4, "hex"), Buffer.alloc(4084)])), "1.2.3.4"],
];

/** What is none, whatever follows. */
const BAD: readonly Buffer[] = [
  ..."GET / HTTP/1.1\r\n|PROXY TCP4 1.2.3.4 5.6.7.8 8080\r\n|PROXY TCP4 1.2.3.4 5.6.7.8 8080 80 1\r\n"
    .concat("|PROXY TCP4 1.2.3.4  5.6.7.8 8080 80\r\n|PROXY TCP4 1.2.3.4 5.6.7.8 8080 65536\r\n")
    .concat("|PROXY TCP4 1.2.3.4 5.6.7.8 8080 080\r\n|PROXY TCP4 1.2.3.256 5.6.7.8 8080 80\r\n")
    .concat("|PROXY TCP4 ::1 5.6.7.8 8080 80\r\n|PROXY TCP6 1.2.3.4 5.6.7.8 8080 80\r\n")
    .concat("|PROXY TCP6 fe80::1%eth0 ::1 8080 80\r\n|PROXY UDP4 1.2.3.4 5.6.7.8 8080 80\r\n")
    .concat("|PROXY tcp4 1.2.3.4 5.6.7.8 8080 80\r\n|proxy TCP4 1.2.3.4 5.6.7.8 8080 80\r\n")
    .concat(
      "|PROXY TCP4 1.2.3.4 5.6.7.8 -1 80\r\n|PROXY TCP4 1.2.3.4\t5.6.7.8 1 80\r\n|PROXY \r\n|PROXY  UNKNOWN\r\n",
    )
    .concat("|PROXYTCP4 1.2.3.4 5.6.7.8 1 80\r\n|PROXY TCP4 1.2.3.4 5.6.7.8 8080 80 \r\n")
    .split("|")
    .map((text) => Buffer.from(text, "latin1")),
  Buffer.from(`PROXY UNKNOWN ${"f".repeat(92)}\r\n`),
  Buffer.alloc(107, "PROXY TCP4 1.2.3.4 5.6.7.8 8080 80\n"),
  binary(0x11, 0x11, V4),
  binary(0x22, 0x11, V4),
  binary(0x21, 0x41, V4),
  binary(0x21, 0x13, V4),
  binary(0x21, 0x11, V4.slice(2)),
  binary(0x21, 0x21, V4),
  binary(0x21, 0x31, V4),
  binary(0x21, 0x11, Buffer.alloc(4097)),
];

t.test(
  "headers of both versions say who the client is, and what is not exactly one says nothing",
  async (t) => {
    for (const [bytes, address] of GOOD) {
      const verdict: ProxyVerdict = { length: bytes.length, address };
      t.strictSame(parseProxyHeader(bytes), verdict, bytes.toString("latin1"));
      t.strictSame(
        parseProxyHeader(Buffer.concat([bytes, bytes])),
        verdict,
        "and what follows is not its own",
      );
    }
    for (const bytes of BAD) t.equal(parseProxyHeader(bytes), "invalid", bytes.toString("latin1"));
    t.equal(parseProxyHeader(Buffer.alloc(0)), "more");
  },
);

/** What comes of bytes that come in these pieces. */
function inPieces(bytes: Buffer, cuts: readonly number[]): ProxyVerdict {
  const ends = [...new Set([...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].sort(
    (a, b) => a - b,
  );
  for (const end of ends) {
    const verdict = parseProxyHeader(bytes.subarray(0, end));
    if (verdict !== "more") return verdict;
  }
  return "more";
}

const piece = fc.oneof(
  fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  fc
    .constantFrom("PROXY ", "TCP4 ", "TCP6 ", "UNKNOWN", "1.2.3.4 ", "::1 ", "80 ", "80", "\r\n", "\r")
    .map((text) => Buffer.from(text)),
);
const bytes = fc.oneof(
  fc.array(piece, { maxLength: 12 }).map((pieces) => Buffer.concat(pieces)),
  fc.constantFrom(...GOOD.map(([good]) => good), ...BAD),
  fc
    .tuple(fc.uint8Array({ minLength: 4, maxLength: 60 }))
    .map(([rest]) => Buffer.concat([MARK, Buffer.from(rest)])),
  fc.tuple(fc.constantFrom(...GOOD.map(([good]) => good)), fc.nat(), fc.nat(255)).map(([good, at, value]) => {
    const changed = Buffer.from(good);
    changed[at % good.length] = value;
    return changed;
  }),
);

t.test(
  "no bytes make the parser throw, and it says the same of them in whatever pieces they come",
  async () => {
    fc.assert(
      fc.property(
        bytes,
        fc.uint8Array({ maxLength: 30 }),
        fc.array(fc.nat(), { maxLength: 20 }),
        (one, two, cuts) => {
          const whole = Buffer.concat([one, two]);
          const verdict = parseProxyHeader(whole);
          if (typeof verdict === "object" && verdict.length > whole.length) return false;
          const same = JSON.stringify(verdict);
          const every = Array.from({ length: whole.length }, (_, index) => index);
          return (
            JSON.stringify(inPieces(whole, cuts)) === same && JSON.stringify(inPieces(whole, every)) === same
          );
        },
      ),
      { numRuns: 3000 },
    );
  },
);

interface Site {
  readonly running: TestPlane;
  readonly server: Upstream;
  close(): Promise<void>;
}

async function site(listener: object, top: object = {}): Promise<Site> {
  const server = await upstream((socket, seen) => {
    socket.write(reply(200, `${seen.field("x-forwarded-for") ?? ""} ${seen.body.length}`));
  });
  const running = await startPlane(
    { stable: server.url, canary: server.url },
    { key: ["ip"] },
    { listen: [{ address: "127.0.0.1:0", ...listener }], ...top },
  );
  return {
    running,
    server,
    async close() {
      await running.plane.close();
      await server.close();
    },
  };
}

void inEveryLane(
  "the client is who the header says, and what follows it is the request (reliability 11)",
  async (t) => {
    const s = await site({ proxyProtocol: true });
    for (const [header, address = "127.0.0.1"] of GOOD) {
      const client = await raw(s.running.address);
      client.send(Buffer.concat([header, Buffer.from(LAST_GET)]));
      t.match((await client.closed()).text, new RegExp(`\r\n\r\n${address.replaceAll(".", "\\.")} 0$`));
    }
    const slow = await raw(s.running.address);
    for (const byte of Buffer.from("PROXY TCP4 1.2.3.4 5.6.7.8 8080 80\r\n")) {
      slow.send(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    slow.send(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n${"x".repeat(200_000)}`);
    await slow.until(/1\.2\.3\.4 200000$/);
    slow.send(LAST_GET);
    t.match((await slow.closed()).text, /1\.2\.3\.4 0$/, "for as long as it is open");
    const totals = await s.running.settled((now) => now.settled === GOOD.length + 2);
    t.strictSame(totals.events, {});
    await s.running.settled(() => s.running.plane.gauges().connections === 0);
    await s.close();
  },
);

void inEveryLane(
  "a trusted balancer before the balancer is one more hop, and the client is the one before",
  async (t) => {
    const s = await site({ proxyProtocol: true }, { trustedProxies: ["10.0.0.0/8"] });
    const client = await raw(s.running.address);
    client.send(
      `PROXY TCP4 10.1.2.3 5.6.7.8 8080 80\r\n${LAST_GET.replace("\r\n\r\n", "\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n")}`,
    );
    t.match((await client.closed()).text, /\r\n\r\n9\.9\.9\.9, 10\.1\.2\.3 0$/);
    const other = await raw(s.running.address);
    other.send(
      `PROXY TCP4 11.1.2.3 5.6.7.8 8080 80\r\n${LAST_GET.replace("\r\n\r\n", "\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n")}`,
    );
    t.match((await other.closed()).text, /\r\n\r\n11\.1\.2\.3 0$/);
    await s.close();
  },
);

void inEveryLane("a connection without a header is closed without a word, and counted", async (t) => {
  const s = await site({ proxyProtocol: true }, { limits: { headTime: "200ms" } });
  for (const bytes of [...BAD, Buffer.from("\x16\x03\x01\x02\0\x01")]) {
    const client = await raw(s.running.address);
    client.send(bytes);
    t.equal((await client.closed()).text, "");
  }
  const early = await raw(s.running.address);
  early.send("PROXY TCP4 1.2");
  early.socket.end();
  t.equal((await early.closed()).text, "");
  const late = await raw(s.running.address);
  late.send("PROXY TCP4 1.2");
  const silent = await raw(s.running.address);
  for (const each of [late, silent]) t.equal((await each.closed()).text, "");
  const check = await raw(s.running.address);
  check.socket.end();
  t.equal((await check.closed()).text, "");
  const refused = BAD.length + 4;
  const totals = await s.running.settled((now) => (now.events["proxy_header_refused"] ?? 0) >= refused);
  t.strictSame(totals.events, { proxy_header_refused: refused });
  t.strictSame(totals.refused, {});
  t.equal(s.server.requests.length, 0);
  await s.running.settled(() => s.running.plane.gauges().connections === 0);
  await s.close();
});

void inEveryLane("where none is expected a header is no HTTP", async (t) => {
  const s = await site({});
  for (const [header] of GOOD) {
    const client = await raw(s.running.address);
    client.send(Buffer.concat([header, Buffer.from(LAST_GET)]));
    t.equal(statusOf((await client.closed()).text), 400);
  }
  t.equal(s.server.requests.length, 0);
  await s.close();
});

/** Whether the header comes in one piece with the first bytes of TLS, in a piece of its own, or byte by byte with them. */
type Manner = "joined" | "apart" | "bytewise";

/** A connection over TLS behind a header. */
async function behind(address: string, header: string, how: Manner): Promise<string> {
  const colon = address.lastIndexOf(":");
  const wire = connect(Number(address.slice(colon + 1)), address.slice(0, colon));
  wire.setNoDelay();
  await new Promise((resolve) => wire.once("connect", resolve));
  let ahead = Buffer.from(header);
  const socket = new Duplex({
    read: () => undefined,
    write(chunk: Buffer, _encoding, done) {
      const bytes = Buffer.concat([ahead, chunk]);
      const first = ahead.length;
      ahead = Buffer.alloc(0);
      if (first === 0 || how === "joined") wire.write(bytes, () => done());
      else void inPiecesTo(wire, bytes, how === "apart" ? first : 1).then(() => done());
    },
    final: (done) => void wire.end(done),
  });
  wire.on("data", (chunk: Buffer) => socket.push(chunk));
  wire.on("end", () => socket.push(null));
  return (await talk(address, LAST_GET, { socket })).text;
}

async function inPiecesTo(wire: Socket, bytes: Buffer, size: number): Promise<void> {
  for (let at = 0; at < bytes.length; at += size) {
    await new Promise((resolve) => wire.write(bytes.subarray(at, at + size), resolve));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

void inEveryLane("the header comes before TLS, of which no byte is lost (reliability 11, 51)", async (t) => {
  const s = await site({ proxyProtocol: true, tls: pairOf("") });
  for (const how of ["joined", "apart", "bytewise"] as const)
    for (let nth = 0; nth < 5; nth++)
      t.match(
        await behind(s.running.address, `PROXY TCP4 1.2.3.${nth} 5.6.7.8 8080 443\r\n`, how),
        new RegExp(`\r\n\r\n1\\.2\\.3\\.${nth} 0$`),
      );
  t.match(await talk(s.running.address, LAST_GET), { text: "", error: /./ }, "TLS without a header");
  const plain = await raw(s.running.address);
  plain.send(`PROXY TCP4 1.2.3.4 5.6.7.8 8080 443\r\n${LAST_GET}`);
  t.notMatch((await plain.closed()).text, /HTTP/, "a header without TLS");
  const totals = await s.running.settled((now) => Object.keys(now.events).length === 2);
  t.strictSame(totals.events, { proxy_header_refused: 1, tls_handshake_failed: 1 });
  await s.running.settled(() => s.running.plane.gauges().connections === 0);
  await s.close();
});

void inEveryLane(
  "an address counts from the header that tells it: a flood of its handshakes leaves other clients of the balancer alone (reliability 25)",
  async (t) => {
    const s = await site(
      { proxyProtocol: true, tls: pairOf("") },
      { limits: { perAddress: 2, connections: 40, headTime: "30s" } },
    );
    const header = (host: number): string => `PROXY TCP4 1.2.3.${host} 5.6.7.8 8080 443\r\n`;
    const silent = await Promise.all(Array.from({ length: 10 }, () => raw(s.running.address)));
    await s.running.settled(() => s.running.plane.gauges().connections === 10);
    const flood = await Promise.all(Array.from({ length: 30 }, () => raw(s.running.address)));
    for (const each of flood) each.send(header(4));
    await s.running.settled((now) => now.events["over_address"] === 12);
    await s.running.settled(() => s.running.plane.gauges().connections === 28);
    t.match(await behind(s.running.address, header(5), "apart"), /^HTTP\/1\.1 200 /);
    t.strictSame(
      s.running.measured().events,
      { over_address: 12 },
      "and the balancer's own are none of them",
    );
    for (const each of [...silent, ...flood]) each.destroy();
    await s.running.settled(() => s.running.plane.gauges().connections === 0);
    t.match(await behind(s.running.address, header(4), "apart"), /^HTTP\/1\.1 200 /);
    await s.close();
  },
);
