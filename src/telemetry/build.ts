/** What runs here: the package's version, and the Node under it. */

import { readFileSync } from "node:fs";

/** What runs. */
export interface Build {
  readonly version: string;
  readonly node: string;
}

/** What runs here: from the package's own file, which lies at the same place beside `src/` and beside `dist/`. */
export function buildOf(): Build {
  const file: unknown = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  const version = typeof file === "object" && file !== null && "version" in file ? file.version : undefined;
  return { version: typeof version === "string" ? version : "unknown", node: process.versions.node };
}
