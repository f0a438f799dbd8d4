/** Whether a folder can be written to, tried and not asked: permissions, quotas and read-only mounts all look different, and fail alike. */

import { mkdir, open, statfs, unlink } from "node:fs/promises";
import { join } from "node:path";
import { LEAST_FREE } from "../domain/health-report.ts";
import { fails, holds, type Finding } from "./limit.ts";

const MIB = 1024 * 1024;

/** Free bytes on the disk of a folder; undefined where the file system does not tell. */
export type FreeOf = (folder: string) => Promise<number | undefined>;

/** What the system says. */
export const systemFree: FreeOf = async (folder) => {
  const { bavail, bsize, blocks } = await statfs(folder);
  return blocks === 0 ? undefined : bavail * bsize;
};

/** Writes, syncs and removes a file of that name; makes the folder where there is none. Rejects with the platform's error. */
export async function checkFolder(folder: string, name: string, freeOf: FreeOf): Promise<Finding> {
  await mkdir(folder, { recursive: true, mode: 0o750 });
  const path = join(folder, name);
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile("preflight\n");
    await file.sync();
  } finally {
    await file.close();
    await unlink(path);
  }
  const free = await freeOf(folder);
  if (free === undefined) return holds(`${folder} can be written`);
  const told = `${Math.floor(free / MIB)} MiB free`;
  return free < LEAST_FREE
    ? fails(`${folder}: ${told}, fewer than ${LEAST_FREE / MIB}`)
    : holds(`${folder} can be written, ${told}`);
}
