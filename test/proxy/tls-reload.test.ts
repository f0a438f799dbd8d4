/** Certificates that change on disk: taken over without a connection dropped, and only if they can be used (reliability.md F38, I51). */

import { copyFile, mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { connect, createServer } from "node:tls";
import t from "tap";
import { configSchema } from "../../src/config/schema.ts";
import { Secret } from "../../src/config/secret.ts";
import { PemWatch } from "../../src/proxy/pem-watch.ts";
import { createPlane } from "../../src/proxy/local-plane.ts";
import { start } from "../../src/start.ts";
import { fakeClock } from "../support/clock.ts";
import { fakeDice } from "../support/dice.ts";
import { statusOf } from "../support/raw.ts";
import { LAST_GET, pairOf, talk, textsOf, tlsFile } from "../support/tls.ts";
import { reply, upstream } from "../support/upstream.ts";

type Test = { teardown(run: () => unknown): void };

async function folderOf(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-tls-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Puts a pair in the place of the one before, the certificate first. */
async function put(folder: string, name: string): Promise<void> {
  const { cert, key } = pairOf(name);
  await copyFile(cert, join(folder, "cert.pem"));
  await copyFile(key, join(folder, "key.pem"));
}

function recorder() {
  const lines: string[] = [];
  const at =
    (level: string) =>
    (message: string, fields?: object): void =>
      void lines.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`);
  return { lines, log: { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") } };
}

async function site(t: Test, tls: object, route: object = {}) {
  const server = await upstream(reply(200, "ok"));
  const clock = fakeClock();
  const { lines, log } = recorder();
  const configOf = (more: object) =>
    configSchema.parse({
      listen: [{ address: "127.0.0.1:0", tls }],
      routes: [
        {
          name: "app",
          stable: { endpoints: [server.url] },
          canary: { endpoints: [server.url] },
          ...route,
          ...more,
        },
      ],
    });
  const config = configOf({});
  const watch = new PemWatch({ clock, dice: fakeDice(1), log });
  await watch.open(config);
  const plane = createPlane({
    config,
    pems: watch.shelf,
    clock,
    dice: fakeDice(1),
    log,
    cookieSecret: "",
    secretOf: (source) => new Secret("", source),
    healthy: () => true,
  });
  const [address = ""] = await plane.listen();
  t.teardown(async () => {
    watch.close();
    await plane.close();
    await server.close();
  });
  return {
    clock,
    lines,
    watch,
    plane,
    address,
    configOf,
    get: (options: object = {}) => talk(address, LAST_GET, options),
    shown: async (options: object = {}) => (await talk(address, LAST_GET, options)).name,
    /** Long enough that a change is seen, and seen to be still. */
    looks: () => clock.advance("4s"),
    said: (pattern: RegExp) => lines.filter((line) => pattern.test(line)),
  };
}

t.test(
  "a new pair is shown to new connections, and those that are open go on as they are (reliability 51)",
  async (t) => {
    const folder = await folderOf(t);
    await put(folder, "");
    const s = await site(t, { cert: join(folder, "cert.pem"), key: join(folder, "key.pem") });
    const [host = "", port = ""] = s.address.split(":");
    const kept = connect({ host, port: Number(port), servername: "localhost", rejectUnauthorized: false });
    let received = "";
    kept.on("data", (chunk: Buffer) => (received += chunk.toString()));
    const answered = async (nth: number): Promise<void> => {
      kept.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      while (received.split("\r\n\r\nok").length !== nth + 1)
        await new Promise((resolve) => kept.once("data", resolve));
    };
    await answered(1);
    const before = await s.get();
    t.equal(before.name, "localhost");
    await put(folder, "app");
    t.equal(await s.shown(), "localhost", "not before anybody has looked");
    await s.looks();
    t.equal(await s.shown(), "app.example");
    await answered(2);
    t.equal(kept.getPeerX509Certificate()?.subject, "CN=localhost");
    t.match(await s.get({ session: before.session }), { isReused: true, text: /ok$/ }, "nor do sessions end");
    kept.destroy();
    t.equal(s.said(/^error/).length, 0, s.lines.join("\n"));
    t.equal(s.said(/read anew/).length, 1);
    await s.looks();
    t.equal(s.said(/read anew/).length, 1, "nothing is new");
  },
);

t.test(
  "a change by a symbolic link somewhere above is seen, as Kubernetes and certbot make them (reliability 51)",
  async (t) => {
    const folder = await folderOf(t);
    for (const name of ["", "app", "wild"]) {
      await mkdir(join(folder, `..${name}`), { recursive: true });
      if (name !== "") await put(join(folder, `..${name}`), name);
    }
    await mkdir(join(folder, "..first"));
    await put(join(folder, "..first"), "");
    await symlink("..first", join(folder, "..data"));
    await symlink("..data/cert.pem", join(folder, "tls.crt"));
    await symlink("..data/key.pem", join(folder, "tls.key"));
    const s = await site(t, { cert: join(folder, "tls.crt"), key: join(folder, "tls.key") });
    t.equal(await s.shown(), "localhost");
    for (const [name, shown] of [
      ["app", "app.example"],
      ["wild", "wild.example"],
    ] as const) {
      await symlink(`..${name}`, join(folder, "..next"));
      await rename(join(folder, "..next"), join(folder, "..data"));
      await s.looks();
      t.equal(await s.shown(), shown);
    }
  },
);

t.test(
  "a pair that cannot be used changes nothing, the log says so once per change, and other pairs are taken (reliability 51)",
  async (t) => {
    const [folder, other] = [await folderOf(t), await folderOf(t)];
    await put(folder, "renewed");
    await put(other, "app");
    const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
    const sni = [{ names: ["app.example"], cert: join(other, "cert.pem"), key: join(other, "key.pem") }];
    const s = await site(t, { cert, key, sni });
    const bad = /cannot be used, the one before stays in force/;
    await copyFile(pairOf("wild").cert, cert);
    await put(other, "renewed");
    await s.looks();
    t.equal(await s.shown(), "localhost");
    t.equal(await s.shown({ servername: "app.example" }), "localhost", "the other one is taken");
    t.equal(s.said(bad).length, 1);
    t.match(s.said(bad)[0], /key\.pem does not belong to the certificate in .*cert\.pem/);
    for (let nth = 0; nth < 5; nth++) await s.looks();
    t.equal(s.said(bad).length, 1, "said once");
    await writeFile(cert, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    await s.looks();
    await rm(key);
    for (let nth = 0; nth < 3; nth++) await s.looks();
    t.equal(s.said(bad).length, 3, s.said(bad).join("\n"));
    t.match(s.said(bad)[1], /cert\.pem/);
    t.equal(await s.shown(), "localhost");
    await put(folder, "wild");
    await s.looks();
    t.equal(await s.shown(), "wild.example");
    await put(folder, "expired");
    await s.looks();
    t.equal(await s.shown(), "localhost", "an expired one is its owner's business");
    t.match(s.said(/^warn/), [/expired on/]);
    const secrets = ["app", "wild", "expired", "renewed"].map((name) => textsOf(name).key);
    const text = s.lines.join("\n");
    t.notMatch(text, /PRIVATE KEY/);
    for (const secret of secrets) t.notOk(text.includes(secret.split("\n")[1] ?? ""));
  },
);

t.test("a file that is still being written is not taken", async (t) => {
  const folder = await folderOf(t);
  await put(folder, "");
  const s = await site(t, { cert: join(folder, "cert.pem"), key: join(folder, "key.pem") });
  await copyFile(pairOf("app").cert, join(folder, "cert.pem"));
  await s.clock.advance("2s");
  await copyFile(pairOf("app").key, join(folder, "key.pem"));
  await s.clock.advance("2s");
  t.equal(s.said(/^error/).length, 0);
  t.equal(await s.shown(), "localhost");
  await s.clock.advance("2s");
  t.equal(await s.shown(), "app.example");
  t.equal(s.said(/^error/).length, 0);
});

t.test(
  "authorities of clients change likewise, and who is trusted no more is not let in by an old session",
  async (t) => {
    const folder = await folderOf(t);
    const clientCa = join(folder, "ca.pem");
    await copyFile(tlsFile("ca.cert.pem"), clientCa);
    const s = await site(t, { ...pairOf(""), clients: "require", clientCa });
    const alice = await s.get(textsOf("alice"));
    t.match(alice.text, /ok$/);
    await copyFile(tlsFile("other.cert.pem"), clientCa);
    await s.looks();
    t.match(await s.get({ ...textsOf("alice"), session: alice.session }), { text: "" });
    t.match((await s.get(textsOf("mallory"))).text, /ok$/);
  },
);

t.test("what an upstream is verified by changes likewise (reliability 51)", async (t) => {
  const folder = await folderOf(t);
  const ca = join(folder, "ca.pem");
  await copyFile(pairOf("app").cert, ca);
  const server = createServer(textsOf(""), (socket) => {
    socket.on("error", () => undefined);
    socket.on("data", () => socket.write(reply(200, "over TLS")));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  const arm = {
    endpoints: [`https://localhost:${(server.address() as AddressInfo).port}`],
    tls: { ca },
  };
  const s = await site(t, pairOf(""), { stable: arm, canary: arm });
  t.equal(statusOf((await s.get()).text), 502);
  await copyFile(pairOf("").cert, ca);
  await s.looks();
  t.match((await s.get()).text, /over TLS$/);
  await writeFile(ca, "nothing");
  await s.looks();
  t.match((await s.get()).text, /over TLS$/);
  t.match(s.said(/^error/), [/stable of the route app.*ca\.pem/, /canary of the route app/]);
});

