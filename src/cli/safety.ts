/** `emergency`, `read-only` and `maintenance`: the safety switches, on and off. On asks nothing; what gives traffic back asks first. */

import type { SafetyState, Switch } from "../domain/safety.ts";
import { act, type Access } from "./access.ts";
import { EXIT, confirm, pretty, usage, type Context } from "./commands.ts";
import type { Io } from "./io.ts";
import { remote, type Program } from "./remote.ts";
import { plain } from "./render.ts";

interface TurnOptions {
  readonly reason: string;
  readonly yes?: boolean;
}

const DESCRIPTIONS: Readonly<Record<Switch, string>> = {
  emergency: "everything to stable, or to the configured answer, and nothing rises; off: as before",
  "read-only": "requests that write get 503 and Retry-After; off: as before",
  maintenance: "all but allowed networks and paths get the maintenance page; off: as before",
};

/** The commands, told to commander. */
export function safetyCommands(program: Program, io: Io, done: (exit: number) => void): void {
  for (const which of ["emergency", "read-only", "maintenance"] as const) {
    const command = remote(program, `${which} <on|off> [route]`, DESCRIPTIONS[which]).option(
      "--reason <text>",
      "why; goes into the journal",
      "manual",
    );
    if (which === "emergency") command.option("--yes", "do not ask; only off asks");
    command.action((state: string, route: string | undefined, options: Access & TurnOptions) =>
      act(options, io, done, (context) => turn(context, which, state, route, options)),
    );
  }
}

/** Throws a switch, or takes it back. */
async function turn(
  context: Context,
  which: Switch,
  state: string,
  route: string | undefined,
  { reason, yes }: TurnOptions,
): Promise<number> {
  if (state !== "on" && state !== "off") throw usage(`${which} takes on or off, not ${state}`);
  const where = route ?? "all routes";
  if (which === "emergency" && state === "off")
    await confirm(context, `end the emergency for ${where}, and give the canary its traffic back`, yes);
  const { client, io, json } = context;
  const done = await client.turn(which, {
    on: state === "on",
    reason,
    ...(route === undefined ? {} : { route }),
  });
  if (json) io.stdout(pretty(done));
  else io.stdout(`${[...linesOf(done.safety), ...unrecorded(done.recorded)].join("\n")}\n`);
  return EXIT.done;
}

function unrecorded(recorded: boolean): readonly string[] {
  return recorded ? [] : ["it is in force, and could not be recorded yet: a restart may not know of it"];
}

/** What is on, in a line each. */
function linesOf({ all, routes }: SafetyState): readonly string[] {
  const lines = [
    ...thrownOf(all, "all routes"),
    ...Object.entries(routes).flatMap(([name, each]) => thrownOf(each, name)),
  ];
  return lines.length === 0 ? ["every safety switch is off"] : lines;
}

function thrownOf(throws: SafetyState["all"], where: string): readonly string[] {
  return Object.entries(throws).map(([which, { since, by, reason }]) =>
    plain(`${which} is on for ${where} since ${since}, by ${by}: ${reason}`),
  );
}
