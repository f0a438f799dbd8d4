/** Where a chunked body ends, and what of it passes (reliability.md A4, A5). */

import fc from "fast-check";
import t from "tap";
import { BROKEN, ChunkScan, DONE, ONGOING } from "../../src/proxy/fast/chunked.ts";
import { cleanTrailers } from "../../src/proxy/headers.ts";
import { decodeChunks, passChunks } from "../fuzz/fast.ts";
import { hearRequest } from "../fuzz/llhttp.ts";
import { chunksOf, mutantOf, rollOf } from "../fuzz/mutate.ts";

const HEAD = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
const BEHIND = "GET /next HTTP/1.1\r\nHost: x\r\n\r\n";

/** What becomes of a text given at once. */
function passed(text: string, cuts: readonly number[] = []): ReturnType<typeof passChunks> {
  return passChunks(Buffer.from(text, "latin1"), 0, cuts);
}

const latin = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
const data = fc.uint8Array({ minLength: 1, maxLength: 40 }).map(latin);
const name = fc.string({
  unit: fc.constantFrom("a", "b", "-", "_", "!", "~", "9"),
  minLength: 1,
  maxLength: 6,
});
const quoted = fc
  .string({ unit: fc.constantFrom("a", " ", "\t", ";", "=", "\\", '"', "\x80", "\xff"), maxLength: 6 })
  .map((text) => `"${text.replaceAll(/["\\]/g, "\\$&")}"`);
const extension = fc
  .array(
    fc.oneof(
      name,
      fc.tuple(name, fc.oneof(name, quoted)).map((pair) => pair.join("=")),
    ),
    { maxLength: 2 },
  )
  .map((each) => each.map((one) => `;${one}`).join(""));
const shape = fc.tuple(fc.nat({ max: 3 }), fc.boolean(), extension);
const trailers = fc.array(
  fc.tuple(
    fc.oneof(name, fc.constantFrom("Host", "X-Sum", "Connection", "authorization", "If-Match")),
    fc.constantFrom("", "a", "a b", "\xa0", "a\xa0", '"\t"'),
    fc.constantFrom("", " ", "\t "),
  ),
  { maxLength: 3 },
);

/** The line of a size, as long, as upper-case and as extended as the shape says. */
function sizeLine(size: number, [zeros, isUpper, extension]: readonly [number, boolean, string]): string {
  const digits = "0".repeat(zeros) + size.toString(16);
  return `${isUpper ? digits.toUpperCase() : digits}${extension}\r\n`;
}

const bodies = fc
  .tuple(fc.array(fc.tuple(data, shape), { maxLength: 8 }), shape, trailers)
  .map(([chunks, last, trailers]) => ({
    chunks,
    body: chunks.map(([data]) => data).join(""),
    text: `${chunks.map(([data, shape]) => `${sizeLine(data.length, shape)}${data}\r\n`).join("")}${sizeLine(0, last)}${trailers
      .map(([name, value, blank]) => `${name}:${blank}${value}${blank}\r\n`)
      .join("")}\r\n`,
    trailers: cleanTrailers(trailers.flatMap(([name, value]) => [name, value])),
  }));
const cuts = fc
  .array(fc.nat({ max: 600 }), { maxLength: 12 })
  .map((places) => places.toSorted((a, b) => a - b));

t.test(
  "however a body is chunked and cut, what passes is that body without extensions, and ends where it ends",
  async () => {
    fc.assert(
      fc.property(bodies, cuts, ({ text, body, trailers }, cuts) => {
        const {
          event,
          passed: out,
          end,
        } = passed(
          text + BEHIND,
          cuts.filter((cut) => cut < text.length),
        );
        const decoded = decodeChunks(out);
        const lines = [];
        for (let at = 0; at < trailers.length; at += 2) lines.push(`${trailers[at]}: ${trailers[at + 1]}`);
        return (
          event === DONE &&
          end === text.length &&
          decoded?.body === body &&
          JSON.stringify(decoded.trailer) === JSON.stringify(lines)
        );
      }),
      { numRuns: 2000 },
    );
  },
);

