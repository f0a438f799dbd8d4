/**
 * The state in a folder: `state.json`, written so that at every moment, a kill -9 and a power cut included, the file is whole and is the
 * one before or after the last save (reliability.md 36).
 *
 * A save writes a temporary file beside it, syncs it, renames it over `state.json` and syncs the folder. Two processes may share the
 * folder (a restart that overlaps, a mistake), so a save must also be a compare-and-set, and Node has no file lock that the kernel lets go of
 * when a process dies: a lock file left by a kill -9 either blocks everyone or is broken by two at once. So there is no lock. Instead the
 * right to a version is a name: before the rename, the new file is hard-linked to `state.json.saves/<lineage>.<version>`. The kernel gives
 * that name to exactly one, and what bears it is from its first moment the complete new state. Nobody waits for anybody:
 *
 * - killed before the link: nothing happened. Killed after it: the save counts, because what is saved is the highest version among the names
 *   and `state.json`, not `state.json` alone;
 * - stopped between link and rename, and woken later: the rename puts an old file back, but the higher names still stand, and count;
 * - the names of the last `KEPT` versions stay, the others are swept out. Whoever takes the name of a version looks at the highest one *after*
 *   that: if it is `KEPT` ahead, the name may have been free because it had been swept out, and the save has lost. If it is not, the name
 *   cannot have been swept out yet, so it was won. This holds however long a process sleeps between any two steps;
 * - the first save of all needs no such name: it links straight to `state.json`, and draws the lineage, so that the names of an earlier state
 *   that was removed mean nothing to it.
 *
 * A damaged `state.json` is never mended from these names: it is moved aside and reported, and the program starts at weight 0. A person who puts back an
 * older file removes `state.json.saves` with it.
 */

import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { AppError, codeOf, wordsOf } from "../domain/errors.ts";
import type { Loaded, Log, Saved, StateDocument, Store } from "../engine/ports.ts";
import { nodeDisk, removeQuietly, type Disk } from "./disk.ts";
import { encodeState } from "./document.ts";
import { FILE, claimOf, claimsOf, currentIn, highestOf, versionOf } from "./current.ts";

/** For so many saves a name is kept. */
const KEPT = 8;
/** A temporary file older than this belongs to a process that died: ms. */
const ABANDONED_MS = 60_000;

const TEMPORARY = `${FILE}.tmp-`;
const MODE = 0o600;
const FOLDER_MODE = 0o700;

/**
 * A store in `folder`, which is made if it is missing. `disk` is there for tests.
 *
 * Throws AppError SPLIT_STATE_UNWRITABLE when the folder cannot be written, with one exception: a disk that is merely full is logged as an
 * error and the store opens, because a restart on a full disk must go on serving (what it cannot do is climb).
 */
export async function fileStore(folder: string, log: Log, disk: Disk = nodeDisk): Promise<Store> {
  const store = new FileStore(folder, log, disk);
  await store.prepare();
  return store;
}

