/** TLS towards upstreams: who is believed, what is shown, what is reused, and what a reload or a renewed file changes (reliability 51). */

import { readFileSync } from "node:fs";
import { createSecureServer, type Http2SecureServer } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { createServer, type Server, type TLSSocket, type TlsOptions } from "node:tls";
import { test } from "tap";
import { configSchema } from "../../src/config/schema.ts";
import { unverifiedArms, upstreamTls } from "../../src/config/upstream-tls.ts";
import { probeAgents, probeOnce, type Finding } from "../../src/probe/endpoint.ts";
import { createProbes } from "../../src/probe/health.ts";
import { PemShelf, TICKET_BYTES } from "../../src/proxy/pem.ts";
import { fakeClock } from "../support/clock.ts";
import { inEveryLane } from "../support/lanes.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { bodyOf, HANDSHAKE, once, raw, statusOf } from "../support/raw.ts";
import { pairOf, textsOf, tlsFile } from "../support/tls.ts";
import { NOBODY, reply } from "../support/upstream.ts";

const tickets = new Uint8Array(TICKET_BYTES);

/** A shelf with files of `golden/tls`; `more` puts other texts in the place of some. */
function shelf(more: Readonly<Record<string, string>> = {}): PemShelf {
  return new PemShelf({ pems: texts(more), tickets });
}

function texts(more: Readonly<Record<string, string>>): ReadonlyMap<string, string> {
  const files = [
    "cert.pem",
    "key.pem",
    "app.cert.pem",
    "app.key.pem",
    "expired.cert.pem",
    "renewed.cert.pem",
  ];
  const clients = ["alice", "mallory"].flatMap((name) => [`${name}.cert.pem`, `${name}.key.pem`]);
  return new Map(
    [...files, ...clients].map((name) => [tlsFile(name), more[name] ?? readFileSync(tlsFile(name), "utf8")]),
  );
}

interface SecureUpstream {
  /** With that host in it. */
  url(host: string): string;
  readonly sockets: Set<TLSSocket>;
  /** Requests by what was asked for: the server name, and whether the session was resumed. */
  readonly requests: { readonly name: string; readonly isReused: boolean; readonly peer: string }[];
  readonly handshakes: () => number;
  close(): Promise<void>;
}

