/** Status and evidence, built from what a route is and has measured. No decisions here; the shapes are in `status.ts`. */

import type { BulletinView } from "../domain/bulletin.ts";
import type { Verdict } from "../domain/judge.ts";
import type { Check } from "../domain/rule.ts";
import { encode, percentilesOf } from "../domain/latency.ts";
import { OUTCOMES, CODE_CLASSES, REASONS, type BadKind, type Reason } from "../domain/outcome.ts";
import type { RolloutState } from "../domain/rollout-types.ts";
import { holdOf, waitOf, type Wait } from "../domain/rollout-tick.ts";
import { gateReading } from "../domain/signatures.ts";
import type { Throws } from "../domain/safety.ts";
import type { Arm } from "../domain/split.ts";
import { byOutcome, type Histograms } from "../domain/window.ts";
import { millis, percentOf, type Millis, type Ppm } from "../domain/units.ts";
import type { ArmHistograms } from "./control.ts";
import type { EndpointHealth, PlaneGauges } from "./ports.ts";
import { adviceFor, explainRollback } from "./explain.ts";
import type { RouteStats } from "./stats.ts";
import type {
  ArmStatus,
  CheckStatus,
  FleetStatus,
  GateStatus,
  Marks,
  RollbackEvidence,
  RouteStatus,
  StepStatus,
} from "./status.ts";

/** The window of the figures that people see. */
export const SHOWN_WINDOW = millis(60_000);

/** What a view is made of. */
export interface Seen {
  readonly name: string;
  readonly state: RolloutState;
  readonly stats: RouteStats;
  readonly verdict: Verdict;
  readonly gauges: PlaneGauges["routes"][string] | undefined;
  readonly health: (arm: Arm) => readonly EndpointHealth[];
  readonly canaryVersion: string;
  readonly stableVersion: string;
  /** For how long there has been something to measure, at most the shown window. */
  readonly servedMs: Millis;
  readonly now: Millis;
  /** Wall-clock milliseconds. */
  readonly wall: number;
}

/** An arm in short. */
type ArmFigures = Pick<ArmStatus, "requests" | "failures" | "errorRate" | "p50Ms" | "p95Ms" | "p99Ms">;

/** One arm as people see it. */
function armStatus(seen: Seen, arm: Arm): ArmStatus {
  const stats = seen.stats.arms[arm];
  const reading = stats.window.read(SHOWN_WINDOW, seen.now, millis(0));
  const [successes, failures, excluded] = byOutcome(stats.totals.byReason);
  const byReason: Partial<Record<Reason, number>> = {};
  stats.totals.byReason.forEach((count, index) => {
    const reason = REASONS[index];
    if (count > 0 && reason !== undefined) byReason[reason] = count;
  });
  const load = seen.gauges?.[arm] ?? { inFlight: 0, longLived: 0 };
  return {
    version: arm === "canary" ? seen.state.version || seen.canaryVersion : seen.stableVersion,
    requests: successes + failures,
    failures,
    excluded,
    errorRate: reading.requests === 0 ? null : reading.failures / reading.requests,
    p50Ms: reading.all.p50,
    p95Ms: reading.all.p95,
    p99Ms: reading.all.p99,
    windowRequests: reading.requests,
    windowFailures: reading.failures,
    perSecond: (reading.requests * 1000) / Math.max(1000, Math.min(SHOWN_WINDOW, seen.servedMs)),
    byReason,
    forced: forcedOf(stats.totals.forcedByClass),
    inFlight: load.inFlight,
    longLived: load.longLived,
    endpoints: seen.health(arm),
  };
}

function forcedOf(byClass: readonly number[]): { readonly requests: number; readonly failures: number } {
  const classes = CODE_CLASSES.length;
  const sum = (outcome: number): number =>
    byClass.slice(outcome * classes, (outcome + 1) * classes).reduce((a, b) => a + b, 0);
  const failures = sum(OUTCOMES.indexOf("failure"));
  return { requests: sum(OUTCOMES.indexOf("success")) + failures, failures };
}

