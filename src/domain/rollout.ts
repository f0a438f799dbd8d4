/**
 * The rules of a rollout: (state, event, policy) → next state and what to do about it, in order. Pure.
 *
 * The order is the point. Towards stable the weight is set first and everything else after, so that nothing can delay it; towards canary
 * it is recorded first and set after, so that a crash in between leaves less traffic on the canary than the record says, never more
 * (product.md §2.14). One function, `move`, orders the two for every event.
 */

import { ARMED, confirmed, type Confirmation, type ConfirmEvent } from "./evidence/confirm.ts";
import type { Check, VerdictKind } from "./rule.ts";
import type {
  Accepted,
  Command,
  Decision,
  Effect,
  Phase,
  RollbackPolicy,
  RolloutEvent,
  RolloutState,
  Severity,
  StableCondition,
} from "./rollout-types.ts";
import { FULL, NONE, formatRate, millis, type Millis, type Ppm } from "./units.ts";

const ZERO = millis(0);

/** A route on which no rollout has ever run. */
export const IDLE: RolloutState = {
  id: "",
  phase: "idle",
  step: 0,
  steps: [],
  weight: NONE,
  heldMs: ZERO,
  clocks: {},
  cooldownLeftMs: ZERO,
  verifyLeftMs: ZERO,
  servedMs: ZERO,
  confirmation: ARMED,
  trippedFrom: NONE,
  reason: "",
  version: "",
  revision: 0,
  startedAt: "",
};

/** The reason shown while a person's weight is in force (acceptance 34). */
export const MANUAL_WEIGHT = "Paused (manual weight)";
/** The reason shown while a rollback waits because stable is sick too. */
export const STABLE_SICK = "Held: stable is unhealthy too";

/** What becomes of a rollout when something happens to it. A refusal changes nothing. */
export function decide(
  state: RolloutState,
  event: RolloutEvent,
  policy: RollbackPolicy,
  stable: StableCondition,
): Decision {
  switch (event.type) {
    case "tick":
      return passTime(state, event, policy, stable);
    case "alarm":
      return alarmed(state, event.rule, policy, stable);
    case "start":
      return start(state, event);
    case "pause":
      return pause(state, event.reason);
    case "resume":
      return resume(state, event.reason);
    case "promote":
      return promote(state, event);
    case "rollback":
      return rollBackByHand(state, event.reason, policy);
    case "set_weight":
      return setWeight(state, event);
    default:
      return event satisfies never;
  }
}

/** Whether the plan is being walked. */
function isClimbing(phase: Phase): boolean {
  return phase === "progressing" || phase === "baking";
}

/** What becomes of a rollout as time passes; never refused. */
export function passTime(
  before: RolloutState,
  { verdict, elapsedMs: elapsed, responses }: Extract<RolloutEvent, { type: "tick" }>,
  policy: RollbackPolicy,
  stable: StableCondition,
): Accepted {
  const state: RolloutState = {
    ...before,
    clocks: verdict.clocks,
    servedMs: millis(before.servedMs + elapsed),
    heldMs: isHolding(before) ? millis(before.heldMs + elapsed) : before.heldMs,
    cooldownLeftMs: millis(Math.max(0, before.cooldownLeftMs - elapsed)),
    verifyLeftMs: millis(Math.max(0, before.verifyLeftMs - elapsed)),
  };
  const all = verdict.checks.filter((check) => check.kind === "failed");
  // An alarm has its own way: first it takes the weight away for a moment.
  const alarm = all.find((check) => check.tier === "catastrophic" && check.action === "rollback");
  const failed = all.filter((check) => check.tier !== "catastrophic" || check.action !== "rollback");
  // What an alarm took away is still to come back.
  const isOut = state.weight > NONE || state.trippedFrom > NONE;
  if (isOut && failed.some((check) => check.action === "rollback")) {
    return rollBack(state, failed, policy, stable);
  }
  if (state.weight > NONE && alarm !== undefined) return alarmed(state, alarm.rule, policy, stable);
  if (isClimbing(state.phase) && failed.some((check) => check.action === "pause")) {
    const reason = `Paused: ${rulesOf(failed)}`;
    return decided(state, { ...state, phase: "paused", reason }, "ROLLOUT_PAUSED", "warning", reason);
  }
  const proven = passConfirmation(state, responses);
  if (proven.effects.length > 0) return proven;
  return settle(before, proven.state, verdict.kind, stable);
}

