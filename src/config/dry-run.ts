/**
 * The dry run: a request to start, with what is to be taken for granted, and what would come of it. Pure; nothing is started.
 *
 * Here and not in the admin API, so that a plan can be checked from the file alone, before anything runs: the API and the command line ask the same
 * function. Shapes as in product.md §5: weights are percent, rates are fractions, times are milliseconds in fields that end in `Ms`.
 */

import { z } from "zod";
import { forecast, type Forecast, type StepForecast } from "../domain/forecast.ts";
import { announceBy, formatWindow } from "../domain/calendar.ts";
import type { Need } from "../domain/needs.ts";
import { checksOf } from "../domain/preflight.ts";
import { FULL, percentOf } from "../domain/units.ts";
import { channelNames, type NotifyConfig } from "./notify.ts";
import type { Config } from "./schema.ts";
import { resolvePlan, startSchema } from "./start.ts";
import { rate } from "./units.ts";

const half = (value: number): boolean => value < FULL / 2;

/** What is asked: a request to start, and what is to be taken for granted. */
export const dryRunSchema = startSchema
  .safeExtend({
    perSecond: z
      .number()
      .min(0.000_001)
      .max(1_000_000_000)
      .optional()
      .meta({
        description: "requests per second of both arms together; left out: as measured",
        examples: [20],
      }),
    baseline: rate
      .refine(half, "must be below 50%")
      .optional()
      .meta({
        description: "the share that fails even when all is well; left out: stable's since start, or 0.01%",
        examples: ["0.1%"],
      }),
    harm: rate
      .refine((value) => value > 0 && half(value), "must be above 0% and below 50%")
      .prefault("0.5%")
      .meta({ description: "the rise of the error rate that should be found, in points" }),
  })
  .meta({
    id: "DryRunRequest",
    description: "what a rollout would be started with, and what is to be expected",
  });

/** What a route measures; undefined: nothing yet. `baseline` is a fraction. */
export interface Measured {
  readonly perSecond: number | undefined;
  readonly baseline: number | undefined;
}

/** A step as it will go. */
export interface DryRunStep extends Omit<
  StepForecast,
  "step" | "begins" | "done" | "ends" | "ends90" | "needs"
> {
  readonly weight: number;
  readonly holdMs: number;
  readonly bake: boolean;
  readonly critical: boolean;
  readonly preflight: boolean;
  /** Who must sign before it is left, who must have seen it, and what must be done; empty: nobody and nothing. */
  readonly signers: readonly string[];
  readonly acknowledge: readonly string[];
  readonly checklist: readonly string[];
  /** ISO 8601, in half of the cases; null when the rollout never gets here by itself. */
  readonly beginsAt: string | null;
  /** ISO 8601, in half and in nine of ten cases; null when it never gets away from here. */
  readonly endsAt: string | null;
  readonly endsAt90: string | null;
  readonly needs: readonly Need[];
}

/** A message that would be sent. */
export interface DryRunMessage {
  /** ISO 8601; null when it is never. */
  readonly at: string | null;
  readonly event: string;
  readonly severity: "info" | "warning";
  /** The channels that it goes to. */
  readonly to: readonly string[];
}

/** A plan as it will go. */
export interface DryRun extends Omit<Forecast, "steps"> {
  readonly route: string;
  readonly startsAt: string;
  /** When the weight may rise, in words; empty: at any time. */
  readonly windows: readonly string[];
  /** By when people are to be told of the start, ISO 8601; null when nothing is promised. */
  readonly announceBy: string | null;
  /** What would be checked before a step that asks for it, one line each. */
  readonly preflight: readonly string[];
  /** What would be sent, in order. */
  readonly messages: readonly DryRunMessage[];
  /** What was taken for granted, and whether it was measured or said. */
  readonly perSecond: number;
  readonly baseline: number;
  readonly harm: number;
  readonly measured: { readonly perSecond: boolean; readonly baseline: boolean };
  readonly steps: readonly DryRunStep[];
}

/** The answer, or the field that is wrong. */
export type DryRunResult =
  | { readonly ok: true; readonly dryRun: DryRun }
  | { readonly ok: false; readonly field: string; readonly message: string };

