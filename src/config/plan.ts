/** Plans: the climb as an operator writes it. The rules across steps are the domain's (`checkPlan`), asked from here. */

import { z } from "zod";
import { checkPlan, type Step } from "../domain/plan.ts";
import { FULL } from "../domain/units.ts";
import { duration, positiveDuration, rate } from "./units.ts";

const stepSchema = z
  .union([
    z.strictObject({
      setWeight: rate.meta({ description: "the canary's share at this step", examples: ["5%"] }),
      hold: duration.prefault("0s").meta({ description: "the least time at this step", examples: ["8h"] }),
    }),
    z.strictObject({
      bake: positiveDuration.meta({
        description: "the watch at 100 %, rollback armed; only as the last step",
        examples: ["48h"],
      }),
    }),
  ])
  .meta({ description: "one weight and the least time at it, or the bake" });

/** A plan as written. */
export const planSchema = z
  .strictObject({
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

/** The plan's steps in the domain's form. */
export function stepsOf(plan: PlanConfig): readonly Step[] {
  return plan.steps.map((step) =>
    "bake" in step
      ? { weight: FULL, holdMs: step.bake, bake: true }
      : { weight: step.setWeight, holdMs: step.hold, bake: false },
  );
}
