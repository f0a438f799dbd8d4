/** The strict scanner: one form of a head, and of everything else that it is not that form (reliability.md A1–A6, C18, C19). */

import fc from "fast-check";
import t from "tap";
import { copyRequestFields, HOP_BY_HOP, REWRITTEN, type HeadLimits } from "../../src/proxy/headers.ts";
import {
  bitsOf,
  CODING,
  CONNECTION,
  CONTENT_TYPE,
  COOKIE,
  DATE,
  HOST,
  KEEP_ALIVE,
  LENGTH,
  NOT_DOWN,
  NOT_UP,
  REQUEST_ID,
  TRUSTED,
  UNPLAIN,
} from "../../src/proxy/fast/names.ts";
import {
  MORE,
  OTHER,
  PLAIN,
  RequestScan,
  ResponseScan,
  scanRequest,
  scanResponse,
} from "../../src/proxy/fast/scan.ts";
import { REQUESTS, RESPONSES } from "../fuzz/corpus.ts";
import { fieldsOf, WIDE } from "../fuzz/fast.ts";
import { mutantOf, requestOf, responseOf, rollOf } from "../fuzz/mutate.ts";

/** A scan's verdict with all that it found, offsets counted from the beginning of the head. */
interface Found {
  readonly verdict: number;
  readonly end: number;
  readonly fieldsFrom: number;
  readonly fields: readonly string[];
  readonly drops: readonly number[];
  readonly [more: string]: unknown;
}

const request = new RequestScan();
const response = new ResponseScan();

/** Scans `text` as it lies between two other texts, of which nothing must be seen. */
function scanned(text: string, isRequest: boolean, limits = WIDE, before = "", behind = ""): Found {
  const bytes = Buffer.from(before + text + behind, "latin1");
  const from = before.length;
  const to = from + text.length;
  const scan = isRequest ? request : response;
  const verdict = isRequest
    ? scanRequest(bytes, from, to, limits, request)
    : scanResponse(bytes, from, to, limits.head, response);
  if (verdict !== PLAIN) return { verdict, end: -1, fieldsFrom: -1, fields: [], drops: [] };
  const { method, targetFrom, targetTo, hostFrom, hostTo, cookie, hasId } = request;
  const { status, isOld, hasDate, eventStream, keepAlive, names } = response;
  return {
    verdict,
    end: scan.end - from,
    fieldsFrom: scan.fieldsFrom - from,
    fields: fieldsOf(bytes, scan),
    drops: [...scan.drops.subarray(0, scan.dropped * 2)].map((at) => at - from),
    length: scan.length,
    chunked: scan.chunked,
    closes: scan.closes,
    size: scan.size,
    ...(isRequest
      ? {
          method,
          target: bytes.toString("latin1", targetFrom, targetTo),
          host: bytes.toString("latin1", hostFrom, hostTo),
        }
      : { status, isOld, hasDate, eventStream, keepAlive, names }),
    ...(isRequest ? { cookie, hasId } : {}),
  };
}

const verdictOf = (text: string, isRequest = true, limits = WIDE): number =>
  scanned(text, isRequest, limits).verdict;
const TOKEN = "!#$%&'*+-.^_`|~0123456789ABCXYZabcxyz";

