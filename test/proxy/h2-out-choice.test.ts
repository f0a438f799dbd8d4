/**
 * Which HTTP an endpoint is spoken to in: by its scheme, by `protocol`, by what it chooses itself over TLS; and that one request does not
 * pay for finding out (reliability.md 50, 51; acceptance 18).
 */

import { readFileSync } from "node:fs";
import {
  createSecureServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Stream,
} from "node:http2";
import { createServer as createHttps } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import t from "tap";
import { client2 } from "../support/h2.ts";
import { answer, http2Upstream } from "../support/h2-upstream.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { once, statusOf } from "../support/raw.ts";
import { reply, upstream } from "../support/upstream.ts";

const FOLDER = join(import.meta.dirname, "../golden/tls");
const CERT = join(FOLDER, "cert.pem");
const pem = {
  cert: readFileSync(CERT, "utf8"),
  key: readFileSync(join(FOLDER, "key.pem"), "utf8"),
};
const HTTP_1_1_REQUIRED = 13;

interface TlsUpstream {
  readonly url: string;
  /** Versions of the requests that came. */
  readonly versions: string[];
  readonly connections: () => number;
  close(): Promise<void>;
}

type Handler = (
  request: IncomingMessage | Http2ServerRequest,
  response: ServerResponse | Http2ServerResponse,
) => void;

