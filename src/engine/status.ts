/**
 * What people and programs see of a route: the public shapes of the admin API (product.md §5). Weights are percent, rates are fractions,
 * latencies are numbers whose name ends in `Ms`. Types only; `view.ts` fills them.
 */

import type { TargetReading } from "../domain/alert-message.ts";
import type { AlertSeverity, AlertSubject } from "../domain/alert-rule.ts";
import type { Held, Tier } from "../domain/rule.ts";
import type { Phase } from "../domain/rollout-types.ts";
import type { Throws } from "../domain/safety.ts";
import type { Wait } from "../domain/rollout-tick.ts";
import type { GateParts, GateSpec, Signature, Tick } from "../domain/signatures.ts";
import type { Reason } from "../domain/outcome.ts";
import type { EndpointHealth, RescueCounts } from "./ports.ts";

/** One arm. */
export interface ArmStatus {
  readonly version: string;
  /** Judged exchanges (success + failure) since start, forced ones apart. */
  readonly requests: number;
  /** Failures since start. */
  readonly failures: number;
  /** Exchanges that are no evidence (client gone and the like), since start. */
  readonly excluded: number;
  /** Share that failed in the window, 0…1; null when nothing was judged in it. */
  readonly errorRate: number | null;
  /** Latency over the window; null when nothing was measured in it. */
  readonly p50Ms: number | null;
  readonly p95Ms: number | null;
  readonly p99Ms: number | null;
  /** Judged exchanges in the window. */
  readonly windowRequests: number;
  readonly windowFailures: number;
  /** Judged exchanges per second over the window. */
  readonly perSecond: number;
  /** Failures since start by reason; reasons that never came are left out. */
  readonly byReason: Readonly<Partial<Record<Reason, number>>>;
  /** Forced by an override, since start. */
  readonly forced: { readonly requests: number; readonly failures: number };
  readonly inFlight: number;
  readonly longLived: number;
  readonly endpoints: readonly EndpointHealth[];
}

/** A name with how often it came. */
export interface Tally {
  readonly name: string;
  readonly count: number;
}

/** What bad responses of the canary have in common, most first. */
export interface Marks {
  readonly worstPaths: readonly Tally[];
  readonly worstMethods: readonly Tally[];
  /** How they were bad: `status 503`, `connect`, `slow`. */
  readonly byReason: readonly Tally[];
  /** Distinct keys among them, by murmur3; `keysCapped` when there were more than are counted. */
  readonly distinctKeys: number;
  readonly keysCapped: boolean;
  readonly traceIds: readonly string[];
}

/** One rule's part of the verdict: the same in API, journal, evidence pack, messages and on the terminal. */
export interface CheckStatus {
  readonly rule: string;
  /** How the rule judges (product.md §2.10). */
  readonly tier: Tier;
  readonly verdict: "successful" | "failed" | "inconclusive";
  /** What follows when it fails; `hold`: it never does, the weight only stays where it is. */
  readonly action: "observe" | "pause" | "rollback" | "hold";
  /** In the unit of the limit: a fraction, milliseconds or a count; null when there is not enough data. */
  readonly observed: number | null;
  readonly limit: number;
  readonly unit: "fraction" | "ms" | "count";
  /** Exchanges in the window, and how many are needed; of the tiers that look at every response evidence in nats, at least 0. */
  readonly have: number;
  readonly need: number;
  /** How long it has been above the limit, and how long it may. */
  readonly breachMs: number | null;
  readonly forMs: number;
  /** One sentence. */
  readonly detail: string;
  /** Why it does not fail although the canary is over the limit. */
  readonly held?: Held | undefined;
  /** Of those tiers: where the observed value lies, 95 % at one look, and the canary's responses behind it. */
  readonly interval?: { readonly low: number; readonly high: number } | undefined;
  readonly n?: number | undefined;
  /** Of what a promotion asks for: how much of it is there, 0…1, and the time until all of it is, null when that cannot be said. */
  readonly ratio?: number | undefined;
  readonly etaMs?: number | null | undefined;
  /** What the responses that it is about had in common in the last five to ten minutes; left out when there were none. */
  readonly marks?: Marks | undefined;
  /** What to do about it; empty when there is nothing to be done. */
  readonly advice: string;
}

/** One step of the ladder. */
export interface StepStatus {
  readonly weight: number;
  readonly holdMs: number;
  readonly bake: boolean;
  readonly critical: boolean;
  readonly gate: GateAsked | null;
}

/** What a gate asks for; how long a signature counts in milliseconds, null for ever. */
export interface GateAsked extends Omit<GateSpec, "expiresMs"> {
  readonly expiresMs: number | null;
}

/** How the gate of the present step stands. */
export interface GateStatus {
  readonly granted: boolean;
  readonly missing: GateParts;
  readonly signatures: readonly Signature[];
  readonly ticks: readonly Tick[];
  /** One sentence. */
  readonly words: string;
}

