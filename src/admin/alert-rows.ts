/** The rows of the admin API about alerts and silences. */

import { z } from "zod";
import { severity } from "../config/alerts.ts";
import { reason } from "../config/start.ts";
import { name } from "../config/texts.ts";
import { positiveDuration } from "../config/units.ts";
import { alertShape, silenceShape, subject } from "./alert-shapes.ts";
import { noRoute, nothing, oneRoute, read, replyOf, row, type Call, type Reply } from "./row.ts";

const alertsSchema = z
  .strictObject({ alerts: z.array(alertShape).readonly() })
  .meta({ id: "Alerts", description: "alerts that are open, the worst of each route first" });

const silencesSchema = z
  .strictObject({ silences: z.array(silenceShape).readonly() })
  .meta({ id: "Silences", description: "silences that are in force" });

const answer = z
  .strictObject({ comment: z.string().max(500).optional().meta({ description: "goes into the journal" }) })
  .meta({ id: "AnswerAlert", description: "what a person says to an alert" });

const silence = z
  .strictObject({
    route: name.meta({ description: "whose messages" }),
    severity: severity.optional().meta({ description: "of this severity; left out: any" }),
    metric: subject.optional().meta({ description: "about this metric or event; left out: any" }),
    for: positiveDuration.meta({ description: "for how long, 30d at the most", examples: ["2h"] }),
    reason: reason.min(1),
  })
  .meta({
    id: "MakeSilence",
    description: "messages are muted, and nothing else: whatever happens, happens",
  });

function isKnown({ sources, query }: Call<unknown, { readonly route?: string | undefined }>): boolean {
  return query.route === undefined || sources.control.route(query.route) !== undefined;
}

/** The rows, by operation id. */
export const ALERT_ROWS = {
  alerts: read({
    path: "/v1/alerts",
    summary: "Every alert that is open",
    query: z.strictObject({
      route: oneRoute,
      severity: severity.optional().meta({ description: "of this severity only" }),
    }),
    output: alertsSchema,
    handle(call): Reply<z.output<typeof alertsSchema>> {
      if (!isKnown(call)) return noRoute();
      const { route, severity: only } = call.query;
      const open = call.sources.control.alerting.open(route);
      const alerts = open.filter((each) => only === undefined || each.severity === only);
      return { kind: "json", status: 200, body: { alerts } };
    },
  }),
  acknowledgeAlert: row({
    method: "POST",
    path: "/v1/alerts/{id}/acknowledge",
    scope: "operate",
    summary: "A person has seen it: it is neither repeated nor escalated",
    input: answer,
    query: nothing,
    output: alertsSchema,
    statuses: [200],
    async handle({ sources, id, input, actor }) {
      const result = await sources.control.alerting.acknowledge(id, actor.name, input.comment ?? "");
      return replyOf(result, (alerts) => ({ alerts }));
    },
  }),
  resolveAlert: row({
    method: "POST",
    path: "/v1/alerts/{id}/resolve",
    scope: "operate",
    summary: "A person says that an event is over; what a metric says is over when it is",
    input: answer,
    query: nothing,
    output: alertsSchema,
    statuses: [200],
    async handle({ sources, id, input, actor }) {
      const comment = input.comment ?? `resolved by ${actor.name}`;
      const result = await sources.control.alerting.resolve(id, actor.name, comment);
      return replyOf(result, (alerts) => ({ alerts }));
    },
  }),
  silences: read({
    path: "/v1/silences",
    summary: "Every silence that is in force",
    query: z.strictObject({ route: oneRoute }),
    output: silencesSchema,
    handle(call): Reply<z.output<typeof silencesSchema>> {
      if (!isKnown(call)) return noRoute();
      const silences = call.sources.control.alerting.silences(call.query.route);
      return { kind: "json", status: 200, body: { silences } };
    },
  }),
  silence: row({
    method: "POST",
    path: "/v1/silences",
    scope: "operate",
    summary: "Mute messages for a while; never a rollback nor a decision",
    input: silence,
    query: nothing,
    output: silenceShape,
    statuses: [200],
    async handle({ sources, input, actor }) {
      const { route, severity: only = null, metric = null, for: forMs, reason: why } = input;
      const request = { route, severity: only, metric, forMs, reason: why };
      return replyOf(await sources.control.alerting.silence(request, actor.name), (made) => made);
    },
  }),
  unsilence: row({
    method: "DELETE",
    path: "/v1/silences/{id}",
    scope: "operate",
    summary: "End a silence before its time",
    input: nothing,
    query: nothing,
    output: silenceShape,
    statuses: [200],
    async handle({ sources, id, actor }) {
      return replyOf(await sources.control.alerting.unsilence(id, actor.name), (ended) => ended);
    },
  }),
} as const;
