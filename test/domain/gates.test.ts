/** What people may say and do at a step, where a rollout refuses it, and what an empty word comes to. */

import t from "tap";
import { checkPlan, type Step } from "../../src/domain/plan.ts";
import { decide } from "../../src/domain/rollout.ts";
import { IDLE, STABLE_SICK } from "../../src/domain/rollout-move.ts";
import { PAUSE_STEP, waitOf } from "../../src/domain/rollout-tick.ts";
import type { Command, RollbackPolicy, RolloutEvent, RolloutState } from "../../src/domain/rollout-types.ts";
import { millis, ppm } from "../../src/domain/units.ts";

const POLICY: RollbackPolicy = {
  to: ppm(0),
  cooldownMs: millis(3_600_000),
  verifyMs: millis(60_000),
  whenStableUnhealthy: "rollback",
  confirm: true,
};
const STABLE = { healthy: true, worseThanCanary: false };
const GATE = {
  roles: ["lead", "on-call"],
  acknowledge: [],
  checklist: ["ready"],
  expiresMs: null,
  samePerson: false,
};
const STEPS: readonly Step[] = [
  { weight: ppm(50_000), holdMs: millis(1000), bake: false, gate: GATE, preflight: true },
  { weight: ppm(1_000_000), holdMs: millis(1000), bake: false },
  { weight: ppm(1_000_000), holdMs: millis(1000), bake: true, preflight: true },
];

function after(state: RolloutState, command: Command, name = "ada") {
  return decide(state, { ...command, actor: { name }, rolloutId: "r", at: "" }, POLICY, STABLE);
}
function done(state: RolloutState, ...commands: readonly Command[]): RolloutState {
  return commands.reduce((each, command) => {
    const decision = after(each, command);
    if (!decision.ok) throw new Error(decision.message);
    return decision.state;
  }, state);
}
const start: Command = { type: "start", steps: STEPS, version: "", force: false, reason: "" };
const sign = (role: string, items: readonly string[] = [], reason = ""): Command => ({
  type: "approve",
  step: 0,
  role,
  items,
  reason,
});
const reject = (answer: Extract<Command, { type: "reject" }>["answer"], role = "lead"): Command => ({
  type: "reject",
  step: 0,
  role,
  answer,
  reason: "no",
});
const begun = done(IDLE, start);

t.test("a signature is told with what was ticked and said, and twice is once", async (t) => {
  t.match(after(begun, sign("lead", ["ready"], "looks well")), {
    ok: true,
    reason: "ada signs for lead, with ready: looks well",
    effects: [{ type: "save" }, { type: "journal", event: "GATE_SIGNED" }, { type: "notify" }],
  });
  const signed = done(begun, sign("lead"));
  t.same(after(signed, sign("lead")), { ok: true, effects: [], state: signed, reason: "" });
  t.match(after(signed, sign("on-call")), { ok: false, code: "SPLIT_FORBIDDEN" }, "one person, one role");
});

t.test("a person's words mean nothing to the rules, whatever they are", async (t) => {
  const plan = (first: Partial<Step>): Command => ({
    ...start,
    steps: [5, 50].map((percent, index) => ({
      weight: ppm(percent * 10_000),
      holdMs: millis(1000),
      bake: false,
      ...(index === 0 ? first : {}),
    })),
  });
  const verdict = { kind: "successful", checks: [], clocks: {} } as const;
  const tick = { type: "tick", verdict, elapsedMs: millis(1000), responses: 9 } as const;
  const words = PAUSE_STEP.replace("Paused: ", "");
  const early = done(
    IDLE,
    plan({ pause: true }),
    { type: "pause", reason: words },
    { type: "resume", reason: "" },
  );
  t.match(decide(early, tick, POLICY, STABLE), { state: { phase: "paused", weight: 50_000 } });
  const promoted = done(IDLE, plan({}), { type: "promote", full: false, step: 0, reason: STABLE_SICK });
  t.match(promoted, { weight: 500_000, reason: STABLE_SICK });
  const hold: RollbackPolicy = { ...POLICY, whenStableUnhealthy: "hold", confirm: false };
  const sick = { healthy: false, worseThanCanary: true };
  const held = decide(promoted, { type: "alarm", rule: "errors" }, hold, sick);
  t.match(held, { state: { weight: 500_000 }, effects: [{}, { event: "ROLLBACK_HELD" }, {}] }, "and told");
  const again = held.ok ? decide(held.state, { type: "alarm", rule: "errors" }, hold, sick) : held;
  t.same(again.ok && again.effects, []);
});