/** An alert that is open. */
export interface AlertStatus {
  /** What people were told of it under, and what it is acknowledged by; empty while they were not. */
  readonly id: string;
  readonly route: string;
  /** In which it opened; empty outside of any. */
  readonly rollout: string;
  readonly severity: AlertSeverity;
  /** The metric or the event that it is about. */
  readonly metric: AlertSubject;
  readonly rule: string;
  /** A fraction, milliseconds or a count, as last seen; null: of an event. */
  readonly value: number | null;
  /** ISO 8601, for display. */
  readonly openedAt: string;
  /** In service. */
  readonly openMs: number;
  /** How many levels it has climbed because nobody has answered. */
  readonly level: number;
  /** Why people are not told: a worse alert of the same metric, or a silence. */
  readonly muted: "inhibited" | "silenced" | null;
  readonly acknowledged: AcknowledgedStatus | null;
}

/** Who has seen an alert. */
export interface AcknowledgedStatus {
  readonly by: string;
  /** ISO 8601. */
  readonly at: string;
  readonly comment: string;
}

/** A silence. */
export interface SilenceStatus {
  readonly id: string;
  readonly route: string;
  /** Null: any. */
  readonly severity: AlertSeverity | null;
  /** A metric or an event; null: any. */
  readonly metric: string | null;
  /** ISO 8601. */
  readonly until: string;
  readonly reason: string;
  readonly by: string;
  readonly at: string;
}

/** The replicas that share the state, as one of them sees them. */
export interface FleetStatus {
  /** The one that says so. */
  readonly replica: string;
  /** Who may raise; empty: nobody is known to. */
  readonly leader: string;
  /** Whether that is this one: what is judged here is everybody's, else only its own. */
  readonly leads: boolean;
  /** How many are heard of. */
  readonly replicas: number;
  /** Those that are not any more: they are not measured with. */
  readonly stale: readonly string[];
  /** Whether the shared store answers. */
  readonly isStoreUp: boolean;
}

/** One replica, as another one sees it. */
export interface ReplicaStatus {
  readonly replica: string;
  readonly isLeader: boolean;
  /** It has been silent for so long that it is not measured with. */
  readonly isStale: boolean;
  /** Since when it was not heard of. */
  readonly silentMs: number;
  /** Version of the state that is in force there. */
  readonly applied: number;
  /** By route. */
  readonly routes: Readonly<Record<string, ReplicaRoute>>;
}

/** A route on one replica. */
export interface ReplicaRoute {
  /** In percent. */
  readonly weight: number;
  readonly perSecond: number;
  /** Of what all replicas that are heard of carry of the route, 0…1; null when they carry nothing. */
  readonly share: number | null;
}

/** One route. */
export interface RouteStatus {
  readonly name: string;
  /** The canary's share in force: none while `emergency` is on. */
  readonly weight: number;
  /** The safety switches that it is under; empty when all is normal. */
  readonly safety: Throws;
  readonly phase: Phase;
  readonly reason: string;
  /** Index of the present step. */
  readonly step: number;
  readonly steps: readonly StepStatus[];
  readonly heldMs: number;
  readonly holdLeftMs: number;
  readonly cooldownLeftMs: number;
  /** What it waits for, the first of what is missing; null when for nothing. */
  readonly waiting: Wait | null;
  /** Null when the present step has none. */
  readonly gate: GateStatus | null;
  /** When a scheduled rollout begins, ISO 8601; null when none is. */
  readonly startsAt: string | null;
  readonly rollout: string;
  readonly startedAt: string;
  /** One more per decision about this route; the ETag. */
  readonly version: number;
  /** False while what is in force could not be recorded yet. */
  readonly recorded: boolean;
  readonly verdict: "successful" | "failed" | "inconclusive";
  readonly checks: readonly CheckStatus[];
  /** How much of the evidence for the next step is there: the least of what the plan asks for, 0…1; null when it asks for none. */
  readonly evidenceRatio: number | null;
  /** The time until all of it is, at best; null when that cannot be said, or nothing is asked for. */
  readonly evidenceEtaMs: number | null;
  /** Those that are open, the worst first. */
  readonly alerts: readonly AlertStatus[];
  /** What the canary's metrics should be, and whether they are. */
  readonly targets: readonly TargetReading[];
  readonly rescues: RescueCounts;
  readonly rollbacks: number;
  readonly lastRollback: RollbackEvidence | null;
  /** Null where the state is not shared. */
  readonly fleet: FleetStatus | null;
  readonly arms: { readonly stable: ArmStatus; readonly canary: ArmStatus };
}

/** Why a rollback was, and what it cost: the evidence pack (product.md §6). */
export interface RollbackEvidence extends Marks {
  readonly route: string;
  readonly rollout: string;
  readonly environment: string;
  readonly at: string;
  /** The person, or `sluice`. */
  readonly actor: string;
  readonly reason: string;
  readonly step: number;
  readonly fromWeight: number;
  readonly toWeight: number;
  /** The rules that failed, with their numbers; empty when a person did it. */
  readonly failed: readonly CheckStatus[];
  readonly checks: readonly CheckStatus[];
  readonly arms: { readonly stable: ArmStatus; readonly canary: ArmStatus };
  /** What happened and what to do about it, for somebody who was just woken: a few lines. */
  readonly explanation: readonly string[];
  /** Failed canary exchanges of this rollout, and how many of them a rescue answered. */
  readonly requestsFailed: number;
  readonly requestsRescued: number;
  /** First tick of the breach → decision; null when a person did it. */
  readonly breachMs: number | null;
  /** Decision → weight in force here. */
  readonly tookMs: number;
  readonly stableHealthy: boolean;
}
