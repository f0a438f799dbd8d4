/**
 * What each command does, apart from how it is spelt: calls the admin API, prints what came of it, says the exit code.
 *
 * What raises the canary's traffic in production asks first. What lowers it never does: nobody should have to answer a question
 * to make an outage stop.
 */

import type { Config } from "../config/schema.ts";
import { AppError } from "../domain/errors.ts";
import { formatDuration, millis, parseDuration, ppmOfPercent, type Millis } from "../domain/units.ts";
import type { RouteStatus } from "../engine/status.ts";
import type { AdminClient, StartRequest } from "./client.ts";
import { styleOf, type Io } from "./io.ts";
import { journalTable, routesTable, routeText } from "./render.ts";

/** What a command has at hand. */
export interface Context {
  readonly client: AdminClient;
  readonly io: Io;
  readonly json: boolean;
  /** The configuration that was named, if one was. */
  readonly config?: Config | undefined;
  /** The proxy's state folder. */
  readonly state: string;
}

/** Exit codes of product.md §4 that are no error's. */
export const EXIT = { done: 0, failed: 1, waiting: 3 } as const;

/** The exit code that tells how a route is: 1 rolled back, 3 paused or waiting for people, else 0. */
export function exitOf(routes: readonly Pick<RouteStatus, "phase" | "waiting">[]): number {
  if (routes.some((each) => each.phase === "rolled_back")) return EXIT.failed;
  const needsPeople = routes.some(({ phase, waiting }) => phase === "paused" || waiting?.for === "gate");
  return needsPeople ? EXIT.waiting : EXIT.done;
}

/** `deploy`, as typed. */
export interface DeployOptions {
  readonly strategy?: string;
  readonly steps?: string;
  readonly hold?: string;
  readonly wait?: string;
  readonly version?: string;
  readonly force?: boolean;
  readonly reason?: string;
  /** When it begins. */
  readonly start?: string;
  /** False: sooner than the plan promises to tell people. */
  readonly announce?: boolean;
  readonly yes?: boolean;
}

/** Starts a rollout; resolves the route as it is then. Throws SPLIT_USAGE for options that do not go together. */
export async function deploy(context: Context, route: string, options: DeployOptions): Promise<RouteStatus> {
  const body = startRequestOf(options);
  const what = options.steps ?? options.strategy ?? "the route's plan";
  await confirm(context, `start a rollout of ${route} (${what})`, options.yes);
  return context.client.start(route, body);
}

/** What `deploy` sends. Throws SPLIT_USAGE for options that do not go together. */
export function startRequestOf(options: DeployOptions): StartRequest {
  checkTogether(options);
  const { strategy, steps, hold, wait, version, start, announce, force, reason } = options;
  // A bare number is seconds here, and only here: the option is documented so.
  const rehearsal = wait !== undefined && /^\d+$/.test(wait) ? `${wait}s` : wait;
  return present({
    plan: strategy === "custom" ? undefined : strategy,
    steps: steps?.split(",").map((each) => percentOf(each, "--steps")),
    hold: hold === undefined ? undefined : formatDuration(durationOf(hold, "--hold")),
    wait: rehearsal === undefined ? undefined : formatDuration(durationOf(rehearsal, "--wait")),
    version,
    at: start === undefined ? undefined : dateOf(start),
    noAnnounce: announce === false ? true : undefined,
    force,
    reason,
  });
}

/** A date and time as typed, ISO 8601. */
function dateOf(text: string): string {
  const wall = Date.parse(text);
  if (Number.isNaN(wall)) throw usage(`--start takes a date and time, like 2026-01-05T09:00Z, not ${text}`);
  return new Date(wall).toISOString();
}

