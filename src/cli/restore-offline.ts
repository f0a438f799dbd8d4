/** `restore --offline`: a backup as the next save of a state folder that no program runs on. */

import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { asAppError, AppError } from "../domain/errors.ts";
import { asRestored } from "../domain/restore.ts";
import { IDLE } from "../domain/rollout-move.ts";
import { FULL, percentOf } from "../domain/units.ts";
import type {
  Journal,
  JournalEntry,
  LoadedBackup,
  Log,
  RecordedState,
  StateDocument,
  Store,
} from "../engine/ports.ts";
import { rolloutIn } from "../engine/recorder.ts";
import { readBackup } from "../store/backups.ts";
import { fileStore } from "../store/file.ts";
import { openJournal } from "../telemetry/journal.ts";
import { restoredText, type RestoreOptions } from "./backups.ts";
import { EXIT, confirm, pretty, usage, type Context } from "./commands.ts";
import type { Io } from "./io.ts";
import { backupsFolder } from "./journal.ts";

/** A program that runs on the state saves within this time, unless all its routes are idle: ms. */
const WATCH_MS = 2500;

/**
 * Writes what a backup holds as the next save. Weights above those that are saved are put back only with `force`, or when nothing is saved.
 * Throws SPLIT_PHASE_MISMATCH when a program runs, and SPLIT_STATE_UNWRITABLE also when it is saved but has no line in the journal.
 */
export async function restoreOffline(
  context: Context,
  name: string,
  options: RestoreOptions,
): Promise<number> {
  const { force = false, reason, yes } = options;
  if (force && reason === undefined) throw usage("--force needs a --reason");
  const { io, json, config, state } = context;
  const { info, document } = await loadedFrom(backupsFolder(options, config), name);
  await refuseWhileRunning(context);
  await confirm(context, `restore ${name} into ${state}`, yes, config?.environment ?? "production");
  const log = toStderr(io);
  const store = await fileStore(state, log);
  const present = await stillState(store);
  const from = `restored from ${name}`;
  const routes = broughtBack(present, document?.routes ?? {}, from, force);
  // Opened before anything is saved: a restore that cannot be told of does not happen.
  const path = join(state, "journal.jsonl");
  const journal = await openJournal({ path, clock: { wall: io.now }, log });
  let version: number;
  try {
    version = await save(store, present, routes, io.now());
    const untold = await note(journal, routes, reason === undefined ? from : `${from}: ${reason}`);
    if (untold.length > 0)
      throw new AppError(
        "SPLIT_STATE_UNWRITABLE",
        `the state was saved as version ${version} in ${state}, but the journal ${path} has no line of it for ${untold.join(", ")}`,
      );
  } finally {
    await journal.close();
  }
  const point = ({ phase, weight }: RecordedState) => ({ phase, weight: percentOf(weight) });
  const shown = routes.map(({ route, before, after }) => ({
    route,
    before: point(before),
    after: point(after),
  }));
  const done = { backup: info, routes: shown, missing: [], version };
  io.stdout(json ? pretty(done) : restoredText(done, `saved as version ${version} in ${state}`));
  return EXIT.done;
}

/** A route as it was saved, and as it is saved now. */
interface Brought {
  readonly route: string;
  readonly before: RecordedState;
  readonly after: RecordedState;
}

async function loadedFrom(folder: string, name: string): Promise<Extract<LoadedBackup, { ok: true }>> {
  const loaded = await readBackup(folder, name);
  if (loaded.ok) return loaded;
  const code = loaded.kind === "missing" ? "SPLIT_NOT_FOUND" : "SPLIT_INPUT_INVALID";
  throw new AppError(code, loaded.detail);
}

function broughtBack(
  present: StateDocument | undefined,
  recorded: Readonly<Record<string, RecordedState>>,
  from: string,
  force: boolean,
): readonly Brought[] {
  return Object.entries(recorded).map(([route, each]) => {
    // Evidence of then is none about what is served from now on.
    const saved = present?.routes[route];
    const before = saved ?? IDLE;
    const base = saved === undefined || force ? { ...before, weight: FULL } : before;
    const after = { ...asRestored(base, rolloutIn(each), from), revision: before.revision + 1 };
    // Whom one has told stays told.
    return { route, before, after: { ...after, notices: saved?.notices, bulletins: saved?.bulletins } };
  });
}

/** Saves; resolves the version that it is saved as. */
async function save(
  store: Store,
  present: StateDocument | undefined,
  routes: readonly Brought[],
  now: number,
): Promise<number> {
  const version = (present?.version ?? 0) + 1;
  const changed = Object.fromEntries(routes.map(({ route, after }) => [route, after]));
  const saved = await store.save({
    ...present,
    format: 1,
    version,
    savedAt: new Date(now).toISOString(),
    routes: { ...present?.routes, ...changed },
    // What people have switched since is no part of what a backup brings back.
    ...(present?.safety === undefined ? {} : { safety: present.safety }),
  });
  await store.close();
  if (saved.ok) return version;
  throw saved.kind === "conflict"
    ? new AppError("SPLIT_STATE_CONFLICT", `another process saved version ${saved.found} meanwhile`)
    : new AppError("SPLIT_STATE_UNWRITABLE", saved.detail);
}

/** Writes it into the journal; resolves the routes whose line it did not take. */
async function note(
  journal: Journal,
  routes: readonly Brought[],
  reason: string,
): Promise<readonly string[]> {
  const untold: string[] = [];
  const point = ({ phase, step, weight }: RecordedState): JournalEntry["before"] => ({ phase, step, weight });
  for (const { route, before, after } of routes) {
    const isTold = await journal.append({
      event: "RESTORED",
      route,
      rollout: after.id,
      actor: "offline",
      reason,
      before: point(before),
      after: point(after),
    });
    if (!isTold) untold.push(route);
  }
  return untold;
}

/** Throws SPLIT_PHASE_MISMATCH when the admin API answers, whoever it lets in. */
async function refuseWhileRunning({ client, io }: Context): Promise<void> {
  const error = await client.environment().then(() => undefined, asAppError);
  if (error?.code === "SPLIT_UNREACHABLE") return;
  // Nobody was asked: the certificate that the file names may have gone with the machine that it was on.
  if (error?.code === "SPLIT_CONFIG_UNREADABLE")
    io.stderr(`sluice: ${error.message}; whether a proxy runs is seen by its state alone\n`);
  else
    throw new AppError(
      "SPLIT_PHASE_MISMATCH",
      "a proxy is running there: restore without --offline, or stop it; if it has another state, name this one's address with --admin",
    );
}

/** What is saved, once it has not moved for `WATCH_MS`; undefined when there is nothing usable. */
async function stillState(store: Store): Promise<StateDocument | undefined> {
  const [before] = [await store.load(), await wait(WATCH_MS)];
  const after = await store.load();
  const [was, is] = [before, after].map((each) => (each.kind === "found" ? each.document.version : 0));
  if (was !== is)
    throw new AppError(
      "SPLIT_PHASE_MISMATCH",
      `a proxy is running on this state: it saved version ${is} meanwhile`,
    );
  return after.kind === "found" ? after.document : undefined;
}

/** What goes wrong, for the person who typed it. */
function toStderr(io: Io): Log {
  const say = (message: string, fields: Parameters<Log["info"]>[1] = {}): void =>
    io.stderr(`sluice: ${message} ${JSON.stringify(fields)}\n`);
  return { debug: () => undefined, info: () => undefined, warn: say, error: say };
}