/** An upstream over TLS that answers with the server name it was asked for; a WebSocket with "hi". */
async function secure(options: TlsOptions): Promise<SecureUpstream> {
  const sockets = new Set<TLSSocket>();
  const requests: SecureUpstream["requests"] = [];
  let handshakes = 0;
  const server: Server = createServer({ ...options, ALPNProtocols: ["http/1.1"] }, (socket) => {
    handshakes++;
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => undefined);
    const name = typeof socket.servername === "string" ? socket.servername : "none";
    socket.on("data", (bytes: Buffer) => {
      requests.push({
        name,
        isReused: socket.isSessionReused(),
        peer: socket.getPeerX509Certificate()?.subject.split("\n").at(-1) ?? "",
      });
      const isUpgrade = /^upgrade:/im.test(bytes.toString("latin1"));
      socket.write(
        isUpgrade
          ? "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi"
          : reply(200, name),
      );
    });
  });
  server.on("tlsClientError", () => undefined);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A TCP server has an address of this form.
  const { port } = server.address() as AddressInfo;
  return {
    url: (host) => `https://${host}:${port}`,
    sockets,
    requests,
    handshakes: () => handshakes,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

const planeTo = (url: string, tls: object | undefined, pems = shelf()): Promise<TestPlane> =>
  startPlane(
    { stable: url, canary: NOBODY },
    { stable: { endpoints: [url], dns: { local: true }, ...(tls === undefined ? {} : { tls }) } },
    {},
    { pems, lookup: () => Promise.resolve(["127.0.0.1"]) },
  );

const ask = (running: TestPlane): Promise<string> =>
  once(running.address, "POST / HTTP/1.1\nHost: evil.example\nContent-Length: 6", "secret");

async function upgrade(running: TestPlane): Promise<string> {
  const client = await raw(running.address);
  client.send(HANDSHAKE);
  return client.until(/hi$/).then(
    (text) => {
      client.destroy();
      return text;
    },
    async () => (await client.closed()).text,
  );
}

const ca = (name: string): object => ({ ca: tlsFile(name) });

void inEveryLane(
  "an upstream is believed by the configured authority and its own name, and by nothing else; what is not believed sees no request (reliability 51)",
  async (t) => {
    const localhost = await secure(textsOf(""));
    const app = await secure(textsOf("app"));
    const expired = await secure(textsOf("expired"));
    const good: readonly (readonly [string, object])[] = [
      [localhost.url("localhost"), ca("cert.pem")],
      [localhost.url("127.0.0.1"), ca("cert.pem")],
      [app.url("app.example"), ca("app.cert.pem")],
      [app.url("127.0.0.1"), { ...ca("app.cert.pem"), serverName: "app.example" }],
      [app.url("elsewhere.test"), { ...ca("app.cert.pem"), serverName: "app.example" }],
      [localhost.url("elsewhere.test"), { ...ca("cert.pem"), serverName: "127.0.0.1" }],
    ];
    for (const [url, tls] of good) {
      const running = await planeTo(url, tls);
      t.equal(statusOf(await ask(running)), 200, url);
      t.match(await upgrade(running), / 101 /, url);
      await running.plane.close();
    }
    t.strictSame(
      [...new Set([...localhost.requests, ...app.requests].map(({ name }) => name))].sort(),
      ["app.example", "localhost", "none"],
      "an address is not asked for as a name, nor is the Host field's",
    );
    const seen = [localhost, app, expired].map(({ requests }) => requests.length);
    const bad: readonly (readonly [string, object | undefined])[] = [
      [localhost.url("localhost"), undefined],
      [localhost.url("localhost"), ca("app.cert.pem")],
      [localhost.url("elsewhere.test"), ca("cert.pem")],
      [localhost.url("localhost"), { ...ca("cert.pem"), serverName: "app.example" }],
      [localhost.url("localhost"), { ...ca("cert.pem"), serverName: "10.0.0.1" }],
      [app.url("127.0.0.1"), ca("app.cert.pem")],
      [expired.url("localhost"), ca("expired.cert.pem")],
    ];
    for (const [url, tls] of bad) {
      const running = await planeTo(url, tls);
      const answer = await ask(running);
      t.equal(statusOf(answer), 502, `${url} ${JSON.stringify(tls)}`);
      t.match(answer, /no connection to the upstream/);
      t.equal(statusOf(await upgrade(running)), 502);
      t.match(await running.settled((now) => now.settled === 2), { counts: { "stable connect": 2 } });
      await running.plane.close();
    }
    t.strictSame(
      [localhost, app, expired].map(({ requests }) => requests.length),
      seen,
    );
    await Promise.all([localhost.close(), app.close(), expired.close()]);
  },
);

void inEveryLane("`verify: false` takes any certificate (reliability 51)", async (t) => {
  const server = await secure(textsOf("expired"));
  const running = await planeTo(server.url("elsewhere.test"), { verify: false });
  t.equal(bodyOf(await ask(running)), "elsewhere.test");
  t.match(await upgrade(running), / 101 /);
  await running.plane.close();
  await server.close();
});

void inEveryLane(
  "the configured certificate is shown, and without it one who asks for it is not served (reliability 51)",
  async (t) => {
    for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
      const server = await secure({
        ...textsOf(""),
        ca: readFileSync(tlsFile("ca.cert.pem")),
        requestCert: true,
        rejectUnauthorized: true,
        maxVersion,
      });
      const url = server.url("localhost");
      const running = await planeTo(url, { ...ca("cert.pem"), ...pairOf("alice") });
      t.equal(statusOf(await ask(running)), 200);
      t.match(await upgrade(running), / 101 /);
      t.ok(server.requests.every(({ peer }) => peer === "CN=alice"));
      await running.plane.close();
      for (const tls of [ca("cert.pem"), { ...ca("cert.pem"), ...pairOf("mallory") }]) {
        const refused = await planeTo(url, tls);
        t.equal(statusOf(await ask(refused)), 502, maxVersion);
        await refused.plane.close();
      }
      t.equal(server.requests.length, 2);
      await server.close();
    }
  },
);

