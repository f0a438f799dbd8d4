/**
 * One route over time: what the proxy remembered of the last hour, and from then on what the events tell. Both say counts since the proxy's start, so a rate
 * is a difference over time, and the two join without a seam. A count that falls means that the proxy was started anew: there is a gap.
 */

/** @import { RouteStatus } from "../../engine/status.ts" */
/** @import { RouteHistory } from "../../telemetry/history.ts" */

/**
 * @typedef {{ requests: number[], failures: number[], p50Ms: (number | null)[], p95Ms: (number | null)[], p99Ms: (number | null)[] }} ArmSeries
 * @typedef {{ at: number[], weight: number[], stable: ArmSeries, canary: ArmSeries, revision: number }} Series
 * @typedef {"perSecond" | "errorRate" | "p50Ms" | "p95Ms" | "p99Ms"} Figure
 */

/** Points at the most: an hour of remembered ones, and some of a second. */
const POINTS = 1600;
/** Newer ones are kept by the second. */
const FINE_MS = 300_000;
const COARSE_MS = 5000;
/** A rate is over so much time, or the time between two points. */
const OVER_S = 8;
/** Between points that are further apart nobody knows what was. */
const LONGEST_S = 60;

/** @returns {ArmSeries} */
const empty = () => ({ requests: [], failures: [], p50Ms: [], p95Ms: [], p99Ms: [] });

/** @param {RouteHistory | undefined} history @returns {Series} */
export function seriesOf(history) {
  if (history === undefined) return { at: [], weight: [], stable: empty(), canary: empty(), revision: 0 };
  const arm = (/** @type {RouteHistory["stable"]} */ { requests, failures, p50Ms, p95Ms, p99Ms }) => ({
    requests: [...requests],
    failures: [...failures],
    p50Ms: [...p50Ms],
    p95Ms: [...p95Ms],
    p99Ms: [...p99Ms],
  });
  return {
    at: history.atMs.map((ms) => ms / 1000),
    weight: [...history.weight],
    stable: arm(history.stable),
    canary: arm(history.canary),
    revision: 0,
  };
}

/** The newest status as a point. @param {Series} series @param {RouteStatus} status @param {number} nowMs */
export function addLive(series, status, nowMs) {
  const now = nowMs / 1000;
  const last = series.at.at(-1) ?? 0;
  if (now - last < 0.4) drop(series, series.at.length - 1);
  series.at.push(now);
  series.weight.push(status.weight);
  for (const name of /** @type {const} */ (["stable", "canary"])) {
    const { requests, failures, p50Ms, p95Ms, p99Ms } = status.arms[name];
    const arm = series[name];
    arm.requests.push(requests);
    arm.failures.push(failures);
    arm.p50Ms.push(p50Ms);
    arm.p95Ms.push(p95Ms);
    arm.p99Ms.push(p99Ms);
  }
  thin(series, nowMs);
  if (series.at.length > POINTS) drop(series, 0);
  series.revision++;
}

/** Of what is older than the fine part one point each five seconds is enough. @param {Series} series @param {number} nowMs */
function thin(series, nowMs) {
  const border = (nowMs - FINE_MS) / 1000;
  const from = Math.max(
    1,
    series.at.findIndex((at) => at > border - 30),
  );
  for (let index = from; index < series.at.length - 1; index++) {
    const at = series.at[index] ?? 0;
    if (at > border) return;
    if (at - (series.at[index - 1] ?? 0) < COARSE_MS / 1000 - 0.5) drop(series, index--);
  }
}

/** @param {Series} series @param {number} index */
function drop({ at, weight, stable, canary }, index) {
  for (const column of [at, weight, ...Object.values(stable), ...Object.values(canary)])
    column.splice(index, 1);
}

/**
 * A figure of an arm as a column; null where there is none.
 *
 * @param {Series} series
 * @param {"stable" | "canary"} name
 * @param {Figure} figure
 * @returns {(number | null)[]}
 */
export function columnOf(series, name, figure) {
  const arm = series[name];
  // After its last request there is nothing to tell of the canary, and no memory of what was.
  const isOver = (/** @type {number} */ index) =>
    name === "canary" && series.weight[index] === 0 && grown(arm.requests, index - 1, index) === 0;
  if (figure !== "perSecond" && figure !== "errorRate")
    return arm[figure].map((value, index) => (isOver(index) ? null : value));
  let from = 0;
  return series.at.map((now, index) => {
    while (from < index - 1 && now - (series.at[from] ?? 0) > OVER_S) from++;
    const seconds = now - (series.at[from] ?? 0);
    const requests = grown(arm.requests, from, index);
    if (index === 0 || requests < 0 || seconds > LONGEST_S || isOver(index)) return null;
    if (figure === "perSecond") return requests / seconds;
    return requests === 0 ? null : grown(arm.failures, from, index) / requests;
  });
}

/** @param {readonly number[]} column @param {number} from @param {number} to */
function grown(column, from, to) {
  return (column[to] ?? 0) - (column[from] ?? 0);
}
