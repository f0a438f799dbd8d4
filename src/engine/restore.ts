/** A restore: what a backup holds of each route, put in force the safe way (`domain/restore.ts`). */

import { refused, type Refusal } from "../domain/refusal.ts";
import { holdsTraffic, restored } from "../domain/restore.ts";
import type { Actor, Phase } from "../domain/rollout-types.ts";
import { percentOf, type Millis } from "../domain/units.ts";
import type { RecordedState } from "./ports.ts";
import { rolloutIn } from "./recorder.ts";
import type { RouteControl } from "./route-control.ts";

/** What is to be restored, and who says so. */
export interface RestoreOrder {
  /** The backup's name. */
  readonly from: string;
  /** What it holds, by route. */
  readonly states: Readonly<Record<string, RecordedState>>;
  /** Over a running rollout, or during a cooldown. */
  readonly force: boolean;
  readonly reason: string;
  readonly actor: Actor;
}

/** Where a route was and is; weights in percent. */
export interface RestoredRoute {
  readonly route: string;
  readonly before: { readonly phase: Phase; readonly weight: number };
  readonly after: { readonly phase: Phase; readonly weight: number };
}

/** What became of a restore. A refusal changes nothing. */
export type RestoreResult =
  | {
      readonly ok: true;
      readonly routes: readonly RestoredRoute[];
      /** Routes of the backup that are not configured now. */
      readonly missing: readonly string[];
    }
  | Refusal;

/** Puts `order` in force; what it lowers is lower when this returns. Resolves when all of it is recorded, or cannot be just now. */
export async function restoreRoutes(
  routes: readonly RouteControl[],
  order: RestoreOrder,
  now: Millis,
): Promise<RestoreResult> {
  const { from, states, reason: why, actor } = order;
  const running = routes.find(({ state }) => holdsTraffic(state));
  if (running !== undefined && !order.force) {
    const { phase, weight } = running.state;
    const message = `${running.config.name} is ${phase} at ${percentOf(weight)} %: roll it back first, or force with a reason`;
    return { ok: false, code: "SPLIT_PHASE_MISMATCH", message };
  }
  const decisions = routes.flatMap((route) => {
    const recorded = Object.hasOwn(states, route.config.name) ? states[route.config.name] : undefined;
    if (recorded === undefined) return [];
    // Evidence of then is none about what is served from now on.
    return [
      { route, before: route.state, decision: restored(route.state, rolloutIn(recorded), { from, why }) },
    ];
  });
  const cooling = decisions.find(
    ({ before, decision }) => before.cooldownLeftMs > 0 && decision.state.phase === "paused",
  );
  // From paused it is one step to the weight that was rolled back.
  if (cooling !== undefined && !order.force) {
    const message = `${cooling.route.config.name} was rolled back and is in its cooldown: wait, or force with a reason`;
    return { ok: false, code: "SPLIT_COOLDOWN", message };
  }
  await Promise.all(decisions.map(({ route, decision }) => route.carryOut(decision, actor.name, now)));
  const configured = new Set(routes.map(({ config }) => config.name));
  return {
    ok: true,
    routes: decisions.map(({ route, before, decision: { state } }) => ({
      route: route.config.name,
      before: { phase: before.phase, weight: percentOf(before.weight) },
      after: { phase: state.phase, weight: percentOf(state.weight) },
    })),
    missing: Object.keys(states).filter((name) => !configured.has(name)),
  };
}

/** Why a follower restores nothing. @param leader empty: none is known */
export function notHere(leader: string): Refusal {
  const whom = leader === "" ? "none leads just now" : `ask ${leader}, which leads`;
  return refused("SPLIT_NO_LEADER", `a backup is restored by the replica that leads: ${whom}`);
}
