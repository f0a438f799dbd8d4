/** The exposition: strictly well-formed in both formats, true to its sources, bounded in its labels, and as agreed. */

import t from "tap";
import { CODE_CLASSES, OUTCOMES, REASONS, REASON_INDEX } from "../../src/domain/outcome.ts";
import { DURATION_BOUNDS, OVERHEAD_BOUNDS } from "../../src/domain/slice.ts";
import type { ArmTotals, Totals } from "../../src/engine/control.ts";
import type { PlaneGauges } from "../../src/engine/ports.ts";
import { METRICS } from "../../src/telemetry/metric-table.ts";
import { createMetrics, type MetricSources } from "../../src/telemetry/metrics.ts";
import { routeStatus } from "../support/fake-admin.ts";
import { golden } from "../support/golden.ts";

const OPEN = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

function counts(length: number, at: Readonly<Record<number, number>>): readonly number[] {
  return Array.from({ length }, (_, index) => at[index] ?? 0);
}

const classes = (at: Readonly<Record<number, number>>) => counts(OUTCOMES.length * CODE_CLASSES.length, at);

const ARM: ArmTotals = {
  byReason: counts(REASONS.length, { [REASON_INDEX.ok]: 90, [REASON_INDEX.timeout]: 10 }),
  // 90 successes with 2xx, 10 failures with 5xx, 3 excluded without a status.
  byClass: classes({ 2: 90, 11: 10, 12: 3 }),
  durations: counts(DURATION_BOUNDS.length + 1, { 0: 50, 5: 40, [DURATION_BOUNDS.length]: 10 }),
  durationSeconds: 125.5,
  forcedByClass: classes({ 2: 4 }),
};

const TOTALS: Totals = {
  routes: [
    {
      name: "app",
      arms: { stable: ARM, canary: ARM },
      rescues: { answered: 7, failed: 1, refused: 2 },
      events: { stable: [0, 0], canary: [3] },
      rollbacks: { "error_rate above 1% for 5m": 2, "a rule that is gone": 1, "so is this": 1, manual: 3 },
      rollbackSeconds: 0.004,
    },
  ],
  refused: { "400": 5, "431": 1, "<script>": 2, "99": 1 },
  events: [0, 0, 9],
  overhead: { counts: counts(OVERHEAD_BOUNDS.length + 1, { 1: 100 }), seconds: 0.01 },
  storeErrors: 1,
  journalErrors: 2,
};

const NO_GAUGES: PlaneGauges = {
  connections: 0,
  workers: 0,
  workerRestarts: 0,
  exchangesLost: 0,
  fastLane: { reads: false, writes: false },
  routes: {},
};

function metricsOf(change: Partial<MetricSources> = {}) {
  return createMetrics({
    control: { totals: () => TOTALS, routes: () => [routeStatus()] },
    gauges: () => ({
      connections: 12,
      workers: 2,
      workerRestarts: 3,
      exchangesLost: 4,
      fastLane: { reads: true, writes: false },
      routes: { app: { stable: { inFlight: 3, longLived: 0 }, canary: { inFlight: 1, longLived: 2 } } },
    }),
    eventLoopDelay: (quantile) => quantile / 2,
    notifications: () => ({ webhook: TOLD }),
    reload: () => ({ ok: false, at: 1_767_603_600_500 }),
    unverified: () => [{ route: "app", arm: "canary" }],
    build: { version: "1.2.3", node: "24.0.0" },
    ...change,
  });
}

const TOLD = {
  sent: 5,
  failed: 2,
  dropped: 1,
  inDoubt: 3,
  heldBack: 4,
  queued: 0,
  lastError: null,
  lastSuccessAt: null,
};

interface Family {
  readonly help: string;
  readonly type: string;
  readonly samples: Map<string, number>;
}

const SUFFIXES: Readonly<Record<string, readonly string[]>> = {
  counter: [""],
  gauge: [""],
  histogram: ["_bucket", "_sum", "_count"],
  summary: ["", "_sum", "_count"],
};

const META = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/;
const SAMPLE =
  /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)+)\})? (\S+)$/;

function must(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise);
}