/** Throws SPLIT_USAGE for options of `deploy` that contradict each other. */
function checkTogether({ strategy, steps, hold, announce, force, reason }: DeployOptions): void {
  if (announce === false && reason === undefined) throw usage("--no-announce needs a --reason");
  if (strategy === "custom" && steps === undefined) throw usage("--strategy custom needs --steps");
  if (strategy !== undefined && strategy !== "custom" && steps !== undefined) {
    throw usage("--steps goes with --strategy custom only");
  }
  if (hold !== undefined && steps === undefined) {
    throw usage("--hold goes with --steps; for every hold of a plan, --wait");
  }
  reasonOf({ force, reason });
}

/** Why, as typed or `manual`. Throws SPLIT_USAGE when something is forced and nobody says why. */
export function reasonOf({
  force,
  reason,
}: {
  readonly force?: boolean | undefined;
  readonly reason?: string | undefined;
}): string {
  if (force === true && reason === undefined) throw usage("--force needs a --reason");
  return reason ?? "manual";
}

/** Without the fields that are undefined. */
export function present<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  // What is left has exactly these keys and no undefined; Object.entries cannot say so.
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

/** One route in full, or all in a table; exits by phase. */
export async function status(context: Context, route: string | undefined): Promise<number> {
  const { client, io, json } = context;
  if (route !== undefined) {
    const found = await client.route(route);
    io.stdout(json ? pretty(found) : `${routeText(found, styleOf(io))}\n`);
    return exitOf([found]);
  }
  const routes = await client.routes();
  const style = styleOf(io);
  const [only] = routes;
  const text =
    routes.length === 1 && only !== undefined ? routeText(only, style) : routesTable(routes, style);
  io.stdout(json ? pretty({ routes }) : `${text}\n`);
  return exitOf(routes);
}

/** Sets the weight by hand; asks when that raises it. */
export async function setWeight(
  context: Context,
  route: string,
  weight: string,
  options: { readonly reason?: string; readonly force?: boolean; readonly yes?: boolean },
): Promise<number> {
  const wanted = percentOf(weight, "the weight");
  const { force } = options;
  const reason = reasonOf(options);
  // Downwards nothing stands in the way, not even a look at the present weight, unless there is one to ask about.
  if (wanted > 0 && options.yes !== true) {
    const { weight: now } = await context.client.route(route);
    if (wanted > now) {
      await confirm(context, `raise ${route} from ${now} % to ${wanted} %`, options.yes);
    }
  }
  return show(
    context,
    await context.client.setWeight(route, {
      weight: wanted,
      reason,
      ...(force === true ? { force } : {}),
    }),
  );
}

/** Stops the climb where it is. */
export async function pause(context: Context, route: string, reason: string): Promise<number> {
  return show(context, await context.client.verb(route, "pause", { reason }));
}

/** Lets it climb again; asks, since it will. */
export async function resume(
  context: Context,
  route: string,
  options: { readonly reason: string; readonly yes?: boolean },
): Promise<number> {
  await confirm(context, `let ${route} climb again`, options.yes);
  return show(context, await context.client.verb(route, "resume", { reason: options.reason }));
}

/** To the next step, or to 100 %. Carries the step that was seen, so that a late answer cannot sign another. */
export async function promote(
  context: Context,
  route: string,
  options: {
    readonly reason?: string;
    readonly full?: boolean;
    readonly step?: string;
    readonly force?: boolean;
    readonly yes?: boolean;
  },
): Promise<number> {
  const step = options.step === undefined ? undefined : wholeOf(options.step, "--step");
  const reason = reasonOf(options);
  const seen = await context.client.route(route);
  const full = options.full === true;
  const next = seen.steps[seen.step + 1];
  const target = full
    ? "100 %"
    : next === undefined
      ? "its end"
      : next.bake
        ? "the bake"
        : `${next.weight} %`;
  await confirm(context, `promote ${route} from ${seen.weight} % to ${target}`, options.yes);
  const forced = options.force === true ? { force: true } : {};
  const body = { reason, full, step: step ?? seen.step, ...forced };
  return show(context, await context.client.verb(route, "promote", body));
}

