/** What is shown of the store that replicas share; nothing where there is none. */

import type { Sample } from "./samples.ts";
import type { Metric, SharedFigures } from "./snapshot.ts";

/** The metrics of a fleet's store, as this replica sees it. */
export const FLEET_METRICS: readonly Metric[] = [
  {
    name: "sluice_store_up",
    help: "1 while the store that replicas share answers this replica.",
    type: "gauge",
    labels: [],
    unit: "",
    read: ({ shared }) => one(shared, ({ isUp }) => Number(isUp)),
  },
  {
    name: "sluice_leader",
    help: "1 on the replica that may raise weights.",
    type: "gauge",
    labels: [],
    unit: "",
    read: ({ shared }) => one(shared, ({ isLeader }) => Number(isLeader)),
  },
  {
    name: "sluice_store_command_failures_total",
    help: "Commands that the store that replicas share did not answer in time, or refused.",
    type: "counter",
    labels: [],
    unit: "",
    read: ({ shared }) => one(shared, ({ failures }) => failures),
  },
];

function one(
  shared: SharedFigures | undefined,
  value: (figures: SharedFigures) => number,
): readonly Sample[] {
  return shared === undefined ? [] : [{ labels: {}, value: value(shared) }];
}
