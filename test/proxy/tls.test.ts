/** TLS on either side of either lane: what is carried is the same, and an upstream is who it says it is (reliability.md I51). */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { AddressInfo } from "node:net";
import { connect as connectTls, createServer, getCACertificates, setDefaultCACertificates } from "node:tls";
import { inEveryLane } from "../support/lanes.ts";
import { startPlane } from "../support/plane.ts";
import { once, statusOf } from "../support/raw.ts";
import { reply, upstream } from "../support/upstream.ts";

const FOLDER = join(import.meta.dirname, "../golden/tls");
const files = { cert: join(FOLDER, "cert.pem"), key: join(FOLDER, "key.pem") };
const pem = { cert: readFileSync(files.cert, "utf8"), key: readFileSync(files.key, "utf8") };

/** One connection over TLS; sends `text` and resolves all that comes back. */
function talk(address: string, text: string): Promise<string> {
  const [host = "", port = ""] = address.split(":");
  return new Promise((resolve, reject) => {
    let received = "";
    const socket = connectTls(
      { host, port: Number(port), servername: "localhost", ca: pem.cert, ALPNProtocols: ["h2", "http/1.1"] },
      () => socket.write(text, "latin1"),
    );
    socket.on("data", (chunk: Buffer) => (received += chunk.toString("latin1")));
    socket.on("error", reject);
    socket.on("end", () => socket.end());
    socket.on("close", () => resolve(received));
  });
}

void inEveryLane("a client over TLS gets what one without gets, and the upstream is told so", async (t) => {
  const body = "x".repeat(3_000_000);
  const server = await upstream((socket, seen) => {
    socket.write(reply(200, seen.method === "POST" ? String(seen.body.length) : body));
  });
  const running = await startPlane(
    { stable: server.url, canary: server.url },
    {},
    { listen: [{ address: "127.0.0.1:0", tls: files }] },
  );
  const text = await talk(
    running.address,
    `POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
  );
  t.equal(text.match(/HTTP\/1\.1 200/g)?.length, 2);
  t.match(text, /\r\n\r\n3000000HTTP/);
  t.ok(text.endsWith(body) && !text.endsWith(`x${body}`));
  t.strictSame(
    server.requests.map((seen) => seen.field("x-forwarded-proto")),
    ["https", "https"],
  );
  t.match(await running.settled((now) => now.settled === 2), { counts: { "stable ok": 2 } });
  await running.plane.close();
  await server.close();
});

void inEveryLane(
  "an upstream over TLS is spoken to when its certificate is trusted, and is a failed connection when not",
  async (t) => {
    let served = 0;
    const server = createServer(pem, (socket) => {
      socket.on("error", () => undefined);
      socket.on("data", () => {
        served++;
        socket.write(reply(200, "over TLS"));
      });
    });
    server.on("tlsClientError", () => undefined);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const url = `https://localhost:${(server.address() as AddressInfo).port}`;
    const before = getCACertificates("default");
    const untrusting = await startPlane({ stable: url, canary: url });
    t.equal(statusOf(await once(untrusting.address, "GET / HTTP/1.1\nHost: x")), 502);
    t.equal(served, 0);
    t.match(await untrusting.settled((now) => now.settled === 1), { counts: { "stable connect": 1 } });
    await untrusting.plane.close();
    setDefaultCACertificates([...before, pem.cert]);
    const trusting = await startPlane({ stable: url, canary: url });
    for (let nth = 0; nth < 3; nth++)
      t.match(await once(trusting.address, "GET / HTTP/1.1\nHost: x"), /over TLS$/);
    t.match(await trusting.settled((now) => now.settled === 3), { counts: { "stable ok": 3 } });
    await trusting.plane.close();
    setDefaultCACertificates(before);
    await new Promise((resolve) => server.close(resolve));
  },
);
