/**
 * Lowering that meets something newer. Pure.
 *
 * Any replica may lower, at once and on its own; only the leader raises. So a decision that lowers may find, when it comes to be recorded, that another
 * one was recorded meanwhile. Then what is newer is taken, and the lowering is applied to it: the result has never more traffic on the canary
 * than either of the two.
 */

import { NO_PROGRESS, ZERO, calm, isClimbing } from "./rollout-move.ts";
import type { Command, RolloutState } from "./rollout-types.ts";
import { NONE, millis, ppm, type Millis, type Ppm } from "./units.ts";

/** Whether a decision takes traffic from the canary for certain: what a replica may do by itself, whoever leads. */
export function takesAway(from: RolloutState, to: RolloutState): boolean {
  if (to.id !== from.id || to.weight > from.weight) return false;
  return to.weight < from.weight || (to.phase === "rolled_back" && from.phase !== "rolled_back");
}

/** Whether a decision lowers or stops: what any replica may be asked for, and what may be recorded without the lease. */
export function lowersOrStops(from: RolloutState, to: RolloutState): boolean {
  if (takesAway(from, to)) return true;
  const isSame = to.id === from.id && to.weight === from.weight;
  return isSame && isClimbing(from.phase) && to.phase === "paused";
}

/** Whether a command lowers or stops, and so waits for nothing. */
export function overtakes(command: Command, { weight }: RolloutState): boolean {
  if (command.type === "set_weight") return command.weight <= weight;
  return ["rollback", "pause", "reject", "step_back"].includes(command.type);
}

/** What `theirs` becomes by what has lowered or stopped `mine`; null: it is as low, or of another rollout, and stays what it is. */
export function loweredAgain(theirs: RolloutState, mine: RolloutState): RolloutState | null {
  if (theirs.id !== mine.id) return null;
  const part = loweringOf(theirs, mine);
  if (part === null) return null;
  const { reason, standsFor } = mine;
  return { ...theirs, ...part, reason, standsFor, revision: theirs.revision + 1 };
}

function loweringOf(theirs: RolloutState, mine: RolloutState): Partial<RolloutState> | null {
  const weight = lesser(theirs.weight, mine.weight);
  if (theirs.phase === "rolled_back") {
    return mine.phase === "rolled_back" && weight < theirs.weight ? { weight } : null;
  }
  if (mine.phase === "rolled_back") return rolledBackTo(weight, theirs, mine);
  if (mine.confirmation.phase === "tripped") return trippedAs(theirs, mine, mine.confirmation);
  if (mine.phase === "paused") return pausedAt(weight, theirs, mine);
  if (theirs.step <= mine.step) return null;
  const { phase, step, progress } = mine;
  return {
    phase,
    step,
    progress,
    weight,
    heldMs: ZERO,
    trippedFrom: NONE,
    confirmation: calm(theirs.confirmation),
  };
}

function rolledBackTo(weight: Ppm, theirs: RolloutState, mine: RolloutState): Partial<RolloutState> {
  return {
    phase: "rolled_back",
    weight,
    trippedFrom: NONE,
    confirmation: calm(theirs.confirmation),
    progress: NO_PROGRESS,
    clocks: {},
    cooldownLeftMs: longer(theirs.cooldownLeftMs, mine.cooldownLeftMs),
    verifyLeftMs: longer(theirs.verifyLeftMs, mine.verifyLeftMs),
  };
}

function trippedAs(
  theirs: RolloutState,
  mine: RolloutState,
  alarm: Extract<RolloutState["confirmation"], { phase: "tripped" }>,
): Partial<RolloutState> | null {
  const isStopped = mine.phase === "paused" && isClimbing(theirs.phase);
  const stop: Partial<RolloutState> = isStopped ? { phase: "paused" } : {};
  if (theirs.weight === NONE) return isStopped ? stop : null;
  // Each replica counts its own time in service.
  const untilMs = alarm.untilMs - mine.servedMs + theirs.servedMs;
  return { ...stop, weight: NONE, trippedFrom: theirs.weight, confirmation: { ...alarm, untilMs } };
}

function pausedAt(weight: Ppm, theirs: RolloutState, mine: RolloutState): Partial<RolloutState> | null {
  const { phase } = theirs;
  if (mine.standsFor !== "manual_weight") return isClimbing(phase) ? { phase: "paused" } : null;
  const isThere = phase === "paused" && weight === theirs.weight && theirs.trippedFrom === NONE;
  if (isThere) return null;
  return { phase: "paused", weight, trippedFrom: NONE, confirmation: calm(theirs.confirmation) };
}

function lesser(a: Ppm, b: Ppm): Ppm {
  return ppm(Math.min(a, b));
}

function longer(a: Millis, b: Millis): Millis {
  return millis(Math.max(a, b));
}
