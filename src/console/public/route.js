/** One route's page: is the new version all right, and what happens next. */

/** @import { RouteStatus } from "../../engine/status.ts" */
/** @import { Live } from "./live.js" */
/** @import { Actions } from "./actions.js" */
import { alerts } from "./alerts.js";
import { arms } from "./arms.js";
import { distributionChart, marksOf, timeChart } from "./charts.js";
import { h } from "./dom.js";
import { hero } from "./hero.js";
import { rollback } from "./rollback.js";
import { rules } from "./rules.js";
import { columnOf } from "./series.js";
import { endpoints, messages, replicas, rescues, safety, stale } from "./side.js";
import { timeline } from "./timeline.js";
import { latency, moment, percent, rate, share } from "./format.js";
import { eventWords, toneOfEvent } from "./words.js";

/** No less is shown: s. */
const LEAST_S = 45;
const SPANS = [
  { seconds: 120, label: "2 min" },
  { seconds: 600, label: "10 min" },
  { seconds: 3600, label: "1 h" },
];
/** @type {readonly { figure: "p50Ms" | "p95Ms" | "p99Ms", label: string }[]} */
const QUANTILES = [
  { figure: "p50Ms", label: "P50" },
  { figure: "p95Ms", label: "P95" },
  { figure: "p99Ms", label: "P99" },
];

/** What somebody has chosen to see, and what it is drawn from. */
export class RoutePage {
  #live;
  #actions;
  #onChange;
  #span = 0;
  /** @type {"p50Ms" | "p95Ms" | "p99Ms"} */
  #quantile = "p95Ms";
  #isWhole = false;
  /** @type {number | undefined} */
  #pointed;

  /** @param {Live} live @param {Actions} actions @param {() => void} onChange */
  constructor(live, actions, onChange) {
    this.#live = live;
    this.#actions = actions;
    this.#onChange = onChange;
  }

  /** @param {RouteStatus} route */
  view(route) {
    const live = this.#live;
    return h(
      "main",
      { key: `route-${route.name}`, class: "page", id: "main" },
      stale(live),
      ...safety(route),
      hero(route, this.#actions),
      h(
        "div",
        { key: "columns", class: "columns" },
        h(
          "div",
          { key: "left", class: "column" },
          rollback(route),
          this.#charts(route),
          rules(route),
          timeline(live.journal, this.#isWhole, () => {
            this.#isWhole = true;
            live.readOn();
            this.#onChange();
          }),
        ),
        h(
          "div",
          { key: "right", class: "column" },
          arms(route),
          this.#distribution(),
          alerts(live, route, this.#actions),
          endpoints(live, route),
          rescues(route),
          replicas(live, route),
          messages(live, route),
        ),
      ),
    );
  }

  /** @param {RouteStatus} route */
  #spanOf(route) {
    if (this.#span > 0) return this.#span;
    const first = this.#live.series?.at[0] ?? 0;
    const begun = route.startedAt === "" ? 0 : Date.parse(route.startedAt) / 1000;
    const needed = Date.now() / 1000 - Math.max(first, begun - 30);
    return SPANS.find(({ seconds }) => seconds >= needed)?.seconds ?? 3600;
  }

  /** @param {RouteStatus} route */
  #state(route) {
    return () => {
      const series = this.#live.series ?? EMPTY;
      const now = series.at.at(-1) ?? Date.now() / 1000;
      const span = this.#spanOf(route);
      // Where there is nothing yet there is nothing to be seen.
      const from = Math.max(now - span, Math.min(series.at[0] ?? now, now - LEAST_S));
      const journal = this.#live.journal;
      const key = series.revision * 7 + span + (journal?.length ?? 0) / 1000;
      return {
        series,
        marks: marksOf(journal, toneOfEvent),
        range: /** @type {[number, number]} */ ([from, now]),
        key,
      };
    };
  }

