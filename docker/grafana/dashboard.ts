/**
 * The Grafana dashboard, as code: `npm run dashboard` writes it to `dashboards/sluice.json`, and a test holds that file to what is built here.
 *
 * In Grafana's classic form (schema 42 or below), which every release from 9 to 13 takes. Every query names the job and the route of the variables;
 * `$__rate_interval` is Grafana's own.
 */

import {
  DashboardBuilder,
  DashboardCursorSync,
  DatasourceVariableBuilder,
  AnnotationQueryBuilder,
  QueryVariableBuilder,
  RowBuilder,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  VariableRefresh,
  VariableSort,
  type Dashboard,
  type Panel,
} from "@grafana/grafana-foundation-sdk/dashboard";
import {
  GraphDrawStyle,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  SortOrder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VisibilityMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from "@grafana/grafana-foundation-sdk/common";
import type { Builder } from "@grafana/grafana-foundation-sdk/cog";
import { DataqueryBuilder } from "@grafana/grafana-foundation-sdk/prometheus";
import { PanelBuilder as Stat } from "@grafana/grafana-foundation-sdk/stat";
import { PanelBuilder as StateTimeline } from "@grafana/grafana-foundation-sdk/statetimeline";
import { PanelBuilder as BarGauge } from "@grafana/grafana-foundation-sdk/bargauge";
import { PanelBuilder as TimeSeries } from "@grafana/grafana-foundation-sdk/timeseries";

const SOURCE = { type: "prometheus", uid: "${datasource}" };
const STABLE = "#5794F2";
const CANARY = "#FF9830";
/** One route of the job; all replicas. */
const R = 'job="$job",route="$route"';
const J = 'job="$job"';

interface Look {
  readonly unit?: string;
  readonly min?: number;
  readonly max?: number;
  /** Value from which it is amber, and red. */
  readonly limits?: readonly [amber: number, red: number];
  readonly what?: string;
  readonly stacked?: boolean;
  readonly bars?: boolean;
}

type Query = readonly [expr: string, legend: string];

function query([expr, legend]: Query, index: number): DataqueryBuilder {
  return new DataqueryBuilder()
    .datasource(SOURCE)
    .refId(String.fromCodePoint(65 + index))
    .expr(expr)
    .legendFormat(legend)
    .range();
}

function thresholds(limits: readonly [number, number]): ThresholdsConfigBuilder {
  const [amber, red] = limits;
  return new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps([
    { value: null, color: "green" },
    { value: amber, color: "orange" },
    { value: red, color: "red" },
  ]);
}

/** Lines over time; those of the arms in the arms' colours. */
function lines(title: string, span: number, queries: readonly Query[], look: Look = {}): TimeSeries {
  const panel = new TimeSeries()
    .title(title)
    .datasource(SOURCE)
    .span(span)
    .height(8)
    .unit(look.unit ?? "short")
    .min(look.min ?? 0)
    .lineWidth(2)
    .fillOpacity(look.stacked === true ? 40 : 8)
    .showPoints(VisibilityMode.Never)
    .drawStyle(look.bars === true ? GraphDrawStyle.Bars : GraphDrawStyle.Line)
    .legend(
      new VizLegendOptionsBuilder()
        .displayMode(LegendDisplayMode.List)
        .placement(LegendPlacement.Bottom)
        .showLegend(true),
    )
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending))
    .targets(queries.map(query));
  if (look.max !== undefined) panel.max(look.max);
  if (look.what !== undefined) panel.description(look.what);
  if (look.stacked === true) panel.stacking(new StackingConfigBuilder().mode(StackingMode.Normal));
  for (const [arm, color] of [
    ["stable", STABLE],
    ["canary", CANARY],
  ] as const)
    panel.overrideByRegexp(`/${arm}/`, [{ id: "color", value: { mode: "fixed", fixedColor: color } }]);
  return panel;
}

/** One number. */
function number(title: string, span: number, expr: string, look: Look = {}): Stat {
  const panel = new Stat()
    .title(title)
    .datasource(SOURCE)
    .span(span)
    .height(5)
    .unit(look.unit ?? "short")
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(["lastNotNull"]))
    .targets([query([expr, title], 0)]);
  if (look.what !== undefined) panel.description(look.what);
  if (look.limits !== undefined) panel.thresholds(thresholds(look.limits));
  return panel;
}

/** Which of several named states holds, over time. */
function states(title: string, span: number, queries: readonly Query[], what: string): StateTimeline {
  return new StateTimeline()
    .title(title)
    .description(what)
    .datasource(SOURCE)
    .span(span)
    .height(8)
    .unit("short")
    .targets(queries.map(query));
}

function bars(title: string, span: number, expr: string, legend: string, what: string): BarGauge {
  return new BarGauge()
    .title(title)
    .description(what)
    .datasource(SOURCE)
    .span(span)
    .height(8)
    .unit("percentunit")
    .min(0)
    .max(1)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(["lastNotNull"]))
    .targets([query([expr, legend], 0)]);
}

