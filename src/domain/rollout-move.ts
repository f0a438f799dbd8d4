/**
 * The moves of a rollout: to a step, to the end, back to stable. Pure; whoever decides that it moves (time, a person, an alarm) does it with these.
 *
 * The order is the point. Towards stable the weight is set first and everything else after, so that nothing can delay it; towards canary
 * it is recorded first and set after, so that a crash in between leaves less traffic on the canary than the record says, never more
 * (product.md §2.14). One function, `decided`, orders the two for every event.
 */

import { ARMED, type Confirmation } from "./evidence/confirm.ts";
import type { Step } from "./plan.ts";
import { refused, type Refusal } from "./refusal.ts";
import type {
  Accepted,
  Effect,
  Phase,
  RollbackPolicy,
  RolloutState,
  Severity,
  StableCondition,
  StepProgress,
} from "./rollout-types.ts";
import { newGate } from "./signatures.ts";
import { FULL, NONE, formatRate, millis, type Millis, type Ppm } from "./units.ts";

/** No time. */
export const ZERO: Millis = millis(0);

/** Of no step, or of one at which nothing has happened that asks for nothing. */
export const NO_PROGRESS: StepProgress = {
  gate: null,
  isGateOpen: false,
  extendedMs: ZERO,
  checkpointInMs: null,
  preflight: null,
  isResumed: false,
  isConfirmed: false,
};

/** A route on which no rollout has ever run. */
export const IDLE: RolloutState = {
  id: "",
  phase: "idle",
  step: 0,
  steps: [],
  weight: NONE,
  heldMs: ZERO,
  progress: NO_PROGRESS,
  windows: [],
  startsAtMs: 0,
  scheduled: null,
  clocks: {},
  cooldownLeftMs: ZERO,
  verifyLeftMs: ZERO,
  servedMs: ZERO,
  confirmation: ARMED,
  trippedFrom: NONE,
  reason: "",
  standsFor: null,
  version: "",
  revision: 0,
  startedAt: "",
};

/** The reason shown while a person's weight is in force (acceptance 34). */
export const MANUAL_WEIGHT = "Paused (manual weight)";
/** The reason shown while a rollback waits because stable is sick too. */
export const STABLE_SICK = "Held: stable is unhealthy too";

const ROLLBACK_DONE = "ROLLBACK_DONE";

/** Whether the plan is being walked. */
export function isClimbing(phase: Phase): boolean {
  return phase === "progressing" || phase === "baking";
}

/** Whether a plan is being walked, or stands still. */
export function isUnderWay({ phase, steps }: RolloutState): boolean {
  return isClimbing(phase) || (phase === "paused" && steps.length > 0);
}

/** Past alarms, without one that is under way. */
export function calm({ trips }: Confirmation): Confirmation {
  return { phase: "armed", trips };
}

/** The progress of a step that is entered. */
function entered(steps: readonly Step[], index: number): StepProgress {
  const step = steps[index];
  return {
    ...NO_PROGRESS,
    gate: step?.gate === undefined ? null : newGate(index),
    checkpointInMs: step?.checkpointMs ?? null,
  };
}

/** The part of a state that changes when it goes to a step of its plan, which there must be. */
export function atStep({ steps, confirmation }: RolloutState, index: number) {
  const step = steps[index]!;
  return {
    step: index,
    weight: step.weight,
    trippedFrom: NONE,
    confirmation: calm(confirmation),
    heldMs: ZERO,
    standsFor: null,
    progress: entered(steps, index),
    phase: step.bake ? ("baking" as const) : ("progressing" as const),
  };
}

/** To the next step, or to the end of the plan. */
export function climb(state: RolloutState, because: string): Accepted {
  const index = state.step + 1;
  if (index >= state.steps.length) return succeed(state, because);
  const to: RolloutState = { ...state, ...atStep(state, index), reason: because };
  return decided(state, to, "STEP_STARTED", "info", because);
}

function succeed(state: RolloutState, because: string): Accepted {
  // What was held back to compare with is needed no longer.
  const weight = state.steps[state.step]?.holdback === undefined ? state.weight : FULL;
  const to: RolloutState = { ...state, phase: "succeeded", weight, reason: because, standsFor: null };
  return decided(state, to, "DEPLOY_SUCCESS", "info", because);
}

export function rollBackFor(
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
    if (state.standsFor === "sick_stable") return { ok: true, state, effects: [], reason: "" };
    const phase = isClimbing(state.phase) ? "paused" : state.phase;
    const to: RolloutState = { ...state, phase, reason: STABLE_SICK, standsFor: "sick_stable" };
    return decided(state, to, "ROLLBACK_HELD", "emergency", reason);
  }
  return rolledBack(state, targetOf(state, policy), reason, policy);
}

function targetOf(state: RolloutState, policy: RollbackPolicy): Ppm {
  if (state.phase === "rolled_back") return NONE;
  const wanted = policy.to === "previousStep" ? (state.steps[state.step - 1]?.weight ?? NONE) : policy.to;
  return wanted < state.weight ? wanted : NONE;
}

export function rolledBack(
  state: RolloutState,
  weight: Ppm,
  reason: string,
  policy: RollbackPolicy,
): Accepted {
  const to: RolloutState = {
    ...state,
    phase: "rolled_back",
    weight,
    trippedFrom: NONE,
    confirmation: calm(state.confirmation),
    progress: NO_PROGRESS,
    clocks: {},
    cooldownLeftMs: policy.cooldownMs,
    verifyLeftMs: policy.verifyMs,
    reason,
    standsFor: null,
  };
  return decided(state, to, ROLLBACK_DONE, "emergency", reason);
}

/** A verb that does not fit. */
export function mismatch(message: string): Refusal {
  return refused("SPLIT_PHASE_MISMATCH", message);
}

/** The one place that orders recording and acting; see the top of this file. */
export function decided(
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
  // What is rolled back may be lowered, or restored, and is no second rollback for that.
  const evidence: readonly Effect[] = event === ROLLBACK_DONE ? [{ type: "evidence" }] : [];
  // What is taken away for ten seconds keeps its long-lived connections.
  const close: readonly Effect[] = isTrip ? [] : [{ type: "close_long_lived" }];
  const down: readonly Effect[] = [...set, ...close, ...record, ...tell, ...evidence];
  return { ok: true, state: to, effects: down, reason };
}
