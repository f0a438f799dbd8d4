/** What comes next in a rollout, and when at the earliest, as the plan and the calendar have it. Pure. */

import { nextOpening } from "./calendar.ts";
import { formatLocal } from "./civil.ts";
import { isClimbing } from "./rollout-move.ts";
import { holdOf } from "./rollout-tick.ts";
import type { Calendar, RolloutState } from "./rollout-types.ts";
import { gateReading } from "./signatures.ts";
import { formatDuration, formatRate, millis } from "./units.ts";

/** The next milestone. */
export interface Milestone {
  /** In words, with its date where it has one; empty: nothing comes next. */
  readonly words: string;
  /** When at the earliest, wall-clock milliseconds; null: nobody knows. */
  readonly atMs: number | null;
}

const NOTHING: Milestone = { words: "", atMs: null };

/** What comes next where a rollout stands. */
export function milestoneOf(state: RolloutState, calendar: Calendar): Milestone {
  if (state.phase === "scheduled") {
    const words = `the start, ${formatLocal(state.startsAtMs, zoneOf(state))}`;
    return { words, atMs: state.startsAtMs };
  }
  if (isClimbing(state.phase)) return stepOf(state, calendar);
  if (state.phase === "paused") return { words: "a person resumes, or rolls back", atMs: null };
  if (state.phase === "rolled_back" && state.cooldownLeftMs > 0) {
    const left = formatDuration(millis(Math.ceil(state.cooldownLeftMs / 1000) * 1000));
    return {
      words: `a person starts anew, in ${left} at the earliest`,
      atMs: calendar.wall + state.cooldownLeftMs,
    };
  }
  return NOTHING;
}

function stepOf(state: RolloutState, { wall, freezes }: Calendar): Milestone {
  const { steps, step, progress, windows, weight } = state;
  const next = steps[step + 1];
  const rises = next !== undefined && next.weight > weight;
  const served = wall + Math.max(0, holdOf(state) - state.heldMs);
  const at = rises ? nextOpening(windows, freezes, served) : served;
  const what =
    next === undefined
      ? "the end of the rollout"
      : `${next.bake ? "the bake" : formatRate(next.weight)} (step ${step + 2} of ${steps.length})`;
  const when = at === null ? "no date" : `${formatLocal(at, zoneOf(state))} at the earliest`;
  const spec = steps[step]?.gate;
  const gate = spec === undefined || progress.gate === null ? null : gateReading(spec, progress.gate, wall);
  const asked = gate === null || gate.granted ? "" : `; ${gate.words}`;
  return { words: `${what}, ${when}${asked}`, atMs: at };
}

function zoneOf({ windows }: RolloutState): string {
  return windows[0]?.timezone ?? "UTC";
}
