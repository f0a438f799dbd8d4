/** The listener itself: where it listens, how many and how slow it takes them, and how it goes (reliability.md 7, 41, 45). */

import { linkSync, mkdtempSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createNetServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { problemSchema } from "../../src/admin/problem.ts";
import { adminConfig, ask, bearer, testAdmin } from "../support/control.ts";
import { raw, statusOf } from "../support/raw.ts";

t.test(
  "it listens on loopback, and elsewhere only with a token and a certificate (reliability 41)",
  async (t) => {
    const tokens = [{ name: "ci", token: { env: "CI_TOKEN" }, scopes: ["read"] }];
    const withTokens = adminConfig({ tokens });
    for (const address of ["0.0.0.0:0", ":0", "[::]:0", "admin.example:0"]) {
      const refused = { code: "SPLIT_LISTEN_FAILED" };
      await t.rejects(
        testAdmin(t, { address }),
        { ...refused, message: /admin\.tokens[^]*admin\.tls/ },
        address,
      );
      const without = testAdmin(t, { address, config: () => withTokens });
      await t.rejects(without, { ...refused, message: /admin\.tls/ }, address);
    }
    const { ask, log } = await testAdmin(t, {
      address: "0.0.0.0:0",
      config: () => adminConfig({ tokens, insecure: true }),
    });
    t.equal((await ask("GET", "/v1/routes")).status, 200);
    t.match(log.lines, [{ level: "warn", message: /without TLS.*in the clear/ }], "and says what that means");
    t.same((await testAdmin(t)).log.lines, [], "on loopback there is nothing to say");
  },
);

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

t.test(
  "a unix socket is its owner's alone, replaces one left behind, and never a file (reliability 41)",
  async (t) => {
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
  },
);

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
  "heads that are too long, too many, too slow or no HTTP have answers of their own (reliability 45)",
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

t.test(
  "a broken request behind one that is not answered yet does not take its answer (reliability 7)",
  async (t) => {
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
  },
);

t.test(
  "of connections over the limit the oldest without a token makes room (reliability 42, 45)",
  async (t) => {
    const { address, log } = await testAdmin(t, { limits: { connections: 3 } });
    const live = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const routes = `GET /v1/routes HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${bearer("reader")["authorization"] ?? ""}\r\n\r\n`;
    const opened = async (text: string, answer: RegExp) => {
      const client = await raw(address);
      client.send(text);
      await client.until(answer);
      return client;
    };
    const operator = await opened(routes, /"routes"/);
    const half = await raw(address);
    half.send("GET /livez HTTP/1.1\r\nHost: local");
    const idle = await opened(live, /live/);
    // Strangers at their leisure: each newcomer is let in, the oldest of them has to go, the operator never.
    const third = await opened(live, /live/);
    t.equal((await half.closed()).text, "");
    const fourth = await opened(live, /live/);
    await idle.closed();
    t.match(log.lines, [{ level: "warn", message: /made room/, fields: { address: "127.0.0.1" } }, {}]);
    operator.send(routes);
    await operator.until(/"routes"[^]*HTTP\/1\.1 200[^]*"routes"/);
    // Holders of a token who fill it by themselves: now the newcomer has to go.
    for (const each of [third, fourth]) {
      each.send(routes);
      await each.until(/"routes"/);
    }
    t.equal((await (await raw(address)).closed()).text, "");
    for (const each of [operator, third, fourth]) each.destroy();
  },
);

t.test("a scrape is rendered once for all who ask in the same turn (reliability 45)", async (t) => {
  let renders = 0;
  const metrics = () => Promise.resolve({ contentType: "text/plain", body: `# ${++renders}\n` });
  const { address, ask } = await testAdmin(t, { metrics });
  const client = await raw(address);
  client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(8));
  await client.until((text) => text.split("HTTP/1.1 200").length === 9);
  const before = renders;
  t.ok(before <= 8);
  await ask("GET", "/metrics");
  t.equal(renders, before + 1, "a later turn is measured anew");
  client.destroy();
});

t.test(
  "whatever is refused is a problem document, with the guards of every answer (reliability 43, 44)",
  async (t) => {
    const { address, control } = await testAdmin(t);
    const cases: readonly (readonly [string, number])[] = [
      ["garbage\r\n\r\n", 400],
      ["GET /livez HTTP/1.1\r\n\r\n", 400],
      ["GET /livez HTTP/2.0\r\nHost: localhost\r\n\r\n", 400],
      ["GET /livez HTTP/0.9\r\nHost: localhost\r\n\r\n", 400],
      ["CONNECT localhost:9900 HTTP/1.1\r\nHost: localhost\r\n\r\n", 405],
      ["GET /livez HTTP/1.1\r\nHost: localhost\r\nExpect: the unexpected\r\n\r\n", 417],
      [`GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ${"a".repeat(20_000)}\r\n\r\n`, 431],
      ["POST /v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 401],
      [
        "GET /v1/nothing HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        404,
      ],
    ];
    for (const [text, status] of cases) {
      const client = await raw(address);
      client.send(text);
      const answer = await client.until(/\r\n\r\n\{.*\}/);
      t.equal(statusOf(answer), status, text.slice(0, 60));
      const [head = "", body = ""] = answer.split("\r\n\r\n");
      t.match(head, /^content-type: application\/problem\+json$/im);
      t.match(head, /^content-security-policy: default-src 'none';.*frame-ancestors 'none'$/im);
      t.match(head, /^x-content-type-options: nosniff$/im);
      t.match(head, /^referrer-policy: no-referrer$/im);
      t.match(head, /^cache-control: no-store$/im);
      t.ok(problemSchema.safeParse(JSON.parse(body)).success, body);
      client.destroy();
    }
    t.same(control.asked, []);
  },
);

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
