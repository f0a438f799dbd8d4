/** What must be known of the canary before it climbs: limits that it stays below, and the proof that it is not worse than stable. */

import { z } from "zod";
import { positiveDuration, rate } from "./units.ts";

const shown = z.boolean().default(false).meta({
  description: "whether it must be shown: the upper 95 % bound is below, too, and not only what was observed",
});

const successLimit = z
  .union([
    z.strictObject({
      metric: z.literal("error_rate").meta({ description: "share of the canary's exchanges that failed" }),
      below: rate
        .refine((value) => value > 0, "must be above 0%")
        .meta({ description: "strictly below it", examples: ["0.1%"] }),
      shown,
    }),
    z.strictObject({
      metric: z
        .enum(["p50", "p95", "p99"])
        .meta({ description: "latency from request sent to response head" }),
      below: positiveDuration.meta({ description: "strictly below it", examples: ["200ms"] }),
      shown,
    }),
  ])
  .meta({ description: "a metric of the canary over the step, and a limit" });

/** Limits, one for each metric. */
export const success = z
  .array(successLimit)
  .max(4)
  .refine((limits) => new Set(limits.map(({ metric }) => metric)).size === limits.length, {
    error: "each metric can have one limit",
  });

/** The proof. */
export const promotion = z.strictObject({
  notWorseBy: rate
    .refine((value) => value > 0 && value < 200_000, "must be above 0% and below 20%")
    .prefault("0.1%")
    .meta({
      description: "a canary whose error rate is higher than stable's by so much must be held back",
    }),
  atLeast: positiveDuration
    .prefault("15m")
    .meta({ description: "evidence of less time is not enough, whatever it says" }),
});
