/** Bodies arrive as they were sent, whoever is slow, however they are framed and cut into pieces (reliability.md A4, C17, E24). */

import { createHash } from "node:crypto";
import { request, type IncomingMessage } from "node:http";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import type { Test } from "tap";
import { inEveryLane } from "../support/lanes.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { raw } from "../support/raw.ts";
import { strictUpstream } from "../support/strict.ts";

/** Bytes that say where they are, so that a lost, doubled or overwritten piece shows. */
function bytesOf(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed | 1;
  for (let at = 0; at + 4 <= length; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes.writeUInt32LE(state, at);
  }
  return bytes;
}

const hash = (bytes: Buffer): string => createHash("sha1").update(bytes).digest("hex");

/** An upstream that reads `POST` bodies to their end, at its leisure, and answers with their hash; and sends `GET /LENGTH/FRAMING` bodies. */
async function echo(): Promise<{ readonly url: string; close(): void }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => undefined);
    let pending = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      // Reads in fits and starts, so that whoever sends has to wait.
      if (chunk.length > 30_000) {
        socket.pause();
        setImmediate(() => setImmediate(() => socket.resume()));
      }
      for (;;) {
        const served = serve(socket, pending);
        if (served === 0) break;
        pending = pending.subarray(served);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Answers the request at the beginning of `bytes`; returns its length, 0 when it is not whole. */
function serve(socket: Socket, bytes: Buffer): number {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) return 0;
  const head = bytes.toString("latin1", 0, end);
  if (head.startsWith("GET")) {
    const [, length = "0", framing = ""] = /^GET \/(\d+)\/(\w+)/.exec(head) ?? [];
    answer(socket, bytesOf(Number(length), Number(length)), framing);
    return end + 4;
  }
  const declared = /^content-length: (\d+)/im.exec(head)?.[1];
  const body: Buffer[] = [];
  let at = end + 4;
  if (declared === undefined) {
    for (;;) {
      const line = bytes.indexOf("\r\n", at);
      if (line < 0) return 0;
      const size = Number.parseInt(bytes.toString("latin1", at, line), 16);
      if (bytes.length < line + 2 + size + 2) return 0;
      body.push(bytes.subarray(line + 2, line + 2 + size));
      at = line + 2 + size + 2;
      if (size === 0) break;
    }
  } else {
    if (bytes.length < at + Number(declared)) return 0;
    body.push(bytes.subarray(at, at + Number(declared)));
    at += Number(declared);
  }
  const text = hash(Buffer.concat(body));
  socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`);
  return at;
}

function answer(socket: Socket, body: Buffer, framing: string): void {
  if (framing === "length") {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nConnection: keep-alive\r\n\r\n`);
    socket.write(body);
  } else if (framing === "close") {
    socket.write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    socket.end(body);
  } else {
    socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (let at = 0, size = 1; at < body.length; at += size, size = (size * 7) % 50_021) {
      const piece = body.subarray(at, at + size);
      socket.write(`${piece.length.toString(16)}${size % 3 === 0 ? ";ext=1" : ""}\r\n`);
      socket.write(piece);
      socket.write("\r\n");
    }
    socket.write("0\r\n\r\n");
  }
}

/** One exchange by a client that is sometimes slow to read; the hash of what came back, or the body when it is short. */
function exchange(
  running: TestPlane,
  path: string,
  body: Buffer | undefined,
  chunked: boolean,
): Promise<string> {
  const [host = "", port = ""] = running.address.split(":");
  return new Promise((resolve, reject) => {
    const headers = body === undefined || chunked ? {} : { "content-length": String(body.length) };
    const sent = request({
      host,
      port,
      path,
      method: body === undefined ? "GET" : "POST",
      headers,
      agent: false,
    });
    sent.on("error", reject);
    sent.on("response", (response: IncomingMessage) => {
      const pieces: Buffer[] = [];
      response.on("error", reject);
      response.on("data", (piece: Buffer) => {
        pieces.push(piece);
        if (pieces.length % 4 !== 0) return;
        response.pause();
        setImmediate(() => setImmediate(() => response.resume()));
      });
      response.on("end", () => {
        const whole = Buffer.concat(pieces);
        resolve(body === undefined ? hash(whole) : whole.toString("latin1"));
      });
    });
    if (body === undefined) sent.end();
    else if (chunked) {
      for (let at = 0, size = 3; at < body.length; at += size, size = (size * 5) % 40_009)
        sent.write(body.subarray(at, at + size));
      sent.end();
    } else sent.end(body);
  });
}

const SIZES = [0, 1, 1000, 65_535, 65_536, 65_537, 300_001, 3_000_001];

async function together(
  t: Test,
  cases: readonly (readonly [string, () => Promise<boolean>])[],
): Promise<void> {
  const results = await Promise.all(cases.map(([, run]) => run()));
  t.strictSame(
    cases.filter((_, index) => results[index] !== true).map(([name]) => name),
    [],
  );
}

