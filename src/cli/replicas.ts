/** `replicas`: who shares the state, what is in force there, and how much of the traffic it carries. */

import { percentText } from "../domain/units.ts";
import type { ReplicaStatus } from "../engine/status.ts";
import { act, type Access } from "./access.ts";
import { EXIT, pretty, type Context } from "./commands.ts";
import { styleOf, type Io } from "./io.ts";
import { remote, type Program } from "./remote.ts";
import { clip, plain, table } from "./render.ts";

const HEAD = ["replica", "role", "heard", "version", "route", "weight", "per second", "share"];

/** The command, as it is spelt. */
export function replicaCommand(program: Program, io: Io, done: (exit: number) => void): void {
  remote(
    program,
    "replicas",
    "who shares the state, what is in force there, and its share of the traffic",
  ).action((options: Access) => act(options, io, done, replicas));
}

/** Every replica in a table; exit code 1 when one is silent. */
async function replicas({ client, io, json }: Context): Promise<number> {
  const found = await client.replicas();
  const hasStale = found.some(({ isStale }) => isStale);
  if (json) io.stdout(pretty({ replicas: found }));
  else if (found.length === 0) io.stdout("the state is not shared: there is one replica\n");
  else {
    const style = styleOf(io);
    const lines = table(HEAD, found.flatMap(rowsOf), style);
    io.stdout(`${lines.map((line) => clip(line, style.columns)).join("\n")}\n`);
  }
  return hasStale ? EXIT.failed : EXIT.done;
}

/** A line for each route. */
function rowsOf({
  replica,
  isLeader,
  isStale,
  silentMs,
  applied,
  routes,
}: ReplicaStatus): readonly (readonly string[])[] {
  const role = isStale ? "silent" : isLeader ? "leader" : "-";
  const who = [plain(replica), role, `${Math.round(silentMs / 1000)} s ago`, String(applied)];
  const told = Object.entries(routes).map(([route, { weight, perSecond, share }]) => [
    plain(route),
    percentText(weight),
    perSecond.toFixed(1),
    share === null ? "-" : percentText(Math.round(share * 1000) / 10),
  ]);
  return told.length === 0
    ? [[...who, "-", "-", "-", "-"]]
    : told.map((cells, at) => [...(at === 0 ? who : ["", "", "", ""]), ...cells]);
}
