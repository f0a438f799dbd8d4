/**
 * One stream of HTTP/2 is one exchange as any other: the same split and stickiness, one outcome whatever breaks, back-pressure per stream, and the same ways to go
 * away (reliability.md I48, D24, F33, F34).
 */

import { createServer } from "node:net";
import type { ClientHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import t from "tap";
import { millis } from "../../src/domain/units.ts";
import { FAULTS, type Fault } from "../support/faults.ts";
import {
  block,
  CANCEL,
  DATA,
  END_STREAM,
  frame,
  head,
  HEADERS,
  INTERNAL_ERROR,
  NO_ERROR,
  number,
  rawHttp2,
  request,
  RST_STREAM,
  WINDOW_UPDATE,
  type Fields,
  type RawHttp2,
} from "../support/frames.ts";
import { answerOn, client2, valueOf } from "../support/h2.ts";
import { inEveryLane } from "../support/lanes.ts";
import { startPlane } from "../support/plane.ts";
import { bodyOf, once } from "../support/raw.ts";
import { NOBODY, reply, upstream } from "../support/upstream.ts";

const MAX_WINDOW = 2 ** 31 - 1;

void inEveryLane(
  "a key goes to the same arm over HTTP/2 and over HTTP/1.1, and stays there (reliability 34)",
  async (t) => {
    const stable = await upstream(reply(200, "stable"));
    const canary = await upstream(reply(200, "canary"));
    const running = await startPlane({ stable: stable.url, canary: canary.url });
    const client = client2(running.address);
    let before: readonly string[] = [];
    for (const weight of [0, 30, 60, 100]) {
      running.weight(weight);
      const keys = Array.from({ length: 100 }, (_, nth) => `user-${nth}`);
      const answers = await Promise.all(keys.map((key) => client.ask("GET", "/", { "x-user": key })));
      const arms = answers.map(({ body }) => body.toString());
      for (const [nth, key] of keys.slice(0, 20).entries())
        t.equal(
          bodyOf(await once(running.address, `GET / HTTP/1.1\nHost: x\nX-User: ${key}`)),
          arms[nth],
          `${key} at ${weight}`,
        );
      const share = arms.filter((arm) => arm === "canary").length;
      t.ok(weight === 0 || weight === 100 ? share === weight : Math.abs(share - weight) < 15, `${share}`);
      t.ok(before.every((arm, nth) => arm === "stable" || arms[nth] === "canary"));
      before = arms;
    }
    client.close();
    await running.plane.close();
    await stable.close();
    await canary.close();
  },
);

t.test("an anonymous client is given its key once, and is known by it (product 2.2)", async (t) => {
  const stable = await upstream(reply(200, "stable", "Set-Cookie: own=1\r\n"));
  const canary = await upstream(reply(200, "canary", "Set-Cookie: own=1\r\n"));
  const running = await startPlane({ stable: stable.url, canary: canary.url }, { anonymous: "cookie" });
  running.weight(50);
  const client = client2(running.address);
  for (let nth = 0; nth < 20; nth++) {
    const first = await client.ask("GET", "/");
    const cookies = first.fields.filter((_, at) => first.fields[at - 1] === "set-cookie" && at % 2 === 1);
    t.equal(cookies.length, 2);
    t.equal(cookies[0], "own=1");
    const [pair = ""] = (cookies[1] ?? "").split(";");
    // In a field of its own, as browsers send them (RFC 9113 §8.2.3).
    const second = await client.ask("GET", "/", { cookie: ["a=b", pair] });
    t.equal(second.body.toString(), first.body.toString());
    t.equal(valueOf(second.fields, "set-cookie"), "own=1");
  }
  client.close();
  await running.plane.close();
  await stable.close();
  await canary.close();
});

t.test("what the canary fails is answered by stable, over the same stream (product 2.9)", async (t) => {
  const stable = await upstream(reply(200, "stable"));
  const canary = await upstream(reply(500, "canary"));
  const rescue = { budget: "100%" };
  for (const url of [canary.url, NOBODY]) {
    const running = await startPlane({ stable: stable.url, canary: url }, { rescue });
    running.weight(100);
    const client = client2(running.address);
    const got = await client.ask("GET", "/", { "x-user": "u" });
    t.match(got, { status: 200, code: 0 });
    t.equal(got.body.toString(), "stable");
    t.match(await running.settled((now) => now.rescues.answered === 1), {
      counts: { [`canary ${url === NOBODY ? "connect" : "status"}`]: 1 },
    });
    client.close();
    await running.plane.close();
  }
  await stable.close();
  await canary.close();
});

const HERE: Readonly<Record<string, Fault>> = {
  ...FAULTS,
  "stop in the body": (socket) => void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
};

/** How clients behave: what they send behind the head. */
const MANNERS: Readonly<Record<string, (client: RawHttp2, id: number) => void>> = {
  patient: () => undefined,
  "resets at once": (client, id) => client.send(frame(RST_STREAM, 0, id, number(CANCEL))),
  "resets a little later": (client, id) =>
    void setTimeout(() => client.send(frame(RST_STREAM, 0, id, number(NO_ERROR))), 5),
};

t.test(
  "every stream settles exactly once: faults × methods × manners, a hundred at a time (reliability 33, 47, 48)",
  async (t) => {
    const server = await upstream("");
    const names = Object.keys(HERE);
    server.script = (socket, { target }) => HERE[target.slice(1).replaceAll("-", " ")]?.(socket);
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      { timeouts: { connect: "500ms", headers: "150ms", idle: "150ms" } },
      { limits: { resets: 100_000 } },
    );
    let begun = 0;
    for (const weight of [0, 100]) {
      running.weight(weight);
      const client = await rawHttp2(running.address);
      await client.until("SETTINGS", () => client.frames.length > 1);
      const ids: number[] = [];
      for (const name of names) {
        for (const method of ["GET", "POST"]) {
          for (const manner of Object.values(MANNERS)) {
            const id = 1 + 2 * ids.length;
            ids.push(id);
            const fields = request(`/${name.replaceAll(" ", "-")}`, [["x-user", "u"]], method);
            client.send(head(id, fields, method === "GET" ? END_STREAM : 0));
            if (method === "POST") client.send(frame(DATA, END_STREAM, id, Buffer.from("abc")));
            manner(client, id);
          }
        }
      }
      begun += ids.length;
      const isOver = (id: number): boolean => client.hasEnded(id) || client.resetOf(id) !== undefined;
      // Those that their client has reset are told nothing.
      await client.until("all ends", () => ids.filter((_, nth) => nth % 3 === 0).every(isOver));
      t.equal(client.goAway, undefined);
      client.destroy();
    }
    const after = await running.settled((now) => {
      const load = running.plane.gauges().routes["app"];
      return now.settled > 0 && load?.stable.inFlight === 0 && load.canary.inFlight === 0;
    });
    // What was reset before anything was done about it never was an exchange.
    t.ok(after.settled <= begun && after.settled >= (begun * 2) / 3, `${after.settled} of ${begun}`);
    const kinds = new Set(Object.keys(after.counts).map((each) => each.replace(/^(stable|canary) /, "")));
    for (const kind of ["ok", "status", "timeout", "cut", "malformed", "client_gone"])
      t.ok(kinds.has(kind), kind);
    await running.plane.close();
    await server.close();
  },
);

