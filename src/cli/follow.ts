/**
 * `status --watch` and `deploy --follow`: follow routes until each has come to an end, and exit by how it ended. Made for pipelines as much as for
 * people: a look that fails now and then (a restart, a busy machine) does not end it, the deadline does.
 */

import { AppError, asAppError } from "../domain/errors.ts";
import { millis, type Millis } from "../domain/units.ts";
import type { RouteStatus } from "../engine/status.ts";
import { EXIT, exitOf, type Context } from "./commands.ts";
import { redrawing, styleOf } from "./io.ts";
import { routeLine, routesTable } from "./render.ts";
import { LOOKS, watchPage } from "./watch.ts";

/** How to follow. `timeoutMs`: undefined waits for as long as it takes. */
export interface FollowOptions {
  readonly intervalMs: Millis;
  readonly timeoutMs: Millis | undefined;
}

/** The exit code with which what was seen ends it; undefined: look again. */
type EndOf = (routes: readonly RouteStatus[]) => number | undefined;

/** So many looks in a row may fail. */
const PATIENCE = 10;
/** A pipeline is in no hurry. */
const LOOK_EVERY_MS = millis(1000);
/** Without a terminal, an unchanged route is printed at every so many looks. */
const REPEAT = 30;

/**
 * Follows one route, or all, until none of them is on its way: succeeded, rolled back, or idle because nothing was started. Paused is on
 * its way: a person may resume it. Exits 0 or 1 by the end; throws SPLIT_TIMED_OUT at the deadline.
 */
export async function follow(
  context: Context,
  route: string | undefined,
  options: FollowOptions,
): Promise<number> {
  return followTo(context, route, options, (routes) => (routes.every(hasEnded) ? exitOf(routes) : undefined));
}

/**
 * Follows one rollout of a route for a pipeline, which has nobody to ask: exits 0 when it has succeeded, 1 when not, 3 as soon as it waits for a
 * person. Throws SPLIT_TIMED_OUT at the deadline, and SPLIT_STATE_CONFLICT when another rollout has taken its place.
 */
export async function followRollout(
  context: Context,
  { name, rollout }: Pick<RouteStatus, "name" | "rollout">,
  timeoutMs: Millis | undefined,
): Promise<number> {
  return followTo(context, name, { intervalMs: LOOK_EVERY_MS, timeoutMs }, ([found]) => {
    if (found === undefined) return undefined;
    // Who is put back to idle has been called off.
    if (found.phase === "idle") return EXIT.failed;
    if (found.rollout !== rollout)
      throw new AppError("SPLIT_STATE_CONFLICT", `another rollout of ${name} has taken its place`);
    const exit = exitOf([found]);
    return hasEnded(found) || exit === EXIT.waiting ? exit : undefined;
  });
}

async function followTo(
  context: Context,
  route: string | undefined,
  { intervalMs, timeoutMs }: FollowOptions,
  endOf: EndOf,
): Promise<number> {
  const draw = drawing(context);
  const deadline = timeoutMs === undefined ? undefined : alarm(timeoutMs);
  let failures = 0;
  try {
    for (let look = 0; ; look += 1) {
      try {
        const routes =
          route === undefined ? await context.client.routes() : [await context.client.route(route)];
        failures = 0;
        await draw(routes);
        const end = endOf(routes);
        if (end !== undefined) return end;
      } catch (error) {
        failures += 1;
        // A first look that fails is a wrong address, not a restart.
        if (asAppError(error).code !== "SPLIT_UNREACHABLE" || look === 0 || failures > PATIENCE) throw error;
      }
      const next = alarm(intervalMs);
      await Promise.race([next.rung, ...(deadline === undefined ? [] : [deadline.rung])]);
      next.stop();
      if (deadline?.hasRung() === true) {
        throw new AppError("SPLIT_TIMED_OUT", `${route ?? "a route"} has not come to an end in time`);
      }
    }
  } finally {
    deadline?.stop();
  }
}

function hasEnded(route: RouteStatus): boolean {
  return route.phase === "succeeded" || route.phase === "rolled_back" || route.phase === "idle";
}

function drawing(context: Context): (routes: readonly RouteStatus[]) => void | Promise<void> {
  const { io, json } = context;
  if (json) return (routes) => io.stdout(`${JSON.stringify({ routes })}\n`);
  if (io.isTTY) return drawingPages(context);
  const last = new Map<string, { readonly mark: string; looks: number }>();
  return (routes) => {
    for (const each of routes) {
      const mark = `${each.phase} ${each.weight} ${each.step} ${each.reason}`;
      const known = last.get(each.name);
      if (known?.mark === mark && (known.looks += 1) < REPEAT) continue;
      last.set(each.name, { mark, looks: 0 });
      io.stdout(`${routeLine(each)}\n`);
    }
  };
}

/** A page that is drawn over itself: of one route with what was seen before, of several a table. */
function drawingPages({ io, client }: Context): (routes: readonly RouteStatus[]) => Promise<void> {
  const redraw = redrawing(io);
  const style = styleOf(io);
  let looks: readonly RouteStatus[] = [];
  return async (routes) => {
    const [only] = routes;
    if (routes.length !== 1 || only === undefined) return redraw(routesTable(routes, style));
    looks = [...looks, only].slice(-LOOKS);
    // The page does without the journal where it may not be read.
    const journal = await client.journal({ limit: JOURNAL_LINES, route: only.name }).catch(() => []);
    redraw(watchPage({ looks, journal }, style));
  };
}

const JOURNAL_LINES = 20;

interface Alarm {
  readonly rung: Promise<void>;
  readonly hasRung: () => boolean;
  readonly stop: () => void;
}

function alarm(afterMs: number): Alarm {
  let isOver = false;
  let timer: NodeJS.Timeout | undefined;
  const rung = new Promise<void>((resolve) => {
    const ring = (): void => {
      isOver = true;
      resolve();
    };
    // Node takes a longer time than this for 1 ms.
    timer = setTimeout(ring, Math.min(afterMs, 2 ** 31 - 1));
  });
  return { rung, hasRung: () => isOver, stop: () => clearTimeout(timer) };
}
