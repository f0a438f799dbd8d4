/** What people answer to an alert, and what they do not want to hear of for a while, as data like the verbs of a rollout. None of it moves a weight. */

/** @import { AlertStatus, SilenceStatus } from "../../engine/status.ts" */
/** @import { Field } from "./dialog.js" */
/** @import { Action } from "./verbs.js" */
import { post, remove } from "./api.js";
import { h } from "./dom.js";
import { moment, sentence } from "./format.js";
import { WHY, WHY_NEEDED, optional, textOf } from "./verbs.js";
import { alertWords, isEvent, subjectWords } from "./words.js";

/** @type {Field} */
const FOR_HOW_LONG = {
  name: "for",
  label: "For how long",
  kind: "select",
  value: "2h",
  options: [
    { value: "30m", label: "30 minutes" },
    { value: "2h", label: "2 hours" },
    { value: "8h", label: "8 hours" },
    { value: "24h", label: "a day" },
    { value: "7d", label: "a week" },
  ],
};
const COMMON = { kind: "", right: /** @type {const} */ ("operate"), isBound: false, reads: "silences" };

/** @param {AlertStatus} alert @param {string} verb @param {FormData} values */
async function answer({ id }, verb, values) {
  const comment = textOf(values, "comment");
  await post(`/v1/alerts/${encodeURIComponent(id)}/${verb}`, comment === "" ? {} : { comment });
}

/** What can be done about an alert. @param {AlertStatus} alert @returns {readonly Action[]} */
export function answersTo(alert) {
  const { id, severity, acknowledged, muted } = alert;
  const comment = { ...WHY, name: "comment", label: "Comment" };
  const words = `${sentence(severity)}: ${alertWords(alert)}`;
  return [
    {
      ...COMMON,
      id: `acknowledge-${id}`,
      label: "Acknowledge…",
      title: "Somebody has seen it",
      submit: "Acknowledge",
      fits: () => id !== "" && acknowledged === null,
      intro: () => [h("p", null, words), h("p", null, "It is neither repeated nor escalated from now on.")],
      fields: () => [comment],
      send: (_, values) => answer(alert, "acknowledge", values),
      done: "Acknowledged.",
    },
    {
      ...COMMON,
      id: `resolve-${id}`,
      label: "Resolve…",
      title: "It is over",
      submit: "Resolve",
      fits: () => id !== "" && isEvent(alert),
      intro: () => [h("p", null, words), h("p", null, "People are told that it is over.")],
      fields: () => [comment],
      send: (_, values) => answer(alert, "resolve", values),
      done: "Resolved.",
    },
    { ...silenceOf(alert), fits: () => muted !== "silenced" },
  ];
}

/** A silence; of what this alert is about, where there is one. @param {AlertStatus} [alert] @returns {Action} */
export function silenceOf(alert) {
  const about =
    alert === undefined
      ? []
      : [
          { value: "metric", label: `messages about ${subjectWords(alert.metric)}` },
          { value: "severity", label: `messages that are ${alert.severity}` },
        ];
  return {
    ...COMMON,
    id: `silence-${alert === undefined ? "" : alert.id + alert.rule}`,
    label: "Silence…",
    title: "Mute messages",
    submit: "Silence",
    fits: () => true,
    intro: () =>
      h("p", null, "Nobody is told for a while. What happens, happens all the same: rollback stays armed."),
    fields: ({ name }) => [
      FOR_HOW_LONG,
      {
        name: "what",
        label: "What is muted",
        kind: "select",
        value: about[0]?.value ?? "all",
        options: [...about, { value: "all", label: `all messages of ${name}` }],
      },
      WHY_NEEDED,
    ],
    send: async ({ name }, values) => {
      const what = textOf(values, "what");
      await post("/v1/silences", {
        route: name,
        for: textOf(values, "for"),
        ...(alert !== undefined && what === "metric" ? { metric: alert.metric } : {}),
        ...(alert !== undefined && what === "severity" ? { severity: alert.severity } : {}),
        ...optional(values, "reason"),
      });
    },
    done: "Silenced.",
  };
}

/** What a silence mutes, in words. @param {SilenceStatus} silence */
export function mutedBy({ severity, metric }) {
  const about = metric === null ? "" : ` about ${subjectWords(metric)}`;
  return `${severity ?? (about === "" ? "all" : "")} messages${about}`.trimStart();
}

/** The end of a silence. @param {SilenceStatus} silence @returns {Action} */
export function endOf(silence) {
  return {
    ...COMMON,
    id: `end-${silence.id}`,
    label: "End…",
    title: "End the silence",
    submit: "End it",
    fits: () => true,
    intro: () =>
      h("p", null, `${mutedBy(silence)} until ${moment(silence.until)}, by ${silence.by}: ${silence.reason}`),
    fields: () => [],
    send: () => remove(`/v1/silences/${encodeURIComponent(silence.id)}`),
    done: "The silence is over.",
  };
}
