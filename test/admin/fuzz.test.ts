/**
 * The admin listener under fire: calls made of odd parts, and good calls with bytes changed, on raw sockets. Whatever comes, the answer is HTTP, no
 * 5xx, every refusal a problem document, nothing is written without the right to, and the next caller is served (reliability.md 43, 44).
 */

import { once } from "node:events";
import { connect } from "node:net";
import fc from "fast-check";
import t from "tap";
import { problemSchema } from "../../src/admin/problem.ts";
import { ROWS } from "../../src/admin/routes.ts";
import { bearer, testAdmin, type TestAdmin, pathOf } from "../support/control.ts";

/** Sends `bytes`, ends its side, and resolves all that comes back until the connection is closed. */
async function talk(address: string, bytes: Buffer): Promise<string> {
  const socket = connect(Number(address.split(":")[1]), "127.0.0.1");
  let received = "";
  socket.on("data", (part: Buffer) => (received += part.toString("latin1")));
  // A reset is an end like any other: the server may close on what it will not read.
  socket.on("error", () => undefined);
  socket.end(bytes);
  await once(socket, "close");
  return received;
}

interface Seen {
  readonly statuses: Map<number, number>;
  answers: number;
}

/** Throws when one of the answers is not what every answer must be. */
function check(text: string, seen: Seen): void {
  let rest = text;
  while (rest !== "") {
    const head = /^HTTP\/1\.1 (\d{3}) [^\r\n]*\r\n((?:[!-9;-~]+: ?[^\r\n]*\r\n)*)\r\n/.exec(rest);
    if (head === null) throw new Error(`no answer: ${JSON.stringify(rest.slice(0, 300))}`);
    rest = rest.slice(head[0].length);
    const status = Number(head[1]);
    if (status === 100) continue;
    const fields = (head[2] ?? "").toLowerCase();
    seen.answers++;
    seen.statuses.set(status, (seen.statuses.get(status) ?? 0) + 1);
    checkHead(status, fields);
    // A stream of events, which goes on for as long as the connection does.
    if (/^transfer-encoding: chunked/m.test(fields)) return;
    // The answer to HEAD has a length and no body; what was asked may be unknown by now.
    if (rest === "" || rest.startsWith("HTTP/1.1 ")) continue;
    const length = Number(/^content-length: (\d+)/m.exec(fields)?.[1]);
    if (status >= 400) checkProblem(fields, rest.slice(0, length));
    rest = rest.slice(length);
  }
}

function checkHead(status: number, fields: string): void {
  if (status >= 500) throw new Error(`${status}: ${fields}`);
  if (!/^content-security-policy: default-src 'none'/m.test(fields)) throw new Error(`no guard: ${fields}`);
  if (/^access-control/m.test(fields)) throw new Error(`shared with other origins: ${fields}`);
  // A 304 has no body.
  if (status !== 304 && !/^(?:content-length: \d+|transfer-encoding: chunked)$/m.test(fields))
    throw new Error(`no length: ${fields}`);
}

function checkProblem(fields: string, body: string): void {
  // OFREP's refusals have a form of their own.
  if (/^content-type: application\/json/m.test(fields) && body.includes('"errorCode"')) return;
  if (!/^content-type: application\/problem\+json/m.test(fields)) throw new Error(fields);
  if (!problemSchema.safeParse(JSON.parse(body)).success) throw new Error(body);
  if (/\bat .*\.[jt]s:\d+|node:internal/.test(body)) throw new Error(`a stack: ${body}`);
}

/** Nothing was done, nothing failed that should not, and the next caller is served. */
async function unharmed(t: Tap, { ask, control, done, log }: TestAdmin): Promise<void> {
  t.same(control.asked, [], "no command reached the engine");
  t.same(done, [], "nothing was reloaded or drained");
  t.same(
    log.lines.filter(({ level }) => level === "error"),
    [],
  );
  t.equal((await ask("GET", "/v1/routes")).status, 200);
  t.equal((await ask("POST", "/v1/rollouts/app/pause")).status, 200);
}
type Tap = Pick<typeof t, "same" | "equal">;

const READER = `Authorization: ${bearer("reader")["authorization"] ?? ""}`;
const HOST = "Host: localhost:9900";
const PATHS = [...new Set(ROWS.map(([, row]) => pathOf(row)))];

