/** What a hostile client may do with an HTTP/2 connection: frames by hand, without an HTTP library (reliability.md I48). */

import t from "tap";
import { millis } from "../../src/domain/units.ts";
import { Calm } from "../../src/proxy/h2/calm.ts";
import {
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  fieldBlock,
  frame,
  HEADERS,
  PING,
  SETTINGS,
} from "../support/h2-upstream.ts";
import { inEveryLane } from "../support/lanes.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { raw, type RawClient } from "../support/raw.ts";
import { reply, upstream } from "../support/upstream.ts";

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PRIORITY = 2;
const GOAWAY = 7;
const WINDOW_UPDATE = 8;
const CALM = 11;

type Fields = readonly (readonly [string, string])[];

const request = (...more: Fields): Buffer =>
  fieldBlock([[":method", "GET"], [":scheme", "http"], [":path", "/"], [":authority", "a"], ...more]);

/** The frames in what was received, as type and payload. */
function framesIn(
  received: string,
): readonly { readonly type: number; readonly stream: number; readonly payload: Buffer }[] {
  const bytes = Buffer.from(received, "latin1");
  const found = [];
  for (let at = 0; at + 9 <= bytes.length;) {
    const length = bytes.readUIntBE(at, 3);
    found.push({
      type: bytes[at + 3] ?? 0,
      stream: bytes.readUInt32BE(at + 5),
      payload: bytes.subarray(at + 9, at + 9 + length),
    });
    at += 9 + length;
  }
  return found;
}

const goawayIn = (received: string): number | undefined =>
  framesIn(received)
    .find(({ type }) => type === GOAWAY)
    ?.payload.readUInt32BE(4);

async function attacker(running: TestPlane): Promise<RawClient> {
  const client = await raw(running.address);
  client.send(PREFACE);
  client.send(frame(SETTINGS, 0, 0));
  await client.until((received) => framesIn(received).length >= 2);
  return client;
}

async function site(limits: object = {}) {
  const stable = await upstream(reply(200, "ok"));
  const running = await startPlane({ stable: stable.url, canary: stable.url }, {}, { limits });
  return { stable, running };
}

const FLOODS: Readonly<Record<string, Buffer>> = {
  SETTINGS: frame(SETTINGS, 0, 0),
  PING: frame(PING, 0, 0, Buffer.alloc(8)),
};
for (const [what, one] of Object.entries(FLOODS)) {
  void inEveryLane(`a flood of ${what} ends the connection and no other (reliability 48)`, async (t) => {
    const { stable, running } = await site({ frames: 50 });
    const client = await attacker(running);
    client.send(Buffer.concat(Array.from({ length: 200 }, () => one)));
    const { text } = await client.closed();
    const code = goawayIn(text);
    t.ok(code === undefined || code === CALM || code === 1 || code === 2, `GOAWAY ${code}`);
    const other = await attacker(running);
    other.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, request()));
    await other.until((received) =>
      framesIn(received).some(({ type, stream }) => type === DATA && stream === 1),
    );
    other.destroy();
    await running.plane.close();
    await stable.close();
  });
}

t.test("a flood of frames without a request ends the connection (reliability 48)", async (t) => {
  const { stable, running } = await site({ frames: 50 });
  const client = await attacker(running);
  const update = frame(WINDOW_UPDATE, 0, 0, Buffer.from([0, 0, 0, 1]));
  const priority = frame(PRIORITY, 0, 1, Buffer.alloc(5));
  const many = Buffer.concat(Array.from({ length: 20_000 }, (_, nth) => (nth % 2 === 0 ? update : priority)));
  // 2.7 MB of nothing: more than any honest connection has beside its requests.
  for (let nth = 0; nth < 10 && !client.socket.destroyed; nth++) client.send(many);
  const { text } = await client.closed();
  t.not(goawayIn(text), 0);
  await running.plane.close();
  await stable.close();
});

t.test("a head that never ends is cut off by its size, not held (reliability 48)", async (t) => {
  const { stable, running } = await site();
  const client = await attacker(running);
  client.send(frame(HEADERS, END_STREAM, 1, request()));
  const more = frame(CONTINUATION, 0, 1, fieldBlock([["x-a", "b".repeat(16_000)]]));
  client.send(Buffer.concat(Array.from({ length: 40 }, () => more)));
  await client.closed();
  t.equal(stable.requests.length, 0);
  await running.plane.close();
  await stable.close();
});

