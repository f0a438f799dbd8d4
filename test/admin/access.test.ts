/** Who gets in, and what keeps everybody else out: tokens, scopes, Host, origin, media type, size (reliability.md G.42–44). */

import t from "tap";
import { FAILURES, FAILURES_MS } from "../../src/admin/auth.ts";
import { ROWS } from "../../src/admin/routes.ts";
import { bearer, testAdmin } from "../support/control.ts";
import { raw, statusOf } from "../support/raw.ts";

t.test("G.42: every /v1 row takes a token with its scope, and the rest take none", async (t) => {
  const { ask, control, done } = await testAdmin(t);
  t.ok(ROWS.length >= 20, "looked at the whole table");
  for (const [name, row] of ROWS) {
    const path = row.path.replace("{route}", "app");
    t.equal(row.scope === "none", !path.startsWith("/v1/"), `${name}: only /v1 takes tokens`);
    if (row.scope === "none") {
      t.equal((await ask(row.method, path, { as: "nobody" })).status, 200, `${name} is open`);
      continue;
    }
    const nobody = await ask(row.method, path, { as: "nobody" });
    t.match(nobody, { status: 401, json: { code: "SPLIT_UNAUTHORIZED" } }, `${name} without a token`);
    t.match(nobody.headers["www-authenticate"], /^Bearer/);
    if (row.scope === "read") continue;
    const reader = await ask(row.method, path, { as: "reader" });
    t.match(
      reader,
      { status: 403, json: { code: "SPLIT_FORBIDDEN" } },
      `${name} with a token that may only read`,
    );
    t.match(reader.json["detail"], new RegExp(`"${row.scope}"`));
  }
  t.match(await ask("POST", "/v1/drain", { as: "operator" }), { status: 403 });
  t.same([control.asked, done], [[], []], "nothing was done");
});

t.test("G.42: a wrong token is refused in all its forms", async (t) => {
  const { ask, log } = await testAdmin(t);
  const token = bearer("root")["authorization"] ?? "";
  for (const authorization of [
    "Bearer x",
    "Basic cm9vdA==",
    "Bearer",
    token.slice(0, -1),
    `${token}x`,
    `${token} x`,
  ]) {
    const answer = await ask("GET", "/v1/routes", { as: "nobody", headers: { authorization } });
    t.match(answer, { status: 401, json: { code: "SPLIT_UNAUTHORIZED" } }, authorization.slice(0, 6));
    t.notMatch(
      answer.text + JSON.stringify(log.lines),
      "root-token-01234567",
      "no token is repeated anywhere",
    );
  }
  const lower = token.replace("Bearer", "bearer");
  t.equal((await ask("GET", "/v1/routes", { as: "nobody", headers: { authorization: lower } })).status, 200);
  t.equal(
    (await ask("GET", "/v1/routes?access_token=root", { as: "nobody" })).status,
    401,
    "never in the URL",
  );
});

