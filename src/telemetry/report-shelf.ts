/**
 * The reports that are there, for people and programs to read: a folder's files by their names, which are their ids.
 *
 * Of a list only the beginning of each file is read, so that years of reports cost little.
 */

import { open, readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { codeOf } from "../domain/errors.ts";
import { parseReportHead, type ReportHead } from "../domain/report.ts";

/** One report in a list. */
export interface ReportEntry extends Pick<
  ReportHead,
  "route" | "rollout" | "version" | "status" | "startedAt" | "endedAt"
> {
  /** The file's name without its ending. */
  readonly id: string;
  readonly file: string;
}

/** The reports of a folder. */
export interface ReportShelf {
  /** The newest `limit`, newest first; of one route when named. Rejects when the folder cannot be read. */
  list(options: { readonly limit: number; readonly route?: string }): Promise<readonly ReportEntry[]>;
  /** The text of one; undefined when there is none of this id. Never looks outside the folder. */
  read(id: string, form: "json" | "md"): Promise<string | undefined>;
}

const ID = /^deployment_[A-Za-z0-9.-]{1,100}_(\d{8}T\d{6}Z)(?:-(\d{1,3}))?$/;
/** More than a head ever has. */
const HEAD_BYTES = 128 * 1024;

/** The reports in `folder`, which may not be there yet. */
export function reportShelf(folder: string): ReportShelf {
  return {
    async list({ limit, route }) {
      const found: ReportEntry[] = [];
      for (const id of await idsIn(folder)) {
        if (found.length >= limit) break;
        const file = `${id}.json`;
        const head = await readHead(folder, file).catch(() => "strange" as const);
        if (typeof head === "string" || (route !== undefined && head.route !== route)) continue;
        const { rollout, version, status, startedAt, endedAt } = head;
        found.push({ id, file, route: head.route, rollout, version, status, startedAt, endedAt });
      }
      return found;
    },
    async read(id, form) {
      if (!ID.test(id)) return undefined;
      try {
        return await readFile(join(folder, `${id}.${form}`), "utf8");
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw error;
      }
    },
  };
}

/** Ids of what is there, newest first. */
async function idsIn(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
  const ids = names.flatMap((name) => {
    const id = name.replace(/\.json$/, "");
    const match = id === name ? null : ID.exec(id);
    return match === null ? [] : [{ id, stamp: match[1]!, number: Number(match[2] ?? 1) }];
  });
  return ids
    .toSorted((a, b) => (a.stamp === b.stamp ? b.number - a.number : a.stamp < b.stamp ? 1 : -1))
    .map(({ id }) => id);
}

/** The head of a report's file; `none`: there is no such file, `strange`: it is none of ours. Rejects when it cannot be read. */
export async function readHead(folder: string, file: string): Promise<ReportHead | "none" | "strange"> {
  try {
    const handle = await open(join(folder, file), "r");
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
      return parseReportHead(buffer.toString("utf8", 0, bytesRead)) ?? "strange";
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (isMissing(error)) return "none";
    if (codeOf(error) === "EISDIR") return "strange";
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return codeOf(error) === "ENOENT";
}
