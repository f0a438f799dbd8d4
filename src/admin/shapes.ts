/**
 * The shapes of what the admin API answers, as schemas: the types of `engine/status.ts` and `engine/ports.ts` said once more in a form that
 * OpenAPI can be made of. Each is declared with the engine's type, so the two cannot drift apart unseen; a test parses real answers
 * with the strict schema, so nothing can be sent that is not described.
 */

import { z } from "zod";
import { alertFields } from "./alert-shapes.ts";
import type { DryRun, DryRunStep } from "../config/dry-run.ts";
import type { Need, Takes } from "../domain/needs.ts";
import type { ReloadResult } from "../engine/control.ts";
import type { EndpointHealth, JournalLine, RescueCounts } from "../engine/ports.ts";
import { fleetSchema, names } from "./fleet-shapes.ts";
import type {
  ArmStatus,
  CheckStatus,
  GateAsked,
  GateStatus,
  RollbackEvidence,
  RouteStatus,
  StepStatus,
  Tally,
} from "../engine/status.ts";
import type { PreflightResult } from "../domain/preflight.ts";
import { REPORT_STATUSES, type Report, type ReportEvent, type ReportStep } from "../domain/report.ts";
import { PHASES, type Phase } from "../domain/rollout-types.ts";
import type { Thrown, Throws } from "../domain/safety.ts";
import { WAITS, type Wait } from "../domain/rollout-tick.ts";
import { REASONS, kindOf } from "../domain/outcome.ts";
import type { ReportEntry } from "../telemetry/report-shelf.ts";

/** How many. */
export const count = z.int().min(0);
const fraction = z.number().min(0).max(1);
/** A time in milliseconds. */
export const ms = z.number().min(0);
/** A weight in percent. */
export const weight = z.number().min(0).max(100).meta({ description: "the canary's share in percent" });
const verdict = z.enum(["successful", "failed", "inconclusive"]);
/** Every phase; the list is the domain's. */
export const phase: z.ZodType<Phase> = z.enum(PHASES);
/** A moment by the wall clock. */
export const wall = z.string().meta({ description: "ISO 8601; for display" });

/** One endpoint. */
export const endpoint: z.ZodType<EndpointHealth> = z
  .strictObject({
    url: z.string(),
    healthy: z.boolean().nullable().meta({ description: "null before the first probe has ended" }),
    failures: count.meta({ description: "failed probes in a row" }),
    detail: z.string().meta({ description: "why the last probe failed" }),
  })
  .meta({ id: "EndpointHealth", description: "one endpoint as the probes see it" });

const rescues: z.ZodType<RescueCounts> = z
  .strictObject({ answered: count, failed: count, refused: count })
  .meta({ id: "RescueCounts", description: "how many rescues ended how, since start" });

const arm: z.ZodType<ArmStatus> = z
  .strictObject({
    version: z.string(),
    requests: count.meta({ description: "judged exchanges since start" }),
    failures: count.meta({ description: "failures since start" }),
    excluded: count.meta({ description: "exchanges that are no evidence, since start" }),
    errorRate: fraction.nullable().meta({ description: "share that failed in the window" }),
    p50Ms: ms.nullable(),
    p95Ms: ms.nullable(),
    p99Ms: ms.nullable(),
    windowRequests: count,
    windowFailures: count,
    perSecond: z.number().min(0),
    byReason: z.partialRecord(z.enum(REASONS.filter((each) => kindOf(each) !== "success")), count).meta({
      description: "since start; reasons that never came are left out",
    }),
    forced: z.strictObject({ requests: count, failures: count }),
    inFlight: count,
    longLived: count,
    endpoints: z.array(endpoint),
  })
  .meta({ id: "ArmStatus", description: "one arm: counts since start, quantiles over the window" });

const tally: z.ZodType<Tally> = z
  .strictObject({ name: z.string(), count })
  .meta({ id: "Tally", description: "a name with how often it came" });

const marks = {
  worstPaths: z.array(tally),
  worstMethods: z.array(tally),
  byReason: z.array(tally).meta({ description: "how they were bad: `status 503`, `connect`, `slow`" }),
  distinctKeys: count,
  keysCapped: z.boolean(),
  traceIds: z.array(z.string()),
};

