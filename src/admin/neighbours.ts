/**
 * What a delivery controller is told of a route, in the words of its own kind: go or stay for the webhooks of Flagger, one of three results for an
 * analysis of Argo Rollouts. Pure.
 *
 * A route is moved by one of two: by its own plan, or by a controller that sets its weight. The second stands `paused` without a plan here, which
 * is no reason to stay; that of a plan that somebody has paused is one. What has too little evidence neither fails a check, for silence must not
 * roll back, nor lets a weight rise, for silence must not climb.
 */

import type { RouteStatus } from "../engine/status.ts";

/** The kinds of Flagger's webhooks that ask whether to go on. */
export type Question =
  "confirm-rollout" | "rollout" | "confirm-traffic-increase" | "confirm-promotion" | "rollback";

/** An answer, and why. */
export interface Answered {
  readonly go: boolean;
  readonly words: string;
}

const go = (words: string): Answered => ({ go: true, words });
const stay = (words: string): Answered => ({ go: false, words });

/** What a controller is told that asks `question` about a route. */
export function answerTo(question: Question, route: RouteStatus): Answered {
  switch (question) {
    case "confirm-rollout":
      return mayBegin(route);
    case "rollout":
      return isUnharmed(route);
    case "confirm-traffic-increase":
      return mayRise(route);
    case "confirm-promotion":
      return mayPromote(route);
    case "rollback": {
      // Go means: roll back. So it is the other way round.
      const { go: isWell, words } = isUnharmed(route);
      return { go: !isWell, words };
    }
    default:
      return question satisfies never;
  }
}

function mayBegin(route: RouteStatus): Answered {
  const { safety, cooldownLeftMs } = route;
  if (safety.emergency !== undefined) return stay(`emergency is on: ${safety.emergency.reason}`);
  if (cooldownLeftMs > 0)
    return stay(`the last rollback was at most ${Math.ceil(cooldownLeftMs / 1000)} s of cooldown ago`);
  if (isPausedByPerson(route)) return stay(route.reason);
  return go(`the canary has ${route.weight} %`);
}

function isUnharmed({ safety, phase, reason, verdict, checks }: RouteStatus): Answered {
  if (safety.emergency !== undefined) return stay(`emergency is on: ${safety.emergency.reason}`);
  if (phase === "rolled_back") return stay(reason);
  if (verdict !== "failed") return go(`the verdict is ${verdict}`);
  return stay(detailsOf(checks, "failed"));
}

function mayRise(route: RouteStatus): Answered {
  const unharmed = isUnharmed(route);
  if (!unharmed.go) return unharmed;
  if (isPausedByPerson(route)) return stay(route.reason);
  if (route.verdict === "successful") return go("the verdict is successful");
  return stay(detailsOf(route.checks, "inconclusive"));
}

function mayPromote(route: RouteStatus): Answered {
  const rise = mayRise(route);
  if (!rise.go) return rise;
  if (route.weight === 0) return stay("the canary has no traffic");
  if (route.gate !== null && !route.gate.granted) return stay(route.gate.words);
  return rise;
}

function isPausedByPerson({ phase, steps }: RouteStatus): boolean {
  return phase === "paused" && steps.length > 0;
}

function detailsOf(checks: RouteStatus["checks"], verdict: RouteStatus["verdict"]): string {
  const found = checks.filter((each) => each.verdict === verdict && each.action !== "observe");
  if (found.length === 0) return `the verdict is ${verdict}`;
  return found.map(({ rule, detail }) => `${rule}: ${detail}`).join("; ");
}

/** The results of an analysis, as Argo Rollouts calls them. */
export const RESULTS = ["Successful", "Failed", "Inconclusive"] as const;
/** What a rollout is in short, as Argo Rollouts calls it. */
export const SUMMARIES = ["Healthy", "Progressing", "Paused", "Degraded"] as const;

/** What an analysis of a route comes to now, and why. */
export function resultOf(route: RouteStatus): {
  readonly result: (typeof RESULTS)[number];
  readonly words: string;
} {
  const unharmed = isUnharmed(route);
  if (!unharmed.go) return { result: "Failed", words: unharmed.words };
  if (route.verdict === "successful") return { result: "Successful", words: unharmed.words };
  return { result: "Inconclusive", words: detailsOf(route.checks, "inconclusive") };
}

/** A phase in short. */
export function summaryOf(phase: RouteStatus["phase"]): (typeof SUMMARIES)[number] {
  if (phase === "rolled_back") return "Degraded";
  if (phase === "paused") return "Paused";
  return phase === "idle" || phase === "succeeded" ? "Healthy" : "Progressing";
}