/** An exposition by the rules of its format, and not a byte more: throws at the first line that does not fit. */
function parse(body: string, isOpen: boolean): ReadonlyMap<string, Family> {
  const families = new Map<string, Family>();
  const lines = body.split("\n");
  must(lines.pop() === "", "the last line has no end");
  must(!isOpen || lines.pop() === "# EOF", "no EOF");
  let name = "";
  let help = "";
  for (const line of lines) {
    const [, kind, of = "", text = ""] = META.exec(line) ?? [];
    if (kind === "HELP") {
      must(!families.has(of), `${of} comes twice`);
      [name, help] = [of, text];
    } else if (kind === "TYPE") {
      must(of === name && SUFFIXES[text] !== undefined, `TYPE out of place: ${line}`);
      families.set(name, { help, type: text, samples: new Map() });
    } else if (line !== "" || isOpen) addSample(name, families.get(name), line, isOpen);
  }
  return families;
}

function addSample(name: string, family: Family | undefined, line: string, isOpen: boolean): void {
  const sample = SAMPLE.exec(line);
  if (sample === null || family === undefined) throw new Error(`not a sample: ${line}`);
  const [, series = "", labels = "", value = ""] = sample;
  const suffixes = isOpen && family.type === "counter" ? ["_total"] : (SUFFIXES[family.type] ?? []);
  must(
    suffixes.some((suffix) => series === name + suffix),
    `${series} inside ${name}`,
  );
  // prom-client writes its own gauges as Nan until there is something to say.
  const isNumber = Number.isFinite(Number(value)) || (value === "Nan" && name.startsWith("nodejs_"));
  must(isNumber, `not a number: ${line}`);
  const key = `${series}{${labels}}`;
  must(!family.samples.has(key), `${key} comes twice`);
  family.samples.set(key, Number(value));
}

t.test(
  "the exposition is well-formed, in both formats, scrape after scrape, with the same numbers",
  async (t) => {
    const metrics = metricsOf();
    for (let round = 0; round < 2; round++) {
      const open = await metrics.render(OPEN);
      t.match(open.contentType, /^application\/openmetrics-text; version=1\.0\.0/);
      const plain = await metrics.render("text/plain");
      t.match(plain.contentType, /^text\/plain; version=0\.0\.4/);
      const families = parse(plain.body, false);
      const opened = parse(open.body, true);
      for (const { name, type, help } of METRICS) {
        const family = families.get(name);
        t.match(family, { type, help }, name);
        const same = opened.get(type === "counter" ? name.replace(/_total$/, "") : name);
        t.same(same?.samples, family?.samples, name);
      }
      t.ok(families.has("process_cpu_seconds_total"), "the process has its own, whichever format came first");
      t.ok(families.has("nodejs_version_info"));
    }
  },
);

t.test("the format is the one that is asked for", async (t) => {
  const metrics = metricsOf();
  const typeOf = async (accept: string) => (await metrics.render(accept)).contentType.split(";")[0];
  t.equal(await typeOf(""), "text/plain");
  t.equal(await typeOf("*/*"), "text/plain");
  t.equal(await typeOf("text/plain;q=0.9, application/openmetrics-text;q=0.5"), "text/plain");
  t.equal(await typeOf("application/openmetrics-text; q=0"), "text/plain");
  t.equal(await typeOf("Application/OpenMetrics-Text"), "application/openmetrics-text");
});

