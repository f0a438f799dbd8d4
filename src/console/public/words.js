/**
 * What stands at the top of the page: whether the new version is all right, and what happens next, in a sentence each. Pure.
 */

/** @import { AlertStatus, RouteStatus } from "../../engine/status.ts" */
/** @import { Icon } from "./dom.js" */
import { count, duration, moment, percent } from "./format.js";

/**
 * @typedef {"good" | "bad" | "wait" | "quiet"} Tone
 * @typedef {{ tone: Tone, icon: Icon, title: string, detail: string }} Answer
 */

/** What an arm is called: by its version where it is known. @param {RouteStatus} route @param {"stable" | "canary"} arm */
export function nameOf(route, arm) {
  const { version } = route.arms[arm];
  if (version === "") return arm;
  return route.arms.stable.version === route.arms.canary.version ? `${version} (${arm})` : version;
}

/** Whether a plan is being walked. @param {RouteStatus} route */
export function isUnderWay({ phase }) {
  return phase === "progressing" || phase === "baking" || phase === "paused";
}

/** @type {Readonly<Record<string, (route: RouteStatus) => Answer>>} */
const BY_PHASE = {
  idle: (route) => ({
    tone: "quiet",
    icon: "quiet",
    title: "No rollout is under way",
    detail: `${nameOf(route, "stable")} serves everybody.`,
  }),
  scheduled: (route) => ({
    tone: "wait",
    icon: "wait",
    title: `A rollout begins ${route.startsAt === null ? "soon" : moment(route.startsAt)}`,
    detail: `${nameOf(route, "stable")} serves everybody until then.`,
  }),
  succeeded: (route) => ({
    tone: "good",
    icon: "good",
    title: `${nameOf(route, "canary")} serves everybody`,
    detail: "The rollout has succeeded.",
  }),
  rolled_back: (route) => ({
    tone: "bad",
    icon: "back",
    title:
      route.weight === 0
        ? `Rolled back: ${nameOf(route, "stable")} serves everybody`
        : `Rolled back to ${percent(route.weight)}`,
    detail: route.reason.replace(/^Rolled back: /, "Because of: "),
  }),
  paused: (route) => ({
    tone: "wait",
    icon: "hold",
    title: `Paused at ${percent(route.weight)}`,
    detail: `${route.reason === "" ? "" : `${whole(route.reason.replace(/^Paused: /, ""))} `}Rollback stays armed.`,
  }),
};

/** Whether the new version is all right. @param {RouteStatus} route @returns {Answer} */
export function answerOf(route) {
  const { emergency } = route.safety;
  if (emergency !== undefined)
    return {
      tone: "bad",
      icon: "bad",
      title: "Emergency: nobody is on the canary",
      detail: `Since ${moment(emergency.since)}, by ${emergency.by}: ${emergency.reason}.`,
    };
  const known = BY_PHASE[route.phase];
  if (known !== undefined) return known(route);
  const canary = nameOf(route, "canary");
  const failed = route.checks.filter((check) => check.verdict === "failed");
  if (route.waiting?.for === "confirmation")
    return {
      tone: "bad",
      icon: "bad",
      title: `An alarm has taken traffic away from ${canary}`,
      detail: `${route.reason}. It is being confirmed, or shown to be over.`,
    };
  if (failed.length > 0)
    return {
      tone: "bad",
      icon: "bad",
      title: `${canary} is not doing well`,
      detail: failed.map(({ detail }) => detail).join(" "),
    };
  if (route.waiting?.for === "gate")
    return {
      tone: "wait",
      icon: "key",
      title: "Waiting for people to sign",
      detail: `${whole(route.waiting.words)} ${canary} ${route.weight === 0 ? "has no users yet" : "is within every limit"}.`,
    };
  if (route.weight === 0)
    return {
      tone: "wait",
      icon: "wait",
      title: `${canary} has no users yet`,
      detail: "The first step is being prepared.",
    };
  if (route.verdict === "successful")
    return {
      tone: "good",
      icon: "good",
      title: `${canary} is doing well`,
      detail: "Every rule has what it needs and finds nothing wrong.",
    };
  return {
    tone: "wait",
    icon: "wait",
    title: `Nothing speaks against ${canary} so far`,
    detail: "Not every rule has seen enough to say that all is well.",
  };
}

