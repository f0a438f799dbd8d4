/** What delivery controllers are told: Flagger's webhooks, Argo Rollouts' traffic router and analysis, in their own forms. */

import t from "tap";
import { answerTo, resultOf, summaryOf } from "../../src/admin/neighbours.ts";
import type { CheckStatus, RouteStatus } from "../../src/engine/status.ts";
import { ask as askOnce, testAdmin } from "../support/control.ts";
import { routeStatus } from "../support/fake-admin.ts";

/** As Flagger posts it, with a field of a later release. */
const PAYLOAD = {
  name: "app",
  namespace: "shop",
  phase: "Progressing",
  checksum: "85d557f47b",
  metadata: { team: "checkout" },
  remainingTime: 60_000_000_000,
};
const QUESTIONS = [
  "confirm-rollout",
  "rollout",
  "confirm-traffic-increase",
  "confirm-promotion",
  "rollback",
] as const;
const EMERGENCY: Partial<RouteStatus> = {
  safety: { emergency: { since: "2026-01-05T09:00:00.000Z", by: "ann", reason: "a leak" } },
};

function check(verdict: CheckStatus["verdict"], action: CheckStatus["action"] = "rollback"): CheckStatus {
  const [first] = routeStatus().checks;
  if (first === undefined) throw new Error("the sample route has no check");
  return { ...first, rule: "error_rate>1%", verdict, action, detail: "4 % of 500" };
}

/** Which questions are answered with go, in the order of `QUESTIONS`. */
function goes(change: Partial<RouteStatus>): string {
  const route = routeStatus({ phase: "progressing", verdict: "successful", gate: null, ...change });
  return QUESTIONS.map((each) => (answerTo(each, route).go ? "+" : "-")).join("");
}

t.test("a question is answered by the state of the route", async (t) => {
  const byHand = { phase: "paused", steps: [] } as const;
  t.equal(goes({}), "++++-");
  t.equal(goes({ verdict: "inconclusive" }), "++---", "silence climbs nowhere and fails nothing");
  t.equal(goes({ verdict: "failed", checks: [check("failed")] }), "+---+");
  t.equal(goes({ phase: "rolled_back", cooldownLeftMs: 1 }), "----+");
  t.equal(goes({ phase: "rolled_back", cooldownLeftMs: 0 }), "+---+", "a new one may begin");
  t.equal(goes({ phase: "paused" }), "-+---", "a person has paused the plan");
  t.equal(goes(byHand), "++++-", "a controller moves it");
  t.equal(goes({ ...byHand, weight: 0 }), "+++--", "nothing to promote");
  t.equal(goes(EMERGENCY), "----+");
  const gate = {
    granted: false,
    missing: { roles: ["on-call"], acknowledge: [], items: [] },
    signatures: [],
    ticks: [],
    words: "waits for on-call",
  };
  t.equal(goes({ gate }), "+++--");
  t.equal(goes({ gate: { ...gate, granted: true } }), "++++-");
});

t.test("an answer says why", async (t) => {
  const words = (change: Partial<RouteStatus>) =>
    answerTo("confirm-traffic-increase", routeStatus({ phase: "progressing", ...change })).words;
  const failed = { verdict: "failed", checks: [check("failed"), check("failed", "observe")] } as const;
  t.equal(words(failed), "error_rate>1%: 4 % of 500");
  t.equal(words({ verdict: "inconclusive", checks: [check("inconclusive")] }), "error_rate>1%: 4 % of 500");
  t.equal(words({ verdict: "inconclusive", checks: [] }), "the verdict is inconclusive");
  t.match(
    answerTo("confirm-rollout", routeStatus({ cooldownLeftMs: 1500 })).words,
    /at most 2 s of cooldown/,
  );
});

t.test("an analysis has Argo's three results and its words for a phase", async (t) => {
  const result = (change: Partial<RouteStatus>) => resultOf(routeStatus(change)).result;
  t.equal(result({ verdict: "successful" }), "Successful");
  t.equal(result({ verdict: "failed", checks: [check("failed")] }), "Failed");
  t.equal(result({ verdict: "inconclusive" }), "Inconclusive");
  t.equal(result({ verdict: "successful", phase: "rolled_back" }), "Failed");
  t.equal(result({ verdict: "successful", ...EMERGENCY }), "Failed");
  const phases = [
    "idle",
    "scheduled",
    "progressing",
    "paused",
    "baking",
    "succeeded",
    "rolled_back",
  ] as const;
  t.same(phases.map(summaryOf), [
    "Healthy",
    "Progressing",
    "Progressing",
    "Paused",
    "Progressing",
    "Healthy",
    "Degraded",
  ]);
});