const check: z.ZodType<CheckStatus> = z
  .strictObject({
    rule: z.string(),
    tier: z.enum(["catastrophic", "sustained", "comparative", "health", "warning", "promotion"]),
    verdict,
    action: z.enum(["observe", "pause", "rollback", "hold"]).meta({
      description: "what follows when it fails; `hold`: it never does, the weight stays where it is",
    }),
    observed: z.number().nullable().meta({ description: "null when there is not enough data" }),
    limit: z.number(),
    unit: z.enum(["fraction", "ms", "count"]),
    have: z.number().min(0),
    need: z.number().min(0),
    breachMs: ms.nullable(),
    forMs: ms,
    detail: z.string(),
    held: z
      .enum(["shared_cause", "one_client"])
      .optional()
      .meta({ description: "why it does not fail although the canary is over the limit" }),
    interval: z.strictObject({ low: z.number(), high: z.number() }).optional().meta({
      description: "where the observed value lies, 95 % at one look; it explains, the evidence decides",
    }),
    n: count.optional().meta({ description: "responses of the canary behind the interval" }),
    ratio: fraction.optional().meta({ description: "how much of what a promotion asks for is there" }),
    etaMs: ms.nullable().optional().meta({ description: "until all of it is; null: no telling" }),
    marks: z.strictObject(marks).optional().meta({
      description: "what the bad responses of the last five to ten minutes have in common",
    }),
    advice: z.string().meta({ description: "what to do about it; empty when there is nothing to be done" }),
  })
  .meta({ id: "CheckStatus", description: "one rule's part of the verdict, with its evidence" });

const gateSpec: z.ZodType<GateAsked> = z
  .strictObject({
    roles: names,
    acknowledge: names,
    checklist: names,
    expiresMs: ms.nullable().meta({ description: "how long a signature counts; null: for ever" }),
    samePerson: z.boolean(),
    health: z.literal(true).exactOptional().meta({ description: "every health check must pass as well" }),
  })
  .meta({ id: "GateAsked", description: "what people must grant before a step is left" });
const said = { by: z.string(), atMs: ms.meta({ description: "wall clock" }), comment: z.string() };
const gate: z.ZodType<GateStatus> = z
  .strictObject({
    granted: z.boolean(),
    missing: z.strictObject({ roles: names, acknowledge: names, items: names }),
    signatures: z.array(z.strictObject({ role: z.string(), ...said })),
    ticks: z.array(z.strictObject({ item: z.string(), ...said })),
    words: z.string(),
  })
  .meta({ id: "GateStatus", description: "how the gate of the present step stands" });
const waiting: z.ZodType<Wait> = z
  .strictObject({
    for: z.enum(WAITS),
    words: z.string(),
  })
  .meta({ id: "Waiting", description: "the first thing that is missing before the weight rises" });

const step: z.ZodType<StepStatus> = z
  .strictObject({ weight, holdMs: ms, bake: z.boolean(), critical: z.boolean(), gate: gateSpec.nullable() })
  .meta({ id: "StepStatus", description: "one step of the plan" });

const evidence: z.ZodType<RollbackEvidence> = z
  .strictObject({
    route: z.string(),
    rollout: z.string(),
    environment: z.string(),
    at: wall,
    actor: z.string(),
    reason: z.string(),
    step: z.int(),
    fromWeight: weight,
    toWeight: weight,
    failed: z.array(check),
    checks: z.array(check),
    arms: z.strictObject({ stable: arm, canary: arm }),
    ...marks,
    explanation: z.array(z.string()).meta({ description: "what happened and what to do, in a few lines" }),
    requestsFailed: count,
    requestsRescued: count,
    breachMs: ms.nullable(),
    tookMs: ms,
    stableHealthy: z.boolean(),
  })
  .meta({ id: "RollbackEvidence", description: "why a rollback was, and what it cost" });

const thrown: z.ZodType<Thrown> = z
  .strictObject({ since: wall, by: z.string(), reason: z.string() })
  .meta({ id: "Thrown", description: "since when a safety switch is on, by whom, and why" });

/** The safety switches that are on. */
export const throws: z.ZodType<Throws> = z
  .strictObject({
    emergency: thrown.exactOptional(),
    "read-only": thrown.exactOptional(),
    maintenance: thrown.exactOptional(),
  })
  .meta({ id: "Throws", description: "the safety switches that are on; empty when all is normal" });

