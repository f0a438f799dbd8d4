/** An incident's files: the record as JSON, and as Markdown the draft of the report that people write after it. Pure. */

import { formatIso, formatLocal } from "./civil.ts";
import { harmOf, lengthOf, type IncidentRecord } from "./incident.ts";
import { plainLine } from "./message.ts";
import type { ReportLine } from "./report.ts";
import { latencyText, formatDuration, millis, percentText, shareText } from "./units.ts";

/** The record with the lines of the journal that tell of it, oldest first. */
export function incidentJson(incident: IncidentRecord, timeline: readonly ReportLine[]): string {
  const { openedAtMs, resolvedAtMs, dueAtMs: _, updates, ...rest } = incident;
  const document = {
    ...rest,
    openedAt: formatIso(openedAtMs),
    resolvedAt: resolvedAtMs === null ? null : formatIso(resolvedAtMs),
    updates: updates.map(({ atMs, words }) => ({ at: formatIso(atMs), words })),
    timeline: timeline.map(({ seq, at, event, actor, reason, before, after }) => ({
      seq,
      at,
      event,
      actor,
      reason,
      before,
      after,
    })),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/** What only people know. */
const OPEN_QUESTIONS = [
  "What was the cause, and when did it come in?",
  "Why was it not found before the canary had traffic?",
  "Were users harmed beyond what the proxy can see (wrong data, lost orders)? Who tells them?",
  "What went well, what went badly, where were we lucky?",
  "What is done so that it cannot come again, by whom, until when?",
];

/** The draft of the report, filled with what is known. */
export function incidentMarkdown(incident: IncidentRecord, timeline: readonly ReportLine[]): string {
  const { route, environment, rollout, version, status, reason, actor, rules, openedAtMs } = incident;
  const { fromWeight, toWeight, breachMs, tookMs, stableHealthy, updates, resolvedBy, resolution } = incident;
  const by = actor === "sluice" ? "sluice, by itself" : actor;
  const end =
    incident.resolvedAtMs === null
      ? "not yet"
      : `${utc(incident.resolvedAtMs)} by ${resolvedBy}: ${resolution}`;
  const lines = [
    `# Incident: ${cell(route)} was rolled back from ${percentText(fromWeight)} (draft)`,
    "",
    `- Status: ${status}`,
    `- Environment: ${cell(environment)}`,
    `- Rollout: ${cell(rollout)}, version ${version === "" ? "not said" : cell(version)}`,
    `- Opened: ${utc(openedAtMs)}`,
    `- Resolved: ${cell(end)}`,
    `- Length: ${lengthOf(incident, incident.resolvedAtMs ?? openedAtMs)}`,
    "",
    "## What happened",
    "",
    `The canary's weight went from ${percentText(fromWeight)} to ${percentText(toWeight)}, decided by ${cell(by)}: ${cell(reason)}.`,
    `Stable was ${stableHealthy ? "healthy" : "unhealthy"} at that moment.`,
    "",
    "## The rule and its numbers",
    "",
    ...(rules.length === 0
      ? ["A person decided; no rule had failed."]
      : rules.map((rule) => `- ${cell(rule)}`)),
    "",
    "| Arm | Requests | Failures | Error rate | P95 |",
    "| --- | --- | --- | --- | --- |",
    ...(["stable", "canary"] as const).map((arm) => {
      const { requests, failures, errorRate, p95Ms } = incident.figures[arm];
      return `| ${arm} | ${requests} | ${failures} | ${shareText(errorRate)} | ${latencyText(p95Ms)} |`;
    }),
    "",
    "## Users harmed",
    "",
    `${harmOf(incident)}.`,
    "",
    "## Detection and mitigation",
    "",
    `- From the first breach to the decision: ${breachMs === null ? "a person decided" : spanOf(breachMs)}`,
    `- From the decision to the weight in force: ${spanOf(tookMs)}`,
    "",
    "## Timeline (UTC)",
    "",
    ...(timeline.length === 0 ? ["The journal does not tell of it."] : []),
    ...timeline.map(({ at, event, actor: who, reason: why, after }) => {
      const what = `${cell(event)} by ${cell(who)}, ${after.phase} at ${percentText(after.weight)}`;
      return `- ${cell(at)} ${what}${why === "" ? "" : `: ${cell(why)}`}`;
    }),
    "",
    "## What was said of it",
    "",
    ...updates.map(({ atMs, words }) => `- ${utc(atMs)} ${cell(words)}`),
    "",
    "## To be filled in",
    "",
    ...OPEN_QUESTIONS.map((question) => `- [ ] ${question}`),
  ];
  return `${lines.join("\n")}\n`;
}

function utc(ms: number): string {
  return formatLocal(ms, "UTC");
}

function spanOf(ms: number): string {
  return ms < 1 ? "below a millisecond" : formatDuration(millis(Math.round(ms)));
}

/** Text from elsewhere as nothing but text. */
function cell(text: string): string {
  return plainLine(text).replaceAll(/[\\|`*<>[\]&]/g, String.raw`\$&`);
}
