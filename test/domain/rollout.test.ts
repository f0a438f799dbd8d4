import fc from "fast-check";
import t from "tap";
import type { Verdict } from "../../src/domain/judge.ts";
import type { Action, VerdictKind } from "../../src/domain/rule.ts";
import { checkPlan, type Step } from "../../src/domain/plan.ts";
import { decide } from "../../src/domain/rollout.ts";
import { IDLE, MANUAL_WEIGHT, STABLE_SICK } from "../../src/domain/rollout-move.ts";
import type {
  Decision,
  Effect,
  RollbackPolicy,
  RolloutEvent,
  RolloutState,
  StableCondition,
} from "../../src/domain/rollout-types.ts";
import { FULL, millis, ppm } from "../../src/domain/units.ts";

const step = (percent: number, holdMs: number, bake = false): Step => ({
  weight: ppm(percent * 10_000),
  holdMs: millis(holdMs),
  bake,
});
const PLAN: readonly Step[] = [
  step(0, 0),
  step(5, 60_000),
  step(50, 60_000),
  step(100, 60_000),
  step(100, 120_000, true),
];
const POLICY: RollbackPolicy = {
  to: ppm(0),
  cooldownMs: millis(3_600_000),
  verifyMs: millis(60_000),
  whenStableUnhealthy: "rollback",
  confirm: true,
};
const STABLE_WELL: StableCondition = { healthy: true, worseThanCanary: false };
const STABLE_ILL: StableCondition = { healthy: false, worseThanCanary: true };
const ACTOR = { actor: { name: "ada" }, at: "2026-01-01T00:00:00.000Z", rolloutId: "r1" };

function verdict(kind: VerdictKind, action: Action = "rollback"): Verdict {
  const check = {
    rule: "error_rate above 1%",
    tier: "sustained" as const,
    kind,
    action,
    observed: 0.5,
    limit: 0.01,
    unit: "fraction" as const,
    have: 100,
    need: 20,
    breachMs: null,
    forMs: millis(0),
    detail: "",
  };
  return { kind, checks: [check], clocks: kind === "inconclusive" ? { r: millis(5) } : {} };
}
const tick = (kind: VerdictKind, elapsed = 1000, action: Action = "rollback"): RolloutEvent => ({
  type: "tick",
  verdict: verdict(kind, action),
  elapsedMs: millis(elapsed),
  responses: 10,
});
const start = (steps = PLAN, force = false): RolloutEvent => ({
  type: "start",
  steps,
  version: "4.0.0",
  force,
  reason: "release",
  ...ACTOR,
});
const setWeight = (percent: number, force = false): RolloutEvent => ({
  type: "set_weight",
  weight: ppm(percent * 10_000),
  force,
  reason: "try",
  ...ACTOR,
  rolloutId: "r2",
});
const simple = (type: "pause" | "resume" | "rollback"): RolloutEvent => ({
  type,
  reason: "because",
  ...ACTOR,
});
const promote = (full = false, at: number | null = null): RolloutEvent => ({
  type: "promote",
  full,
  step: at,
  reason: "go",
  ...ACTOR,
});

function run(state: RolloutState, event: RolloutEvent, policy = POLICY, stable = STABLE_WELL) {
  const decision = decide(state, event, policy, stable);
  if (!decision.ok) throw new Error(`refused: ${decision.message}`);
  return decision;
}
function after(
  events: readonly RolloutEvent[],
  from = IDLE,
  policy = POLICY,
  stable = STABLE_WELL,
): RolloutState {
  return events.reduce((state, event) => run(state, event, policy, stable).state, from);
}
const codeOf = (decision: Decision): string => (decision.ok ? "ok" : decision.code);
const orderOf = (effects: readonly Effect[]): readonly string[] => effects.map((effect) => effect.type);