t.test("there is nothing to say where there is no gate, or nobody waits", async (t) => {
  for (const command of [sign("lead"), reject({ type: "hold" })]) {
    t.match(after(IDLE, command), { ok: false, message: "a rollout that is idle has no gate" });
    const next = done(begun, { type: "promote", full: false, step: 0, force: true, reason: "" });
    t.match(after(next, { ...command, step: 1 } as Command), {
      ok: false,
      message: "step 2 (index 1) has no gate",
    });
    const over = done(begun, { type: "rollback", reason: "x" });
    t.match(after(over, command), { ok: false, message: /rolled_back has no gate/ });
    const paused = done(begun, { type: "pause", reason: "" });
    t.ok(after(paused, command).ok, "people may sign while it is paused");
  }
});

t.test("a no from the first step cannot step back, and a late one changes nothing", async (t) => {
  t.match(after(begun, reject({ type: "stepBack" })), {
    ok: false,
    message: "there is no step before the first",
  });
  t.match(after(begun, { ...reject({ type: "hold" }), step: 3 } as Command), {
    ok: false,
    code: "SPLIT_PHASE_MISMATCH",
  });
  t.match(after(begun, { ...reject({ type: "hold" }), reason: " " }), {
    ok: false,
    code: "SPLIT_INPUT_INVALID",
  });
  const longer = done(begun, reject({ type: "extend", byMs: millis(5000) }));
  t.equal(longer.progress.extendedMs, 5000);
  t.same(longer.progress.gate?.signatures, []);
  t.same(longer.progress.gate?.ticks, []);
});

t.test("a weight set by hand has no step to go back from, and an extension says why", async (t) => {
  const byHand = done(begun, { type: "set_weight", weight: ppm(10), force: false, reason: "" });
  t.match(after(byHand, { type: "step_back", reason: "" }), { ok: false, message: /set by hand/ });
  t.match(after(begun, { type: "extend", byMs: millis(60_000), reason: "data" }), {
    ok: true,
    reason: "its hold is longer by 1m: data",
  });
  t.match(after(begun, { type: "extend", byMs: millis(60_000), reason: "" }), {
    reason: "its hold is longer by 1m",
  });
});

t.test("checks that failed before the bake are run again in the bake", async (t) => {
  const baking = done(begun, { type: "promote", full: true, step: 0, force: true, reason: "" });
  const failed = decide(
    baking,
    { type: "preflight", step: 2, passed: false, words: "1 of 2 failed" },
    POLICY,
    STABLE,
  );
  t.match(failed, { ok: true, state: { phase: "paused", reason: "Paused: 1 of 2 failed" } });
  if (!failed.ok) return;
  t.match(waitOf({ ...failed.state, phase: "baking" }, "successful", { wall: 0, freezes: [] }), {
    for: "preflight",
    words: "1 of 2 failed",
  });
  t.match(after(failed.state, { type: "retry", force: false, reason: "" }), {
    state: { phase: "baking", progress: { preflight: null } },
  });
  const late = decide(baking, { type: "preflight", step: 0, passed: true, words: "" }, POLICY, STABLE);
  t.match(late, { ok: false, message: "the step that was checked is over" });
});

t.test("an alarm that is being confirmed is waited for, and nothing else that does not climb", async (t) => {
  const calendar = { wall: 0, freezes: [] };
  const checked = { ...begun, progress: { ...begun.progress, preflight: { passed: true, words: "" } } };
  const probing = {
    ...checked,
    confirmation: { phase: "probing" as const, sinceMs: 0, responses: 0, trips: [] },
  };
  t.match(waitOf(probing, "successful", calendar), { for: "confirmation" });
  t.equal(waitOf(IDLE, "successful", calendar), null);
  const held = { ...checked, heldMs: millis(2000) };
  t.match(waitOf(held, "inconclusive", calendar), { for: "evidence" });
  t.match(waitOf(held, "successful", calendar), { for: "gate" });
});