t.test("G.42: two tokens in one request are none", async (t) => {
  const { address } = await testAdmin(t);
  const field = `Authorization: ${bearer("root")["authorization"] ?? ""}\r\n`;
  const client = await raw(address);
  client.send(`GET /v1/routes HTTP/1.1\r\nHost: localhost\r\n${field}Authorization: Bearer x\r\n\r\n`);
  t.equal(statusOf(await client.until(/\r\n\r\n\{/)), 401);
  client.destroy();
});

t.test("G.42: failures are rate-limited, without locking a correct token out, for a while", async (t) => {
  const { ask, clock } = await testAdmin(t);
  const wrong = () => ask("GET", "/v1/routes", { as: "nobody", headers: { authorization: "Bearer x" } });
  for (let i = 0; i < FAILURES; i++) t.equal((await wrong()).status, 401);
  const limited = await wrong();
  t.match(limited, { status: 429, json: { code: "SPLIT_RATE_LIMITED", retryable: true } });
  t.equal(limited.headers["retry-after"], String(FAILURES_MS / 1000));
  t.equal((await ask("GET", "/v1/routes")).status, 200, "a correct token from the same address");
  await clock.advance(FAILURES_MS - 1000);
  t.equal((await wrong()).headers["retry-after"], "1", "further failures do not prolong it");
  await clock.advance(1001);
  t.equal((await wrong()).status, 401);
});

t.test("G.43: a Host that is not ours is refused on every path, open ones too", async (t) => {
  const { ask, control } = await testAdmin(t);
  for (const host of [
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "10.0.0.1",
    "a b",
    "admin.example@evil",
  ]) {
    for (const path of ["/v1/routes", "/metrics", "/livez", "/nothing"]) {
      t.match(
        await ask("GET", path, { headers: { host } }),
        { status: 421, json: { code: "SPLIT_HOST_REFUSED" } },
        host,
      );
    }
    await ask("POST", "/v1/rollouts/app/pause", { headers: { host } });
  }
  t.same(control.asked, []);
  for (const host of [
    "localhost",
    "LOCALHOST:1",
    "127.0.0.1",
    "127.1.2.3:9900",
    "[::1]:9900",
    "admin.example",
    "admin.example.:80",
  ]) {
    t.equal((await ask("GET", "/v1/routes", { headers: { host } })).status, 200, host);
  }
});

t.test("G.43: no Host, two Hosts and an absolute target get nowhere", async (t) => {
  const { address } = await testAdmin(t);
  const cases: readonly (readonly [string, number])[] = [
    ["GET /livez HTTP/1.1\r\n\r\n", 400],
    ["GET /livez HTTP/1.0\r\n\r\n", 421],
    ["GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 421],
    ["GET http://localhost/livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 404],
  ];
  for (const [text, status] of cases) {
    const client = await raw(address);
    client.send(text);
    t.equal(statusOf(await client.until(/\r\n\r\n/)), status, text);
    client.destroy();
  }
});

t.test("G.43: pages of other origins are refused, and there are no CORS fields", async (t) => {
  const { ask, control } = await testAdmin(t);
  const foreign = [
    { origin: "https://evil.example" },
    { origin: "null" },
    { origin: "http://localhost:1" },
    { origin: "http://admin.example.evil.example" },
    { "sec-fetch-site": "cross-site" },
  ];
  for (const headers of foreign) {
    const answer = await ask("POST", "/v1/rollouts/app/pause", {
      headers: { host: "localhost:9900", ...headers },
    });
    t.match(answer, { status: 403, json: { code: "SPLIT_ORIGIN_REFUSED" } }, JSON.stringify(headers));
  }
  t.same(control.asked, []);
  const own = { host: "localhost:9900", origin: "http://localhost:9900", "sec-fetch-site": "same-origin" };
  t.equal((await ask("POST", "/v1/rollouts/app/pause", { headers: own })).status, 200);
  const tls = { host: "admin.example", origin: "https://admin.example:443" };
  t.equal((await ask("GET", "/v1/routes", { headers: tls })).status, 200, "behind a proxy that ends TLS");
  const preflight = await ask("OPTIONS", "/v1/rollouts/app/pause");
  t.match(preflight, { status: 405, headers: { allow: "POST" } });
  const names = [own, {}].map(async (headers) =>
    Object.keys((await ask("GET", "/v1/routes", { headers })).headers),
  );
  t.same(
    (await Promise.all(names)).flat().filter((name) => name.startsWith("access-control")),
    [],
  );
});

t.test("G.43: a read changes nothing, and no field makes a read a write", async (t) => {
  const { ask, control } = await testAdmin(t);
  for (const method of ["GET", "HEAD", "PUT", "DELETE", "PATCH"]) {
    const answer = await ask(method, "/v1/rollouts/app/rollback", {
      headers: { "x-http-method-override": "POST" },
    });
    t.match(answer, { status: 405, headers: { allow: "POST" } }, method);
  }
  t.match(await ask("POST", "/v1/routes/app"), { status: 405, headers: { allow: "GET, HEAD" } });
  t.same(control.asked, []);
  const get = await ask("GET", "/v1/routes/app");
  const head = await ask("HEAD", "/v1/routes/app");
  t.match(head, { status: 200, text: "", headers: { etag: get.headers.etag } });
  t.equal(head.headers["content-length"], get.headers["content-length"]);
});

t.test("G.43: a write says that it is JSON", async (t) => {
  const { ask, control } = await testAdmin(t);
  const body = '{"weight":5,"reason":"x"}';
  for (const type of [
    "text/plain",
    "application/x-www-form-urlencoded",
    "application/json; charset=latin1",
    "application/jsonx",
    "",
  ]) {
    const answer = await ask("POST", "/v1/routes/app/weight", { body, headers: { "content-type": type } });
    t.match(answer, { status: 415, json: { code: "SPLIT_MEDIA_TYPE" } }, type);
  }
  const zipped = { "content-encoding": "gzip" };
  t.equal((await ask("POST", "/v1/routes/app/weight", { body, headers: zipped })).status, 415);
  t.same(control.asked, []);
  const type = "application/json; charset=UTF-8";
  t.equal(
    (await ask("POST", "/v1/routes/app/weight", { body, headers: { "content-type": type } })).status,
    200,
  );
  t.equal(
    (await ask("POST", "/v1/rollouts/app/pause")).status,
    200,
    "a verb that needs no field needs no body",
  );
  t.match(await ask("POST", "/v1/routes/app/weight"), { status: 400, json: { field: "weight" } });
});

t.test("G.44: a body over 64 KiB is refused without being read", async (t) => {
  const { address, control } = await testAdmin(t);
  const head =
    `POST /v1/rollouts/app/pause HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n` +
    `Authorization: ${bearer("root")["authorization"] ?? ""}\r\n`;
  const declared = await raw(address);
  declared.send(`${head}Content-Length: 100000000\r\n\r\n{"reason":`);
  const text = await declared.until(/\r\n\r\n\{.*\}/);
  t.equal(statusOf(text), 413);
  t.match(text, /connection: close/i);
  t.match(text, /"code":"SPLIT_TOO_LARGE"/);
  await declared.closed();

  const chunked = await raw(address);
  chunked.send(`${head}Transfer-Encoding: chunked\r\n\r\n`);
  for (let i = 0; i < 9; i++) chunked.send(`2000\r\n${" ".repeat(0x2000)}\r\n`);
  t.equal(statusOf(await chunked.until(/\r\n\r\n\{.*\}/)), 413);
  await chunked.closed();

  const waiting = await raw(address);
  waiting.send(`${head}Expect: 100-continue\r\nContent-Length: 100000\r\n\r\n`);
  t.equal(statusOf(await waiting.until(/\r\n\r\n\{.*\}/)), 413, "and never asked for");
  waiting.destroy();
  t.same(control.asked, []);

  const asked = await raw(address);
  asked.send(`${head}Expect: 100-continue\r\nContent-Length: 14\r\n\r\n`);
  await asked.until(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
  asked.send('{"reason":"x"}');
  t.match(await asked.until(/\r\n\r\n\{.*\}/), /HTTP\/1\.1 200/);
  asked.destroy();
  const { ask } = await testAdmin(t);
  const just = `{"reason":"x"}${" ".repeat(64 * 1024 - 14)}`;
  t.equal(
    (await ask("POST", "/v1/rollouts/app/pause", { body: just })).status,
    200,
    "64 KiB are not too long",
  );
});

t.test(
  "G.44: after a refusal that left something unread, nothing of the connection is looked at",
  async (t) => {
    const { address, control } = await testAdmin(t);
    const authorization = `Authorization: ${bearer("root")["authorization"] ?? ""}\r\n`;
    const second = `POST /v1/rollouts/app/pause HTTP/1.1\r\nHost: localhost\r\n${authorization}Content-Length: 0\r\n\r\n`;
    const client = await raw(address);
    client.send(
      `GET /v1/routes HTTP/1.1\r\nHost: localhost\r\n${authorization}Content-Length: ${second.length}\r\n\r\n${second}${second}`,
    );
    const { text } = await client.closed();
    t.equal(text.match(/HTTP\/1\.1/g)?.length, 1);
    t.match(text, /SPLIT_INPUT_INVALID/);
    t.same(control.asked, []);
  },
);
