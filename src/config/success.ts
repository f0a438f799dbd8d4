/** What must be known of the canary before it climbs: limits that it stays below, and the proof that it is not worse than stable. */

import { z } from "zod";
import type { Step } from "../domain/plan.ts";
import { severity } from "./alerts.ts";
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
    z.strictObject({
      alerts: z.literal("none").meta({ description: "no alert of the route is open" }),
      severity: severity
        .default("critical")
        .meta({ description: "of this severity or a worse one; a milder one is in nobody's way" }),
    }),
    z.strictObject({
      health: z.literal("all").meta({ description: "every endpoint of both arms is healthy" }),
    }),
  ])
  .meta({ description: "a metric of the canary over the step and a limit, or what must be so at its end" });

/** Limits, one for each metric, and what else must be so. */
export const success = z
  .array(successLimit)
  .max(6)
  .refine((limits) => new Set(limits.map(subjectOf)).size === limits.length, {
    error: "each metric can have one limit",
  });

type Limit = z.output<typeof successLimit>;

function subjectOf(limit: Limit): string {
  return "metric" in limit ? limit.metric : "alerts" in limit ? "alerts" : "health";
}

/** What a step asks for: the plan's limits, each replaced by what the step says of the same. */
export function asked(
  plan: readonly Limit[],
  step: readonly Limit[] = [],
): Pick<Step, "success" | "calm" | "healthy"> {
  const own = new Set(step.map(subjectOf));
  const all = [...plan.filter((limit) => !own.has(subjectOf(limit))), ...step];
  const limits = all.filter((limit) => "metric" in limit);
  const calm = all.find((limit) => "alerts" in limit);
  return {
    ...(limits.length > 0 ? { success: limits } : {}),
    ...(calm === undefined ? {} : { calm: calm.severity }),
    ...(all.some((limit) => "health" in limit) ? { healthy: true as const } : {}),
  };
}

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
