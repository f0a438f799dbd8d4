/** A process that saves in a loop: `writer.ts FOLDER COUNT` writes the version of each acknowledged save, and ends after COUNT of them. */

import { fileStore } from "../../src/store/file.ts";
import { quietLog } from "../support/silence.ts";
import { documentOf } from "./documents.ts";

const [folder = "", count = "0"] = process.argv.slice(2);
const store = await fileStore(folder, quietLog());
for (let left = Number(count); left > 0;) {
  const loaded = await store.load();
  if (loaded.kind === "corrupt") throw new Error(`corrupt: ${loaded.detail}`);
  const version = (loaded.kind === "found" ? loaded.document.version : 0) + 1;
  const saved = await store.save(documentOf(version, `save ${version} by ${process.pid}`));
  if (saved.ok) {
    process.stdout.write(`${version} ${process.pid}\n`);
    left -= 1;
  } else if (saved.kind === "unavailable") throw new Error(saved.detail);
}