t.test("a plan is walked to its end: holds served, bake served, success said once", async (t) => {
  let state = after([start()]);
  t.match(state, { phase: "progressing", step: 0, weight: 0, id: "r1", version: "4.0.0" });
  const seen: string[] = [];
  for (let i = 0; i < 400; i++) {
    const decision = run(state, tick("successful"));
    for (const effect of decision.effects) if (effect.type === "journal") seen.push(`${i}:${effect.event}`);
    state = decision.state;
  }
  t.match(state, { phase: "succeeded", step: 4, weight: 1_000_000 });
  t.strictSame(seen, [
    "0:STEP_STARTED",
    "60:STEP_STARTED",
    "120:STEP_STARTED",
    "180:STEP_STARTED",
    "300:DEPLOY_SUCCESS",
  ]);
});

t.test("an inconclusive verdict holds for ever and never rolls back (acceptance 4)", async (t) => {
  const state = after([
    start(),
    tick("successful"),
    ...new Array<RolloutEvent>(500).fill(tick("inconclusive")),
  ]);
  t.match(state, { phase: "progressing", step: 1, heldMs: 500_000, clocks: { r: 5 } });
});

t.test(
  "a failed verdict rolls back in every phase in which the canary has traffic (acceptance 5)",
  async (t) => {
    const five = [start(), tick("successful")];
    const lives: Readonly<Record<string, readonly RolloutEvent[]>> = {
      progressing: five,
      paused: [...five, simple("pause")],
      "paused (manual weight)": [setWeight(10)],
      baking: [start(), promote(true)],
      succeeded: [start(PLAN.slice(0, 4)), promote(true)],
    };
    for (const [phase, life] of Object.entries(lives)) {
      const state = after([...life, tick("failed")]);
      t.match(state, { phase: "rolled_back", weight: 0, cooldownLeftMs: 3_600_000 }, phase);
      t.same(state.clocks, {}, phase);
      t.match(state.reason, /error_rate above 1%/, phase);
    }
    t.equal(after([start(), tick("failed")]).phase, "progressing", "at weight 0 there is nothing to move");
  },
);

t.test("a rule that pauses stops the climb and leaves the weight", async (t) => {
  const five = after([start(), tick("successful")]);
  const paused = run(five, tick("failed", 1000, "pause"));
  t.match(paused.state, { phase: "paused", weight: 50_000 });
  t.match(paused.effects.at(-1), { type: "notify", severity: "warning" });
  t.equal(run(paused.state, tick("failed", 1000, "pause")).effects.length, 0, "said once");
  const plain = { ...simple("pause"), reason: "" } as RolloutEvent; // the same event without a reason
  t.equal(run(five, plain).state.reason, "Paused");
});

t.test("a rollback goes where the policy says, and from there to 0", async (t) => {
  const fifty = after([start(), tick("successful"), promote()]);
  t.equal(fifty.weight, 500_000);
  const toPrevious: RollbackPolicy = { ...POLICY, to: "previousStep" };
  const partly = after([tick("failed")], fifty, toPrevious);
  t.match(partly, { phase: "rolled_back", weight: 50_000 });
  t.match(after([tick("failed")], partly, toPrevious), { phase: "rolled_back", weight: 0 });
  t.equal(after([tick("failed")], fifty, { ...POLICY, to: ppm(10_000) }).weight, 10_000);
  t.equal(after([tick("failed")], fifty, { ...POLICY, to: ppm(600_000) }).weight, 0, "never upwards");
  t.equal(after([tick("failed")], after([setWeight(10)]), toPrevious).weight, 0, "no step before");
  t.equal(after([simple("rollback")], fifty, toPrevious).weight, 0, "a person's rollback is the whole way");
  t.equal(after([setWeight(1)], partly).weight, 10_000, "what is left can be lowered");
});