  /** @param {RouteStatus} route */
  #charts(route) {
    const { series } = this.#live;
    const state = this.#state(route);
    const onPoint = (/** @type {number | undefined} */ at) => {
      if (at === this.#pointed) return;
      this.#pointed = at;
      this.#onChange();
    };
    const quantile = QUANTILES.find(({ figure }) => figure === this.#quantile)?.label ?? "";
    /** @type {readonly ["weight" | "errorRate" | "perSecond" | "p50Ms" | "p95Ms" | "p99Ms", string][]} */
    const shown = [
      ["weight", "Weight"],
      ["errorRate", "Errors"],
      [this.#quantile, `Latency ${quantile}`],
      ["perSecond", "Requests/s"],
    ];
    return h(
      "section",
      { key: "charts", class: "card", "aria-labelledby": "charts-title" },
      h(
        "div",
        { class: "card-head" },
        h("h2", { id: "charts-title" }, "Over time"),
        legend(),
        h("span", { class: "space" }),
        choice(
          "Latency",
          QUANTILES.map(({ figure, label }) => ({
            label,
            isChosen: figure === this.#quantile,
            choose: () => this.#set({ quantile: figure }),
          })),
        ),
        choice(
          "Time shown",
          SPANS.map(({ seconds, label }) => ({
            label,
            isChosen: seconds === this.#spanOf(route),
            choose: () => this.#set({ span: seconds }),
          })),
        ),
      ),
      series === undefined
        ? h("p", { class: "empty tall" }, "Reading the last hour…")
        : h(
            "div",
            { class: "charts" },
            ...shown.map(([figure, title], index) =>
              timeChart(figure, { title, isLast: index === shown.length - 1, state, onPoint }),
            ),
          ),
      this.#readout(),
    );
  }

  /** @param {{ span?: number, quantile?: "p50Ms" | "p95Ms" | "p99Ms" }} change */
  #set({ span, quantile }) {
    this.#span = span ?? this.#span;
    this.#quantile = quantile ?? this.#quantile;
    this.#onChange();
  }

  /** What is under the pointer, in words. */
  #readout() {
    const { series, journal } = this.#live;
    const at = this.#pointed;
    const index = series === undefined || at === undefined ? -1 : series.at.indexOf(at);
    if (series === undefined || at === undefined || index < 0)
      return h(
        "p",
        { key: "readout", class: "readout foot" },
        "Lines across mark what happened; point at a moment to read it.",
      );
    const pair = (
      /** @type {"errorRate" | "perSecond" | "p50Ms" | "p95Ms" | "p99Ms"} */ figure,
      /** @type {(value: any) => string} */ text,
    ) =>
      `${text(columnOf(series, "stable", figure)[index] ?? null)} / ${text(columnOf(series, "canary", figure)[index] ?? null)}`;
    const near = (journal ?? []).filter((line) => Math.abs(Date.parse(line.at) / 1000 - at) < 3).at(-1);
    return h(
      "p",
      { key: "readout", class: "readout foot" },
      h("strong", null, moment(at * 1000)),
      ` weight ${percent(series.weight[index] ?? 0)}, errors ${pair("errorRate", share)}, latency ${pair(this.#quantile, latency)}, ` +
        `requests/s ${pair("perSecond", (value) => (value === null ? "–" : rate(value)))}`,
      near === undefined
        ? null
        : h("span", { class: `tone-${toneOfEvent(near.event)} tone-text` }, ` · ${eventWords(near.event)}`),
    );
  }

  #distribution() {
    const { distribution } = this.#live;
    const isEmpty =
      distribution !== undefined &&
      distribution.stable.percentiles.length + distribution.canary.percentiles.length === 0;
    return h(
      "section",
      { key: "distribution", class: "card", "aria-labelledby": "distribution-title" },
      h(
        "div",
        { class: "card-head" },
        h("h2", { id: "distribution-title" }, "Latency by percentile"),
        h("span", { class: "space" }),
        legend(),
      ),
      distribution === undefined || isEmpty
        ? h("p", { class: "empty" }, isEmpty ? "No requests in the last minute." : "Reading…")
        : distributionChart(() => this.#live.distribution ?? distribution),
    );
  }
}

/** @type {import("./series.js").Series} */
const EMPTY = {
  at: [],
  weight: [],
  stable: { requests: [], failures: [], p50Ms: [], p95Ms: [], p99Ms: [] },
  canary: { requests: [], failures: [], p50Ms: [], p95Ms: [], p99Ms: [] },
  revision: 0,
};

function legend() {
  return h(
    "span",
    { class: "legend" },
    h(
      "span",
      { class: "stable-text" },
      h("span", { class: "swatch stable", "aria-hidden": "true" }),
      "stable",
    ),
    h(
      "span",
      { class: "canary-text" },
      h("span", { class: "swatch canary", "aria-hidden": "true" }),
      "canary",
    ),
  );
}

/** @param {string} name @param {readonly { label: string, isChosen: boolean, choose: () => void }[]} options */
function choice(name, options) {
  return h(
    "div",
    { class: "choice", role: "group", "aria-label": name },
    ...options.map(({ label, isChosen, choose }) =>
      h(
        "button",
        { key: label, type: "button", "aria-pressed": isChosen ? "true" : "false", on: { click: choose } },
        label,
      ),
    ),
  );
}
