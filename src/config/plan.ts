/**
 * Plans: the climb as an operator writes it. The rules across steps are the domain's (`checkPlan`), asked from here.
 *
 * Two ways of writing are taken over from neighbours: Argo Rollouts' `pause` between two steps, and Flagger's `stepWeight`, `maxWeight` and
 * `interval` in the place of steps. Both are only other words for steps.
 */

import { z } from "zod";
import { checkPlan, type Plan, type Promotion, type Step } from "../domain/plan.ts";
import { FULL, millis, ppm, type Ppm } from "../domain/units.ts";
import { gate, gateOf } from "./gate.ts";
import { off } from "./shape.ts";
import { asked, promotion, success } from "./success.ts";
import { duration, positiveDuration, rate } from "./units.ts";
import { windows, windowsOf } from "./window.ts";

/** How many steps a plan may have, written or made. */
const MOST_STEPS = 100;

const common = {
  success: success.optional().meta({
    description:
      "what must be so to leave this step; what is said here of a metric replaces what the plan says",
  }),
  checkpoint: positiveDuration.optional().meta({
    description: "how often a snapshot of both arms and of the verdict goes into the report",
    examples: ["1h"],
  }),
  critical: z.boolean().default(false).meta({ description: "marked wherever the step is shown" }),
  preflight: z.boolean().default(false).meta({
    description: "the route's checks are run when the step begins, and must be well before it is left",
  }),
  gate: gate.optional().meta({ description: "what people must grant before the step is left" }),
};

const pause = z.strictObject({
  pause: z
    .strictObject({
      duration: positiveDuration
        .optional()
        .meta({ description: "as so much more hold of the step before", examples: ["8h"] }),
    })
    .meta({ description: "as Argo Rollouts writes it; `{}`: until a person resumes" }),
});

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
    pause,
  ])
  .meta({ description: "one weight and the least time at it, the bake, or a pause" });

/** A plan as written. */
export const planSchema = z
  .strictObject({
    success: success.default([]).meta({ description: "what must be so to climb, at every step" }),
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
    window: windows.prefault([]).meta({
      description: "when the weight may rise; left out: at any time. It never delays a rollback",
    }),
    announce: duration.prefault("0s").meta({
      description: "people are told so long before a start: one that is sooner is refused, or says why",
      examples: ["24h"],
    }),
    steps: z
      .array(stepSchema)
      .min(1)
      .max(MOST_STEPS)
      .optional()
      .meta({ description: "the climb, from first to last" }),
    stepWeight: rate
      .refine((value) => value > 0, "must be above 0%")
      .optional()
      .meta({ description: "in the place of `steps`, as Flagger writes it: how much each step adds" }),
    maxWeight: rate.prefault("100%").meta({ description: "with `stepWeight`: the last weight before 100 %" }),
    interval: positiveDuration
      .prefault("1m")
      .meta({ description: "with `stepWeight`: the hold of each step" }),
  })
  .check((context) => {
    const { steps, stepWeight, maxWeight } = context.value;
    const refuse = (message: string, ...path: readonly (string | number)[]): void => {
      context.issues.push({ code: "custom", message, path: [...path], input: context.value });
    };
    if ((steps === undefined) === (stepWeight === undefined)) {
      refuse("a plan has either `steps` or `stepWeight`", ...(steps === undefined ? [] : ["stepWeight"]));
      return;
    }
    if (stepWeight !== undefined && stepsBy(stepWeight, maxWeight) > MOST_STEPS) {
      refuse(`makes more than ${MOST_STEPS} steps`, "stepWeight");
      return;
    }
    if (steps !== undefined && "pause" in steps[0]!) refuse("a pause comes after a step", "steps", 0);
    else {
      const { steps: all, places } = climbOf(context.value);
      for (const { step, message } of checkPlan(all)) {
        if (steps === undefined) refuse(message, "stepWeight");
        else refuse(message, "steps", places[step]!);
      }
    }
  })
  .meta({ description: "the steps of a rollout" });

/** A plan as validated. */
export type PlanConfig = z.output<typeof planSchema>;
type Written = NonNullable<PlanConfig["steps"]>[number];
type WrittenStep = Exclude<Written, { pause: object }>;

/** What is asked for when a plan says nothing of it. */
export const DEFAULT_PROMOTION: { readonly promotion: Promotion } = promotionOf(promotion.parse({}));

/** The plan in the domain's form. */
export function planOf(plan: PlanConfig): Plan {
  return { steps: climbOf(plan).steps, windows: windowsOf(plan.window), noticeMs: plan.announce };
}

/** Its steps, and where each of them is written. */
function climbOf(plan: PlanConfig): { readonly steps: readonly Step[]; readonly places: readonly number[] } {
  if (plan.steps === undefined) return { steps: risingBy(plan), places: [] };
  const steps: Step[] = [];
  const places: number[] = [];
  plan.steps.forEach((written, place) => {
    const before = steps.pop();
    if (!("pause" in written)) {
      if (before !== undefined) steps.push(before);
      steps.push(stepOf(written, plan));
      places.push(place);
    } else if (before !== undefined) {
      const more = written.pause.duration;
      steps.push(
        more === undefined ? { ...before, pause: true } : { ...before, holdMs: millis(before.holdMs + more) },
      );
    }
  });
  return { steps, places };
}

function stepOf(step: WrittenStep, plan: PlanConfig): Step {
  return {
    ...("bake" in step
      ? { ...heldBack(FULL, plan), holdMs: step.bake, bake: true }
      : { ...heldBack(step.setWeight, plan), holdMs: step.hold, bake: false }),
    ...(step.checkpoint === undefined ? {} : { checkpointMs: step.checkpoint }),
    ...(step.critical ? { critical: true } : {}),
    ...(step.preflight ? { preflight: true } : {}),
    ...(step.gate === undefined ? {} : { gate: gateOf(step.gate) }),
    ...asked(plan.success, step.success),
    ...(plan.promotion === "off" ? {} : promotionOf(plan.promotion)),
  };
}

/** How many steps `risingBy` makes. */
function stepsBy(stepWeight: Ppm, maxWeight: Ppm): number {
  return Math.ceil(maxWeight / stepWeight) + (maxWeight < FULL ? 1 : 0);
}

/** Flagger's: from `stepWeight` in steps of it up to `maxWeight`, then 100 %. */
function risingBy(plan: PlanConfig): readonly Step[] {
  const by = plan.stepWeight ?? FULL;
  const weights: Ppm[] = [];
  for (let weight: number = by; weight < Math.min(plan.maxWeight, FULL); weight += by)
    weights.push(ppm(weight));
  if (plan.maxWeight < FULL) weights.push(plan.maxWeight);
  weights.push(FULL);
  const none = { critical: false, preflight: false };
  return weights.map((setWeight) => stepOf({ setWeight, hold: plan.interval, ...none }, plan));
}

function heldBack(weight: Ppm, { holdback }: PlanConfig): Pick<Step, "weight" | "holdback"> {
  return weight < FULL || holdback === undefined ? { weight } : { weight: ppm(FULL - holdback), holdback };
}

function promotionOf({ notWorseBy, atLeast }: z.output<typeof promotion>): { readonly promotion: Promotion } {
  return { promotion: { notWorseBy, leastMs: atLeast } };
}
