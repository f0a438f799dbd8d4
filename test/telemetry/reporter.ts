/** A process that keeps the report of a rollout in a loop: `reporter.ts FOLDER` writes the event of each acknowledged line. */

import { join } from "node:path";
import { keepDeployments } from "../../src/telemetry/deployment.ts";
import { openJournal } from "../../src/telemetry/journal.ts";
import { fakeClock } from "../support/clock.ts";
import { quietLog } from "../support/silence.ts";
import { rolloutEntry } from "./entries.ts";

const [folder = ""] = process.argv.slice(2);
const clock = fakeClock();
const log = quietLog();
const inner = await openJournal({ path: join(folder, "journal.jsonl"), clock, log });
const [last] = await inner.read({ limit: 1 });
const { journal } = keepDeployments({
  journal: inner,
  folder: join(folder, "reports"),
  environment: "production",
  clock,
  log,
});
for (let event = last === undefined ? "DEPLOY_START" : "CHECKPOINT"; ; event = "CHECKPOINT") {
  if (await journal.append(rolloutEntry(event))) process.stdout.write(`${event}\n`);
}