t.test("when stable is sick too, the policy decides, and it pages", async (t) => {
  const five = after([start(), tick("successful")]);
  const held = run(five, tick("failed"), { ...POLICY, whenStableUnhealthy: "hold" }, STABLE_ILL);
  t.match(held.state, { phase: "paused", weight: 50_000, reason: STABLE_SICK });
  t.match(held.effects.at(-1), { type: "notify", severity: "emergency", event: "ROLLBACK_HELD" });
  const again = run(held.state, tick("failed"), { ...POLICY, whenStableUnhealthy: "hold" }, STABLE_ILL);
  t.equal(again.effects.length, 0, "paged once");
  t.equal(
    run(again.state, tick("failed"), { ...POLICY, whenStableUnhealthy: "hold" }).state.weight,
    0,
    "stable is well again",
  );
  t.equal(
    run(five, tick("failed"), POLICY, STABLE_ILL).state.weight,
    0,
    "the default rolls back all the same",
  );
  const less: RollbackPolicy = { ...POLICY, whenStableUnhealthy: "lessBad" };
  t.equal(run(five, tick("failed"), less, STABLE_ILL).state.weight, 50_000);
  t.equal(run(five, tick("failed"), less, { healthy: false, worseThanCanary: false }).state.weight, 0);
  const manual = after([start(PLAN.slice(0, 4)), promote(true)]);
  t.equal(
    run(manual, tick("failed"), less, STABLE_ILL).state.phase,
    "succeeded",
    "an ended rollout stays ended",
  );
});

t.test("stable is watched after a rollback, and the end of the watch is said", async (t) => {
  const back = after([start(), tick("successful"), tick("failed")]);
  const last = after([tick("inconclusive", 59_000)], back);
  const said = run(last, tick("inconclusive"));
  t.match(said.effects, [{ type: "save" }, { event: "ROLLBACK_VERIFIED" }, { severity: "info" }]);
  t.match(run(last, tick("inconclusive"), POLICY, STABLE_ILL).effects.at(-1), { severity: "emergency" });
  t.equal(run(said.state, tick("inconclusive")).effects.length, 0);
});

t.test("after a rollback a new rollout waits for the cooldown, or is forced", async (t) => {
  const back = after([start(), tick("successful"), tick("failed")]);
  t.equal(codeOf(decide(back, start(), POLICY, STABLE_WELL)), "SPLIT_COOLDOWN");
  t.equal(codeOf(decide(back, setWeight(1), POLICY, STABLE_WELL)), "SPLIT_COOLDOWN");
  t.match(after([start(PLAN, true)], back), { phase: "progressing", step: 0, cooldownLeftMs: 0 });
  t.match(after([setWeight(1, true)], back), { phase: "paused", weight: 10_000, id: "r2" });
  const later = after([tick("inconclusive", 3_600_000)], back);
  t.match(after([start()], later), { phase: "progressing", step: 0 });
});

t.test("every rollout starts at step 0, after a success as well (acceptance 23)", async (t) => {
  const done = after([start(), promote(true), tick("successful", 120_000)]);
  t.match(done, { phase: "succeeded", weight: 1_000_000 });
  const again = run(done, { ...start(), rolloutId: "r9" } as RolloutEvent); // the same event, another id
  t.match(again.state, { phase: "progressing", step: 0, weight: 0, heldMs: 0, id: "r9" });
});

t.test("a weight set by hand during a rollout pauses it, rollback armed (acceptance 34)", async (t) => {
  const five = after([start(), tick("successful"), tick("inconclusive", 30_000)]);
  const manual = after([setWeight(20)], five);
  t.match(manual, { phase: "paused", reason: MANUAL_WEIGHT, weight: 200_000, id: "r1", step: 1 });
  t.equal(after([tick("failed")], manual).phase, "rolled_back");
  t.match(after([simple("resume")], manual), { phase: "progressing", weight: 50_000, heldMs: 0 });
  t.match(after([simple("pause"), simple("resume")], five), { phase: "progressing", heldMs: 30_000 });
});

t.test("a weight set by hand keeps its users when it is set again", async (t) => {
  const five = after([setWeight(5)]);
  const ten = after([{ ...setWeight(10), rolloutId: "r3" } as RolloutEvent], five); // the same event, another id
  t.equal(five.id, "r2");
  t.equal(ten.id, "r2", "the same rollout, hence the same salt");
});

