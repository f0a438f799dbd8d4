/** What is around a rollout: rescues, endpoints, replicas, messages, and the safety switches. What this program does not tell is not shown. */

/** @import { ReplicaStatus, RouteStatus } from "../../engine/status.ts" */
/** @import { Icon } from "./dom.js" */
/** @import { Live } from "./live.js" */
import { h, icon } from "./dom.js";
import { count, duration, moment, percent, sentence } from "./format.js";
import { plural, toneOfSeverity } from "./words.js";

/** @param {RouteStatus} route */
export function rescues({ rescues: { answered, failed, refused } }) {
  return h(
    "section",
    { key: "rescues", class: "card", "aria-labelledby": "rescues-title" },
    h("h2", { id: "rescues-title" }, "Rescues"),
    answered + failed + refused === 0
      ? h("p", { class: "empty" }, "None were needed since the start.")
      : h(
          "dl",
          { class: "figures" },
          figure("answered by stable", answered),
          figure("failed there, too", failed),
          figure("over the budget", refused),
        ),
  );
}

/** @param {string} name @param {number} value */
function figure(name, value) {
  return h("div", { key: name }, h("dt", null, name), h("dd", null, count(value)));
}

/** @type {(healthy: boolean | null) => { tone: string, icon: Icon, word: string }} */
function stateOf(healthy) {
  if (healthy === null) return { tone: "quiet", icon: "quiet", word: "unknown" };
  return healthy
    ? { tone: "good", icon: "good", word: "healthy" }
    : { tone: "bad", icon: "bad", word: "unhealthy" };
}

/** What the program says of itself. @param {Live} live */
function ownHealth(live) {
  /** @type {{ sentence: string, healthy: boolean, checks: { name: string, ok: boolean, detail: string }[] } | undefined} */
  const health = live.extras.get("health");
  if (health === undefined) return null;
  const wrong = health.checks.filter(({ ok }) => !ok);
  return h(
    "li",
    { key: "own", class: `endpoint tone-${health.healthy ? "good" : "bad"}` },
    icon(health.healthy ? "good" : "bad"),
    h("span", null, "this proxy"),
    h("span", { class: "state" }, health.sentence),
    ...wrong.map(({ name, detail }) => h("span", { key: name, class: "why" }, `${name}: ${detail}`)),
  );
}

/** @param {Live} live @param {RouteStatus} route */
export function endpoints(live, { arms }) {
  const rows = /** @type {const} */ (["stable", "canary"]).flatMap((arm) =>
    arms[arm].endpoints.map((endpoint) => {
      const state = stateOf(endpoint.healthy);
      return h(
        "li",
        { key: arm + endpoint.url, class: `endpoint tone-${state.tone}` },
        icon(state.icon),
        h("span", { class: `arm ${arm}-text` }, arm),
        h("span", { class: "url" }, endpoint.url.replace(/^http:\/\//, "")),
        h("span", { class: "state" }, state.word),
        endpoint.detail === ""
          ? null
          : h("span", { class: "why" }, `${endpoint.detail}, ${plural(endpoint.failures, "probe")} in a row`),
      );
    }),
  );
  return h(
    "section",
    { key: "endpoints", class: "card", "aria-labelledby": "endpoints-title" },
    h("h2", { id: "endpoints-title" }, "Health"),
    h("ul", { class: "endpoints" }, ...rows, ownHealth(live)),
  );
}

/** @param {Live} live @param {RouteStatus} route */
export function replicas(live, { name, fleet }) {
  /** @type {readonly ReplicaStatus[]} */
  const known = live.extras.get("replicas")?.replicas ?? [];
  if (known.length === 0) return null;
  const newest = Math.max(...known.map(({ applied }) => applied));
  return h(
    "section",
    { key: "replicas", class: "card", "aria-labelledby": "replicas-title" },
    h("h2", { id: "replicas-title" }, "Replicas"),
    fleet === null || fleet.isStoreUp
      ? null
      : h("p", { class: "note bad", role: "alert" }, "The shared store does not answer: no weight can rise."),
    h(
      "ul",
      { class: "replicas" },
      ...known.map((each) => replica(each, { name, newest, isHere: each.replica === fleet?.replica })),
    ),
  );
}

/** @param {ReplicaStatus} told @param {{ name: string, newest: number, isHere: boolean }} beside */
function replica({ replica: id, isLeader, isStale, silentMs, applied, routes }, { name, newest, isHere }) {
  const here = routes[name];
  const share = here?.share ?? null;
  return h(
    "li",
    { key: id, class: `replica tone-${isStale ? "bad" : "good"}` },
    icon(isStale ? "bad" : "good"),
    h("strong", null, id),
    isLeader ? h("span", { class: "tag" }, "leader") : null,
    isHere ? h("span", { class: "tag" }, "this one") : null,
    here === undefined ? null : h("span", { class: "state" }, `canary on ${percent(here.weight)}`),
    h(
      "span",
      { class: "why" },
      isStale
        ? `silent for ${duration(silentMs)}: not measured with`
        : [
            share === null ? "no traffic" : `${percent(Math.round(100 * share))} of the traffic`,
            ...(applied < newest ? [`behind: state ${count(applied)} of ${count(newest)}`] : []),
          ].join(", "),
    ),
  );
}

/** @param {Live} live @param {RouteStatus} route */
export function messages(live, { name }) {
  /** @type {readonly { at: string, id: string, severity: string, summary: string }[] | undefined} */
  const told = live.extras.get("messages")?.messages;
  if (told === undefined || told.length === 0) return null;
  return h(
    "section",
    { key: "messages", class: "card", "aria-labelledby": "messages-title" },
    h("h2", { id: "messages-title" }, "What people were told"),
    h(
      "ul",
      { class: "messages" },
      ...told
        .slice(-6)
        .reverse()
        .map(({ at, id, severity, summary }) => {
          const tone = toneOfSeverity(severity);
          return h(
            "li",
            { key: at + id, class: `message tone-${tone}` },
            icon(tone),
            h("span", { class: "unseen" }, `${severity}: `),
            h("span", { class: "words" }, sentence(summary.replace(`${name}: `, ""))),
            h("time", { datetime: at, class: "sub" }, moment(at)),
          );
        }),
    ),
  );
}

/** That what is shown is of before. @param {Live} live */
export function stale({ connection, seenAt }) {
  if (connection !== "lost") return null;
  const words = seenAt === 0 ? "." : `: what is shown is of ${moment(seenAt)}.`;
  return h(
    "p",
    { key: "stale", class: "banner tone-bad", role: "alert" },
    icon("bad"),
    h("span", null, `The proxy does not answer${words} `),
  );
}

/** The safety switches that a route is under. @param {RouteStatus} route */
export function safety({ safety: on }) {
  return Object.entries(on).map(([name, { since, by, reason }]) =>
    h(
      "p",
      { key: `safety-${name}`, class: "banner tone-bad", role: "alert" },
      icon("bad"),
      h("strong", null, `${sentence(name)} is on`),
      h("span", null, ` since ${moment(since)}, by ${by}: ${reason}`),
    ),
  );
}
