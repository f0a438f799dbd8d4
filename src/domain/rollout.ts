/**
 * The rules of a rollout: (state, event, policy) → next state and what to do about it, in order. Pure.
 *
 * Here is what people may ask for; what time does is in `rollout-tick.ts`, what is said at gates in `rollout-gate.ts`, and the moves that all
 * of them make, with the order of recording and acting, in `rollout-move.ts`.
 */

import { checkAnnounce } from "./calendar.ts";
import { formatLocal } from "./civil.ts";
import { approve, checked, confirmedBy, extend, refuse, stepBack } from "./rollout-gate.ts";
import {
  IDLE,
  MANUAL_WEIGHT,
  ZERO,
  atStep,
  calm,
  climb,
  decided,
  isClimbing,
  isUnderWay,
  mismatch,
  rolledBack,
} from "./rollout-move.ts";
import { alarmed, closedFor, grantedOf, isHeldBackAt, passTime, webhookOf } from "./rollout-tick.ts";
import { refused, type Refusal } from "./refusal.ts";
import type {
  Calendar,
  Command,
  Decision,
  RollbackPolicy,
  RolloutEvent,
  RolloutState,
  StableCondition,
} from "./rollout-types.ts";
import { NONE, formatStep, ppm, type Ppm } from "./units.ts";

type Said<T extends Command["type"]> = Extract<RolloutEvent, { type: T }>;
type Asked = Said<Command["type"]>;

/** A calendar with nothing in it. */
const ANY_TIME: Calendar = { wall: 0, freezes: [] };

/** What becomes of a rollout when something happens to it. A refusal changes nothing. */
export function decide(
  state: RolloutState,
  event: RolloutEvent,
  policy: RollbackPolicy,
  stable: StableCondition,
  calendar: Calendar = ANY_TIME,
): Decision {
  switch (event.type) {
    case "tick":
      return passTime(state, event, policy, stable, calendar);
    case "alarm":
      return alarmed(state, event.rule, policy, stable);
    case "preflight":
      return checked(state, event);
    case "confirmed":
      return confirmedBy(state, event);
    default:
      return unlessFrozen(state, event, asked(state, event, policy, calendar), calendar);
  }
}

/** Verbs that let a weight rise, at once or in time. */
const RAISING: ReadonlySet<Command["type"]> = new Set(["start", "retry", "resume", "promote"]);

/** In an emergency nothing rises, and nothing is begun that would: force is for what was known before it. */
function unlessFrozen(state: RolloutState, event: Asked, decision: Decision, { frozen }: Calendar): Decision {
  if (frozen === undefined || !decision.ok) return decision;
  if (!RAISING.has(event.type) && decision.state.weight <= state.weight) return decision;
  return mismatch(`${frozen}: nothing rises until it is off`);
}

/** What becomes of it when somebody asks for something. */
function asked(state: RolloutState, event: Asked, policy: RollbackPolicy, calendar: Calendar): Decision {
  switch (event.type) {
    case "start":
      return start(state, event, calendar);
    case "retry":
      return retry(state, event, calendar);
    case "pause":
      return pause(state, event.reason);
    case "resume":
      return resume(state, event.reason, calendar);
    case "promote":
      return promote(state, event, calendar);
    case "approve":
      return approve(state, event, calendar);
    case "reject":
      return refuse(state, event, policy);
    case "extend":
      return extend(state, event);
    case "step_back":
      return stepBack(state, event);
    case "rollback":
      return rollBackByHand(state, event.reason, policy);
    case "set_weight":
      return setWeight(state, event, calendar);
    default:
      return event satisfies never;
  }
}

function rollBackByHand(state: RolloutState, reason: string, policy: RollbackPolicy): Decision {
  if (state.phase === "idle") return mismatch("there is nothing to roll back");
  // Asked twice is done once.
  if (state.phase === "rolled_back" && state.weight === NONE)
    return { ok: true, state, effects: [], reason: "" };
  if (state.phase === "scheduled") {
    const to: RolloutState = { ...IDLE, revision: state.revision };
    return decided(state, to, "SCHEDULE_CANCELLED", "info", reason);
  }
  return rolledBack(state, NONE, reason, policy);
}