t.test("every number is the source's", async (t) => {
  const families = parse((await metricsOf().render("")).body, false);
  const value = (series: string): number | undefined =>
    families.get(series.replace(/\{.*/, "").replace(/_(bucket|sum|count)$/, ""))?.samples.get(series);
  const canary = 'route="app",arm="canary"';
  const expected: Readonly<Record<string, number>> = {
    [`sluice_requests_total{${canary},outcome="success",code_class="2xx"}`]: 90,
    [`sluice_requests_total{${canary},outcome="failure",code_class="5xx"}`]: 10,
    [`sluice_requests_total{${canary},outcome="excluded",code_class="none"}`]: 3,
    [`sluice_forced_requests_total{${canary},outcome="success",code_class="2xx"}`]: 4,
    [`sluice_forced_requests_total{${canary},outcome="failure",code_class="5xx"}`]: 0,
    [`sluice_upstream_errors_total{${canary},reason="timeout"}`]: 10,
    [`sluice_upstream_errors_total{${canary},reason="cut"}`]: 0,
    [`sluice_request_duration_seconds_bucket{le="0.005",${canary}}`]: 50,
    [`sluice_request_duration_seconds_bucket{le="0.1",${canary}}`]: 90,
    [`sluice_request_duration_seconds_bucket{le="10",${canary}}`]: 90,
    [`sluice_request_duration_seconds_bucket{le="+Inf",${canary}}`]: 100,
    [`sluice_request_duration_seconds_sum{${canary}}`]: 125.5,
    [`sluice_request_duration_seconds_count{${canary}}`]: 100,
    'sluice_refused_total{code="400"}': 5,
    'sluice_refused_total{code="other"}': 3,
    'sluice_weight_ratio{route="app"}': 0.25,
    'sluice_rollout_phase{route="app",phase="progressing"}': 1,
    'sluice_rollout_phase{route="app",phase="paused"}': 0,
    'sluice_rollout_step{route="app"}': 1,
    'sluice_verdict{route="app",rule="error_rate above 1% for 5m",verdict="inconclusive"}': 1,
    'sluice_verdict{route="app",rule="error_rate above 1% for 5m",verdict="failed"}': 0,
    'sluice_evidence_ratio{route="app",rule="error_rate above 1% for 5m"}': 0.6,
    'sluice_rollbacks_total{route="app",reason="error_rate above 1% for 5m"}': 2,
    'sluice_rollbacks_total{route="app",reason="manual"}': 3,
    'sluice_rollbacks_total{route="app",reason="other"}': 2,
    'sluice_rollback_duration_seconds_sum{route="app"}': 0.004,
    'sluice_rollback_duration_seconds_count{route="app"}': 7,
    'sluice_rescued_total{route="app",result="answered"}': 7,
    'sluice_rescued_total{route="app",result="refused"}': 2,
    'sluice_proxy_overhead_seconds_bucket{le="0.00005"}': 0,
    'sluice_proxy_overhead_seconds_bucket{le="0.0001"}': 100,
    "sluice_proxy_overhead_seconds_count{}": 100,
    'sluice_event_loop_delay_seconds{quantile="0.99"}': 0.495,
    'sluice_latency_quantile_seconds{route="app",arm="stable",quantile="0.95"}': 0.031,
    'sluice_endpoint_healthy{route="app",arm="canary",endpoint_index="0"}': 0,
    'sluice_endpoint_healthy{route="app",arm="stable",endpoint_index="0"}': 1,
    'sluice_upstream_tls_unverified{route="app",arm="canary"}': 1,
    'sluice_in_flight{route="app",arm="stable"}': 3,
    "sluice_open_connections{}": 12,
    "sluice_workers{}": 2,
    'sluice_fast_lane_info{reads="handle",writes="stream"}': 1,
    "sluice_worker_restarts_total{}": 3,
    "sluice_worker_lost_exchanges_total{}": 4,
    "sluice_store_errors_total{}": 1,
    "sluice_journal_errors_total{}": 2,
    'sluice_state_recorded{route="app"}': 1,
    'sluice_notifications_total{channel="webhook",result="dropped"}': 1,
    'sluice_notifications_total{channel="webhook",result="in_doubt"}': 3,
    'sluice_notifications_total{channel="webhook",result="held_back"}': 4,
    "sluice_config_last_reload_successful{}": 0,
    "sluice_config_last_reload_success_timestamp_seconds{}": 1_767_603_600.5,
    'sluice_build_info{version="1.2.3",node="24.0.0"}': 1,
  };
  for (const [series, number] of Object.entries(expected)) t.equal(value(series), number, series);
  const absent = `sluice_latency_quantile_seconds{${canary},quantile="0.95"}`;
  t.equal(value(absent), undefined, "what was not measured is absent, not zero");
});

t.test("no client can make a label, and ten routes stay within the budget (reliability 45)", async (t) => {
  const { body } = await metricsOf().render("");
  t.notMatch(body, /<script>|a rule that is gone/);
  const named = (index: number) => ({ name: `route-${index}` });
  const many = metricsOf({
    control: {
      totals: () => ({
        ...TOTALS,
        routes: Array.from(
          { length: 10 },
          (_, i) => ({ ...TOTALS.routes[0], ...named(i) }) as Totals["routes"][number],
        ),
      }),
      routes: () => Array.from({ length: 10 }, (_, i) => routeStatus(named(i))),
    },
  });
  const lines = (await many.render("")).body
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
  t.ok(lines.length < 2000, `ten routes are ${lines.length} series`);
  for (const metric of METRICS) {
    const families = parse(body, false);
    for (const series of families.get(metric.name)?.samples.keys() ?? []) {
      const labels = [...series.matchAll(/([a-z_]+)="/g)]
        .map(([, name]) => name)
        .filter((name) => name !== "le");
      t.same(new Set(labels), new Set(metric.labels), series);
    }
  }
});

t.test("a label with quotes, backslashes and line ends stays inside its label", async (t) => {
  const status = routeStatus();
  const checks = status.checks.map((check) => ({ ...check, rule: 'a"} 1\nb\\' }));
  const metrics = metricsOf({ control: { totals: () => TOTALS, routes: () => [{ ...status, checks }] } });
  for (const accept of ["", OPEN]) t.ok(parse((await metrics.render(accept)).body, accept !== "").size > 20);
});

t.test("two scrapes at once do not mix, and a source that throws is told", async (t) => {
  let connections = 0;
  const metrics = metricsOf({ gauges: () => ({ ...NO_GAUGES, connections: ++connections }) });
  const bodies = await Promise.all([metrics.render(""), metrics.render(OPEN), metrics.render("")]);
  t.same(
    bodies.map(({ body }) => /^sluice_open_connections (\d+)$/m.exec(body)?.[1]),
    ["1", "2", "3"],
  );
  const broken = metricsOf({
    notifications() {
      throw new Error("gone");
    },
  });
  await t.rejects(broken.render(""), { message: "gone" });
});

t.test("left to itself it says which version of the program runs", async (t) => {
  const { body } = await createMetrics(sourcesOf()).render("");
  t.match(
    body,
    new RegExp(
      `^sluice_build_info\\{version="\\d+\\.\\d+\\.\\d+",node="${process.versions.node}"\\} 1$`,
      "m",
    ),
  );
});

function sourcesOf(): MetricSources {
  return {
    control: { totals: () => TOTALS, routes: () => [] },
    gauges: () => NO_GAUGES,
    eventLoopDelay: () => 0,
    notifications: () => ({}),
    reload: () => ({ ok: true, at: 0 }),
  };
}

t.test("names, help, types and labels are as agreed", async (t) => {
  const text = METRICS.map(({ name, type, unit, labels, help }) => {
    const suffix = unit === "" ? "" : ` [${unit}]`;
    return `${name}{${labels.join(",")}} ${type}${suffix}\n  ${help}\n`;
  }).join("");
  t.equal(text, golden("metrics.txt", text));
  for (const { name, type, unit } of METRICS) {
    t.match(name, /^sluice_[a-z_]+$/);
    t.equal(name.endsWith("_total"), type === "counter", name);
    if (unit !== "") t.ok(name.endsWith(`_${unit}`), name);
  }
});

t.test("what is known of all replicas has names of its own, and is told by the leader", async (t) => {
  const { arms } = routeStatus();
  const of = async (leads: boolean): Promise<string> => {
    const fleet = {
      replica: "a",
      leader: "a",
      leads,
      replicas: 3,
      stale: ["d"],
      isStoreUp: false,
    };
    const routes = () => [{ ...routeStatus(), fleet }];
    return (await metricsOf({ control: { totals: () => TOTALS, routes } }).render("text/plain")).body;
  };
  const leader = await of(true);
  t.match(leader, /^sluice_fleet_replicas\{state="heard"\} 3$/m);
  t.match(leader, /^sluice_fleet_replicas\{state="stale"\} 1$/m);
  t.match(leader, `sluice_fleet_requests{route="app",arm="canary"} ${arms.canary.windowRequests}\n`);
  t.match(leader, `sluice_fleet_failures{route="app",arm="stable"} ${arms.stable.windowFailures}\n`);
  const follower = await of(false);
  t.notMatch(follower, /^sluice_fleet_requests\{/m);
  const { body } = await metricsOf().render("text/plain");
  t.notMatch(body, /^sluice_fleet[^\n]* \d/m);
});