const odd = fc.oneof(
  { arbitrary: fc.constantFrom(...PATHS), weight: 6 },
  fc.constantFrom(
    "",
    "*",
    "/",
    "//",
    "/v1/",
    "/v1/routes/%00",
    "/v1/routes/..%2f",
    "/v1/routes/%",
    "/V1/ROUTES",
    "/v1/routes/app?x",
    "/v1/routes/app#x",
    "/v1/journal?limit=1e9",
    "/v1/journal?__proto__=1",
    "http://localhost/v1/routes",
    "localhost:9900",
    "\\v1\\routes",
    `/${"a".repeat(5000)}`,
  ),
  fc.string({ unit: "binary-ascii", maxLength: 30 }),
);
const field = fc.oneof(
  { arbitrary: fc.constantFrom(READER, "Content-Type: application/json", "Content-Length: 5"), weight: 6 },
  {
    arbitrary: fc.constantFrom(
      HOST,
      "Authorization: Bearer x",
      "Authorization:",
      "Origin: null",
      "Origin: http://localhost:9900",
      "Sec-Fetch-Site: cross-site",
      "Content-Type: application/json",
      "Content-Type: text/plain",
      "Content-Encoding: gzip",
      "Expect: 100-continue",
      "Expect: 200-ok",
      "Upgrade: websocket\r\nConnection: Upgrade",
      "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQ",
      "Connection: close",
      "Connection: keep-alive, close, x",
      "Content-Length: 0",
      "Content-Length: 5",
      "Content-Length: -1",
      "Content-Length: 5, 5",
      "Content-Length: 99999999999999999999",
      "Transfer-Encoding: chunked",
      "Transfer-Encoding: gzip, chunked",
      "If-Match: *",
      'If-Match: "x',
      "Idempotency-Key: k",
      "Accept: application/openmetrics-text",
      "X-HTTP-Method-Override: POST",
      "__proto__: x",
      "constructor: x",
      `X: ${"a".repeat(9000)}`,
      "X : a",
      " X: a",
      "X",
    ),
    weight: 3,
  },
  fc.string({ unit: "binary-ascii", maxLength: 20 }),
);
const call = fc
  .record({
    method: fc.oneof(
      { arbitrary: fc.constantFrom("GET", "POST"), weight: 6 },
      fc.constantFrom(
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "DELETE",
        "OPTIONS",
        "CONNECT",
        "TRACE",
        "PRI",
        "get",
        "QUERY",
      ),
      fc.string({ unit: "binary-ascii", maxLength: 5 }),
    ),
    target: odd,
    version: fc.oneof(
      { arbitrary: fc.constant("HTTP/1.1"), weight: 9 },
      fc.constantFrom("HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/1.9", ""),
    ),
    fields: fc.array(field, { maxLength: 4 }),
    body: fc.oneof(
      fc.constant(""),
      fc.json(),
      fc.constantFrom("5\r\n{}   \r\n0\r\n\r\n", "0\r\n\r\n", "ffffffffffffffff\r\n", "{}", '{"reason":"x"}'),
      fc.string({ unit: "binary-ascii", maxLength: 30 }),
    ),
  })
  .map(({ method, target, version, fields, body }) => {
    const head = [`${method} ${target} ${version}`.trimEnd(), HOST, ...fields].join("\r\n");
    return Buffer.from(`${head}\r\n\r\n${body}`, "latin1");
  });

t.test(
  "calls made of odd parts are answered, never with a 5xx, and never do anything (reliability 43, 44)",
  async (t) => {
    const admin = await testAdmin(t);
    const seen: Seen = { statuses: new Map(), answers: 0 };
    const several = fc.array(call, { minLength: 1, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(several, async (calls) => {
        check(await talk(admin.address, Buffer.concat(calls)), seen);
      }),
      { numRuns: 2500 },
    );
    for (const status of [200, 400, 401, 404, 405]) t.ok(seen.statuses.has(status), `saw ${status}`);
    t.ok(seen.answers > 2500, `${seen.answers} answers: ${JSON.stringify([...seen.statuses])}`);
    await unharmed(t, admin);
  },
);

/** Good calls: those that the reader may make, and those that it may not. */
const GOOD: readonly string[] = PATHS.flatMap((path) =>
  ["GET", "POST"].map((method) => {
    const body = method === "POST" ? '{"reason":"because","weight":5}' : "";
    const length =
      method === "POST" ? `\r\nContent-Type: application/json\r\nContent-Length: ${body.length}` : "";
    return `${method} ${path} HTTP/1.1\r\n${HOST}\r\n${READER}${length}\r\n\r\n${body}`;
  }),
);

interface Edit {
  readonly at: number;
  readonly kind: number;
  readonly length: number;
  readonly bytes: Uint8Array;
}
const edit: fc.Arbitrary<Edit> = fc.record({
  at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  kind: fc.integer({ min: 0, max: 4 }),
  length: fc.integer({ min: 1, max: 40 }),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 6 }),
});
/** One change of a few bytes, at a share of the length. */
function edited(text: Buffer, { at, kind, length, bytes }: Edit): Buffer {
  const from = Math.floor(at * text.length);
  const before = text.subarray(0, from);
  const after = text.subarray(Math.min(text.length, from + length));
  const cut = text.subarray(from, from + length);
  if (kind === 0) return Buffer.concat([before, bytes, text.subarray(from)]);
  if (kind === 1) return Buffer.concat([before, after]);
  if (kind === 2) return Buffer.concat([before, cut, cut, after]);
  if (kind === 3) return Buffer.concat([before, bytes, text.subarray(from + bytes.length)]);
  return Buffer.concat([before, Buffer.from("\r\n"), text.subarray(from)]);
}

t.test(
  "good calls with bytes changed are answered, never with a 5xx, and never do anything (reliability 43, 44)",
  async (t) => {
    const admin = await testAdmin(t);
    const seen: Seen = { statuses: new Map(), answers: 0 };
    const calls = fc.array(fc.constantFrom(...GOOD), { minLength: 1, maxLength: 3 });
    const edits = fc.array(edit, { maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(calls, edits, async (texts, changes) => {
        const bytes = changes.reduce(edited, Buffer.from(texts.join("")));
        check(await talk(admin.address, bytes), seen);
      }),
      { numRuns: 2500 },
    );
    for (const status of [200, 400, 403, 421]) t.ok(seen.statuses.has(status), `saw ${status}`);
    t.ok(seen.answers > 2500, `${seen.answers} answers: ${JSON.stringify([...seen.statuses])}`);
    await unharmed(t, admin);
  },
);
