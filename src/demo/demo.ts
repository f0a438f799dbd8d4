/**
 * The product's main job on a newcomer's machine: two sample upstreams, the proxy in front, a little traffic, and a plan of seconds
 * instead of days. Nothing here is acted: the canary climbs, or falls, by what the proxy measures, and what users saw is counted on
 * their side.
 *
 * Everything is on loopback and in a folder of its own. The program is handed in as `start`, as `sluice run` has it.
 */

import { mkdtemp, readdir, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { redrawing, styleOf, type Io } from "../cli/io.ts";
import type { DemoOptions } from "../cli/main.ts";
import { durationText, routeLine, routeText } from "../cli/render.ts";
import type { Config } from "../config/schema.ts";
import { planOf } from "../config/plan.ts";
import type { Secret, SecretSource } from "../config/secret.ts";
import { AppError } from "../domain/errors.ts";
import type { Arm } from "../domain/split.ts";
import { millis } from "../domain/units.ts";
import type { Control } from "../engine/control.ts";
import type { Clock, Dice, Log } from "../engine/ports.ts";
import type { RouteStatus } from "../engine/status.ts";
import { DEMO_ROUTE, demoConfig } from "./config.ts";
import { startTraffic, type Seen, type Traffic } from "./traffic.ts";
import { startUpstream, type Upstream } from "./upstream.ts";

/** The program, running. */
export interface Running {
  /** Addresses of the data listeners, in the order of the configuration, as `ADDRESS:PORT`. */
  readonly addresses: readonly string[];
  readonly adminAddress: string;
  readonly token: string;
  readonly control: Control;
  /** Drains and closes everything that was started. */
  stop(): Promise<unknown>;
}

/** Starts the program with a configuration; throws AppError when it cannot. */
export type Start = (options: {
  readonly config: Config;
  readonly secretOf: (source: SecretSource) => Secret;
  readonly log?: Log;
}) => Promise<Running>;

/** What the demonstration needs of the world. */
export interface DemoNeeds {
  readonly start: Start;
  readonly io: Io;
  readonly clock: Clock;
  readonly dice: Dice;
  readonly options: DemoOptions;
}

const USERS = 400;
const PER_SECOND = 150;
/** Time between two looks at the rollout, ms. */
const LOOK_MS = 250;
/** What the rates shown are over, ms. */
const RATE_MS = 2000;
/** Looks between two pictures. */
const PICTURE = { terminal: 2, pipe: 4 };
/** The weight at which a canary that is to be broken breaks, percent, and how long it is well there, ms. */
const BREAKS_AT = 25;
const WELL_FOR_MS = 2000;
/** How long the picture stays up after the rollback, ms, so that one sees that all is well again. */
const AFTER_MS = 2000;
/** A demonstration that has not ended by then never will, ms. */
const DEADLINE_MS = 120_000;
/** By convention 128 + SIGINT. */
const INTERRUPTED = 130;

/** Runs the demonstration to its end and cleans up. Resolves 0 with the canary at 100 %, 1 rolled back or without an end, 130 interrupted. */
export async function runDemo(needs: DemoNeeds): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-demo-"));
  // What was started, to be stopped last first.
  const stops: (() => Promise<unknown>)[] = [];
  const interrupt = onSignal();
  let keepsFolder = false;
  try {
    const { stage, running } = await setUp(needs, folder, stops);
    introduce(needs, running, folder);
    const end = await watch(needs, stage, interrupt.signal);
    keepsFolder = end.kind === "rolled_back";
    if (end.kind !== "interrupted") await conclude(needs, end, stage.traffic, folder);
    return end.kind === "succeeded" ? 0 : end.kind === "interrupted" ? INTERRUPTED : 1;
  } finally {
    for (const stop of stops.toReversed()) await stop().catch(() => undefined);
    interrupt.stop();
    if (!keepsFolder) await rm(folder, { recursive: true, force: true });
  }
}

interface Stage {
  readonly control: Control;
  readonly canary: Upstream;
  readonly traffic: Traffic;
}

