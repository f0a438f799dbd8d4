/**
 * Runs a test once per lane: what the data path promises does not depend on who carries it, nor on what the platform lets it do. Tests of one file run one after the other, so the
 * lane whose turn it is can be asked for when a configuration is made.
 */

import root, { type Test } from "tap";

const LANES = ["fast lane", "fast lane by documented means", "general lane"] as const;
let lane: (typeof LANES)[number] = "fast lane";

/** What a test's configuration needs, so that its connections begin in the lane whose turn it is. */
export function laneConfig(): { readonly lane: "auto" | "general" } {
  return { lane: lane === "general lane" ? "general" : "auto" };
}

/** Whether the fast lane is to do without what the platform does not promise. */
export function isDocumentedOnly(): boolean {
  return lane === "fast lane by documented means";
}

/** The test, as `t.test`, in the fast lane, with and without its semi-internal steps, and in the general lane. */
export async function inEveryLane(name: string, run: (t: Test) => Promise<void>): Promise<void> {
  for (const each of LANES) {
    await root.test(`${name} [${each}]`, async (inner) => {
      lane = each;
      await run(inner);
    });
  }
}
