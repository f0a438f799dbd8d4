/** Has a route follow what another replica has decided. */

import type { Millis } from "../domain/units.ts";
import { followed, isSameDecision, moveOf } from "./adopting.ts";
import type { RecordedState } from "./ports.ts";
import { rolloutIn } from "./recorder.ts";
import type { RouteControl } from "./route-control.ts";

/** Puts it in force. @param route undefined: it is not configured here */
export function adopt(route: RouteControl | undefined, recorded: RecordedState, now: Millis): void {
  if (route === undefined) return;
  const from = route.state;
  const to = followed(from, rolloutIn(recorded));
  const isOwn = route.follow(to, recorded);
  if (isSameDecision(from, to)) return;
  const { isMoved, isAlarm, isCut } = moveOf(from, to);
  if (isMoved) {
    route.stats.since = now;
    route.evidence.reweigh(to);
  }
  if (isAlarm) route.evidence.trip();
  if (isCut) route.closeLongLived();
  if (isOwn) return;
  const reason = to.reason === "" ? "decided by another replica" : to.reason;
  void route.note("STATE_ADOPTED", "replica", reason, from);
}
