/** Why a rollback was, and what it cost: for somebody who was just woken. */

/** @import { RouteStatus } from "../../engine/status.ts" */
import { h } from "./dom.js";
import { count, duration, moment, percent } from "./format.js";
import { marks } from "./rules.js";

/** @param {RouteStatus} route */
export function rollback({ lastRollback: last, phase }) {
  if (last === null || phase !== "rolled_back") return null;
  return h(
    "section",
    { key: "rollback", class: "card evidence", "aria-labelledby": "evidence-title" },
    h("h2", { id: "evidence-title" }, "Evidence"),
    h("div", { class: "lines" }, ...last.explanation.map((line) => h("p", null, line))),
    h(
      "dl",
      { class: "figures" },
      figure("failed on the canary", count(last.requestsFailed)),
      figure("rescued by stable", count(last.requestsRescued)),
      figure("reached users", count(Math.max(0, last.requestsFailed - last.requestsRescued))),
      figure("weight", `${percent(last.fromWeight)} → ${percent(last.toWeight)}`),
      figure("decision to force", `${last.tookMs.toFixed(1)} ms`),
      last.breachMs === null ? null : figure("breach to decision", duration(last.breachMs)),
    ),
    marks(last),
    h(
      "p",
      { class: "foot" },
      `${moment(last.at)}, by ${last.actor}. Stable was ${last.stableHealthy ? "healthy" : "unhealthy"}. The evidence pack is in the reports.`,
    ),
  );
}

/** @param {string} name @param {string} value */
function figure(name, value) {
  return h("div", { key: name }, h("dt", null, name), h("dd", null, value));
}
