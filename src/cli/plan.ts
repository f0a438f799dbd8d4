/** The dry run on the command line: asks the admin API what a plan would come to, or works it out from the configuration file when nothing runs yet. */

import { dryRun, dryRunSchema, type DryRun } from "../config/dry-run.ts";
import type { Config } from "../config/schema.ts";
import { AppError, asAppError } from "../domain/errors.ts";
import type { DryRunRequest } from "./client.ts";
import {
  EXIT,
  present,
  pretty,
  startRequestOf,
  usage,
  type Context,
  type DeployOptions,
} from "./commands.ts";
import { styleOf } from "./io.ts";
import { planText } from "./plan-text.ts";

/** `plan`, as typed: what `deploy` takes, and what is to be taken for granted. */
export interface PlanOptions extends DeployOptions {
  readonly rps?: string;
  readonly baseline?: string;
  readonly harm?: string;
  readonly start?: string;
}

/** Shows what a rollout would come to; exit 3 when a step cannot know. Nothing is started. */
export async function plan(context: Context, route: string, options: PlanOptions): Promise<number> {
  const { io, json } = context;
  const found = await foundBy(context, route, requestOf(options));
  io.stdout(json ? pretty(found) : `${planText(found, styleOf(io))}\n`);
  return found.knows ? EXIT.done : EXIT.waiting;
}

/** Throws SPLIT_USAGE for what is only said of a forecast when there is none. */
export function checkNotForecast({ rps, baseline, harm, start }: PlanOptions): void {
  if ([rps, baseline, harm, start].some((each) => each !== undefined)) {
    throw usage("--rps, --baseline, --harm and --start go with --dry-run");
  }
}

function requestOf(options: PlanOptions): DryRunRequest {
  const { rps, baseline, harm, start } = options;
  return {
    ...startRequestOf(options),
    ...present({
      perSecond: rps === undefined ? undefined : numberOf(rps),
      baseline,
      harm,
      start: start === undefined ? undefined : dateOf(start),
    }),
  };
}

async function foundBy(context: Context, route: string, request: DryRunRequest): Promise<DryRun> {
  try {
    return await context.client.plan(route, request);
  } catch (error) {
    const trouble = asAppError(error);
    const { config } = context;
    // The certificate that the file names may be on another machine.
    const isAway = trouble.code === "SPLIT_UNREACHABLE" || trouble.code === "SPLIT_CONFIG_UNREADABLE";
    if (!isAway) throw trouble;
    if (config === undefined || request.perSecond === undefined) {
      throw new AppError(
        trouble.code,
        `${trouble.message}; with -c FILE and --rps it needs no running proxy`,
      );
    }
    context.io.stderr(`sluice: ${trouble.message}; planning from the file alone\n`);
    return offline(context, config, route, request);
  }
}

/** The same answer without the proxy: nothing is measured, so the rate must have been said. */
function offline({ io }: Context, config: Config, name: string, request: DryRunRequest): DryRun {
  const route = config.routes.find((each) => each.name === name);
  if (route === undefined) throw new AppError("SPLIT_NOT_FOUND", `the file has no route ${name}`);
  const parsed = dryRunSchema.safeParse(request);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw refused(issue?.path.join(".") ?? "", issue?.message ?? "");
  }
  const nothing = { perSecond: undefined, baseline: undefined };
  const result = dryRun(config, route, parsed.data, nothing, io.now());
  if (!result.ok) throw refused(result.field, result.message);
  return result.dryRun;
}

function refused(field: string, message: string): AppError {
  return new AppError("SPLIT_INPUT_INVALID", `${field}: ${message}`);
}

function numberOf(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : 0;
  if (value <= 0) throw usage(`--rps takes a number above 0, not ${text}`);
  return value;
}

function dateOf(text: string): string {
  const wall = Date.parse(text);
  if (Number.isNaN(wall)) throw usage(`--start takes a date and time, like 2026-01-05T09:00Z, not ${text}`);
  return new Date(wall).toISOString();
}
