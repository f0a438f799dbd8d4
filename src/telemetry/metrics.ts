/**
 * The exposition of metrics, and the only door to prom-client.
 *
 * Nothing is counted here. A scrape takes one snapshot of the numbers that engine and data plane keep anyway and hands them over through
 * custom metrics' `get()`: `inc` and `observe` cost half a microsecond each, which is more than the rest of an exchange's bookkeeping
 * together (performance.md §3). Each format has a registry of its own, because prom-client's takes `_total` off the names of its own counters, for good,
 * the first time that it writes OpenMetrics.
 */

import {
  Registry,
  collectDefaultMetrics,
  type OpenMetricsContentType,
  type Metric as LibraryMetric,
} from "prom-client";
import type { Control } from "../engine/control.ts";
import type { PlaneGauges } from "../engine/ports.ts";
import { prefers } from "./accept.ts";
import { buildOf, type Build } from "./build.ts";
import { METRICS } from "./metric-table.ts";
import type { OutletCounts } from "./outlets.ts";
import type { Exemplar } from "./samples.ts";
import {
  LOOP_QUANTILES,
  type ArmName,
  type FlagFigures,
  type Metric,
  type Reload,
  type SharedFigures,
  type Snapshot,
} from "./snapshot.ts";

/** Where the numbers come from. Each is called once per scrape and returns at once. */
export interface MetricSources {
  readonly control: Pick<Control, "totals" | "routes">;
  /** `DataPlane.gauges`. */
  readonly gauges: () => PlaneGauges;
  /** How late the event loop was at a quantile (0 to 1), seconds: from `perf_hooks.monitorEventLoopDelay`. */
  readonly eventLoopDelay: (quantile: number) => number;
  /** `Fanout.stats`. */
  readonly notifications: () => Snapshot["notifications"];
  readonly reload: () => Reload;
  /** `Flags.stats`; left out: there are none. */
  readonly flags?: () => FlagFigures | undefined;
  /** Arms whose endpoints are taken with any certificate; left out: there are none. */
  readonly unverified?: () => readonly ArmName[];
  /** The store that replicas share; left out, or undefined: there is none. */
  readonly shared?: () => SharedFigures | undefined;
  /** What became of spans and access lines; left out: there are none. */
  readonly outlets?: () => OutletCounts;
  /** Sampled traces; left out: there are none. */
  readonly exemplars?: Snapshot["exemplars"];
  /** What runs; left out: the package's version on this Node. */
  readonly build?: Build;
}

/** An exposition. */
export interface Exposition {
  readonly contentType: string;
  readonly body: string;
}

/** The metrics. */
export interface Metrics {
  /** The exposition, as OpenMetrics when `accept` asks for it and in Prometheus' text format otherwise. Rejects when a source throws. */
  render(accept: string): Promise<Exposition>;
}

/** What a custom metric hands over. */
interface Collected {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly values: readonly unknown[];
}

/** What prom-client needs of a metric to render it. */
interface Custom {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly get: () => Promise<Collected>;
}

const NOTHING_TOLD: OutletCounts = {
  spans: { sent: 0, failed: 0, dropped: 0 },
  lines: { written: 0, dropped: 0 },
};

/** The metrics over `sources`, and those of the process. */
export function createMetrics(sources: MetricSources): Metrics {
  const build = sources.build ?? buildOf();
  let snapshot: Snapshot | undefined;
  const text = new Registry();
  const open = new Registry<OpenMetricsContentType>();
  open.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  const customs = [
    ...METRICS.map((metric) => customOf(metric, () => (snapshot ??= take(sources, build)))),
    ...processMetrics(),
  ];
  for (const custom of customs) {
    // prom-client reads `name`, `help`, `type` and `get()` of what is registered; its type names only its own four classes.
    text.registerMetric(custom as unknown as LibraryMetric);
    open.registerMetric(asOpen(custom) as unknown as LibraryMetric);
  }
  return {
    async render(accept) {
      // `get()` of every metric is called before the first await, so two scrapes at once cannot mix their snapshots.
      snapshot = take(sources, build);
      const registry = prefers(accept, "application/openmetrics-text", "text/plain") ? open : text;
      const rendered = registry.metrics();
      snapshot = undefined;
      return { contentType: registry.contentType, body: await rendered };
    },
  };
}

function take(sources: MetricSources, build: Build): Snapshot {
  return {
    totals: sources.control.totals(),
    routes: sources.control.routes(),
    gauges: sources.gauges(),
    loopDelay: LOOP_QUANTILES.map((quantile) => [quantile, sources.eventLoopDelay(quantile)]),
    notifications: sources.notifications(),
    reload: sources.reload(),
    flags: sources.flags?.(),
    unverified: sources.unverified?.() ?? [],
    shared: sources.shared?.(),
    outlets: sources.outlets?.() ?? NOTHING_TOLD,
    exemplars: sources.exemplars ?? (() => []),
    build,
  };
}

function customOf(metric: Metric, from: () => Snapshot): Custom {
  const { name, help, type } = metric;
  return {
    name,
    help,
    type,
    get: () => {
      const values = Array.from(metric.read(from()), ({ suffix, labels, value, exemplar }) => ({
        labels,
        value,
        ...(suffix === undefined ? {} : { metricName: name + suffix }),
        ...(exemplar === undefined ? {} : { exemplar: libraryForm(exemplar) }),
      }));
      return Promise.resolve({ name, help, type, values });
    },
  };
}

function libraryForm({ traceId, seconds, at }: Exemplar): object {
  return { labelSet: { trace_id: traceId }, value: seconds, timestamp: at };
}

/** Gauges of prom-client's that are named like counters, which `promtool check metrics` refuses. Each exists by type without the suffix as well. */
const MISNAMED = /^nodejs_active_.*_total$/;

/** prom-client's metrics of the process, each as a custom metric, so that neither format's registry changes the other's names. */
function processMetrics(): readonly Custom[] {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  // `getMetricsAsArray` gives the objects themselves; their `get()` is public, their `help` and `type` come with it.
  const metrics = registry.getMetricsAsArray() as unknown as readonly Custom[];
  return metrics
    .filter(({ name }) => !MISNAMED.test(name))
    .map((metric) => ({
      name: metric.name,
      help: metric.help,
      type: metric.type,
      get: () => metric.get(),
    }));
}

/** The metric under the name that OpenMetrics has for it: a counter's without `_total`, which its samples get back. */
function asOpen(custom: Custom): Custom {
  if (custom.type !== "counter") return custom;
  const name = custom.name.replace(/_total$/, "");
  return { ...custom, name, get: async () => ({ ...(await custom.get()), name }) };
}
