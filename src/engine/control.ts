/** The engine as the admin API sees it: reads that return at once, and commands that go through the one door. */

import type { Actor, Command } from "../domain/rollout-types.ts";
import type { IncidentRecord } from "../domain/incident.ts";
import type { ErrorCode } from "../domain/errors.ts";
import type { Percentile } from "../domain/latency.ts";
import type { Arm } from "../domain/split.ts";
import type { AlertResult, Alerting } from "./alerting.ts";
import type { JournalLine, RescueCounts } from "./ports.ts";
import type { SafetyDesk } from "./safety.ts";
import type { ReplicaStatus, RouteStatus } from "./status.ts";

/** What became of a command. A refusal changes nothing. */
export type CommandResult =
  | { readonly ok: true; readonly status: RouteStatus }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string };

/** A command that was refused, in the form of its result. */
export function refusal(code: ErrorCode, message: string): CommandResult {
  return { ok: false, code, message };
}

/** What a reload did. */
export type ReloadResult =
  | { readonly ok: true; readonly changed: readonly string[]; readonly needsRestart: readonly string[] }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string };

/** HDR histograms of one arm over the window, V2 compressed, base64. */
export interface ArmHistograms {
  readonly all: string;
  readonly successes: string;
  readonly failures: string;
  /** `all` in the clear: points of the distribution, rising. */
  readonly percentiles: readonly Percentile[];
}

/** What one arm measured since start, for metrics. Arrays as in `domain/slice.ts`. */
export interface ArmTotals {
  readonly byReason: readonly number[];
  readonly byClass: readonly number[];
  readonly durations: readonly number[];
  readonly durationSeconds: number;
  /** Forced traffic, by outcome and code class. */
  readonly forcedByClass: readonly number[];
}

/** What one route did since start, for metrics. */
export interface RouteTotals {
  readonly name: string;
  readonly arms: Readonly<Record<Arm, ArmTotals>>;
  readonly rescues: RescueCounts;
  /** What happened to the arms, by `ARM_EVENTS`. */
  readonly events: Readonly<Record<Arm, readonly number[]>>;
  /** Rollbacks by cause: a rule's id, or `manual`. */
  readonly rollbacks: Readonly<Record<string, number>>;
  /** Decision → weight in force, seconds, summed over all rollbacks. */
  readonly rollbackSeconds: number;
}

/** What the whole program did since start, for metrics. */
export interface Totals {
  readonly routes: readonly RouteTotals[];
  /** Requests refused before they had a route, by status sent. */
  readonly refused: Readonly<Record<string, number>>;
  /** What happened beside exchanges, by `PLANE_EVENTS`. */
  readonly events: readonly number[];
  /** The proxy's own time per exchange, not cumulated, by `OVERHEAD_BOUNDS`. */
  readonly overhead: { readonly counts: readonly number[]; readonly seconds: number };
  /** Saves and journal lines that failed. */
  readonly storeErrors: number;
  readonly journalErrors: number;
}

/** Reads and commands. */
export interface Control {
  /** Every route, in the order of the configuration. Fresh: what was measured up to now is in it. */
  routes(): readonly RouteStatus[];
  route(name: string): RouteStatus | undefined;
  histograms(name: string): { readonly stable: ArmHistograms; readonly canary: ArmHistograms } | undefined;
  /**
   * One command, as one person's wish. `ifVersion`: refused with SPLIT_STATE_CONFLICT when the state has moved on. Resolves when what
   * was asked is in force and recorded; towards stable it is in force before this returns.
   */
  command(route: string, command: Command, actor: Actor, ifVersion?: number): Promise<CommandResult>;
  journal(options: { readonly limit: number; readonly route?: string }): Promise<readonly JournalLine[]>;
  /** The last few of each route, oldest first. */
  incidents(): readonly IncidentRecord[];
  /** A person says that an incident is over: the incident as it is once that is recorded or tried. One that is over stays as it was. */
  resolveIncident(id: string, actor: Actor, how: string): Promise<AlertResult<IncidentRecord>>;
  /** The replicas that share the state, by name; none where nobody does. */
  replicas(): Promise<readonly ReplicaStatus[]>;
  totals(): Totals;
  /** The safety switches. */
  readonly safety: Pick<SafetyDesk, "state" | "turn">;
  /** Alerts and silences. */
  readonly alerting: Alerting;
  /** Version of the recorded state. */
  readonly version: number;
}
