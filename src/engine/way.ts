/** In what order a decision is carried out, and whether this replica may. Pure. */

import { lowersOrStops } from "../domain/lowering.ts";
import type { Accepted, Effect, RolloutState } from "../domain/rollout-types.ts";
import type { Pending } from "./adopting.ts";
import { recordedFirst } from "./effects.ts";
import type { Recorder } from "./recorder.ts";

/** How. */
export interface Way {
  /** It is in force once it is recorded, and not before. */
  readonly raises: boolean;
  readonly pending: Extract<Pending, "lowers" | "raises">;
  readonly effects: readonly Effect[];
  /** It comes into force by being recorded, although no weight is set. */
  readonly isRecordedFirst: boolean;
}

/**
 * How a decision is carried out; undefined: not here and now. What does not lower is the leader's to carry out, and where others look on they
 * would have it in force before its line in the journal fails: it waits until the journal takes lines again.
 */
export function wayOf(
  before: RolloutState,
  { state: to, effects }: Accepted,
  { leads, isShared, journals }: Pick<Recorder, "leads" | "isShared" | "journals">,
): Way | undefined {
  const lowers = lowersOrStops(before, to);
  if (!lowers && (!leads || (isShared && !journals))) return undefined;
  // Where others look on, what lowers nothing is in force once it is recorded, and not before.
  const isKept = effects.some(({ type }) => type === "save");
  const waits = isShared && !lowers && isKept && to.weight === before.weight;
  const raises = to.weight > before.weight || waits;
  const ordered = raises ? recordedFirst(effects) : effects;
  return {
    raises,
    pending: lowers ? "lowers" : "raises",
    effects: ordered,
    isRecordedFirst: waits && !ordered.some(({ type }) => type === "set_weight"),
  };
}
