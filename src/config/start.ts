/**
 * What a rollout may be started with, and the steps that this means. Pure.
 *
 * The rules across steps are the domain's (`checkPlan`), the same as for the configuration file, so that the API cannot accept what the file
 * refuses. What starts is a list of steps: the plan is frozen into the rollout, whatever the file says afterwards.
 */

import { z } from "zod";
import { DEFAULT_PROMOTION, planOf, planSchema, type PlanConfig } from "./plan.ts";
import { planNamed, planNames } from "./presets.ts";
import type { Config } from "./schema.ts";
import { name } from "./texts.ts";
import { duration, positiveDuration } from "./units.ts";
import { checkPlan, type Plan, type Step } from "../domain/plan.ts";
import { NONE, formatDuration, millis, ppm, ppmOfPercent, type Millis, type Ppm } from "../domain/units.ts";

/** A weight in percent. */
export const percent = z
  .number()
  .min(0)
  .max(100)
  .refine((value) => ppmOfPercent(value) !== undefined, "must have at most four decimals")
  .meta({ description: "a share in percent, 0 to 100 in steps of 0.0001", examples: [5] });

/** A text for people: one line, no control characters, not blank. */
const line = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .regex(/^(?=.*\S)[^\p{Cc}\p{Cs}\u2028\u2029]+$/u, "expected one line of text without control characters");

/** Why somebody does something. */
export const reason = line(500).meta({ description: "why, for the journal", examples: ["4.0.0 is ready"] });

/** Whether to do it against the rules of cooldown and order. */
export const force = z
  .boolean()
  .meta({ description: "against the cooldown or a running rollout; needs a reason" });

/** What a rollout is started with. */
export const startSchema = z
  .strictObject({
    plan: z
      .union([name, planSchema])
      .optional()
      .meta({ description: "a plan of the configuration, or a plan; left out: the route's" }),
    steps: z
      .array(percent)
      .min(1)
      .max(100)
      .optional()
      .meta({ description: "custom weights in percent, in the place of a plan; they must rise" }),
    hold: duration
      .optional()
      .meta({ description: "the least time at each of `steps`; left out: 0s", examples: ["5m"] }),
    wait: positiveDuration
      .optional()
      .meta({ description: "replaces every hold: a rehearsal", examples: ["300s"] }),
    version: line(100)
      .optional()
      .meta({ description: "what runs on the canary; left out: the configuration's" }),
    at: z.iso
      .datetime({ offset: true })
      .optional()
      .meta({ description: "when it begins, ISO 8601; left out: now", examples: ["2026-12-01T09:00:00Z"] }),
    noAnnounce: z
      .boolean()
      .optional()
      .meta({ description: "sooner than the plan promises to tell people; needs a reason" }),
    force: force.optional(),
    reason: reason.optional(),
  })
  .check((context) => {
    const { plan, steps, hold, force: isForced, noAnnounce, reason: why } = context.value;
    const refuse = (field: string, message: string): void => {
      context.issues.push({ code: "custom", message, path: [field], input: context.value });
    };
    if (plan !== undefined && steps !== undefined) refuse("steps", "give either a plan or steps");
    if (hold !== undefined && steps === undefined) refuse("hold", "hold goes with steps");
    if (isForced === true && why === undefined) refuse("reason", "to force needs a reason");
    if (noAnnounce === true && why === undefined) refuse("reason", "not to announce needs a reason");
  })
  .meta({ id: "Start", description: "what a rollout is started with" });

/** A request to start, validated. */
export type StartRequest = z.output<typeof startSchema>;

/** The plan, or the field that is wrong. */
export type Resolved =
  | { readonly ok: true; readonly plan: Plan }
  | { readonly ok: false; readonly field: string; readonly message: string };

/** Where a plan's name is looked up. */
export interface PlanSource {
  /** The route's own plan. */
  readonly plan?: string | PlanConfig | undefined;
  readonly plans: Config["plans"];
}

/** The steps that `request` asks for; the route's plan when it names none. */
export function resolvePlan(route: PlanSource, request: StartRequest): Resolved {
  const chosen =
    request.steps === undefined ? planned(route, request.plan) : custom(request.steps, request.hold);
  if (!chosen.ok || request.wait === undefined) return chosen;
  const { wait } = request;
  // A rehearsal is too short for evidence, and asks nobody: its limits are met or not, that is all.
  const steps = chosen.plan.steps.map((step) => rehearsed(step, wait));
  return { ok: true, plan: { steps, windows: [], noticeMs: millis(0) } };
}

/** Why it is started, for the journal and the report, which say of a rehearsal that it is one. */
export function whyStarted({ wait, reason: why = "" }: StartRequest): string {
  if (wait === undefined) return why;
  const said = `a rehearsal: every hold is ${formatDuration(wait)}, and nobody is asked`;
  return why === "" ? said : `${why} (${said})`;
}

function rehearsed({ weight, bake, success, holdback, preflight, critical }: Step, holdMs: Millis): Step {
  return {
    weight,
    holdMs: weight === NONE ? millis(0) : holdMs,
    bake,
    ...(preflight === undefined ? {} : { preflight }),
    ...(critical === undefined ? {} : { critical }),
    ...(success === undefined ? {} : { success }),
    ...(holdback === undefined ? {} : { holdback }),
  };
}

/** A weight in percent, checked by `percent`, in the domain's unit. */
export function weightOf(value: number): Ppm {
  // The addition turns −0, which JSON can say, into 0.
  return ppm((ppmOfPercent(value) ?? Number.NaN) + 0);
}

function custom(weights: readonly number[], hold: StartRequest["hold"]): Resolved {
  const steps = weights.map((weight) => ({
    weight: weightOf(weight),
    holdMs: hold ?? millis(0),
    bake: false,
    ...DEFAULT_PROMOTION,
  }));
  const [problem] = checkPlan(steps);
  if (problem === undefined) return { ok: true, plan: { steps, windows: [], noticeMs: millis(0) } };
  return { ok: false, field: `steps.${problem.step}`, message: problem.message };
}

function planned(route: PlanSource, asked: StartRequest["plan"]): Resolved {
  const plan = asked ?? route.plan;
  if (plan === undefined) {
    return { ok: false, field: "plan", message: "the route has no plan: name one, or give steps" };
  }
  if (typeof plan !== "string") return { ok: true, plan: planOf(plan) };
  const found = planNamed(route.plans, plan);
  if (found !== undefined) return { ok: true, plan: planOf(found) };
  const message = `there is no plan "${plan}"; there are ${planNames(route.plans)}`;
  return { ok: false, field: "plan", message };
}
