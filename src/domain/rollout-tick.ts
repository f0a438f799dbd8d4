/**
 * What becomes of a rollout as time passes: holds are served, breaches roll back, alarms take the weight away and give it back, and when all that a step
 * asks for is there, it climbs. Pure.
 */

import { isOpen, whyClosed } from "./calendar.ts";
import { confirmed, type ConfirmEvent } from "./evidence/confirm.ts";
import type { Verdict } from "./judge.ts";
import type { Check, Tier, VerdictKind } from "./rule.ts";
import { atStep, climb, decided, isClimbing, rollBackFor, rolledBack } from "./rollout-move.ts";
import type {
  Accepted,
  Calendar,
  RollbackPolicy,
  RolloutEvent,
  RolloutState,
  StableCondition,
} from "./rollout-types.ts";
import { gateReading } from "./signatures.ts";
import { NONE, formatDuration, millis, type Millis } from "./units.ts";

/** Everything that there is to wait for. */
export const WAITS = [
  "start",
  "emergency",
  "preflight",
  "hold",
  "evidence",
  "confirmation",
  "gate",
  "health",
  "resume",
  "window",
  "webhook",
] as const;

/** What a rollout waits for, the first of what is missing; null: nothing, or it does not climb. */
export interface Wait {
  readonly for: (typeof WAITS)[number];
  /** One sentence. */
  readonly words: string;
}

/** The reason shown while a step waits at its end for a person. */
export const PAUSE_STEP = "Paused: the plan waits here for a person";

/** What becomes of a rollout as time passes; never refused. */
export function passTime(
  before: RolloutState,
  { verdict, elapsedMs: elapsed, responses }: Extract<RolloutEvent, { type: "tick" }>,
  policy: RollbackPolicy,
  stable: StableCondition,
  calendar: Calendar,
): Accepted {
  const passed = afterAll(before, verdict, elapsed);
  // In an emergency the canary has no traffic: no hold is served, and what is verified is not what a rollback has left.
  const state: RolloutState = calendar.frozen === undefined ? afterServing(passed, elapsed) : passed;
  const all = verdict.checks.filter((check) => check.kind === "failed");
  // An alarm has its own way: first it takes the weight away for a moment.
  const alarm = all.find((check) => check.tier === "catastrophic" && check.action === "rollback");
  const failed = all.filter((check) => check.tier !== "catastrophic" || check.action !== "rollback");
  if (isOut(state) && failed.some((check) => check.action === "rollback")) {
    return rollBack(state, failed, policy, stable);
  }
  if (state.weight > NONE && alarm !== undefined) return alarmed(state, alarm.rule, policy, stable);
  if (isClimbing(state.phase) && failed.some((check) => check.action === "pause")) {
    const reason = `Paused: ${rulesOf(failed)}`;
    return decided(state, { ...state, phase: "paused", reason }, "ROLLOUT_PAUSED", "warning", reason);
  }
  if (calendar.frozen !== undefined) return { ok: true, state, effects: [], reason: "" };
  const proven = passConfirmation(state, responses);
  if (proven.effects.length > 0) return proven;
  return settle(before, proven.state, verdict, stable, calendar);
}

/** Whether the canary has traffic; what an alarm took away is still to come back. */
function isOut({ weight, trippedFrom }: RolloutState): boolean {
  return weight > NONE || trippedFrom > NONE;
}

/** What passes whoever has the traffic. */
function afterAll(before: RolloutState, { clocks }: Verdict, elapsed: Millis): RolloutState {
  return {
    ...before,
    clocks,
    cooldownLeftMs: millis(Math.max(0, before.cooldownLeftMs - elapsed)),
  };
}

/** What passes while the split is what the rollout says. */
function afterServing(before: RolloutState, elapsed: Millis): RolloutState {
  return {
    ...before,
    servedMs: isOut(before) ? millis(before.servedMs + elapsed) : before.servedMs,
    heldMs: isHolding(before) ? millis(before.heldMs + elapsed) : before.heldMs,
    progress: afterTime(before, elapsed),
    verifyLeftMs: millis(Math.max(0, before.verifyLeftMs - elapsed)),
  };
}

/** Nearer to the next snapshot. */
function afterTime(state: RolloutState, elapsed: Millis): RolloutState["progress"] {
  const { progress } = state;
  if (progress.checkpointInMs === null || !isHolding(state)) return progress;
  return { ...progress, checkpointInMs: millis(Math.max(0, progress.checkpointInMs - elapsed)) };
}

