/** The reports of drills: `drill_<environment>_<route>_<timestamp>.json`, beside those of rollouts. */

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { DrillReport } from "../domain/drill.ts";
import { codeOf } from "../domain/errors.ts";
import { isRecord } from "../domain/record.ts";
import type { Clock, Log } from "../engine/ports.ts";
import { nameOf } from "../domain/report.ts";
import { place } from "./place.ts";

/** A drill's report, and the file that it is in. */
export interface KeptDrill extends DrillReport {
  readonly file: string;
}

/** The reports of drills in a folder. */
export interface DrillShelf {
  /** Resolves the file's path; undefined when it could not be written, which is logged. Never rejects. */
  keep(report: DrillReport): Promise<string | undefined>;
  /** The newest `limit`, newest first; of one route when named. Rejects when the folder cannot be read. */
  list(options: { readonly limit: number; readonly route?: string }): Promise<readonly KeptDrill[]>;
  /** Names of the evidence packs of a route, oldest first. Rejects when the folder cannot be read. */
  packs(route: string): Promise<readonly string[]>;
}

/** In `folder`, which may not be there yet. */
export function drillShelf(parts: {
  readonly folder: string;
  readonly clock: Pick<Clock, "wall">;
  readonly log: Log;
}): DrillShelf {
  const { folder, clock, log } = parts;
  return {
    async keep(report) {
      try {
        const at = new Date(clock.wall()).toISOString().replaceAll(/[-:]/g, "");
        const name = `drill_${nameOf(report.environment)}_${nameOf(report.route)}_${at}`;
        return await place(folder, name, `${JSON.stringify(report, null, 2)}\n`);
      } catch (error) {
        log.error("could not write a drill's report", { route: report.route, error });
        return undefined;
      }
    },
    async list({ limit, route }) {
      const found: KeptDrill[] = [];
      for (const file of await namesIn(folder, /^drill_.+_(\d{8}T\d{6}\.\d{3}Z(?:-\d+)?)\.json$/)) {
        if (found.length >= limit) break;
        const report = await readFile(join(folder, file), "utf8").then(parse, () => undefined);
        if (report !== undefined && (route === undefined || report.route === route))
          found.push({ ...report, file });
      }
      return found;
    },
    async packs(route) {
      const own = `_${nameOf(route)}_`;
      const names = await namesIn(folder, /^rollback_.+_(\d{8}T\d{6}\.\d{3}Z(?:-\d+)?)\.json$/);
      return names.filter((name) => name.includes(own)).toReversed();
    },
  };
}

/** Files whose names match, by the time in them, newest first. */
async function namesIn(folder: string, pattern: RegExp): Promise<readonly string[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (codeOf(error) === "ENOENT") return [];
    throw error;
  });
  return names
    .flatMap((name) => {
      const stamp = pattern.exec(name)?.[1];
      return stamp === undefined ? [] : [{ name, stamp }];
    })
    .toSorted((a, b) => (a.stamp < b.stamp ? 1 : -1))
    .map(({ name }) => name);
}

/** A report as it was written; undefined for what is none. */
function parse(text: string): DrillReport | undefined {
  try {
    const found: unknown = JSON.parse(text);
    const isReport = isRecord(found) && found["format"] === 1 && "route" in found && "checks" in found;
    // Written by `keep`: its marks are there.
    return isReport ? (found as unknown as DrillReport) : undefined;
  } catch {
    return undefined;
  }
}
