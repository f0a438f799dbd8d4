/**
 * The charts: both arms over time, with what happened marked, and how their latencies are spread. uPlot draws; here is what it draws and in which colours.
 * A chart says in words what it shows to whoever does not see it, and the timeline tells every mark.
 */

/** @import uPlot from "uplot" */
/** @import { JournalLine } from "../../engine/ports.ts" */
/** @import { Distribution } from "./live.js" */
/** @import { Figure, Series } from "./series.js" */
/** @import { Tone } from "./words.js" */
import { h } from "./dom.js";
import { latency, percent, rate, share } from "./format.js";
import { columnOf } from "./series.js";

/** @typedef {{ at: number, tone: Tone }} Mark */
/** @typedef {"weight" | Figure} Shown */

/** @type {typeof import("uplot")} */
const Plot = Reflect.get(globalThis, "uPlot");

const dark = matchMedia("(prefers-color-scheme: dark)");
/** @type {Set<() => void>} */
const repaint = new Set();
dark.addEventListener("change", () => repaint.forEach((each) => each()));

/** A colour of the style sheet. @param {string} name */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
const GAP = 58;

/** A number at an axis, without the zeros that it can do without. @param {string} text */
const short = (text) => text.replace(/(\.\d*?)0+(?!\d)/, "$1").replace(/\.(?!\d)/, "");

/** @type {Readonly<Record<Shown, (value: number) => string>>} */
const TEXTS = {
  weight: percent,
  perSecond: rate,
  errorRate: share,
  p50Ms: latency,
  p95Ms: latency,
  p99Ms: latency,
};

/** @param {readonly JournalLine[] | undefined} journal @param {(event: string) => Tone} toneOf @returns {Mark[]} */
export function marksOf(journal, toneOf) {
  return (journal ?? [])
    .filter(({ event }) => !/CHECKPOINT|BACKUP|NOTE/.test(event))
    .map(({ at, event }) => ({ at: Date.parse(at) / 1000, tone: toneOf(event) }));
}

/** @param {HTMLElement} element @param {() => uPlot} make @returns {{ plot: () => uPlot, end: () => void }} */
function drawn(element, make) {
  let plot = make();
  const again = () => {
    plot.destroy();
    plot = make();
  };
  repaint.add(again);
  const watch = new ResizeObserver(() => {
    if (element.clientWidth > 0 && element.clientWidth !== plot.width)
      plot.setSize({ width: element.clientWidth, height: element.clientHeight });
  });
  watch.observe(element);
  const end = () => {
    repaint.delete(again);
    watch.disconnect();
    plot.destroy();
  };
  return { plot: () => plot, end };
}