/** One route, exactly `RouteStatus`. */
export const routeStatusSchema: z.ZodType<RouteStatus> = z
  .strictObject({
    name: z.string(),
    weight,
    safety: throws,
    phase,
    reason: z.string(),
    step: z.int().meta({ description: "index of the present step" }),
    steps: z.array(step),
    heldMs: ms,
    holdLeftMs: ms,
    cooldownLeftMs: ms,
    waiting: waiting.nullable(),
    gate: gate.nullable().meta({ description: "null when the present step has none" }),
    startsAt: wall.nullable().meta({ description: "of a scheduled rollout; ISO 8601" }),
    rollout: z.string(),
    startedAt: wall,
    version: count.meta({ description: "version of the recorded state; the ETag" }),
    recorded: z.boolean().meta({ description: "false while what is in force could not be recorded yet" }),
    verdict,
    checks: z.array(check),
    evidenceRatio: fraction.nullable().meta({
      description: "how much of the evidence for the next step is there; null when none is asked for",
    }),
    evidenceEtaMs: ms.nullable().meta({ description: "until all of it is, at best; null: no telling" }),
    ...alertFields,
    rescues,
    rollbacks: count,
    lastRollback: evidence.nullable(),
    fleet: fleetSchema.nullable().meta({ description: "null where the state is not shared" }),
    arms: z.strictObject({ stable: arm, canary: arm }),
  })
  .meta({ id: "RouteStatus", description: "one route: what is in force, what is measured, what is judged" });

/** Every route. */
export const routesSchema = z
  .strictObject({ routes: z.array(routeStatusSchema).readonly() })
  .meta({ id: "Routes", description: "every route, in the order of the configuration" });

const takes: z.ZodType<Takes> = z
  .strictObject({ p50Ms: ms, p90Ms: ms })
  .meta({ id: "Takes", description: "how long it takes, in half and in nine of ten cases" });

const need: z.ZodType<Need> = z
  .strictObject({
    kind: z.enum(["detect", "prove", "limit", "data"]).meta({
      description:
        "that a harm is found, that the canary is proved not to be worse, a success limit, or a rule's least traffic",
    }),
    what: z.string(),
    responses: z.number().min(0).nullable().meta({
      description: "canary responses in half of the cases; null: no number is enough",
    }),
    takes: takes.nullable().meta({ description: "null: it never comes" }),
  })
  .meta({ id: "Need", description: "one thing that a step needs to know" });

const dryRunStep: z.ZodType<DryRunStep> = z
  .strictObject({
    weight,
    holdMs: ms,
    bake: z.boolean(),
    critical: z.boolean(),
    preflight: z.boolean(),
    signers: names.readonly(),
    acknowledge: names.readonly(),
    checklist: names.readonly(),
    beginsAt: wall.nullable().meta({ description: "in half of the cases; null: never by itself" }),
    endsAt: wall.nullable().meta({ description: "in half of the cases; null: never by itself" }),
    endsAt90: wall.nullable().meta({ description: "in nine of ten cases" }),
    canaryPerSecond: z.number().min(0),
    detect: takes
      .nullable()
      .meta({ description: "until the harm is found, when it is there from the start" }),
    detectLater: takes.nullable().meta({ description: "the same, when it begins within the step" }),
    smallestRise: fraction.nullable().meta({
      description: "the smallest rise that is found within the hold in nine of ten cases; null: none",
    }),
    prove: takes.nullable().meta({ description: "until it is proved that the canary is not worse" }),
    needs: z.array(need).readonly(),
    knows: z
      .boolean()
      .meta({ description: "whether all that it needs comes within the hold, in nine of ten cases" }),
    words: z.array(z.string()).readonly().meta({ description: "what is missing and what to do about it" }),
  })
  .meta({ id: "DryRunStep", description: "one step as it will go" });

/** A plan as it will go. */
export const dryRunShape: z.ZodType<DryRun> = z
  .strictObject({
    route: z.string(),
    startsAt: wall,
    windows: names.readonly().meta({ description: "when the weight may rise; empty: at any time" }),
    announceBy: wall.nullable().meta({ description: "by when people are to be told of the start" }),
    preflight: names.readonly().meta({ description: "what would be checked before a step that asks for it" }),
    messages: z
      .array(
        z.strictObject({
          at: wall.nullable(),
          event: z.string(),
          severity: z.enum(["info", "warning"]),
          to: names.readonly(),
        }),
      )
      .readonly()
      .meta({ description: "what would be sent, in order, to which channels" }),
    perSecond: z.number().min(0),
    baseline: fraction,
    harm: fraction,
    measured: z
      .strictObject({ perSecond: z.boolean(), baseline: z.boolean() })
      .meta({ description: "whether it was measured here, or else said or assumed" }),
    knows: z.boolean().meta({ description: "whether every step knows enough within its hold" }),
    stuckAt: count.nullable().meta({ description: "the first step that it cannot get away from by itself" }),
    steps: z.array(dryRunStep).readonly(),
  })
  .meta({ id: "DryRun", description: "a plan as it will go" });

const preflightResult: z.ZodType<PreflightResult> = z
  .strictObject({
    name: z.string(),
    ok: z.boolean(),
    required: z.boolean().meta({ description: "whether a rollout may not start without it" }),
    detail: z.string(),
    tookMs: ms,
  })
  .meta({ id: "PreflightResult", description: "what one check before a rollout came to" });

