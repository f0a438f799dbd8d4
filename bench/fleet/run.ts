/** `npm run bench:fleet`. Work in progress. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stopAll } from "../load/children.ts";
import { optionsOf } from "./options.ts";
import { trial } from "./trial.ts";
const options = optionsOf(process.argv.slice(2));
const folder = mkdtempSync(join(tmpdir(), "sluice-fleet-"));
try {
  for (const size of [0, ...options.sizes])
    console.log(JSON.stringify(await trial(join(folder, String(size)), size, options), null, 1));
} finally {
  await stopAll();
  rmSync(folder, { recursive: true, force: true });
}
