/**
 * The admin API: one row per route. The server, the OpenAPI document and the types of the command line's client are all made from this
 * table, so that what is served, what is described and what is called cannot differ.
 *
 * Reads are GET, verbs are POST. A handler says what is to be done and answers with data; sockets, tokens and limits are the server's.
 * The ETag is the version of the recorded state and means "what you decided on", not "what you have cached": the
 * measured figures change without it, so there is no 304.
 */

import { z } from "zod";
import { dryRun, dryRunSchema, type DryRun } from "../config/dry-run.ts";
import { LONGEST_PREFLIGHT_MS } from "../config/preflight.ts";
import { resolvePlan, startSchema, weightOf, whyStarted } from "../config/start.ts";
import { summary as summaryOf } from "../domain/preflight.ts";
import type { RouteStatus } from "../engine/status.ts";
import { ALERT_ROWS } from "./alert-rows.ts";
import { backupRows } from "./backup-rows.ts";
import { CONSOLE_ROWS } from "./console-rows.ts";
import { DRILL_ROWS } from "./drill-rows.ts";
import { HEALTH_ROWS } from "./health-rows.ts";
import { flagRows } from "./flag-rows.ts";
import {
  approval,
  approveInput,
  extendInput,
  preflightInput,
  promoteInput,
  rejectInput,
  rejection,
  retryInput,
  rollbackInput,
  weightInput,
  whyInput,
} from "./inputs.ts";
import { measuredOf } from "./measured.ts";
import { MESSAGE_ROWS } from "./message-rows.ts";
import { NEIGHBOUR_ROWS } from "./neighbour-rows.ts";
import { FLEET_ROWS } from "./fleet-rows.ts";
import { REPORT_ROWS } from "./report-rows.ts";
import { SAFETY_ROWS } from "./safety-rows.ts";
import {
  listQuery,
  listedBy,
  noRoute,
  nothing,
  oneRoute,
  problemOf,
  read,
  row,
  verb,
  type Call,
  type Reply,
  type Row,
} from "./row.ts";
import * as shapes from "./shapes.ts";
import { shown } from "./shown.ts";

const verbose = z.strictObject({
  verbose: z.string().max(5).optional().meta({ description: "with the single checks" }),
});

function status({ sources, route }: Call<unknown, unknown>): Reply<RouteStatus> {
  const found = sources.control.route(route);
  return found === undefined ? noRoute() : { kind: "json", status: 200, body: found, version: found.version };
}

function live(): Reply<{ live: true }> {
  return { kind: "json", status: 200, body: { live: true } };
}

