/** The rows of the admin API from which pictures are made: how latencies are spread, how a route came to where it stands, and who looks. */

import { z } from "zod";
import { EVERY_MS, type History, type RouteHistory } from "../telemetry/history.ts";
import type { Percentile } from "../domain/latency.ts";
import { noRoute, read, type Reply } from "./row.ts";
import { count, ms, weight } from "./shapes.ts";

/** What these rows work on. */
export interface HistorySources {
  readonly history: Pick<History, "of">;
}

const percentile: z.ZodType<Percentile> = z
  .strictObject({ percentile: z.number().min(0).max(100), ms })
  .meta({ id: "Percentile", description: "this many percent of the latencies are at most `ms`" });
const histograms = z
  .strictObject({
    all: z.base64(),
    successes: z.base64(),
    failures: z.base64(),
    percentiles: z.array(percentile).readonly().meta({ description: "`all` in the clear, rising" }),
  })
  .meta({ id: "ArmHistograms", description: "HdrHistogram V2, compressed, base64; values in microseconds" });

const histogramsSchema = z
  .strictObject({ stable: histograms, canary: histograms })
  .meta({ id: "Histograms", description: "latency over the window, per arm" });

const quantile = z.array(ms.nullable()).readonly();
const arm = z
  .strictObject({
    requests: z.array(count).readonly().meta({ description: "judged exchanges since start" }),
    failures: z.array(count).readonly(),
    p50Ms: quantile.meta({ description: "over the minute before; null: nothing was measured in it" }),
    p95Ms: quantile,
    p99Ms: quantile,
  })
  .meta({ id: "ArmHistory", description: "one arm over time, in columns as long as `atMs`" });

const historySchema: z.ZodType<RouteHistory & { readonly everyMs: number }> = z
  .strictObject({
    everyMs: count.meta({ description: "between two points" }),
    atMs: z.array(z.number()).readonly().meta({ description: "wall clock" }),
    weight: z.array(weight).readonly(),
    stable: arm,
    canary: arm,
  })
  .meta({ id: "History", description: "the last hour since start, oldest first, in columns" });

const NOTHING = { requests: [], failures: [], p50Ms: [], p95Ms: [], p99Ms: [] };
const EMPTY: RouteHistory = { atMs: [], weight: [], stable: NOTHING, canary: NOTHING };

/** The rows, by operation id. */
export const CONSOLE_ROWS = {
  histograms: read({
    path: "/v1/routes/{route}/histograms",
    summary: "Latency of both arms over the window, as HdrHistogram",
    output: histogramsSchema,
    handle({ sources, route }) {
      const found = sources.control.histograms(route);
      return found === undefined ? noRoute() : { kind: "json", status: 200, body: found };
    },
  }),
  history: read({
    path: "/v1/routes/{route}/history",
    summary: "The last hour of both arms, a point each five seconds, since start",
    output: historySchema,
    handle({ sources, route }): Reply<z.output<typeof historySchema>> {
      if (sources.control.route(route) === undefined) return noRoute();
      const known = sources.history.of(route) ?? EMPTY;
      return { kind: "json", status: 200, body: { everyMs: EVERY_MS, ...known } };
    },
  }),
  whoami: read({
    path: "/v1/whoami",
    summary: "Whose token this is, what it may do, and which operations there are",
    output: z
      .strictObject({
        name: z.string(),
        scopes: z.array(z.string()).readonly(),
        roles: z
          .array(z.string())
          .readonly()
          .nullable()
          .meta({ description: "in which it may sign; null: any" }),
        environment: z.string(),
        operations: z.array(z.string()).readonly().meta({ description: "by operation id" }),
      })
      .meta({ id: "Caller", description: "who calls" }),
    handle({ sources, actor, scopes }) {
      const body = {
        name: actor.name,
        scopes: [...scopes],
        roles: actor.roles ?? null,
        environment: sources.config().environment,
        operations: sources.operations(),
      };
      return { kind: "json", status: 200, body };
    },
  }),
} as const;
