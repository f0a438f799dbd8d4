/**
 * TLS on either side of either lane: what is carried is the same, the right certificate is shown, and an upstream is who it says it is
 * (reliability.md I51).
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer } from "node:tls";
import t from "tap";
import { Certificates } from "../../src/proxy/certificates.ts";
import { PemShelf, type ListenTls } from "../../src/proxy/pem.ts";
import { inEveryLane } from "../support/lanes.ts";
import { startPlane } from "../support/plane.ts";
import { once, statusOf } from "../support/raw.ts";
import { LAST_GET, pairOf, talk, textsOf, tlsFile } from "../support/tls.ts";
import { NOBODY, reply, upstream } from "../support/upstream.ts";

const listen = (tls: object): object => ({ listen: [{ address: "127.0.0.1:0", tls }] });

void inEveryLane("a client over TLS gets what one without gets, and the upstream is told so", async (t) => {
  const body = "x".repeat(3_000_000);
  const server = await upstream((socket, seen) => {
    socket.write(reply(200, seen.method === "POST" ? String(seen.body.length) : body));
  });
  const running = await startPlane({ stable: server.url, canary: server.url }, {}, listen(pairOf("")));
  const { text, alpn } = await talk(
    running.address,
    `POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
    { ALPNProtocols: ["http/1.1"] },
  );
  t.equal(alpn, "http/1.1");
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
    const server = createServer(textsOf(""), (socket) => {
      socket.on("error", () => undefined);
      socket.on("data", () => {
        served++;
        socket.write(reply(200, "over TLS"));
      });
    });
    server.on("tlsClientError", () => undefined);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const url = `https://localhost:${(server.address() as AddressInfo).port}`;
    const untrusting = await startPlane({ stable: url, canary: url });
    t.equal(statusOf(await once(untrusting.address, "GET / HTTP/1.1\nHost: x")), 502);
    t.equal(served, 0);
    t.match(await untrusting.settled((now) => now.settled === 1), { counts: { "stable connect": 1 } });
    await untrusting.plane.close();
    const stable = { endpoints: [url], tls: { ca: tlsFile("cert.pem") } };
    const trusting = await startPlane({ stable: url, canary: url }, { stable });
    for (let nth = 0; nth < 3; nth++)
      t.match(await once(trusting.address, "GET / HTTP/1.1\nHost: x"), /over TLS$/);
    t.match(await trusting.settled((now) => now.settled === 3), { counts: { "stable ok": 3 } });
    await trusting.plane.close();
    await new Promise((resolve) => server.close(resolve));
  },
);

t.test(
  "the certificate is the one for the name that is asked for: exact, else of one label, else the default (reliability 51)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const sni = [
      { names: ["*.wild.example"], ...pairOf("wild") },
      { names: ["app.example", "Apart.WILD.example"], ...pairOf("app") },
    ];
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      {},
      listen({ ...pairOf(""), sni }),
    );
    const named = async (servername: string): Promise<string> => {
      const { name, text } = await talk(running.address, LAST_GET, { servername });
      t.equal(statusOf(text), 200, servername);
      return name;
    };
    t.equal(await named("app.example"), "app.example");
    t.equal(await named("APP.Example"), "app.example");
    t.equal(await named("a.wild.example"), "wild.example");
    t.equal(await named("apart.wild.example"), "app.example", "exact before the wildcard");
    t.equal(await named("a.b.wild.example"), "localhost", "one label only");
    t.equal(await named("wild.example"), "localhost");
    t.equal(await named("example"), "localhost");
    t.equal(await named(`${"a".repeat(63)}.`.repeat(3) + "wild.example"), "localhost");
    t.equal(await named(""), "localhost", "without a name");
    await running.plane.close();
    await server.close();
  },
);

t.test("whatever name is asked for, choosing a certificate does not throw (reliability 51)", async (t) => {
  const { cert, key } = textsOf("");
  const pems = new PemShelf({
    pems: new Map([
      ["cert", cert],
      ["key", key],
    ]),
    tickets: new Uint8Array(48),
  });
  const tls: ListenTls = {
    cert: "cert",
    key: "key",
    sni: [{ names: ["*.a.example"], cert: "cert", key: "key" }],
    minVersion: "1.2",
    clients: "off",
  };
  const certificates = new Certificates(tls, pems);
  certificates.serverOptions();
  for (const name of ["", ".", "..", ".a.example", "*", "*.a.example", "\0", "a".repeat(70_000), "__proto__"])
    t.doesNotThrow(() => certificates.contextOf(name));
  t.equal(certificates.contextOf(".a.example"), undefined, "an empty label is none");
  t.ok(certificates.contextOf("x.A.example"));
});

t.test("the oldest version is as configured, and TLS 1.2 is spoken with forward secrecy alone", async (t) => {
  const server = await upstream(reply(200, "ok"));
  const to = async (minVersion: object) =>
    startPlane({ stable: server.url, canary: server.url }, {}, listen({ ...pairOf(""), ...minVersion }));
  const both = await to({});
  t.match(await talk(both.address, LAST_GET), { protocol: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256" });
  t.match(await talk(both.address, LAST_GET, { maxVersion: "TLSv1.2" }), {
    protocol: "TLSv1.2",
    cipher: /^TLS_ECDHE_ECDSA_WITH_AES_128_GCM/,
  });
  const old = { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" } as const;
  t.match(await talk(both.address, LAST_GET, old), { error: /ALERT_PROTOCOL_VERSION/, text: "" });
  const weak = { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA:AES128-SHA" } as const;
  t.match(await talk(both.address, LAST_GET, weak), { error: /HANDSHAKE_FAILURE/, text: "" });
  const late = await to({ minVersion: "1.3" });
  t.match(await talk(late.address, LAST_GET), { protocol: "TLSv1.3" });
  t.match(await talk(late.address, LAST_GET, { maxVersion: "TLSv1.2" }), {
    error: /ALERT_PROTOCOL_VERSION/,
    text: "",
  });
  t.match(await both.settled((now) => (now.events["tls_handshake_failed"] ?? 0) === 2), { settled: 2 });
  for (const each of [both, late]) await each.plane.close();
  await server.close();
});

t.test(
  "a certificate that cannot be used stops the start, which names the address and the file",
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "sluice-tls-"));
    t.teardown(() => rm(folder, { recursive: true, force: true }));
    const garbled = join(folder, "garbled.pem");
    await writeFile(
      garbled,
      "-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n",
    );
    const good = pairOf("");
    const start = (tls: object) => startPlane({ stable: NOBODY, canary: NOBODY }, {}, listen(tls));
    for (const [tls, file] of [
      [{ ...good, cert: join(folder, "none.pem") }, "none.pem"],
      [{ ...good, cert: garbled }, "garbled.pem"],
      [{ ...good, key: pairOf("app").key }, "app.key.pem"],
      [{ ...good, key: good.cert }, "cert.pem"],
      [{ ...good, sni: [{ names: ["a"], cert: good.key, key: good.key }] }, "key.pem"],
      [{ ...good, clients: "require", clientCa: garbled }, "garbled.pem"],
    ] as const)
      await t.rejects(start(tls), {
        code: "SPLIT_LISTEN_FAILED",
        message: new RegExp(`127\\.0\\.0\\.1:0.*${file}`),
      });
    const stable = { endpoints: ["https://localhost:1"], tls: { ca: garbled } };
    await t.rejects(startPlane({ stable: NOBODY, canary: NOBODY }, { stable }), {
      code: "SPLIT_CONFIG_INVALID",
      message: /stable of the route app.*garbled\.pem/,
    });
  },
);
