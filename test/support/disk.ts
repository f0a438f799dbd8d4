/** Folders for tests: one that goes away with the test, one on a disk that is really full; and a disk that fails at a chosen call. */

import { execFile } from "node:child_process";
import { mkdtemp, open, rm, unlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Test } from "tap";
import { nodeDisk, type Disk } from "../../src/store/disk.ts";

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

/** What the platform says of a call that failed. */
export function platformError(code: string): Error {
  return Object.assign(new Error(`${code}: played by a test`), { code });
}

/** A disk whose call number `failAt` fails, and every one after it when the fault stays. */
export function failingDisk(failAt: number, code: string, stays: boolean): Disk & { readonly calls: number } {
  let calls = 0;
  const guard =
    <A extends readonly unknown[], R>(call: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      calls += 1;
      if (calls === failAt || (stays && calls > failAt)) throw platformError(code);
      return call(...args);
    };
  return {
    read: guard((path: string) => nodeDisk.read(path)),
    write: guard((path: string, content: string | Uint8Array, mode: number) =>
      nodeDisk.write(path, content, mode),
    ),
    link: guard((from: string, to: string) => nodeDisk.link(from, to)),
    rename: guard((from: string, to: string) => nodeDisk.rename(from, to)),
    remove: (path) => nodeDisk.remove(path), // removing needs no room
    makeFolder: guard((path: string, mode: number) => nodeDisk.makeFolder(path, mode)),
    removeFolder: (path) => nodeDisk.removeFolder(path),
    list: guard((path: string) => nodeDisk.list(path)),
    writtenAt: (path) => nodeDisk.writtenAt(path),
    sync: guard((path: string) => nodeDisk.sync(path)),
    get calls() {
      return calls;
    },
  };
}
