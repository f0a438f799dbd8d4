/**
 * Files of a folder that are there whole or not at all: written under a temporary name, synced, and only then given their own.
 */

import { randomUUID } from "node:crypto";
import { link, mkdir, open, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import { codeOf } from "../domain/errors.ts";

/** Files of one name that may exist before a further one is given up. */
export const MOST_OF_ONE_NAME = 100;

/** The `n`th file of that name, from 1. */
export function numbered(stem: string, n: number): string {
  return n === 1 ? `${stem}.json` : `${stem}-${n}.json`;
}

/** Writes `text` to `<name>.json`, or to `<name>-2.json` and so on where that is taken; resolves the path. Rejects with the platform's error. */
export async function place(folder: string, name: string, text: string): Promise<string> {
  return written(folder, `.${name}.tmp-${randomUUID()}`, text, (temporary) =>
    linkToFree(temporary, join(folder, name)),
  );
}

/**
 * Writes `text` to the file `name`, in place of what is there; resolves the path. For files with one writer: the temporary one has always the
 * same name, so that what a kill leaves behind is there once. Rejects with the platform's error.
 */
export async function replace(folder: string, name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await unlink(join(folder, `.${name}.tmp`)).catch(() => {});
  return written(folder, `.${name}.tmp`, text, async (temporary) => {
    await rename(temporary, path);
    return path;
  });
}

async function written(
  folder: string,
  name: string,
  text: string,
  settle: (temporary: string) => Promise<string>,
): Promise<string> {
  // Whatever the umask: what failed, and where, is for people of this machine's operators, not for everybody on it.
  await mkdir(folder, { recursive: true, mode: 0o750 });
  const temporary = join(folder, name);
  try {
    await writeSynced(temporary, text);
    const path = await settle(temporary);
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
    const path = numbered(stem, n);
    try {
      await link(temporary, path);
      return path;
    } catch (error) {
      if (codeOf(error) !== "EEXIST" || n >= MOST_OF_ONE_NAME) throw error;
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