void inEveryLane(
  "every response arrives as it was sent: three framings, many sizes, slow readers, all at once (reliability 24)",
  async (t) => {
    const server = await echo();
    const running = await startPlane({ stable: server.url, canary: server.url });
    await together(
      t,
      SIZES.flatMap((size) =>
        ["length", "close", "chunked"].map(
          (framing) =>
            [
              `${size} ${framing}`,
              async () =>
                (await exchange(running, `/${size}/${framing}`, undefined, false)) ===
                hash(bytesOf(size, size)),
            ] as const,
        ),
      ),
    );
    await running.plane.close();
    server.close();
  },
);

void inEveryLane(
  "every request body arrives as it was sent: with a length and in chunks, many sizes, all at once (reliability 4, 24)",
  async (t) => {
    const server = await echo();
    const running = await startPlane({ stable: server.url, canary: server.url });
    await together(
      t,
      SIZES.flatMap((size) =>
        [false, true].map(
          (chunked) =>
            [
              `${size} ${chunked ? "chunked" : "length"}`,
              async () => {
                const body = bytesOf(size, size + 7);
                return (await exchange(running, "/", body, chunked)) === hash(body);
              },
            ] as const,
        ),
      ),
    );
    await running.plane.close();
    server.close();
  },
);

void inEveryLane(
  "a client that reads nothing holds up its own response, and none of it is kept in the process (reliability 24)",
  async (t) => {
    const server = await echo();
    const running = await startPlane({ stable: server.url, canary: server.url });
    const [host = "", port = ""] = running.address.split(":");
    const stuck = connect(Number(port), host);
    stuck.pause();
    stuck.on("error", () => undefined);
    stuck.write("GET /50000000/length HTTP/1.1\r\nHost: x\r\n\r\n");
    await running.settled(() => running.plane.gauges().routes["app"]?.stable.inFlight === 1);
    // While it waits, another on the same upstream is served, again and again, and whole.
    for (let nth = 0; nth < 5; nth++)
      t.equal(await exchange(running, "/300001/length", undefined, false), hash(bytesOf(300_001, 300_001)));
    t.equal(running.plane.gauges().routes["app"]?.stable.inFlight, 1);
    const received: Buffer[] = [];
    await new Promise<void>((resolve) => {
      let bytes = 0;
      stuck.on("data", (piece: Buffer) => {
        received.push(piece);
        bytes += piece.length;
        if (bytes > 50_000_000) resolve();
      });
      stuck.resume();
    });
    const whole = Buffer.concat(received);
    t.equal(hash(whole.subarray(whole.indexOf("\r\n\r\n") + 4)), hash(bytesOf(50_000_000, 50_000_000)));
    stuck.destroy();
    await running.plane.close();
    server.close();
  },
);

void inEveryLane(
  "a head goes on before its body has begun, and the body then follows it without a second head (reliability 15, 22)",
  async (t) => {
    const server = await strictUpstream();
    const running = await startPlane({ stable: server.url, canary: server.url });
    t.teardown(async () => {
      await running.plane.close();
      await server.close();
    });
    const client = await raw(running.address);
    // Over and over, so that connections are used again.
    for (let round = 1; round <= 3; round++) {
      for (const [method, framing, pieces, whole] of [
        ["POST", "Content-Length: 8", ["some", "body"], "somebody"],
        ["POST", "Transfer-Encoding: chunked", ["4\r\nsome\r\n", "4\r\nbody\r\n0\r\n\r\n"], "somebody"],
        ["PUT", "Transfer-Encoding: chunked", ["0\r\n\r\n"], ""],
        ["DELETE", "Transfer-Encoding: chunked", ["0\r\n\r\n"], ""],
        ["GET", "Transfer-Encoding: chunked", ["1\r\nx\r\n0\r\n\r\n"], "x"],
      ] as const) {
        const before = server.bytes.length;
        const answered = client.received.length;
        const all = server.heard.length;
        client.send(`${method} /${round} HTTP/1.1\r\nHost: x\r\n${framing}\r\n\r\n`);
        while (!server.bytes.slice(before).endsWith("\r\n\r\n"))
          await new Promise((resolve) => setImmediate(resolve));
        for (const piece of pieces) {
          const came = server.bytes.length;
          client.send(piece);
          // An answer, too, is a sign that it came.
          while (server.bytes.length === came && server.heard.length === all)
            await new Promise((resolve) => setImmediate(resolve));
        }
        await client.until((received) => received.slice(answered).endsWith("ok"));
        t.equal(server.heard.length, all + 1, `${method}, ${framing}`);
        t.equal(server.heard.at(-1)?.body, whole);
        t.equal(server.bytes.slice(before).match(/HTTP\/1\.1\r\n/g)?.length, 1, "one head");
      }
    }
  },
);
