/** Who gets in, and what keeps everybody else out: tokens, scopes, Host, origin, media type, size (reliability.md 42–44). */

import t from "tap";
import { FAILURES, FAILURES_MS, createAuth } from "../../src/admin/auth.ts";
import { REFUSALS_LOGGED } from "../../src/admin/refusals.ts";
import { ROWS } from "../../src/admin/routes.ts";
import { fakeClock } from "../support/clock.ts";
import { bearer, testAdmin, pathOf } from "../support/control.ts";
import { raw, statusOf } from "../support/raw.ts";

t.test(
  "every row of /v1 and of OFREP takes a token with its scope, and the rest take none (reliability 42)",
  async (t) => {
    const { ask, control, done } = await testAdmin(t);
    t.ok(ROWS.length >= 20, "looked at the whole table");
    for (const [name, row] of ROWS) {
      const path = pathOf(row);
      t.equal(row.scope === "none", !/^\/(?:v1|ofrep\/v1)\//.test(path), `${name}: what is asked of it`);
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
  },
);

t.test("a wrong token is refused in all its forms (reliability 42)", async (t) => {
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

t.test("two tokens in one request are none (reliability 42)", async (t) => {
  const { address } = await testAdmin(t);
  const field = `Authorization: ${bearer("root")["authorization"] ?? ""}\r\n`;
  const client = await raw(address);
  client.send(`GET /v1/routes HTTP/1.1\r\nHost: localhost\r\n${field}Authorization: Bearer x\r\n\r\n`);
  t.equal(statusOf(await client.until(/\r\n\r\n\{/)), 401);
  client.destroy();
});

t.test(
  "failures are rate-limited, without locking a correct token out, for a while (reliability 42)",
  async (t) => {
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
  },
);

t.test(
  "whoever has one IPv6 address has its /64, and fails in the name of all of it (reliability 42)",
  async (t) => {
    const auth = createAuth([], fakeClock());
    const code = (address: string): unknown => {
      const answer = auth.authenticate(["Bearer x"], address);
      return answer.ok ? "" : answer.code;
    };
    for (let i = 0; i < FAILURES; i++) code(`2001:db8::1:${i.toString(16)}:0:${i}`);
    for (const same of ["2001:db8::", "2001:db8:0:0:ffff::", "2001:db8:0:0:1:2:3:4"])
      t.equal(code(same), "SPLIT_RATE_LIMITED", same);
    for (const other of ["2001:db8:0:1::", "2001:db9::1", "::1", "::", "::ffff:10.0.0.1", "10.0.0.1", "unix"])
      t.equal(code(other), "SPLIT_UNAUTHORIZED", other);
  },
);

t.test("a token that is taken back is known no longer, and reads no further (reliability 42)", async (t) => {
  const { admin, ask, address } = await testAdmin(t);
  const reader = await raw(address);
  const head = `Host: localhost\r\nAuthorization: ${bearer("reader")["authorization"] ?? ""}\r\n`;
  reader.send(`GET /v1/events HTTP/1.1\r\n${head}\r\n`);
  await reader.until(/event: status/);
  const token = "another-token-0123456789abcdef";
  admin.setTokens([{ name: "new", token, scopes: ["read"] }]);
  await reader.until(/0\r\n\r\n$/);
  t.equal((await ask("GET", "/v1/routes", { as: "reader" })).status, 401);
  const headers = { authorization: `Bearer ${token}` };
  t.equal((await ask("GET", "/v1/routes", { as: "nobody", headers })).status, 200);
  const again = await raw(address);
  again.send(`GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n\r\n`);
  await again.until(/event: status/);
  admin.setTokens([{ name: "new", token, scopes: ["read"] }]);
  again.send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
  t.equal((await ask("GET", "/livez")).status, 200);
  t.notMatch(again.received, /0\r\n\r\n$/, "the same tokens again end nothing");
  reader.destroy();
  again.destroy();
});

t.test(
  "who is refused cannot fill the log: a few lines a second, the others counted (reliability 42)",
  async (t) => {
    const { ask, log, clock } = await testAdmin(t);
    const lines = () => log.lines.filter(({ message }) => message === "an admin call was refused");
    for (let i = 0; i < 20; i++) await ask("GET", "/v1/routes", { as: "nobody" });
    t.equal(lines().length, REFUSALS_LOGGED);
    await clock.advance("1s");
    await ask("GET", "/v1/routes", { as: "nobody" });
    t.match(lines().at(-1), {
      level: "warn",
      fields: { code: "SPLIT_UNAUTHORIZED", address: "127.0.0.1", unwritten: 20 - REFUSALS_LOGGED },
    });
  },
);

t.test("a Host that is not ours is refused on every path, open ones too (reliability 43)", async (t) => {
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

t.test("no Host, two Hosts and an absolute target get nowhere (reliability 43)", async (t) => {
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

t.test("pages of other origins are refused, and there are no CORS fields (reliability 43)", async (t) => {
  const { ask, control } = await testAdmin(t);
  const foreign = [
    { origin: "https://evil.example" },
    { origin: "null" },
    { origin: "http://localhost:1" },
    { origin: "http://admin.example.evil.example" },
    { "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "Cross-Site" },
    { "sec-fetch-site": "same-site" },
    { "sec-fetch-site": "whatever comes next" },
  ];
  for (const headers of foreign) {
    const answer = await ask("POST", "/v1/rollouts/app/pause", {
      headers: { host: "localhost:9900", ...headers },
    });
    t.match(answer, { status: 403, json: { code: "SPLIT_ORIGIN_REFUSED" } }, JSON.stringify(headers));
  }
  t.same(control.asked, []);
  const link = (site: string) => ask("GET", "/v1/routes", { headers: { "sec-fetch-site": site } });
  t.equal((await link("cross-site")).status, 403);
  t.equal((await link("same-site")).status, 200, "a link on a dashboard next door");
  t.equal((await link("none")).status, 200, "typed by a person");
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

t.test("a read changes nothing, and no field makes a read a write (reliability 43)", async (t) => {
  const { ask, control } = await testAdmin(t);
  for (const method of ["GET", "HEAD", "PUT", "DELETE", "PATCH"]) {
    for (const name of ["x-http-method-override", "x-http-method", "x-method-override"]) {
      const answer = await ask(method, "/v1/rollouts/app/rollback", { headers: { [name]: "POST" } });
      t.match(answer, { status: 405, headers: { allow: "POST" } }, method);
    }
    t.equal((await ask(method, "/v1/rollouts/app/rollback?_method=POST")).status, 405);
  }
  t.match(await ask("POST", "/v1/routes/app"), { status: 405, headers: { allow: "GET, HEAD" } });
  t.same(control.asked, []);
  const get = await ask("GET", "/v1/routes/app");
  const head = await ask("HEAD", "/v1/routes/app");
  t.match(head, { status: 200, text: "", headers: { etag: get.headers.etag } });
  t.equal(head.headers["content-length"], get.headers["content-length"]);
});

t.test("a write says that it is JSON (reliability 43)", async (t) => {
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

t.test("a body over 64 KiB is refused without being read (reliability 44)", async (t) => {
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
  "after a refusal that left something unread, nothing of the connection is looked at (reliability 44)",
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