t.test("commands that do not fit the phase are refused and change nothing", async (t) => {
  const five = after([start(), tick("successful")]);
  const manual = after([setWeight(5)]);
  const done = after([start(PLAN.slice(0, 4)), promote(true)]);
  const refused: readonly (readonly [RolloutState, RolloutEvent])[] = [
    [IDLE, simple("pause")],
    [IDLE, simple("resume")],
    [IDLE, simple("rollback")],
    [IDLE, promote()],
    [five, start()],
    [five, simple("resume")],
    [five, promote(false, 0)],
    [manual, simple("resume")],
    [manual, promote()],
    [done, promote()],
    [done, simple("pause")],
  ];
  for (const [state, event] of refused) {
    t.equal(
      codeOf(decide(state, event, POLICY, STABLE_WELL)),
      "SPLIT_PHASE_MISMATCH",
      `${event.type} when ${state.phase}`,
    );
  }
  t.equal(codeOf(decide(IDLE, start([]), POLICY, STABLE_WELL)), "SPLIT_INPUT_INVALID");
  t.match(after([promote(false, 1)], five), { step: 2 }, "the step that was seen is the step that is");
  t.match(after([start([step(100, 0), step(100, 5, true)])]), { phase: "progressing", weight: 1_000_000 });
  t.match(after([start([step(100, 5, true)])]), { phase: "baking" });
  t.equal(after([start(PLAN, true)], five).step, 0, "forced over a running one");
});

t.test("promoting all the way keeps the bake, and goes on where it was when already there", async (t) => {
  const baking = after([start(), promote(true), tick("inconclusive", 50_000)]);
  t.match(baking, { phase: "baking", step: 4, heldMs: 50_000 });
  t.match(after([promote(true)], baking), { phase: "baking", heldMs: 50_000 });
  t.match(after([promote()], baking), { phase: "succeeded" });
  t.match(after([simple("pause"), simple("resume")], baking), { phase: "baking", heldMs: 50_000 });
});

t.test("asking twice for a rollback is one rollback", async (t) => {
  const back = after([setWeight(5), simple("rollback")]);
  t.equal(run(back, simple("rollback")).effects.length, 0);
});

t.test("the weights of a plan must rise, and the bake is its end", async (t) => {
  t.strictSame(checkPlan(PLAN), []);
  t.match(checkPlan([]), [{ step: 0 }]);
  t.match(checkPlan([step(5, 0), step(5, 0)]), [{ step: 1, message: /must rise: 5% is followed by 5%/ }]);
  t.match(checkPlan([step(50, 0), step(5, 0)]), [{ step: 1 }]);
  t.equal(checkPlan([step(50, 0), step(100, 1, true), step(60, 0)]).length, 3);
  t.match(checkPlan([step(100, 1, true)]), [{ step: 0, message: /must follow a step with setWeight 100%/ }]);
});

const kinds = fc.constantFrom<VerdictKind>("successful", "failed", "inconclusive");
const anyEvent: fc.Arbitrary<RolloutEvent> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.tuple(kinds, fc.nat({ max: 90_000 })).map(([kind, elapsed]) => tick(kind, elapsed)),
  },
  fc.constant({ type: "alarm", rule: "errors" } as const),
  fc.boolean().map((force) => start(PLAN, force)),
  fc.tuple(fc.nat({ max: 100 }), fc.boolean()).map(([percent, force]) => setWeight(percent, force)),
  fc.constantFrom(simple("pause"), simple("resume"), simple("rollback"), promote(), promote(true)),
);
const anyPolicy: fc.Arbitrary<RollbackPolicy> = fc.record({
  to: fc.constantFrom<"previousStep" | RollbackPolicy["to"]>("previousStep", ppm(0), ppm(30_000)),
  cooldownMs: fc.constantFrom(millis(0), millis(100_000)),
  verifyMs: fc.constantFrom(millis(0), millis(50_000)),
  whenStableUnhealthy: fc.constantFrom<RollbackPolicy["whenStableUnhealthy"]>("rollback", "hold", "lessBad"),
  confirm: fc.boolean(),
});
const anyStable = fc.record({ healthy: fc.boolean(), worseThanCanary: fc.boolean() });

interface Move {
  readonly before: RolloutState;
  readonly event: RolloutEvent;
  readonly after: RolloutState;
  readonly order: readonly string[];
}