async function setUp(
  { start, clock, dice }: DemoNeeds,
  folder: string,
  stops: (() => Promise<unknown>)[],
): Promise<{ readonly stage: Stage; readonly running: Running }> {
  const stable = await startUpstream("3.9", 14, dice);
  stops.push(() => stable.close());
  const canary = await startUpstream("4.0", 12, dice);
  stops.push(() => canary.close());
  const config = demoConfig({
    listen: await freeOr("127.0.0.1", 8080),
    admin: await freeOr("127.0.0.1", 9900),
    folder,
    stable: stable.url,
    canary: canary.url,
  });
  const running = await start({ config, secretOf: noSecrets, log: SILENT });
  stops.push(() => running.stop());
  const origin = urlOf(running.addresses[0] ?? "");
  const traffic = startTraffic({ origin, users: USERS, perSecond: PER_SECOND, clock, dice });
  stops.push(() => traffic.stop());

  const plan = config.routes[0]?.plan;
  const result = await running.control.command(
    DEMO_ROUTE,
    {
      type: "start",
      steps: typeof plan === "object" ? planOf(plan).steps : [],
      version: "4.0",
      force: false,
      reason: "demonstration",
    },
    { name: "demo" },
  );
  if (!result.ok) throw new AppError(result.code, result.message);
  return { stage: { control: running.control, canary, traffic }, running };
}

function noSecrets(): never {
  throw new AppError("SPLIT_INTERNAL", "the demonstration's configuration names no secret");
}

/** The picture is the log: lines between its redraws would tear it apart. */
const SILENT: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** `host:port` when that port can be listened on now, else port 0 for any that is free. */
async function freeOr(host: string, port: number): Promise<string> {
  const probe = createServer();
  try {
    probe.listen(port, host);
    await once(probe, "listening");
    probe.close();
    await once(probe, "close");
    return `${host}:${port}`;
  } catch {
    return `${host}:0`;
  }
}

function urlOf(address: string): string {
  return address.includes("://") ? address : `http://${address}`;
}

function introduce({ io, options }: DemoNeeds, running: Running, folder: string): void {
  const proxy = urlOf(running.addresses[0] ?? "");
  const admin = urlOf(running.adminAddress);
  if (options.json) {
    io.stdout(`${JSON.stringify({ proxy, admin, state: join(folder, "state") })}\n`);
    return;
  }
  io.stdout(
    `Sluice is listening on ${proxy}, in front of two sample upstreams; ${USERS} users send ${PER_SECOND} requests/s.\n` +
      `Try in another terminal:\n` +
      `  curl -H 'x-user-id: you' ${proxy}/\n` +
      `  npm run -s sluice -- status --admin ${admin} --state ${join(folder, "state")}\n` +
      `or open the console, ${admin}/, with the token in ${join(folder, "state", "admin.token")}\n\n`,
  );
}

/** How it ended. `brokeMs`: from the canary's first failures to the rollback as seen here. */
interface End {
  readonly kind: "succeeded" | "rolled_back" | "stuck" | "interrupted";
  readonly route: RouteStatus;
  readonly brokeMs: number | undefined;
}

/** Looks at the rollout, draws it and breaks the canary when that is due, until it has come to an end. */
function watch({ io, clock, options }: DemoNeeds, stage: Stage, signal: AbortSignal): Promise<End> {
  const draw = drawing(io, options.json);
  const rated = rates();
  const every = io.isTTY && !options.json ? PICTURE.terminal : PICTURE.pipe;
  const startedAt = clock.mono();
  let looks = 0;
  let wellSince: number | undefined;
  let brokenAt: number | undefined;
  let endedAt: number | undefined;

  return new Promise((resolve, reject) => {
    const stop = clock.every(millis(LOOK_MS), () => {
      try {
        look();
      } catch (error) {
        stop();
        reject(error instanceof Error ? error : new Error(String(error)));
      }
    });
    function finish(kind: End["kind"], route: RouteStatus): void {
      stop();
      draw(rated(route, clock.mono()), clock.mono() - startedAt);
      const brokeMs = brokenAt === undefined || endedAt === undefined ? undefined : endedAt - brokenAt;
      resolve({ kind, route, brokeMs });
    }
    function endOf({ phase }: RouteStatus, now: number): End["kind"] | undefined {
      if (phase === "succeeded") return "succeeded";
      if (endedAt !== undefined && now - endedAt >= AFTER_MS) return "rolled_back";
      return now - startedAt > DEADLINE_MS ? "stuck" : undefined;
    }
    function look(): void {
      const route = stage.control.route(DEMO_ROUTE);
      if (route === undefined) throw new AppError("SPLIT_INTERNAL", "the demonstration's route is gone");
      const now = clock.mono();
      if (signal.aborted) return finish("interrupted", route);
      if (options.break && brokenAt === undefined && route.weight >= BREAKS_AT) {
        wellSince ??= now;
        if (now - wellSince >= WELL_FOR_MS) {
          stage.canary.failFrom(1);
          brokenAt = now;
        }
      }
      if (route.phase === "rolled_back") endedAt ??= now;
      const end = options.stay ? undefined : endOf(route, now);
      if (end !== undefined) return finish(end, route);
      const shown = rated(route, now);
      if (looks++ % every === 0) draw(shown, now - startedAt);
      return undefined;
    }
  });
}

