/** The metrics of feature flags. */

import type { Metric } from "./snapshot.ts";

/** Rows of the table of metrics; without samples where there are no flags. */
export const FLAG_METRICS: readonly Metric[] = [
  {
    name: "sluice_flags_last_load_successful",
    help: "1 when the last attempt to read the feature flags succeeded; no sample where there are none.",
    type: "gauge",
    labels: [],
    unit: "",
    read: ({ flags }) => (flags === undefined ? [] : [{ labels: {}, value: Number(flags.ok) }]),
  },
  {
    name: "sluice_flags_last_load_success_timestamp_seconds",
    help: "When the feature flags were last read successfully.",
    type: "gauge",
    labels: [],
    unit: "seconds",
    read: ({ flags }) => (flags === undefined ? [] : [{ labels: {}, value: flags.at / 1000 }]),
  },
  {
    name: "sluice_flag_evaluations_total",
    help: "Evaluations of feature flags, by OpenFeature's reason or error code.",
    type: "counter",
    labels: ["reason"],
    unit: "",
    read: ({ flags }) =>
      Object.entries(flags?.evaluations ?? {}).map(([reason, value]) => ({ labels: { reason }, value })),
  },
];
