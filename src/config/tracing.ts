/** The configuration's section about traces. */

import { z } from "zod";
import { off, secret } from "./shape.ts";
import { webUrl } from "./texts.ts";
import { positiveTimer, rate } from "./units.ts";

const headerName = z
  .string()
  .regex(/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/, 'expected the name of a header, like "authorization"');

const traced = z
  .strictObject({
    otlp: webUrl.optional().meta({
      description:
        "where an OpenTelemetry collector takes OTLP over HTTP; `/v1/traces` is added unless it is there. Left out: OTEL_EXPORTER_OTLP_ENDPOINT, else http://localhost:4318",
      examples: ["http://collector:4318"],
    }),
    sample: rate.prefault("1%").meta({
      description:
        "share of the traces that begin here; of one that a client began, its own `traceparent` says whether it is sampled",
    }),
    headers: z.record(headerName, secret).prefault({}).meta({
      description: "header fields for the collector, by name",
    }),
    timeout: positiveTimer.prefault("5s").meta({
      description:
        "the collector's time to take a batch; what it has not taken by then is dropped and counted",
    }),
    queue: z.int().min(16).max(100_000).default(2048).meta({
      description: "spans that wait for the collector at the most; further ones are dropped and counted",
    }),
  })
  .meta({ description: "spans, sampled, to an OpenTelemetry collector" });

/** Traces, or none. */
export const tracing = z.union([off, traced]).prefault("off").meta({
  description:
    "spans of exchanges, their sendings and of each decision, sent to an OpenTelemetry collector; `off`: `traceparent` and `tracestate` go through as they came",
});
