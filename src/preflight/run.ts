/**
 * The checks before a rollout, carried out: all at once, each within the route's `preflight.timeout`, so that the whole is bounded by it too and the one that
 * hangs holds up no other.
 *
 * Never rejects: a check that throws has failed, with the reason as its detail. Nothing is changed by it but what a check itself does: a test message, a request, a program of the operator's.
 */

import type { Config, RouteConfig } from "../config/schema.ts";
import { folderOfState } from "../config/state.ts";
import type { PemOf } from "../config/upstream-tls.ts";
import { asAppError } from "../domain/errors.ts";
import { plannedChecks, summary, type PlannedCheck, type PreflightResult } from "../domain/preflight.ts";
import { millis } from "../domain/units.ts";
import type { Clock, Confirm, Log, Notice, Preflight, Probes } from "../engine/ports.ts";
import { reloadDifferences } from "../engine/reload.ts";
import { createCommands, type Commands, type Variables } from "./command.ts";
import { checkArms, checkCapacity, checkClock, type Load, type Moment } from "./figures.ts";
import { checkFolder, type FreeOf } from "./folder.ts";
import { askHook, createConfirm, type HookParts } from "./hook.ts";
import { fails, holds, plainOf, within, type Finding } from "./limit.ts";
import { checkSmoke } from "./smoke.ts";
import { checkStaging } from "./staging.ts";

/** As long as a message of the running program may take: ms. */
const TELL_MS = millis(10_000);

/** One attempt at telling people. */
type Tell = (
  message: { readonly id: string; readonly notice: Notice; readonly attempt: number },
  signal: AbortSignal,
) => Promise<
  { readonly ok: true; readonly detail?: string } | { readonly ok: false; readonly detail: string }
>;

/** A way to tell people, tried once. */
export interface TestChannel {
  readonly name: string;
  readonly send: Tell;
  /** In place of it, where a test message would alarm somebody. */
  readonly test?: Tell;
}

/** What the checks need. */
export interface PreflightParts extends Omit<HookParts, "environment"> {
  /** What is in force. */
  readonly config: () => Config;
  /** Reads the configuration again; left out where there is no file. Rejects with AppError when it is not valid. */
  readonly reread?: (() => Promise<{ readonly config: Config }>) | undefined;
  readonly probes: Probes;
  /** What a route measures now. */
  readonly loadOf: (route: string) => Load;
  /** Those that are configured. */
  readonly channels: readonly TestChannel[];
  /** Whether the file of feature flags is good as it is now; left out: there is none. */
  readonly flags?: () => Promise<{ readonly ok: boolean; readonly detail: string }>;
  readonly pem: PemOf;
  readonly env: Variables;
  readonly freeOf: FreeOf;
  readonly log: Log;
}

/** The checks, with their lifetime. */
export interface RunningPreflight extends Preflight {
  readonly confirm: Confirm;
  /** Ends what is under way, programs included. */
  close(): void;
}

/** Ready to check; the clock is watched from now on. */
export function createPreflight(parts: PreflightParts): RunningPreflight {
  const { clock, log, config } = parts;
  const start = momentOf(clock);
  const closed = new AbortController();
  const commands = createCommands(clock, parts.env);
  // State, reports, environment and channels are those of the start: a reload does not change them.
  const bound = config();
  const hooks = { ...parts, environment: bound.environment };
  return {
    async run(name, version) {
      const route = config().routes.find((each) => each.name === name);
      if (route === undefined) return [noRoute(name)];
      const planned = plannedChecks(
        route.preflight,
        parts.channels.map((each) => each.name),
        config().flags !== undefined,
      );
      const works = worksOf({ parts, hooks, commands, start, bound, route, version }, planned);
      const results = await Promise.all(
        planned.map((check) => resultOf(check, works.get(check.name)!, route, clock, closed.signal)),
      );
      // What was broken off says nothing.
      if (closed.signal.aborted) return [];
      const { passed, sentence } = summary(results);
      log[passed ? "info" : "warn"]("preflight", { route: name, version, passed, sentence });
      return results;
    },
    confirm: createConfirm(hooks, closed.signal),
    close() {
      closed.abort();
      commands.close();
    },
  };
}

type Work = (signal: AbortSignal) => Promise<Finding>;

async function resultOf(
  { name, required, isSkipped }: PlannedCheck,
  work: Work,
  { preflight }: RouteConfig,
  clock: Clock,
  ended: AbortSignal,
): Promise<PreflightResult> {
  if (isSkipped) return { name, ok: false, required, detail: "left out by preflight.skip", tookMs: 0 };
  const from = clock.mono();
  const { ok, detail } = await within(clock, preflight.timeout, work, ended);
  return { name, ok, required, detail, tookMs: Math.round(clock.mono() - from) };
}