/** The checks before a rollout. */
export const preflightShape = z
  .strictObject({
    passed: z.boolean().meta({ description: "whether all that is required holds" }),
    sentence: z.string(),
    failed: z.array(z.string()).readonly().meta({ description: "the required checks that failed" }),
    results: z.array(preflightResult).readonly(),
  })
  .meta({ id: "Preflight", description: "the checks before a rollout, all of them" });

const point = z
  .strictObject({ phase, step: z.int(), weight })
  .meta({ id: "JournalPoint", description: "where a rollout stood" });

const journalLine: z.ZodType<JournalLine> = z
  .strictObject({
    seq: count,
    at: wall,
    event: z.string(),
    route: z.string(),
    rollout: z.string(),
    actor: z.string(),
    reason: z.string(),
    before: point,
    after: point,
    details: z.record(z.string(), z.unknown()).exactOptional(),
    prev: z.string().meta({ description: "hash of the line before" }),
    hash: z.string().meta({ description: "SHA-256 of this line without its hash" }),
  })
  .meta({ id: "JournalLine", description: "one line of the audit trail" });

/** The last lines of the journal. */
export const journalSchema = z
  .strictObject({ lines: z.array(journalLine).readonly() })
  .meta({ id: "Journal", description: "the last lines, oldest first" });

const reportHead = {
  route: z.string(),
  rollout: z.string(),
  version: z.string().meta({ description: "what ran on the canary; empty when that was not said" }),
  status: z.enum(REPORT_STATUSES).meta({ description: "`REPLACED`: another rollout was started over it" }),
  startedAt: wall,
  endedAt: wall.nullable().meta({ description: "null while it runs" }),
};

const reportEntry: z.ZodType<ReportEntry> = z
  .strictObject({ id: z.string(), file: z.string(), ...reportHead })
  .meta({ id: "ReportEntry", description: "one report in the list" });

/** The reports of rollouts. */
export const reportsSchema = z
  .strictObject({ reports: z.array(reportEntry).readonly() })
  .meta({ id: "Reports", description: "the reports of rollouts, newest first" });

const reportStep: z.ZodType<ReportStep> = z
  .strictObject({ weight, holdMs: ms, bake: z.boolean(), critical: z.boolean() })
  .meta({ id: "ReportStep", description: "one step of the plan; what its gate asks for is with the start" });

const reportEvent: z.ZodType<ReportEvent> = z
  .looseObject({
    type: z.string(),
    timestamp: wall,
    seq: count.meta({ description: "number of the line in the journal" }),
    route: z.string(),
    rollout: z.string(),
    actor: z.string(),
    reason: z.string(),
    before: point,
    after: point,
  })
  .meta({ id: "ReportEvent", description: "one line of the journal; its details stand beside its fields" });

/** One report, exactly `Report`. */
export const reportSchema: z.ZodType<Report> = z
  .strictObject({
    format: z.literal(1),
    environment: z.string(),
    ...reportHead,
    startedBy: z.string(),
    reason: z.string(),
    omitted: count.meta({ description: "events left out, for there were too many" }),
    steps: z.array(reportStep).meta({ description: "the plan; empty when the journal does not tell it" }),
    events: z.array(reportEvent),
  })
  .meta({ id: "Report", description: "one rollout, as the journal tells it" });

/** What a reload did. */
export const reloadSchema: z.ZodType<Omit<Extract<ReloadResult, { ok: true }>, "ok">> = z
  .strictObject({
    changed: z.array(z.string()).meta({ description: "what is in force anew" }),
    needsRestart: z.array(z.string()).meta({ description: "what differs and cannot change while running" }),
  })
  .meta({ id: "Reload", description: "what a reload did" });

/** Whether it lives. */
export const liveSchema = z
  .strictObject({ live: z.literal(true) })
  .meta({ id: "Live", description: "the process answers" });

/** Whether it may be sent traffic. */
export const readySchema = z
  .strictObject({
    ready: z.boolean(),
    checks: z
      .record(z.string(), z.string())
      .readonly()
      .exactOptional()
      .meta({ description: "with ?verbose" }),
  })
  .meta({ id: "Ready", description: "whether traffic may be sent here" });

/** The drain has begun. */
export const drainSchema = z
  .strictObject({ draining: z.literal(true) })
  .meta({ id: "Drain", description: "the drain has begun" });

/** The effective configuration. */
export const configShape = z
  .record(z.string(), z.unknown())
  .meta({ id: "Config", description: "the effective configuration, as config/schema.json describes it" });