/** What follows when nothing has failed. */
function settle(
  before: RolloutState,
  state: RolloutState,
  kind: VerdictKind,
  stable: StableCondition,
): Accepted {
  const isSure = state.confirmation.phase === "armed";
  if (isHolding(state) && isSure && kind === "successful" && state.heldMs >= holdOf(state))
    return climb(state, "");
  if (before.verifyLeftMs > 0 && state.verifyLeftMs === 0) {
    const reason = stable.healthy
      ? "stable is healthy after the rollback"
      : "stable is unhealthy after the rollback";
    return decided(state, state, "ROLLBACK_VERIFIED", stable.healthy ? "info" : "emergency", reason);
  }
  return { ok: true, state, effects: [], reason: "" };
}

/** Whether time counts as the step's: the canary has its traffic. */
function isHolding({ phase, confirmation }: RolloutState): boolean {
  return isClimbing(phase) && confirmation.phase !== "tripped";
}

/** An alarm of the fast tier: the canary's weight goes at once, for ten seconds the first time and for good the second (statistics.md §3.2). */
function alarmed(
  state: RolloutState,
  rule: string,
  policy: RollbackPolicy,
  stable: StableCondition,
): Accepted {
  const nothing: Accepted = { ok: true, state, effects: [], reason: "" };
  if (state.weight === NONE) return nothing;
  // What is left after a partial rollback is not tried again.
  if (state.phase === "rolled_back") return rolledBack(state, NONE, `Rolled back: ${rule}`, policy);
  const event = { type: "crossing", nowMs: state.servedMs, confirm: policy.confirm } as const;
  const { state: confirmation, outcome } = confirmed(state.confirmation, event);
  if (outcome.type === "rollback") {
    const why = FINAL[outcome.reason];
    return rollBackFor(state, `Rolled back: ${rule}${why}`, policy, stable);
  }
  const reason = `Tripped: ${rule}`;
  const to: RolloutState = { ...state, confirmation, weight: NONE, trippedFrom: state.weight, reason };
  return decided(state, to, "TRIPPED", "warning", reason);
}

const FINAL = {
  second_crossing: ", confirmed by a second alarm",
  too_many_trips: ", for the eighth time in a day",
  confirm_off: "",
} as const;

/** Time passes for an alarm: the weight comes back, and the alarm is over when it goes well for long enough. */
function passConfirmation(state: RolloutState, responses: number): Accepted {
  const { phase } = state.confirmation;
  if (phase === "armed" || state.phase === "rolled_back") return { ok: true, state, effects: [], reason: "" };
  const nowMs = state.servedMs;
  const event: ConfirmEvent =
    phase === "probing" ? { type: "responses", nowMs, count: responses } : { type: "time", nowMs };
  const { state: confirmation, outcome } = confirmed(state.confirmation, event);
  const next: RolloutState = { ...state, confirmation };
  if (outcome.type !== "resume") return { ok: true, state: next, effects: [], reason: "" };
  const reason = "the canary is tried again after an alarm";
  const weight = state.trippedFrom;
  const to: RolloutState = { ...next, weight, trippedFrom: NONE, reason: "Probing after an alarm" };
  return decided(state, to, "TRIP_PROBED", "info", reason);
}

/** Past alarms, without one that is under way. */
function calm({ trips }: Confirmation): Confirmation {
  return { phase: "armed", trips };
}

/** A climbing rollout always stands on a step of its plan. */
function holdOf(state: RolloutState): Millis {
  return state.steps[state.step]!.holdMs;
}

function rulesOf(checks: readonly Check[]): string {
  return checks.map((check) => check.rule).join("; ");
}

/** To the next step, or to the end of the plan. */
function climb(state: RolloutState, because: string): Accepted {
  const next = state.steps[state.step + 1];
  if (next === undefined) return succeed(state, because);
  const to: RolloutState = {
    ...state,
    step: state.step + 1,
    weight: next.weight,
    trippedFrom: NONE,
    confirmation: calm(state.confirmation),
    heldMs: ZERO,
    phase: next.bake ? "baking" : "progressing",
    reason: because,
  };
  return decided(state, to, "STEP_STARTED", "info", because);
}

function succeed(state: RolloutState, because: string): Accepted {
  // What was held back to compare with is needed no longer.
  const weight = state.steps[state.step]?.holdback === undefined ? state.weight : FULL;
  const to: RolloutState = { ...state, phase: "succeeded", weight, reason: because };
  return decided(state, to, "DEPLOY_SUCCESS", "info", because);
}

