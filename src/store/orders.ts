/** Orders for the leader, as they lie in the queue: the gate that what is read must pass. Another version of the program may have written them. Pure. */

import { z } from "zod";
import { ALERT_SEVERITIES } from "../domain/alert-rule.ts";
import type { Command } from "../domain/rollout-types.ts";
import type { Order } from "../engine/orders.ts";
import { duration, step, weight, windows } from "./document-rollout.ts";

const text = z.string();
const flag = z.boolean();
const nth = z.int().min(0);

const instead = z.discriminatedUnion("type", [
  z.object({ type: z.literal("extend"), byMs: duration }),
  z.object({ type: z.enum(["hold", "stepBack", "rollback"]) }),
]);

const command = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("start"),
    steps: z.array(step),
    version: text,
    windows: windows.exactOptional(),
    startsAtMs: z.number().min(0).exactOptional(),
    announce: z.object({ noticeMs: duration, waiver: text.nullable() }).exactOptional(),
    force: flag,
    reason: text,
  }),
  z.object({ type: z.enum(["pause", "resume", "step_back", "rollback"]), reason: text }),
  z.object({
    type: z.literal("promote"),
    full: flag,
    step: nth.nullable(),
    force: flag.exactOptional(),
    reason: text,
  }),
  z.object({ type: z.literal("approve"), step: nth, role: text, items: z.array(text), reason: text }),
  z.object({ type: z.literal("reject"), step: nth, role: text, answer: instead, reason: text }),
  z.object({ type: z.literal("extend"), byMs: duration, reason: text }),
  z.object({ type: z.literal("retry"), force: flag, reason: text }),
  z.object({ type: z.literal("set_weight"), weight, force: flag, reason: text }),
]) satisfies z.ZodType<Command>;

const said = { id: text, by: text };
const request = z.object({
  route: text,
  severity: z.enum(ALERT_SEVERITIES).nullable(),
  metric: text.nullable(),
  forMs: duration,
  reason: text,
});

const order = z.discriminatedUnion("kind", [
  z.object({
    // Versions of before know commands alone, and name no kind.
    kind: z.literal("command").prefault("command"),
    route: text,
    command,
    actor: z.object({ name: text, roles: z.array(text).exactOptional() }),
    ifVersion: z.int().exactOptional(),
  }),
  z.object({ kind: z.literal(["acknowledge", "resolve_alert"]), ...said, comment: text }),
  z.object({ kind: z.literal("silence"), request, by: text }),
  z.object({ kind: z.literal("unsilence"), ...said }),
  z.object({ kind: z.literal("resolve_incident"), ...said, how: text }),
]) satisfies z.ZodType<Order>;

/** The order in a text; undefined for what this version does not know. */
export function decodeOrder(written: string): Order | undefined {
  try {
    return order.safeParse(JSON.parse(written)).data;
  } catch {
    return undefined;
  }
}
