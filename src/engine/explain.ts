/**
 * What a check says to somebody who was just woken: what was seen, where, and what to do now. Pure; the same sentences in messages, in the evidence
 * pack and on the terminal.
 *
 * Each line stands on its own and is short. No line holds a raw key: keys are counted, and named by their hash alone.
 */

import type { Check } from "../domain/rule.ts";
import { formatDuration, millis, shortShareText } from "../domain/units.ts";
import type { EndpointHealth } from "./ports.ts";
import type { CheckStatus, Marks, RollbackEvidence, Tally } from "./status.ts";

/** Where somebody stands who is to do something. */
export interface Standing {
  readonly route: string;
  /** The canary's share in percent. */
  readonly weight: number;
  /** Whether a plan is being walked. */
  readonly isClimbing: boolean;
  readonly marks: Marks | undefined;
  /** The canary's endpoints. */
  readonly endpoints: readonly EndpointHealth[];
}

/** What to do about a check, in a sentence or two; empty when there is nothing to be done. */
export function adviceFor(check: Check, standing: Standing): string {
  const { route } = standing;
  if (check.held === "shared_cause") {
    return `Both versions suffer: look at what they share (database, network, a service behind both). Moving the weight would not help; to move it all the same: sluice rollback ${route} --reason CODE`;
  }
  if (check.held === "one_client") {
    return `Too few users are affected to blame the version: look for this one's requests in the log. To roll back all the same: sluice rollback ${route} --reason CODE`;
  }
  if (check.kind === "failed") return failedAdvice(check, standing);
  if (check.kind === "successful") return "";
  if (check.breachMs !== null) {
    const left = formatDuration(
      millis(Math.max(0, Math.round((check.forMs - check.breachMs) / 1000) * 1000)),
    );
    return `${look(check, standing)} If it stays so, ${CONSEQUENCE[check.action]} in ${left}.`;
  }
  if (check.tier === "promotion" && standing.isClimbing) {
    if (check.unit === "count") return `To climb all the same: sluice promote ${route}`;
    return `Nothing is wrong; it waits. To climb without it: sluice promote ${route}`;
  }
  return "";
}

const CONSEQUENCE: Readonly<Record<Check["action"], string>> = {
  rollback: "it is rolled back",
  pause: "the climb is paused",
  observe: "the rule fails, and nothing follows from that",
  hold: "the weight stays",
};

function failedAdvice(check: Check, standing: Standing): string {
  const { route, weight } = standing;
  const where = look(check, standing);
  if (check.action === "observe") return `${where} Nothing follows by itself: the rule only observes.`;
  if (weight === 0) return `All users are on stable; nothing more has to be done at once. ${where}`;
  const choice = `sluice rollback ${route} --reason CODE, or sluice resume ${route}`;
  return check.action === "pause"
    ? `The climb is paused and ${weight} % of the users are still on the canary: decide (${choice}). ${where}`
    : `${where} ${weight} % of the users are still on the canary; to take it away: sluice rollback ${route} --reason CODE`;
}

function look(check: Pick<Check, "tier">, { marks, endpoints }: Standing): string {
  if (check.tier === "health") {
    // It may have recovered, or been replaced, since the verdict.
    const sick = endpoints.find(({ failures }) => failures > 0);
    return sick === undefined
      ? "Look at the canary's health endpoint."
      : `Look at the canary's endpoint ${sick.url}: ${sick.detail}.`;
  }
  const [path] = marks?.worstPaths ?? [];
  const [reason] = marks?.byReason ?? [];
  const trace = marks?.traceIds.at(-1);
  const about = reason === undefined || reason.name === "slow" ? "" : ` for ${reason.name}`;
  const at = path === undefined ? "" : ` at ${path.name}`;
  const traced = trace === undefined ? "" : `, e.g. trace ${trace}`;
  return `Look in the canary's log${about}${at}${traced}.`;
}

/** A check in a few lines: what it came to, what the responses had in common, what to do. */
export function explain(check: CheckStatus): readonly string[] {
  const first = `${check.rule}: ${check.verdict}. ${capital(check.detail)}${intervalText(check)}`;
  const lines = [first];
  if (check.marks !== undefined) lines.push(`In the last minutes ${marksText(check.marks)}`);
  if (check.advice !== "") lines.push(check.advice);
  return lines;
}

/** Why a rollback was and what to do now. */
export function explainRollback(
  pack: Pick<
    RollbackEvidence,
    "actor" | "fromWeight" | "toWeight" | "reason" | "failed" | "requestsFailed" | "requestsRescued"
  > & { readonly cooldownMs: number },
): readonly string[] {
  const { actor, fromWeight, toWeight, reason, failed, requestsFailed, requestsRescued, cooldownMs } = pack;
  const who = actor === "sluice" ? "by itself" : `by ${actor}`;
  const still =
    toWeight === 0 ? "every user is on stable" : `${toWeight} % of the users are still on the canary`;
  const cost = `${requestsFailed} requests failed on the canary in this rollout, ${requestsRescued} of them were answered by stable`;
  return [
    `The weight went from ${fromWeight} % to ${toWeight} % ${who}: ${reason}. Now ${still}.`,
    `${cost}.`,
    ...failed.flatMap(explain),
    `A new rollout needs a person, and ${formatDuration(millis(cooldownMs))} of cooldown unless forced.`,
  ];
}

function marksText(marks: Marks): string {
  const parts = [
    `mostly ${named(marks.worstPaths)} (${named(marks.worstMethods)}): ${named(marks.byReason)}`,
    ...(marks.distinctKeys === 0
      ? []
      : [`${marks.keysCapped ? "at least " : ""}${marks.distinctKeys} distinct keys`]),
    ...(marks.traceIds.length === 0 ? [] : [`traces ${marks.traceIds.slice(-3).join(", ")}`]),
  ];
  return `${parts.join("; ")}.`;
}

function named(tallies: readonly Tally[]): string {
  return tallies
    .slice(0, 3)
    .map(({ name, count }) => `${name} × ${count}`)
    .join(", ");
}

function intervalText({ interval, unit }: CheckStatus): string {
  if (interval === undefined || unit === "count") return "";
  return ` (95 %: ${shortShareText(interval.low)} to ${shortShareText(interval.high)})`;
}

function capital(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}