function noRoute(name: string): PreflightResult {
  const detail = `there is no route named ${plainOf(name)}`;
  return { name: "configuration", ok: false, required: true, detail, tookMs: 0 };
}

interface Round {
  readonly parts: PreflightParts;
  readonly hooks: HookParts;
  readonly commands: Commands;
  readonly start: Moment;
  /** The configuration of the start. */
  readonly bound: Config;
  readonly route: RouteConfig;
  readonly version: string;
}

/** How each check is made, by its name. */
function worksOf(round: Round, planned: readonly PlannedCheck[]): ReadonlyMap<string, Work> {
  const { parts, commands, hooks, start, bound, route, version } = round;
  const { clock, dice, probes, freeOf } = parts;
  const { state, reports, environment } = bound;
  const folder = folderOfState(state);
  const health = { stable: probes.health(route.name, "stable"), canary: probes.health(route.name, "canary") };
  const about = { route: route.name, version };
  // A name for each check: state and reports may be one folder.
  const file = (): string => `.preflight-${dice.token(9)}`;
  // The clock is compared with what the smoke requests bring along: as soon as one has, or when there will be none.
  let onDate: (aheadMs: number | undefined) => void = () => {};
  const ahead = new Promise<number | undefined>((resolve) => (onDate = resolve));
  if (planned.some(({ name, isSkipped }) => name === "smoke" && isSkipped)) onDate(undefined);

  const works = new Map<string, Work>([
    ["configuration", () => checkConfiguration(parts, bound)],
    ["arms", async () => checkArms(health.stable, health.canary)],
    ["capacity", async () => checkCapacity(route.stable, health.stable, parts.loadOf(route.name))],
    ["clock", async () => checkClock(start, momentOf(clock), await ahead)],
    ["state", async () => (folder === undefined ? holds("in memory") : checkFolder(folder, file(), freeOf))],
    ["reports", () => checkFolder(reports, file(), freeOf)],
    ["smoke", (signal) => checkSmoke(route, { ...parts, onDate }, signal).finally(() => onDate(undefined))],
  ]);
  const { flags } = parts;
  if (flags !== undefined)
    works.set("flags", async () => {
      const { ok, detail } = await flags();
      return ok ? holds(detail) : fails(plainOf(detail));
    });
  for (const channel of parts.channels)
    works.set(`notifier ${channel.name}`, (ended) =>
      within(clock, TELL_MS, (signal) => tell(channel, round, signal), ended),
    );
  for (const each of route.preflight.commands) {
    const own = { SLUICE_ROUTE: route.name, SLUICE_VERSION: version, SLUICE_ENVIRONMENT: environment };
    works.set(`command ${each.name}`, (signal) => commands.run(each, own, signal));
  }
  for (const each of route.preflight.webhooks) {
    const question = { type: "sluice.preflight", data: { ...about, check: each.name } };
    works.set(`webhook ${each.name}`, (signal) => askHook(hooks, each, question, signal));
  }
  const { staging } = route.preflight;
  if (staging !== undefined)
    works.set("staging", () => checkStaging(staging, { version, environment, now: clock.wall() }));
  return works;
}

function momentOf(clock: Clock): Moment {
  return { mono: clock.mono(), wall: clock.wall() };
}

/** The file as it is now: valid, and what is in force? */
async function checkConfiguration({ reread, config }: PreflightParts, bound: Config): Promise<Finding> {
  if (reread === undefined) return holds("no file to read again");
  try {
    const file = (await reread()).config;
    const { changed } = reloadDifferences(config(), file);
    const { needsRestart } = reloadDifferences(bound, file);
    if (changed.length > 0) return fails(`the file differs from what is in force: ${changed.join(", ")}`);
    if (needsRestart.length > 0) return holds(`valid; waits for a restart: ${needsRestart.join(", ")}`);
    return holds("valid, and what is in force");
  } catch (error) {
    return fails(plainOf(asAppError(error).message));
  }
}

async function tell(
  channel: TestChannel,
  { parts, hooks, route, version }: Round,
  signal: AbortSignal,
): Promise<Finding> {
  const id = `msg_${parts.dice.token(16)}`;
  const words = `test message before a rollout of ${route.name}; nothing has to be done`;
  const notice: Notice = {
    id,
    severity: "info",
    event: "preflight_test",
    route: route.name,
    rollout: "",
    summary: words,
    lines: [words],
    details: { version, environment: hooks.environment },
    audience: "operators",
  };
  const message = { id, notice, attempt: 1 };
  const delivery = await (channel.test?.(message, signal) ?? channel.send(message, signal));
  return delivery.ok ? holds(delivery.detail ?? "delivered") : fails(delivery.detail);
}