/** Plays a thousand random lives and asks `holds` of every move in them. */
function every(holds: (move: Move) => boolean): void {
  fc.assert(
    fc.property(fc.array(anyEvent, { maxLength: 40 }), anyPolicy, anyStable, (events, policy, stable) => {
      let state = IDLE;
      return events.every((event) => {
        const decision = decide(state, event, policy, stable);
        if (!decision.ok) return true;
        const move = { before: state, event, after: decision.state, order: orderOf(decision.effects) };
        state = decision.state;
        return holds(move);
      });
    }),
    { numRuns: 1000 },
  );
}

t.test("more weight is recorded before it is set, less weight is set before it is recorded", async () => {
  every(({ before, order, after: to }) => {
    const [set, save, journal] = ["set_weight", "save", "journal"].map((name) => order.indexOf(name));
    if (set === undefined || save === undefined || journal === undefined) return false;
    if (to.weight > before.weight) return save >= 0 && save < journal && journal < set;
    if (to.weight < before.weight) return set === 0 && set < save && save < journal;
    return true;
  });
});

t.test("nobody is told before it is recorded, and every change is recorded, journaled and told", async () => {
  every(({ before, order, after: to }) => {
    const moved = to.weight !== before.weight || to.phase !== before.phase || to.id !== before.id;
    const told = order.indexOf("notify");
    if (moved) return told > order.indexOf("journal") && order.indexOf("save") >= 0;
    return told === -1 || told > order.indexOf("journal");
  });
});

t.test(
  "a tick never raises the weight without a successful verdict, but to give back what an alarm took, and never after a failed one",
  async () => {
    every(
      ({ before, event, after: to }) =>
        event.type !== "tick" ||
        to.weight <= before.weight ||
        event.verdict.kind === "successful" ||
        (event.verdict.kind !== "failed" && to.weight === before.trippedFrom),
    );
  },
);

const alarm: RolloutEvent = { type: "alarm", rule: "errors" };

/** A rollout at 5 %, climbing. */
function climbing(): RolloutState {
  return after([start(), tick("successful")]);
}

t.test(
  "an alarm takes the weight away before anything is recorded, and gives it back after ten seconds",
  async (t) => {
    const before = climbing();
    t.equal(before.weight, 50_000);
    const decision = decide(before, alarm, POLICY, STABLE_WELL);
    if (!decision.ok) throw new Error("refused");
    t.strictSame(
      decision.effects.map(({ type }) => type),
      ["set_weight", "reset_windows", "reset_alarm", "save", "journal", "notify"],
    );
    const { state } = decision;
    t.match(state, { weight: 0, trippedFrom: 50_000, phase: "progressing", reason: "Tripped: errors" });
    const held = state.heldMs;
    const waiting = after(
      Array.from({ length: 9 }, () => tick("successful")),
      state,
    );
    t.match(waiting, { weight: 0, heldMs: held }, "nothing climbs, and the time does not count");
    t.match(after([alarm], waiting), waiting, "late responses say nothing new");
    const probing = after([tick("inconclusive")], waiting);
    t.match(probing, { weight: 50_000, trippedFrom: 0, phase: "progressing" });
    t.equal(probing.confirmation.phase, "probing");
  },
);

t.test(
  "a second alarm is a rollback, unless the canary has done well for a minute and a hundred responses",
  async (t) => {
    const tripped = after([alarm], climbing());
    const probing = after(
      Array.from({ length: 10 }, () => tick("inconclusive")),
      tripped,
    );
    t.match(after([alarm], probing), {
      phase: "rolled_back",
      weight: 0,
      reason: /confirmed by a second alarm/,
    });
    const soon = after(
      Array.from({ length: 59 }, () => tick("inconclusive")),
      probing,
    );
    t.equal(after([alarm], soon).phase, "rolled_back");
    const well = after([tick("inconclusive")], soon);
    t.equal(well.confirmation.phase, "armed");
    t.equal(after([alarm], well).confirmation.phase, "tripped", "then it is a first one again");
  },
);

