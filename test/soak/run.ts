/**
 * `npm run soak -- [--minutes N] [--seed N] [--only NAME]`: what is too long or too large for `npm test`, and what only a clock can tell. Each stage
 * prints what it has seen; the first that goes wrong ends the run with 1. All traffic stays on loopback.
 */

import { parseArgs } from "node:util";
import t from "tap";
import { largeBodies } from "./bodies.ts";
import { manyConnections } from "./connections.ts";
import { drainUnderLoad } from "./drain.ts";
import { figures } from "./figures.ts";
import { judgeFigures } from "./judge.ts";
import { mixedLoad } from "./mixed.ts";
import { canLook } from "./site.ts";

// What the tests share brings tap along, which would end this after half a minute.
t.setTimeout(0);

const { values } = parseArgs({
  options: { minutes: { type: "string" }, seed: { type: "string" }, only: { type: "string" } },
});
const minutes = Number(values.minutes ?? 1);
const seed = Number(values.seed ?? 1);
const STAGES: Readonly<Record<string, () => Promise<string>>> = {
  connections: manyConnections,
  bodies: largeBodies,
  drain: drainUnderLoad,
  figures: () => figures(seed),
  judge: () => judgeFigures(seed),
  mixed: () => mixedLoad(minutes, seed),
};

const isKnown = values.only === undefined || Object.hasOwn(STAGES, values.only);
if (!(minutes > 0) || !Number.isSafeInteger(seed) || !isKnown)
  throw new RangeError(`usage: --minutes N --seed N --only ${Object.keys(STAGES).join("|")}`);
if (!canLook()) throw new Error("this machine has no /proc, from which memory and sockets are read");
for (const [name, run] of Object.entries(STAGES)) {
  if (values.only !== undefined && values.only !== name) continue;
  try {
    console.log(`${name}: ${await run()}`);
  } catch (error) {
    console.log(`${name}: FAILED: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
    break;
  }
}
