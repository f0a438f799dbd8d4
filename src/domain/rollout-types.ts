/** The shapes of a rollout: its state, what can happen to it, and what a decision asks for. Pure data, all of it JSON. */

import type { DeploymentWindow, Freeze } from "./calendar.ts";
import type { Refusal } from "./refusal.ts";
import type { Confirmation } from "./evidence/confirm.ts";
import type { Step } from "./plan.ts";
import type { Answer, GateState } from "./signatures.ts";
import type { Millis, Ppm } from "./units.ts";
import type { Verdict } from "./judge.ts";

/** Where a rollout is. */
export type Phase = "idle" | "scheduled" | "progressing" | "paused" | "baking" | "succeeded" | "rolled_back";

/** Every phase, for labels and schemas. */
export const PHASES: readonly Phase[] = [
  "idle",
  "scheduled",
  "progressing",
  "paused",
  "baking",
  "succeeded",
  "rolled_back",
];

/**
 * What stands still may stand for more than its words say: a weight that was set by hand, a person who is waited for at the end of a step, or a stable
 * that is sick too.
 */
export const STANDS_FOR = ["manual_weight", "person", "sick_stable"] as const;

/** One of these. */
export type StandsFor = (typeof STANDS_FOR)[number];

/** What has come of the present step, beside its hold. */
export interface StepProgress {
  /** What people have said at its gate; null: it has none. */
  readonly gate: GateState | null;
  /** It has been told that everything but people's word is there. */
  readonly isGateOpen: boolean;
  /** What was added to its hold. */
  readonly extendedMs: Millis;
  /** Until the next snapshot for the report; null: none is due. */
  readonly checkpointInMs: Millis | null;
  /** What was found before it may be left; null: it was not looked. */
  readonly preflight: { readonly passed: boolean; readonly words: string } | null;
  /** A person has resumed at its end. */
  readonly isResumed: boolean;
  /** The confirm webhook has said go. */
  readonly isConfirmed: boolean;
}

/** The calendar, as a decision sees it. */
export interface Calendar {
  /** Wall-clock milliseconds. */
  readonly wall: number;
  readonly freezes: readonly Freeze[];
  /** Whether a webhook is to say go before a step is left; left out: there is none. */
  readonly confirms?: boolean;
  /** Why nothing may rise, whatever is granted; left out: there is no emergency. */
  readonly frozen?: string | undefined;
  /** The health checks that fail now, in words; left out: none does. */
  readonly unwell?: string | undefined;
}

/** What is recorded of one route's rollout. The public state document is made of these. */
export interface RolloutState {
  /** One run of a plan; empty before the first. The salt of the split unless the route pins one. */
  readonly id: string;
  readonly phase: Phase;
  /** Index of the present step in `steps`. */
  readonly step: number;
  /** The plan, frozen when the rollout started; empty for a weight set by hand outside a rollout. */
  readonly steps: readonly Step[];
  readonly progress: StepProgress;
  /** When its weight may rise; empty: at any time. Frozen with the plan. */
  readonly windows: readonly DeploymentWindow[];
  /** When a scheduled one begins, wall-clock milliseconds; 0 once it has. */
  readonly startsAtMs: number;
  /** Who has scheduled it, and why; null: nobody has, or it has begun. */
  readonly scheduled: { readonly by: string; readonly reason: string } | null;
  /** The canary's share that is in force. */
  readonly weight: Ppm;
  /** Time served at this step, in service and progressing. */
  readonly heldMs: Millis;
  /** Running breach clocks by rule id (product.md §2.8). */
  readonly clocks: Readonly<Record<string, Millis>>;
  /** Time in service until a new rollout may start without force; 0 when it may. */
  readonly cooldownLeftMs: Millis;
  /** Time in service for which stable is still watched after a rollback; 0 when that is over. */
  readonly verifyLeftMs: Millis;
  /** Time in service for which the canary had traffic, or was to have it back after an alarm. */
  readonly servedMs: Millis;
  /** Whether an alarm has taken the canary's weight away for a moment (statistics.md §3.2); times are of `servedMs`. */
  readonly confirmation: Confirmation;
  /** The weight that comes back when it is tried again; 0 unless it was taken away. */
  readonly trippedFrom: Ppm;
  /** Why it is in this phase, for people, e.g. `Paused (manual weight)`. Nothing is read out of it: who promotes or rejects chooses its words. */
  readonly reason: string;
  /** Goes with `reason`; null: for nothing else. */
  readonly standsFor: StandsFor | null;
  /** What runs on the canary, for people; empty when not said. */
  readonly version: string;
  /** One more per decision (not per tick): what a person's `If-Match` names. */
  readonly revision: number;
  /** Wall-clock start, ISO 8601, for display only; empty before the first. */
  readonly startedAt: string;
}