t.test("given byte by byte it comes to the same, and nothing that passed is taken back", async () => {
  fc.assert(
    fc.property(bodies, ({ text }) => {
      const whole = passed(text + BEHIND);
      const bytewise = passed(
        text + BEHIND,
        Array.from({ length: text.length }, (_, at) => at),
      );
      return whole.passed === bytewise.passed && whole.end === bytewise.end;
    }),
    { numRuns: 300 },
  );
});

t.test("a mutant is broken, or is to llhttp the same body with the same end", async (t) => {
  const count = { whole: 0, broken: 0, ongoing: 0 };
  fc.assert(
    fc.property(fc.nat(), cuts, (seed, cuts) => {
      const roll = rollOf(seed);
      const body = "x\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n".repeat(1 + (seed % 3));
      const text = mutantOf(roll, chunksOf(roll, body), [chunksOf(roll, body)]);
      const mine = passed(text + BEHIND, cuts);
      const theirs = hearRequest(Buffer.from(HEAD + text + BEHIND, "latin1"));
      if (mine.event === DONE) count.whole++;
      else count[mine.event === BROKEN ? "broken" : "ongoing"]++;
      if (mine.event === BROKEN) return true;
      if (mine.event !== DONE) return theirs.verdict === "more";
      return (
        theirs.verdict === "whole" &&
        theirs.end === HEAD.length + mine.end &&
        decodeChunks(mine.passed)?.body === theirs.body
      );
    }),
    { numRuns: 5000 },
  );
  t.ok(count.whole > 500 && count.broken > 500, JSON.stringify(count));
});

t.test("what is broken is broken wherever it is cut", async () => {
  fc.assert(
    fc.property(fc.nat(), cuts, (seed, cuts) => {
      const roll = rollOf(seed);
      const text = mutantOf(roll, chunksOf(roll, "0\r\n\r\nabc"), [BEHIND]);
      const [whole, parts] = [passed(text), passed(text, cuts)];
      return whole.event === DONE || whole.event === BROKEN
        ? whole.event === parts.event && (whole.event === BROKEN || whole.passed === parts.passed)
        : parts.event !== DONE && parts.event !== BROKEN;
    }),
    { numRuns: 3000 },
  );
});

t.test("how much data a chunk brings is known before the first byte of it passes", async () => {
  fc.assert(
    fc.property(bodies, fc.integer({ min: 1, max: 50 }), ({ chunks, text }, step) => {
      const scan = new ChunkScan(1000);
      const bytes = Buffer.from(text, "latin1");
      // Where each chunk's data begins, and how much there is with it.
      const known: [number, number][] = [];
      let place = 0;
      let sum = 0;
      for (const [data, shape] of chunks) {
        place += sizeLine(data.length, shape).length;
        sum += data.length;
        known.push([place, sum]);
        place += data.length + 2;
      }
      for (let at = 0; at < bytes.length;) {
        const to = Math.min(bytes.length, at + step);
        const passes = scan.scan(bytes, at, to);
        for (const [from, total] of known) if (passes > from && scan.total < total) return false;
        if (scan.event === DONE) return scan.total === sum;
        if (scan.event === BROKEN) return false;
        at = scan.event === ONGOING ? passes : scan.resume;
      }
      return false;
    }),
    { numRuns: 500 },
  );
});

t.test("a size, an extension and a trailer section are bounded", async (t) => {
  const one = (size: string): number => passed(`${size}\r\na\r\n0\r\n\r\n`).event;
  t.equal(one("0000000001"), DONE);
  t.equal(one("00000000001"), BROKEN);
  t.equal(passed("ffffffffff\r\n").event, ONGOING);
  t.equal(passed("10000000000").event, BROKEN);
  const extended = (each: number): string => `1;${"e".repeat(each)}\r\na\r\n`;
  t.equal(passed(`${extended(2000)}${extended(2096)}0\r\n\r\n`).event, DONE);
  t.equal(passed(`${extended(2000)}${extended(2097)}0\r\n\r\n`).event, BROKEN);
  const bounded = (section: string, cuts: readonly number[]): number => {
    const scan = new ChunkScan(20);
    const bytes = Buffer.from(`0\r\n${section}`, "latin1");
    let at = 0;
    for (const to of [...cuts, bytes.length])
      while (at < to && scan.event !== BROKEN) {
        at = scan.scan(bytes, at, to);
        if (scan.event !== ONGOING) at = scan.resume;
      }
    return scan.event;
  };
  for (const cuts of [[], [4], [10], [22]]) {
    t.equal(bounded(`A: ${"b".repeat(13)}\r\n\r\n`, cuts), DONE);
    t.equal(bounded(`A: ${"b".repeat(14)}\r\n\r\n`, cuts), BROKEN);
    t.equal(bounded("a".repeat(21), cuts), BROKEN, "also when its end never comes");
  }
});

