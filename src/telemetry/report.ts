/**
 * Evidence packs: what a rollback was about, as one JSON file that is there whole or not at all.
 *
 * The pack is written under a temporary name, synced, and linked to its own: a name that is taken is never overwritten, so a second rollback
 * in the same millisecond gets a number. A failure is logged and costs nothing else: a rollback does not wait for its paperwork.
 */

import { randomUUID } from "node:crypto";
import { link, mkdir, open, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { Clock, Log, Reports } from "../engine/ports.ts";

/** Where packs go, and what they are named with. */
export interface ReportsOptions {
  /** Made when it is missing, at the first pack. */
  readonly folder: string;
  readonly environment: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Packs of one name that may exist before a further one is given up. */
const MOST_OF_ONE_NAME = 100;

/** Writes `rollback_<environment>_<route>_<timestamp>.json`, e.g. `rollback_production_app_20260105T090000.000Z.json`. */
export function createReports(options: ReportsOptions): Reports {
  const { folder, environment, clock, log } = options;
  return {
    async write(pack) {
      try {
        const text = `${JSON.stringify(pack, null, 2)}\n`;
        const at = new Date(clock.wall()).toISOString().replaceAll(/[-:]/g, "");
        return await place(folder, `rollback_${nameOf(environment)}_${nameOf(pack.route)}_${at}`, text);
      } catch (error) {
        log.error("could not write an evidence pack", { route: pack.route, rollout: pack.rollout, error });
        return undefined;
      }
    },
  };
}

async function place(folder: string, name: string, text: string): Promise<string> {
  // Whatever the umask: what failed, and where, is for people of this machine's operators, not for everybody on it.
  await mkdir(folder, { recursive: true, mode: 0o750 });
  const temporary = join(folder, `.${name}.tmp-${randomUUID()}`);
  try {
    await writeSynced(temporary, text);
    const path = await linkToFree(temporary, join(folder, name));
    await syncFolder(folder);
    return path;
  } finally {
    await unlink(temporary).catch(() => {});
  }
}

async function writeSynced(path: string, text: string): Promise<void> {
  const file = await open(path, "wx", 0o640);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function linkToFree(temporary: string, stem: string): Promise<string> {
  for (let n = 1; ; n += 1) {
    const path = n === 1 ? `${stem}.json` : `${stem}-${n}.json`;
    try {
      await link(temporary, path);
      return path;
    } catch (error) {
      const taken = error instanceof Error && "code" in error && error.code === "EEXIST";
      if (!taken || n >= MOST_OF_ONE_NAME) throw error;
    }
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A name that cannot leave the folder, whatever a route is called. */
function nameOf(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9.-]/g, "-").slice(0, 100);
}
