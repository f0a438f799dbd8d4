/**
 * Which row a method and a path mean. Pure.
 *
 * Paths are compared segment by segment as they were sent; only the `{route}` and `{id}` segments are decoded, and only into a name that a
 * route or a report may have, so that no spelling of a path means a row by a second way.
 */

import { z } from "zod";
import { name } from "../config/texts.ts";
import { FLAG_KEY } from "../domain/flag.ts";
import { ROWS } from "./routes.ts";
import type { Row } from "./row.ts";

/** What was found. `none` names the methods that the path has; none at all: there is no such path. */
export type Found =
  | ({ readonly kind: "row"; readonly operation: string; readonly row: Row } & Parameters)
  | { readonly kind: "none"; readonly allow: readonly string[] };

/** What a path names; empty where it does not. */
interface Parameters {
  readonly route: string;
  readonly id: string;
}

/** What a report may be called. No segment of a path in itself: it has no slash, and is longer than two dots. */
const reportId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{2,199}$/);

/** Looked up among the flags, and nowhere else. */
const flagKey = z.string().regex(FLAG_KEY);

const PARAMETERS: ReadonlyMap<string, readonly [keyof Parameters, z.ZodType<string>]> = new Map([
  ["{route}", ["route", name]],
  ["{id}", ["id", reportId]],
  ["{key}", ["id", flagKey]],
]);

const TABLE = ROWS.map(([operation, row]) => ({ operation, row, segments: row.path.split("/") }));

/** The row for `method` (HEAD is GET) and `path` (without its query). */
export function findRow(method: string, path: string): Found {
  const segments = path.split("/");
  const allow = new Set<string>();
  for (const { operation, row, segments: wanted } of TABLE) {
    const parameters = match(wanted, segments);
    if (parameters === undefined) continue;
    if (row.method === (method === "HEAD" ? "GET" : method))
      return { kind: "row", operation, row, ...parameters };
    allow.add(row.method);
    if (row.method === "GET") allow.add("HEAD");
  }
  return { kind: "none", allow: [...allow].sort() };
}

/** What the path names; undefined when the path is another one. */
function match(wanted: readonly string[], segments: readonly string[]): Parameters | undefined {
  if (wanted.length !== segments.length) return undefined;
  const found = { route: "", id: "" };
  for (const [index, part] of wanted.entries()) {
    const given = segments[index] ?? "";
    const parameter = PARAMETERS.get(part);
    if (parameter === undefined) {
      if (part !== given) return undefined;
    } else {
      const [key, shape] = parameter;
      const decoded = decode(given, shape);
      if (decoded === undefined) return undefined;
      found[key] = decoded;
    }
  }
  return found;
}

function decode(text: string, shape: z.ZodType<string>): string | undefined {
  try {
    const decoded = decodeURIComponent(text);
    return shape.safeParse(decoded).success ? decoded : undefined;
  } catch {
    return undefined;
  }
}
