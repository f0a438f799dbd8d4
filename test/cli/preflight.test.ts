/** The checks before a rollout on the command line: a line for each, and how it exits. */

import t, { type Test } from "tap";
import { problem, sluice } from "../support/cli.ts";
import { fakeAdmin, type AdminAnswer, type AdminCall } from "../support/fake-admin.ts";

async function adminOf(t: Test, answer: (call: AdminCall) => AdminAnswer) {
  const admin = await fakeAdmin(answer);
  t.teardown(() => admin.close());
  return admin;
}

const arms = { name: "arms", ok: true, required: true, detail: "4/4 endpoints healthy", tookMs: 1 };
const smoke = { name: "smoke", ok: false, required: true, detail: "GET /: \u001b[31mstatus 503", tookMs: 9 };

t.test("each check has its line, and when all that is required holds it exits 0", async (t) => {
  const results = [arms, { ...smoke, required: false, detail: "left out by preflight.skip" }];
  const body = { passed: true, sentence: "1/1 checks passed; without smoke", failed: [], results };
  const admin = await adminOf(t, () => [200, body]);
  const run = await sluice(["preflight", "app", "--admin", admin.address, "--version", "4.1"]);
  t.equal(
    run.out,
    [
      "ok   arms   4/4 endpoints healthy",
      "-    smoke  left out by preflight.skip",
      "1/1 checks passed; without smoke",
      "",
    ].join("\n"),
  );
  t.equal(run.code, 0);
  t.match(admin.calls.at(-1), {
    method: "POST",
    path: "/v1/rollouts/app/preflight",
    body: { version: "4.1" },
  });
});

t.test("a check that fails exits 1, and what it says drives no terminal", async (t) => {
  const body = {
    passed: false,
    sentence: "1 of 2 failed: smoke",
    failed: ["smoke"],
    results: [arms, smoke],
  };
  const admin = await adminOf(t, () => [200, body]);
  const run = await sluice(["preflight", "app", "--admin", admin.address]);
  t.equal(run.code, 1);
  t.match(run.out, "FAIL smoke  GET /: ");
  t.notMatch(run.out, "\u001b");
  t.same(admin.calls.at(-1)?.body, {});
  const json = await sluice(["preflight", "app", "--admin", admin.address, "--json"]);
  t.same(JSON.parse(json.out), body);
  t.equal(json.code, 1);
});

t.test("a refusal and an answer of somebody else's are errors, and no pass", async (t) => {
  const refuses = await adminOf(t, () => [404, problem("SPLIT_NOT_FOUND", 404, "no such route")]);
  t.match(await sluice(["preflight", "app", "--admin", refuses.address]), { code: 2, out: "" });
  const other = await adminOf(t, () => [200, { passed: "yes", results: [] }]);
  t.match(await sluice(["preflight", "app", "--admin", other.address]), { code: 5, out: "" });
});