t.test("a preface behind which nothing comes is not waited for (reliability 26, 48)", async (t) => {
  const { stable, running } = await site({ headTime: "100ms" });
  const client = await raw(running.address);
  client.send(PREFACE);
  await client.closed();
  const half = await raw(running.address);
  half.send(PREFACE.slice(0, 10));
  t.match((await half.closed()).text, /^HTTP\/1\.1 408 /);
  await running.plane.close();
  await stable.close();
});

const BAD: Readonly<Record<string, Fields>> = {
  "a line end in a value": [["x-a", "b\r\nHost: evil"]],
  "a NUL in a value": [["x-a", "b\0c"]],
  "a space before a value": [["x-a", " b"]],
  "a space behind a value": [["x-a", "b "]],
  "a name in upper case": [["X-A", "b"]],
  "a line end in a name": [["x-a\r\nx-b", "c"]],
  "a colon in a name": [["x-a:b", "c"]],
  "a connection field": [["connection", "x-a"]],
  "a transfer coding": [["transfer-encoding", "chunked"]],
  "a te other than trailers": [["te", "gzip"]],
  "an upgrade": [["upgrade", "h2c"]],
  "a pseudo-header field behind others": [
    ["x-a", "b"],
    [":path", "/other"],
  ],
  "a pseudo-header field twice": [[":path", "/other"]],
  "an unknown pseudo-header field": [[":evil", "1"]],
  "two lengths": [
    ["content-length", "0"],
    ["content-length", "5"],
  ],
  "a Host that is not the authority": [["host", "evil"]],
};
const LEFT_OUT = new Set([
  "a line end in a value",
  "a NUL in a value",
  "a line end in a name",
  "a colon in a name",
]);
for (const [what, more] of Object.entries(BAD)) {
  t.test(`${what} goes no further (reliability 5, 49)`, async (t) => {
    const { stable, running } = await site();
    const client = await attacker(running);
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, request(...more)));
    // A good one behind it, on the same connection if there still is one.
    client.send(frame(PING, 0, 0, Buffer.from("12345678")));
    await client
      .until((received) =>
        framesIn(received).some(({ type, payload }) => type === PING && payload.toString() === "12345678"),
      )
      .catch(() => "closed");
    // What the codec leaves out is left out; everything else is refused.
    if (LEFT_OUT.has(what)) t.notMatch(stable.requests[0]?.head ?? "", /evil|x-a|x-b|X-A/i);
    else t.equal(stable.requests.length, 0);
    client.destroy();
    await running.plane.close();
    await stable.close();
  });
}

t.test("the account of a connection lets honest traffic be and ends a flood (reliability 48)", async (t) => {
  const limits = { resets: 5, frames: 10 };
  const honest = new Calm(limits, millis(0), 0);
  for (let second = 1; second <= 100; second++) {
    // A hundred requests of 10 KB a second, their heads, and a WINDOW_UPDATE for each 32 KB of 3 MB sent.
    for (let nth = 0; nth < 100; nth++) honest.head(2000);
    honest.body(1_000_000);
    t.equal(honest.frame(), undefined);
    const read = second * (1_000_000 + 100 * 2000 + 100 * 13);
    t.equal(honest.look(millis(second * 1000), read, second * 3_000_000), undefined);
  }
  const flooded = new Calm(limits, millis(0), 0);
  t.equal(flooded.look(millis(1000), 100_000, 0), undefined, "a little is nothing");
  t.equal(flooded.look(millis(2000), 200_000, 0), "http2_flood");
  const resets = new Calm(limits, millis(0), 0);
  t.strictSame(
    Array.from({ length: 6 }, () => resets.reset()),
    [...Array.from({ length: 5 }, () => undefined), "http2_resets"],
  );
  const patient = new Calm(limits, millis(0), 0);
  for (let second = 0; second < 60; second += 10) {
    for (let nth = 0; nth < 5; nth++) t.equal(patient.reset(), undefined);
    patient.look(millis(second + 10_001 * (second / 10 + 1)), 0, 0);
  }
});
