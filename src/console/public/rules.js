/** Every rule with its verdict in words, what it has seen and what it still needs. */

/** @import { CheckStatus, Marks, RouteStatus } from "../../engine/status.ts" */
/** @import { Tone } from "./words.js" */
import { h, icon } from "./dom.js";
import { count, duration, inUnit, list, sentence } from "./format.js";
import { plural } from "./words.js";

/** @type {Readonly<Record<CheckStatus["verdict"], { tone: Tone, icon: import("./dom.js").Icon, word: string }>>} */
const VERDICTS = {
  failed: { tone: "bad", icon: "bad", word: "failed" },
  inconclusive: { tone: "wait", icon: "wait", word: "inconclusive" },
  successful: { tone: "good", icon: "good", word: "successful" },
};
const ORDER = { failed: 0, inconclusive: 1, successful: 2 };
const FOLLOWS = {
  rollback: "rolls back",
  pause: "pauses",
  observe: "nothing follows",
  hold: "holds the weight",
};

/** @param {RouteStatus} route */
export function rules(route) {
  const last = route.phase === "rolled_back" && route.weight === 0 ? route.lastRollback : null;
  // With the canary's traffic gone, what was judged last says more than that there is nothing to judge.
  const checks = [...(last?.checks ?? route.checks)].sort((a, b) => ORDER[a.verdict] - ORDER[b.verdict]);
  /** @type {Set<string>} */
  const told = new Set(
    last === null ? [] : [JSON.stringify(checks.find((check) => check.marks)?.marks), ...last.explanation],
  );
  return h(
    "section",
    { key: "rules", class: "card", "aria-labelledby": "rules-title" },
    h("h2", { id: "rules-title" }, last === null ? "What the rules say" : "What the rules said"),
    evidence(route),
    isJudged(route)
      ? h("ul", { class: "rules" }, ...checks.map((check) => rule(check, told)))
      : h(
          "p",
          { class: "empty" },
          `Nothing is judged without a rollout. Then: ${list(checks.map((check) => check.rule))}.`,
        ),
  );
}

/** @param {RouteStatus} route */
function isJudged({ phase, weight, checks }) {
  return checks.length > 0 && (weight > 0 || (phase !== "idle" && phase !== "scheduled"));
}

/** How far the evidence for the next step is. @param {RouteStatus} route */
function evidence({ evidenceRatio, evidenceEtaMs }) {
  if (evidenceRatio === null) return null;
  const left =
    evidenceEtaMs === null
      ? "no telling how long the rest takes"
      : evidenceEtaMs === 0
        ? "enough to climb"
        : `about ${duration(evidenceEtaMs)} to go at best`;
  return h(
    "div",
    { class: "proof" },
    h(
      "p",
      null,
      h("strong", null, `${Math.floor(evidenceRatio * 100)} %`),
      ` of the evidence for the next step: ${left}`,
    ),
    meter(evidenceRatio, "Evidence for the next step"),
  );
}

/** @param {number} ratio @param {string} label */
function meter(ratio, label) {
  const value = Math.max(0, Math.min(1, ratio));
  return h(
    "div",
    {
      class: `meter ${value >= 1 ? "full" : ""}`,
      role: "meter",
      "aria-label": label,
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "aria-valuenow": Math.round(value * 100),
      style: { "--value": `${value * 100}%` },
    },
    h("span", null),
  );
}

