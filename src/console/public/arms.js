/** Both arms, side by side: what they do now, and how they differ. */

/** @import { ArmStatus, RouteStatus } from "../../engine/status.ts" */
import { h } from "./dom.js";
import { count, latency, rate, share } from "./format.js";
import { nameOf } from "./words.js";

/**
 * @typedef {{ name: string, of: (arm: ArmStatus) => number | null, text: (value: number | null) => string, differs: boolean }} Row
 */

/** @type {readonly Row[]} */
const ROWS = [
  { name: "Requests/s", of: (arm) => arm.perSecond, text: (value) => rate(value ?? 0), differs: false },
  { name: "Errors", of: (arm) => arm.errorRate, text: share, differs: true },
  { name: "P50", of: (arm) => arm.p50Ms, text: latency, differs: true },
  { name: "P95", of: (arm) => arm.p95Ms, text: latency, differs: true },
  { name: "P99", of: (arm) => arm.p99Ms, text: latency, differs: true },
];

/** @param {RouteStatus} route */
export function arms(route) {
  const { stable, canary } = route.arms;
  return h(
    "section",
    { key: "arms", class: "card both", "aria-labelledby": "arms-title" },
    h("h2", { id: "arms-title" }, "Last minute"),
    h(
      "table",
      { class: "arms" },
      h("caption", { class: "unseen" }, "Both versions over the last minute"),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          h("td", null),
          h(
            "th",
            { scope: "col" },
            h("span", { class: "arm stable-text" }, "stable"),
            h("span", { class: "sub" }, nameOf(route, "stable")),
          ),
          h(
            "th",
            { scope: "col" },
            h("span", { class: "arm canary-text" }, "canary"),
            h("span", { class: "sub" }, nameOf(route, "canary")),
          ),
          h("th", { scope: "col" }, h("span", { class: "sub" }, "difference")),
        ),
      ),
      h("tbody", null, ...ROWS.map((row) => line(row, stable, canary))),
    ),
    h(
      "p",
      { class: "foot" },
      `Since start: ${count(stable.requests)} requests on stable, ${count(stable.failures)} failed; ` +
        `${count(canary.requests)} on the canary, ${count(canary.failures)} failed.`,
    ),
  );
}

/** @param {Row} row @param {ArmStatus} stable @param {ArmStatus} canary */
function line({ name, of, text, differs }, stable, canary) {
  return h(
    "tr",
    { key: name },
    h("th", { scope: "row" }, name),
    h("td", { class: "number" }, text(of(stable))),
    h("td", { class: "number" }, text(of(canary))),
    h(
      "td",
      { class: "number difference" },
      differs ? difference(of(stable), of(canary), name === "Errors") : "",
    ),
  );
}

/** How the canary differs: in points of a share, in percent of a time. @param {number | null} stable @param {number | null} canary @param {boolean} isShare */
function difference(stable, canary, isShare) {
  if (stable === null || canary === null) return "–";
  if (isShare) {
    const points = (canary - stable) * 100;
    return Math.abs(points) < 0.005 ? "same" : `${signed(points, Math.abs(points) < 1 ? 2 : 1)} pts`;
  }
  if (stable === 0) return "–";
  const relative = (canary / stable - 1) * 100;
  return Math.abs(relative) < 0.5 ? "same" : `${signed(relative, 0)} %`;
}

/** @param {number} value @param {number} digits */
function signed(value, digits) {
  return `${value > 0 ? "+" : "−"}${Math.abs(value).toFixed(digits)}`;
}
