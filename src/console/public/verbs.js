/**
 * What people can ask of a rollout, as data: to which state it fits, how it is asked for once more, and what is sent. What could raise the weight carries what was
 * seen when it was asked for (the step, or the version of the state), so that a click that comes late is refused instead of meant for something else; what
 * lowers carries nothing, for it is never too late for it. `reads`: what is not told by events and differs afterwards.
 */

/** @import { RouteStatus } from "../../engine/status.ts" */
/** @import { Child } from "./dom.js" */
/** @import { Field } from "./dialog.js" */
/** @import { Live } from "./live.js" */
import { post } from "./api.js";
import { h } from "./dom.js";
import { list, percent } from "./format.js";
import { isUnderWay, nameOf } from "./words.js";

/**
 * @typedef {"operate" | "approve"} Right
 * @typedef {{
 *   id: string, label: string, kind: string, right: Right, title: string, submit: string, fits: (route: RouteStatus) => boolean,
 *   intro: (route: RouteStatus) => Child, fields: (route: RouteStatus, live: Live) => readonly Field[],
 *   send: (route: RouteStatus, values: FormData) => Promise<RouteStatus | void>, isBound: boolean, done: string, reads?: string,
 * }} Action
 */

/** @param {FormData} values @param {string} name */
export const textOf = (values, name) => {
  const value = values.get(name);
  return typeof value === "string" ? value.trim() : "";
};
/** A field of the body, if there is something in it. @param {FormData} values @param {string} name */
export const optional = (values, name) => {
  const text = textOf(values, name);
  return text === "" ? {} : { [name]: text };
};
/** @param {RouteStatus} route @param {string} name */
const verb = (route, name) => `/v1/rollouts/${encodeURIComponent(route.name)}/${name}`;

/** @type {Field} */
export const WHY = { name: "reason", label: "Reason", kind: "text", hint: "Goes into the journal." };
/** @type {Field} */
export const WHY_NEEDED = { ...WHY, isNeeded: true };
/** @type {Field} */
const FORCE = {
  name: "force",
  label: "Also over a gate, a window, a freeze or checks that failed",
  kind: "check",
  hint: "Needs a reason.",
};

/** @param {RouteStatus} route */
const isMoving = (route) => route.phase === "progressing" || route.phase === "baking";
/** @param {RouteStatus} route */
const hasGate = (route) => isUnderWay(route) && route.gate !== null && !route.gate.granted;
/** @param {RouteStatus} route */
const stepText = (route) => `step ${route.step + 1} of ${route.steps.length}`;
/** @param {RouteStatus} route */
const nextText = (route) => {
  const next = route.steps[route.step + 1];
  if (next === undefined) return "the end of the plan";
  return next.bake ? `the bake at ${percent(next.weight)}` : percent(next.weight);
};

/** The roles that are missing and that this token may sign for. @param {RouteStatus} route @param {Live} live */
function rolesOf(route, live) {
  const { roles = [], acknowledge = [] } = route.gate?.missing ?? {};
  const mine = live.caller?.roles ?? null;
  const all = [...new Set([...roles, ...acknowledge])];
  return mine === null ? all : all.filter((role) => mine.includes(role));
}

/** @param {RouteStatus} route @param {Live} live @returns {Field} */
function roleField(route, live) {
  const roles = rolesOf(route, live);
  const options = roles.map((role) => ({ value: role, label: role }));
  if (roles.length > 0)
    return { name: "role", label: "In which role", kind: "select", options, value: roles[0] ?? "" };
  const hint = "None of the roles that are missing is this token's.";
  return { name: "role", label: "In which role", kind: "text", isNeeded: true, hint };
}

/** @param {RouteStatus} route @returns {readonly Field[]} */
function checklist(route) {
  const asked = route.steps[route.step]?.gate?.checklist ?? [];
  if (asked.length === 0) return [];
  const missing = route.gate?.missing.items ?? [];
  const by = new Map(route.gate?.ticks.map((tick) => [tick.item, tick.by]) ?? []);
  const options = asked.map((item) => {
    const isDone = !missing.includes(item);
    return {
      value: item,
      label: `${item.replaceAll("-", " ")}${isDone ? `, by ${by.get(item) ?? "somebody"}` : ""}`,
      isDone,
    };
  });
  return [{ name: "checklist", label: "Checklist", kind: "checks", options, hint: "Tick what is done." }];
}

/** Who has signed, and who is missing. @param {RouteStatus} route */
function signed(route) {
  const said = (route.gate?.signatures ?? []).map(({ role, by }) => `${by} for ${role}`);
  return [
    h(
      "p",
      null,
      `Before ${stepText(route)} is left for ${nextText(route)}. It goes on when everything else is there, too.`,
    ),
    h("p", null, said.length === 0 ? "Nobody has signed yet." : `Signed: ${list(said)}.`),
  ];
}

