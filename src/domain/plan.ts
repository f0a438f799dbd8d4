/**
 * A plan: the climb as a list of steps. Pure.
 *
 * A plan only ever rises: a step down inside a plan would be a rollback that nobody decided. A plan is frozen into the rollout that
 * runs it, so a reload of the configuration cannot move the goal posts of a rollout under way.
 */

import type { AlertSeverity } from "./alert-rule.ts";
import type { DeploymentWindow } from "./calendar.ts";
import { checkGate, type GateSpec } from "./signatures.ts";
import { FULL, NONE, formatRate, type Millis, type Ppm } from "./units.ts";

/** A share of failures, or a latency percentile, and what it is to stay below. */
export type MetricLimit =
  | { readonly metric: "error_rate"; readonly below: Ppm }
  | { readonly metric: "p50" | "p95" | "p99"; readonly below: Millis };

/** What the canary must stay below to climb. */
export type SuccessLimit = {
  /** Whether it must be shown: its upper 95 % bound is below, too, and not only what was observed. */
  readonly shown: boolean;
} & MetricLimit;

/** The evidence that the canary is not worse than stable, without which it does not climb (statistics.md §5). */
export interface Promotion {
  /** By how much worse a canary must be held back. */
  readonly notWorseBy: Ppm;
  /** Evidence of less time is not enough. */
  readonly leastMs: Millis;
}

/** One weight, the least time at it, and what must be known of the canary before the next one. */
export interface Step {
  readonly weight: Ppm;
  /** The least time at this step, counted in service and only while the rollout progresses. */
  readonly holdMs: Millis;
  /** The watch at 100 % before the rollout has succeeded. */
  readonly bake: boolean;
  /** How often the report gets a snapshot while the canary has this weight; left out: never. */
  readonly checkpointMs?: Millis;
  /** A step that is watched with more care: it is marked wherever it is shown. */
  readonly critical?: true;
  /** Everything that can be checked beforehand is, and must be well, before this step is left. */
  readonly preflight?: true;
  /** What people must grant before this step is left; left out: nothing. */
  readonly gate?: GateSpec;
  /** At its end it waits until a person resumes. */
  readonly pause?: true;
  /** At most one per metric; left out: none. */
  readonly success?: readonly SuccessLimit[];
  /** It climbs only while no alert of this severity or a worse one is open; left out: whatever is open. */
  readonly calm?: AlertSeverity;
  /** It climbs only while every endpoint of both arms is healthy. */
  readonly healthy?: true;
  /** Left out: it is not asked for. */
  readonly promotion?: Promotion;
  /** The share that this step keeps on stable in the place of 100 %, so that there is something to compare with; it goes when the rollout succeeds. */
  readonly holdback?: Ppm;
}

/** A climb, and when it may be walked. */
export interface Plan {
  readonly steps: readonly Step[];
  /** When the weight may rise; empty: at any time. */
  readonly windows: readonly DeploymentWindow[];
  /** How long before a start people are to be told. */
  readonly noticeMs: Millis;
}

/** The weight that a step stands for, held back or not. */
function meantBy({ weight, holdback = NONE }: Step): number {
  return weight + holdback;
}

/** What is wrong with one step of a plan. */
export interface PlanProblem {
  readonly step: number;
  readonly message: string;
}

/** Everything that is wrong with a plan; empty when it may be run. */
export function checkPlan(steps: readonly Step[]): readonly PlanProblem[] {
  const problems: PlanProblem[] = [];
  if (steps.length === 0) problems.push({ step: 0, message: "a plan needs at least one step" });
  steps.forEach((step, index) => {
    const before = steps[index - 1];
    for (const message of step.gate === undefined ? [] : checkGate(step.gate))
      problems.push({ step: index, message });
    if (step.bake) {
      if (index !== steps.length - 1)
        problems.push({ step: index, message: "the bake must be the last step" });
      if (before === undefined || meantBy(before) !== FULL) {
        problems.push({ step: index, message: "the bake must follow a step with setWeight 100%" });
      }
    } else if (before !== undefined && step.weight <= before.weight) {
      const rise = `${formatRate(before.weight)} is followed by ${formatRate(step.weight)}`;
      problems.push({ step: index, message: `the weights of a plan must rise: ${rise}` });
    }
  });
  return problems;
}