t.test(
  "a reload reads them at once, and is refused only for want of files that were never there",
  async (t) => {
    const folder = await folderOf(t);
    await put(folder, "");
    const server = await upstream(reply(200, "ok"));
    t.teardown(() => server.close());
    const { lines, log } = recorder();
    let route: object = {};
    const configOf = () =>
      configSchema.parse({
        listen: [
          {
            address: "127.0.0.1:0",
            tls: { cert: join(folder, "cert.pem"), key: join(folder, "key.pem") },
          },
        ],
        admin: { address: "127.0.0.1:0" },
        state: "memory:",
        reports: join(folder, "reports"),
        routes: [
          { name: "app", stable: { endpoints: [server.url] }, canary: { endpoints: [server.url] }, ...route },
        ],
      });
    const secretOf = (source: ConstructorParameters<typeof Secret>[1]) => new Secret("", source);
    const running = await start({
      config: configOf(),
      secretOf,
      clock: fakeClock(),
      dice: fakeDice(1),
      log,
      reread: () => Promise.resolve({ config: configOf(), secretOf }),
    });
    t.teardown(() => running.stop());
    const shown = async (): Promise<string> => (await talk(running.addresses[0] ?? "", LAST_GET)).name;
    const complaints = (): number =>
      lines.filter((line) => line.includes("the one before stays in force")).length;
    t.equal(await shown(), "localhost");
    await put(folder, "app");
    t.match(await running.reload("SIGHUP"), { ok: true });
    t.equal(await shown(), "app.example");
    await copyFile(pairOf("wild").cert, join(folder, "cert.pem"));
    t.match(await running.reload("SIGHUP"), { ok: true }, "the rest is fine");
    t.equal(await shown(), "app.example");
    t.equal(complaints(), 1);
    route = { stable: { endpoints: ["https://localhost:1"], tls: { ca: join(folder, "none.pem") } } };
    t.match(await running.reload("SIGHUP"), { ok: false, message: /stable of the route app.*none\.pem/ });
    t.match((await talk(running.addresses[0] ?? "", LAST_GET)).text, /ok$/, "the one before is in force");
    await copyFile(pairOf("").cert, join(folder, "none.pem"));
    t.match(await running.reload("SIGHUP"), { ok: true });
    t.equal(statusOf((await talk(running.addresses[0] ?? "", LAST_GET)).text), 502, "the new one");
    t.notMatch(lines.join("\n"), /PRIVATE KEY/);
  },
);

t.test(
  "what no configuration in force names is forgotten, and what one names is there before it is in force",
  async (t) => {
    const s = await site(t, pairOf(""));
    const names = (): readonly string[] =>
      [...s.watch.shelf.material.pems.keys()].map((path) => basename(path));
    const tls = { ca: tlsFile("ca.cert.pem") };
    const next = s.configOf({ stable: { endpoints: ["https://localhost:1"], tls } });
    await s.watch.prepare(next);
    t.strictSame(names(), ["cert.pem", "key.pem", "ca.cert.pem"]);
    await s.plane.reconfigure(next);
    s.watch.adopt(next);
    t.strictSame(names(), ["cert.pem", "key.pem", "ca.cert.pem"]);
    const last = s.configOf({});
    await s.watch.prepare(last);
    t.strictSame(names(), ["cert.pem", "key.pem", "ca.cert.pem"], "the one in force needs it");
    await s.plane.reconfigure(last);
    s.watch.adopt(last);
    t.strictSame(names(), ["cert.pem", "key.pem"]);
    t.equal(await s.shown(), "localhost");
  },
);