function rollBack(
  state: RolloutState,
  failed: readonly Check[],
  policy: RollbackPolicy,
  stable: StableCondition,
): Accepted {
  const reason = `Rolled back: ${rulesOf(failed.filter((check) => check.action === "rollback"))}`;
  return rollBackFor(state, reason, policy, stable);
}

function rollBackFor(
  state: RolloutState,
  reason: string,
  policy: RollbackPolicy,
  stable: StableCondition,
): Accepted {
  const stays =
    !stable.healthy &&
    (policy.whenStableUnhealthy === "hold" ||
      (policy.whenStableUnhealthy === "lessBad" && stable.worseThanCanary));
  if (stays) {
    if (state.reason === STABLE_SICK) return { ok: true, state, effects: [], reason: "" };
    const phase = isClimbing(state.phase) ? "paused" : state.phase;
    return decided(state, { ...state, phase, reason: STABLE_SICK }, "ROLLBACK_HELD", "emergency", reason);
  }
  return rolledBack(state, targetOf(state, policy), reason, policy);
}

function targetOf(state: RolloutState, policy: RollbackPolicy): Ppm {
  if (state.phase === "rolled_back") return NONE;
  const wanted = policy.to === "previousStep" ? (state.steps[state.step - 1]?.weight ?? NONE) : policy.to;
  return wanted < state.weight ? wanted : NONE;
}

function rolledBack(state: RolloutState, weight: Ppm, reason: string, policy: RollbackPolicy): Accepted {
  const to: RolloutState = {
    ...state,
    phase: "rolled_back",
    weight,
    trippedFrom: NONE,
    confirmation: calm(state.confirmation),
    clocks: {},
    cooldownLeftMs: policy.cooldownMs,
    verifyLeftMs: policy.verifyMs,
    reason,
  };
  return decided(state, to, "ROLLBACK_DONE", "emergency", reason);
}

function rollBackByHand(state: RolloutState, reason: string, policy: RollbackPolicy): Decision {
  if (state.phase === "idle") return mismatch("there is nothing to roll back");
  // Asked twice is done once.
  if (state.phase === "rolled_back" && state.weight === NONE)
    return { ok: true, state, effects: [], reason: "" };
  return rolledBack(state, NONE, reason, policy);
}

function start(state: RolloutState, event: Extract<RolloutEvent, { type: "start" }>): Decision {
  const first = event.steps[0];
  if (first === undefined)
    return { ok: false, code: "SPLIT_INPUT_INVALID", message: "a plan needs at least one step" };
  const running = isClimbing(state.phase) || (state.phase === "paused" && state.steps.length > 0);
  if (running && !event.force) return mismatch("a rollout is under way: roll it back first, or force");
  if (state.cooldownLeftMs > 0 && !event.force) return coolingDown(state);
  const to: RolloutState = {
    ...IDLE,
    id: event.rolloutId,
    phase: first.bake ? "baking" : "progressing",
    steps: event.steps,
    weight: first.weight,
    version: event.version,
    revision: state.revision,
    startedAt: event.at,
  };
  return decided(state, to, "DEPLOY_START", "info", event.reason);
}

function pause(state: RolloutState, reason: string): Decision {
  if (!isClimbing(state.phase)) return mismatch(`a rollout that is ${state.phase} cannot be paused`);
  const to: RolloutState = {
    ...state,
    phase: "paused",
    reason: reason === "" ? "Paused" : `Paused: ${reason}`,
  };
  return decided(state, to, "ROLLOUT_PAUSED", "info", reason);
}

function resume(state: RolloutState, reason: string): Decision {
  const present = state.steps[state.step];
  if (state.phase !== "paused") return mismatch(`a rollout that is ${state.phase} cannot be resumed`);
  if (present === undefined) return mismatch("there is no plan to resume: the weight was set by hand");
  const to: RolloutState = {
    ...state,
    phase: present.bake ? "baking" : "progressing",
    weight: present.weight,
    trippedFrom: NONE,
    confirmation: calm(state.confirmation),
    // Another weight is another test: what was served at the weight set by hand does not count as the step's.
    heldMs: state.weight === present.weight ? state.heldMs : ZERO,
    reason: "",
  };
  return decided(state, to, "ROLLOUT_RESUMED", "info", reason);
}