const errorRatio = (arm: string): string =>
  `sum(rate(sluice_requests_total{${R},arm="${arm}",outcome="failure"}[$__rate_interval])) / ` +
  `(sum(rate(sluice_requests_total{${R},arm="${arm}",outcome=~"success|failure"}[$__rate_interval])) > 0)`;

const rate = (metric: string, more = ""): string => `rate(${metric}{${R}${more}}[$__rate_interval])`;

const ROWS: readonly (readonly [title: string, panels: readonly Builder<Panel>[]])[] = [
  [
    "Is the new version all right, and what happens next",
    [
      number("Canary's share", 4, `max(sluice_weight_ratio{${R}})`, { unit: "percentunit" }),
      number("Step", 3, `max(sluice_rollout_step{${R}})`, { what: "index of the present step, from 0" }),
      number("Canary's errors", 4, errorRatio("canary"), { unit: "percentunit", limits: [0.005, 0.01] }),
      number("Canary's P95", 4, `max(sluice_latency_quantile_seconds{${R},arm="canary",quantile="0.95"})`, {
        unit: "s",
        limits: [0.2, 0.5],
        what: "time from request sent to response head, by HDR histogram; of several replicas the worst",
      }),
      number("Evidence", 3, `min(sluice_evidence_ratio{${R}})`, {
        unit: "percentunit",
        what: "how much of what the next step asks for is there; the least of it",
      }),
      number("Rolled back", 3, `sum(sluice_rollbacks_total{${R}}) or vector(0)`, {
        limits: [1, 1],
        what: "rollbacks since start",
      }),
      number("Replicas", 3, `count(sluice_build_info{${J}})`),
    ],
  ],
  [
    "Both arms",
    [
      lines("Weight", 12, [[`sluice_weight_ratio{${R}}`, "canary {{instance}}"]], {
        unit: "percentunit",
        max: 1,
      }),
      lines("Requests", 12, [[`sum by (arm) (${rate("sluice_requests_total")})`, "{{arm}}"]], {
        unit: "reqps",
      }),
      lines(
        "Error rate",
        12,
        [
          [errorRatio("stable"), "stable"],
          [errorRatio("canary"), "canary"],
        ],
        { unit: "percentunit", what: "failures of judged exchanges; 4xx are none" },
      ),
      lines(
        "Latency, from HDR histograms",
        12,
        [[`max by (arm, quantile) (sluice_latency_quantile_seconds{${R}})`, "{{arm}} P{{quantile}}"]],
        { unit: "s", what: "what decisions are made by; each replica's own, the worst of them" },
      ),
      lines(
        "Latency of the whole exchange, P95 from buckets",
        12,
        [
          [
            `histogram_quantile(0.95, sum by (arm, le) (${rate("sluice_request_duration_seconds_bucket")}))`,
            "{{arm}}",
          ],
        ],
        { unit: "s" },
      ),
      lines(
        "Answers by class",
        12,
        [[`sum by (arm, code_class) (${rate("sluice_requests_total")})`, "{{arm}} {{code_class}}"]],
        { unit: "reqps", stacked: true },
      ),
    ],
  ],
  [
    "The judge",
    [
      states(
        "Verdicts",
        12,
        [[`max by (rule) (sluice_verdict{${R},verdict="failed"})`, "{{rule}}"]],
        "1 where a rule fails; what follows is its `action`",
      ),
      bars(
        "Evidence for the next step",
        12,
        `min by (rule) (sluice_evidence_ratio{${R}})`,
        "{{rule}}",
        "how much of what is asked for is there",
      ),
      states(
        "Phase",
        12,
        [[`max by (phase) (sluice_rollout_phase{${R}})`, "{{phase}}"]],
        "1 in the phase in which the rollout is",
      ),
      lines("Rollbacks", 12, [[`sum by (reason) (sluice_rollbacks_total{${R}}) or vector(0)`, "{{reason}}"]]),
    ],
  ],
  [
    "What users were spared, and what failed",
    [
      lines("Rescues", 8, [[`sum by (result) (${rate("sluice_rescued_total")})`, "{{result}}"]], {
        unit: "reqps",
        what: "requests that failed on the canary and were sent once more to stable",
      }),
      lines(
        "Failures by reason",
        8,
        [[`sum by (arm, reason) (${rate("sluice_upstream_errors_total")})`, "{{arm}} {{reason}}"]],
        { unit: "reqps" },
      ),
      lines("Forced requests", 8, [[`sum by (arm) (${rate("sluice_forced_requests_total")})`, "{{arm}}"]], {
        unit: "reqps",
        what: "sent to an arm by an override; never evidence",
      }),
      lines("Endpoints that are healthy", 8, [[`sum by (arm) (sluice_endpoint_healthy{${R}})`, "{{arm}}"]]),
      lines("In flight", 8, [[`sum by (arm) (sluice_in_flight{${R}})`, "{{arm}}"]]),
      lines(
        "What happened to the arms",
        8,
        [[`sum by (arm, event) (${rate("sluice_arm_events_total")})`, "{{arm}} {{event}}"]],
        { unit: "ops" },
      ),
    ],
  ],
  [
    "The proxy itself",
    [
      lines(
        "Own time per exchange",
        8,
        (["0.5", "0.99"] as const).map((quantile) => [
          `histogram_quantile(${quantile}, sum by (le) (rate(sluice_proxy_overhead_seconds_bucket{${J}}[$__rate_interval])))`,
          `P${quantile}`,
        ]),
        { unit: "s" },
      ),
      lines(
        "Event loop delay",
        8,
        [[`max by (quantile) (sluice_event_loop_delay_seconds{${J}})`, "P{{quantile}}"]],
        { unit: "s", what: "evidence of seconds with more than `rollback.loopLag` is discarded" },
      ),
      lines("Client connections", 8, [[`sluice_open_connections{${J}}`, "{{instance}}"]]),
      lines(
        "Refused before they had a route",
        8,
        [[`sum by (code) (rate(sluice_refused_total{${J}}[$__rate_interval]))`, "{{code}}"]],
        { unit: "reqps" },
      ),
      lines(
        "Beside exchanges",
        8,
        [[`sum by (event) (rate(sluice_events_total{${J}}[$__rate_interval]))`, "{{event}}"]],
        { unit: "ops" },
      ),
      lines("Threads", 8, [
        [`sum(sluice_workers{${J}})`, "carrying traffic"],
        [`sum(sluice_worker_restarts_total{${J}})`, "replaced since start"],
      ]),
    ],
  ],
  [
    "Record, messages, fleet",
    [
      lines("State on record", 6, [[`min by (instance) (sluice_state_recorded{${R}})`, "{{instance}}"]], {
        max: 1,
      }),
      lines("Saves and journal lines that failed", 6, [
        [`sum(sluice_store_errors_total{${J}})`, "state"],
        [`sum(sluice_journal_errors_total{${J}})`, "journal"],
      ]),
      lines("Messages", 6, [[`sum by (result) (sluice_notifications_total{${J}})`, "{{result}}"]]),
      lines(
        "Last reload",
        6,
        [[`min by (instance) (sluice_config_last_reload_successful{${J}})`, "{{instance}}"]],
        {
          max: 1,
        },
      ),
      lines(
        "Replicas' weights apart",
        12,
        [[`max(sluice_weight_ratio{${R}}) - min(sluice_weight_ratio{${R}})`, "widest difference"]],
        { unit: "percentunit", max: 1 },
      ),
      lines(
        "Requests by replica",
        12,
        [[`sum by (instance) (${rate("sluice_requests_total")})`, "{{instance}}"]],
        {
          unit: "reqps",
        },
      ),
    ],
  ],
];

