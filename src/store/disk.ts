/**
 * The few things the store asks of a disk, each either done or not done.
 *
 * An interface and not `node:fs` itself, so that a test can put a full or a read-only disk in its place at any single call.
 */

import { link, mkdir, open, readFile, readdir, rename, rm, stat, unlink } from "node:fs/promises";
import { codeOf } from "../domain/errors.ts";

/** What the store needs of a disk. Every call rejects with the error of the platform (`code` ENOSPC, EROFS, …). */
export interface Disk {
  /** The whole file as UTF-8. */
  read(path: string): Promise<string>;
  /** A new file with all of `content`, on the disk and not just in its cache when it resolves. EEXIST when there is one. */
  write(path: string, content: string | Uint8Array, mode: number): Promise<void>;
  /** A second name for a file. EEXIST when the name is taken: of two that try, exactly one gets it. */
  link(from: string, to: string): Promise<void>;
  /** Replaces `to` in one step. */
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** A folder, with those above it. There may be one. */
  makeFolder(path: string, mode: number): Promise<void>;
  /** Removes a folder with all that is in it, if it is there. */
  removeFolder(path: string): Promise<void>;
  /** The names in a folder. */
  list(folder: string): Promise<readonly string[]>;
  /** When a file was last written, by the clock of the file system: ms. */
  writtenAt(path: string): Promise<number>;
  /** Makes the names in a folder durable. */
  sync(folder: string): Promise<void>;
}

/** The real one. */
export const nodeDisk: Disk = {
  read: (path) => readFile(path, "utf8"),
  async write(path, content, mode) {
    const file = await open(path, "wx", mode);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
  },
  link,
  rename,
  remove: unlink,
  async makeFolder(path, mode) {
    await mkdir(path, { recursive: true, mode });
  },
  removeFolder: (path) => rm(path, { recursive: true, force: true }),
  list: (folder) => readdir(folder),
  async writtenAt(path) {
    return (await stat(path)).mtimeMs;
  },
  async sync(folder) {
    const handle = await open(folder, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
};

/** Removes a file if it is there; true unless that failed. */
export async function removeQuietly(disk: Disk, path: string): Promise<boolean> {
  try {
    await disk.remove(path);
    return true;
  } catch (error) {
    return codeOf(error) === "ENOENT";
  }
}
