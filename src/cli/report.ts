/** The report of a rollout on the command line: the newest one of a route, or the one that was named. */

import { AppError } from "../domain/errors.ts";
import { EXIT, usage, type Context } from "./commands.ts";
import { plain } from "./render.ts";

/** `report`, as typed. */
export interface ReportOptions {
  readonly markdown?: boolean;
}

/** What a report is called; a route that is called so has to be asked for by its reports' ids. */
const ID = /^deployment_.+_\d{8}T\d{6}Z(?:-\d+)?$/;

/** Prints one report as Markdown, or as JSON; `which`: a route, an id, or nothing for the newest of all. */
export async function report(
  context: Context,
  which: string | undefined,
  options: ReportOptions,
): Promise<number> {
  const { client, io, json } = context;
  if (json && options.markdown === true) throw usage("--json and --markdown do not go together");
  const id = which !== undefined && ID.test(which) ? which : await newestOf(context, which);
  const text = await client.report(id, json ? "application/json" : "text/markdown");
  // Names and reasons come from elsewhere, and must not be able to drive the reader's terminal.
  io.stdout(json ? text : text.split("\n").map(plain).join("\n"));
  return EXIT.done;
}

async function newestOf({ client }: Context, route: string | undefined): Promise<string> {
  const [newest] = await client.reports({ limit: 1, route });
  if (newest !== undefined) return newest.id;
  const whose = route === undefined ? "" : ` of ${route}`;
  throw new AppError("SPLIT_NOT_FOUND", `there is no report${whose} yet`);
}
