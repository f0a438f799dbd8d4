/**
 * Every metric this program has of its own: name, help, type, labels, unit, and how it is read. Pure: a snapshot in, samples out.
 *
 * Read at scrape from numbers that are kept anyway; on the hot path a metric costs nothing. Labels come from closed sets (routes, rules and reasons
 * of the configuration, enumerations of the domain), never from a client: what is not in its set is told as `other`.
 */

import { ARM_EVENTS, PLANE_EVENTS } from "../domain/event.ts";
import { REASONS, kindOf } from "../domain/outcome.ts";
import { PHASES } from "../domain/rollout-types.ts";
import { SWITCHES } from "../domain/safety.ts";
import { DURATION_BOUNDS, OVERHEAD_BOUNDS } from "../domain/slice.ts";
import { FLEET_METRICS } from "./metric-fleet.ts";
import { REPLICA_METRICS } from "./metric-replicas.ts";
import { eachArm, eachArmStatus, eachRoute, latencies, refused, rollbacks, rulesOf } from "./metric-reads.ts";
import { byClass, histogram } from "./samples.ts";
import { OUTLET_METRICS } from "./outlet-metrics.ts";
import type { Metric } from "./snapshot.ts";
import { FLAG_METRICS } from "./flag-metrics.ts";
import { ALERT_METRIC_TABLE } from "./alert-metrics.ts";

const FAILURES = REASONS.map((reason, index) => ({ reason, index })).filter(
  (each) => kindOf(each.reason) === "failure",
);
const NOTIFIED = [
  ["sent", "sent"],
  ["failed", "failed"],
  ["dropped", "dropped"],
  ["in_doubt", "inDoubt"],
  ["held_back", "heldBack"],
] as const;
const VERDICTS = ["successful", "failed", "inconclusive"] as const;

const stepOf = (isUsed: boolean): string => (isUsed ? "handle" : "stream");

