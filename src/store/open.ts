/** Which store a configuration means. */

import { folderOfState } from "../config/schema.ts";
import { AppError } from "../domain/errors.ts";
import type { Log, Store } from "../engine/ports.ts";
import { fileStore } from "./file.ts";
import { memoryStore } from "./memory.ts";

/**
 * The store that `spec` names: `memory:`, or `file:PATH` with the path of a folder, from the working directory.
 *
 * Throws AppError: SPLIT_STATE_UNWRITABLE, naming the folder, when it cannot be written; SPLIT_CONFIG_INVALID for any other text.
 */
export async function openStore(spec: string, log: Log): Promise<Store> {
  if (spec === "memory:") return memoryStore();
  const folder = folderOfState(spec);
  if (folder !== undefined) return fileStore(folder, log);
  throw new AppError("SPLIT_CONFIG_INVALID", `no such store: "${spec}"; expected "file:PATH" or "memory:"`);
}
