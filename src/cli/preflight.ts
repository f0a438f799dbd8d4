/** The checks before a rollout on the command line: has the running proxy make them, and prints a line for each. */

import { resultLines } from "../domain/preflight.ts";
import { EXIT, present, pretty, type Context } from "./commands.ts";
import { styleOf } from "./io.ts";
import { clip, plain } from "./render.ts";

/** `preflight`, as typed. */
export interface PreflightOptions {
  readonly version?: string;
}

/** Shows what holds and what does not; exit 1 when something that is required does not. Nothing is started. */
export async function preflight(
  { client, io, json }: Context,
  route: string,
  { version }: PreflightOptions,
): Promise<number> {
  const found = await client.preflight(route, present({ version }));
  const { columns } = styleOf(io);
  const safe = found.results.map((each) => ({ ...each, name: plain(each.name), detail: plain(each.detail) }));
  const lines = [...resultLines(safe).map((line) => clip(line, columns)), plain(found.sentence)];
  io.stdout(json ? pretty(found) : `${lines.join("\n")}\n`);
  return found.passed ? EXIT.done : EXIT.failed;
}
