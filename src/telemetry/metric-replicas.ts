/**
 * Metrics of all replicas together, as one of them knows them: every name begins with `sluice_fleet_`, and nothing else on the page is about more than the
 * replica that is scraped. None where the state is not shared.
 */

import { ARMS, type Arm } from "../domain/split.ts";
import type { ArmStatus, FleetStatus } from "../engine/status.ts";
import type { Metric, Snapshot } from "./snapshot.ts";
import type { Sample } from "./samples.ts";

function ofFleet({ routes }: Snapshot, read: (fleet: FleetStatus) => readonly Sample[]): readonly Sample[] {
  const fleet = routes[0]?.fleet ?? null;
  return fleet === null ? [] : read(fleet);
}

/** Told by the leader alone: only what it judges is everybody's. */
function eachArmOfAll({ routes }: Snapshot, value: (arm: ArmStatus) => number): readonly Sample[] {
  return routes.flatMap(({ name: route, fleet, arms }) =>
    fleet?.leads === true
      ? ARMS.map((arm: Arm) => ({ labels: { route, arm }, value: value(arms[arm]) }))
      : [],
  );
}

/** Every metric of the fleet. */
export const REPLICA_METRICS: readonly Metric[] = [
  {
    name: "sluice_fleet_replicas",
    help: "Replicas that share the state, as this one sees them: heard of, or stale and not measured with.",
    type: "gauge",
    labels: ["state"],
    unit: "",
    read: (from) =>
      ofFleet(from, ({ replicas, stale }) => [
        { labels: { state: "heard" }, value: replicas },
        { labels: { state: "stale" }, value: stale.length },
      ]),
  },
  {
    name: "sluice_fleet_requests",
    help: "Judged exchanges of the last minute on all replicas; told by the leader alone.",
    type: "gauge",
    labels: ["route", "arm"],
    unit: "",
    read: (from) => eachArmOfAll(from, ({ windowRequests }) => windowRequests),
  },
  {
    name: "sluice_fleet_failures",
    help: "Failures among them; told by the leader alone.",
    type: "gauge",
    labels: ["route", "arm"],
    unit: "",
    read: (from) => eachArmOfAll(from, ({ windowFailures }) => windowFailures),
  },
];
