/** The dashboard: as it was built, laid out without overlaps, and with queries that a real Prometheus answers from a real rollout. No Grafana draws it here. */

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { dashboard, dashboardJson } from "../../docker/grafana/dashboard.ts";
import { failing, program, type Program } from "../support/program.ts";
import { freePort, missing, serve } from "../support/servers.ts";
import { until } from "../support/until.ts";

t.setTimeout(120_000);

const FILE = new URL("../../docker/grafana/dashboards/sluice.json", import.meta.url);
/** So long the rollout goes on at the most. */
const MOST_SECONDS = 60;

interface Target {
  readonly expr?: string;
}
interface PanelLike {
  readonly id?: number;
  readonly type: string;
  readonly title?: string;
  readonly gridPos?: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly Target[];
  readonly datasource?: unknown;
  readonly fieldConfig?: { readonly defaults?: { readonly unit?: string } };
}

// What was written is read, for that is what Grafana reads.
const board = JSON.parse(dashboardJson()) as {
  readonly id?: unknown;
  readonly uid: string;
  readonly schemaVersion: number;
  readonly panels: readonly PanelLike[];
  readonly annotations: { readonly list: readonly { readonly expr?: string; readonly name: string }[] };
  readonly templating: { readonly list: readonly { readonly name: string; readonly query?: unknown }[] };
};
const panels = board.panels.filter(({ type }) => type !== "row");

t.test("the file is what the code builds (npm run dashboard writes it)", async (t) => {
  t.equal(await readFile(FILE, "utf8"), dashboardJson());
});

t.test("it is of the classic form, and no panel hides another", (t) => {
  t.equal(board.uid, "sluice-rollout");
  t.ok(board.schemaVersion <= 42, `schema ${board.schemaVersion}`);
  t.equal(board.id ?? null, null);
  t.ok(panels.length >= 25, `${panels.length} panels`);
  const ids = board.panels.map(({ id }) => id);
  t.equal(new Set(ids).size, ids.length, "ids are unique");
  const cells = new Set<string>();
  for (const { title = "", gridPos, datasource, fieldConfig, targets = [] } of panels) {
    t.ok(gridPos !== undefined && gridPos.x + gridPos.w <= 24, title);
    for (let x = gridPos!.x; x < gridPos!.x + gridPos!.w; x++)
      for (let y = gridPos!.y; y < gridPos!.y + gridPos!.h; y++) {
        if (cells.has(`${x},${y}`)) t.fail(`${title} lies over another panel at ${x},${y}`);
        cells.add(`${x},${y}`);
      }
    t.match(datasource, { type: "prometheus", uid: "${datasource}" }, title);
    t.type(fieldConfig?.defaults?.unit, "string", title);
    t.ok(targets.length > 0, title);
    for (const { expr } of targets) t.match(expr, /job="\$job"/, title);
  }
  t.same(
    board.templating.list.map(({ name }) => name),
    ["datasource", "job", "route"],
  );
  t.equal(dashboard().uid, board.uid);
  t.end();
});

/** Answers of a query as Grafana would ask it of the last minute. */
async function answered(prometheus: string, expr: string): Promise<readonly unknown[]> {
  const now = new Date().getTime() / 1000;
  const query = expr
    .replaceAll("$job", "sluice")
    .replaceAll("$route", "app")
    .replaceAll("$__rate_interval", "8s");
  const asked = new URLSearchParams({ query, start: String(now - 60), end: String(now), step: "1" });
  const answer = await fetch(`${prometheus}/api/v1/query_range?${asked.toString()}`);
  const body = (await answer.json()) as { status: string; error?: string; data: { result: unknown[] } };
  if (body.status !== "success") throw new Error(`${query}: ${body.error}`);
  return body.data.result;
}

/** How often Prometheus has looked at the program; 0 while it does not answer. */
async function looksOf(prometheus: string): Promise<number> {
  const query = new URLSearchParams({ query: "count_over_time(up[10m])" });
  try {
    const answer = await fetch(`${prometheus}/api/v1/query?${query.toString()}`);
    const body = (await answer.json()) as { data: { result: { value: [number, string] }[] } };
    return Number(body.data.result[0]?.value[1] ?? 0);
  } catch {
    return 0;
  }
}

/** What is rolled out, with everything that a panel shows. */
const ROUTE = {
  override: { header: "x-arm", secret: { env: "S" } },
  mirror: { share: "100%" },
  plan: {
    promotion: "off",
    steps: [
      { setWeight: "0%", hold: "3s" },
      { setWeight: "20%", hold: "3s" },
      { setWeight: "50%", hold: "1h" },
    ],
  },
};

/** A second of it: a climb, failures that are rescued, a rollback; forced requests, and some that are refused. */
async function second(p: Program, nth: number): Promise<void> {
  if (nth === 0) await p.api("/v1/rollouts/app/start", { reason: "for the dashboard" });
  if (nth === 12) p.canary.answer = failing;
  await Promise.all(Array.from({ length: 30 }, (_, n) => p.get(`u${nth}-${n}`)));
  await p.get("x", { headers: { host: "not a host" } }).catch(() => {});
  await p.get("forced", { headers: { "x-arm": "canary:S" } });
  await p.clock.advance("1s");
}

t.test(
  "every query of the dashboard has an answer under a real rollout",
  { skip: missing("prometheus") },
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "sluice-prometheus-"));
    t.teardown(() => rm(folder, { recursive: true, force: true }));
    const p = await program(ROUTE);
    t.teardown(() => p.close());
    const port = await freePort();
    const config = {
      global: { scrape_interval: "1s", scrape_timeout: "1s" },
      scrape_configs: [{ job_name: "sluice", static_configs: [{ targets: [p.running.adminAddress] }] }],
    };
    await writeFile(join(folder, "prometheus.yml"), JSON.stringify(config));
    const server = serve("prometheus", [
      `--config.file=${join(folder, "prometheus.yml")}`,
      `--storage.tsdb.path=${join(folder, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ]);
    t.teardown(() => server.close());
    const origin = `http://127.0.0.1:${port}`;
    const expressions = new Map<string, string>();
    for (const { title, targets = [] } of panels)
      for (const { expr } of targets) if (expr !== undefined) expressions.set(expr, title ?? "");
    for (const { name, expr } of board.annotations.list)
      if (expr !== undefined) expressions.set(expr, `annotation ${name}`);
    t.ok(expressions.size >= 40, `${expressions.size} queries`);

    const open = new Map(expressions);
    // One second of the rollout for each look that Prometheus has taken.
    for (let nth = 0, looks = 0; open.size > 0 && nth < MOST_SECONDS;) {
      let seen = looks;
      await until(
        "Prometheus has looked again",
        async () => (seen = await looksOf(origin)) !== looks,
        60_000,
      );
      looks = seen;
      await second(p, nth++);
      for (const [expr] of open) if ((await answered(origin, expr)).length > 0) open.delete(expr);
    }
    t.same([...open.entries()], [], server.output().slice(-500));
  },
);
