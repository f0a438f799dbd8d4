/** The listener itself: where it listens, how many and how slow it takes them, and how it goes (reliability.md A.7, G.41, G.45). */

import { linkSync, mkdtempSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createNetServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { adminConfig, ask, bearer, testAdmin } from "../support/control.ts";
import { raw, statusOf } from "../support/raw.ts";

t.test("G.41: it listens on loopback, and elsewhere only when the configuration names a token", async (t) => {
  for (const address of ["0.0.0.0:0", ":0", "[::]:0"]) {
    await t.rejects(testAdmin(t, { address }), { code: "SPLIT_LISTEN_FAILED", message: /admin\.tokens/ });
  }
  const tokens = [{ name: "ci", token: { env: "CI_TOKEN" }, scopes: ["read"] }];
  const { ask } = await testAdmin(t, { address: "0.0.0.0:0", config: () => adminConfig({ tokens }) });
  t.equal((await ask("GET", "/v1/routes")).status, 200);
});

t.test("a port that is taken is one named error", async (t) => {
  const taken = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => taken.once("listening", resolve));
  t.teardown(() => taken.close());
  const bound = taken.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : 0;
  await t.rejects(testAdmin(t, { address: `127.0.0.1:${port}` }), {
    code: "SPLIT_LISTEN_FAILED",
    message: `cannot listen on 127.0.0.1:${port} for the admin API: the address is in use`,
  });
});

t.test("G.41: a unix socket is its owner's alone, replaces one left behind, and never a file", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-admin-"));
  const address = `unix:${join(folder, "admin.sock")}`;
  const first = await testAdmin(t, { address });
  t.equal(statSync(join(folder, "admin.sock")).mode & 0o777, 0o600);
  t.equal((await first.ask("GET", "/v1/routes")).status, 200);
  await t.rejects(testAdmin(t, { address }), { code: "SPLIT_LISTEN_FAILED" }, "somebody answers on it");

  const left = `${folder}/left.sock`;
  const crashed = createNetServer().listen(left);
  await new Promise((resolve) => crashed.once("listening", resolve));
  // A crash leaves the name behind; closing does not, so the name is linked a second time.
  linkSync(left, `${left}.kept`);
  await new Promise((resolve) => crashed.close(resolve));
  const second = await testAdmin(t, { address: `unix:${left}.kept` });
  t.equal((await second.ask("GET", "/livez")).status, 200);

  writeFileSync(join(folder, "notes"), "mine");
  await t.rejects(testAdmin(t, { address: `unix:${join(folder, "notes")}` }), {
    code: "SPLIT_LISTEN_FAILED",
  });
  t.equal(statSync(join(folder, "notes")).size, 4);
});

t.test("calls of one connection are done in their order, and only so many may wait", async (t) => {
  const { address, control } = await testAdmin(t);
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  control.answer = async ({ command }) => {
    if (command.type === "pause") await held;
    return { ok: false, code: "SPLIT_PHASE_MISMATCH", message: command.type };
  };
  const call = (verb: string) =>
    `POST /v1/rollouts/app/${verb} HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${bearer("root")["authorization"] ?? ""}\r\nContent-Length: 0\r\n\r\n`;
  const client = await raw(address);
  client.send(call("pause") + call("resume"));
  const other = await raw(address);
  other.send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await other.until(/live/);
  other.destroy();
  t.same(
    control.asked.map(({ command }) => command.type),
    ["pause"],
    "the second waits for the first",
  );
  release();
  await client.until(/pause[^]*HTTP\/1\.1 409[^]*"detail":"resume"/);
  client.destroy();

  control.answer = () => new Promise(() => undefined);
  const flood = await raw(address);
  flood.send(call("resume").repeat(40));
  t.equal((await flood.closed()).text, "", "a connection that pipelines without end is cut");
});

t.test(
  "G.45: heads that are too long, too many, too slow or no HTTP have answers of their own",
  async (t) => {
    const { address } = await testAdmin(t, { limits: { headMs: 300, requestMs: 300 } });
    const answers: readonly (readonly [string, number, string])[] = [
      [`GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ${"a".repeat(20_000)}\r\n\r\n`, 431, "long"],
      [`GET /livez HTTP/1.1\r\nHost: localhost\r\n${"X: a\r\n".repeat(150)}\r\n`, 431, "many fields"],
      [`GET /livez?${"a".repeat(5000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`, 414, "long target"],
      ["GET /livez HTTP/1.1\r\nHost: localhost\r\nX", 408, "slow head"],
      [
        `POST /v1/rollouts/app/pause HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: ${bearer("root")["authorization"] ?? ""}\r\nContent-Length: 9\r\n\r\n{`,
        408,
        "slow body",
      ],
      ["garbage\r\n\r\n", 400, "garbage"],
      [
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
        "both lengths",
      ],
    ];
    for (const [text, status, what] of answers) {
      const client = await raw(address);
      client.send(text);
      const { text: answer } = await client.closed();
      t.equal(statusOf(answer), status, what);
      t.match(answer, /application\/problem\+json/, what);
    }
  },
);

t.test("A.7: a broken request behind one that is not answered yet does not take its answer", async (t) => {
  const { address, control } = await testAdmin(t);
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  let begun: () => void = () => undefined;
  const isUnderWay = new Promise<void>((resolve) => (begun = resolve));
  control.answer = async () => {
    begun();
    await held;
    return { ok: false, code: "SPLIT_COOLDOWN", message: "wait" };
  };
  const client = await raw(address);
  const fields = `Host: localhost\r\nAuthorization: ${bearer("root")["authorization"] ?? ""}\r\n`;
  client.send(`POST /v1/rollouts/app/pause HTTP/1.1\r\n${fields}Content-Length: 0\r\n\r\ngarbage\r\n\r\n`);
  await isUnderWay;
  release();
  const { text } = await client.closed();
  t.match(text, /^HTTP\/1\.1 409 [^]*SPLIT_COOLDOWN/);
  t.notMatch(text, /HTTP\/1\.1 400/);
});

t.test("G.45: connections over the limit are dropped, and the others go on", async (t) => {
  const { address } = await testAdmin(t, { limits: { connections: 2 } });
  const live = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
  const [first, second] = [await raw(address), await raw(address)];
  for (const each of [first, second]) {
    each.send(live);
    await each.until(/live/);
  }
  const third = await raw(address);
  t.equal((await third.closed()).text, "");
  first.send(live);
  await first.until(/live[^]*HTTP\/1\.1 200[^]*live/);
  first.destroy();
  second.destroy();
});

t.test("closing finishes what is in flight and lets the address go", async (t) => {
  const { admin, address, control } = await testAdmin(t);
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  let begun: () => void = () => undefined;
  const isUnderWay = new Promise<void>((resolve) => (begun = resolve));
  control.answer = async () => {
    begun();
    await held;
    return { ok: false, code: "SPLIT_COOLDOWN", message: "wait" };
  };
  const stream = ask(address, "GET", "/v1/events");
  const slow = ask(address, "POST", "/v1/rollouts/app/pause");
  await isUnderWay;
  const closed = admin.close();
  release();
  t.match(await slow, { status: 409, headers: { connection: "close" } });
  t.match((await stream).text, /event: status/, "streams are ended, not cut");
  await closed;
  await t.rejects(ask(address, "GET", "/livez"), { code: "ECONNREFUSED" });
});
