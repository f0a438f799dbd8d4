/** Metrics of what is told one by one: spans and lines of the access log. */

import { byResult } from "./samples.ts";
import type { Metric } from "./snapshot.ts";

/** What became of spans and lines. */
export const OUTLET_METRICS: readonly Metric[] = [
  {
    name: "sluice_spans_total",
    help: "Spans for the collector: sent, not taken by it, dropped for want of room or of a collector.",
    type: "counter",
    labels: ["result"],
    unit: "",
    read: ({ outlets }) => byResult({ ...outlets.spans }),
  },
  {
    name: "sluice_access_lines_total",
    help: "Lines of the access log: written, dropped because the disk was slow or full, or the output not read.",
    type: "counter",
    labels: ["result"],
    unit: "",
    read: ({ outlets }) => byResult({ ...outlets.lines }),
  },
];
