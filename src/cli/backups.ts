/** `backup` and `restore`, through the running program. */

import type { BackupInfo } from "../engine/ports.ts";
import type { RestoredRoute } from "../engine/restore.ts";
import { EXIT, confirm, pretty, usage, type Context } from "./commands.ts";
import { styleOf } from "./io.ts";
import { clip, plain, table } from "./render.ts";
import { percentText } from "../domain/units.ts";

/** `restore`, as typed. */
export interface RestoreOptions {
  readonly force?: boolean;
  readonly reason?: string;
  readonly yes?: boolean;
  readonly backups?: string;
}

/** Makes a backup and says its name. */
export async function make({ client, io, json }: Context, reason: string): Promise<number> {
  const made = await client.backup({ reason });
  io.stdout(json ? pretty(made) : `${plain(made.name)}\n`);
  return EXIT.done;
}

/** Every backup in a table, newest first. */
export async function list({ client, io, json }: Context): Promise<number> {
  const found = await client.backups();
  if (json) io.stdout(pretty({ backups: found }));
  else if (found.length === 0) io.stdout("there are no backups\n");
  else {
    const rows = found.map((each) => [each.name, String(each.version), each.program, routesOf(each)]);
    const style = styleOf(io);
    const lines = table(["name", "version", "program", "routes"], rows, style);
    io.stdout(`${lines.map((line) => clip(line, style.columns)).join("\n")}\n`);
  }
  return EXIT.done;
}

function routesOf({ routes }: BackupInfo): string {
  const said = Object.entries(routes).map(
    ([name, each]) => `${name} ${each.phase} ${percentText(each.weight)}`,
  );
  return said.length === 0 ? "-" : said.join(", ");
}

/** Puts in force what a backup holds. */
export async function restore(context: Context, name: string, options: RestoreOptions): Promise<number> {
  const { force, reason, yes } = options;
  if (force === true && reason === undefined) throw usage("--force needs a --reason");
  await confirm(context, `restore ${name}`, yes);
  const { client, io, json } = context;
  const done = await client.restore({
    name,
    reason: reason ?? "manual",
    ...(force === true ? { force } : {}),
  });
  io.stdout(
    json ? pretty(done) : restoredText(done, `${done.journalLinesSince} lines of the journal came after it`),
  );
  return EXIT.done;
}

/** What a restore did, in a line per route; `end` is the last line. */
export function restoredText(
  { routes, missing }: { readonly routes: readonly RestoredRoute[]; readonly missing: readonly string[] },
  end: string,
): string {
  const moved = routes.map(
    ({ route, before, after }) =>
      `${plain(route)}: ${before.phase} ${percentText(before.weight)} -> ${after.phase} ${percentText(after.weight)}`,
  );
  const gone = missing.map((route) => `${plain(route)}: is not configured, left out`);
  const said = [...moved, ...gone];
  return `${[...(said.length === 0 ? ["there was nothing in it to restore"] : said), end].join("\n")}\n`;
}