/** Never failed is not known never to fail. */
const LEAST_BASELINE = 0.0001;
const MOST_BASELINE = 0.499;

/** What a rollout of `route` would come to. `now`: wall clock, ms. */
export function dryRun(
  { plans, freezes, notify, flags }: Pick<Config, "plans" | "freezes" | "notify" | "flags">,
  route: Config["routes"][number],
  request: z.output<typeof dryRunSchema>,
  measured: Measured,
  now: number,
): DryRunResult {
  const resolved = resolvePlan({ plan: route.plan, plans }, request);
  if (!resolved.ok) return resolved;
  const perSecond = request.perSecond ?? measured.perSecond;
  if (perSecond === undefined) {
    const message = "no traffic has been measured: say how many requests per second there will be (--rps)";
    return { ok: false, field: "perSecond", message };
  }
  const assumed = {
    perSecond,
    baseline:
      request.baseline === undefined
        ? Math.min(MOST_BASELINE, Math.max(LEAST_BASELINE, measured.baseline ?? 0))
        : request.baseline / FULL,
    harm: request.harm / FULL,
  };
  const start = request.at === undefined ? now : Date.parse(request.at);
  const { windows, noticeMs } = resolved.plan;
  const calendar = { windows, freezes };
  const { steps, ...whole } = forecast(resolved.plan.steps, route.rollback.onAny, assumed, start, calendar);
  return {
    ok: true,
    dryRun: {
      route: route.name,
      startsAt: new Date(start).toISOString(),
      windows: windows.map(formatWindow),
      announceBy: noticeMs === 0 ? null : new Date(announceBy(start, noticeMs)).toISOString(),
      preflight: steps.some(({ step }) => step.preflight === true)
        ? checksOf(route.preflight, channelNames(notify), flags !== undefined)
        : [],
      messages: messagesOf(steps, start > now ? now : null, notify),
      ...assumed,
      measured: {
        perSecond: request.perSecond === undefined,
        baseline: request.baseline === undefined && measured.baseline !== undefined,
      },
      ...whole,
      steps: steps.map(stepOf),
    },
  };
}

function stepOf(found: StepForecast): DryRunStep {
  const { step, begins, ends, ends90, canaryPerSecond, detect, detectLater, smallestRise } = found;
  return {
    weight: percentOf(step.weight),
    holdMs: step.holdMs,
    bake: step.bake,
    critical: step.critical === true,
    preflight: step.preflight === true,
    signers: step.gate?.roles ?? [],
    acknowledge: step.gate?.acknowledge ?? [],
    checklist: step.gate?.checklist ?? [],
    beginsAt: dateOf(begins),
    endsAt: dateOf(ends),
    endsAt90: dateOf(ends90),
    canaryPerSecond,
    detect,
    detectLater,
    smallestRise,
    prove: found.prove,
    needs: found.needs,
    knows: found.knows,
    words: found.words,
  };
}

/** Whom it tells what when all goes well. @param scheduledAt when a later start is set, which is told at once; null: it starts now */
function messagesOf(
  steps: readonly StepForecast[],
  scheduledAt: number | null,
  notify: NotifyConfig,
): readonly DryRunMessage[] {
  const message = (event: string, at: number | null, severity: DryRunMessage["severity"]): DryRunMessage => ({
    at: dateOf(at),
    event,
    severity,
    to: ["log", ...channelNames(notify, severity)],
  });
  return [
    ...(scheduledAt === null ? [] : [message("ROLLOUT_SCHEDULED", scheduledAt, "warning")]),
    ...steps.flatMap(({ step, begins, done }, index) => [
      message(index === 0 ? "DEPLOY_START" : "STEP_STARTED", begins, "info"),
      ...(step.preflight === undefined ? [] : [message("VALIDATION_COMPLETE", begins, "info")]),
      ...(step.gate === undefined ? [] : [message("GATE_OPENED", done, "warning")]),
    ]),
    message("DEPLOY_SUCCESS", steps.at(-1)?.ends ?? null, "info"),
  ];
}

/** As far as dates go, ms. */
const LAST_DATE = 8_640_000_000_000_000;

function dateOf(wall: number | null): string | null {
  return wall === null || wall > LAST_DATE ? null : new Date(wall).toISOString();
}