/**
 * A function that gives a route the rates of the last few seconds. The proxy's own are over a minute, which is right for a rollout of days and
 * would show the traffic of the step before in one of seconds. To be called at every look.
 */
function rates(): (route: RouteStatus, now: number) => RouteStatus {
  const seen: { readonly at: number; readonly arms: RouteStatus["arms"] }[] = [];
  return (route, now) => {
    seen.push({ at: now, arms: route.arms });
    const [first = { at: now, arms: route.arms }] = seen;
    if (now - first.at > RATE_MS) seen.shift();
    const seconds = Math.max(LOOK_MS, now - first.at) / 1000;
    const perSecond = (arm: Arm): number => (route.arms[arm].requests - first.arms[arm].requests) / seconds;
    return {
      ...route,
      arms: {
        stable: { ...route.arms.stable, perSecond: perSecond("stable") },
        canary: { ...route.arms.canary, perSecond: perSecond("canary") },
      },
    };
  };
}

function drawing(io: Io, json: boolean): (route: RouteStatus, elapsedMs: number) => void {
  if (json) return (route) => io.stdout(`${JSON.stringify(route)}\n`);
  if (!io.isTTY) {
    return (route, elapsedMs) =>
      io.stdout(`${durationText(Math.floor(elapsedMs / 1000) * 1000).padStart(4)}  ${routeLine(route)}\n`);
  }
  const redraw = redrawing(io);
  const style = styleOf(io);
  return (route) => redraw(routeText(route, style));
}

/** Says how it ended, as the proxy and as the users saw it. */
async function conclude(
  { io, options }: DemoNeeds,
  end: End,
  traffic: Traffic,
  folder: string,
): Promise<void> {
  const seen = traffic.seen();
  const evidence = end.kind === "rolled_back" ? await evidenceIn(join(folder, "reports")) : undefined;
  io.stdout(
    options.json
      ? `${JSON.stringify(summaryOf(end, seen, evidence))}\n`
      : `\n${closing(end, seen, evidence)}\n`,
  );
}

function summaryOf({ kind, route, brokeMs }: End, seen: Seen, evidence: string | undefined): object {
  const last = route.lastRollback;
  return {
    ended: kind,
    weight: route.weight,
    reason: route.reason,
    canaryFailures: route.arms.canary.failures,
    rescued: route.rescues.answered,
    clientRequests: seen.requests,
    clientFailures: seen.failures,
    users: USERS,
    usersWhoSawIt: seen.unlucky,
    rollbackMs: brokeMs ?? null,
    inForceMs: last?.tookMs ?? null,
    evidence: evidence ?? null,
  };
}

function closing({ kind, route, brokeMs }: End, seen: Seen, evidence: string | undefined): string {
  const sawIt = `${seen.failures} of ${seen.requests} requests failed; ${seen.unlucky} of ${USERS} users saw it`;
  if (kind === "succeeded") return `The canary serves 100 %. ${sawIt}.`;
  if (kind !== "rolled_back") return `No end: ${route.phase} at ${route.weight} %, ${route.reason}`;
  const last = route.lastRollback;
  const inForce = last === null ? "" : `; ${last.tookMs.toFixed(1)} ms from decision to weight in force`;
  const took = brokeMs === undefined ? "by itself" : `${durationText(brokeMs)} after the canary broke`;
  return [
    route.reason,
    `  how long   ${took}${inForce}`,
    `  canary     ${route.arms.canary.failures} requests failed; stable answered ${route.rescues.answered} of them instead`,
    `  clients    ${sawIt}`,
    `  evidence   ${evidence ?? "not written"}`,
  ].join("\n");
}

/** The evidence pack in `reports`; undefined when there is none. It is written before the phase is shown for AFTER_MS. */
async function evidenceIn(reports: string): Promise<string | undefined> {
  const names = await readdir(reports, { recursive: true }).catch(() => []);
  const [first] = names.filter((each) => each.startsWith("rollback_")).sort();
  return first === undefined ? undefined : join(reports, first);
}

function onSignal(): { readonly signal: AbortSignal; readonly stop: () => void } {
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  process.on("SIGINT", abort).on("SIGTERM", abort);
  return {
    signal: controller.signal,
    stop: () => void process.off("SIGINT", abort).off("SIGTERM", abort),
  };
}
