/** HTTPS for operators: what is spoken, how the certificate is replaced, and that the command line verifies who answers (reliability.md 41, 51). */

import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { connect as connectPlain } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import t, { type Test } from "tap";
import { readPair, watchPair } from "../../src/admin/certificate.ts";
import { adminAddressOf } from "../../src/cli/client.ts";
import { fakeClock } from "../support/clock.ts";
import { sluice } from "../support/cli.ts";
import { adminConfig, bearer, testAdmin, type TestAdmin } from "../support/control.ts";
import { quietLog } from "../support/silence.ts";

const GOLDEN = join(import.meta.dirname, "../golden/tls");
/** Valid for a century, for `localhost` and 127.0.0.1, signed by itself. */
const CERT = readFileSync(join(GOLDEN, "cert.pem"), "utf8");
/** The fake clock stands in January 2026, before the certificate was made. */
const NOW = Date.UTC(2027, 0, 1) - Date.UTC(2026, 0, 5, 9);

interface Files {
  readonly folder: string;
  readonly cert: string;
  readonly key: string;
}

/** A folder with the certificate and its key, removed after the test. */
function filesOf(t: Test): Files {
  const folder = mkdtempSync(join(tmpdir(), "sluice-tls-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const files = { folder, cert: join(folder, "cert.pem"), key: join(folder, "key.pem") };
  copyFileSync(join(GOLDEN, "cert.pem"), files.cert);
  copyFileSync(join(GOLDEN, "key.pem"), files.key);
  return files;
}

/** Puts another certificate for 127.0.0.1 into `files`, as `openssl` makes it; false where there is none. */
function makeCertificate({ cert, key }: Files, ...more: readonly string[]): boolean {
  const name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
  const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  try {
    const to = ["-keyout", `${key}.new`, "-out", `${cert}.new`];
    execFileSync("openssl", [...made, ...name, ...to, ...(more.length === 0 ? ["-days", "36500"] : more)], {
      stdio: "pipe",
    });
  } catch {
    return false;
  }
  return true;
}

/** An admin API over TLS with its clock in 2027. */
async function tlsAdmin(t: Test, files: Files): Promise<TestAdmin & { readonly port: number }> {
  const clock = fakeClock();
  clock.jumpWall(NOW);
  const config = adminConfig({ tls: { cert: files.cert, key: files.key } });
  const admin = await testAdmin(t, { config: () => config, clock });
  return { ...admin, port: Number(admin.address.split(":")[1]) };
}

/** A TLS connection, verified; rejects when the handshake fails. */
async function secure(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({ host: "127.0.0.1", port, ca: CERT, ...options });
  socket.on("error", () => undefined);
  await once(socket, "secureConnect");
  return socket;
}

/** Status of one call over TLS. */
function statusOver(port: number, headers: Record<string, string>, path = "/v1/routes"): Promise<number> {
  return new Promise((resolve, reject) => {
    // The name is given, or this client would look for that of the Host in the certificate.
    const options = {
      host: "127.0.0.1",
      port,
      path,
      ca: CERT,
      servername: "localhost",
      agent: false,
      headers,
    };
    const sent = request(options, (incoming) => {
      incoming.resume();
      incoming.on("end", () => resolve(incoming.statusCode ?? 0));
    });
    sent.on("error", reject).end();
  });
}

t.test(
  "it speaks HTTPS from TLS 1.2 on and nothing else, with every check in place (reliability 41, 51)",
  async (t) => {
    const { port, log } = await tlsAdmin(t, filesOf(t));
    t.equal(await statusOver(port, bearer("reader")), 200);
    t.equal(await statusOver(port, {}), 401);
    t.equal(await statusOver(port, { ...bearer("reader"), host: "evil.example" }), 421);
    const from = (origin: string) => statusOver(port, { ...bearer("reader"), host: "localhost:1", origin });
    t.equal(await from("https://localhost:1"), 200);
    t.equal(await from("http://localhost:1"), 403, "a page over plain HTTP is not our own");
    for (const [version, spoken] of [
      ["TLSv1.2", true],
      ["TLSv1.3", true],
      ["TLSv1.1", false],
    ] as const) {
      // Level 0: so that it is the server that refuses the old version, not this client.
      const options = { minVersion: version, maxVersion: version, ciphers: "DEFAULT@SECLEVEL=0" } as const;
      const socket = await secure(port, options).catch(() => undefined);
      t.equal(socket?.getProtocol() ?? null, spoken ? version : null, version);
      socket?.destroy();
    }
    for (const [cipher, spoken] of [
      ["ECDHE-ECDSA-AES128-GCM-SHA256", true],
      ["ECDHE-ECDSA-AES128-SHA256", false],
    ] as const) {
      const options = { maxVersion: "TLSv1.2", ciphers: cipher } as const;
      const socket = await secure(port, options).catch(() => undefined);
      t.equal(
        socket !== undefined,
        spoken,
        `${cipher}: forward secrecy and authenticated encryption, or nothing`,
      );
      socket?.destroy();
    }
    const alpn = await secure(port, { ALPNProtocols: ["h2", "http/1.1"] });
    t.equal(alpn.alpnProtocol, "http/1.1");
    alpn.destroy();

    const plain = connectPlain(port, "127.0.0.1");
    let received = "";
    plain.on("data", (part: Buffer) => (received += part.toString("latin1")));
    plain.on("error", () => undefined);
    plain.write("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await once(plain, "close");
    t.notMatch(received, /HTTP/, "what is no TLS gets no answer");
    t.equal(await statusOver(port, {}, "/livez"), 200, "and harms nobody");
    t.same(
      log.lines.filter(({ level }) => level !== "debug" && level !== "warn"),
      [],
    );
  },
);

t.test(
  "a handshake that does not go on is cut after its time, and counts as a connection (reliability 45)",
  async (t) => {
    const { cert, key } = filesOf(t);
    const config = adminConfig({ tls: { cert, key } });
    const limits = { headMs: 200, requestMs: 200, connections: 2 };
    const { address } = await testAdmin(t, { config: () => config, limits });
    const port = Number(address.split(":")[1]);
    const silent = [1, 2].map(() => connectPlain(port, "127.0.0.1").on("error", () => undefined));
    await Promise.all(silent.map((socket) => once(socket, "connect")));
    t.equal(await statusOver(port, {}, "/livez"), 200, "the oldest made room");
    for (const socket of silent) if (!socket.closed) await once(socket, "close");
  },
);

t.test("a holder of a token is not put out by strangers, over TLS too (reliability 42, 45)", async (t) => {
  const { cert, key } = filesOf(t);
  const config = adminConfig({ tls: { cert, key }, connections: 2 });
  const { address } = await testAdmin(t, { config: () => config });
  const port = Number(address.split(":")[1]);
  const operator = await secure(port);
  const call = `GET /v1/routes HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${bearer("root")["authorization"] ?? ""}\r\n\r\n`;
  operator.write(call);
  await once(operator, "data");
  const strangers: TLSSocket[] = [];
  for (let i = 0; i < 4; i++) strangers.push(await secure(port));
  operator.write(call);
  const [part] = (await once(operator, "data")) as [Buffer];
  t.match(part.toString(), /^HTTP\/1\.1 200/);
  for (const each of [operator, ...strangers]) each.destroy();
});

t.test(
  "a new certificate is taken up by new connections; a bad one keeps the old and says so (reliability 51)",
  async (t) => {
    const files = filesOf(t);
    const clock = fakeClock();
    clock.jumpWall(NOW);
    const log = quietLog();
    const used: string[] = [];
    const watch = await watchPair(
      files,
      await readPair(files),
      ({ cert }) => used.push(String(cert)),
      { clock, log },
      {
        debounceMs: 3_600_000,
        pollMs: 3_600_000,
      },
    );
    t.teardown(() => watch.close());
    let read = 0;
    const said = (): readonly string[] => {
      const lines = log.lines.slice(read);
      read = log.lines.length;
      return lines.map(({ level, fields }) => `${level} ${JSON.stringify(fields["detail"]) ?? ""}`);
    };
    const key = readFileSync(files.key);

    writeFileSync(files.cert, "-----BEGIN CERTIFICATE-----\nhalf");
    await watch.look();
    t.match(said(), [/^error "no TLS for the admin API: .*cert\.pem.* are no certificate with its key/]);
    rmSync(files.cert);
    writeFileSync(files.key, "nothing");
    await watch.look();
    t.match(said(), [/^error .*cert\.pem cannot be read/]);
    t.same(used, [], "the old one stays in force");
    writeFileSync(files.cert, CERT);
    writeFileSync(files.key, key);
    await watch.look();
    t.same([used, said()], [[], []], "what is the same again is no change");

    if (!makeCertificate(files)) return t.comment("no openssl here: the exchange itself is not played");
    // One after the other, as every tool does it: the first half fits nothing.
    renameSync(`${files.cert}.new`, files.cert);
    await watch.look();
    t.match(said(), [/^error .*are no certificate with its key/]);
    renameSync(`${files.key}.new`, files.key);
    await watch.look();
    t.same(said(), ["info "]);
    t.same(used, [readFileSync(files.cert, "utf8")]);
    // Made now, for a day: long over in the year of the clock.
    makeCertificate(files, "-days", "1");
    clock.jumpWall(100 * 365 * 86_400_000);
    renameSync(`${files.key}.new`, files.key);
    renameSync(`${files.cert}.new`, files.cert);
    await watch.look();
    t.match(
      said(),
      [/^error .*it is valid from 20.* to 20/],
      "one that has ended replaces none that has not",
    );
    t.equal(used.length, 1);
  },
);

t.test(
  "the listener greets with the new certificate at once, and keeps the connections it has (reliability 51)",
  async (t) => {
    const files = filesOf(t);
    const { port, log } = await tlsAdmin(t, files);
    const kept = await secure(port);
    const before = kept.getPeerCertificate().fingerprint256;
    if (!makeCertificate(files)) {
      kept.destroy();
      return t.comment("no openssl here");
    }
    renameSync(`${files.cert}.new`, files.cert);
    renameSync(`${files.key}.new`, files.key);
    const ca = readFileSync(files.cert, "utf8");
    // The folder is watched: the change is seen by itself, and until it is, the old certificate is what everybody gets.
    for (;;) {
      const socket = await secure(port, { ca: [CERT, ca] });
      const { fingerprint256 } = socket.getPeerCertificate();
      socket.destroy();
      if (fingerprint256 !== before) break;
    }
    t.match(log.lines.at(-1), { level: "info", message: /new certificate/ });
    kept.write("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    const [part] = (await once(kept, "data")) as [Buffer];
    t.match(part.toString(), /^HTTP\/1\.1 200/);
    kept.destroy();
  },
);

t.test("a certificate that is none, or has ended, is told at start (reliability 51)", async (t) => {
  const files = filesOf(t);
  const config = () => adminConfig({ tls: { cert: files.cert, key: files.key } });
  const { log } = await testAdmin(t, { config });
  t.match(
    log.lines,
    [{ level: "warn", message: /not valid now/ }],
    "the fake clock stands before its beginning",
  );
  writeFileSync(files.key, "nothing");
  const refused = { code: "SPLIT_LISTEN_FAILED", message: /key\.pem/ };
  await t.rejects(testAdmin(t, { config }), refused);
  rmSync(files.key);
  await t.rejects(testAdmin(t, { config }), refused);
});

t.test("the command line speaks HTTPS, and only with whom it can verify (reliability 41)", async (t) => {
  const files = filesOf(t);
  const { port } = await tlsAdmin(t, files);
  const token = (bearer("root")["authorization"] ?? "").slice("Bearer ".length);
  const status = (argv: readonly string[], env: Readonly<Record<string, string>> = {}) =>
    sluice(["status", "api", ...argv], { env: { SLUICE_TOKEN: token, ...env } });
  const url = `https://127.0.0.1:${port}`;
  const untrusted = /^sluice: cannot reach .*signed by nobody.*--ca or SLUICE_CA \(SPLIT_UNREACHABLE\)\n$/;
  // A variable that turns verification off in other programs does not do it here.
  process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0";
  t.teardown(() => delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"]);
  t.match(await status(["--admin", url]), { code: 5, err: untrusted });
  t.match(await status(["--admin", url, "--ca", files.cert]), { code: 0, err: "" });
  t.match(await status(["--admin", url], { SLUICE_CA: files.cert }), { code: 0, err: "" });
  t.match(await status([], { SLUICE_ADMIN: url, SLUICE_CA: files.cert }), { code: 0 });
  const elsewhere = await testAdmin(t, {
    address: "127.0.0.2:0",
    config: () => adminConfig({ tls: { cert: files.cert, key: files.key } }),
  });
  t.match(await status(["--admin", `https://${elsewhere.address}`, "--ca", files.cert]), {
    code: 5,
    err: /certificate is for another name/,
  });
  t.match(await status(["--admin", url, "--ca", join(files.folder, "none")]), {
    code: 2,
    err: /cannot read the certificates in .*none \(SPLIT_CONFIG_UNREADABLE\)/,
  });
  writeFileSync(join(files.folder, "empty"), "no certificate in here");
  t.match(await status(["--admin", url, "--ca", join(files.folder, "empty")]), { code: 5, err: untrusted });

  const config = join(files.folder, "sluice.yaml");
  const arms = "    stable: { endpoints: ['http://a:1'] }\n    canary: { endpoints: ['http://b:1'] }\n";
  writeFileSync(
    config,
    `admin: { address: "127.0.0.1:${port}", tls: { cert: ${files.cert}, key: ${files.key} } }\nroutes:\n  - name: app\n${arms}`,
  );
  t.match(
    await status(["-c", config]),
    { code: 0, err: "" },
    "with the proxy's configuration nothing is to be said",
  );

  const { address } = await testAdmin(t);
  t.match(await status(["--admin", `https://${address}`]), { code: 5, err: /does not speak TLS/ });
  t.match(await status(["--admin", `http://127.0.0.1:${port}`]), { code: 5 });
  const exposed = ["http://10.0.0.1:9900", "admin.example:9900", "http://[2001:db8::1]"];
  const safe = [
    "https://10.0.0.1:9900",
    "http://localhost:1",
    ":9900",
    "0.0.0.0:1",
    "http://[::1]",
    "unix:/a",
  ];
  t.same(
    [...exposed, ...safe].filter((each) => adminAddressOf(each).isExposed),
    exposed,
    "the others are told",
  );
});
