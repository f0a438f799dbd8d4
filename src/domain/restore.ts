/**
 * What a recorded state of before comes back as. Pure.
 *
 * A restore lowers at once and raises nothing, neither now nor by itself later: what would have more traffic than is in force, and what
 * would climb or begin, comes back paused, for a person to resume; who has signed signs anew. What protects stays: a cooldown that runs goes on, and an alarm that was under way
 * gives no weight back.
 */

import { NO_PROGRESS, atStep, calm, decided } from "./rollout-move.ts";
import type { Accepted, Phase, RolloutState } from "./rollout-types.ts";
import { NONE, millis, type Millis } from "./units.ts";

/** Phases that raise nothing by themselves. */
const RESTING: readonly Phase[] = ["idle", "paused", "succeeded", "rolled_back"];

/** `recorded` as it comes back where `present` is in force. `reason`: why it is as it is now, for people. */
export function asRestored(present: RolloutState, recorded: RolloutState, reason: string): RolloutState {
  const raises = recorded.weight > present.weight;
  const rests = RESTING.includes(recorded.phase) && (!raises || recorded.phase === "rolled_back");
  const longer = (a: Millis, b: Millis): Millis => millis(Math.max(a, b));
  return {
    ...recorded,
    phase: rests ? recorded.phase : "paused",
    weight: raises ? present.weight : recorded.weight,
    // What was served before says nothing about what comes now.
    heldMs: millis(0),
    progress:
      recorded.steps[recorded.step] === undefined ? NO_PROGRESS : atStep(recorded, recorded.step).progress,
    startsAtMs: 0,
    scheduled: null,
    clocks: {},
    cooldownLeftMs: longer(present.cooldownLeftMs, recorded.cooldownLeftMs),
    verifyLeftMs: longer(present.verifyLeftMs, recorded.verifyLeftMs),
    confirmation: calm(recorded.confirmation),
    trippedFrom: NONE,
    reason: rests ? recorded.reason : `Paused: ${reason}`,
    standsFor: rests ? recorded.standsFor : null,
    revision: present.revision,
  };
}

/** Whether a person's restore would be in the way of a rollout: a canary has traffic, or is about to have it back. */
export function holdsTraffic({ phase, weight, trippedFrom }: RolloutState): boolean {
  const isOpen = phase === "progressing" || phase === "baking" || phase === "paused";
  return isOpen && (weight > NONE || trippedFrom > NONE);
}

/** What becomes of a route when `recorded` is put in force. */
export function restored(
  present: RolloutState,
  recorded: RolloutState,
  { from, why }: { readonly from: string; readonly why: string },
): Accepted {
  const reason = `restored from ${from}`;
  const to = asRestored(present, recorded, reason);
  const decision = decided(present, to, "RESTORED", "warning", why === "" ? reason : `${reason}: ${why}`);
  const isSet = decision.effects.some(({ type }) => type === "set_weight");
  // The split says, too, whether people may choose the canary: not while it is rolled back.
  if (isSet || (present.phase === "rolled_back") === (to.phase === "rolled_back")) return decision;
  return { ...decision, effects: [{ type: "set_weight" }, ...decision.effects] };
}
