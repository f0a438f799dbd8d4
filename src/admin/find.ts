/**
 * Which row a method and a path mean. Pure.
 *
 * Paths are compared segment by segment as they were sent; only the `{route}` segment is decoded, and only into a name that a route may
 * have, so that no spelling of a path means a row by a second way.
 */

import { name } from "../config/texts.ts";
import { ROWS } from "./routes.ts";
import type { Row } from "./row.ts";

/** What was found. `none` names the methods that the path has; none at all: there is no such path. */
export type Found =
  | { readonly kind: "row"; readonly operation: string; readonly row: Row; readonly route: string }
  | { readonly kind: "none"; readonly allow: readonly string[] };

const TABLE = ROWS.map(([operation, row]) => ({ operation, row, segments: row.path.split("/") }));

/** The row for `method` (HEAD is GET) and `path` (without its query). */
export function findRow(method: string, path: string): Found {
  const segments = path.split("/");
  const allow = new Set<string>();
  for (const { operation, row, segments: wanted } of TABLE) {
    const route = match(wanted, segments);
    if (route === undefined) continue;
    if (row.method === (method === "HEAD" ? "GET" : method)) return { kind: "row", operation, row, route };
    allow.add(row.method);
    if (row.method === "GET") allow.add("HEAD");
  }
  return { kind: "none", allow: [...allow].sort() };
}

/** The `{route}` of the path, empty when it has none; undefined when the path is another one. */
function match(wanted: readonly string[], segments: readonly string[]): string | undefined {
  if (wanted.length !== segments.length) return undefined;
  let route = "";
  for (const [index, part] of wanted.entries()) {
    const given = segments[index] ?? "";
    if (part !== "{route}") {
      if (part !== given) return undefined;
    } else {
      const decoded = decode(given);
      if (decoded === undefined) return undefined;
      route = decoded;
    }
  }
  return route;
}

function decode(text: string): string | undefined {
  try {
    const decoded = decodeURIComponent(text);
    return name.safeParse(decoded).success ? decoded : undefined;
  } catch {
    return undefined;
  }
}