function annotation(name: string, expr: string, color: string, title: string): AnnotationQueryBuilder {
  return new AnnotationQueryBuilder()
    .name(name)
    .datasource(SOURCE)
    .enable(true)
    .iconColor(color)
    .expr(expr)
    .step("5s")
    .titleFormat(title);
}

/** The dashboard, in Grafana's classic form. */
export function dashboard(): Dashboard {
  const builder = new DashboardBuilder("Sluice: a rollout")
    .uid("sluice-rollout")
    .description(
      "Both arms of a route side by side, the rollout's steps, the judge's verdicts and evidence, and the proxy itself",
    )
    .tags(["sluice", "generated"])
    .editable()
    .refresh("5s")
    .time({ from: "now-30m", to: "now" })
    .timezone("browser")
    .tooltip(DashboardCursorSync.Crosshair)
    .withVariable(new DatasourceVariableBuilder("datasource").label("Data source").type("prometheus"))
    .withVariable(
      new QueryVariableBuilder("job")
        .label("Job")
        .datasource(SOURCE)
        .query("label_values(sluice_build_info, job)")
        .refresh(VariableRefresh.OnTimeRangeChanged)
        .sort(VariableSort.AlphabeticalAsc),
    )
    .withVariable(
      new QueryVariableBuilder("route")
        .label("Route")
        .datasource(SOURCE)
        .query('label_values(sluice_weight_ratio{job="$job"}, route)')
        .refresh(VariableRefresh.OnTimeRangeChanged)
        .sort(VariableSort.AlphabeticalAsc),
    )
    .annotation(annotation("Weight", `changes(sluice_weight_ratio{${R}}[15s]) > 0`, "blue", "weight changed"))
    .annotation(annotation("Step", `changes(sluice_rollout_step{${R}}[15s]) > 0`, "purple", "another step"))
    .annotation(
      annotation(
        "Rollback",
        `sum by (reason) (increase(sluice_rollbacks_total{${R}}[15s])) > 0`,
        "red",
        "rolled back: {{reason}}",
      ),
    );
  for (const [title, panels] of ROWS) {
    builder.withRow(new RowBuilder(title));
    for (const panel of panels) builder.withPanel(panel);
  }
  return builder.build();
}

/** The text of its file. */
export function dashboardJson(): string {
  const { panels = [], ...whole } = dashboard();
  // The builder leaves the numbers of panels to Grafana, which would give new ones with each load.
  const numbered = panels.map((panel, index) => ({ ...panel, id: index + 1 }));
  return `${JSON.stringify({ id: null, ...whole, panels: numbered }, null, 2)}\n`;
}
