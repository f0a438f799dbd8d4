/** What people say at a gate, and what else they may do with a step: give it more time, or go back one. Pure. */

import { atStep, decided, isClimbing, isUnderWay, mismatch, rolledBack } from "./rollout-move.ts";
import { refused, type Refusal } from "./refusal.ts";
import type {
  Actor,
  Calendar,
  Command,
  Decision,
  RollbackPolicy,
  RolloutEvent,
  RolloutState,
  StepProgress,
} from "./rollout-types.ts";
import { newGate, rejectBarred, sign, type GateSpec, type GateState } from "./signatures.ts";
import { NONE, formatDuration, formatStep, millis, type Millis } from "./units.ts";

type Said<T extends Command["type"]> = Extract<RolloutEvent, { type: T }>;

function gateAt(state: RolloutState): { readonly spec: GateSpec; readonly gate: GateState } | undefined {
  const spec = state.steps[state.step]?.gate;
  const { gate } = state.progress;
  return spec === undefined || gate === null || !isUnderWay(state) ? undefined : { spec, gate };
}

function withoutRole({ name, roles }: Actor, role: string): Refusal | null {
  if (roles === undefined || roles.includes(role)) return null;
  const has = roles.length === 0 ? "it has none" : `it has ${roles.join(", ")}`;
  return refused("SPLIT_FORBIDDEN", `the token "${name}" has not the role "${role}"; ${has}`);
}

function noGate(state: RolloutState): Decision {
  return mismatch(
    isUnderWay(state)
      ? `${formatStep(state.step)} has no gate`
      : `a rollout that is ${state.phase} has no gate`,
  );
}

/** A role signs, or acknowledges, and ticks what it has done. It takes effect when the rest is there. */
export function approve(state: RolloutState, event: Said<"approve">, { wall }: Calendar): Decision {
  const at = gateAt(state);
  if (at === undefined) return noGate(state);
  const { step, role, items, reason, actor } = event;
  const barred = withoutRole(actor, role);
  if (barred !== null) return barred;
  const signature = { role, by: actor.name, atMs: wall, comment: reason };
  const change = sign(at.spec, at.gate, step, signature, items);
  if (!change.ok) return change;
  if (change.state === at.gate) return { ok: true, state, effects: [], reason: "" };
  const to: RolloutState = { ...state, progress: { ...state.progress, gate: change.state } };
  const ticked = items.length === 0 ? "" : `, with ${items.join(", ")}`;
  const why = reason === "" ? "" : `: ${reason}`;
  return decided(state, to, "GATE_SIGNED", "info", `${actor.name} signs for ${role}${ticked}${why}`);
}

/** A role says no, and what is to happen instead is done. */
export function refuse(state: RolloutState, event: Said<"reject">, policy: RollbackPolicy): Decision {
  const at = gateAt(state);
  if (at === undefined) return noGate(state);
  const { step, role, answer, reason, actor } = event;
  const barred = withoutRole(actor, role) ?? rejectBarred(at.spec, at.gate, step, role, reason);
  if (barred !== null) return barred;
  const why = `rejected by ${actor.name} (${role}): ${reason}`;
  if (answer.type === "rollback") return rolledBack(state, NONE, `Rolled back: ${why}`, policy);
  if (answer.type === "extend") return longer(state, askedAnew(state), answer.byMs, why, "GATE_REJECTED");
  if (answer.type === "stepBack")
    return state.step === 0
      ? mismatch("there is no step before the first")
      : back(state, why, "GATE_REJECTED");
  const to: RolloutState = {
    ...state,
    phase: "paused",
    reason: `Held: ${why}`,
    standsFor: null,
    progress: askedAnew(state),
  };
  return decided(state, to, "GATE_REJECTED", "warning", why);
}

/** After a no, everybody is asked anew. */
function askedAnew({ progress, step }: RolloutState): StepProgress {
  return { ...progress, gate: newGate(step), isGateOpen: false };
}

/** More time at this step. */
export function extend(state: RolloutState, { byMs, reason }: Said<"extend">): Decision {
  if (!isUnderWay(state)) return mismatch(`a rollout that is ${state.phase} has no hold to extend`);
  return longer(state, state.progress, byMs, reason, "STEP_EXTENDED");
}

/** `progress`: what stays of what has come of the step. */
function longer(
  state: RolloutState,
  progress: StepProgress,
  byMs: Millis,
  reason: string,
  event: string,
): Decision {
  // What has been held beyond the hold is no part of what is added: it is from now on that there is more time.
  const overdue = Math.max(0, state.heldMs - state.steps[state.step]!.holdMs - state.progress.extendedMs);
  const extendedMs = millis(state.progress.extendedMs + overdue + byMs);
  const to: RolloutState = { ...state, progress: { ...progress, extendedMs } };
  const why = reason === "" ? "" : `: ${reason}`;
  return decided(state, to, event, "info", `its hold is longer by ${formatDuration(byMs)}${why}`);
}

/** To the step before. */
export function stepBack(state: RolloutState, { reason }: Said<"step_back">): Decision {
  if (!isUnderWay(state)) return mismatch(`a rollout that is ${state.phase} cannot step back`);
  if (state.standsFor === "manual_weight")
    return mismatch("the weight was set by hand: set another one, or resume");
  if (state.step === 0) return mismatch("there is no step before the first: roll back");
  return back(state, reason, "STEPPED_BACK");
}

function back(state: RolloutState, reason: string, event: string): Decision {
  if (state.steps[state.step - 1]!.weight > state.weight)
    return mismatch("the step before has more weight than is in force now: resume, or roll back");
  const to: RolloutState = { ...state, ...atStep(state, state.step - 1), reason };
  return decided(state, to, event, "warning", reason);
}

/** The confirm webhook has said go: for this step, and it holds until the next. */
export function confirmedBy(
  state: RolloutState,
  event: Extract<RolloutEvent, { type: "confirmed" }>,
): Decision {
  if (!isClimbing(state.phase) || state.step !== event.step)
    return mismatch("the step that was asked about is over");
  const to: RolloutState = { ...state, progress: { ...state.progress, isConfirmed: true } };
  return decided(state, to, "RAISE_CONFIRMED", "info", event.words);
}

/** The checks before a step have ended. Too late for another step, they are nobody's. */
export function checked(state: RolloutState, event: Extract<RolloutEvent, { type: "preflight" }>): Decision {
  const { step, passed, words } = event;
  if (!isClimbing(state.phase) || state.step !== step) return mismatch("the step that was checked is over");
  const progress = { ...state.progress, preflight: { passed, words } };
  if (passed) return decided(state, { ...state, progress }, "VALIDATION_COMPLETE", "info", words);
  const reason = `Paused: ${words}`;
  return decided(
    state,
    { ...state, progress, phase: "paused", reason },
    "VALIDATION_FAILED",
    "critical",
    words,
  );
}