/** Heads that are plain by construction. */
const token = fc.string({ unit: fc.constantFrom(...TOKEN.split("")), minLength: 1, maxLength: 20 });
const special = fc.constantFrom(
  ...HOP_BY_HOP,
  ...REWRITTEN,
  "x_forwarded_for",
  "x-forwarded_proto",
  "x-forwarded-port",
  "x-forwarded-client-cert",
  "x_forwarded_prefix",
  "x-forwarded",
  "x-forwarder-a",
  "x-request-id",
  "cookie",
  "date",
  "content-type",
);
const cased = (name: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.tuple(name, fc.infiniteStream(fc.boolean())).map(([text, upper]) =>
    text
      .split("")
      .map((char) => (upper.next().value === true ? char.toUpperCase() : char))
      .join(""),
  );
const latin = fc.integer({ min: 0, max: 255 }).map((byte) => String.fromCharCode(byte));
const text = fc.string({
  unit: latin.filter((char) => char === "\t" || (char >= " " && char !== "\x7f")),
  maxLength: 30,
});
const blank = fc.string({ unit: fc.constantFrom(" ", "\t"), maxLength: 3 });
/** Decide about the message, so they are added one by one. */
const FRAMING = /^(?:host|content-length|transfer-encoding|connection|proxy-connection|expect|upgrade)$/i;
const free = fc
  .tuple(fc.oneof(cased(special), token), blank, text, blank)
  .filter(([name]) => !FRAMING.test(name))
  .map(([name, lead, value, trail]) => [name, value.replace(/^[\t ]+|[\t ]+$/g, ""), lead, trail] as const);
const framing = fc.constantFrom(
  ["Content-Length", "5"],
  ["content-length", "0"],
  ["Transfer-encoding", "Chunked"],
  undefined,
);
const connection = fc.constantFrom("close", "Keep-Alive", undefined);
const fieldList = fc
  .tuple(fc.array(free, { maxLength: 12 }), framing, connection, fc.boolean(), fc.infiniteStream(fc.nat()))
  .map(([fields, frame, token, hasHost, places]) => {
    const all: (readonly [string, string, string, string])[] = [...fields];
    const put = (name: string, value: string): void =>
      void all.splice(places.next().value % (all.length + 1), 0, [name, value, " ", ""]);
    if (hasHost) put("hOST", "app.example:80");
    if (frame !== undefined) put(frame[0], frame[1]);
    if (token !== undefined) put("Connection", token);
    return all;
  });
const linesOf = (fields: readonly (readonly [string, string, string, string])[]): string[] =>
  fields.map(([name, value, lead, trail]) => `${name}:${lead}${value}${trail}\r\n`);
const target = fc
  .string({
    unit: fc.integer({ min: 0x21, max: 0x7e }).map((byte) => String.fromCharCode(byte)),
    maxLength: 40,
  })
  .map((rest) => `/${rest.replaceAll("#", "?")}`);
const method = fc.constantFrom("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH");

t.test(
  "a plain request is found part by part, and what is dropped are the whole lines that headers.ts leaves out",
  async () => {
    fc.assert(
      fc.property(method, target, fieldList, fc.string({ unit: latin }), (method, target, fields, behind) => {
        const line = `${method} ${target} HTTP/1.1\r\n`;
        const lines = linesOf(fields);
        const head = `${line}${lines.join("")}\r\n`;
        const found = scanned(head + behind, true);
        const value = (name: string): string | undefined =>
          fields.find(([each]) => each.toLowerCase() === name)?.[1];
        if (value("host") === undefined) return found.verdict === OTHER;
        // What the general lane would leave out; Host and the framing fields stay where they are.
        const kept = lines.filter((_, at) => {
          const [name, value] = fields[at]!;
          const out: string[] = [];
          copyRequestFields(out, [name, value], [], "");
          return out.length > 0 || /^(?:host|content-length|transfer-encoding)$/i.test(name);
        });
        const names = fields.map(([name]) => name.toLowerCase());
        const expected = {
          verdict: PLAIN,
          end: head.length,
          fieldsFrom: line.length,
          fields: fields.flatMap(([name, value]) => [name, value]),
          drops: found.drops,
          length: value("content-length") === undefined ? -1 : Number(value("content-length")),
          chunked: value("transfer-encoding") !== undefined,
          closes: value("connection") === "close",
          size: fields.reduce((sum, [name, value]) => sum + name.length + value.length + 4, 0),
          method,
          target,
          host: "app.example:80",
          cookie: names.indexOf("cookie"),
          hasId: names.includes("x-request-id"),
        };
        return same(found, expected) && withoutDrops(head, found) === `${line}${kept.join("")}\r\n`;
      }),
      { numRuns: 500 },
    );
  },
);

t.test("a plain response is found part by part, and what is dropped are its hop-by-hop lines", async () => {
  const status = fc.integer({ min: 100, max: 599 });
  fc.assert(
    fc.property(status, fc.constantFrom("0", "1"), text, fieldList, (status, minor, reason, fields) => {
      const line = `HTTP/1.${minor} ${status} ${reason}\r\n`;
      const lines = linesOf(fields);
      const head = `${line}${lines.join("")}\r\n`;
      const found = scanned(`${head}behind`, false);
      const value = (name: string): string | undefined =>
        fields.findLast(([each]) => each.toLowerCase() === name)?.[1];
      const chunked = value("transfer-encoding") !== undefined;
      const length = value("content-length") === undefined ? -1 : Number(value("content-length"));
      if (chunked && minor === "0") return found.verdict === OTHER;
      if (status < 200 && (chunked || length > 0)) return found.verdict === OTHER;
      const kept = lines.filter((_, at) => {
        const lower = fields[at]![0].toLowerCase();
        return !HOP_BY_HOP.has(lower) || lower === "transfer-encoding";
      });
      const expected = {
        verdict: PLAIN,
        end: head.length,
        fieldsFrom: line.length,
        fields: fields.flatMap(([name, value]) => [name, value]),
        drops: found.drops,
        length,
        chunked,
        closes: value("connection") === "close",
        size: fields.reduce((sum, [name, value]) => sum + name.length + value.length + 4, 0),
        status,
        isOld: minor === "0",
        hasDate: value("date") !== undefined,
        eventStream: /^text\/event-stream/i.test(value("content-type") ?? ""),
        keepAlive: fields.findLastIndex(([name]) => name.toLowerCase() === "keep-alive"),
        names: false,
      };
      return same(found, expected) && withoutDrops(head, found) === `${line}${kept.join("")}\r\n`;
    }),
    { numRuns: 500 },
  );
});

function same(a: Found, b: Found): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** The head without the dropped ranges; "" when those are not in order, touch each other, or are not whole lines. */
function withoutDrops(head: string, { drops, fieldsFrom }: Found): string {
  let out = "";
  let at = 0;
  let last = -1;
  for (let nth = 0; nth < drops.length; nth += 2) {
    const [from, to] = [drops[nth]!, drops[nth + 1]!];
    const isWhole = head.slice(from - 2, from) === "\r\n" && head.slice(to - 2, to) === "\r\n";
    if (from <= last || from >= to || !isWhole || from < fieldsFrom) return "";
    out += head.slice(at, from);
    at = last = to;
  }
  return out + head.slice(at);
}

/** Messages of every kind: by the grammar, by hand, and mutants of both. */
const messages = fc.tuple(fc.nat(), fc.boolean()).map(([seed, isRequest]) => {
  const roll = rollOf(seed);
  const corpus = isRequest ? REQUESTS : RESPONSES;
  const whole =
    roll() < 0.6 ? (isRequest ? requestOf(roll) : responseOf(roll)) : corpus[seed % corpus.length]!;
  return { isRequest, text: mutantOf(roll, whole, corpus) };
});
const tight: HeadLimits = { head: 60, fields: 4, url: 12, body: 20 };

t.test("wherever a head is cut, what it comes to is the same", async () => {
  fc.assert(
    fc.property(messages, fc.constantFrom(WIDE, tight), ({ isRequest, text }, limits) => {
      const whole = scanned(text, isRequest, limits);
      for (let to = 0; to < text.length; to++) {
        const part = scanned(text.slice(0, to), isRequest, limits);
        // MORE is no verdict yet; any other is the last word.
        if (part.verdict === MORE ? whole.verdict === PLAIN && to >= whole.end : !same(part, whole))
          return false;
      }
      return true;
    }),
    { numRuns: 3000 },
  );
});

t.test("no byte before or behind what is scanned makes a difference", async () => {
  const around = fc.oneof(
    fc.string({ unit: latin }),
    fc.constantFrom("\r\n", "\n\r\n", "HTTP/1.1\r\n\r\n", "GET / "),
  );
  fc.assert(
    fc.property(messages, fc.nat({ max: 200 }), around, around, ({ isRequest, text }, to, before, behind) => {
      const part = text.slice(0, to);
      return same(scanned(part, isRequest, WIDE, before, behind), scanned(part, isRequest));
    }),
    { numRuns: 5000 },
  );
});

t.test(
  "any byte at any place of a plain head leaves its lines where they are, or makes it no plain head",
  async (t) => {
    const heads = [
      "POST /a?b HTTP/1.1\r\nHost: x.y:80\r\nA:b\r\nTE: c\r\nContent-Length: 12\r\nConnection: close\r\n\r\nGET / HTTP/1",
      "PUT / HTTP/1.1\r\nhost:x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nKeep-Alive: 5\r\nA: b\r\n\r\nHTTP/1.1 200",
    ];
    let plain = 0;
    for (const head of heads) {
      const isRequest = !head.startsWith("HTTP");
      const whole = scanned(head, isRequest);
      t.equal(whole.verdict, PLAIN);
      for (let at = 0; at < whole.end; at++)
        for (let byte = 0; byte < 256; byte++) {
          const changed = scanned(
            head.slice(0, at) + String.fromCharCode(byte) + head.slice(at + 1),
            isRequest,
          );
          if (changed.verdict !== PLAIN) continue;
          plain++;
          const moved = changed.end !== whole.end || changed.fieldsFrom !== whole.fieldsFrom;
          if (moved || changed.fields.length !== whole.fields.length) t.fail(`${byte} at ${at} of ${head}`);
        }
    }
    t.ok(plain > 5000, `${plain} of them are plain`);
  },
);

t.test("a plain head ends behind its first blank line, whatever byte is put in or taken out", async (t) => {
  const head = "POST /a HTTP/1.1\r\nHost: x\r\nA: b\r\nContent-Length: 2\r\n\r\n";
  const body = "\r\n\r\n";
  const check = (text: string): void => {
    const { verdict, end } = scanned(text, true);
    if (verdict === PLAIN && end !== text.indexOf("\r\n\r\n") + 4) t.fail(JSON.stringify(text));
  };
  for (let at = 0; at < head.length; at++) {
    for (let byte = 0; byte < 256; byte++)
      check(head.slice(0, at) + String.fromCharCode(byte) + head.slice(at) + body);
    check(head.slice(0, at) + head.slice(at + 1) + body);
  }
});

t.test("what is not strictly plain is not called plain", async (t) => {
  const field = (line: string): string => `GET / HTTP/1.1\r\nHost: x\r\n${line}\r\n\r\n`;
  const requests = [
    "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "PROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n",
    "GETS / HTTP/1.1\r\nHost: x\r\n\r\n",
    "GAT / HTTP/1.1\r\nHost: x\r\n\r\n",
    "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET / HTTP/1.0\r\nHost: x\r\n\r\n",
    "GET /\x80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /#a HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
    ...["", "x/y", "a@b", "[::1]", "x:1:2", "x:123456", "x:a", ":80", "x y", "x%41", "\xe9"].map(
      (host) => `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
    ),
    ...[
      "Expect: 100-continue",
      "Upgrade: x",
      "A : b",
      " A: b",
      "A: b\r\n c",
      "A: \x01",
      "A: \x7f",
      "A: b\rc",
      "A",
      ": b",
    ].map(field),
    ...["x", "close, x", "keep-alive, close", "", "upgrade"].map((value) => field(`Connection: ${value}`)),
    ...["", "+1", "1a", "1,1", "1 1", "1\t", "1 \t", "12345678901234567", "9007199254740993"].map((value) =>
      field(`Content-Length: ${value}`),
    ),
    ...["", "gzip", "chunked, x", "chunked\t", "xchunked", "chunke", "chunkez"].map((value) =>
      field(`Transfer-Encoding: ${value}`),
    ),
    field("Content-Length: 1\r\nContent-Length: 1"),
    field("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    field("Transfer-Encoding: chunked\r\nContent-Length: 1"),
    "GET / HTTP/1.1\r\nHost: x\r\n\rX",
  ];
  for (const text of requests) t.equal(verdictOf(text), OTHER, JSON.stringify(text));
  const answer = (fields: string): string => `HTTP/1.1 200 OK\r\n${fields}\r\n\r\n`;
  const responses = [
    "HTTP/1.2 200 OK",
    "HTTP/2 200 OK..",
    "http/1.1 200 OK",
    "HTTP/1.1 200OK.",
    "HTTP/1.1\t200 OK",
    "HTTP/1.1 2x0 OK",
    "HTTP/1.1 099 OK",
    "HTTP/1.1 600 OK",
    "HTTP/1.1 2000 O",
    "HTTP/1.1 200 a\rb",
    "HTTP/1.1 200 a\0b",
    "ICY 200",
  ].map((line) => `${line}\r\n\r\n`);
  responses.push(
    ...["Content-Length: 1\r\nContent-Length: 1", "Content-Length: 1\r\nTransfer-Encoding: chunked"].map(
      answer,
    ),
    ...["Transfer-Encoding: gzip", "A: b\n", "A : b", "A: b\r\n c", "Content-Length: 1\t"].map(answer),
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 9007199254740993\r\n\r\n",
    "HTTP/1.1 103 Hints\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 100 Go on\r\nTransfer-Encoding: chunked\r\n\r\n",
  );
  for (const text of responses) t.equal(verdictOf(text, false), OTHER, JSON.stringify(text));
});

t.test("a head that is not complete is waited for only while it may become plain", async (t) => {
  for (const [text, verdict] of [
    ["", MORE],
    ["G", MORE],
    ["PATC", MORE],
    ["GET", MORE],
    ["GET ", MORE],
    ["GET /", MORE],
    ["GET /a HTTP/1", MORE],
    ["GET x", OTHER],
    ["GEX", OTHER],
    ["P /", OTHER],
    ["\r", OTHER],
    ["GET / HTTP/1.1\r", MORE],
    ["GET /abcdefghijklmnop", MORE],
    ["GET / HTTP/1.1\r\nHost", MORE],
    ["GET / HTTP/1.1\r\nHost: x", MORE],
    ["GET / HTTP/1.1\r\nHost: x\r", MORE],
    ["GET / HTTP/1.1\r\nHost: x\r\n", MORE],
    ["GET / HTTP/1.1\r\nHost: x\r\n\r", MORE],
    ["GET / HTTP/1.1\r\nUpgrade: x\r\n", OTHER],
  ] as const)
    t.equal(verdictOf(text), verdict, JSON.stringify(text));
  for (const [text, verdict] of [
    ["", MORE],
    ["HTTP/1.", MORE],
    ["HTTP/1.1 200 ", MORE],
    ["HTTP/1.1 200 a long rea", MORE],
    ["HTTP/1.1 200 a reason\r", MORE],
    ["HTTP/1.1 200 OK\r\nA: b", MORE],
    ["HTTX", OTHER],
  ] as const)
    t.equal(verdictOf(text, false), verdict, JSON.stringify(text));
});

t.test("limits hold to the byte, whether a head comes at once or in pieces", async (t) => {
  const limits: HeadLimits = { head: 100, fields: 3, url: 10, body: 50 };
  const of = (target: string, fields: string): number =>
    verdictOf(`POST ${target} HTTP/1.1\r\nHost: x\r\n${fields}\r\n`, true, limits);
  t.equal(of(`/${"a".repeat(9)}`, ""), PLAIN);
  t.equal(of(`/${"a".repeat(10)}`, ""), OTHER);
  t.equal(verdictOf(`POST /${"a".repeat(10)}`, true, limits), OTHER, "before the line is whole");
  t.equal(of("/", "A: b\r\nA: b\r\n"), PLAIN);
  t.equal(of("/", "A: b\r\nA: b\r\nA: b\r\n"), OTHER);
  t.equal(of("/", "Content-Length: 50\r\n"), PLAIN);
  t.equal(of("/", "Content-Length: 51\r\n"), OTHER);
  t.equal(
    verdictOf("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 9007199254740993\r\n\r\n", true, {
      ...WIDE,
      body: Infinity,
    }),
    OTHER,
    "no limit, but no number either",
  );
  const size = 100 - "Host: x\r\n".length - "A: \r\n".length;
  t.equal(
    of("/", `A: ${"b".repeat(size)}\r\n`),
    OTHER,
    "with its first line it is longer than both limits together",
  );
  t.equal(of("/", `A:${"b".repeat(size - 14)}\r\n`), PLAIN);
  t.equal(verdictOf("POST / HTTP/1.1\r\nA: b\r\nHost: x\r\n\r\n", true, { ...limits, head: 13 }), OTHER);
  // Blanks around a value are not counted as size, so a head of blanks was plain at once and not in pieces.
  const blanks = `POST / HTTP/1.1\r\nHost:${" ".repeat(90)}x\r\n\r\n`;
  t.equal(verdictOf(blanks, true, limits), OTHER);
  t.equal(verdictOf(blanks.slice(0, -2), true, limits), OTHER);
  t.equal(verdictOf(`GET /${"a".repeat(200)}`, true, { ...limits, url: 300, head: 0 }), MORE);
  t.equal(verdictOf(`GET / HTTP/1.1${"\r".repeat(1)}`, true, { ...limits, url: 1, head: 1 }), OTHER);
  const answer = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
  const bound = (head: number): HeadLimits => ({ ...WIDE, head });
  t.equal(verdictOf(answer, false, bound(answer.length)), PLAIN);
  t.equal(verdictOf(answer, false, bound(answer.length - 1)), OTHER);
  t.equal(verdictOf(answer.slice(0, -1), false, bound(10)), OTHER);
  t.equal(verdictOf(answer.slice(0, 13), false, bound(10)), OTHER);
  const many = (count: number): string => `HTTP/1.1 200 OK\r\n${"A:b\r\n".repeat(count)}\r\n`;
  t.equal(verdictOf(many(2000), false), PLAIN);
  t.equal(verdictOf(many(2001), false), OTHER);
});

t.test("what a name is special for agrees with the sets of headers.ts, in any case", async () => {
  const underscored = special.map((name) => name.replaceAll("-", "_"));
  const near = fc.tuple(special, token).map(([name, more]) => name.slice(0, -1) + more.slice(0, 1));
  fc.assert(
    fc.property(
      cased(
        fc.oneof(
          special,
          underscored,
          near,
          token,
          token.map((name) => name.repeat(3)),
        ),
      ),
      (name) => {
        const bytes = Buffer.from(`:${name}:`, "latin1");
        const bits = bitsOf(bytes, 1, bytes.length - 1);
        const lower = name.toLowerCase();
        const out: string[] = [];
        copyRequestFields(out, [name, ""], [], "");
        const trusted: string[] = [];
        copyRequestFields(trusted, [name, ""], [], "", true);
        const by: readonly (readonly [number, boolean])[] = [
          [NOT_UP, out.length === 0],
          [TRUSTED, trusted.length > out.length],
          [NOT_DOWN, HOP_BY_HOP.has(lower)],
          [HOST, lower === "host"],
          [CONNECTION, lower === "connection"],
          [LENGTH, lower === "content-length"],
          [CODING, lower === "transfer-encoding"],
          [UNPLAIN, ["expect", "upgrade", "proxy-connection"].includes(lower)],
          [REQUEST_ID, lower === "x-request-id"],
          [CONTENT_TYPE, lower === "content-type"],
          [DATE, lower === "date"],
          [KEEP_ALIVE, lower === "keep-alive"],
          [COOKIE, lower === "cookie"],
        ];
        return by.every(([bit, is]) => ((bits & bit) !== 0) === is);
      },
    ),
    { numRuns: 5000 },
  );
});
