/** Alerts of a route: what is worth telling people, how loudly, how often, and what follows when nobody answers. */

import { z } from "zod";
import { ALERT_EVENTS, ALERT_SEVERITIES, alertRules, checkAlerts } from "../domain/alert-rule.ts";
import { measured } from "./rules.ts";
import { none, section } from "./shape.ts";
import { name } from "./texts.ts";
import { duration, positiveDuration, rate } from "./units.ts";

/** How bad it is. */
export const severity = z.enum(ALERT_SEVERITIES);

const lasting = duration.optional().meta({
  description: "how long it must stay above; left out: the entry's, else 2m, so that one failure is no alert",
  examples: ["5m"],
});

const when = z
  .union([
    z.strictObject({
      metric: z.literal("error_rate").meta({ description: "share of the canary's exchanges that failed" }),
      above: rate.meta({ description: "strictly above it", examples: ["0.5%"] }),
      for: lasting,
      ...measured,
    }),
    z.strictObject({
      metric: z
        .enum(["p50", "p95", "p99"])
        .meta({ description: "latency from request sent to response head" }),
      above: positiveDuration.meta({ description: "strictly above it", examples: ["200ms"] }),
      for: lasting,
      ...measured,
    }),
    z.strictObject({
      metric: z
        .literal("health_failures")
        .meta({ description: "failed probes in a row of the canary's worst endpoint" }),
      atLeast: z.int().min(1).max(1000).meta({ description: "so many are an alert" }),
      for: duration.prefault("0s").meta({ description: "how long it must stay so" }),
    }),
    z.strictObject({
      event: z.enum(ALERT_EVENTS).meta({ description: "what happens to a rollout" }),
    }),
  ])
  .meta({ description: "what opens the alert: a metric of the canary above a limit, or an event" });

const entry = z
  .strictObject({
    severity: severity.meta({ description: "how bad it is" }),
    when: z.array(when).min(1).max(20).meta({ description: "any of it opens an alert of its own" }),
    for: duration
      .optional()
      .meta({ description: "for the metrics in it that say nothing: how long they must stay above" }),
  })
  .meta({ description: "what is an alert of one severity" });

/** What is an alert when nothing is said: the plan's own levels (product.md §3). */
export const DEFAULT_ALERTS: z.input<typeof entry>[] = [
  {
    severity: "warning",
    when: [
      { metric: "error_rate", above: "0.5%" },
      { metric: "p95", above: "200ms" },
    ],
  },
  {
    severity: "critical",
    when: [
      { metric: "error_rate", above: "1%" },
      { metric: "p95", above: "500ms" },
    ],
  },
  { severity: "emergency", when: [{ metric: "health_failures", atLeast: 5 }, { event: "rolled_back" }] },
];

const target = z
  .union([
    z.strictObject({
      metric: z.literal("error_rate").meta({ description: "share of the canary's exchanges that failed" }),
      below: rate.meta({ description: "strictly below it", examples: ["0.1%"] }),
    }),
    z.strictObject({
      metric: z
        .enum(["p50", "p95", "p99"])
        .meta({ description: "latency from request sent to response head" }),
      below: positiveDuration.meta({ description: "strictly below it", examples: ["100ms"] }),
    }),
  ])
  .meta({ description: "a value that a metric of the canary should have" });

/** What should be, when nothing is said. */
export const DEFAULT_TARGETS: z.input<typeof target>[] = [
  { metric: "error_rate", below: "0.1%" },
  { metric: "p95", below: "100ms" },
  { metric: "p99", below: "200ms" },
];

/** What should be. */
export const targets = z
  .array(target)
  .max(4)
  .refine((all) => new Set(all.map(({ metric }) => metric)).size === all.length, {
    error: "each metric can have one target",
  });

const level = z.strictObject({
  after: positiveDuration.meta({
    description: "since the first message, as long as nobody has answered",
    examples: ["15m"],
  }),
  to: name.meta({ description: "the role that it reaches", examples: ["deployment-lead"] }),
});

/** How alerts are told. */
export const alerting = section(
  {
    clearAfter: duration
      .prefault("2m")
      .meta({ description: "an alert closes when the value has been within its limit for so long" }),
    repeat: z
      .union([none, positiveDuration])
      .prefault("1h")
      .meta({ description: "an alert that is open and not acknowledged is said again after so long" }),
    escalation: z
      .array(level)
      .max(10)
      .refine((levels) => levels.every(({ after }, at) => at === 0 || after > levels[at - 1]!.after), {
        error: "each level comes later than the one before",
      })
      .prefault([
        { after: "15m", to: "on-call" },
        { after: "30m", to: "deployment-lead" },
        { after: "1h", to: "platform-lead" },
        { after: "2h", to: "executive" },
      ])
      .meta({ description: "whom an alert reaches that nobody acknowledges, level by level; empty: nobody" }),
    escalates: z
      .array(severity)
      .default(["critical", "emergency"])
      .meta({ description: "the severities that climb these levels" }),
    onWarning: section(
      {
        after: positiveDuration
          .prefault("15m")
          .meta({ description: "alerts about metrics of the canary have been open for so long, in service" }),
        do: z
          .enum(["nothing", "pause", "rollback"])
          .default("nothing")
          .meta({ description: "what follows; what stable suffers as well does not count" }),
      },
      "what follows when something is wrong and stays so, and no rule has fired",
    ),
  },
  "how alerts close, are repeated and climb",
);

/** What is an alert. */
export const alerts = z
  .array(entry)
  .max(20)
  .check((context) => {
    const places = context.value.flatMap((each, index) => each.when.map((_, at) => [index, "when", at]));
    for (const { rule, message } of checkAlerts(alertRules(context.value)))
      context.issues.push({ code: "custom", message, path: places[rule]!, input: context.value });
  });
