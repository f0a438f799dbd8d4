/** The one door: what is asked for in, a report out. */

import { readConfig, readPlan } from "../config/load.ts";
import { planOf } from "../config/plan.ts";
import { planNamed, planNames } from "../config/presets.ts";
import { configSchema, type Config, type RouteConfig } from "../config/schema.ts";
import { AppError } from "../domain/errors.ts";
import type { Plan } from "../domain/plan.ts";
import { seedOf } from "./chance.ts";
import { Faults, type Fault } from "./fault.ts";
import { LogFile, type LogFormat } from "./log-file.ts";
import { judgedClimb, type JudgedClimb } from "./omitted.ts";
import { Replay } from "./replay.ts";
import { reportOf, type BacktestReport } from "./report.ts";
import { Synthetic, type Climate } from "./synthetic.ts";

/** What is asked for. */
export interface BacktestOptions {
  /** Name of a plan, the configuration's or one that comes along, or a file; undefined: the route's. */
  readonly plan: string | undefined;
  /** File; undefined: the rules that hold when nothing is said. */
  readonly config: string | undefined;
  /** Undefined: the only one. */
  readonly route: string | undefined;
  /** Files, or `-`; none: a made-up world. */
  readonly logs: readonly string[];
  readonly format: LogFormat | undefined;
  readonly layout: string | undefined;
  /** HOST:PORT; none: the configured ones. */
  readonly canaries: readonly string[];
  /** Undefined: both when the beginning of the log has the canary's lines. */
  readonly arms: "both" | "one" | undefined;
  readonly faults: readonly Fault[];
  readonly climate: Omit<Climate, "seed">;
  readonly seed: number;
  readonly salts: number;
  readonly stdin: AsyncIterable<Buffer>;
}

/** What stands for a route when none is configured. */
const NOWHERE = configSchema.parse({
  routes: [
    {
      name: "app",
      stable: { endpoints: ["http://127.0.0.1:1"] },
      canary: { endpoints: ["http://127.0.0.1:2"] },
    },
  ],
});

/** Runs a plan over logs, or over a made-up world. Throws SPLIT_USAGE, SPLIT_CONFIG_…, SPLIT_NOT_FOUND or SPLIT_LOG_UNREADABLE. */
export async function backtest(options: BacktestOptions): Promise<BacktestReport> {
  const all = options.config === undefined ? NOWHERE : (await readConfig(options.config)).config;
  const isConfigured = options.config !== undefined;
  const route = routeOf(all, options.route, isConfigured);
  const climb = judgedClimb(all, route, await planFor(all, route, options.plan, isConfigured));
  const files: LogFile[] = [];
  const logOptions = {
    format: options.format,
    layout: options.layout,
    canaries: new Set(options.canaries.length > 0 ? options.canaries : addressesOf(route)),
    stdin: options.stdin,
  };
  try {
    for (const name of options.logs) files.push(await LogFile.open(name, logOptions));
    return await replayed(options, climb, files);
  } finally {
    for (const file of files) await file.close();
  }
}

async function replayed(
  options: BacktestOptions,
  { config, route, steps, omitted }: JudgedClimb,
  files: readonly LogFile[],
): Promise<BacktestReport> {
  const { seed, salts } = options;
  const isMadeUp = files.length === 0;
  const found = files.some((file) => file.hasCanary) ? "both" : "one";
  const arms = isMadeUp ? "one" : (options.arms ?? found);
  const faults = new Faults(options.faults, seedOf(seed, "faults"), route.timeouts.headers);
  const only = options.route ?? (options.config === undefined ? "" : route.name);
  const sources = isMadeUp ? [new Synthetic({ ...options.climate, seed })] : files;
  const replay = new Replay({ config, route, only, steps, sources, arms, faults, seed, salts });
  await replay.run();
  return reportOf(replay, { files, arms, faults, omitted });
}

function routeOf(config: Config, name: string | undefined, isConfigured: boolean): RouteConfig {
  const [first] = config.routes;
  if (first === undefined) throw new AppError("SPLIT_INTERNAL", "a configuration without routes");
  if (!isConfigured) return first;
  const found = name === undefined ? first : config.routes.find((route) => route.name === name);
  if (found === undefined) throw new AppError("SPLIT_NOT_FOUND", `there is no route named "${name}"`);
  if (name === undefined && config.routes.length > 1) {
    const names = config.routes.map((route) => route.name).join(", ");
    throw new AppError(
      "SPLIT_USAGE",
      `the configuration has several routes: name one with --route (${names})`,
    );
  }
  return found;
}

async function planFor(
  config: Config,
  route: RouteConfig,
  wanted: string | undefined,
  isConfigured: boolean,
): Promise<Plan> {
  const plan = wanted ?? route.plan;
  if (plan === undefined) throw new AppError("SPLIT_USAGE", "the route has no plan: name one with --plan");
  if (typeof plan !== "string") return planOf(plan);
  const named = planNamed(config.plans, plan);
  if (named !== undefined) return planOf(named);
  if (isConfigured && !/[./\\]/.test(plan)) {
    const message = `there is no plan "${plan}"; there are ${planNames(config.plans)}`;
    throw new AppError("SPLIT_NOT_FOUND", message);
  }
  return planOf(await readPlan(plan));
}

/** HOST:PORT of the canary's endpoints, as proxies log them. */
function addressesOf({ canary }: RouteConfig): readonly string[] {
  return canary.endpoints.map((endpoint) => {
    const url = new URL(endpoint);
    const port = url.port === "" ? (url.protocol === "https:" ? "443" : "80") : url.port;
    return `${url.hostname}:${port}`;
  });
}
