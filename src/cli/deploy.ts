/** `deploy` as it is typed: only said with `--dry-run`, started, or started and followed to its end. */

import { deploy, durationOf, show, usage, type Context } from "./commands.ts";
import { followRollout } from "./follow.ts";
import { checkNotForecast, plan, type PlanOptions } from "./plan.ts";

/** `deploy`, with all that goes with it. */
export interface DeployTyped extends PlanOptions {
  readonly dryRun?: boolean;
  readonly follow?: boolean;
  /** How long it is followed. */
  readonly timeout?: string;
}

/** Does what was typed; resolves the exit code. Throws SPLIT_USAGE for options that do not go together. */
export async function deployTyped(context: Context, route: string, options: DeployTyped): Promise<number> {
  const { dryRun, follow: isFollowed, timeout } = options;
  const timeoutMs = timeout === undefined ? undefined : durationOf(timeout, "--timeout");
  if (timeoutMs !== undefined && isFollowed !== true) throw usage("--timeout goes with --follow");
  if (dryRun === true) {
    if (isFollowed === true) throw usage("--dry-run starts nothing that could be followed");
    return plan(context, route, options);
  }
  checkNotForecast(options);
  const started = await deploy(context, route, options);
  return isFollowed === true ? followRollout(context, started, timeoutMs) : show(context, started);
}
