/** Plans: the climb as an operator writes it. The rules across steps are the domain's (`checkPlan`), asked from here. */

import { z } from "zod";
import { checkPlan, type Promotion, type Step } from "../domain/plan.ts";
import { FULL, ppm, type Ppm } from "../domain/units.ts";
import { off } from "./shape.ts";
import { duration, positiveDuration, rate } from "./units.ts";

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

const success = z
  .array(successLimit)
  .max(4)
  .refine((limits) => new Set(limits.map(({ metric }) => metric)).size === limits.length, {
    error: "each metric can have one limit",
  });

const promotion = z.strictObject({
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

const common = {
  success: success.optional().meta({
    description: "what the canary must stay below at this step; a metric's limit replaces the plan's",
  }),
};

const stepSchema = z
  .union([
    z.strictObject({
      setWeight: rate.meta({ description: "the canary's share at this step", examples: ["5%"] }),
      hold: duration.prefault("0s").meta({ description: "the least time at this step", examples: ["8h"] }),
      ...common,
    }),
    z.strictObject({
      bake: positiveDuration.meta({
        description: "the watch at 100 %, rollback armed; only as the last step",
        examples: ["48h"],
      }),
      ...common,
    }),
  ])
  .meta({ description: "one weight and the least time at it, or the bake" });

/** A plan as written. */
export const planSchema = z
  .strictObject({
    success: success
      .default([])
      .meta({ description: "what the canary must stay below to climb, at every step" }),
    promotion: z.union([off, promotion]).prefault({}).meta({
      description:
        "it climbs only when it is shown, with a chance of error below 5 %, that the canary is not worse than stable; `off`: by time and limits alone",
    }),
    holdback: rate
      .refine((value) => value > 0 && value <= 500_000, "must be above 0% and at most 50%")
      .optional()
      .meta({
        description:
          "the share that stays on stable at 100 % and through the bake, so that the canary can still be compared; it goes when the rollout has succeeded",
        examples: ["1%"],
      }),
    steps: z.array(stepSchema).min(1).max(100).meta({ description: "the climb, from first to last" }),
  })
  .check((context) => {
    for (const problem of checkPlan(stepsOf(context.value))) {
      context.issues.push({
        code: "custom",
        message: problem.message,
        path: ["steps", problem.step],
        input: context.value.steps[problem.step],
      });
    }
  })
  .meta({ description: "the steps of a rollout" });

/** A plan as validated. */
export type PlanConfig = z.output<typeof planSchema>;

/** What is asked for when a plan says nothing of it. */
export const DEFAULT_PROMOTION: { readonly promotion: Promotion } = promotionOf(promotion.parse({}));

/** The plan's steps in the domain's form. */
export function stepsOf(plan: PlanConfig): readonly Step[] {
  return plan.steps.map((step) => {
    const own = step.success ?? [];
    const metrics = new Set(own.map(({ metric }) => metric));
    const limits = [...plan.success.filter(({ metric }) => !metrics.has(metric)), ...own];
    return {
      ...("bake" in step
        ? { ...heldBack(FULL, plan), holdMs: step.bake, bake: true }
        : { ...heldBack(step.setWeight, plan), holdMs: step.hold, bake: false }),
      ...(limits.length > 0 ? { success: limits } : {}),
      ...(plan.promotion === "off" ? {} : promotionOf(plan.promotion)),
    };
  });
}

function promotionOf({ notWorseBy, atLeast }: z.output<typeof promotion>): { readonly promotion: Promotion } {
  return { promotion: { notWorseBy, leastMs: atLeast } };
}

function heldBack(weight: Ppm, { holdback }: PlanConfig): Pick<Step, "weight" | "holdback"> {
  return weight < FULL || holdback === undefined ? { weight } : { weight: ppm(FULL - holdback), holdback };
}