t.test("Flagger's payload is taken as it is, and answered with 2xx or a problem that says why", async (t) => {
  const { ask, control, done } = await testAdmin(t);
  control.change({ phase: "progressing", verdict: "successful", gate: null });
  const hook = (kind: string, as: "reader" | "operator" = "reader", body: unknown = PAYLOAD) =>
    ask("POST", `/v1/rollouts/app/hooks/${kind}`, { as, body });
  for (const kind of ["confirm-rollout", "rollout", "confirm-traffic-increase", "confirm-promotion", "event"])
    t.match(await hook(kind), { status: 200, json: { go: true, phase: "progressing", weight: 25 } }, kind);
  t.match(await hook("rollback"), { status: 409, json: { code: "SPLIT_HELD" } });
  t.match(await hook("pre-rollout", "operator"), { status: 200, json: { words: "1/1 checks passed" } });
  t.same(done, ["preflight app 4.0"]);
  for (const kind of ["pre-rollout", "post-rollout"]) t.equal((await hook(kind)).status, 403, kind);
  t.equal((await hook("gate")).status, 404);
  t.equal((await hook("rollout", "reader", { ...PAYLOAD, metadata: 3 })).status, 400);
  const nobody = { as: "nobody", body: PAYLOAD } as const;
  t.equal((await ask("POST", "/v1/rollouts/app/hooks/rollout", nobody)).status, 401);
  t.equal((await ask("POST", "/v1/rollouts/nope/hooks/rollout", { body: PAYLOAD })).status, 404);
  t.same(control.asked, [], "asking moves nothing");
});

t.test("checks before a rollout that do not pass hold it", async (t) => {
  const detail = { name: "arms", ok: false, required: true, detail: "1/2", tookMs: 1 };
  const { ask } = await testAdmin(t, { preflight: { run: async () => [detail] } });
  t.match(await ask("POST", "/v1/rollouts/app/hooks/pre-rollout", { body: PAYLOAD }), {
    status: 409,
    json: { code: "SPLIT_HELD", detail: "1 of 1 failed: arms" },
  });
});

t.test(
  "a canary that has failed at Flagger loses its traffic, another outcome changes nothing",
  async (t) => {
    const { ask, control } = await testAdmin(t);
    const post = (phase: string) =>
      ask("POST", "/v1/rollouts/app/hooks/post-rollout", { as: "operator", body: { ...PAYLOAD, phase } });
    t.match(await post("Succeeded"), { status: 200, json: { words: "taken note of" } });
    t.same(control.asked, []);
    t.match(await post("Failed"), { status: 200, json: { words: "rolled back" } });
    t.match(control.asked, [{ route: "app", command: { type: "rollback" }, actor: "operator" }]);
    control.answer = () => ({ ok: false, code: "SPLIT_PHASE_MISMATCH", message: "there is nothing" });
    t.equal((await post("Failed")).status, 409);
  },
);

t.test("SetWeight is said at every turn of a loop and acts once; VerifyWeight tells", async (t) => {
  const { ask, control } = await testAdmin(t);
  const call = (verb: string, body: object) =>
    ask("POST", `/v1/routes/app/${verb}`, { as: "operator", body });
  t.match(await call("set-weight", { desiredWeight: 25 }), { status: 200, json: { verified: true } });
  t.same(control.asked, [], "it is in force already");
  // Argo names further destinations, and whatever comes with the next release.
  const body = { desiredWeight: 40, additionalDestinations: [] };
  t.match(await call("set-weight", body), { status: 200, json: { desiredWeight: 40, verified: false } });
  t.match(control.asked, [{ command: { type: "set_weight", weight: 400_000, force: false } }]);
  t.match(control.asked[0]?.command, { reason: "operator wants 40 %" });
  control.change({ weight: 40 });
  t.match(await call("verify-weight", body), { status: 200, json: { weight: 40, verified: true } });
  control.change({ weight: 0 });
  t.match(await call("verify-weight", body), { status: 200, json: { verified: false } });
  for (const bad of [{}, { desiredWeight: 101 }, { desiredWeight: "5" }])
    t.equal((await call("set-weight", bad)).status, 400);
  for (const verb of ["set-weight", "verify-weight"])
    t.equal((await ask("POST", `/v1/routes/nope/${verb}`, { body })).status, 404);
  t.equal((await ask("POST", "/v1/routes/app/set-weight", { as: "reader", body })).status, 403);
});

t.test("a loop does not raise what was rolled back; whoever says why may", async (t) => {
  const { ask, control } = await testAdmin(t);
  control.change({ phase: "rolled_back", weight: 0, reason: "Rolled back: error_rate>1%" });
  const set = (body: object) => ask("POST", "/v1/routes/app/set-weight", { as: "operator", body });
  t.match(await set({ desiredWeight: 20 }), { status: 409, json: { code: "SPLIT_HELD" } });
  t.match(await set({ desiredWeight: 0 }), { status: 200, json: { verified: true } });
  t.same(control.asked, []);
  t.equal((await set({ desiredWeight: 20, reason: "4.0.1" })).status, 200);
  control.answer = () => ({ ok: false, code: "SPLIT_COOLDOWN", message: "wait" });
  t.match(await set({ desiredWeight: 20, reason: "4.0.1" }), {
    status: 409,
    json: { code: "SPLIT_COOLDOWN" },
  });
});

t.test("the analysis is a read with the token of a reader", async (t) => {
  const { ask, control, address } = await testAdmin(t);
  control.change({ phase: "rolled_back", weight: 0, reason: "Rolled back: error_rate>1%" });
  t.match(await ask("GET", "/v1/routes/app/analysis", { as: "reader" }), {
    status: 200,
    json: { result: "Failed", words: "Rolled back: error_rate>1%", rollout: "Degraded", weight: 0 },
  });
  t.equal((await ask("GET", "/v1/routes/nope/analysis")).status, 404);
  t.equal((await askOnce(address, "GET", "/v1/routes/app/analysis", { as: "nobody" })).status, 401);
});
