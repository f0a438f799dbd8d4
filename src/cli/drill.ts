/** Drills on the command line: has the running proxy make one, and prints a line for each thing that was to be proved. */

import { drillLines } from "../domain/drill.ts";
import { EXIT, present, pretty, reasonOf, type Context } from "./commands.ts";
import { plain } from "./render.ts";

/** `drill`, as typed. */
export interface DrillOptions {
  readonly list?: boolean;
  readonly force?: boolean;
  readonly reason?: string;
}

/** Makes a drill, or shows those before; exit 1 when it failed. */
export async function drill(context: Context, route: string, options: DrillOptions): Promise<number> {
  const { client, io, json } = context;
  if (options.list === true) return list(context, route);
  const { force } = options;
  if (!json) io.stderr("a drill takes some seconds; users do not notice it, channels are told\n");
  const report = await client.drill(route, present({ force, reason: reasonOf(options) }));
  io.stdout(json ? pretty(report) : `${drillLines(report).map(plain).join("\n")}\n`);
  return report.passed ? EXIT.done : EXIT.failed;
}

async function list({ client, io, json }: Context, route: string): Promise<number> {
  const drills = await client.drills({ limit: 100, route });
  const lines = drills.map(({ startedAt, sentence, file }) => plain(`${startedAt}  ${sentence}  ${file}`));
  io.stdout(
    json ? pretty({ drills }) : lines.length === 0 ? "no drill has been made\n" : `${lines.join("\n")}\n`,
  );
  return drills[0]?.passed === false ? EXIT.failed : EXIT.done;
}