/** An upstream over TLS that echoes bodies. @param port a free one when 0 */
async function tlsUpstream(
  speaks: "both" | "http1",
  port = 0,
  onStream?: (stream: ServerHttp2Stream) => void,
): Promise<TlsUpstream> {
  const versions: string[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  const handle: Handler = (request, response) => {
    versions.push(request.httpVersion);
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => response.end(`${request.httpVersion}:${body}`));
  };
  const server =
    speaks === "http1"
      ? createHttps(pem, handle)
      : createSecureServer({ ...pem, allowHTTP1: true }, (request, response) => {
          if (onStream !== undefined && request.httpVersion === "2.0") onStream(request.stream);
          else handle(request, response);
        });
  server.on("connection", (socket: Socket) => {
    connections++;
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("tlsClientError", () => undefined);
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return {
    // A TCP server has an address of this form.
    url: `https://localhost:${(server.address() as AddressInfo).port}`,
    versions,
    connections: () => connections,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

async function startFor(url: string, arm: object = {}): Promise<TestPlane> {
  const tls = url.startsWith("https:") ? { tls: { ca: CERT } } : {};
  const one = { endpoints: [url], ...tls, ...arm };
  return startPlane({ stable: url, canary: url }, { stable: one, canary: one });
}

/** What an HTTP/2 client is answered to a POST: the version the upstream was spoken to in, and the body. */
async function ask(running: TestPlane, body = "body"): Promise<string> {
  const client = client2(running.address);
  const { status, body: answered } = await client.ask("POST", "/", {}, Buffer.from(body));
  client.close();
  return status === 200 ? answered.toString() : String(status);
}

const GET = "GET / HTTP/1.1\nHost: x";

void t.test(
  "over TLS an endpoint that may choose is spoken to in the client's version, if it can (reliability 50)",
  async (t) => {
    const server = await tlsUpstream("both");
    const running = await startFor(server.url);
    t.equal(await ask(running), "2.0:body");
    t.match(await once(running.address, GET), /1\.1:/);
    t.equal(await ask(running), "2.0:body");
    t.strictSame(server.versions, ["2.0", "1.1", "2.0"]);
    t.equal(server.connections(), 2);
    await running.plane.close();
    const fixed = await startFor(server.url, { protocol: "http1" });
    t.equal(await ask(fixed), "1.1:body");
    await fixed.plane.close();
    const only = await startFor(server.url, { protocol: "http2" });
    t.match(await once(only.address, GET), /2\.0:/);
    await only.plane.close();
    await server.close();
  },
);

void t.test(
  "one that chooses HTTP/1.1 is spoken to so, at once and from then on, until a connection fails or a reload",
  async (t) => {
    const server = await tlsUpstream("http1");
    const port = Number(new URL(server.url).port);
    const running = await startFor(server.url);
    const long = "b".repeat(300_000);
    t.strictSame(await Promise.all([ask(running), ask(running, long), ask(running)]), [
      "1.1:body",
      `1.1:${long}`,
      "1.1:body",
    ]);
    const connections = server.connections();
    t.equal(await ask(running), "1.1:body");
    t.equal(server.connections(), connections, "it was not asked again");
    const arm = { endpoints: [server.url], tls: { ca: CERT } };
    running.reconfigure({ stable: arm, canary: arm });
    t.equal(await ask(running), "1.1:body");
    t.equal(server.connections(), connections + 1, "it was asked again");
    await server.close();
    t.equal(await ask(running), "502");
    const newer = await tlsUpstream("both", port);
    t.equal(await ask(running), "2.0:body");
    const { counts } = await running.settled((now) => now.settled === 7);
    t.strictSame(counts, { "stable ok": 6, "stable connect": 1 });
    await running.plane.close();
    await newer.close();
  },
);

void t.test(
  "one that must speak HTTP/2 and does not, or is not who it says, is a failed connection, and nothing is sent to it",
  async (t) => {
    const http1 = await tlsUpstream("http1");
    const plain = await upstream(() => undefined);
    plain.onConnection = (socket) => void socket.end(reply(400));
    for (const url of [
      http1.url,
      plain.url,
      plain.url.replace("http:", "h2c:"),
      plain.url.replace("http:", "https:"),
    ]) {
      const running = await startFor(url, { protocol: "http2" });
      t.equal(statusOf(await once(running.address, GET)), 502, url);
      t.equal(await ask(running), "502", url);
      t.strictSame((await running.settled((now) => now.settled === 2)).counts, { "stable connect": 2 }, url);
      await running.plane.close();
    }
    t.strictSame(http1.versions, []);
    const stranger = await tlsUpstream("both");
    const running = await startFor(stranger.url, { tls: {} });
    t.equal(await ask(running), "502");
    t.strictSame(stranger.versions, []);
    await running.plane.close();
    await Promise.all([http1.close(), plain.close(), stranger.close()]);
  },
);

void t.test("a stream for which HTTP/1.1 is required is sent again so (RFC 9113 §7)", async (t) => {
  const server = await tlsUpstream("both", 0, (stream) => stream.close(HTTP_1_1_REQUIRED));
  const running = await startFor(server.url);
  t.equal(await ask(running), "1.1:body");
  t.strictSame((await running.settled((now) => now.settled === 1)).counts, { "stable ok": 1 });
  await running.plane.close();
  const only = await startFor(server.url, { protocol: "http2" });
  t.equal(await ask(only), "502");
  t.strictSame((await only.settled((now) => now.settled === 1)).counts, { "stable reset": 1 });
  await only.plane.close();
  await server.close();
});

void t.test(
  "in the clear `h2c://`, or `protocol: http2`, is HTTP/2 for every client, by prior knowledge",
  async (t) => {
    const server = await http2Upstream(answer(200, "2.0:body"));
    for (const [url, protocol] of [
      [server.url, "auto"],
      [server.url, "http1"],
      [server.url.replace("h2c:", "http:"), "http2"],
    ] as const) {
      const running = await startFor(url, { protocol });
      t.equal(await ask(running), "2.0:body");
      t.match(await once(running.address, GET), /2\.0:body/);
      await running.plane.close();
    }
    t.ok(server.requests.every((seen) => seen.field(":scheme") === "http"));
    await server.close();
  },
);

void t.test(
  "both versions share the connections of an endpoint, and one that is idle makes room (reliability 25)",
  async (t) => {
    const server = await tlsUpstream("both");
    const running = await startFor(server.url, { connections: 1, queue: 10 });
    for (let nth = 0; nth < 3; nth++) {
      t.equal(await ask(running), "2.0:body");
      t.match(await once(running.address, GET), /1\.1:/);
    }
    const mixed = Array.from({ length: 10 }, (_, nth) =>
      nth % 2 === 0 ? ask(running) : once(running.address, GET),
    );
    for (const text of await Promise.all(mixed)) t.match(text, /^(?:2\.0:body|HTTP\/1\.1 200 [^]*1\.1:)/);
    t.strictSame((await running.settled((now) => now.settled === 16)).counts, { "stable ok": 16 });
    await running.plane.close();
    await server.close();
  },
);
