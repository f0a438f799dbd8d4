/** The object in a JSON text; empty when there is none: what others sent, or an earlier process has noted. Pure. */

import { isRecord } from "../domain/record.ts";

/** The object in `text`. */
export function objectIn(text: string | undefined): Readonly<Record<string, unknown>> {
  if (text === undefined) return {};
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : {};
  } catch {
    return {};
  }
}