/** Every route of the admin API, by operation id. */
export const ROUTES = {
  livez: read({
    path: "/livez",
    scope: "none",
    summary: "Whether the process answers",
    query: verbose,
    output: shapes.liveSchema,
    handle: live,
  }),
  healthz: read({
    path: "/healthz",
    scope: "none",
    summary: "As /livez",
    query: verbose,
    output: shapes.liveSchema,
    handle: live,
  }),
  readyz: read({
    path: "/readyz",
    scope: "none",
    summary: "Whether traffic may be sent here; false while draining",
    query: verbose,
    output: shapes.readySchema,
    statuses: [200, 503],
    handle({ sources, query }): Reply<z.output<typeof shapes.readySchema>> {
      const { ready, checks } = sources.readiness();
      const body = query.verbose === undefined ? { ready } : { ready, checks };
      return { kind: "json", status: ready ? 200 : 503, body };
    },
  }),
  metrics: read({
    path: "/metrics",
    scope: "none",
    summary: "Metrics, as Prometheus text or OpenMetrics",
    output: "text/plain",
    async handle({ sources, accept }) {
      return { kind: "text", ...(await sources.metrics(accept)) };
    },
  }),
  openapi: read({
    path: "/openapi.json",
    scope: "none",
    summary: "This document",
    output: z.record(z.string(), z.unknown()).meta({ description: "an OpenAPI 3.1 document" }),
    handle({ sources }) {
      // Built from the table by openapi.ts; JSON by construction.
      return { kind: "json", status: 200, body: sources.document() as Record<string, unknown> };
    },
  }),
  routes: read({
    path: "/v1/routes",
    summary: "Every route",
    output: shapes.routesSchema,
    handle({ sources }) {
      const { control } = sources;
      return { kind: "json", status: 200, body: { routes: control.routes() }, version: control.version };
    },
  }),
  route: read({
    path: "/v1/routes/{route}",
    summary: "One route: weight, phase, step, both arms, the verdict with its evidence",
    output: shapes.routeStatusSchema,
    handle: status,
  }),
  setWeight: verb("/v1/routes/{route}/weight", "Set the weight by hand", weightInput, (input) => ({
    type: "set_weight",
    weight: weightOf(input.weight),
    force: input.force ?? false,
    reason: input.reason ?? "",
  })),
  rollout: read({
    path: "/v1/rollouts/{route}",
    summary: "A route's rollout; the same answer as /v1/routes/{route}",
    output: shapes.routeStatusSchema,
    handle: status,
  }),
  start: verb(
    "/v1/rollouts/{route}/start",
    "Start a rollout at step 0",
    startSchema,
    (input, { sources, route }) => {
      const config = sources.config();
      const found = config.routes.find((each) => each.name === route);
      const resolved = resolvePlan({ plan: found?.plan, plans: config.plans }, input);
      if (!resolved.ok) return { field: resolved.field, message: resolved.message };
      return {
        type: "start",
        steps: resolved.plan.steps,
        windows: resolved.plan.windows,
        ...(input.at === undefined ? {} : { startsAtMs: Date.parse(input.at) }),
        announce: {
          noticeMs: resolved.plan.noticeMs,
          waiver: input.noAnnounce === true ? (input.reason ?? "") : null,
        },
        version: input.version ?? found?.canary.version ?? "",
        force: input.force ?? false,
        reason: whyStarted(input),
      };
    },
  ),
  plan: row({
    method: "POST",
    path: "/v1/rollouts/{route}/plan",
    scope: "read",
    summary:
      "The dry run: when each step would begin and end, and whether it would know enough; nothing is started",
    input: dryRunSchema,
    query: nothing,
    output: shapes.dryRunShape,
    statuses: [200],
    handle({ sources, route, input }): Reply<DryRun> {
      const config = sources.config();
      const measured = sources.control.route(route);
      const found = config.routes.find((each) => each.name === route);
      if (measured === undefined || found === undefined) return noRoute();
      const result = dryRun(config, found, input, measuredOf(measured.arms), sources.clock.wall());
      if (result.ok) return { kind: "json", status: 200, body: result.dryRun };
      const { field, message } = result;
      return { kind: "problem", code: "SPLIT_INPUT_INVALID", field, message };
    },
  }),
  preflight: row({
    method: "POST",
    path: "/v1/rollouts/{route}/preflight",
    scope: "operate",
    summary: "Check now what must hold before a rollout; nothing is started",
    input: preflightInput,
    query: nothing,
    output: shapes.preflightShape,
    statuses: [200],
    patienceMs: LONGEST_PREFLIGHT_MS + 5000,
    async handle({ sources, route, input }) {
      const found = sources.config().routes.find((each) => each.name === route);
      if (found === undefined) return noRoute();
      const results = await sources.preflight.run(route, input.version ?? found.canary.version ?? "");
      return { kind: "json", status: 200, body: { ...summaryOf(results), results } };
    },
  }),
  pause: verb("/v1/rollouts/{route}/pause", "Hold the weight, rollback armed", whyInput, (input) => ({
    type: "pause",
    reason: input.reason ?? "",
  })),
  resume: verb("/v1/rollouts/{route}/resume", "Go on climbing", whyInput, (input) => ({
    type: "resume",
    reason: input.reason ?? "",
  })),
  promote: verb(
    "/v1/rollouts/{route}/promote",
    "To the next step, or to the last",
    promoteInput,
    (input) => ({
      type: "promote",
      full: input.full ?? false,
      step: input.step ?? null,
      force: input.force ?? false,
      reason: input.reason ?? "",
    }),
  ),
  approve: verb("/v1/rollouts/{route}/approve", "Sign the gate of a step", approveInput, approval, "approve"),
  reject: verb("/v1/rollouts/{route}/reject", "Refuse the gate of a step", rejectInput, rejection, "approve"),
  extend: verb("/v1/rollouts/{route}/extend", "More time at the present step", extendInput, (input) => ({
    type: "extend",
    byMs: input.by,
    reason: input.reason ?? "",
  })),
  stepBack: verb("/v1/rollouts/{route}/step-back", "Back to the step before", whyInput, (input) => ({
    type: "step_back",
    reason: input.reason ?? "",
  })),
  retry: verb(
    "/v1/rollouts/{route}/retry",
    "Again from step 0 after a rollback, or the checks once more",
    retryInput,
    (input) => ({ type: "retry", force: input.force ?? false, reason: input.reason ?? "" }),
  ),
  rollback: verb("/v1/rollouts/{route}/rollback", "Everything back to stable", rollbackInput, (input) => ({
    type: "rollback",
    // A reason that is missing must not hold up an outage.
    reason: input.reason ?? "manual",
  })),
  journal: read({
    path: "/v1/journal",
    summary: "The last lines of the audit trail",
    query: listQuery("lines"),
    output: shapes.journalSchema,
    async handle({ sources, query }) {
      const lines = await sources.control.journal(listedBy(query));
      return { kind: "json", status: 200, body: { lines } };
    },
  }),
  ...REPORT_ROWS,
  ...FLEET_ROWS,
  ...DRILL_ROWS,
  ...MESSAGE_ROWS,
  ...NEIGHBOUR_ROWS,
  ...CONSOLE_ROWS,
  events: read({
    path: "/v1/events",
    summary: "Server-sent events: `status` of each route, at each change and every second",
    query: z.strictObject({ route: oneRoute }),
    output: "text/event-stream",
    handle({ sources, query }) {
      if (query.route !== undefined && sources.control.route(query.route) === undefined) return noRoute();
      return { kind: "events", only: query.route };
    },
  }),
  ...HEALTH_ROWS,
  ...SAFETY_ROWS,
  config: read({
    path: "/v1/config",
    summary: "The effective configuration; secrets as their sources, a webhook without its path",
    output: shapes.configShape,
    handle({ sources }) {
      return { kind: "json", status: 200, body: shown(sources.config()) };
    },
  }),
  ...backupRows,
  ...flagRows,
  ...ALERT_ROWS,
  reload: row({
    method: "POST",
    path: "/v1/config/reload",
    scope: "admin",
    summary: "Read the configuration again; a bad one never replaces a good one",
    input: nothing,
    query: nothing,
    output: shapes.reloadSchema,
    statuses: [200],
    async handle({ sources, actor }) {
      const result = await sources.reload(actor.name);
      if (!result.ok) return problemOf(result);
      const { changed, needsRestart } = result;
      return { kind: "json", status: 200, body: { changed, needsRestart } };
    },
  }),
  drain: row({
    method: "POST",
    path: "/v1/drain",
    scope: "admin",
    summary: "Take no more traffic, finish what is in flight, end",
    input: nothing,
    query: nothing,
    output: shapes.drainSchema,
    statuses: [202],
    handle({ sources }) {
      sources.drain();
      return { kind: "json", status: 202, body: { draining: true } };
    },
  }),
} as const;

/** The name of a row. */
export type Operation = keyof typeof ROUTES;
/** What a verb takes, as it is sent. */
export type InputOf<O extends Operation> = z.input<NonNullable<(typeof ROUTES)[O]["input"]>>;
/** What an operation answers. */
export type OutputOf<O extends Operation> =
  Exclude<(typeof ROUTES)[O]["output"], string> extends z.ZodType<infer T> ? T : never;

/** Every row with its name, in the order of the table. */
export const ROWS: readonly (readonly [name: string, row: Row])[] = Object.entries(ROUTES);
