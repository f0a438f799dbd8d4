/** What alert rules see in what was measured, and what follows from alerts that stay open. Pure. */

import { lastingWords, rulesText } from "./alert-message.ts";
import { alertWords, type AlertLimit, type AlertRule, type Target } from "./alert-rule.ts";
import { openMetrics, type AlertSight, type AlertState } from "./alert.ts";
import { isShared, measuredBy, type Health, type LimitRule } from "./judge.ts";
import { isUnderWay } from "./rollout-move.ts";
import type { RolloutState } from "./rollout-types.ts";
import type { Check } from "./rule.ts";
import { NONE, type Millis } from "./units.ts";
import type { Reading } from "./window.ts";

/** What was measured: the same that is judged. */
export interface AlertReadings {
  readonly canary: (windowMs: Millis) => Reading;
  readonly stable: (windowMs: Millis) => Reading;
  /** The canary's. */
  readonly health: Health;
}

/** What each rule about a metric sees now. */
export function alertSights(
  rules: readonly AlertRule[],
  state: RolloutState,
  readings: AlertReadings,
): readonly AlertSight[] {
  // What an alarm has taken away for a moment is still due.
  const isDue = state.weight > NONE || state.trippedFrom > NONE;
  return rules.flatMap(({ severity, when }) => {
    if ("event" in when) return [];
    const sight = {
      subject: when.metric,
      severity,
      words: alertWords(when),
      forMs: when.for,
      isShared: false,
    };
    if (when.metric === "health_failures") {
      const isWatched = isDue || isUnderWay(state);
      return [
        {
          ...sight,
          is: isWatched ? healthIs(readings.health, when.atLeast) : "within",
          value: isWatched ? readings.health.failures : null,
        },
      ];
    }
    if (!isDue) return [{ ...sight, is: "within", value: null }];
    return [{ ...sight, ...limitSight(when, readings) }];
  });
}

function healthIs({ failures }: Health, atLeast: number): AlertSight["is"] {
  if (failures >= atLeast) return "over";
  // One that fails now and then is not well, either.
  return failures === 0 ? "within" : "unknown";
}

function limitSight(
  limit: AlertLimit,
  { canary, stable }: AlertReadings,
): Pick<AlertSight, "is" | "value" | "isShared"> {
  const rule: LimitRule = limit.metric === "error_rate" ? limit : { ...limit, of: "worse" };
  const reading = canary(limit.window);
  const { enough, value, breach } = measuredBy(rule, reading);
  if (!enough) return { is: "unknown", value: null, isShared: false };
  return {
    is: breach ? "over" : "within",
    value,
    isShared: breach && isShared(rule, reading, stable(limit.window)),
  };
}

/** A target as something that a reading can be measured by. */
export function limitOf(target: Target, minRequests: number): LimitRule {
  return target.metric === "error_rate"
    ? { metric: target.metric, above: target.below, minRequests }
    : { metric: target.metric, above: target.below, minRequests, of: "worse" };
}

/** What follows when alerts about metrics stay open; undefined: nothing. */
export function lastingCheck(
  { after, do: action }: { readonly after: Millis; readonly do: "nothing" | "pause" | "rollback" },
  state: AlertState,
): Check | undefined {
  if (action === "nothing") return undefined;
  const open = openMetrics(state);
  const failed = open.length > 0 && state.warnedMs >= after;
  return {
    rule: lastingWords(after),
    tier: "warning",
    action,
    kind: open.length === 0 ? "successful" : failed ? "failed" : "inconclusive",
    observed: open.length,
    limit: 0,
    unit: "count",
    have: 1,
    need: 1,
    breachMs: open.length === 0 ? null : state.warnedMs,
    forMs: after,
    detail: open.length === 0 ? "no alert about the canary is open" : rulesText(open),
  };
}