t.test("a start or a resumption that would raise waits for its window, unless forced", async (t) => {
  const windows = [{ from: 540, to: 600, weekdays: ["mon" as const], timezone: "UTC" }];
  const calendar = { wall: Date.parse("2026-01-05T12:00:00Z"), freezes: [] };
  const by = { actor: { name: "ada" }, rolloutId: "r", at: "" };
  const raise = { ...start, windows, ...by };
  t.match(decide(IDLE, raise, POLICY, STABLE, calendar), { ok: false, message: /^outside the window/ });
  const forced = decide(IDLE, { ...raise, force: true, reason: "x" }, POLICY, STABLE, calendar);
  t.match(forced, { ok: true, state: { weight: 50_000 } });
  if (!forced.ok) return;
  const lowered = done(forced.state, { type: "set_weight", weight: ppm(1), force: false, reason: "" });
  const resume = { type: "resume", reason: "", ...by } as const;
  t.match(decide(lowered, resume, POLICY, STABLE, calendar), { ok: false, message: /^outside the window/ });
  const open = { ...calendar, wall: Date.parse("2026-01-12T09:30:00Z") };
  t.match(decide(lowered, resume, POLICY, STABLE, open), { ok: true, state: { weight: 50_000 } });
});

t.test("while a rollout is scheduled nobody sets a weight, and none is scheduled over traffic", async (t) => {
  const scheduled = done(IDLE, { ...start, startsAtMs: 5000 });
  t.match(scheduled, { phase: "scheduled", reason: "scheduled for Thu 1970-01-01 00:00 UTC" });
  for (const weight of [0, 5, 1_000_000])
    t.match(after(scheduled, { type: "set_weight", weight: ppm(weight), force: true, reason: "x" }), {
      ok: false,
      message: /a rollout is scheduled: cancel it first/,
    });
  const full = done(IDLE, { type: "set_weight", weight: ppm(1_000_000), force: false, reason: "" });
  t.match(after(full, { ...start, force: true, startsAtMs: 5000 }), {
    ok: false,
    message: /still has traffic/,
  });
});

t.test("a scheduled start begins with the reason and in the name of who has scheduled it", async (t) => {
  const tick: RolloutEvent = {
    type: "tick",
    verdict: { kind: "successful", checks: [], clocks: {} },
    elapsedMs: millis(1000),
    responses: 0,
  };
  const begin = (state: RolloutState) => decide(state, tick, POLICY, STABLE, { wall: 5000, freezes: [] });
  const time = "the time that it was scheduled for has come";
  const scheduled = done(IDLE, { ...start, startsAtMs: 5000, reason: "release 4" });
  t.equal(scheduled.reason, "scheduled for Thu 1970-01-01 00:00 UTC: release 4");
  const began = begin(scheduled);
  t.match(began, { reason: `release 4 (${time})`, by: "ada", effects: [{}, { event: "DEPLOY_START" }] });
  t.match(began, { state: { phase: "progressing", scheduled: null, startsAtMs: 0, reason: "" } });
  t.match(begin(done(IDLE, { ...start, startsAtMs: 5000 })), { reason: time, by: "ada" });
  t.match(begin({ ...scheduled, scheduled: null }), { reason: time, by: undefined }, "recorded without");
});

t.test("what an alarm or a person has taken away comes back by no step back", async (t) => {
  const second = done(begun, { type: "promote", full: false, step: 0, force: true, reason: "" });
  const tripped = decide(second, { type: "alarm", rule: "errors" }, POLICY, STABLE);
  if (!tripped.ok) throw new Error(tripped.message);
  t.match(tripped.state, { weight: 0, trippedFrom: 1_000_000 });
  t.match(after(tripped.state, { type: "step_back", reason: "" }), {
    ok: false,
    message: /more weight than is in force/,
  });
  t.match(after(tripped.state, { type: "promote", full: false, step: 1, reason: "" }), {
    ok: false,
    message: /^an alarm is being confirmed/,
  });
  t.match(after(tripped.state, { type: "promote", full: false, step: 1, force: true, reason: "x" }), {
    ok: true,
  });
  const byHand = done(second, { type: "set_weight", weight: ppm(0), force: false, reason: "" });
  const held = { ...byHand, reason: "Held", standsFor: null };
  t.match(after(held, { type: "step_back", reason: "" }), { ok: false, message: /more weight/ });
});

