/** The flags file that a configuration names: read, and checked for what the configuration asks of it. */

import type { Flag } from "../domain/flag.ts";
import { flagFileSchema, type FlagsConfig } from "./flags.ts";
import { readAs } from "./load.ts";

/** The flags of `section.file`, by key. Throws as `loadConfig` does: every problem with file, line and column. */
export function readFlagFile(section: FlagsConfig): Promise<ReadonlyMap<string, Flag>> {
  return readAs(flagFileSchema(section), section.file);
}
