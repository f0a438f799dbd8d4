/** A log for tests: silent, and remembers what it was told. */

import type { Log, LogFields } from "../../src/engine/ports.ts";

/** One remembered line. */
export interface Remembered {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly message: string;
  readonly fields: LogFields;
}

/** A log that writes nowhere; `lines` holds everything, oldest first. */
export function quietLog(): Log & { readonly lines: readonly Remembered[] } {
  const lines: Remembered[] = [];
  const at =
    (level: Remembered["level"]) =>
    (message: string, fields: LogFields = {}) =>
      void lines.push({ level, message, fields });
  return { lines, debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}
