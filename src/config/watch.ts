/**
 * Says when the configuration file has other content than before.
 *
 * The FOLDER is watched, not the file: editors write a new file and rename it over the old one, and Kubernetes swaps a symbolic link
 * beside it; a watch on the file follows the old one into oblivion. Whether something changed is decided by the content's hash, so that
 * a touch, a chmod or a neighbour's file is nobody's reload. Where the system gives no events (a file mounted by itself, network
 * file systems) the file is also looked at now and then.
 */

import { createHash } from "node:crypto";
import { watch, type FSWatcher } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";

/** How the watch goes about it. */
export interface WatchOptions {
  /** Quiet time after an event before the file is read, ms: an editor saves in several steps. Default 100. */
  readonly debounceMs?: number;
  /** Time between two looks without an event, ms. Default 10 000. */
  readonly pollMs?: number;
  /** Told when the folder cannot be watched; the looks without events go on. */
  readonly onError?: (error: Error) => void;
}

/** A watch that is running. */
export interface ConfigWatch {
  /** Looks at once; resolves after `onChange`, if it was called, has returned. */
  look(): Promise<void>;
  /** Stops; `onChange` is not called afterwards. */
  close(): void;
}

/**
 * Resolves to a watch once it is watching; what the file holds then is the content that others are compared with. `onChange` is called after each
 * change of content, never twice at once. A file that has gone away is waited for. Never rejects.
 */
export async function watchConfig(
  file: string,
  onChange: () => void | Promise<void>,
  options: WatchOptions = {},
): Promise<ConfigWatch> {
  const { debounceMs = 100, pollMs = 10_000, onError } = options;
  let isClosed = false;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> = Promise.resolve();
  let known: string | undefined;

  async function lookNow(): Promise<void> {
    const found = await hashOf(file);
    if (isClosed || found === undefined || found === known) return;
    known = found;
    await onChange();
  }
  function look(): Promise<void> {
    running = running.then(lookNow).catch((error: unknown) => {
      onError?.(error instanceof Error ? error : new Error(String(error)));
    });
    return running;
  }
  function soon(): void {
    if (isClosed) return;
    clearTimeout(timer);
    timer = setTimeout(() => void look(), debounceMs).unref();
  }

  // Watch first, read second: a change in between is then seen, at worst as one needless look.
  const folder = watchFolder(dirname(file), soon, onError);
  const poll = setInterval(() => void look(), pollMs).unref();
  known = await hashOf(file);
  return {
    look,
    close() {
      isClosed = true;
      clearTimeout(timer);
      clearInterval(poll);
      folder?.close();
    },
  };
}

function watchFolder(
  folder: string,
  onEvent: () => void,
  onError: ((error: Error) => void) | undefined,
): FSWatcher | undefined {
  try {
    const watcher = watch(folder, { persistent: false }, onEvent);
    watcher.on("error", (error) => onError?.(error));
    return watcher;
  } catch (error) {
    onError?.(error instanceof Error ? error : new Error(String(error)));
    return undefined;
  }
}

/** SHA-256 of the file's content; undefined while it cannot be read. */
async function hashOf(file: string): Promise<string | undefined> {
  try {
    return createHash("sha256")
      .update(await readFile(file))
      .digest("hex");
  } catch {
    return undefined;
  }
}