/** Everything back to stable. Asks nothing. */
export async function rollback(context: Context, route: string, reason: string): Promise<number> {
  return show(context, await context.client.verb(route, "rollback", { reason }));
}

/** The last lines of the journal. */
export async function journal(
  context: Context,
  options: { readonly route?: string; readonly limit: string },
): Promise<number> {
  const limit = wholeOf(options.limit, "--limit");
  if (limit < 1) throw usage("--limit must be at least 1");
  const { route } = options;
  const lines = await context.client.journal({ limit, ...(route === undefined ? {} : { route }) });
  const { io, json } = context;
  if (json) io.stdout(pretty({ lines }));
  else io.stdout(lines.length === 0 ? "the journal is empty\n" : `${journalTable(lines, styleOf(io))}\n`);
  return EXIT.done;
}

/** Has the running program read its configuration again. */
export async function reload(context: Context): Promise<number> {
  const { client, io, json } = context;
  const result = await client.reload();
  if (json) io.stdout(pretty(result));
  else {
    io.stdout(`reloaded; changed: ${result.changed.length === 0 ? "nothing" : result.changed.join(", ")}\n`);
    if (result.needsRestart.length > 0) {
      io.stdout(`needs a restart to take effect: ${result.needsRestart.join(", ")}\n`);
    }
  }
  return EXIT.done;
}

/** `text` as a duration; throws SPLIT_USAGE that names `option`. */
export function durationOf(text: string, option: string): Millis {
  const found = parseDuration(text);
  if (found === undefined) {
    throw usage(`${option} takes a duration with its unit (d, h, m, s, ms), like 5m, not ${text}`);
  }
  return millis(found);
}

function percentOf(text: string, what: string): number {
  const trimmed = text.trim().replace(/\s?%$/, "");
  const value = /^\d+(\.\d+)?$/.test(trimmed) ? Number(trimmed) : Number.NaN;
  if (ppmOfPercent(value) === undefined) {
    throw usage(`${what} takes percent from 0 to 100, in steps of 0.0001, not ${text}`);
  }
  return value;
}

/** A whole number as typed. Throws SPLIT_USAGE for anything else, and above `most`. */
export function wholeOf(text: string, option: string, most = 999_999_999): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value <= most)) throw usage(`${option} takes a whole number up to ${most}, not ${text}`);
  return value;
}

/** Requests a second as typed. Throws SPLIT_USAGE unless they are above 0 and no more than `most`. */
export function rpsOf(text: string, most = Number.POSITIVE_INFINITY): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : 0;
  const limit = Number.isFinite(most) ? `, up to ${most}` : "";
  if (value <= 0 || value > most) throw usage(`--rps takes a number above 0${limit}, not ${text}`);
  return value;
}

/** What was typed cannot be done. */
export function usage(message: string): AppError {
  return new AppError("SPLIT_USAGE", message);
}

/**
 * Returns when it may be done: outside production, with `yes`, or after a person has typed the word. A program that does not say its
 * environment is taken for production. `known`: it need not be asked. Throws SPLIT_USAGE when it may not.
 */
export async function confirm(
  context: Context,
  what: string,
  yes: boolean | undefined,
  known?: string,
): Promise<void> {
  if (yes === true) return;
  const environment = known ?? (await context.client.environment()) ?? "production";
  if (environment !== "production") return;
  if (!context.io.isTTY) throw usage(`to ${what} in production without a terminal, say --yes`);
  const answer = await context.io.ask(`About to ${what} in production. Type yes to go on: `);
  if (answer.trim() !== "yes") throw usage("not confirmed, nothing was done");
}

export function show(context: Context, route: RouteStatus): number {
  const { io, json } = context;
  io.stdout(json ? pretty(route) : `${routeText(route, styleOf(io))}\n`);
  return EXIT.done;
}

/** JSON for programs, which people can read. */
export function pretty(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