/** @param {CheckStatus} check @param {Set<string>} told marks and advice that stand elsewhere on the page */
function rule(check, told) {
  const verdict = VERDICTS[check.verdict];
  const isBreaching = check.breachMs !== null && check.verdict !== "failed";
  const key = JSON.stringify(check.marks);
  const isNew = (isBreaching || check.verdict === "failed") && !told.has(key);
  const shownMarks = check.marks === undefined || !isNew ? null : marks(check.marks);
  if (isNew) told.add(key);
  return h(
    "li",
    { key: check.rule, class: `rule tone-${isBreaching ? "bad" : verdict.tone}` },
    h(
      "div",
      { class: "rule-head" },
      icon(isBreaching ? "bad" : verdict.icon),
      h("h3", null, check.rule),
      h("span", { class: "verdict" }, wordOf(check, isBreaching)),
    ),
    h("p", { class: "detail" }, sentence(check.detail)),
    h(
      "div",
      { class: "facts" },
      fact("observed", `${inUnit(check.observed, check.unit)} of ${inUnit(check.limit, check.unit)}`),
      check.interval === undefined || check.n === 0
        ? null
        : fact(
            "95 % within",
            `${inUnit(check.interval.low, check.unit)} to ${inUnit(check.interval.high, check.unit)}`,
          ),
      need(check),
      breach(check),
      fact("when it fails", FOLLOWS[check.action]),
    ),
    gathered(check),
    check.advice === "" || told.has(check.advice) ? null : h("p", { class: "advice" }, check.advice),
    shownMarks,
  );
}

/** @param {CheckStatus} check @param {boolean} isBreaching */
function wordOf({ held, verdict }, isBreaching) {
  if (held !== undefined) return "held";
  return isBreaching ? "over the limit" : VERDICTS[verdict].word;
}

/** How much of what a rule needs is there, while that is the question. @param {CheckStatus} check */
function gathered({ verdict, rule: name, have, need: needed, ratio, breachMs, forMs }) {
  if (breachMs !== null && forMs > 0) return meter(breachMs / forMs, `Time over the limit, ${name}`);
  if (verdict !== "inconclusive" || needed === 0) return null;
  return meter(ratio ?? have / needed, `Evidence for ${name}`);
}

/** @param {string} name @param {string} text */
function fact(name, text) {
  return h("span", { class: "fact", key: name }, h("span", { class: "label" }, `${name} `), text);
}

/** @param {CheckStatus} check */
function need({ have, need: needed, etaMs, ratio, tier }) {
  if (needed === 0) return null;
  const eta = etaMs === undefined || etaMs === null || etaMs === 0 ? "" : `, about ${duration(etaMs)} to go`;
  const amount =
    ratio === undefined
      ? `${count(Number(have.toFixed(1)))} of ${count(Number(needed.toFixed(1)))}`
      : `${Math.floor(ratio * 100)} %`;
  // Those two gather evidence against the canary, the others evidence at all.
  const isAgainst = tier === "catastrophic" || tier === "comparative";
  return fact(isAgainst ? "evidence against it" : "evidence", `${amount}${eta}`);
}

/** @param {CheckStatus} check */
function breach({ breachMs, forMs }) {
  if (breachMs === null) return null;
  return fact(
    "over the limit for",
    forMs === 0 ? duration(breachMs) : `${duration(breachMs)} of ${duration(forMs)}`,
  );
}

/** What bad responses have in common. @param {Marks} found */
export function marks({ worstPaths, worstMethods, byReason, distinctKeys, keysCapped, traceIds }) {
  const tallies = (/** @type {Marks["worstPaths"]} */ all) =>
    all
      .slice(0, 5)
      .map(({ name, count: n }) => `${name} (${count(n)})`)
      .join(", ");
  const rows = [
    ["how", tallies(byReason)],
    ["paths", tallies(worstPaths)],
    ["methods", tallies(worstMethods)],
    [
      "users",
      distinctKeys === 0 ? "" : `${keysCapped ? "more than " : ""}${plural(distinctKeys, "distinct key")}`,
    ],
    ["traces", traceIds.slice(-3).join(", ")],
  ].filter(([, text]) => text !== "");
  if (rows.length === 0) return null;
  return h(
    "dl",
    { class: "marks" },
    ...rows.flatMap(([name, text]) => [h("dt", null, name), h("dd", null, text)]),
  );
}
