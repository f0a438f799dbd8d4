/** The top of a route's page: the answer, the weight, the ladder, and what can be done. */

/** @import { RouteStatus, StepStatus } from "../../engine/status.ts" */
/** @import { Actions } from "./actions.js" */
import { h, icon, keepFocus } from "./dom.js";
import { duration, percent } from "./format.js";
import { answerOf, isUnderWay, nameOf, nextOf } from "./words.js";

/** @param {RouteStatus} route @param {Actions} actions */
export function hero(route, actions) {
  const answer = answerOf(route);
  const next = nextOf(route);
  return h(
    "section",
    { key: "hero", class: `card hero tone-${answer.tone}`, "aria-labelledby": "answer", tabindex: -1 },
    h(
      "div",
      { class: "hero-top" },
      h(
        "div",
        { class: "hero-words" },
        h("h1", { id: "answer" }, icon(answer.icon), h("span", null, answer.title)),
        answer.detail === "" ? null : h("p", { class: "detail" }, answer.detail),
        next === ""
          ? null
          : h("p", { class: "next" }, h("span", { class: "label" }, "Next"), h("span", null, next)),
      ),
      weight(route),
    ),
    route.steps.length === 0 ? null : ladder(route),
    route.recorded
      ? null
      : h("p", { class: "note bad" }, "What is in force could not be recorded yet; the weight cannot rise."),
    buttons(route, actions),
  );
}

/** @param {RouteStatus} route */
function weight(route) {
  const { weight: share } = route;
  return h(
    "div",
    { class: "weight" },
    h(
      "p",
      { class: "figure" },
      h("strong", null, percent(share)),
      h("span", null, ` on ${nameOf(route, "canary")}`),
    ),
    h(
      "div",
      { class: "split", style: { "--share": `${share}%` }, "aria-hidden": "true" },
      h("span", { class: "canary" }),
    ),
    h(
      "p",
      { class: "split-words" },
      h("span", { class: "canary-text" }, `canary ${percent(share)}`),
      h("span", { class: "stable-text" }, `stable ${percent(100 - share)}`),
    ),
  );
}

/** @param {RouteStatus} route */
function ladder(route) {
  return h(
    "ol",
    { class: "ladder", "aria-label": "Steps of the plan" },
    ...route.steps.map((step, index) => rung(route, step, index)),
  );
}

/** Where a step stands to what has happened. @param {RouteStatus} route @param {number} index */
function whereIs(route, index) {
  if (isUnderWay(route) && index === route.step) return "here";
  if (route.phase === "rolled_back" && index === route.step) return "lost";
  return route.phase === "succeeded" || index < route.step ? "done" : "ahead";
}

const PLACES = { here: "present step", lost: "rolled back here", done: "done", ahead: "ahead" };

/** How long a step takes, or still takes. @param {RouteStatus} route @param {StepStatus} step @param {boolean} isHere */
function timeOf({ holdLeftMs }, { holdMs }, isHere) {
  if (isHere) return holdLeftMs > 0 ? `${duration(holdLeftMs)} left` : "hold done";
  return holdMs > 0 ? duration(holdMs) : "no hold";
}

/** How much of the hold is over, 0…1. @param {RouteStatus} route @param {ReturnType<typeof whereIs>} where */
function heldOf({ heldMs, holdLeftMs }, where) {
  if (where !== "here") return where === "done" ? 1 : 0;
  return holdLeftMs === 0 ? 1 : heldMs / (heldMs + holdLeftMs);
}

/** @param {RouteStatus} route @param {StepStatus} step @param {number} index */
function rung(route, step, index) {
  const where = whereIs(route, index);
  const isHere = where === "here";
  const marks = [step.gate === null ? "" : ", needs signatures", step.critical ? ", critical" : ""];
  const style = { "--height": `${Math.max(4, step.weight)}%`, "--held": `${heldOf(route, where) * 100}%` };
  return h(
    "li",
    { class: `rung ${where}`, "aria-current": isHere ? "step" : undefined },
    h("span", { class: "bar", "aria-hidden": "true", style }, h("span", { class: "fill" })),
    h(
      "span",
      { class: "rung-weight" },
      step.bake ? "bake" : percent(step.weight),
      step.gate === null ? null : icon("key"),
      step.critical ? h("span", { class: "critical", title: "critical step" }, "!") : null,
    ),
    h("span", { class: "rung-time" }, timeOf(route, step, isHere)),
    h("span", { class: "unseen" }, `, ${PLACES[where]}${marks.join("")}`),
  );
}

/** Whether an action is what the route waits for; there is one at the most. @param {RouteStatus} route @param {string} id */
function isForemost({ phase }, id) {
  if (phase === "rolled_back") return false;
  return phase === "paused" ? id === "resume" : true;
}

/** @param {RouteStatus} route @param {Actions} actions */
function buttons(route, actions) {
  const shown = actions.of(route);
  if (!actions.may("operate") && !actions.may("approve"))
    return h("p", { class: "sub" }, "This token may only read.");
  return h(
    "div",
    { class: "buttons", role: "group", "aria-label": "Actions" },
    ...shown.map(({ id, label, kind, open }) =>
      h(
        "button",
        {
          key: id,
          type: "button",
          class: `button ${kind === "primary" && !isForemost(route, id) ? "" : kind}`,
          on: { click: open },
          mount: keepFocus,
        },
        label,
      ),
    ),
  );
}
