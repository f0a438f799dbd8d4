/** What a route reads once a second, in the form in which it is judged. */

import type { RouteConfig } from "../config/schema.ts";
import type { AlertReadings } from "../domain/alert-sight.ts";
import type { Health, Verdict } from "../domain/judge.ts";
import type { RollbackPolicy, RolloutState, StableCondition } from "../domain/rollout-types.ts";
import { ruleId, type Rule } from "../domain/rule.ts";
import type { Arm } from "../domain/split.ts";
import { NONE, type Millis } from "../domain/units.ts";
import type { Reading } from "../domain/window.ts";
import type { EndpointHealth, Probes } from "./ports.ts";

/** What is judged, and what alerts are made of. */
export interface Readings extends AlertReadings {
  /** Whether every endpoint of both arms is healthy; null: it is not known of one. */
  readonly allHealthy: boolean | null;
}

/** What there is to read of a route. Each window of an arm is read once: alerts and rules mostly ask for the same. */
export function readingsOf(
  route: string,
  probes: Probes,
  read: (arm: Arm, window: Millis) => Reading,
): Readings {
  const once = (arm: Arm): ((window: Millis) => Reading) => {
    const known = new Map<number, Reading>();
    return (window) => {
      const reading = known.get(window) ?? read(arm, window);
      known.set(window, reading);
      return reading;
    };
  };
  const health = healthOf(probes.health(route, "canary"));
  const other = healthOf(probes.health(route, "stable"));
  const isSick = health.healthy === false || other.healthy === false;
  const isKnown = health.healthy !== null && other.healthy !== null;
  return {
    canary: once("canary"),
    stable: once("stable"),
    health,
    allHealthy: isSick ? false : isKnown ? true : null,
  };
}

/** The judge's health of an arm: its worst endpoint, and whether all are healthy. */
function healthOf(endpoints: readonly EndpointHealth[]): Health {
  const failures = Math.max(0, ...endpoints.map((endpoint) => endpoint.failures));
  if (endpoints.some((endpoint) => endpoint.healthy === false)) return { failures, healthy: false };
  const unknown = endpoints.length === 0 || endpoints.some((endpoint) => endpoint.healthy === null);
  return { failures, healthy: unknown ? null : true };
}

/** How stable is doing next to the canary: sick when no endpoint of it is known to be well or still unknown. */
export function stableCondition(
  endpoints: readonly EndpointHealth[],
  read: (arm: Arm) => Reading,
  isVerified: boolean,
): StableCondition {
  const healthy = endpoints.length === 0 || endpoints.some((endpoint) => endpoint.healthy !== false);
  const rate = (arm: Arm): number | null => {
    const { requests, failures } = read(arm);
    return requests === 0 ? null : failures / requests;
  };
  const worseThanCanary = !healthy && (rate("stable") ?? 1) >= (rate("canary") ?? 0);
  return { healthy, worseThanCanary, canaryRequests: isVerified ? read("canary").requests : 0 };
}

/** Whether there is a canary to be judged. */
export function isRunning({ phase, weight }: RolloutState): boolean {
  // What a partial rollback has left is judged like any other.
  return phase !== "idle" && (phase !== "rolled_back" || weight > NONE);
}

/** Whether a decision is the rollback. */
export function isRolledBack(from: RolloutState, to: RolloutState): boolean {
  return to.phase === "rolled_back" && from.phase !== "rolled_back";
}

/** Running clocks of rules that still exist. */
export function knownClocks({ clocks }: RolloutState, rules: readonly Rule[]): RolloutState["clocks"] {
  if (Object.keys(clocks).length === 0) return clocks;
  const known = new Set(rules.map(ruleId));
  return Object.fromEntries(Object.entries(clocks).filter(([id]) => known.has(id)));
}

/** What the configuration says about rollbacks, in the domain's form. */
export function policyOf(rollback: RouteConfig["rollback"]): RollbackPolicy {
  const { to, cooldown, verify, whenStableUnhealthy, confirm } = rollback;
  return { to, cooldownMs: cooldown, verifyMs: verify, whenStableUnhealthy, confirm };
}

/** The same verdict, with a rule that has failed. */
export function failedBy({ checks, ...verdict }: Verdict, rule: string): Verdict {
  const failed = checks.map((check) =>
    check.rule === rule ? { ...check, kind: "failed" as const, held: undefined } : check,
  );
  return { ...verdict, kind: "failed", checks: failed };
}