class FileStore implements Store {
  readonly #folder: string;
  readonly #log: Log;
  readonly #disk: Disk;
  /** The tail of the queue: this store's own calls run one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(folder: string, log: Log, disk: Disk) {
    this.#folder = folder;
    this.#log = log;
    this.#disk = disk;
  }

  async prepare(): Promise<void> {
    try {
      await this.#disk.makeFolder(this.#claims, FOLDER_MODE);
      await this.#tryOut();
    } catch (error) {
      if (codeOf(error) === "ENOSPC" || codeOf(error) === "EDQUOT") {
        this.#log.error("the disk that holds the state is full: weights cannot be raised", {
          code: "SPLIT_STATE_UNWRITABLE",
          folder: this.#folder,
        });
        return;
      }
      throw new AppError(
        "SPLIT_STATE_UNWRITABLE",
        `cannot write the state folder ${this.#folder}: ${wordsOf(error)}`,
        { cause: error, details: { folder: this.#folder } },
      );
    }
  }

  load(): Promise<Loaded> {
    return this.#queued(async () => {
      const current = await currentIn(this.#folder, this.#disk);
      if (current.kind === "found") return { kind: "found", document: current.document };
      if (current.kind === "none") return { kind: "none" };
      const keptAs = current.movable ? await this.#setAside() : this.#path(FILE);
      this.#log.error("the saved state cannot be used", {
        file: this.#path(FILE),
        detail: current.detail,
        keptAs,
      });
      return { kind: "corrupt", detail: current.detail, keptAs };
    });
  }

  save(document: StateDocument): Promise<Saved> {
    return this.#queued(async () => {
      try {
        return await this.#saveOne(document);
      } catch (error) {
        return unavailable(wordsOf(error));
      }
    });
  }

  async close(): Promise<void> {
    await this.#last;
  }

  get #claims(): string {
    return claimsOf(this.#folder);
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  #queued<T>(run: () => Promise<T>): Promise<T> {
    const next = this.#last.then(run);
    this.#last = next.catch(() => {});
    return next;
  }

  /** Finds out at start what a save will need (new files, hard links), and sweeps out what a killed process left. */
  async #tryOut(): Promise<void> {
    const trial = this.#path(TEMPORARY + randomUUID());
    const second = this.#path(TEMPORARY + randomUUID());
    try {
      await this.#disk.write(trial, "", MODE);
      await this.#disk.link(trial, second);
      const now = await this.#disk.writtenAt(trial);
      for (const name of await this.#disk.list(this.#folder)) {
        if (!name.startsWith(TEMPORARY)) continue;
        const age = now - (await this.#disk.writtenAt(this.#path(name)).catch(() => now));
        if (age > ABANDONED_MS) await removeQuietly(this.#disk, this.#path(name));
      }
    } finally {
      await removeQuietly(this.#disk, second);
      await removeQuietly(this.#disk, trial);
    }
  }

  async #saveOne(document: StateDocument): Promise<Saved> {
    const before = await currentIn(this.#folder, this.#disk);
    if (before.kind === "corrupt") return unavailable(`${this.#path(FILE)} cannot be used: ${before.detail}`);
    const found = before.kind === "none" ? 0 : before.document.version;
    if (found !== document.version - 1) return { ok: false, kind: "conflict", found };
    const lineage = before.kind === "none" ? randomUUID() : before.lineage;
    const encoded = encodeState(document, lineage);
    if (!encoded.ok) return unavailable(encoded.detail);

    const temporary = this.#path(TEMPORARY + randomUUID());
    try {
      await this.#disk.write(temporary, encoded.text, MODE);
      if (before.kind === "none") {
        if (!(await this.#take(temporary, this.#path(FILE)))) return await this.#lost();
      } else {
        if (!(await this.#take(temporary, claimOf(this.#folder, lineage, document.version))))
          return await this.#lost();
        const highest = await highestOf(lineage, this.#folder, this.#disk);
        if (highest >= document.version + KEPT) {
          await removeQuietly(this.#disk, claimOf(this.#folder, lineage, document.version));
          return { ok: false, kind: "conflict", found: highest };
        }
        // The name is durable before the rename: one that comes too late must not be all that a power cut leaves.
        await this.#disk.sync(this.#claims);
        if (highest === document.version) await this.#publish(temporary);
      }
      await this.#disk.sync(this.#folder);
    } finally {
      await removeQuietly(this.#disk, temporary);
    }
    await this.#sweep(lineage, document.version - KEPT);
    return { ok: true };
  }

  async #take(temporary: string, name: string): Promise<boolean> {
    try {
      await this.#disk.link(temporary, name);
      return true;
    } catch (error) {
      if (codeOf(error) === "EEXIST") return false;
      throw error;
    }
  }

  async #lost(): Promise<Saved> {
    const winner = await currentIn(this.#folder, this.#disk);
    if (winner.kind === "found") return { ok: false, kind: "conflict", found: winner.document.version };
    return unavailable("another process is saving");
  }

  /** Renames a save that has its name into place. That it could not is no loss: the name counts. */
  async #publish(temporary: string): Promise<void> {
    await this.#keepLast();
    try {
      await this.#disk.rename(temporary, this.#path(FILE));
    } catch (error) {
      this.#log.warn("could not replace the state file; the save stands beside it", {
        file: this.#path(FILE),
        detail: wordsOf(error),
      });
    }
  }

  /** Keeps the file that is about to be replaced as `state.json.last`. For people; the save goes on without. */
  async #keepLast(): Promise<void> {
    const temporary = this.#path(TEMPORARY + randomUUID());
    try {
      await this.#disk.link(this.#path(FILE), temporary);
      await this.#disk.rename(temporary, this.#path(`${FILE}.last`));
    } catch (error) {
      this.#log.debug("could not keep the last state", { detail: wordsOf(error) });
    } finally {
      // A rename between two names of one file does nothing and leaves both.
      await removeQuietly(this.#disk, temporary);
    }
  }

  /** Removes the names of versions up to `upTo`, and those of other lineages. */
  async #sweep(lineage: string, upTo: number): Promise<void> {
    try {
      for (const name of await this.#disk.list(this.#claims)) {
        const isOld = !name.startsWith(`${lineage}.`) || versionOf(name) <= upTo;
        if (isOld) await removeQuietly(this.#disk, join(this.#claims, name));
      }
    } catch (error) {
      this.#log.debug("could not sweep out old saves", { detail: wordsOf(error) });
    }
  }

  /** Moves `state.json` to the first free `state.json.corrupt-<n>`; its path, or that of `state.json` when it could not. */
  async #setAside(): Promise<string> {
    const path = this.#path(FILE);
    try {
      const taken = new Set(await this.#disk.list(this.#folder));
      let n = 1;
      while (taken.has(`${FILE}.corrupt-${n}`)) n += 1;
      const aside = this.#path(`${FILE}.corrupt-${n}`);
      await this.#disk.rename(path, aside);
      await this.#disk.sync(this.#folder);
      return aside;
    } catch (error) {
      this.#log.error("could not set the corrupt state aside", { file: path, detail: wordsOf(error) });
      return path;
    }
  }
}

function unavailable(detail: string): Saved {
  return { ok: false, kind: "unavailable", detail };
}
