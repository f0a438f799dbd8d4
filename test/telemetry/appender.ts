/** A process that appends in a loop: `appender.ts FILE` writes the number of each acknowledged line. */

import { openJournal } from "../../src/telemetry/journal.ts";
import { fakeClock } from "../support/clock.ts";
import { quietLog } from "../support/silence.ts";
import { entryOf } from "./entries.ts";

const journal = await openJournal({ path: process.argv[2] ?? "", clock: fakeClock(), log: quietLog() });
const [last] = await journal.read({ limit: 1 });
for (let seq = (last?.seq ?? 0) + 1; ; seq += 1) {
  if (await journal.append(entryOf(`entry ${seq}`))) process.stdout.write(`${seq}\n`);
}
