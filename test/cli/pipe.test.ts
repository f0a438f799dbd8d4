/** The command line in a pipe whose reader has gone. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import t from "tap";

const ENTRY = fileURLToPath(new URL("../../src/sluice.js", import.meta.url));

t.test("whoever stops reading the output gets no stack trace for it", async (t) => {
  const child = spawn(process.execPath, [ENTRY, "--help"], { stdio: ["ignore", "pipe", "pipe"] });
  // Gone before the first word.
  child.stdout.destroy();
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  await once(child, "close");
  t.equal(said, "");
});