/** The checks of the last verdict, with what is known around them. @param weight the canary's share that is in force, or comes into force */
export function checkStatuses(seen: Seen, weight: Ppm): readonly CheckStatus[] {
  const { state, stats, name, now } = seen;
  const known = new Map<BadKind, Marks | undefined>();
  // Gathered once for all the rules that are about the same.
  const marksOf = (about: BadKind): Marks | undefined => {
    if (!known.has(about)) known.set(about, stats.recent.of(about, now));
    return known.get(about);
  };
  return seen.verdict.checks.map((check) => {
    const { kind, about, ...rest } = check;
    const marks = about === undefined ? undefined : marksOf(about);
    const advice = adviceFor(check, {
      route: name,
      weight: percentOf(weight),
      isClimbing: state.phase === "progressing" || state.phase === "baking",
      marks,
      endpoints: seen.health("canary"),
    });
    return { ...rest, verdict: kind, ...(marks === undefined ? {} : { marks }), advice };
  });
}

/** What is wrong at this moment though nothing has come of it yet, or is held back, a line each. */
function warningsIn(checks: readonly CheckStatus[]): readonly string[] {
  const isOpen = ({ action, verdict, breachMs, held }: CheckStatus): boolean =>
    held !== undefined || (action !== "hold" && (verdict === "failed" || breachMs !== null));
  return checks.filter(isOpen).map(({ rule, detail }) => `${rule}: ${detail}`);
}

/** What the clock tells is made of. @param around `alerts`: those that are open, a line each */
export function bulletinView(
  seen: Seen,
  around: Pick<BulletinView, "environment" | "calendar"> & { readonly alerts: readonly string[] },
): BulletinView {
  const { environment, calendar, alerts } = around;
  const { name, state, verdict } = seen;
  return {
    route: name,
    environment,
    state,
    calendar,
    figures: figuresOf(seen),
    warnings: [...warningsIn(checkStatuses(seen, state.weight)), ...alerts],
    waiting: waitOf(state, verdict.kind, calendar),
  };
}

/** The plan as people see it. */
export function stepsOf({ steps }: RolloutState): readonly StepStatus[] {
  return steps.map(({ weight, holdMs, bake, critical, gate }) => ({
    weight: percentOf(weight),
    holdMs,
    bake,
    critical: critical === true,
    gate: gate ?? null,
  }));
}

function gateStatus({ state, wall }: Seen): GateStatus | null {
  const spec = state.steps[state.step]?.gate;
  const { gate } = state.progress;
  if (spec === undefined || gate === null) return null;
  const { granted, missing, words } = gateReading(spec, gate, wall);
  return { granted, missing, words, signatures: gate.signatures, ticks: gate.ticks };
}

/** Both arms' figures, for the report. */
export function figuresOf(seen: Seen): Readonly<Record<Arm, ArmFigures>> {
  const of = (arm: Arm): ArmFigures => {
    const { requests, failures, errorRate, p50Ms, p95Ms, p99Ms } = armStatus(seen, arm);
    return { requests, failures, errorRate, p50Ms, p95Ms, p99Ms };
  };
  return { stable: of("stable"), canary: of("canary") };
}

/** What is asked for before the next step, as a whole. */
function evidenceTowards(checks: readonly Check[]): {
  readonly evidenceRatio: number | null;
  readonly evidenceEtaMs: number | null;
} {
  const asked = checks.filter(({ tier }) => tier === "promotion");
  if (asked.length === 0) return { evidenceRatio: null, evidenceEtaMs: null };
  const etas = asked.map(({ kind, etaMs }) => (kind === "successful" ? 0 : (etaMs ?? Infinity)));
  const longest = Math.max(...etas);
  return {
    evidenceRatio: Math.min(...asked.map(({ ratio = 1 }) => ratio)),
    evidenceEtaMs: longest === Infinity ? null : longest,
  };
}

