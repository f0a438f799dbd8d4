/** A process that makes backups in a loop: `backup-writer.ts FOLDER` writes the name of each that it was told is made, until it is killed. */

import { join } from "node:path";
import { clock } from "../../src/platform.ts";
import { openBackups } from "../../src/store/backups.ts";
import { fileStore } from "../../src/store/file.ts";
import { quietLog } from "../support/silence.ts";
import { documentOf } from "./documents.ts";

const folder = process.argv[2] ?? "";
const state = join(folder, "state");
const store = await fileStore(state, quietLog());
const backups = openBackups({
  folder: join(folder, "backups"),
  state,
  config: () => Buffer.from("routes: []\n"),
  journal: () => Promise.resolve({ seq: 3, hash: "a".repeat(64) }),
  program: "0.1.0",
  keep: 3,
  days: 0,
  clock,
  log: quietLog(),
});
for (;;) {
  const loaded = await store.load();
  await store.save(documentOf((loaded.kind === "found" ? loaded.document.version : 0) + 1));
  const made = await backups.create("loop");
  if (made.ok) process.stdout.write(`${made.name}\n`);
}
