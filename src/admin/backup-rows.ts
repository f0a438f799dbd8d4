/** The rows of the admin API about backups, and the shapes of what they answer. */

import { z } from "zod";
import { force, reason } from "../config/start.ts";
import type { BackupInfo, BackupShelf } from "../engine/ports.ts";
import type { RestoredRoute, RestoreOrder, RestoreResult } from "../engine/restore.ts";
import { nothing, problemOf, read, row, type Call, type Reply } from "./row.ts";
import { count, phase, wall, weight } from "./shapes.ts";

/** What these rows work on. */
export interface BackupSources {
  /** Undefined: none are made. */
  readonly backups: BackupShelf | undefined;
  readonly restore: (order: RestoreOrder) => Promise<RestoreResult>;
}

const info: z.ZodType<BackupInfo> = z
  .strictObject({
    name: z.string(),
    at: wall,
    reason: z.string(),
    program: z.string().meta({ description: "version of the program that made it" }),
    version: count.meta({ description: "version of the state in it; 0: nothing was recorded yet" }),
    routes: z.record(z.string(), z.strictObject({ phase, weight, rollout: z.string() })),
  })
  .meta({ id: "Backup", description: "one backup: what it holds, in short" });

const stand = z.strictObject({ phase, weight });
const restoredRoute: z.ZodType<RestoredRoute> = z
  .strictObject({ route: z.string(), before: stand, after: stand })
  .meta({ id: "RestoredRoute", description: "where a route was and is" });

const listSchema = z
  .strictObject({ backups: z.array(info).readonly() })
  .meta({ id: "Backups", description: "those that can be read, newest first" });

const restoredSchema = z
  .strictObject({
    backup: info,
    routes: z.array(restoredRoute).readonly(),
    missing: z
      .array(z.string())
      .readonly()
      .meta({ description: "routes of the backup that are not configured now" }),
    journalLinesSince: count.meta({ description: "lines of the journal that came after the backup" }),
  })
  .meta({ id: "Restored", description: "what a restore did" });

const backupInput = z
  .strictObject({ reason: reason.optional() })
  .meta({ id: "MakeBackup", description: "a backup, now" });

const restoreInput = z
  .strictObject({
    name: z.string().min(1).max(120).meta({ description: "the backup's name" }),
    force: force.optional().meta({ description: "over a running rollout, or during a cooldown" }),
    reason,
  })
  .meta({ id: "Restore", description: "what a backup holds, put in force; nothing is raised by it" });

function none(): Reply<never> {
  const message = "no backups are made here: `backups` is off, or the state is in memory";
  return { kind: "problem", code: "SPLIT_NOT_FOUND", message };
}

async function make({
  sources,
  input,
}: Call<z.output<typeof backupInput>, unknown>): Promise<Reply<BackupInfo>> {
  const { backups } = sources;
  if (backups === undefined) return none();
  const made = await backups.create(input.reason ?? "manual");
  if (made.ok) return { kind: "json", status: 200, body: made.info };
  const message = `no backup could be made: ${made.detail}`;
  return { kind: "problem", code: "SPLIT_STATE_UNWRITABLE", message };
}

async function restore({
  sources,
  input,
  actor,
}: Call<z.output<typeof restoreInput>, unknown>): Promise<Reply<z.output<typeof restoredSchema>>> {
  const { backups, control } = sources;
  if (backups === undefined) return none();
  const loaded = await backups.load(input.name);
  if (!loaded.ok) {
    const code = loaded.kind === "missing" ? "SPLIT_NOT_FOUND" : "SPLIT_INPUT_INVALID";
    return { kind: "problem", code, message: loaded.detail, field: "name" };
  }
  const [last] = await control.journal({ limit: 1 });
  const result = await sources.restore({
    from: input.name,
    states: loaded.document?.routes ?? {},
    force: input.force ?? false,
    reason: input.reason,
    actor,
  });
  if (!result.ok) return problemOf(result);
  const { routes, missing } = result;
  const journalLinesSince = Math.max(0, (last?.seq ?? 0) - loaded.head.seq);
  return { kind: "json", status: 200, body: { backup: loaded.info, routes, missing, journalLinesSince } };
}

/** The rows, by operation id. */
export const backupRows = {
  backups: read({
    path: "/v1/backups",
    summary: "Every backup, newest first",
    output: listSchema,
    async handle({ sources }): Promise<Reply<z.output<typeof listSchema>>> {
      if (sources.backups === undefined) return none();
      return { kind: "json", status: 200, body: { backups: await sources.backups.list() } };
    },
  }),
  backup: row({
    method: "POST",
    path: "/v1/backup",
    scope: "operate",
    summary: "Make a backup of the state, the configuration file and the journal's end",
    input: backupInput,
    query: nothing,
    output: info,
    statuses: [200],
    handle: make,
  }),
  restore: row({
    method: "POST",
    path: "/v1/restore",
    scope: "admin",
    summary: "Put in force what a backup holds; lowers at once, raises nothing, and lets nothing climb",
    input: restoreInput,
    query: nothing,
    output: restoredSchema,
    statuses: [200],
    handle: restore,
  }),
} as const;
