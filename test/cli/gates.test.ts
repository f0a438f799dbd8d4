/** What people say at gates, as they type it. */

import t from "tap";
import { api as apiOf, sluice } from "../support/cli.ts";
import { fakeAdmin, routeStatus } from "../support/fake-admin.ts";
import type { RouteStatus } from "../../src/engine/status.ts";

const GATE: NonNullable<RouteStatus["gate"]> = {
  granted: false,
  missing: { roles: ["deployment-lead"], acknowledge: [], items: ["dashboards-ready", "on-call-assigned"] },
  signatures: [],
  ticks: [],
  words: "waits for the signature of deployment-lead",
};
const api = (status: RouteStatus) => apiOf(() => status);
const asked = (missing: Partial<(typeof GATE)["missing"]>) =>
  routeStatus({ gate: { ...GATE, missing: { ...GATE.missing, ...missing } } });

t.test("each verb is sent with the step that was seen", async (t) => {
  const admin = await fakeAdmin(api(asked({})));
  t.teardown(() => admin.close());
  const table: readonly (readonly [readonly string[], string, object])[] = [
    [["approve", "app"], "approve", { step: 1, role: "deployment-lead" }],
    [
      ["approve", "app", "--as", "on-call", "--step", "0", "--check", "a", "--check", "b", "--reason", "go"],
      "approve",
      { step: 0, role: "on-call", checklist: ["a", "b"], reason: "go" },
    ],
    [
      ["approve", "app", "--check", "all"],
      "approve",
      { step: 1, role: "deployment-lead", checklist: ["dashboards-ready", "on-call-assigned"] },
    ],
    [
      ["reject", "app", "--reason", "slow"],
      "reject",
      { step: 1, role: "deployment-lead", reason: "slow", answer: "hold" },
    ],
    [
      ["reject", "app", "--reason", "slow", "--answer", "step-back"],
      "reject",
      { step: 1, role: "deployment-lead", reason: "slow", answer: "stepBack" },
    ],
    [
      ["reject", "app", "--reason", "slow", "--answer", "24h", "--as", "on-call"],
      "reject",
      { step: 1, role: "on-call", reason: "slow", answer: "extend", extend: "1d" },
    ],
    [["extend", "app", "90m"], "extend", { by: "1h30m", reason: "manual" }],
    [["step-back", "app", "--reason", "odd"], "step-back", { reason: "odd" }],
    [["retry", "app", "--force", "--reason", "fixed"], "retry", { reason: "fixed", force: true }],
    [
      ["promote", "app", "--force", "--reason", "agreed"],
      "promote",
      { reason: "agreed", full: false, step: 1, force: true },
    ],
    [["promote", "app"], "promote", { reason: "manual", full: false, step: 1 }],
    [["retry", "app"], "retry", { reason: "manual" }],
  ];
  for (const [argv, verb, body] of table) {
    const { err } = await sluice([
      ...argv,
      "--admin",
      admin.address,
      ...(/approve|retry|promote/.test(verb) ? ["--yes"] : []),
    ]);
    t.equal(err, "", argv.join(" "));
    t.match(admin.calls.at(-1), { method: "POST", path: `/v1/rollouts/app/${verb}` });
    t.same(admin.calls.at(-1)?.body, body);
  }
});

t.test("nothing is forced without a reason, and nobody is asked first", async (t) => {
  const admin = await fakeAdmin(api(asked({})));
  t.teardown(() => admin.close());
  for (const argv of [
    ["promote", "app"],
    ["retry", "app"],
    ["set-weight", "app", "5"],
    ["deploy", "app"],
  ]) {
    const { code, err } = await sluice([...argv, "--force", "--yes", "--admin", admin.address]);
    t.equal(code, 2, argv.join(" "));
    t.match(err, "--force needs a --reason (SPLIT_USAGE)");
  }
  t.same(admin.calls, []);
});

t.test("who does not say as whom is asked, where it is not plain", async (t) => {
  const cases: readonly (readonly [RouteStatus, string])[] = [
    [asked({ acknowledge: ["stakeholders"] }), "say as whom: --as deployment-lead|stakeholders"],
    [asked({ roles: [] }), "nobody's signature is missing"],
    [routeStatus(), "step 2 (index 1) of app has no gate"],
  ];
  for (const [status, words] of cases) {
    const admin = await fakeAdmin(api(status));
    const { code, err } = await sluice(["approve", "app", "--yes", "--admin", admin.address]);
    t.equal(code, 2);
    t.match(err, words);
    await admin.close();
  }
  const admin = await fakeAdmin(api(asked({})));
  t.teardown(() => admin.close());
  const odd = await sluice(["reject", "app", "--reason", "x", "--answer", "maybe", "--admin", admin.address]);
  t.match(odd, { code: 2, err: /--answer is hold, step-back, rollback or how much longer/ });
  t.match(await sluice(["reject", "app", "--admin", admin.address]), { code: 2, err: /--reason/ });
});

t.test("a signature is asked for in words, since the weight may rise on it", async (t) => {
  const admin = await fakeAdmin(api(asked({})));
  t.teardown(() => admin.close());
  const { asked: questions, code } = await sluice(
    ["approve", "app", "--check", "all", "--admin", admin.address],
    { isTTY: true, answer: "no" },
  );
  t.match(
    questions[0],
    /sign step 2 \(index 1\) of app as deployment-lead, and that this is done: dashboards-ready, on-call-assigned/,
  );
  t.not(code, 0);
  t.notOk(admin.calls.some(({ method }) => method === "POST"));
});

t.test("what a rollout waits for is shown, and waiting for people exits 3", async (t) => {
  const waiting = { for: "gate", words: GATE.words } as const;
  const admin = await fakeAdmin(api(routeStatus({ waiting, gate: GATE })));
  t.teardown(() => admin.close());
  const { code, out } = await sluice(["status", "app", "--admin", admin.address]);
  t.equal(code, 3);
  t.match(out, "  waits   gate: waits for the signature of deployment-lead");
  const other = await fakeAdmin(
    api(routeStatus({ waiting: { for: "hold", words: "8h of its hold are left" }, gate: GATE })),
  );
  t.teardown(() => other.close());
  const held = await sluice(["status", "app", "--admin", other.address]);
  t.equal(held.code, 0);
  t.match(held.out, /waits {3}hold: 8h of its hold are left\n {2}gate {4}waits for the signature/);
});

t.test("a start can be scheduled, and says why it is not announced", async (t) => {
  const admin = await fakeAdmin(api(routeStatus()));
  t.teardown(() => admin.close());
  const deploy = ["deploy", "app", "--yes", "--admin", admin.address];
  await sluice([...deploy, "--start", "2026-12-01T09:00Z"]);
  t.same(admin.calls.at(-1)?.body, { at: "2026-12-01T09:00:00.000Z" });
  await sluice([...deploy, "--no-announce", "--reason", "urgent"]);
  t.same(admin.calls.at(-1)?.body, { noAnnounce: true, reason: "urgent" });
  t.match(await sluice([...deploy, "--no-announce"]), { code: 2, err: /--no-announce needs a --reason/ });
  t.match(await sluice([...deploy, "--start", "soon"]), { code: 2, err: /--start takes a date and time/ });
});