/** What follows when nothing has failed. */
function settle(
  before: RolloutState,
  state: RolloutState,
  { kind, checks }: Pick<Verdict, "kind" | "checks">,
  stable: StableCondition,
  calendar: Calendar,
): Accepted {
  if (state.phase === "scheduled") return begin(state, calendar);
  if (isHolding(state)) {
    const wait = waitOf(state, kind, calendar, checks);
    if (wait === null) return climb(state, "");
    if (wait.for === "gate" && !state.progress.isGateOpen) {
      const to: RolloutState = { ...state, progress: { ...state.progress, isGateOpen: true } };
      return decided(state, to, "GATE_OPENED", "warning", wait.words);
    }
    if (wait.for === "resume") {
      const to: RolloutState = { ...state, phase: "paused", reason: PAUSE_STEP, standsFor: "person" };
      return decided(state, to, "ROLLOUT_PAUSED", "warning", PAUSE_STEP);
    }
    if (state.progress.checkpointInMs === 0) return checkpoint(state);
  }
  if (before.verifyLeftMs > 0 && state.verifyLeftMs === 0) {
    const { wrong, reason } = verified(state, stable);
    return decided(state, state, "ROLLBACK_VERIFIED", wrong ? "emergency" : "info", reason);
  }
  return { ok: true, state, effects: [], reason: "" };
}

/** What is found when a rollback has stood for its time: nobody on the canary, and stable well. */
function verified(
  { weight }: RolloutState,
  { healthy, canaryRequests = 0 }: StableCondition,
): { readonly wrong: boolean; readonly reason: string } {
  const strays = weight === NONE ? canaryRequests : 0;
  const left =
    strays > 0
      ? `, and the canary still had ${strays} requests in the last minute`
      : ", and the canary had no request";
  const told = weight === NONE ? left : "";
  const how = healthy ? "healthy" : "unhealthy";
  return { wrong: !healthy || strays > 0, reason: `stable is ${how} after the rollback${told}` };
}

/** A snapshot into the journal, from which the report is made. Nothing is decided. */
function checkpoint(state: RolloutState): Accepted {
  // What is due was set from the step.
  const everyMs = state.steps[state.step]!.checkpointMs!;
  const to: RolloutState = { ...state, progress: { ...state.progress, checkpointInMs: everyMs } };
  return { ok: true, state: to, effects: [{ type: "journal", event: "CHECKPOINT" }], reason: "" };
}

/** A scheduled rollout begins when its time has come and a window is open. */
function begin(state: RolloutState, { wall, freezes }: Calendar): Accepted {
  const nothing: Accepted = { ok: true, state, effects: [], reason: "" };
  if (wall < state.startsAtMs || !isOpen(state.windows, freezes, wall)) return nothing;
  const to: RolloutState = { ...state, ...atStep(state, 0), startsAtMs: 0, scheduled: null, reason: "" };
  const time = "the time that it was scheduled for has come";
  // A state document of before does not say who has asked.
  if (state.scheduled === null) return decided(state, to, "DEPLOY_START", "info", time);
  const { by, reason } = state.scheduled;
  const why = reason === "" ? time : `${reason} (${time})`;
  return { ...decided(state, to, "DEPLOY_START", "info", why), by };
}

/** What a rollout waits for before it climbs; null when for nothing. Of one that does not climb: null, or its start. */
export function waitOf(
  state: RolloutState,
  kind: VerdictKind,
  calendar: Calendar,
  checks: readonly Check[] = [],
): Wait | null {
  if (state.phase === "scheduled") {
    return { for: "start", words: `begins in ${spanOf(state.startsAtMs - calendar.wall)}` };
  }
  if (!isClimbing(state.phase)) return null;
  return (
    emergencyOf(calendar) ??
    checksOf(state) ??
    dueOf(state, kind, checks) ??
    gateOf(state, calendar) ??
    healthOf(state, calendar) ??
    resumeOf(state) ??
    windowOf(state, calendar) ??
    webhookOf(state, calendar)
  );
}

/** What of the present step is neither found well nor granted; null: it is, or asks for nothing. */
export function grantedOf(state: RolloutState, calendar: Calendar): Wait | null {
  return checksOf(state) ?? gateOf(state, calendar) ?? healthOf(state, calendar);
}

function emergencyOf({ frozen }: Calendar): Wait | null {
  return frozen === undefined ? null : { for: "emergency", words: frozen };
}

