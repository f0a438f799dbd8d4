/**
 * Golden files: what a public surface looked like when someone last agreed to it. A difference is a change of the surface, to be named in
 * the change list; `UPDATE_GOLDEN=1` agrees to it.
 */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const FOLDER = fileURLToPath(new URL("../golden/", import.meta.url));

/** What `test/golden/<name>` holds; `text` itself, written there, when that is asked for. Empty when there is no such file. */
export function golden(name: string, text: string): string {
  const file = join(FOLDER, name);
  if ((process.env["UPDATE_GOLDEN"] ?? "") !== "") {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
    return text;
  }
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