function start(state: RolloutState, event: Said<"start">, calendar: Calendar): Decision {
  const barred = startBarred(state, event, calendar);
  if (barred !== null) return barred;
  const { steps, windows = [], startsAtMs = calendar.wall, reason: why } = event;
  const fresh: RolloutState = {
    ...IDLE,
    id: event.rolloutId,
    steps,
    windows,
    version: event.version,
    revision: state.revision,
    startedAt: event.at,
  };
  if (startsAtMs > calendar.wall) {
    const time = `scheduled for ${formatLocal(startsAtMs, windows[0]?.timezone ?? "UTC")}`;
    const reason = why === "" ? time : `${time}: ${why}`;
    const scheduled = { by: event.actor.name, reason: why };
    const to: RolloutState = { ...fresh, phase: "scheduled", startsAtMs, scheduled, reason };
    return decided(state, to, "ROLLOUT_SCHEDULED", "warning", reason);
  }
  const rises = steps[0]!.weight > NONE && !event.force;
  const barrier = rises ? closed(fresh, calendar) : null;
  if (barrier !== null) return barrier;
  return decided(state, { ...fresh, ...atStep(fresh, 0) }, "DEPLOY_START", "info", why);
}

/** Why a rollout may not start; null when it may. */
function startBarred(state: RolloutState, event: Said<"start">, { wall }: Calendar): Refusal | null {
  const { steps, force: isForced, announce, startsAtMs = wall } = event;
  if (steps.length === 0) return refused("SPLIT_INPUT_INVALID", "a plan needs at least one step");
  if (isUnderWay(state) && !isForced) return mismatch("a rollout is under way: roll it back first, or force");
  if (state.cooldownLeftMs > 0 && !isForced) return coolingDown(state);
  if (startsAtMs > wall && state.weight > NONE)
    return mismatch("the canary still has traffic: set its weight to 0 before a start is scheduled");
  const notice = announce && checkAnnounce(startsAtMs, announce.noticeMs, wall, announce.waiver);
  return notice?.ok === false ? notice : null;
}