t.test(
  "a reader that stops holds up its own stream alone, and little memory (reliability 24, 48)",
  async (t) => {
    const size = 300_000_000;
    const chunk = Buffer.alloc(64 * 1024);
    let given = 0;
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", (bytes: Buffer) => {
        if (bytes.toString("latin1").startsWith("GET /small")) return void socket.write(reply(200, "small"));
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
        const more = (): void => {
          while (given < size && socket.write(chunk)) given += chunk.length;
        };
        socket.on("drain", more);
        more();
        return undefined;
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    // A TCP server has an address of this form.
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const running = await startPlane({ stable: url, canary: url });
    const client = await rawHttp2(running.address);
    client.send(frame(WINDOW_UPDATE, 0, 0, number(MAX_WINDOW - 65_535)));
    const before = process.memoryUsage.rss();
    for (let id = 1; id < 60; id += 2) client.send(head(id, request("/large")));
    await client.until("what the windows allow", () =>
      Array.from({ length: 30 }, (_, nth) => 1 + 2 * nth).every((id) => client.bodyOf(id).length === 65_535),
    );
    client.send(head(61, request("/small")));
    await client.until("another answer", () => client.hasEnded(61));
    t.equal(client.bodyOf(61).toString(), "small");
    t.ok(process.memoryUsage.rss() - before < 96 * 1024 * 1024);
    // Beside what the kernel's own buffers take.
    t.ok(given < 30 * 8 * 1024 * 1024, `${given}`);
    client.send(frame(WINDOW_UPDATE, 0, 1, number(100_000)));
    await client.until("more", () => client.bodyOf(1).length === 165_535);
    client.destroy();
    const { counts } = await running.settled((now) => now.settled === 31);
    t.strictSame(counts, { "stable client_gone": 30, "stable ok": 1 });
    await running.plane.close();
    await new Promise((resolve) => server.close(resolve));
  },
);

