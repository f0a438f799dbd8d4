/** Feature flags through the admin API, of a pretended service: forms, rights and refusals. */

import t from "tap";
import { testAdmin } from "../support/control.ts";

t.setTimeout(60_000);

const EVALUATE = "/ofrep/v1/evaluate/flags";

t.test("OFREP's answers have OFREP's form, whatever is wrong with the body", async (t) => {
  const { ask } = await testAdmin(t);
  const one = (flag: string, body: unknown) => ask("POST", `${EVALUATE}/${flag}`, { body, as: "reader" });
  t.same((await one("beta", {})).json, {
    key: "beta",
    value: true,
    variant: "on",
    reason: "STATIC",
    metadata: { team: "a" },
  });
  t.match(await one("keyed", {}), {
    status: 400,
    json: { key: "keyed", errorCode: "TARGETING_KEY_MISSING" },
  });
  t.match(await one("keyed", { context: { targetingKey: "anna" } }), { status: 200, json: { value: "b" } });
  t.match(await one("a%20b%2Fc", {}), { status: 404, json: { key: "a b/c", errorCode: "FLAG_NOT_FOUND" } });
  for (const body of [{ context: 3 }, { context: { targetingKey: 7 } }, { context: ["a"] }, []])
    t.match(await one("beta", body), { status: 400, json: { key: "beta", errorCode: "INVALID_CONTEXT" } });
  for (const body of ["{", '{"context":{"__proto__":{}}}', `${'{"a":'.repeat(40)}1${"}".repeat(40)}`])
    t.match(await one("beta", body), { status: 400, json: { key: "beta", errorCode: "PARSE_ERROR" } });
  const bulk = await ask("POST", EVALUATE, {
    body: { context: { targetingKey: "secret-key" } },
    as: "reader",
  });
  t.match(bulk.json, { flags: [{ key: "beta" }, { key: "keyed", value: "b" }] });
  t.match((await ask("POST", EVALUATE, { body: "{" })).json, { errorCode: "PARSE_ERROR" });
  t.equal((await ask("POST", `${EVALUATE}/%00`, { body: {} })).status, 404);
  t.equal((await ask("GET", EVALUATE)).status, 405);
});

t.test("no key of a context is logged, and no call that only asks", async (t) => {
  const { ask, log } = await testAdmin(t);
  const context = { targetingKey: "anna@app.example", email: "anna@app.example" };
  await ask("POST", `${EVALUATE}/beta`, { body: { context } });
  await ask("POST", EVALUATE, { body: { context } });
  await ask("POST", `${EVALUATE}/keyed`, {
    body: { context: { targetingKey: { deep: "anna@app.example" } } },
  });
  t.same(log.lines, []);
});

t.test("flags are read by who may read and changed by who may operate", async (t) => {
  const { ask } = await testAdmin(t);
  t.match(await ask("GET", "/v1/flags", { as: "reader" }), {
    status: 200,
    json: { ok: true, flags: [{ key: "beta" }] },
  });
  t.match(await ask("GET", "/v1/flags/beta", { as: "reader" }), { status: 200, json: { key: "beta" } });
  t.match(await ask("GET", "/v1/flags/nobody"), { status: 404, json: { code: "SPLIT_NOT_FOUND" } });
  const off = { state: "off", reason: "it flickers" };
  t.equal((await ask("POST", "/v1/flags/beta", { as: "reader", body: off })).status, 403);
  t.match(await ask("POST", "/v1/flags/beta", { as: "operator", body: off }), {
    status: 200,
    json: { enabled: false },
  });
  t.match(await ask("POST", "/v1/flags/nobody", { body: off }), {
    status: 404,
    json: { code: "SPLIT_NOT_FOUND" },
  });
  for (const bad of [
    { state: "maybe" },
    { percentage: 101 },
    { percentage: "10%" },
    { reset: false },
    { force: true },
    { more: 1 },
    { reason: "two\nlines" },
  ])
    t.match(await ask("POST", "/v1/flags/beta", { body: bad }), { status: 400 }, JSON.stringify(bad));
});