t.test(
  "nobody raises by hand over a gate or checks of the plan that stands, except with force",
  async (t) => {
    const raise: Command = { type: "set_weight", weight: ppm(1_000_000), force: false, reason: "" };
    t.match(after(begun, raise), {
      ok: false,
      message: "everything is checked before it is left: wait for it, or force with a reason",
    });
    const paused = done(begun, { type: "pause", reason: "" });
    t.match(after(paused, raise), { ok: false });
    t.match(after(begun, { ...raise, force: true, reason: "x" }), { ok: true, state: { weight: 1_000_000 } });
    t.match(after(begun, { ...raise, weight: ppm(1) }), { ok: true }, "lowering asks nobody");
  },
);

t.test(
  "checks are run again only at the weight of their step, and a resumption runs them again",
  async (t) => {
    const failed = decide(begun, { type: "preflight", step: 0, passed: false, words: "no" }, POLICY, STABLE);
    if (!failed.ok) throw new Error(failed.message);
    const lowered = done(failed.state, { type: "set_weight", weight: ppm(0), force: false, reason: "" });
    t.match(after(lowered, { type: "retry", force: false, reason: "" }), {
      ok: false,
      message: /resume, and the checks/,
    });
    t.match(after(lowered, { type: "resume", reason: "" }), {
      state: { weight: 50_000, progress: { preflight: null } },
    });
    t.match(after(failed.state, { type: "resume", reason: "" }), {
      state: { progress: { preflight: null } },
    });
  },
);

t.test("an early resumption does not stand for the one at the end of a step", async (t) => {
  const steps: readonly Step[] = [
    { weight: ppm(5), holdMs: millis(1000), bake: false, pause: true },
    { weight: ppm(9), holdMs: millis(0), bake: false },
  ];
  const early = done(
    IDLE,
    { ...start, steps },
    { type: "pause", reason: "" },
    { type: "resume", reason: "" },
  );
  t.match(early, { progress: { isResumed: false } });
});

t.test("to the last weight of the plan is no further than the plan goes", async (t) => {
  const steps: readonly Step[] = [
    { weight: ppm(5), holdMs: millis(0), bake: false },
    { weight: ppm(9), holdMs: millis(0), bake: false },
  ];
  const two = done(IDLE, { ...start, steps });
  t.match(after(two, { type: "promote", full: true, step: 0, reason: "" }), {
    state: { phase: "succeeded", weight: 9 },
  });
  const last = done(two, { type: "promote", full: false, step: 0, reason: "" });
  const byHand = done(last, { type: "set_weight", weight: ppm(1), force: false, reason: "" });
  t.match(after(byHand, { type: "promote", full: false, step: 1, reason: "" }), {
    ok: false,
    message: /resume first/,
  });
  const held = { ...last, steps: [steps[0]!, { ...steps[1]!, holdback: ppm(1) }] };
  const frozen = { wall: 5, freezes: [{ from: 0, to: 10, reason: "inventory" }] };
  t.match(waitOf(held, "successful", frozen), { for: "window" }, "what was held back rises, too");
  const promote = {
    type: "promote",
    full: false,
    step: 1,
    reason: "",
    actor: { name: "a" },
    rolloutId: "",
    at: "",
  } as const;
  t.match(decide(held, promote, POLICY, STABLE, frozen), { ok: false, message: /^frozen/ });
});

t.test("a gate that asks nobody is no plan", async (t) => {
  const gate = { ...GATE, roles: [], checklist: [] };
  t.match(checkPlan([{ ...STEPS[0]!, gate }]), [{ step: 0, message: /^a gate must ask/ }]);
});

t.test(
  "checks that passed are not run again, and time served in the bake stays through an alarm",
  async (t) => {
    const passed = decide(begun, { type: "preflight", step: 0, passed: true, words: "2/2" }, POLICY, STABLE);
    if (!passed.ok) throw new Error(passed.message);
    t.match(done(passed.state, { type: "pause", reason: "" }, { type: "resume", reason: "" }), {
      progress: { preflight: { passed: true, words: "2/2" } },
    });
    const baking = done(begun, { type: "promote", full: true, step: 0, force: true, reason: "" });
    const alarm = decide(
      { ...baking, heldMs: millis(500) },
      { type: "alarm", rule: "errors" },
      POLICY,
      STABLE,
    );
    if (!alarm.ok) throw new Error(alarm.message);
    t.match(after(alarm.state, { type: "promote", full: true, step: 2, force: true, reason: "x" }), {
      state: { phase: "baking", weight: 1_000_000, heldMs: 500 },
    });
  },
);