/** Who did it: a token's name, `sluice` for the program itself. */
export interface Actor {
  readonly name: string;
  /** The roles in which it may sign; left out: any. */
  readonly roles?: readonly string[];
}

/** What a person may ask of a rollout. */
export type Command =
  | {
      readonly type: "start";
      readonly steps: readonly Step[];
      readonly version: string;
      readonly windows?: readonly DeploymentWindow[];
      /** When it is to begin, wall-clock milliseconds; left out: now. */
      readonly startsAtMs?: number;
      /** How long before that people are to be told, and why not if they are not. */
      readonly announce?: { readonly noticeMs: Millis; readonly waiver: string | null };
      /** Starts during a cooldown or over a running rollout; needs a reason. */
      readonly force: boolean;
      readonly reason: string;
    }
  | { readonly type: "pause"; readonly reason: string }
  | { readonly type: "resume"; readonly reason: string }
  /** `step` is the index the person saw: another one by now is refused, so that a late click cannot sign the wrong step. */
  | {
      readonly type: "promote";
      readonly full: boolean;
      readonly step: number | null;
      /** Over a gate, a window or a freeze; needs a reason. */
      readonly force?: boolean;
      readonly reason: string;
    }
  | {
      readonly type: "approve";
      readonly step: number;
      readonly role: string;
      readonly items: readonly string[];
      readonly reason: string;
    }
  | {
      readonly type: "reject";
      readonly step: number;
      readonly role: string;
      readonly answer: Answer;
      readonly reason: string;
    }
  | { readonly type: "extend"; readonly byMs: Millis; readonly reason: string }
  | { readonly type: "step_back"; readonly reason: string }
  /** Again from step 0 after a rollback, or the checks before a step once more. */
  | { readonly type: "retry"; readonly force: boolean; readonly reason: string }
  | { readonly type: "rollback"; readonly reason: string }
  | { readonly type: "set_weight"; readonly weight: Ppm; readonly force: boolean; readonly reason: string };

/** Everything that can happen to a rollout. */
export type RolloutEvent =
  | {
      readonly type: "tick";
      readonly verdict: Verdict;
      readonly elapsedMs: Millis;
      /** Responses of the canary since the last tick. */
      readonly responses: number;
    }
  /** The checks before a step have ended. */
  | { readonly type: "preflight"; readonly step: number; readonly passed: boolean; readonly words: string }
  /** The confirm webhook has said go. */
  | { readonly type: "confirmed"; readonly step: number; readonly words: string }
  /** A thread has taken the canary's weight away, by this rule. */
  | { readonly type: "alarm"; readonly rule: string }
  | (Command & { readonly actor: Actor; readonly rolloutId: string; readonly at: string });

/** How loud a message is. */
export type Severity = "info" | "warning" | "critical" | "emergency";

/** What a decision asks for, in the order in which it is to be done. */
export type Effect =
  | { readonly type: "set_weight" }
  | { readonly type: "close_long_lived" }
  /** Judge from here on only what comes from here on. */
  | { readonly type: "reset_windows" }
  /** The evidence of the fast tier begins anew. */
  | { readonly type: "reset_alarm" }
  | { readonly type: "save" }
  | { readonly type: "journal"; readonly event: string }
  | { readonly type: "notify"; readonly severity: Severity; readonly event: string }
  /** It was a rollback: why, and what it cost, is kept and counted. */
  | { readonly type: "evidence" };

/** What is to become of a rollout: its next state, and what to do about it, in order. */
export interface Accepted {
  readonly ok: true;
  readonly state: RolloutState;
  readonly effects: readonly Effect[];
  /** The person's or the program's reason, for the journal. */
  readonly reason: string;
  /** Who asked for it in advance, for the journal; left out: nobody but who acts now. */
  readonly by?: string;
}

/** What becomes of an event: a new state, or why not. */
export type Decision = Accepted | Refusal;

/** What a route's configuration says about rollbacks. */
export interface RollbackPolicy {
  readonly to: "previousStep" | Ppm;
  readonly cooldownMs: Millis;
  readonly verifyMs: Millis;
  readonly whenStableUnhealthy: "rollback" | "hold" | "lessBad";
  /** Whether an alarm is to be confirmed by a second one. */
  readonly confirm: boolean;
}

/** How stable is doing, for the decision to go back to it. */
export interface StableCondition {
  readonly healthy: boolean;
  /** Whether stable is, by what is known, no better than the canary. */
  readonly worseThanCanary: boolean;
  /** Requests that the canary has had in the last minute, unforced; left out: none. */
  readonly canaryRequests?: number;
}
