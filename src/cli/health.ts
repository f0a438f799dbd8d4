/** `health`: every check of the running program in a line, and how many pass. */

import { resultLines } from "../domain/preflight.ts";
import { act, type Access } from "./access.ts";
import { EXIT, pretty, type Context } from "./commands.ts";
import { styleOf, type Io } from "./io.ts";
import { remote, type Program } from "./remote.ts";
import { clip, paint, plain } from "./render.ts";

/** The command, told to commander. */
export function healthCommands(program: Program, io: Io, done: (exit: number) => void): void {
  remote(
    program,
    "health",
    "whether the running proxy is well: every check, and how many pass (exit 1: not all)",
  ).action((options: Access) => act(options, io, done, health));
}

/** Every check; exit 1 when one fails. */
async function health({ client, io, json }: Context): Promise<number> {
  const found = await client.health();
  if (json) io.stdout(pretty(found));
  else {
    const style = styleOf(io);
    const rows = found.checks.map((each) => ({
      ...each,
      name: plain(each.name),
      detail: plain(each.detail),
      required: true,
      tookMs: 0,
    }));
    const lines = resultLines(rows).map((line) => clip(line, style.columns));
    const sentence = paint(plain(found.sentence), found.healthy ? "green" : "red", style);
    io.stdout(`${[...lines, sentence].join("\n")}\n`);
  }
  return found.healthy ? EXIT.done : EXIT.failed;
}