/** Every metric, in the order in which it is shown. */
export const METRICS: readonly Metric[] = [
  {
    name: "sluice_requests_total",
    help: "Exchanges settled, unforced, by what they came to.",
    type: "counter",
    labels: ["route", "arm", "outcome", "code_class"],
    unit: "",
    read: (from) => eachArm(from, (labels, route, arm) => byClass(labels, route.arms[arm].byClass)),
  },
  {
    name: "sluice_request_duration_seconds",
    help: "Whole-exchange time of what was answered, request head read to exchange settled. Decisions use HDR quantiles, not these buckets.",
    type: "histogram",
    labels: ["route", "arm"],
    unit: "seconds",
    read: (from) =>
      eachArm(from, (labels, route, arm) => {
        const { durations, durationSeconds } = route.arms[arm];
        const exemplars = from.exemplars(route.name, arm);
        return histogram(labels, DURATION_BOUNDS, durations, durationSeconds, exemplars);
      }),
  },
  {
    name: "sluice_upstream_errors_total",
    help: "Exchanges that failed, unforced, by how.",
    type: "counter",
    labels: ["route", "arm", "reason"],
    unit: "",
    read: (from) =>
      eachArm(from, (labels, route, arm) =>
        FAILURES.map(({ reason, index }) => ({
          labels: { ...labels, reason },
          value: route.arms[arm].byReason[index] ?? 0,
        })),
      ),
  },
  {
    name: "sluice_forced_requests_total",
    help: "Exchanges whose arm was forced by an override, by what they came to; never evidence.",
    type: "counter",
    labels: ["route", "arm", "outcome", "code_class"],
    unit: "",
    read: (from) => eachArm(from, (labels, route, arm) => byClass(labels, route.arms[arm].forcedByClass)),
  },
  {
    name: "sluice_refused_total",
    help: "Requests refused before they had an arm, by status sent.",
    type: "counter",
    labels: ["code"],
    unit: "",
    read: (from) => refused(from.totals.refused),
  },
  {
    name: "sluice_events_total",
    help: "What happened beside exchanges: handshakes that failed, connections and requests turned away, floods, requests that a safety switch answered.",
    type: "counter",
    labels: ["event"],
    unit: "",
    read: ({ totals }) =>
      PLANE_EVENTS.map((event, index) => ({ labels: { event }, value: totals.events[index] ?? 0 })),
  },
  {
    name: "sluice_arm_events_total",
    help: "What happened to an arm beside its exchanges: endpoints ejected, retries, limits reached, names looked up, requests mirrored.",
    type: "counter",
    labels: ["route", "arm", "event"],
    unit: "",
    read: (from) =>
      eachArm(from, (labels, route, arm) =>
        // Only what has happened: a series for each would be most of the page.
        ARM_EVENTS.flatMap((event, index) => {
          const value = route.events[arm][index] ?? 0;
          return value === 0 ? [] : [{ labels: { ...labels, event }, value }];
        }),
      ),
  },
  {
    name: "sluice_weight_ratio",
    help: "The canary's share in force, 0 to 1.",
    type: "gauge",
    labels: ["route"],
    unit: "ratio",
    read: (from) => eachRoute(from, (labels, route) => [{ labels, value: route.weight / 100 }]),
  },
  {
    name: "sluice_safety",
    help: "1 while the route is under the safety switch, 0 while not.",
    type: "gauge",
    labels: ["route", "switch"],
    unit: "",
    read: (from) =>
      eachRoute(from, (labels, { safety }) =>
        SWITCHES.map((which) => ({
          labels: { ...labels, switch: which },
          value: Number(safety[which] !== undefined),
        })),
      ),
  },
  {
    name: "sluice_rollout_phase",
    help: "1 for the phase the rollout is in, 0 for the others.",
    type: "gauge",
    labels: ["route", "phase"],
    unit: "",
    read: (from) =>
      eachRoute(from, (labels, route) =>
        PHASES.map((phase) => ({ labels: { ...labels, phase }, value: Number(route.phase === phase) })),
      ),
  },
  {
    name: "sluice_rollout_step",
    help: "Index of the present step of the plan.",
    type: "gauge",
    labels: ["route"],
    unit: "",
    read: (from) => eachRoute(from, (labels, route) => [{ labels, value: route.step }]),
  },
  {
    name: "sluice_verdict",
    help: "1 for the verdict of the rule at the last tick, 0 for the others.",
    type: "gauge",
    labels: ["route", "rule", "verdict"],
    unit: "",
    read: (from) =>
      eachRoute(from, (labels, route) =>
        route.checks.flatMap((check) =>
          VERDICTS.map((verdict) => ({
            labels: { ...labels, rule: check.rule, verdict },
            value: Number(check.verdict === verdict),
          })),
        ),
      ),
  },
  {
    name: "sluice_evidence_ratio",
    help: "How much of what a rule needs is there, 0 to 1: exchanges in its window, evidence that it fires, or evidence to climb.",
    type: "gauge",
    labels: ["route", "rule"],
    unit: "ratio",
    read: (from) =>
      eachRoute(from, (labels, route) =>
        route.checks.map(({ rule, have, need, ratio }) => ({
          labels: { ...labels, rule },
          value: ratio ?? (need > 0 ? Math.min(1, have / need) : 1),
        })),
      ),
  },
  {
    name: "sluice_rollbacks_total",
    help: "Rollbacks by cause: the rule that failed, or manual.",
    type: "counter",
    labels: ["route", "reason"],
    unit: "",
    read: (from) => from.totals.routes.flatMap((route) => rollbacks(route, rulesOf(from, route.name))),
  },
  {
    name: "sluice_rollback_duration_seconds",
    help: "Decision to weight in force, over all rollbacks.",
    type: "summary",
    labels: ["route"],
    unit: "seconds",
    read: (from) =>
      from.totals.routes.flatMap(({ name, rollbackSeconds, rollbacks: byCause }) => {
        const labels = { route: name };
        const count = Object.values(byCause).reduce((sum, each) => sum + each, 0);
        return [
          { suffix: "_sum", labels, value: rollbackSeconds },
          { suffix: "_count", labels, value: count },
        ] as const;
      }),
  },
  {
    name: "sluice_rescued_total",
    help: "Canary failures by what became of their rescue: answered by stable, failed there too, or refused by the budget.",
    type: "counter",
    labels: ["route", "result"],
    unit: "",
    read: (from) =>
      from.totals.routes.flatMap(({ name, rescues }) =>
        (["answered", "failed", "refused"] as const).map((result) => ({
          labels: { route: name, result },
          value: rescues[result],
        })),
      ),
  },
  {
    name: "sluice_proxy_overhead_seconds",
    help: "The proxy's own time per exchange, from the request's head read to its sending begun.",
    type: "histogram",
    labels: [],
    unit: "seconds",
    read: ({ totals: { overhead } }) => histogram({}, OVERHEAD_BOUNDS, overhead.counts, overhead.seconds),
  },
  {
    name: "sluice_event_loop_delay_seconds",
    help: "How late the event loop was, of the thread that was latest; quantile 1 is the maximum.",
    type: "summary",
    labels: ["quantile"],
    unit: "seconds",
    read: ({ loopDelay }) =>
      loopDelay.map(([quantile, value]) => ({ labels: { quantile: String(quantile) }, value })),
  },
  {
    name: "sluice_latency_quantile_seconds",
    help: "Latency from request sent to response head over the window, from HDR histograms, of this replica; what rules judge.",
    type: "summary",
    labels: ["route", "arm", "quantile"],
    unit: "seconds",
    read: (from) => eachArmStatus(from, latencies),
  },
  {
    name: "sluice_endpoint_healthy",
    help: "1 when the endpoint's probes succeed, 0 when not; absent before the first probe has ended.",
    type: "gauge",
    labels: ["route", "arm", "endpoint_index"],
    unit: "",
    read: (from) =>
      eachArmStatus(from, (labels, arm) =>
        arm.endpoints.flatMap(({ healthy }, index) =>
          healthy === null
            ? []
            : [{ labels: { ...labels, endpoint_index: String(index) }, value: Number(healthy) }],
        ),
      ),
  },
  {
    name: "sluice_upstream_tls_unverified",
    help: "1 for an arm whose https endpoints are taken with any certificate, because `tls.verify` is false; absent otherwise.",
    type: "gauge",
    labels: ["route", "arm"],
    unit: "",
    read: ({ unverified }) => unverified.map(({ route, arm }) => ({ labels: { route, arm }, value: 1 })),
  },
  {
    name: "sluice_in_flight",
    help: "Exchanges under way.",
    type: "gauge",
    labels: ["route", "arm"],
    unit: "",
    read: (from) =>
      eachArm(from, (labels, route, arm) => [
        { labels, value: from.gauges.routes[route.name]?.[arm].inFlight ?? 0 },
      ]),
  },
  {
    name: "sluice_open_connections",
    help: "Client connections.",
    type: "gauge",
    labels: [],
    unit: "",
    read: ({ gauges }) => [{ labels: {}, value: gauges.connections }],
  },
  {
    name: "sluice_workers",
    help: "Threads that carry traffic.",
    type: "gauge",
    labels: [],
    unit: "",
    read: ({ gauges }) => [{ labels: {}, value: gauges.workers }],
  },
  {
    name: "sluice_worker_restarts_total",
    help: "Threads that died and were replaced.",
    type: "counter",
    labels: [],
    unit: "",
    read: ({ gauges }) => [{ labels: {}, value: gauges.workerRestarts }],
  },
  {
    name: "sluice_worker_lost_exchanges_total",
    help: "Exchanges that were in flight on a thread that died; also counted as excluded.",
    type: "counter",
    labels: [],
    unit: "",
    read: ({ gauges }) => [{ labels: {}, value: gauges.exchangesLost }],
  },
  {
    name: "sluice_fast_lane_info",
    help: "How the fast lane reads and writes: on the handle, or through the platform's streams alone.",
    type: "gauge",
    labels: ["reads", "writes"],
    unit: "",
    read: ({ gauges: { fastLane } }) => [
      { labels: { reads: stepOf(fastLane.reads), writes: stepOf(fastLane.writes) }, value: 1 },
    ],
  },
  {
    name: "sluice_store_errors_total",
    help: "Saves of the state that failed.",
    type: "counter",
    labels: [],
    unit: "",
    read: ({ totals }) => [{ labels: {}, value: totals.storeErrors }],
  },
  ...FLEET_METRICS,
  {
    name: "sluice_journal_errors_total",
    help: "Lines of the journal that could not be written.",
    type: "counter",
    labels: [],
    unit: "",
    read: ({ totals }) => [{ labels: {}, value: totals.journalErrors }],
  },
  {
    name: "sluice_state_recorded",
    help: "0 while what is in force could not be recorded yet.",
    type: "gauge",
    labels: ["route"],
    unit: "",
    read: (from) => eachRoute(from, (labels, route) => [{ labels, value: Number(route.recorded) }]),
  },
  {
    name: "sluice_notifications_total",
    help: "Messages to people by channel: sent, attempts that failed, messages dropped, in doubt (may have arrived), and held back to be told as one.",
    type: "counter",
    labels: ["channel", "result"],
    unit: "",
    read: ({ notifications }) =>
      Object.entries(notifications).flatMap(([channel, stats]) =>
        NOTIFIED.map(([result, key]) => ({ labels: { channel, result }, value: stats[key] })),
      ),
  },
  ...ALERT_METRIC_TABLE,
  ...OUTLET_METRICS,
  {
    name: "sluice_config_last_reload_successful",
    help: "1 when the last attempt to read the configuration succeeded.",
    type: "gauge",
    labels: [],
    unit: "",
    read: ({ reload }) => [{ labels: {}, value: Number(reload.ok) }],
  },
  {
    name: "sluice_config_last_reload_success_timestamp_seconds",
    help: "When the configuration was last read successfully.",
    type: "gauge",
    labels: [],
    unit: "seconds",
    read: ({ reload }) => [{ labels: {}, value: reload.at / 1000 }],
  },
  ...FLAG_METRICS,
  {
    name: "sluice_build_info",
    help: "1; the labels say what runs.",
    type: "gauge",
    labels: ["version", "node"],
    unit: "",
    read: ({ build }) => [{ labels: { version: build.version, node: build.node }, value: 1 }],
  },
  ...REPLICA_METRICS,
];