/** Lines at what happened. @param {uPlot} plot @param {readonly Mark[]} marks */
function drawMarks(plot, marks) {
  const { ctx, bbox, scales } = plot;
  const { min, max } = scales["x"] ?? {};
  if (min === undefined || max === undefined || min === null || max === null) return;
  ctx.save();
  ctx.lineWidth = devicePixelRatio;
  for (const { at, tone } of marks) {
    if (at < min || at > max) continue;
    const x = Math.round(plot.valToPos(at, "x", true)) + 0.5;
    ctx.strokeStyle = color(tone === "quiet" ? "faint" : tone);
    ctx.setLineDash(tone === "bad" ? [] : [3 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

/** @param {number[]} splits seconds */
function clock(splits) {
  const step = (splits[1] ?? 0) - (splits[0] ?? 0);
  return splits.map((at) => new Date(at * 1000).toLocaleTimeString("en-GB").slice(0, step < 60 ? 8 : 5));
}

/** @param {Shown} shown @param {boolean} isLast @returns {uPlot.Axis[]} */
function axesOf(shown, isLast) {
  const text = TEXTS[shown];
  const common = { stroke: color("muted"), font: FONT };
  const grid = { stroke: color("line"), width: 1 };
  return [
    {
      ...common,
      grid: { show: false },
      ticks: { show: false },
      size: isLast ? 24 : 6,
      space: 72,
      values: (_, splits) => (isLast ? clock(splits) : splits.map(() => "")),
    },
    {
      ...common,
      grid,
      ticks: { show: false },
      size: GAP,
      gap: 8,
      space: 30,
      values: (_, splits) => splits.map((value) => short(text(value))),
    },
  ];
}

/** @param {Shown} shown @returns {uPlot.Series[]} */
function linesOf(shown) {
  if (shown === "weight")
    return [
      {},
      {
        stroke: color("canary"),
        fill: color("canary-soft"),
        width: 1.5,
        points: { show: false },
        ...(Plot.paths.stepped === undefined ? {} : { paths: Plot.paths.stepped({ align: 1 }) }),
      },
    ];
  const points = { show: false };
  return [
    {},
    { stroke: color("stable"), width: 1.75, points, spanGaps: false },
    { stroke: color("canary"), width: 2.25, points, spanGaps: false },
  ];
}

/** Room for the least that is worth a line, so that noise is not drawn as mountains. */
const LEAST = { weight: 100, perSecond: 1, errorRate: 0.01, p50Ms: 1, p95Ms: 1, p99Ms: 1 };

/**
 * A chart of one figure over time.
 *
 * @param {Shown} shown
 * @param {{ title: string, isLast: boolean, state: () => TimeState, onPoint: (at: number | undefined) => void }} options
 */
export function timeChart(shown, { title, isLast, state, onPoint }) {
  const mount = (/** @type {HTMLElement} */ element) => {
    const make = () =>
      new Plot(
        {
          width: Math.max(80, element.clientWidth),
          height: element.clientHeight,
          // Half of the last time under the axis.
          padding: [8, 26, 0, 0],
          legend: { show: false },
          cursor: {
            y: false,
            drag: { x: false, y: false },
            points: { size: 7, width: 1.5 },
            sync: { key: "time" },
          },
          scales: {
            x: { time: true, range: () => state().range },
            y: { range: (_, __, max) => [0, Math.max(LEAST[shown], (max ?? 0) * 1.1)] },
          },
          axes: axesOf(shown, isLast),
          series: linesOf(shown),
          hooks: {
            drawAxes: [(plot) => drawMarks(plot, state().marks)],
            setCursor: [
              (plot) =>
                onPoint(
                  plot.cursor.idx === null || plot.cursor.idx === undefined
                    ? undefined
                    : plot.data[0][plot.cursor.idx],
                ),
            ],
          },
        },
        dataOf(shown, state().series),
        element,
      );
    const { plot, end } = drawn(element, make);
    let seen = -1;
    const refresh = () => {
      const { series, key } = state();
      if (key === seen) return;
      seen = key;
      plot().setData(dataOf(shown, series));
    };
    charts.add(refresh);
    return () => {
      charts.delete(refresh);
      end();
    };
  };
  const { series } = state();
  return h(
    "div",
    { key: `chart-${title}`, class: `chart chart-${shown === "weight" ? "low" : "high"}` },
    h("h3", null, title),
    h("div", {
      key: shown,
      class: `plot ${isLast ? "last" : ""}`,
      role: "img",
      "aria-label": saidOf(shown, title, series),
      isOpaque: true,
      mount,
    }),
  );
}

/** @typedef {{ series: Series, marks: readonly Mark[], range: [number, number], key: number }} TimeState */

/** @type {Set<() => void>} */
const charts = new Set();

/** Draws what is new. */
export function refreshCharts() {
  for (const refresh of charts) refresh();
}

/** @param {Shown} shown @param {Series} series @returns {uPlot.AlignedData} */
function dataOf(shown, series) {
  if (shown === "weight") return [series.at, series.weight];
  return [series.at, columnOf(series, "stable", shown), columnOf(series, "canary", shown)];
}

/** What a chart shows now, in words. @param {Shown} shown @param {string} title @param {Series} series */
function saidOf(shown, title, series) {
  const text = (/** @type {number | null | undefined} */ value) =>
    value === null || value === undefined ? "nothing" : TEXTS[shown](value);
  if (shown === "weight") return `${title} over time, now ${text(series.weight.at(-1))}`;
  const [stable, canary] = [
    columnOf(series, "stable", shown).at(-1),
    columnOf(series, "canary", shown).at(-1),
  ];
  return `${title} over time; now stable ${text(stable)}, canary ${text(canary)}`;
}

/** Where a percentile stands: each nine is as wide as the one before. @param {number} value */
const placeOf = (value) => -Math.log10(1 - Math.min(value, 99.9999) / 100);
const PLACES = [50, 90, 99, 99.9];

/**
 * How the latencies of both arms are spread, laid over one another.
 *
 * @param {() => Distribution} state
 */
export function distributionChart(state) {
  const data = () => {
    const { stable, canary } = state();
    const columns = [stable, canary].map(
      ({ percentiles }) =>
        /** @type {uPlot.AlignedData} */ ([
          percentiles.map(({ percentile }) => placeOf(percentile)),
          percentiles.map(({ ms }) => ms),
        ]),
    );
    return Plot.join(columns);
  };
  const mount = (/** @type {HTMLElement} */ element) => {
    const make = () => {
      const common = {
        stroke: color("muted"),
        font: FONT,
        grid: { stroke: color("line"), width: 1 },
        ticks: { show: false },
      };
      const points = { show: false };
      return new Plot(
        {
          width: Math.max(80, element.clientWidth),
          height: element.clientHeight,
          padding: [10, 16, 0, 0],
          legend: { show: false },
          cursor: { show: false },
          scales: {
            x: { time: false, range: (_, __, max) => [0, Math.min(3.4, Math.max(2.1, max ?? 2))] },
            y: { range: (_, __, max) => [0, Math.max(1, (max ?? 1) * 1.1)] },
          },
          axes: [
            {
              ...common,
              size: 26,
              splits: () => PLACES.map(placeOf),
              values: () => PLACES.map((value) => `${value} %`),
            },
            {
              ...common,
              size: GAP,
              gap: 8,
              space: 34,
              values: (_, splits) => splits.map((value) => short(latency(value))),
            },
          ],
          series: [
            {},
            { stroke: color("stable"), width: 1.75, points, spanGaps: true },
            { stroke: color("canary"), width: 2.25, points, spanGaps: true },
          ],
        },
        data(),
        element,
      );
    };
    const { plot, end } = drawn(element, make);
    /** @type {Distribution | undefined} */
    let seen;
    const refresh = () => {
      if (seen === state()) return;
      seen = state();
      plot().setData(data());
    };
    charts.add(refresh);
    return () => {
      charts.delete(refresh);
      end();
    };
  };
  const tail = (/** @type {"stable" | "canary"} */ arm) => {
    const last = state()[arm].percentiles.at(-1);
    return last === undefined ? `${arm} has none` : `${arm} up to ${latency(last.ms)}`;
  };
  return h("div", {
    key: "distribution",
    class: "plot tall",
    role: "img",
    "aria-label": `Latency by percentile over the last minute: ${tail("stable")}, ${tail("canary")}`,
    isOpaque: true,
    mount,
  });
}