t.test(
  "an upload waits for an upstream that does not read, stream by stream (reliability 24, 48)",
  async (t) => {
    const slow = await upstream("");
    slow.onConnection = (socket) => void socket.pause();
    const running = await startPlane(
      { stable: slow.url, canary: slow.url },
      { timeouts: { headers: "30s" } },
    );
    const client = await rawHttp2(running.address);
    await client.until("SETTINGS", () => client.frames.length > 1);
    client.send(head(1, request("/", [], "POST"), 0));
    const piece = Buffer.alloc(16_000);
    let window = 65_535;
    let seen = 0;
    let sent = 0;
    /** Sends all that the windows allow. */
    const push = async (): Promise<void> => {
      while (window >= piece.length) {
        window -= piece.length;
        sent += piece.length;
        await client.flushed(frame(DATA, 0, 1, piece));
      }
      for (; seen < client.frames.length; seen++) {
        const each = client.frames[seen];
        if (each?.type === WINDOW_UPDATE && each.stream === 1) window += each.payload.readUInt32BE(0);
      }
    };
    const sentSoFar = (): number => sent;
    let quiet = 0;
    while (quiet < 100 && sentSoFar() < 64_000_000) {
      const before = sent;
      await push();
      // It is held up when nothing more is allowed for so many turns of the loop.
      quiet = sent === before ? quiet + 1 : 0;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    // Beside what the kernel's own buffers take.
    t.ok(sent < 16_000_000, `${sent}`);
    for (const socket of slow.sockets) socket.resume();
    const held = sent;
    while (sentSoFar() < held + 2_000_000) {
      await push();
      await new Promise((resolve) => setImmediate(resolve));
    }
    t.pass("and goes on when it reads");
    client.destroy();
    await running.settled((now) => now.counts["stable client_gone"] === 1);
    await running.plane.close();
    await slow.close();
  },
);

t.test(
  "an early answer ends its stream, and the rest of the body with NO_ERROR (reliability 9, 48)",
  async (t) => {
    const stable = await upstream("");
    stable.onConnection = (socket) =>
      void socket.once("data", () => void socket.write(reply(413, "enough", "Connection: close\r\n")));
    const running = await startPlane({ stable: stable.url, canary: stable.url });
    const client = await rawHttp2(running.address);
    for (let id = 1; id < 41; id += 2) {
      client.send(head(id, request("/", [["content-length", "1000000"]], "POST"), 0));
      client.send(frame(DATA, 0, id, Buffer.alloc(16_000)));
      await client.until("a reset", () => client.resetOf(id) !== undefined);
      t.strictSame([client.statusOf(id), client.bodyOf(id).toString()], [413, "enough"]);
      t.ok(client.hasEnded(id));
      t.equal(client.resetOf(id), NO_ERROR);
    }
    t.equal(client.goAway, undefined);
    const totals = await running.settled((now) => now.settled === 20);
    t.strictSame([totals.counts, totals.events], [{ "stable ok": 20 }, {}]);
    client.destroy();
    await running.plane.close();
    await stable.close();
  },
);

t.test(
  "the proxy's limits on a body hold on a stream, and the connection goes on (reliability 25, 26)",
  async (t) => {
    const stable = await upstream(reply(200, "ok"));
    const running = await startPlane(
      { stable: stable.url, canary: stable.url },
      {},
      { limits: { body: "20KiB", bodyIdle: "200ms" } },
    );
    const client = await rawHttp2(running.address);
    client.send(head(1, request("/", [], "POST"), 0));
    for (let nth = 0; nth < 3; nth++) client.send(frame(DATA, 0, 1, Buffer.alloc(10_000)));
    await client.until("413", () => client.hasEnded(1));
    t.equal(client.statusOf(1), 413);
    client.send(head(3, request("/", [], "POST"), 0), frame(DATA, 0, 3, Buffer.alloc(10)));
    await client.until("408", () => client.hasEnded(3));
    t.equal(client.statusOf(3), 408);
    client.send(head(5, request("/")));
    await client.until("an answer", () => client.hasEnded(5));
    t.equal(client.statusOf(5), 200);
    const { counts } = await running.settled((now) => now.settled === 3);
    t.strictSame(counts, { "stable refused": 2, "stable ok": 1 });
    client.destroy();
    await running.plane.close();
    await stable.close();
  },
);

const GRPC: Fields = [
  ["content-type", "application/grpc"],
  ["te", "trailers"],
];

t.test(
  "a body that trickles over HTTP/2 is ended, and one of gRPC is not (reliability 26, 50)",
  async (t) => {
    const stable = await upstream("");
    let bytes = "";
    stable.onConnection = (socket) =>
      socket.on("data", (chunk: Buffer) => (bytes += chunk.toString("latin1")));
    const running = await startPlane({ stable: stable.url, canary: stable.url });
    const client = client2(running.address);
    const trickle = async (fields: Fields): Promise<ClientHttp2Stream> => {
      const stream = client.open("POST", "/", Object.fromEntries(fields));
      bytes = "";
      stream.write("first");
      await running.settled(() => bytes.includes("first"));
      running.advance(60_000);
      stream.write("second");
      return stream;
    };
    t.equal((await answerOn(await trickle([]))).status, 408);
    const messages = await trickle(GRPC);
    await running.settled(() => bytes.includes("second"));
    t.strictSame(running.measured().counts, { "stable refused": 1 });
    messages.close(CANCEL);
    client.close();
    await running.plane.close();
    await stable.close();
  },
);

t.test(
  "a first head that never ends is late by the time of a head; behind a request a connection may be idle (reliability 26, 48)",
  async (t) => {
    const stable = await upstream(reply(200, "ok"));
    const running = await startPlane(
      { stable: stable.url, canary: stable.url },
      {},
      { limits: { headTime: "100ms", keepAlive: "1m" } },
    );
    const slow = await rawHttp2(running.address);
    // No acknowledgement may come between the parts of a head.
    await slow.until("SETTINGS", () => slow.frames.length > 1);
    slow.send(frame(HEADERS, 0, 1, block([[":method", "GET"]])));
    const idle = await rawHttp2(running.address);
    idle.send(head(1, request("/")));
    await idle.until("an answer", () => idle.hasEnded(1));
    await slow.closed();
    t.equal(slow.goAway, NO_ERROR);
    idle.send(head(3, request("/")));
    await idle.until("an answer", () => idle.hasEnded(3));
    t.equal(idle.goAway, undefined);
    idle.destroy();
    await running.plane.close();
    await stable.close();
  },
);

t.test(
  "a quiet stream of gRPC is no stalled body, and its failures have a gRPC status (reliability 50)",
  async (t) => {
    const dead = await startPlane({ stable: NOBODY, canary: NOBODY });
    const failed = client2(dead.address);
    const got = await failed.ask("POST", "/a.B/C", Object.fromEntries(GRPC), Buffer.alloc(5));
    t.match(got, { status: 200, code: 0 });
    t.equal(valueOf(got.fields, "content-type"), "application/grpc");
    t.equal(valueOf(got.fields, "grpc-status"), "14");
    t.match(valueOf(got.fields, "grpc-message"), /^no connection to the upstream$/);
    failed.close();
    await dead.plane.close();
    const stable = await upstream("");
    let bytes = "";
    stable.onConnection = (socket) => {
      socket.on("data", (chunk: Buffer) => (bytes += chunk.toString("latin1")));
    };
    const running = await startPlane(
      { stable: stable.url, canary: stable.url },
      { timeouts: { headers: "30s" } },
      { limits: { bodyIdle: "100ms" } },
    );
    const client = client2(running.address);
    const stream = client.open("POST", "/a.B/C", Object.fromEntries(GRPC));
    stream.write("first");
    await running.settled(() => bytes.includes("first"));
    await new Promise((resolve) => setTimeout(resolve, 400));
    stream.write("second");
    await running.settled(() => bytes.includes("second"));
    t.equal(running.measured().settled, 0);
    stream.close(CANCEL);
    await running.settled((now) => now.counts["stable client_gone"] === 1);
    client.close();
    await running.plane.close();
    await stable.close();
  },
);

t.test(
  "a rollback ends the canary's streams and no other, and a drain the rest (reliability 39, 48)",
  async (t) => {
    const stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n";
    const stable = await upstream(stream);
    const canary = await upstream(stream);
    const running = await startPlane({ stable: stable.url, canary: canary.url });
    running.weight(100);
    const client = client2(running.address);
    const open = async (): Promise<ReturnType<typeof client.open>> => {
      const each = client.open("GET", "/", { "x-user": "u" });
      each.end();
      await new Promise((resolve) => each.once("data", resolve));
      return each;
    };
    const onCanary = await open();
    running.weight(0);
    const onStable = await open();
    const ended = answerOn(onCanary);
    running.plane.closeLongLived("app", "close", millis(0));
    t.equal((await ended).code, INTERNAL_ERROR);
    t.notOk(onStable.closed);
    const last = answerOn(onStable);
    t.match(await running.plane.retire(millis(100)), { cut: 1 });
    t.not((await last).code, NO_ERROR);
    t.match(running.measured().counts, { "canary unavailable": 1, "stable unavailable": 1 });
    client.close();
    await stable.close();
    await canary.close();
  },
);