t.test("what is not exactly a chunked body is broken", async (t) => {
  for (const text of [
    "\r\n",
    "g\r\n",
    " 1\r\n",
    "1 \r\n",
    "1\n",
    "1\r\r",
    "1\r\nab\r\n",
    "1\r\na\rb",
    "1\r\na\n",
    "0\r\n\r\r",
    "0\r\n\n\r\n\r\n",
    "0\r\n A: b\r\n\r\n",
    "0\r\nA b\r\n\r\n",
    "0\r\nA : b\r\n\r\n",
    "0\r\n: b\r\n\r\n",
    "0\r\nA: b\r\n c: d\r\n\r\n",
    "0\r\nA: b\nc: d\r\n\r\n",
    "0\r\nA: b\0\r\n\r\n",
    "0\r\nA: b\r\r\n\r\n",
    ...[
      ";",
      ";a= b",
      "; a",
      ";a b",
      ";a;",
      ";\xe9",
      ";a=\xe9",
      ';a="b',
      ';a="b"c',
      ';a="\0"',
      ';a="\\\x7f"',
    ].map((extension) => `1${extension}\r\na\r\n0\r\n\r\n`),
    "1;a\n\r\n",
    "1;a\rb\r\na\r\n",
  ])
    t.equal(passed(text).event, BROKEN, JSON.stringify(text));
});

t.test("an extension is taken when llhttp takes it, and only then", async (t) => {
  const all = (length: number): string[] =>
    length === 0
      ? [""]
      : all(length - 1).flatMap((text) =>
          [";", "=", "a", '"', "\\", " ", "\t", "\x80", "\r", "\n", "\x7f"].map((char) => text + char),
        );
  let taken = 0;
  for (const extension of [0, 1, 2, 3, 4].flatMap(all)) {
    const text = `1;${extension}\r\na\r\n0\r\n\r\n`;
    const isTaken = passed(text).event === DONE;
    if (isTaken) taken++;
    if (isTaken !== (hearRequest(Buffer.from(HEAD + text, "latin1")).verdict === "whole"))
      t.fail(JSON.stringify(text));
  }
  t.ok(taken > 50, `${taken} are taken`);
});

t.test("a trailer that frames is broken, as to llhttp, and not merely left out", async (t) => {
  for (const line of [
    "Content-Length: 5",
    "content-length: 0",
    "Transfer-Encoding: chunked",
    "TRANSFER-ENCODING: gzip",
  ]) {
    const text = `0\r\n${line}\r\n\r\n`;
    t.equal(passed(text).event, BROKEN, line);
    t.not(hearRequest(Buffer.from(HEAD + text, "latin1")).verdict, "whole", line);
  }
});

t.test("blanks are taken off a trailer's value, and no byte that only Unicode calls a blank", async (t) => {
  t.equal(passed("0\r\nA: \t\xa0b\xa0 \t\r\n\r\n").passed, "0\r\nA: \xa0b\xa0\r\n\r\n");
  t.equal(passed("0\r\nA:   \r\n\r\n").passed, "0\r\nA: \r\n\r\n");
});

t.test("a trailer of many blanks takes no more than linear time", async (t) => {
  const bytes = Buffer.from(`0\r\nA:${" ".repeat(200_000)}\0\r\n\r\n`, "latin1");
  const scan = new ChunkScan(300_000);
  const before = process.cpuUsage();
  for (let at = 0; scan.event !== BROKEN && at < bytes.length;) {
    at = scan.scan(bytes, at, bytes.length);
    if (scan.event !== ONGOING) at = scan.resume;
  }
  t.equal(scan.event, BROKEN);
  // Quadratic, it took half a minute.
  t.ok(process.cpuUsage(before).user < 3_000_000);
});