/** What a gate asks of the program itself. Asked of the present moment: what was well an hour ago grants nothing. */
function healthOf({ steps, step }: RolloutState, { unwell }: Calendar): Wait | null {
  if (steps[step]?.gate?.health !== true || unwell === undefined) return null;
  return { for: "health", words: `waits for the health checks: ${unwell}` };
}

function checksOf({ steps, step, progress }: RolloutState): Wait | null {
  if (steps[step]?.preflight === undefined || progress.preflight?.passed === true) return null;
  return { for: "preflight", words: progress.preflight?.words ?? "everything is checked before it is left" };
}

function dueOf(state: RolloutState, kind: VerdictKind, checks: readonly Check[]): Wait | null {
  if (state.confirmation.phase !== "armed")
    return { for: "confirmation", words: "an alarm is being confirmed, or shown to be over" };
  const left = holdOf(state) - state.heldMs;
  if (left > 0) return { for: "hold", words: `${spanOf(left)} of its hold are left` };
  return kind === "successful" ? null : { for: "evidence", words: missingWords(checks) };
}

/** What a step is held for, with the limits that are not met in full. */
function missingWords(checks: readonly Check[]): string {
  const asked = checks.filter(({ kind, tier }) => kind !== "successful" && WHY.has(tier));
  const said = asked.map(({ rule, detail }) => `${rule}: ${detail}`);
  return ["not every rule has what it needs to say that all is well", ...said].join("; ");
}
const WHY: ReadonlySet<Tier> = new Set(["promotion", "warning"]);

function gateOf({ steps, step, progress }: RolloutState, { wall }: Calendar): Wait | null {
  const spec = steps[step]?.gate;
  if (spec === undefined || progress.gate === null) return null;
  const { granted, words } = gateReading(spec, progress.gate, wall);
  return granted ? null : { for: "gate", words };
}

function resumeOf({ steps, step, progress }: RolloutState): Wait | null {
  return steps[step]?.pause === true && !progress.isResumed
    ? { for: "resume", words: "a person has to resume" }
    : null;
}

/** Whether the webhook is still to say go. Asked last, when the weight could rise at once: what another program says holds for now. */
export function webhookOf({ progress }: RolloutState, { confirms }: Calendar): Wait | null {
  if (confirms !== true || progress.isConfirmed) return null;
  return { for: "webhook", words: "the confirm webhook has not said go" };
}

/** Why the weight may not rise now; null when it may, or would not. */
export function closedFor(
  { windows }: Pick<RolloutState, "windows">,
  { wall, freezes }: Calendar,
): string | null {
  return isOpen(windows, freezes, wall) ? null : whyClosed(windows, freezes, wall);
}

/** Whether the end of the plan still raises: by what was held back. */
export function isHeldBackAt({ steps, step }: RolloutState): boolean {
  return steps[step]?.holdback !== undefined;
}

function windowOf(state: RolloutState, calendar: Calendar): Wait | null {
  const next = state.steps[state.step + 1];
  const rises = next === undefined ? isHeldBackAt(state) : next.weight > state.weight;
  const words = rises ? closedFor(state, calendar) : null;
  return words === null ? null : { for: "window", words };
}

function spanOf(ms: number): string {
  return formatDuration(millis(Math.max(0, Math.ceil(ms / 1000) * 1000)));
}

/** Whether time counts as the step's: the canary has its traffic. */
function isHolding({ phase, confirmation }: RolloutState): boolean {
  return isClimbing(phase) && confirmation.phase !== "tripped";
}

/** An alarm of the fast tier: the canary's weight goes at once, for ten seconds the first time and for good the second (statistics.md §3.2). */
export function alarmed(
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
  const to: RolloutState = {
    ...state,
    confirmation,
    weight: NONE,
    trippedFrom: state.weight,
    reason,
    standsFor: null,
  };
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
  const to: RolloutState = {
    ...next,
    weight,
    trippedFrom: NONE,
    reason: "Probing after an alarm",
    standsFor: null,
  };
  return decided(state, to, "TRIP_PROBED", "info", reason);
}

/** A climbing rollout always stands on a step of its plan. */
export function holdOf({ steps, step, progress }: RolloutState): number {
  return steps[step]!.holdMs + progress.extendedMs;
}

function rulesOf(checks: readonly Check[]): string {
  return checks.map((check) => check.rule).join("; ");
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
