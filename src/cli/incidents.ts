/** `incident list` and `incident resolve`: rollbacks as incidents, and a person's word that one is over. */

import { lengthOf, type IncidentRecord } from "../domain/incident.ts";
import { percentText } from "../domain/units.ts";
import { act, type Access } from "./access.ts";
import { EXIT, pretty, type Context } from "./commands.ts";
import { styleOf, type Io } from "./io.ts";
import { remote, type Program } from "./remote.ts";
import { clip, plain, table } from "./render.ts";

/** The commands, as they are spelt. */
export function incidentCommands(program: Program, io: Io, done: (exit: number) => void): void {
  const incident = program
    .command("incident")
    .description("rollbacks as incidents, open until they are resolved");
  remote(incident, "list", "the last few of each route").action((options: Access) =>
    act(options, io, done, list),
  );
  remote(incident, "resolve <id>", "say that one is over; whoever was told of it is told of its end")
    .requiredOption("--reason <text>", "how it ended; goes into the journal")
    .action((id: string, options: Access & { reason: string }) =>
      act(options, io, done, (context) => resolve(context, id, options.reason)),
    );
}

/** Exit code 1 while one is open. */
async function list({ client, io, json }: Context): Promise<number> {
  const found = await client.incidents();
  if (json) io.stdout(pretty({ incidents: found }));
  else if (found.length === 0) io.stdout("there are no incidents\n");
  else {
    const style = styleOf(io);
    const rows = found.map((each) => [
      each.id,
      each.status,
      lengthOf(each, io.now()),
      `${percentText(each.fromWeight)} -> ${percentText(each.toWeight)}`,
      plain(each.reason),
    ]);
    const lines = table(["incident", "status", "for", "weight", "reason"], rows, style);
    io.stdout(`${lines.map((line) => clip(line, style.columns)).join("\n")}\n`);
  }
  return found.some(({ status }) => status === "open") ? EXIT.failed : EXIT.done;
}

async function resolve({ client, io, json }: Context, id: string, reason: string): Promise<number> {
  const incident = await client.resolveIncident(id, { reason });
  io.stdout(json ? pretty(incident) : `${sentenceOf(incident)}\n`);
  return EXIT.done;
}

function sentenceOf({ id, resolvedBy, resolution }: IncidentRecord): string {
  return plain(`${id} is resolved by ${resolvedBy}: ${resolution}`);
}