/** @type {readonly Action[]} */
export const ACTIONS = [
  {
    id: "approve",
    label: "Approve…",
    kind: "primary",
    right: "approve",
    title: "Sign the gate",
    submit: "Sign",
    fits: hasGate,
    intro: signed,
    fields: (route, live) => [roleField(route, live), ...checklist(route), { ...WHY, label: "Comment" }],
    send: (route, values) =>
      post(verb(route, "approve"), {
        step: route.step,
        role: textOf(values, "role"),
        checklist: values.getAll("checklist"),
        ...optional(values, "reason"),
      }),
    isBound: true,
    done: "Signed.",
  },
  {
    id: "reject",
    label: "Reject…",
    kind: "",
    right: "approve",
    title: "Refuse the gate",
    submit: "Refuse",
    fits: hasGate,
    intro: signed,
    fields: (route, live) => [
      roleField(route, live),
      {
        name: "answer",
        label: "What is to happen instead",
        kind: "select",
        value: "hold",
        options: [
          { value: "hold", label: "Pause here" },
          { value: "extend", label: "Stay longer" },
          { value: "stepBack", label: "Back to the step before" },
          { value: "rollback", label: "Roll back" },
        ],
      },
      {
        name: "extend",
        label: "If it stays longer: by how much",
        kind: "text",
        value: "1h",
        hint: "Such as 30m or 24h.",
      },
      WHY_NEEDED,
    ],
    send: (route, values) => {
      const answer = textOf(values, "answer");
      return post(verb(route, "reject"), {
        step: route.step,
        role: textOf(values, "role"),
        answer,
        ...(answer === "extend" ? { extend: textOf(values, "extend") } : {}),
        reason: textOf(values, "reason"),
      });
    },
    isBound: true,
    done: "Refused.",
  },
  {
    id: "resume",
    label: "Resume…",
    kind: "primary",
    right: "operate",
    title: "Go on climbing",
    submit: "Resume",
    fits: (route) => route.phase === "paused",
    intro: (route) => h("p", null, `It is paused at ${percent(route.weight)}: ${route.reason}`),
    fields: () => [WHY],
    send: (route, values) => post(verb(route, "resume"), optional(values, "reason"), route.version),
    isBound: true,
    done: "Resumed.",
  },
  {
    id: "promote",
    label: "Promote…",
    kind: "",
    right: "operate",
    title: "To the next step",
    submit: "Promote",
    fits: (route) => isUnderWay(route) && route.steps.length > 0,
    intro: (route) =>
      h(
        "p",
        null,
        `From ${percent(route.weight)} to ${nextText(route)}, whatever is left of the hold and of the evidence. Rollback stays armed.`,
      ),
    fields: () => [
      { name: "full", label: "To the last weight of the plan at once", kind: "check" },
      FORCE,
      WHY,
    ],
    send: (route, values) =>
      post(verb(route, "promote"), {
        step: route.step,
        ...(values.has("full") ? { full: true } : {}),
        ...(values.has("force") ? { force: true } : {}),
        ...optional(values, "reason"),
      }),
    isBound: true,
    done: "Promoted.",
  },
  {
    id: "pause",
    label: "Pause…",
    kind: "",
    right: "operate",
    title: "Hold the weight",
    submit: "Pause",
    fits: isMoving,
    intro: (route) => h("p", null, `The weight stays at ${percent(route.weight)}. Rollback stays armed.`),
    fields: () => [WHY],
    send: (route, values) => post(verb(route, "pause"), optional(values, "reason")),
    isBound: false,
    done: "Paused.",
  },
  {
    id: "start",
    label: "Start a rollout…",
    kind: "primary",
    right: "operate",
    title: "Start a rollout",
    submit: "Start",
    fits: (route) => ["idle", "succeeded", "rolled_back"].includes(route.phase),
    intro: (route) =>
      h("p", null, `The route's plan, from its first step, with ${nameOf(route, "stable")} as stable.`),
    fields: (route) => [
      { name: "version", label: "What runs on the canary", kind: "text", value: route.arms.canary.version },
      { ...FORCE, label: "Also during a cooldown" },
      WHY,
    ],
    send: (route, values) =>
      post(
        verb(route, "start"),
        {
          ...optional(values, "version"),
          ...(values.has("force") ? { force: true } : {}),
          ...optional(values, "reason"),
        },
        route.version,
      ),
    isBound: false,
    done: "Started.",
  },
  {
    id: "weight",
    label: "Set weight…",
    kind: "",
    right: "operate",
    title: "Set the weight by hand",
    submit: "Set weight",
    fits: () => true,
    intro: (route) =>
      h(
        "p",
        null,
        `It is ${percent(route.weight)}. A weight that is set by hand stays until somebody resumes, sets another one or rolls back.`,
      ),
    fields: (route) => [
      {
        name: "weight",
        label: "The canary's share in percent",
        kind: "number",
        value: String(route.weight),
        min: 0,
        max: 100,
        step: "any",
        isNeeded: true,
      },
      { ...FORCE, label: "Also during a cooldown, over a window or a freeze" },
      WHY,
    ],
    send: (route, values) =>
      post(
        `/v1/routes/${encodeURIComponent(route.name)}/weight`,
        {
          weight: Number(textOf(values, "weight")),
          ...(values.has("force") ? { force: true } : {}),
          ...optional(values, "reason"),
        },
        route.version,
      ),
    isBound: false,
    done: "The weight is set.",
  },
  {
    id: "rollback",
    label: "Roll back…",
    kind: "danger",
    right: "operate",
    title: "Everything back to stable",
    submit: "Roll back now",
    fits: (route) => isUnderWay(route) || route.phase === "scheduled" || route.weight > 0,
    intro: (route) =>
      h(
        "p",
        null,
        `All users go to ${nameOf(route, "stable")} at once, and the rollout ends. Nothing holds it up.`,
      ),
    fields: () => [{ ...WHY, value: "manual", hint: "A word for the journal: errors, latency, wrong." }],
    send: (route, values) => post(verb(route, "rollback"), optional(values, "reason")),
    isBound: false,
    done: "Rolled back.",
  },
];
