/** The rows of the admin API about drills, and the shapes of what they answer. */

import { z } from "zod";
import { LONGEST_DRILL_MS } from "../config/drill.ts";
import { force, reason } from "../config/start.ts";
import type { DrillCheck, DrillFigures, DrillReport } from "../domain/drill.ts";
import type { DrillOrder, DrillResult } from "../preflight/drill.ts";
import type { DrillShelf, KeptDrill } from "../telemetry/drills.ts";
import { listQuery, listedBy, noRoute, nothing, read, row, type Reply } from "./row.ts";
import { count, wall } from "./shapes.ts";

/** What these rows work on. */
export interface DrillSources {
  readonly drill: (order: DrillOrder) => Promise<DrillResult>;
  readonly drills: Pick<DrillShelf, "list">;
}

const check: z.ZodType<DrillCheck> = z
  .strictObject({ name: z.string(), ok: z.boolean(), detail: z.string() })
  .meta({ id: "DrillCheck", description: "one thing that a drill had to prove" });

const took = z.number().min(0).nullable();
const figures: z.ZodType<DrillFigures> = z.strictObject({
  requests: count.meta({ description: "synthetic requests" }),
  failed: count.meta({ description: "failed answers of the drill's canary" }),
  failedToClients: count.meta({ description: "failed answers that a rescue did not replace" }),
  offAfterMs: took.meta({ description: "first failure until the weight was taken away" }),
  rolledBackAfterMs: took.meta({ description: "first failure until rolled back for good" }),
});

const fields = {
  format: z.literal(1),
  environment: z.string(),
  route: z.string(),
  startedAt: wall,
  endedAt: wall,
  startedBy: z.string(),
  reason: z.string(),
  passed: z.boolean(),
  sentence: z.string(),
  checks: z.array(check).readonly(),
  figures,
};
const report: z.ZodType<DrillReport> = z
  .strictObject(fields)
  .meta({ id: "DrillReport", description: "what a drill has proved" });
const kept: z.ZodType<KeptDrill> = z.strictObject({ ...fields, file: z.string() });

const listSchema = z
  .strictObject({ drills: z.array(kept).readonly() })
  .meta({ id: "Drills", description: "the reports of drills, newest first" });

const input = z
  .strictObject({
    force: force.optional().meta({ description: "although a rollout is under way; needs a reason" }),
    reason: reason.optional(),
  })
  .refine((given) => given.force !== true || given.reason !== undefined, {
    error: "to force needs a reason",
    path: ["reason"],
  })
  .meta({ id: "Drill", description: "a drill, now" });

const CODES = {
  missing: "SPLIT_NOT_FOUND",
  busy: "SPLIT_PHASE_MISMATCH",
  unreachable: "SPLIT_PHASE_MISMATCH",
  follower: "SPLIT_NO_LEADER",
} as const;

/** A drill, and the reports of those before. */
export const DRILL_ROWS = {
  drill: row({
    method: "POST",
    path: "/v1/routes/{route}/drill",
    scope: "operate",
    summary: "Prove the way back with synthetic requests; the route's own traffic is not touched",
    input,
    query: nothing,
    output: report,
    statuses: [200],
    patienceMs: LONGEST_DRILL_MS,
    async handle({ sources, route, actor, input: asked }): Promise<Reply<DrillReport>> {
      if (sources.control.route(route) === undefined) return noRoute();
      const order = { route, actor: actor.name, reason: asked.reason ?? "", force: asked.force ?? false };
      const result = await sources.drill(order);
      if (result.ok) return { kind: "json", status: 200, body: result.report };
      return { kind: "problem", code: CODES[result.kind], message: result.message };
    },
  }),
  drills: read({
    path: "/v1/drills",
    summary: "The reports of drills, newest first",
    query: listQuery("reports"),
    output: listSchema,
    async handle({ sources, query }) {
      const drills = await sources.drills.list(listedBy(query));
      return { kind: "json", status: 200, body: { drills } };
    },
  }),
} as const;
