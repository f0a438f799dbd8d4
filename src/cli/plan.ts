/** The dry run on the command line: asks the admin API what a plan would come to, or works it out from the configuration file when nothing runs yet. */

import { dryRun, dryRunSchema, type DryRun } from "../config/dry-run.ts";
import type { Config } from "../config/schema.ts";
import { AppError, asAppError, type ErrorCode } from "../domain/errors.ts";
import type { DryRunRequest } from "./client.ts";
import {
  EXIT,
  present,
  pretty,
  startRequestOf,
  rpsOf,
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
}

/** Shows what a rollout would come to; exit 3 when a step cannot know. Nothing is started. */
export async function plan(
  context: Context,
  named: string | undefined,
  options: PlanOptions,
): Promise<number> {
  const { io, json } = context;
  const route = named ?? (await onlyRoute(context));
  const found = await foundBy(context, route, requestOf(options));
  io.stdout(json ? pretty(found) : `${planText(found, styleOf(io))}\n`);
  return found.knows ? EXIT.done : EXIT.waiting;
}

/** The route that is meant when none is named: there must be only one. */
async function onlyRoute({ client, config }: Context): Promise<string> {
  const routes = config?.routes ?? (await client.routes());
  const [only, ...others] = routes.map(({ name }) => name);
  if (only !== undefined && others.length === 0) return only;
  throw usage(`name a route: ${[only, ...others].join(", ")}`);
}

/** Throws SPLIT_USAGE for what is only said of a forecast when there is none. */
export function checkNotForecast({ rps, baseline, harm }: PlanOptions): void {
  if ([rps, baseline, harm].some((each) => each !== undefined)) {
    throw usage("--rps, --baseline and --harm go with --dry-run");
  }
}

function requestOf(options: PlanOptions): DryRunRequest {
  const { rps, baseline, harm } = options;
  return {
    ...startRequestOf(options),
    ...present({
      perSecond: rps === undefined ? undefined : rpsOf(rps),
      baseline,
      harm,
    }),
  };
}

/** Nobody is there, or somebody else: the certificate that the file names may be on another machine, and so may the token. */
const AWAY: readonly ErrorCode[] = ["SPLIT_UNREACHABLE", "SPLIT_CONFIG_UNREADABLE", "SPLIT_UNAUTHORIZED"];

async function foundBy(context: Context, route: string, request: DryRunRequest): Promise<DryRun> {
  try {
    return await context.client.plan(route, request);
  } catch (error) {
    const trouble = asAppError(error);
    const { config } = context;
    if (!AWAY.includes(trouble.code)) throw trouble;
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
