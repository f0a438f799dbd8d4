/** The section `safety`: its defaults, and answers that could not be sent as they are. */

import t from "tap";
import { configSchema } from "../../src/config/schema.ts";
import { planOf, planSchema } from "../../src/config/plan.ts";

const endpoints = { endpoints: ["http://127.0.0.1:1"] };
const parse = (safety?: object) =>
  configSchema.safeParse({ routes: [{ name: "app", stable: endpoints, canary: endpoints }], safety });

t.test("left out, an emergency leads to stable, and read-only lets the safe methods pass", async (t) => {
  const safety = parse().data?.safety;
  t.match(safety, {
    emergency: { answer: "stable" },
    readOnly: { retryAfter: 60_000 },
  });
  t.same(safety?.readOnly.methods, ["GET", "HEAD", "OPTIONS"]);
  t.same([safety?.maintenance.from, safety?.maintenance.paths], [[], []]);
});

t.test(
  "an answer that frames itself, splits its head, or has a body where none may be is refused",
  async (t) => {
    const refused: readonly (readonly [object, RegExp])[] = [
      [{ headers: { "Content-Length": "3" } }, /the proxy's own to set/],
      [{ headers: { "transfer-encoding": "chunked" } }, /the proxy's own to set/],
      [{ headers: { "x-a": "b\r\nx-c: d" } }, /printable ASCII/],
      [{ headers: { "x a": "b" } }, /a header name/],
      [{ status: 204 }, /has no body/],
      [{ status: 304 }, /has no body/],
      [{ status: 100 }, />=200/],
      [{ page: "x" }, /Unrecognized key/],
    ];
    for (const [answer, why] of refused) {
      const parsed = parse({ maintenance: { answer } });
      t.notOk(parsed.success, JSON.stringify(answer));
      t.match(parsed.error?.message, why);
    }
    t.ok(parse({ emergency: { answer: { status: 410, headers: { link: "</a>" }, body: "gone" } } }).success);
  },
);

t.test("a gate may ask for health alone, and is written so only where it does", async (t) => {
  const gateOf = (gate: object) =>
    planOf(planSchema.parse({ steps: [{ setWeight: "10%", gate }] })).steps[0]?.gate;
  const asked = gateOf({ health: true });
  t.equal(asked?.health, true);
  t.same(asked?.roles, []);
  t.equal(gateOf({ roles: ["lead"] })?.health, undefined);
});