void inEveryLane("nothing below TLS 1.2 is spoken (reliability 51)", async (t) => {
  const server = await secure({
    ...textsOf(""),
    minVersion: "TLSv1",
    maxVersion: "TLSv1.1",
    ciphers: "DEFAULT@SECLEVEL=0",
  });
  const running = await planeTo(server.url("localhost"), ca("cert.pem"));
  t.equal(statusOf(await ask(running)), 502);
  await running.plane.close();
  await server.close();
});

void inEveryLane(
  "a handshake that does not end is a connection that is not open in time (reliability 14, 51)",
  async (t) => {
    const { createServer: plain } = await import("node:net");
    const held = new Set<Socket>();
    const server = plain((socket) => {
      held.add(socket);
      socket.on("error", () => undefined);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const running = await startPlane({ stable: url, canary: NOBODY }, { timeouts: { connect: "200ms" } });
    t.equal(statusOf(await ask(running)), 504);
    t.equal(statusOf(await upgrade(running)), 504);
    t.match(await running.settled((now) => now.settled === 2), { counts: { "stable connect": 2 } });
    await running.plane.close();
    for (const socket of held) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  },
);

void inEveryLane(
  "a session is resumed on the next connection, and forgotten with the options it was made by",
  async (t) => {
    const server = await secure(textsOf(""));
    const url = server.url("localhost");
    const running = await planeTo(url, ca("cert.pem"));
    const drop = async (): Promise<void> => {
      const closed = [...server.sockets].map(
        (socket) => new Promise((resolve) => socket.once("close", resolve)),
      );
      for (const socket of server.sockets) socket.destroy();
      await Promise.all(closed);
    };
    await ask(running);
    await drop();
    await ask(running);
    t.strictSame(
      server.requests.map(({ isReused }) => isReused),
      [false, true],
    );
    running.reconfigure({
      stable: { endpoints: [url], dns: { local: true }, tls: { ...ca("cert.pem"), serverName: "127.0.0.1" } },
      canary: { endpoints: [NOBODY] },
    });
    await ask(running);
    t.equal(server.requests.at(-1)?.isReused, false);
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "a reload of `tls` binds the next connection, and no connection made by other options is used again (reliability 38, 51)",
  async (t) => {
    const server = await secure(textsOf("app"));
    const url = server.url("127.0.0.1");
    const running = await planeTo(url, { verify: false });
    const put = (tls: object): void =>
      running.reconfigure({ stable: { endpoints: [url], tls }, canary: { endpoints: [NOBODY] } });
    t.equal(bodyOf(await ask(running)), "none");
    t.equal(bodyOf(await ask(running)), "none");
    t.equal(server.handshakes(), 1);
    put({ verify: false });
    t.equal(bodyOf(await ask(running)), "none");
    t.equal(server.handshakes(), 1, "nothing has changed");
    put({ verify: true, ...ca("app.cert.pem") });
    t.equal(statusOf(await ask(running)), 502, "and the one that was open is not used any more");
    put({ ...ca("app.cert.pem"), serverName: "app.example" });
    t.equal(bodyOf(await ask(running)), "app.example");
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "a renewed file binds the next connection; one that cannot be used changes nothing (reliability 51)",
  async (t) => {
    const server = await secure({
      ...textsOf(""),
      ca: readFileSync(tlsFile("ca.cert.pem")),
      requestCert: true,
      rejectUnauthorized: false,
    });
    const pems = shelf();
    const running = await planeTo(server.url("localhost"), { ...ca("cert.pem"), ...pairOf("alice") }, pems);
    await ask(running);
    const { cert, key } = textsOf("mallory");
    pems.replace({ pems: texts({ "alice.cert.pem": cert, "alice.key.pem": "no key" }), tickets });
    await ask(running);
    t.equal(server.handshakes(), 1);
    pems.replace({ pems: texts({ "alice.cert.pem": cert, "alice.key.pem": key }), tickets });
    await ask(running);
    t.equal(server.handshakes(), 2);
    await running.plane.close();
    await server.close();
  },
);

void test("HTTP/2 to an upstream is verified alike (reliability 51)", async (t) => {
  const server: Http2SecureServer = createSecureServer(textsOf("app"));
  const names: unknown[] = [];
  server.on("stream", (stream) => {
    const { socket } = stream.session ?? {};
    names.push(socket === undefined ? "" : Reflect.get(socket, "servername"));
    stream.respond({ ":status": 200 });
    stream.end("h2");
  });
  server.on("tlsClientError", () => undefined);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const endpoints = [`https://127.0.0.1:${(server.address() as AddressInfo).port}`];
  const put = (tls: object): object => ({
    stable: { endpoints, protocol: "http2", tls },
    canary: { endpoints: [NOBODY] },
  });
  const running = await startPlane(
    { stable: endpoints, canary: NOBODY },
    put({ ...ca("app.cert.pem"), serverName: "app.example" }),
    {},
    { pems: shelf() },
  );
  t.match(await ask(running), /h2/);
  running.reconfigure(put(ca("app.cert.pem")));
  t.equal(statusOf(await ask(running)), 502);
  t.strictSame(names, ["app.example"]);
  await running.plane.close();
  await new Promise((resolve) => server.close(resolve));
});

void test("probes verify as the data path does, with what the files hold at the time (reliability 51)", async (t) => {
  const server = await secure(textsOf("app"));
  const agents = probeAgents();
  const pem = (path: string): string => readFileSync(path, "utf8");
  const probe = (config: object, path: string | undefined): Promise<Finding> =>
    probeOnce(
      {
        url: server.url("127.0.0.1"),
        isHttp2: false,
        path,
        timeoutMs: configOf(config).routes[0]!.stable.dns.refresh,
        tls: upstreamTls("127.0.0.1", configOf(config).routes[0]!.stable.tls, pem).options,
      },
      agents,
      new AbortController().signal,
    );
  for (const path of [undefined, "/"]) {
    t.equal(await probe({ ...ca("app.cert.pem"), serverName: "app.example" }, path), "");
    t.equal(await probe({ verify: false }, path), "");
    t.match(await probe(ca("app.cert.pem"), path), /ALTNAME/);
    t.match(await probe({ ...ca("cert.pem"), serverName: "app.example" }, path), /SELF_SIGNED/);
  }
  agents.plain.destroy();
  agents.tls.destroy();

  const clock = fakeClock();
  const lines: string[] = [];
  const log = { debug() {}, info: (line: string) => void lines.push(line), warn() {}, error() {} };
  const withCa = (name: string) =>
    configOf({ ...ca(name), serverName: "app.example" }, server.url("127.0.0.1"));
  const probes = createProbes({ config: withCa("cert.pem"), clock, log, pem });
  const detail = (): string | undefined => probes.health("app", "stable")[0]?.detail;
  await clock.advance("1s");
  t.match(detail(), /SELF_SIGNED/);
  probes.reconfigure(withCa("app.cert.pem"));
  await clock.advance("1s");
  t.equal(detail(), "");
  probes.reconfigure(withCa("no-such.pem"));
  await clock.advance("1s");
  t.match(detail(), /ENOENT/);
  probes.close();
  await server.close();
});

function configOf(tls: object, url = "https://127.0.0.1:1") {
  return configSchema.parse({
    listen: [{ address: ":1" }],
    routes: [
      {
        name: "app",
        stable: { endpoints: [url], tls },
        canary: { endpoints: [NOBODY], tls: { verify: false } },
      },
    ],
  });
}

void test("the arms that take any certificate are named, if they speak TLS at all", async (t) => {
  t.strictSame(unverifiedArms(configOf({ verify: false })), [{ route: "app", arm: "stable" }]);
  t.strictSame(unverifiedArms(configOf({})), []);
});

void test("files that cannot be used are an error that names them and shows nothing of them", async (t) => {
  const tls = configOf({ ...pairOf("alice"), ...ca("cert.pem") }).routes[0]!.stable.tls;
  const failure = (pem: (path: string) => string): unknown => {
    try {
      return upstreamTls("a.test", tls, pem);
    } catch (error) {
      return error;
    }
  };
  const other = failure((path) =>
    readFileSync(path.endsWith("alice.key.pem") ? tlsFile("mallory.key.pem") : path, "utf8"),
  );
  t.match(other, { code: "SPLIT_CONFIG_INVALID", message: /alice\.key\.pem/ });
  t.match(
    failure(() => "SECRET"),
    { code: "SPLIT_CONFIG_INVALID" },
  );
  t.notMatch(String(failure(() => "SECRET")), /SECRET/);
});
