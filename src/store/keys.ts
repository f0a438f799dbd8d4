/**
 * Secrets the program makes for itself and keeps beside the state: the admin token, the key that signs cookies.
 *
 * A new secret is written whole under another name and then linked into place, so that two processes that start at once end up with the same
 * one, nobody ever reads half a secret, and a kill -9 leaves none rather than an empty one.
 */

import { chmod, mkdir } from "node:fs/promises";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { AppError, codeOf, wordsOf } from "../domain/errors.ts";
import { nodeDisk, removeQuietly } from "./disk.ts";

/** Nothing shorter than this is a secret: characters. */
const SHORTEST = 16;
const MODE = 0o600;

/**
 * The secret in the file `name` of `folder`; made by `make` and written with mode 0600 when there is none.
 *
 * Throws AppError SPLIT_STATE_UNWRITABLE, naming the file, when it can be neither read nor written, or holds fewer than 16 characters: an empty
 * secret would open what it should close.
 */
export async function openKey(folder: string, name: string, make: () => string): Promise<string> {
  const path = join(folder, name);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const key = (await existing(path)) ?? (await created(folder, path, make()));
    if (key.length >= SHORTEST) return key;
  } catch (error) {
    throw unusable(path, wordsOf(error), error);
  }
  throw unusable(path, `it holds fewer than ${SHORTEST} characters; remove it to have a new one made`);
}

/** Puts a secret of others in place of this replica's. Throws as `openKey` does. */
export async function replaceKey(folder: string, name: string, key: string): Promise<void> {
  const path = join(folder, name);
  const temporary = `${path}.tmp-${randomUUID()}`;
  try {
    await nodeDisk.write(temporary, `${key}\n`, MODE);
    await nodeDisk.rename(temporary, path);
    await nodeDisk.sync(folder);
  } catch (error) {
    throw unusable(path, wordsOf(error), error);
  } finally {
    await removeQuietly(nodeDisk, temporary);
  }
}

async function existing(path: string): Promise<string | undefined> {
  try {
    const key = (await nodeDisk.read(path)).trim();
    // Best effort: on a read-only disk the secret is used as it is.
    await chmod(path, MODE).catch(() => {});
    return key;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

async function created(folder: string, path: string, key: string): Promise<string> {
  const temporary = `${path}.tmp-${randomUUID()}`;
  try {
    await nodeDisk.write(temporary, `${key}\n`, MODE);
    await nodeDisk.link(temporary, path);
    await nodeDisk.sync(folder);
    return key;
  } catch (error) {
    const winner = codeOf(error) === "EEXIST" ? await existing(path) : undefined;
    if (winner === undefined) throw error;
    return winner;
  } finally {
    await removeQuietly(nodeDisk, temporary);
  }
}

function unusable(path: string, detail: string, cause?: unknown): AppError {
  return new AppError("SPLIT_STATE_UNWRITABLE", `cannot use the secret in ${path}: ${detail}`, {
    cause,
    details: { file: path },
  });
}
