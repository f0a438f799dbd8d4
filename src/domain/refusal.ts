/** What a person asked for and does not get: a value, for it is expected trouble. Pure. */

import type { ErrorCode } from "./errors.ts";

/** Why a change was refused. Nothing has changed. */
export interface Refusal {
  readonly ok: false;
  readonly code: ErrorCode;
  /** For people; may change. */
  readonly message: string;
}

/** A refusal. */
export function refused(code: ErrorCode, message: string): Refusal {
  return { ok: false, code, message };
}
