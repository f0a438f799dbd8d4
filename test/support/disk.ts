/** Folders for tests: one that goes away with the test, and one on a disk that is really full. */

import { execFile } from "node:child_process";
import { mkdtemp, open, rm, unlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Test } from "tap";

const run = promisify(execFile);

/** A new empty folder, removed after the test. */
export async function temporaryFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A disk of a few hundred kilobytes that a test can fill to its last byte, and make read-only. */
export interface TinyDisk {
  readonly folder: string;
  fill(): Promise<void>;
  empty(): Promise<void>;
  setReadOnly(readOnly: boolean): Promise<void>;
}

/** A file system of its own, unmounted after the test; undefined where this user may not mount one. */
export async function tinyDisk(t: Test): Promise<TinyDisk | undefined> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-tiny-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  try {
    await run("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", folder]);
  } catch {
    return undefined;
  }
  t.teardown(() => run("umount", ["-l", folder]));
  const ballast = join(folder, "ballast");
  return {
    folder,
    async fill() {
      const file = await open(ballast, "a");
      try {
        for (;;) await file.writeFile(Buffer.alloc(4096));
      } catch {
        // Full, which was the purpose.
      } finally {
        await file.close();
      }
    },
    empty: () => unlink(ballast),
    async setReadOnly(readOnly) {
      await run("mount", ["-o", readOnly ? "remount,ro" : "remount,rw", folder]);
    },
  };
}