/** What happens next; empty when nothing does by itself. @param {RouteStatus} route */
export function nextOf(route) {
  if (route.safety.emergency !== undefined) return "It stays so until somebody ends the emergency.";
  if (route.phase === "rolled_back") return afterRollback(route);
  if (route.phase === "succeeded") return "Nothing: it stays so until the next rollout.";
  if (route.phase === "idle")
    return `A rollout, when somebody starts one: here, or sluice deploy ${route.name}.`;
  const goes = towards(route);
  if (route.phase === "paused")
    return `It stays here until somebody resumes it${goes === "" ? "" : `; then ${goes}`}.`;
  if (route.waiting === null) return goes === "" ? "" : `Now ${goes}.`;
  const words = WAITS[route.waiting.for]?.(route) ?? route.waiting.words;
  return `${whole(words).slice(0, -1)}${goes === "" ? "" : `, then ${goes}`}.`;
}

/** @type {Readonly<Record<string, (route: RouteStatus) => string>>} */
const WAITS = {
  hold: (route) => `${duration(route.holdLeftMs)} of this step are left`,
  evidence: (route) =>
    route.evidenceEtaMs !== null && route.evidenceEtaMs > 0
      ? `It waits for evidence, about ${duration(route.evidenceEtaMs)} more`
      : "It waits for evidence",
  gate: () => "It waits for signatures",
};

/** @param {RouteStatus} route */
function towards({ steps, step, weight }) {
  const next = steps[step + 1];
  if (next === undefined) return "the rollout is done";
  if (next.bake) return `it is watched at ${percent(next.weight)} for ${duration(next.holdMs)}`;
  return next.weight > weight ? `on to ${percent(next.weight)}` : "the next step";
}

/** @param {RouteStatus} route */
function afterRollback({ cooldownLeftMs, name }) {
  return cooldownLeftMs > 0
    ? `No new rollout for ${duration(cooldownLeftMs)} (cooldown).`
    : `When it is mended: sluice retry ${name}`;
}

/** @param {string} words */
function whole(words) {
  const text = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

/** @type {Readonly<Record<string, string>>} */
const EVENTS = {
  DEPLOY_START: "Rollout started",
  DEPLOY_SUCCESS: "Rollout succeeded",
  ROLLOUT_SCHEDULED: "Rollout scheduled",
  ROLLBACK_DONE: "Rolled back",
  ROLLBACK_VERIFIED: "Rollback verified",
  STEP_STARTED: "Step begun",
  ROLLOUT_PAUSED: "Paused",
  ROLLOUT_RESUMED: "Resumed",
  GATE_OPENED: "Gate opened",
  GATE_SIGNED: "Gate signed",
  GATE_REJECTED: "Gate rejected",
  GATE_REFUSED: "Signature refused",
  TRIPPED: "Alarm",
  TRIP_PROBED: "Tried again",
  CHECKPOINT: "Checkpoint",
  BACKUP_CREATED: "Backup made",
  WEIGHT_SET: "Weight set by hand",
  VALIDATION_COMPLETE: "Checks passed",
  VALIDATION_FAILED: "Checks failed",
};

/** @type {Readonly<Record<string, string>>} */
const SUBJECTS = {
  error_rate: "errors",
  p50: "P50",
  p95: "P95",
  p99: "P99",
  health_failures: "failed probes",
  rolled_back: "a rollback",
  rollback_held: "a rollback that is held",
  tripped: "an alarm",
  paused: "a pause",
  validation_failed: "checks that failed",
};

/** What an alert or a silence is about, in words. @param {string} subject */
export function subjectWords(subject) {
  return SUBJECTS[subject] ?? subject;
}

/** Whether an alert is about an event and not a metric: it is over when somebody says so. @param {AlertStatus} alert */
export function isEvent({ rule, metric }) {
  return rule === metric;
}

/** What an alert says: of an event, that it has happened. @param {AlertStatus} alert */
export function alertWords(alert) {
  return isEvent(alert) ? eventWords(alert.metric.toUpperCase()) : alert.rule;
}

/** How an alert or a message is marked. @param {string} severity @returns {"bad" | "wait" | "quiet"} */
export function toneOfSeverity(severity) {
  if (severity === "critical" || severity === "emergency") return "bad";
  return severity === "warning" ? "wait" : "quiet";
}

/** An event of the journal in words. @param {string} event */
export function eventWords(event) {
  const text = event.toLowerCase().replaceAll("_", " ");
  return EVENTS[event] ?? text.charAt(0).toUpperCase() + text.slice(1);
}

/** How an event is marked. @param {string} event @returns {Tone} */
export function toneOfEvent(event) {
  if (/ROLLBACK_DONE|ROLLED_BACK|TRIPPED|FAILED|REFUSED|CORRUPT/.test(event)) return "bad";
  if (/SUCCESS|VERIFIED|COMPLETE/.test(event)) return "good";
  if (/GATE|PAUSED|HELD|EXTENDED|STEPPED_BACK/.test(event)) return "wait";
  return "quiet";
}

/** @param {number} n @param {string} one @param {string} [many] */
export function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}