t.test("a rollout that is tried again after an alarm does not climb before that is over", async (t) => {
  const probing = after([alarm, ...Array.from({ length: 10 }, () => tick("inconclusive"))], climbing());
  const later = after([tick("successful", 59_000)], probing);
  t.match(later, { step: probing.step, weight: 50_000 });
  t.equal(
    after([tick("successful", 2000), ...Array.from({ length: 10 }, () => tick("successful"))], later).step,
    probing.step + 1,
  );
});

t.test(
  "an eighth alarm in a day is a rollback, and so is the first one where none is to be confirmed",
  async (t) => {
    let state = climbing();
    const calm = Array.from({ length: 80 }, () => tick("inconclusive"));
    for (let nth = 1; nth <= 7; nth++) state = after([alarm, ...calm], state);
    t.equal(state.confirmation.phase, "armed");
    t.match(after([alarm], state), { phase: "rolled_back", reason: /eighth time in a day/ });
    const final = decide(climbing(), alarm, { ...POLICY, confirm: false }, STABLE_WELL);
    t.match(final.ok && final.state, { phase: "rolled_back", reason: "Rolled back: errors" });
  },
);

t.test(
  "a failed check of the fast tier is an alarm; one that only observes, or pauses, is not",
  async (t) => {
    const failing = (action: Action): RolloutEvent => {
      const { checks, ...rest } = verdict("failed", action);
      const hard = checks.map((check) => ({ ...check, tier: "catastrophic" as const }));
      return { type: "tick", verdict: { ...rest, checks: hard }, elapsedMs: millis(1000), responses: 1 };
    };
    t.equal(after([failing("rollback")], climbing()).confirmation.phase, "tripped");
    t.match(after([failing("observe")], climbing()), { phase: "progressing", weight: 50_000 });
    t.match(after([failing("pause")], climbing()), { phase: "paused", weight: 50_000 });
  },
);

t.test(
  "an alarm on what a partial rollback has left takes the rest away; without weight it means nothing",
  async (t) => {
    const partial = decide(climbing(), tick("failed"), { ...POLICY, to: ppm(10_000) }, STABLE_WELL);
    if (!partial.ok) throw new Error("refused");
    t.match(partial.state, { phase: "rolled_back", weight: 10_000 });
    t.match(after([alarm], partial.state), { phase: "rolled_back", weight: 0 });
    t.equal(after([alarm], IDLE), IDLE);
  },
);

t.test("whoever sets another weight while an alarm is out has the last word", async (t) => {
  const tripped = after([alarm], climbing());
  const byHand = after([setWeight(1)], tripped);
  t.match(byHand, { weight: 10_000, trippedFrom: 0 });
  t.equal(
    after(
      Array.from({ length: 20 }, () => tick("inconclusive")),
      byHand,
    ).weight,
    10_000,
  );
  t.match(after([simple("pause"), simple("resume")], tripped), { weight: 50_000, trippedFrom: 0 });
  const sick = decide(
    climbing(),
    alarm,
    { ...POLICY, confirm: false, whenStableUnhealthy: "hold" },
    STABLE_ILL,
  );
  t.match(sick.ok && sick.state, { weight: 50_000, phase: "paused" });
});

t.test("a failed verdict leaves no weight on the canary unless a policy says so", async () => {
  fc.assert(
    fc.property(fc.array(anyEvent, { maxLength: 30 }), (events) => {
      let state = IDLE;
      for (const event of events) {
        const decision = decide(state, event, POLICY, STABLE_ILL);
        if (decision.ok) state = decision.state;
      }
      return run(state, tick("failed"), POLICY, STABLE_ILL).state.weight === 0;
    }),
  );
});

t.test("a weight above zero always belongs to a rollout with an id, and never to an idle route", async () => {
  every(({ after: to }) => to.weight === 0 || (to.id !== "" && to.phase !== "idle"));
});

t.test("the revision counts decisions and not ticks", async () => {
  every(({ before, order, after: to }) => to.revision === before.revision + (order.length > 0 ? 1 : 0));
});

t.test("an event of a newer program is not silently obeyed", async (t) => {
  const odd = { type: "invented" } as never;
  t.equal(decide(IDLE, odd, POLICY, STABLE_WELL), odd);
  t.equal(FULL, 1_000_000);
});
