/** Alerts and silences in the state document: the gate that they must pass. */

import { z } from "zod";
import { ALERT_EVENTS, ALERT_METRICS, ALERT_SEVERITIES } from "../domain/alert-rule.ts";
import type { AlertState } from "../domain/alert.ts";
import { millis } from "../domain/units.ts";

const duration = z.number().min(0).transform(millis);
const severity = z.enum(ALERT_SEVERITIES);
const wall = z.number();

const alert = z.object({
  subject: z.enum([...ALERT_METRICS, ...ALERT_EVENTS]),
  severity,
  words: z.string(),
  rollout: z.string(),
  status: z.enum(["pending", "open"]),
  forMs: duration,
  clearMs: duration.nullable(),
  value: z.number().nullable(),
  apartMs: duration.nullable(),
  isShared: z.boolean(),
  openedAtMs: wall,
  incident: z.string(),
});

const incident = z.object({
  id: z.string(),
  severity,
  rollout: z.string(),
  isRollback: z.boolean(),
  told: z.int().min(0),
  sinceToldMs: duration,
  unansweredMs: duration,
  level: z.int().min(0),
  acknowledged: z.object({ by: z.string(), atMs: wall, comment: z.string() }).nullable(),
});

const silence = z.object({
  id: z.string(),
  severity: severity.nullable(),
  metric: z.string().nullable(),
  untilMs: wall,
  reason: z.string(),
  by: z.string(),
  atMs: wall,
});

/** A route's alerts as they are recorded. */
export const alertState = z.object({
  next: z.int().min(1),
  alerts: z.array(alert).max(1000),
  incidents: z.array(incident).max(1000),
  silences: z.array(silence).max(1000),
  warnedMs: duration,
}) satisfies z.ZodType<AlertState>;
