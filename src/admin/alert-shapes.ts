/** The shapes of what the admin API says about alerts: the engine's types once more, as schemas. */

import { z } from "zod";
import type { TargetReading } from "../domain/alert-message.ts";
import { ALERT_EVENTS, ALERT_METRICS, ALERT_SEVERITIES } from "../domain/alert-rule.ts";
import type { AcknowledgedStatus, AlertStatus, SilenceStatus } from "../engine/status.ts";

const at = z.string().meta({ description: "ISO 8601; for display" });
const severity = z.enum(ALERT_SEVERITIES);
/** What an alert is about. */
export const subject = z.enum([...ALERT_METRICS, ...ALERT_EVENTS]);

const acknowledged: z.ZodType<AcknowledgedStatus> = z
  .strictObject({ by: z.string(), at, comment: z.string() })
  .meta({ id: "Acknowledged", description: "who has seen an alert" });

/** One alert, exactly `AlertStatus`. */
export const alertShape: z.ZodType<AlertStatus> = z
  .strictObject({
    id: z.string().meta({ description: "what it is acknowledged by; empty while nobody was told" }),
    route: z.string(),
    rollout: z.string(),
    severity,
    metric: subject,
    rule: z.string(),
    value: z.number().nullable().meta({ description: "a fraction, ms or a count; null: of an event" }),
    openedAt: at,
    openMs: z.number().min(0).meta({ description: "in service" }),
    level: z.int().min(0).meta({ description: "levels that it has climbed because nobody answered" }),
    muted: z
      .enum(["inhibited", "silenced"])
      .nullable()
      .meta({ description: "why people are not told: a worse alert of the same metric, or a silence" }),
    acknowledged: acknowledged.nullable(),
  })
  .meta({ id: "Alert", description: "an alert that is open" });

const target: z.ZodType<TargetReading> = z
  .strictObject({
    metric: z.enum(["error_rate", "p50", "p95", "p99"]),
    target: z.string(),
    met: z.boolean().nullable().meta({ description: "null: there is not enough data to say" }),
  })
  .meta({ id: "Target", description: "what a metric of the canary should be, and whether it is" });

/** One silence, exactly `SilenceStatus`. */
export const silenceShape: z.ZodType<SilenceStatus> = z
  .strictObject({
    id: z.string(),
    route: z.string(),
    severity: severity.nullable().meta({ description: "null: any" }),
    metric: z.string().nullable().meta({ description: "a metric or an event; null: any" }),
    until: at,
    reason: z.string(),
    by: z.string(),
    at,
  })
  .meta({ id: "Silence", description: "messages that nobody wants to have for a while" });

/** What a route's status says about alerts. */
export const alertFields = {
  alerts: z.array(alertShape).readonly().meta({ description: "those that are open, the worst first" }),
  targets: z.array(target).readonly(),
};