/** Again from step 0 after a rollback; or the checks before a step once more. */
function retry(state: RolloutState, event: Said<"retry">, calendar: Calendar): Decision {
  const { reason, actor, rolloutId, at, force } = event;
  if (state.phase === "rolled_back" && state.steps.length > 0) {
    const { steps, windows, version } = state;
    const again = {
      type: "start",
      steps,
      windows,
      version,
      force,
      reason,
      actor,
      rolloutId,
      at,
    } as const;
    return start(state, again, calendar);
  }
  if (state.phase === "paused" && state.progress.preflight?.passed === false) {
    if (state.weight !== state.steps[state.step]!.weight)
      return mismatch("the weight is not the step's: resume, and the checks are run again");
    const to: RolloutState = {
      ...state,
      phase: state.steps[state.step]?.bake === true ? "baking" : "progressing",
      progress: { ...state.progress, preflight: null },
      reason: "",
      standsFor: null,
    };
    return decided(state, to, "VALIDATION_RETRIED", "info", reason);
  }
  return mismatch(`there is nothing to try again: the rollout is ${state.phase}`);
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

function resume(state: RolloutState, reason: string, calendar: Calendar): Decision {
  const present = state.steps[state.step];
  if (state.phase !== "paused") return mismatch(`a rollout that is ${state.phase} cannot be resumed`);
  if (present === undefined) return mismatch("there is no plan to resume: the weight was set by hand");
  const rises = present.weight > state.weight && state.trippedFrom === NONE;
  const barrier = rises ? closed(state, calendar) : null;
  if (barrier !== null) return barrier;
  const to: RolloutState = {
    ...state,
    phase: present.bake ? "baking" : "progressing",
    weight: present.weight,
    trippedFrom: NONE,
    confirmation: calm(state.confirmation),
    // Another weight is another test: what was served at the weight set by hand does not count as the step's.
    heldMs: state.weight === present.weight ? state.heldMs : ZERO,
    progress: {
      ...state.progress,
      // Only who resumes at the end of the step has been waited for.
      isResumed: state.progress.isResumed || state.standsFor === "person",
      preflight: state.progress.preflight?.passed === true ? state.progress.preflight : null,
    },
    reason: "",
    standsFor: null,
  };
  return decided(state, to, "ROLLOUT_RESUMED", "info", reason);
}

function promote(state: RolloutState, event: Said<"promote">, calendar: Calendar): Decision {
  const refusal =
    promoteRefused(state, event) ?? (event.force === true ? null : barredBy(state, event.full, calendar));
  if (refusal !== null) return refusal;
  if (!event.full) return climb(state, event.reason);
  const last = state.steps.length - 1;
  const { bake, weight, holdback = NONE } = state.steps[last]!;
  const isThere = state.step === last && meantBy(state) === weight;
  const to: RolloutState = {
    ...state,
    ...atStep(state, last),
    ...(isThere ? { heldMs: state.heldMs, progress: state.progress } : {}),
    ...(bake ? {} : { phase: "succeeded" as const, weight: ppm(weight + holdback) }),
    reason: event.reason,
  };
  return decided(state, to, bake ? "STEP_STARTED" : "DEPLOY_SUCCESS", "info", event.reason);
}

/** The weight that is in force, or comes back after an alarm. */
function meantBy({ weight, trippedFrom }: RolloutState): Ppm {
  return weight > NONE ? weight : trippedFrom;
}

/** Why a promotion makes no sense; null when it does. */
function promoteRefused(state: RolloutState, { step, full }: Said<"promote">): Refusal | null {
  const open = isClimbing(state.phase) || state.phase === "paused";
  if (!open) return mismatch(`a rollout that is ${state.phase} cannot be promoted`);
  const present = state.steps[state.step];
  if (present === undefined) return mismatch("there is no plan to promote: the weight was set by hand");
  if (step !== null && step !== state.step)
    return mismatch(`the rollout is at ${formatStep(state.step)} by now, not at ${formatStep(step)}`);
  const isEnd = state.step === state.steps.length - 1 && !full;
  return isEnd && meantBy(state) !== present.weight
    ? mismatch("the weight is not the step's: resume first")
    : null;
}

/** What a person may not promote over without force: people's word, what was found beforehand, an alarm, the calendar, and another program's word. */
function barredBy(state: RolloutState, full: boolean, calendar: Calendar): Refusal | null {
  const skipped = full ? state.steps.slice(state.step + 1) : [];
  if (skipped.some(({ gate, preflight }) => gate !== undefined || preflight === true))
    return mismatch("there are gates or checks on the way: promote step by step, or force with a reason");
  if (state.confirmation.phase !== "armed")
    return mismatch("an alarm is being confirmed, or shown to be over: wait for it, or force with a reason");
  const wait = grantedOf(state, calendar) ?? webhookOf(state, calendar);
  if (wait !== null) return mismatch(`${wait.words}: wait for it, or force with a reason`);
  const next = state.steps[full ? state.steps.length - 1 : state.step + 1];
  const rises = next === undefined ? isHeldBackAt(state) : next.weight > state.weight;
  return rises ? closed(state, calendar) : null;
}

function setWeight(state: RolloutState, event: Said<"set_weight">, calendar: Calendar): Decision {
  const rises = event.weight > state.weight;
  if (rises && state.cooldownLeftMs > 0 && !event.force) return coolingDown(state);
  if (state.phase === "scheduled")
    return mismatch("a rollout is scheduled: cancel it first, by rolling it back");
  const barrier = rises && !event.force ? notGranted(state, calendar) : null;
  if (barrier !== null) return barrier;
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
      standsFor: "manual_weight",
    },
    "WEIGHT_SET",
    "info",
    event.reason,
  );
}

function coolingDown(state: RolloutState): Refusal {
  const seconds = Math.ceil(state.cooldownLeftMs / 1000);
  const message = `the last rollback was at most ${seconds} s of cooldown ago: wait, or force with a reason`;
  return refused("SPLIT_COOLDOWN", message);
}

/** Why nobody may raise by hand while a plan stands where it does. */
function notGranted(state: RolloutState, calendar: Calendar): Refusal | null {
  const wait = isUnderWay(state) ? grantedOf(state, calendar) : null;
  return wait === null
    ? closed(state, calendar)
    : mismatch(`${wait.words}: wait for it, or force with a reason`);
}

/** Why the weight may not rise now; null when it may. */
function closed(state: RolloutState, calendar: Calendar): Refusal | null {
  const why = closedFor(state, calendar);
  return why === null ? null : mismatch(`${why}: wait, or force with a reason`);
}
