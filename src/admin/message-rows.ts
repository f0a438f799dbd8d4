/** The rows about what people were told, and about incidents. */

import { z } from "zod";
import { reason } from "../config/start.ts";
import type { IncidentRecord } from "../domain/incident.ts";
import type { Messages, ToldMessage } from "../engine/messages.ts";
import { listQuery, listedBy, nothing, read, replyOf, row, type Call, type Reply } from "./row.ts";
import { count, wall, weight } from "./shapes.ts";

/** What these rows work on. */
export interface MessageSources {
  readonly messages: Pick<Messages, "last">;
}

const message: z.ZodType<ToldMessage> = z
  .strictObject({
    at: wall,
    id: z.string().meta({ description: "the same when it was told again" }),
    severity: z.enum(["info", "warning", "critical", "emergency"]),
    event: z.string(),
    route: z.string().meta({ description: "empty: of none" }),
    rollout: z.string(),
    summary: z.string().meta({ description: "one line" }),
    lines: z.array(z.string()).max(30).readonly().meta({ description: "for people, at most 30" }),
    details: z.record(z.string(), z.unknown()),
    incident: z
      .strictObject({ key: z.string(), action: z.enum(["trigger", "acknowledge", "resolve"]) })
      .exactOptional()
      .meta({ description: "what it opens or closes with a pager" }),
    audience: z.enum(["operators", "stakeholders"]),
  })
  .meta({ id: "Message", description: "a message that people were told" });

const messagesSchema = z
  .strictObject({ messages: z.array(message).readonly() })
  .meta({ id: "Messages", description: "the last messages since the start, oldest first" });

const millisWall = z.number().meta({ description: "wall-clock milliseconds" });
const arm = z.strictObject({
  requests: count,
  failures: count,
  errorRate: z.number().nullable(),
  p95Ms: z.number().nullable(),
});

const incidentSchema: z.ZodType<IncidentRecord> = z
  .strictObject({
    format: z.literal(1),
    id: z.string().meta({ description: "the name of its files in the reports folder" }),
    key: z.string().meta({ description: "what a pager opens and closes by" }),
    status: z.enum(["open", "resolved"]),
    environment: z.string(),
    route: z.string(),
    rollout: z.string(),
    version: z.string(),
    openedAtMs: millisWall,
    actor: z.string(),
    reason: z.string(),
    fromWeight: weight,
    toWeight: weight,
    rules: z
      .array(z.string())
      .readonly()
      .meta({ description: "the rules that failed; empty: a person decided" }),
    figures: z.strictObject({ stable: arm, canary: arm }),
    requestsFailed: count,
    requestsRescued: count,
    distinctKeys: count.meta({ description: "distinct users among the failures" }),
    keysCapped: z.boolean(),
    breachMs: z.number().nullable().meta({ description: "from the first breach to the decision" }),
    tookMs: z.number().meta({ description: "from the decision to the weight in force" }),
    stableHealthy: z.boolean(),
    resolvedAtMs: millisWall.nullable(),
    resolvedBy: z.string(),
    resolution: z.string(),
    updates: z.array(z.strictObject({ atMs: millisWall, words: z.string() })).readonly(),
    told: count.meta({ description: "how often stakeholders were told" }),
    dueAtMs: millisWall.meta({ description: "when they are told next, unless it is resolved" }),
    isEndTold: z.boolean(),
  })
  .meta({ id: "Incident", description: "a rollback, from its opening to its end" });

const incidentsSchema = z
  .strictObject({ incidents: z.array(incidentSchema).readonly() })
  .meta({ id: "Incidents", description: "the last few of each route, oldest first" });

const resolveInput = z.strictObject({ reason }).meta({ id: "ResolveIncident", description: "how it ended" });

async function resolve({
  sources,
  id,
  actor,
  input,
}: Call<z.output<typeof resolveInput>, unknown>): Promise<Reply<IncidentRecord>> {
  const result = await sources.control.resolveIncident(id, actor, input.reason);
  return replyOf(result, (incident) => incident);
}

/** The rows, by operation id. */
export const MESSAGE_ROWS = {
  messages: read({
    path: "/v1/messages",
    summary: "What people were told since the start, the last messages, oldest first",
    query: listQuery("messages"),
    output: messagesSchema,
    handle({ sources, query }) {
      const messages = sources.messages.last(listedBy(query));
      return { kind: "json", status: 200, body: { messages } };
    },
  }),
  incidents: read({
    path: "/v1/incidents",
    summary: "Rollbacks as incidents, the last few of each route, oldest first",
    output: incidentsSchema,
    handle({ sources }) {
      return { kind: "json", status: 200, body: { incidents: sources.control.incidents() } };
    },
  }),
  resolveIncident: row({
    method: "POST",
    path: "/v1/incidents/{id}/resolve",
    scope: "operate",
    summary: "Say that an incident is over; whoever was told of it is told of its end",
    input: resolveInput,
    query: nothing,
    output: incidentSchema,
    statuses: [200],
    handle: resolve,
  }),
} as const;
