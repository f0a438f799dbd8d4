/** How the table of metrics reads a snapshot: route by route, arm by arm. Pure. */

import { ARMS, type Arm } from "../domain/split.ts";
import type { RouteTotals } from "../engine/control.ts";
import type { ArmStatus, RouteStatus } from "../engine/status.ts";
import { folded, type Labels, type Sample } from "./samples.ts";
import type { Snapshot } from "./snapshot.ts";

/** The samples of each arm of each route, from what was counted since start. */
export function eachArm(
  from: Snapshot,
  read: (labels: Labels, route: RouteTotals, arm: Arm) => readonly Sample[],
): readonly Sample[] {
  return from.totals.routes.flatMap((route) =>
    ARMS.flatMap((arm) => read({ route: route.name, arm }, route, arm)),
  );
}

/** The samples of each route, from its status. */
export function eachRoute(
  from: Snapshot,
  read: (labels: Labels, route: RouteStatus) => readonly Sample[],
): readonly Sample[] {
  return from.routes.flatMap((route) => read({ route: route.name }, route));
}

/** The samples of each arm of each route, from its status. */
export function eachArmStatus(
  from: Snapshot,
  read: (labels: Labels, arm: ArmStatus) => readonly Sample[],
): readonly Sample[] {
  return eachRoute(from, (labels, route) => ARMS.flatMap((arm) => read({ ...labels, arm }, route.arms[arm])));
}

/** Refusals by status; what is none is told as `other`. */
export function refused(counts: Readonly<Record<string, number>>): readonly Sample[] {
  return folded(counts, (code) => /^[1-5]\d\d$/.test(code)).map(([code, value]) => ({
    labels: { code },
    value,
  }));
}

export function rulesOf(from: Snapshot, route: string): ReadonlySet<string> {
  const found = from.routes.find((each) => each.name === route);
  return new Set(found?.checks.map((check) => check.rule));
}

/** Rollbacks by cause, `manual` always; a rule that the configuration no longer has is told as `other`. */
export function rollbacks(route: RouteTotals, rules: ReadonlySet<string>): readonly Sample[] {
  // Each is there from the start, at zero: a rate or an alert does not see the first of what was not there before.
  const none = Object.fromEntries([...rules].map((rule) => [rule, 0]));
  const counts = { manual: 0, ...none, ...route.rollbacks };
  return folded(counts, (cause) => cause === "manual" || rules.has(cause)).map(([reason, value]) => ({
    labels: { route: route.name, reason },
    value,
  }));
}

/** The quantiles of an arm. */
export function latencies(labels: Labels, arm: ArmStatus): readonly Sample[] {
  const quantiles = [
    ["0.5", arm.p50Ms],
    ["0.95", arm.p95Ms],
    ["0.99", arm.p99Ms],
  ] as const;
  return quantiles.flatMap(([quantile, ms]) =>
    ms === null ? [] : [{ labels: { ...labels, quantile }, value: ms / 1000 }],
  );
}
