/**
 * `npm run soak -- --minutes N [--only NAME]`: what is too long or too large for `npm test`. Each stage prints what it has seen; the first
 * that goes wrong ends the run with 1. All traffic stays on loopback.
 */

import { parseArgs } from "node:util";
import t from "tap";
import { canLook } from "./site.ts";
import { drainUnderLoad, largeBodies, manyConnections, mixedLoad } from "./stages.ts";

// What the tests share brings tap along, which would end this after half a minute.
t.setTimeout(0);

const { values } = parseArgs({ options: { minutes: { type: "string" }, only: { type: "string" } } });
const minutes = Number(values.minutes ?? 1);
if (!(minutes > 0)) throw new RangeError("usage: --minutes N [--only connections|bodies|drain|mixed]");

const STAGES: Readonly<Record<string, () => Promise<string>>> = {
  connections: manyConnections,
  bodies: largeBodies,
  drain: drainUnderLoad,
  mixed: () => mixedLoad(minutes),
};

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