/** One route as people see it. */
export function routeStatus(
  seen: Seen,
  record: {
    readonly recorded: boolean;
    readonly lastRollback: RollbackEvidence | null;
    readonly waiting: Wait | null;
    readonly safety: Throws;
    /** The canary's share that is in force: none in an emergency. */
    readonly weight: Ppm;
    readonly alerts: RouteStatus["alerts"];
    readonly targets: RouteStatus["targets"];
    readonly fleet: FleetStatus | null;
  },
): RouteStatus {
  const { state, stats } = seen;
  const hold = state.steps[state.step] === undefined ? 0 : holdOf(state);
  return {
    name: seen.name,
    weight: percentOf(record.weight),
    safety: record.safety,
    phase: state.phase,
    reason: state.reason,
    step: state.step,
    steps: stepsOf(state),
    heldMs: state.heldMs,
    holdLeftMs: Math.max(0, hold - state.heldMs),
    cooldownLeftMs: state.cooldownLeftMs,
    waiting: record.waiting,
    gate: gateStatus(seen),
    startsAt: state.phase === "scheduled" ? new Date(state.startsAtMs).toISOString() : null,
    rollout: state.id,
    startedAt: state.startedAt,
    version: state.revision,
    recorded: record.recorded,
    verdict: seen.verdict.kind,
    checks: checkStatuses(seen, state.weight),
    ...evidenceTowards(seen.verdict.checks),
    alerts: record.alerts,
    targets: record.targets,
    rescues: stats.rescues,
    rollbacks: Object.values(stats.rollbacks).reduce((a, b) => a + b, 0),
    lastRollback: record.lastRollback,
    fleet: record.fleet,
    arms: { stable: armStatus(seen, "stable"), canary: armStatus(seen, "canary") },
  };
}

/** Why a rollback was, and what it cost. `from` is the state before it. */
export function evidenceOf(
  seen: Seen,
  rollback: {
    readonly from: RolloutState;
    readonly toWeight: Ppm;
    readonly actor: string;
    readonly reason: string;
    readonly environment: string;
    readonly at: string;
    readonly tookMs: Millis;
    readonly stableHealthy: boolean;
    readonly cooldownMs: Millis;
  },
): RollbackEvidence {
  const { marks } = seen.stats;
  const { actor, reason, cooldownMs } = rollback;
  const fromWeight = percentOf(rollback.from.weight || rollback.from.trippedFrom);
  const toWeight = percentOf(rollback.toWeight);
  const { requestsFailed, requestsRescued } = marks;
  const checks = checkStatuses(seen, rollback.toWeight);
  const failed = rollback.actor === "sluice" ? checks.filter((check) => check.verdict === "failed") : [];
  const breaches = failed.flatMap((check) => (check.breachMs === null ? [] : [check.breachMs]));
  return {
    route: seen.name,
    rollout: rollback.from.id,
    environment: rollback.environment,
    at: rollback.at,
    actor,
    reason,
    step: rollback.from.step,
    fromWeight,
    toWeight,
    failed,
    checks,
    arms: { stable: armStatus(seen, "stable"), canary: armStatus(seen, "canary") },
    ...marks.marks,
    explanation: explainRollback({
      actor,
      reason,
      fromWeight,
      toWeight,
      failed,
      requestsFailed,
      requestsRescued,
      cooldownMs,
    }),
    requestsFailed,
    requestsRescued,
    breachMs: breaches.length === 0 ? null : Math.max(...breaches),
    tookMs: rollback.tookMs,
    stableHealthy: rollback.stableHealthy,
  };
}

/** One arm's histograms in the form that travels. */
function histogramsOf({ all, successes, failures }: Histograms): ArmHistograms {
  return {
    all: encode(all),
    successes: encode(successes),
    failures: encode(failures),
    percentiles: percentilesOf(all),
  };
}

/** Latency of both arms over the shown window. */
export function shownHistograms(stats: RouteStats, now: Millis): Readonly<Record<Arm, ArmHistograms>> {
  const of = (arm: Arm): ArmHistograms =>
    histogramsOf(stats.arms[arm].window.histograms(SHOWN_WINDOW, now, millis(0)));
  return { stable: of("stable"), canary: of("canary") };
}
