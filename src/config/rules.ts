/**
 * The rules that roll back: what an operator may write under `rollback.onAny`.
 *
 * A rule here is the text of a promise; `domain/judge.ts` keeps it. Which metrics take a rate, a latency or a count is decided
 * by the shape, so that `p95 above 1%` cannot be written.
 */

import { z } from "zod";
import { isComparing, isRobust, isSequential, ruleId, type Rule } from "../domain/rule.ts";
import { duration, positiveDuration, rate } from "./units.ts";

const common = {
  action: z
    .enum(["observe", "pause", "rollback"])
    .default("rollback")
    .meta({ description: "what a failed rule does: only shows, stops the climb, or rolls back" }),
};

/** What a value is read over, of rules and of alerts. */
export const measured = {
  window: positiveDuration
    .refine((value) => value >= 1000 && value <= 300_000, "must be from 1s to 5m")
    .prefault("60s")
    .meta({ description: "the trailing time that is judged" }),
  minRequests: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(20)
    .meta({ description: "fewer exchanges in the window say nothing" }),
};

const sustained = {
  for: duration
    .prefault("0s")
    .meta({ description: "how long it must stay above the limit", examples: ["5m"] }),
  ...measured,
  ...common,
};

const ALPHA = z.literal(0.0001).default(0.0001).meta({
  description: "expected false alarms of each guard per rollout, about; fixed",
});

const sequential = {
  test: z.literal("sequential").meta({
    description:
      "judged with every response, against the limit and against stable: the first alarm takes the canary away for 10 s, a second one confirms it",
  }),
  alpha: ALPHA,
  ...common,
};

const robust = {
  test: z.literal("robust").meta({
    description:
      "for five minutes, in the form that survives real life: 100 responses and 10 bad ones (over 30 minutes if need be), four of five parts of the time above the limit, and clearly worse than stable",
  }),
  ...common,
};

/** One rule. */
export const ruleSchema = z
  .union([
    z.strictObject({
      metric: z.literal("error_rate").meta({ description: "share of the canary's exchanges that failed" }),
      above: rate.meta({ description: "strictly above it is a breach" }),
      ...sustained,
    }),
    z.strictObject({
      metric: z
        .enum(["p50", "p95", "p99"])
        .meta({ description: "latency from request sent to response head" }),
      above: positiveDuration.meta({ description: "strictly above it is a breach", examples: ["500ms"] }),
      of: z.enum(["worse", "all", "successes"]).default("worse").meta({
        description:
          "over all exchanges, over the successful, or the worse of both, so that fast errors do not hide slow answers",
      }),
      ...sustained,
    }),
    z.strictObject({
      metric: z.literal("error_rate").meta({ description: "share of the canary's exchanges that failed" }),
      above: rate.meta({ description: "strictly above it is a breach" }),
      ...robust,
    }),
    z.strictObject({
      metric: z.enum(["p95", "p99"]).meta({ description: "latency from request sent to response head" }),
      above: positiveDuration.meta({
        description: "more than 5 % (p95) or 1 % (p99) slower than this is a breach",
        examples: ["500ms"],
      }),
      ...robust,
    }),
    z.strictObject({
      metric: z.literal("error_rate").meta({ description: "share of the canary's exchanges that failed" }),
      above: rate
        .refine((value) => value > 0 && value < 500_000, "must be above 0% and below 50%")
        .meta({ description: "more than this share must be shown" }),
      ...sequential,
    }),
    z.strictObject({
      metric: z.enum(["p95", "p99"]).meta({ description: "latency from request sent to response head" }),
      above: positiveDuration.meta({
        description: "more than 5 % (p95) or 1 % (p99) slower than this must be shown",
        examples: ["500ms"],
      }),
      ...sequential,
    }),
    z.strictObject({
      compare: z.enum(["error_rate", "client_error_rate", "latency"]).meta({
        description:
          "what is compared with stable at the same time: failures, 4xx answers, or latencies at stable's own P50, P90 and P99",
      }),
      worseBy: rate.prefault("0.1%").meta({
        description:
          "the least difference of shares over ten minutes; latencies have a margin of 10 % of their own",
      }),
      test: z
        .literal("sequential")
        .default("sequential")
        .meta({ description: "may be looked at at any time" }),
      alpha: ALPHA,
      ...common,
    }),
    z.strictObject({
      metric: z
        .literal("health_failures")
        .meta({ description: "failed probes in a row of the canary's worst endpoint" }),
      atLeast: z.int().min(1).max(1000).meta({ description: "so many fail the rule" }),
      ...common,
    }),
  ])
  .meta({ description: "a metric of the canary, a limit, and for how long" });

/** What is watched when nothing is said: the plan's own triggers, and the same with every response (product.md §3). */
export const DEFAULT_RULES: z.input<typeof ruleSchema>[] = [
  { metric: "error_rate", above: "1%", test: "robust" },
  { metric: "p95", above: "500ms", test: "robust" },
  { metric: "p99", above: "1000ms", test: "robust" },
  { metric: "health_failures", atLeast: 5 },
  { metric: "error_rate", above: "1%", test: "sequential" },
  { metric: "p95", above: "500ms", test: "sequential" },
  { metric: "p99", above: "1000ms", test: "sequential" },
  { compare: "error_rate", worseBy: "0.1%" },
  { compare: "latency" },
];

/** The rules of a route. Each test that looks at every response can be there once: it has one limit and one body of evidence. */
export const rulesSchema = z
  .array(ruleSchema)
  .min(1)
  .check((context) => {
    const rules: readonly Rule[] = context.value;
    const refuse = (index: number, message: string): void => {
      context.issues.push({ code: "custom", message, path: [index], input: context.value[index] });
    };
    const seen = new Map<string, Rule>();
    rules.forEach((rule, index) => {
      const other = seen.get(placeOf(rule));
      if (other !== undefined) refuse(index, `another rule does this already: ${ruleId(other)}`);
      seen.set(placeOf(rule), rule);
    });
    // Responses are counted as slow by one limit for each percentile.
    rules.forEach((rule, index) => {
      if (!isRobust(rule) || rule.metric === "error_rate") return;
      const other = rules.filter(isSequential).find(({ metric }) => metric === rule.metric);
      if (other !== undefined && other.above !== rule.above)
        refuse(index, `must have the same limit as: ${ruleId(other)}`);
    });
  });

function placeOf(rule: Rule): string {
  if (isComparing(rule)) return `compare ${rule.compare}`;
  if (isRobust(rule)) return `robust ${rule.metric}`;
  return isSequential(rule) ? `sequential ${rule.metric}` : ruleId(rule);
}