function promote(state: RolloutState, event: Extract<Command, { type: "promote" }>): Decision {
  const open = isClimbing(state.phase) || state.phase === "paused";
  if (!open) return mismatch(`a rollout that is ${state.phase} cannot be promoted`);
  if (state.steps.length === 0) return mismatch("there is no plan to promote: the weight was set by hand");
  if (event.step !== null && event.step !== state.step) {
    return mismatch(`the rollout is at step ${state.step} by now, not at step ${event.step}`);
  }
  if (!event.full) return climb(state, event.reason);
  const last = state.steps.length - 1;
  const bake = state.steps[last]?.bake === true ? state.steps[last] : undefined;
  const to: RolloutState = {
    ...state,
    step: last,
    weight: bake?.weight ?? FULL,
    trippedFrom: NONE,
    confirmation: calm(state.confirmation),
    heldMs: bake !== undefined && state.step === last ? state.heldMs : ZERO,
    phase: bake === undefined ? "succeeded" : "baking",
    reason: event.reason,
  };
  const done = bake === undefined ? "DEPLOY_SUCCESS" : "STEP_STARTED";
  return decided(state, to, done, "info", event.reason);
}

function setWeight(state: RolloutState, event: Extract<RolloutEvent, { type: "set_weight" }>): Decision {
  const rises = event.weight > state.weight;
  if (rises && state.cooldownLeftMs > 0 && !event.force) return coolingDown(state);
  if (state.phase === "rolled_back" && !rises) {
    // Lowering what a partial rollback left does not end the cooldown.
    return decided(state, { ...state, weight: event.weight }, "WEIGHT_SET", "info", event.reason);
  }
  const fresh = state.phase === "idle" || state.phase === "rolled_back";
  const to: RolloutState = fresh
    ? { ...IDLE, id: event.rolloutId, revision: state.revision, startedAt: event.at, version: state.version }
    : state;
  return decided(
    state,
    {
      ...to,
      phase: "paused",
      weight: event.weight,
      trippedFrom: NONE,
      confirmation: calm(to.confirmation),
      reason: MANUAL_WEIGHT,
    },
    "WEIGHT_SET",
    "info",
    event.reason,
  );
}

function mismatch(message: string): Decision {
  return { ok: false, code: "SPLIT_PHASE_MISMATCH", message };
}

function coolingDown(state: RolloutState): Decision {
  const seconds = Math.ceil(state.cooldownLeftMs / 1000);
  const message = `the last rollback was at most ${seconds} s of cooldown ago: wait, or force with a reason`;
  return { ok: false, code: "SPLIT_COOLDOWN", message };
}

/** The one place that orders recording and acting; see the top of this file. */
function decided(
  from: RolloutState,
  next: RolloutState,
  event: string,
  severity: Severity,
  why: string,
): Accepted {
  const to: RolloutState = { ...next, revision: from.revision + 1 };
  const record: readonly Effect[] = [{ type: "save" }, { type: "journal", event }];
  const tell: readonly Effect[] = [{ type: "notify", severity, event }];
  const reason = why === "" ? `${formatRate(from.weight)} to ${formatRate(to.weight)}` : why;
  const isEnd = to.phase === "rolled_back" && from.trippedFrom > NONE;
  const changes = to.weight !== from.weight || to.id !== from.id || isEnd;
  if (!changes) return { ok: true, state: to, effects: [...record, ...tell], reason };
  const isTrip = to.confirmation.phase === "tripped" && from.confirmation.phase !== "tripped";
  // What was under way when the weight went comes in late, and says nothing about the second try.
  const isAnew = isTrip || to.confirmation.phase === "probing";
  const set: readonly Effect[] = [
    { type: "set_weight" },
    { type: "reset_windows" },
    ...(isAnew ? [{ type: "reset_alarm" } as const] : []),
  ];
  if (to.weight > from.weight) return { ok: true, state: to, effects: [...record, ...set, ...tell], reason };
  const evidence: readonly Effect[] = to.phase === "rolled_back" ? [{ type: "evidence" }] : [];
  // What is taken away for ten seconds keeps its long-lived connections.
  const close: readonly Effect[] = isTrip ? [] : [{ type: "close_long_lived" }];
  const down: readonly Effect[] = [...set, ...close, ...record, ...tell, ...evidence];
  return { ok: true, state: to, effects: down, reason };
}
