/** Alerts and silences on the command line: what is open, that somebody has seen it, and what nobody wants to hear of for a while. */

import type { Command } from "commander";
import type { InputOf } from "../admin/routes.ts";
import { ALERT_METRICS, ALERT_EVENTS, ALERT_SEVERITIES, valueText } from "../domain/alert-rule.ts";
import { AppError } from "../domain/errors.ts";
import { formatDuration } from "../domain/units.ts";
import type { AlertStatus, SilenceStatus } from "../engine/status.ts";
import { act, type Access } from "./access.ts";
import { EXIT, durationOf, pretty, present, usage, type Context } from "./commands.ts";
import { styleOf, type Io } from "./io.ts";
import { remote } from "./remote.ts";
import { clip, durationText, plain, table } from "./render.ts";

interface SilenceOptions {
  readonly for: string;
  readonly severity?: string;
  readonly metric?: string;
  readonly reason: string;
}

/** The commands about alerts. */
export function alertCommands(program: Command, io: Io, done: (exit: number) => void): void {
  remote(program, "alerts [route]", "alerts that are open (exit 3: one that nobody has acknowledged)").action(
    (route: string | undefined, options: Access) =>
      act(options, io, done, (context) => alerts(context, route)),
  );
  remote(
    program,
    "acknowledge <alert>",
    "somebody has seen it: it is neither repeated nor escalated; an alert's id, or a route for all of its",
  )
    .option("--reason <text>", "a comment; goes into the journal", "")
    .option("--resolve", "it is over: only of an event, such as a rollback")
    .action((which: string, options: Access & { reason: string; resolve?: boolean }) =>
      act(options, io, done, (context) => acknowledge(context, which, options)),
    );
  remote(program, "silence <route>", "mute its messages for a while, never a rollback nor a decision")
    .requiredOption("--for <duration>", "for how long, e.g. 2h")
    .option("--severity <severity>", `${ALERT_SEVERITIES.join(", ")}; left out: any`)
    .option("--metric <name>", "about this metric or event only")
    .requiredOption("--reason <text>", "why; goes into the journal")
    .action((route: string, options: Access & SilenceOptions) =>
      act(options, io, done, (context) => silence(context, route, options)),
    );
  remote(program, "silences [route]", "silences that are in force").action(
    (route: string | undefined, options: Access) =>
      act(options, io, done, (context) => silences(context, route)),
  );
  remote(program, "unsilence <silence>", "end a silence before its time").action(
    (id: string, options: Access) => act(options, io, done, (context) => unsilence(context, id)),
  );
}

async function alerts({ client, io, json }: Context, route: string | undefined): Promise<number> {
  const found = await client.alerts(route);
  io.stdout(json ? pretty({ alerts: found }) : `${alertsText(found, io)}\n`);
  return exitOf(found);
}

function exitOf(open: readonly AlertStatus[]): number {
  return open.some(({ acknowledged }) => acknowledged === null) ? EXIT.waiting : EXIT.done;
}

const HEAD = ["severity", "route", "alert", "now", "open for", "seen by", "id"];

function alertsText(open: readonly AlertStatus[], io: Io): string {
  if (open.length === 0) return "no alert is open";
  const style = styleOf(io);
  const rows = open.map((each) => [
    each.severity,
    each.route,
    each.rule,
    valueText(each.metric, each.value),
    durationText(each.openMs),
    each.acknowledged?.by ?? each.muted ?? "-",
    each.id === "" ? "-" : each.id,
  ]);
  return table(HEAD, rows, style)
    .map((line) => clip(line, style.columns))
    .join("\n");
}

async function acknowledge(
  { client, io, json }: Context,
  which: string,
  { reason, resolve }: { readonly reason: string; readonly resolve?: boolean },
): Promise<number> {
  const open = await client.alerts(undefined);
  const mine = open.filter(({ id, route }) => id === which || (route === which && id !== ""));
  const ids = [...new Set(mine.map(({ id }) => id))];
  if (ids.length === 0)
    throw new AppError(
      "SPLIT_NOT_FOUND",
      `no alert is open that is called ${which}, or is of a route of that name`,
    );
  for (const id of ids)
    await client.answerAlert(
      id,
      resolve === true ? "resolve" : "acknowledge",
      present({ comment: reason === "" ? undefined : reason }),
    );
  const after = await client.alerts(undefined);
  io.stdout(json ? pretty({ alerts: after }) : `${alertsText(after, io)}\n`);
  return EXIT.done;
}

async function silence(
  { client, io, json }: Context,
  route: string,
  options: SilenceOptions,
): Promise<number> {
  const { severity, metric, reason } = options;
  const body = {
    route,
    for: formatDuration(durationOf(options.for, "--for")),
    reason,
    ...present({
      severity: oneOf(severity, ALERT_SEVERITIES, "--severity"),
      metric: oneOf(metric, [...ALERT_METRICS, ...ALERT_EVENTS], "--metric"),
    }),
  } satisfies InputOf<"silence">;
  const made = await client.silence(body);
  io.stdout(json ? pretty(made) : `${silenceLine(made)}\n`);
  return EXIT.done;
}

function oneOf<T extends string>(
  text: string | undefined,
  known: readonly T[],
  option: string,
): T | undefined {
  if (text === undefined) return undefined;
  const found = known.find((each) => each === text);
  if (found === undefined) throw usage(`${option} takes ${known.join(", ")}, not ${text}`);
  return found;
}

async function silences({ client, io, json }: Context, route: string | undefined): Promise<number> {
  const found = await client.silences(route);
  const text = found.length === 0 ? "nothing is silenced" : found.map(silenceLine).join("\n");
  io.stdout(json ? pretty({ silences: found }) : `${text}\n`);
  return EXIT.done;
}

async function unsilence({ client, io, json }: Context, id: string): Promise<number> {
  const ended = await client.unsilence(id);
  io.stdout(json ? pretty(ended) : `ended: ${silenceLine(ended)}\n`);
  return EXIT.done;
}

function silenceLine({ id, route, severity, metric, until, by, reason }: SilenceStatus): string {
  const what = [severity ?? "any severity", ...(metric === null ? [] : [`about ${metric}`])].join(" ");
  return plain(`${id}  ${route}: ${what}, until ${until}, by ${by}: ${reason}`);
}
