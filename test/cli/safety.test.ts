/** `emergency`, `read-only`, `maintenance` and `health`, as people and programs use them. */

import t from "tap";
import { api, health, problem, sluice } from "../support/cli.ts";
import { fakeAdmin, routeStatus, type AdminAnswer, type AdminCall } from "../support/fake-admin.ts";

const THROWN = { since: "2026-01-05T09:00:00.000Z", by: "ada", reason: "a \u001b[31mleak\u0007" };
const ON = {
  safety: { all: { emergency: THROWN }, routes: { app: { maintenance: THROWN } } },
  recorded: true,
};
const OFF = { safety: { all: {}, routes: {} }, recorded: true };
const answering =
  (environment = "production", turned: AdminAnswer = [200, ON]) =>
  (call: AdminCall): AdminAnswer =>
    call.path.startsWith("/v1/safety/") ? turned : api(() => routeStatus(), environment)(call);

t.test("on asks nothing, and prints what is on in a line each", async (t) => {
  const admin = await fakeAdmin(answering());
  const done = await sluice(["emergency", "on", "--reason", "a leak", "--admin", admin.address]);
  t.match(done, { code: 0, err: "" });
  t.same(done.asked, []);
  t.equal(
    done.out,
    "emergency is on for all routes since 2026-01-05T09:00:00.000Z, by ada: a leak \nmaintenance is on for app since 2026-01-05T09:00:00.000Z, by ada: a leak \n",
  );
  await sluice(["read-only", "on", "app", "--admin", admin.address]);
  await sluice(["maintenance", "off", "--admin", admin.address]);
  t.match(
    admin.calls.map(({ method, path, body }) => [method, path, body]),
    [
      ["POST", "/v1/safety/emergency", { on: true, reason: "a leak" }],
      ["POST", "/v1/safety/read-only", { on: true, route: "app", reason: "manual" }],
      ["POST", "/v1/safety/maintenance", { on: false, reason: "manual" }],
    ],
  );
  await admin.close();
});

t.test("to end an emergency in production takes the word yes, as every raise does", async (t) => {
  const admin = await fakeAdmin(answering("production", [200, OFF]));
  const turns = () => admin.calls.filter(({ path }) => path === "/v1/safety/emergency").length;
  const args = ["emergency", "off", "app", "--admin", admin.address];
  t.match(await sluice(args), { code: 2, err: /without a terminal, say --yes/ });
  t.match(await sluice(args, { isTTY: true, answer: "y" }), { code: 2, err: /nothing was done/ });
  t.equal(turns(), 0);
  const typed = await sluice(args, { isTTY: true, answer: "yes" });
  t.match(typed, { code: 0, out: "every safety switch is off\n", asked: [/end the emergency for app/] });
  t.equal((await sluice([...args, "--yes"])).code, 0);
  t.equal(turns(), 2);
  await admin.close();
  const elsewhere = await fakeAdmin(answering("staging", [200, OFF]));
  t.equal((await sluice(["emergency", "off", "--admin", elsewhere.address])).code, 0);
  await elsewhere.close();
});

t.test(
  "what could not be recorded is said; what is refused or not understood has its exit code",
  async (t) => {
    const admin = await fakeAdmin(answering("test", [200, { ...OFF, recorded: false }]));
    const done = await sluice(["read-only", "on", "--admin", admin.address]);
    t.match(done.out, /could not be recorded yet/);
    t.match(
      JSON.parse((await sluice(["read-only", "on", "--json", "--admin", admin.address])).out),
      OFF.safety.all,
    );
    t.match(await sluice(["read-only", "maybe", "--admin", admin.address]), {
      code: 2,
      err: /on or off, not maybe/,
    });
    await admin.close();
    const refusing = await fakeAdmin(
      answering("test", [409, problem("SPLIT_PHASE_MISMATCH", 409, "name the route")]),
    );
    t.match(await sluice(["emergency", "off", "--admin", refusing.address]), {
      code: 4,
      err: /name the route/,
    });
    await refusing.close();
  },
);

t.test("status says first what is on", async (t) => {
  const admin = await fakeAdmin(api(() => routeStatus({ safety: { emergency: THROWN }, weight: 0 })));
  const shown = await sluice(["status", "app", "--admin", admin.address]);
  t.match(shown.out, /^.*\n {2}emergency is on since 2026-01-05T09:00:00.000Z, by ada: a leak/);
  await admin.close();
});

t.test("health prints every check and how many pass, and exits with what it found", async (t) => {
  let well = true;
  const answer = api(() => routeStatus());
  const admin = await fakeAdmin((call) =>
    !well && call.path === "/v1/health" ? [200, health(false)] : answer(call),
  );
  const ok = await sluice(["health", "--admin", admin.address]);
  t.equal(ok.code, 0);
  t.match(
    ok.out,
    /^ok {3}app stable +1\/1 endpoints: http:\/\/a:1 not known yet\n(ok .*\n)+health checks 9\/9\n$/,
  );
  t.match(JSON.parse((await sluice(["health", "--json", "--admin", admin.address])).out), { healthy: true });
  well = false;
  const sick = await sluice(["health", "--admin", admin.address]);
  t.equal(sick.code, 1);
  t.match(
    sick.out,
    /^FAIL app canary +0\/1 endpoints: http:\/\/b:1 unhealthy \(3 failed probes: refused\)$/m,
  );
  t.match(sick.out, /health checks 8\/9\n$/);
  await admin.close();
});
