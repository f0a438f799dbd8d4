/** What somebody else's JSON turns out to be. Pure. */

/** Whether it is an object, with fields by name: neither a list nor null. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
