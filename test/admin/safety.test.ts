/** The safety switches and the health report through the admin API: who may, what is asked of the engine, what is answered. */

import t from "tap";
import { testAdmin } from "../support/control.ts";

t.test(
  "a switch goes to the engine with its scope, reason and actor, and the answer says what is on",
  async (t) => {
    const { ask, control } = await testAdmin(t);
    const answer = await ask("POST", "/v1/safety/emergency", {
      as: "operator",
      body: { on: true, route: "app", reason: "a leak" },
    });
    t.match(answer, {
      status: 200,
      json: { recorded: true, safety: { all: { maintenance: { by: "mia" } } } },
    });
    await ask("POST", "/v1/safety/read-only", { as: "operator", body: { on: true } });
    await ask("POST", "/v1/safety/maintenance", { as: "operator", body: { on: false, reason: "done" } });
    t.match(control.switches, [
      { which: "emergency", on: true, route: "app", reason: "a leak", actor: /./ },
      // A reason that is missing must not hold up an outage.
      { which: "read-only", on: true, route: null, reason: "manual" },
      { which: "maintenance", on: false, route: null, reason: "done" },
    ]);
  },
);

t.test("a reader sees the switches and may not throw one; what is not understood is refused", async (t) => {
  const { ask, control } = await testAdmin(t);
  const seen = await ask("GET", "/v1/safety", { as: "reader" });
  t.same([seen.status, seen.json["routes"]], [200, {}]);
  const body = { on: true };
  t.equal((await ask("POST", "/v1/safety/emergency", { as: "reader", body })).status, 403);
  t.equal((await ask("POST", "/v1/safety/emergency", { as: "operator", body: {} })).status, 400);
  t.equal((await ask("POST", "/v1/safety/panic", { as: "operator", body })).status, 404);
  t.equal(control.switches.length, 0);
});

t.test("what the engine refuses is a problem with its code", async (t) => {
  const { ask, control } = await testAdmin(t);
  control.turned = { ok: false, code: "SPLIT_PHASE_MISMATCH", message: "it is on elsewhere" };
  t.match(await ask("POST", "/v1/safety/emergency", { as: "operator", body: { on: false } }), {
    status: 409,
    json: { code: "SPLIT_PHASE_MISMATCH", detail: "it is on elsewhere" },
  });
});

t.test("the health report has every check, and says how many pass", async (t) => {
  const { ask } = await testAdmin(t);
  t.match(await ask("GET", "/v1/health", { as: "reader" }), {
    status: 200,
    json: {
      healthy: false,
      passed: 6,
      total: 7,
      sentence: "health checks 6/7",
      checks: [{ name: "store", ok: false, detail: "the disk is full" }],
      routes: [{ name: "app" }, { name: "api" }],
    },
  });
});
