/** The alerts of a route and its silences, each with what the token may do about it. */

/** @import { AlertStatus, RouteStatus, SilenceStatus } from "../../engine/status.ts" */
/** @import { Actions } from "./actions.js" */
/** @import { Live } from "./live.js" */
/** @import { Action } from "./verbs.js" */
import { answersTo, endOf, mutedBy, silenceOf } from "./alert-verbs.js";
import { h, icon, keepFocus } from "./dom.js";
import { duration, moment, sentence } from "./format.js";
import { alertWords, toneOfSeverity } from "./words.js";

/** @param {Live} live @param {RouteStatus} route @param {Actions} actions */
export function alerts(live, route, actions) {
  /** @type {readonly SilenceStatus[]} */
  const silences = live.extras.get("silences")?.silences ?? [];
  const { name, alerts: open } = route;
  return h(
    "section",
    { key: "alerts", class: "card", "aria-labelledby": "alerts-title", tabindex: -1 },
    h(
      "div",
      { class: "card-head" },
      h("h2", { id: "alerts-title" }, "Alerts"),
      h("span", { class: "space" }),
      open.length > 0 ? null : buttons(actions, [silenceOf()], route, `messages of ${name}`),
    ),
    open.length === 0
      ? h("p", { class: "empty" }, `None are open for ${name}.`)
      : h("ul", { class: "alerts" }, ...open.map((alert) => entry(alert, route, actions))),
    silences.length === 0
      ? null
      : h(
          "ul",
          { key: "silences", class: "alerts", "aria-label": "Silences" },
          ...silences.map((each) => silenced(each, route, actions)),
        ),
  );
}

/** @param {AlertStatus} alert @param {RouteStatus} route @param {Actions} actions */
function entry(alert, route, actions) {
  const { id, rule, severity, openMs } = alert;
  const tone = toneOfSeverity(severity);
  return h(
    "li",
    { key: id + rule, class: `alert tone-${tone}` },
    icon(tone),
    h("strong", null, sentence(severity)),
    h("span", { class: "rule-name" }, alertWords(alert)),
    h("span", { class: "sub since" }, `for ${duration(openMs)}`),
    h("p", { class: "why" }, toldOf(alert)),
    buttons(actions, answersTo(alert), route, `${severity} ${alertWords(alert)}`),
  );
}

const MUTED = { silenced: "silenced", inhibited: "a worse one of the same metric is open" };

/** Who has seen it, and why nobody is told. @param {AlertStatus} alert */
function toldOf({ acknowledged, muted, id }) {
  const mute = muted === null ? "" : `Nobody is told: ${MUTED[muted]}`;
  if (acknowledged === null)
    return mute === "" ? (id === "" ? "Nobody has been told yet" : "Nobody has seen it yet") : mute;
  const { by, comment } = acknowledged;
  return [`Seen by ${by}${comment === "" ? "" : `: ${comment}`}`, ...(mute === "" ? [] : [mute])].join(" · ");
}

/** @param {SilenceStatus} silence @param {RouteStatus} route @param {Actions} actions */
function silenced(silence, route, actions) {
  const { id, until, by, reason } = silence;
  return h(
    "li",
    { key: id, class: "alert tone-quiet" },
    icon("hold"),
    h("strong", null, "Silenced"),
    h("span", { class: "rule-name" }, mutedBy(silence)),
    h("span", { class: "sub since" }, `until ${moment(until)}`),
    h("p", { class: "why" }, `By ${by}: ${reason}`),
    buttons(actions, [endOf(silence)], route, `the silence of ${mutedBy(silence)}`),
  );
}

/**
 * What of `asked` the token may do, each said with what it is about to who cannot see beside what it stands.
 *
 * @param {Actions} actions @param {readonly Action[]} asked @param {RouteStatus} route @param {string} about
 */
function buttons(actions, asked, route, about) {
  const shown = actions.from(asked, route);
  if (shown.length === 0) return null;
  return h(
    "div",
    { class: "buttons" },
    ...shown.map(({ id, label, open }) =>
      h(
        "button",
        { key: id, type: "button", class: "button small", on: { click: open }, mount: keepFocus },
        label,
        h("span", { class: "unseen" }, ` ${about}`),
      ),
    ),
  );
}
