/** Adding up measurements in a thread of its own. */

import t from "tap";
import { encodeShares, noShare } from "../../src/engine/shares.ts";
import { threadMerger } from "../../src/store/merger.ts";
import type { Log } from "../../src/engine/ports.ts";

const ENTRY = new URL("../../src/merge-worker.ts", import.meta.url);

function logInto(lines: string[]): Log {
  const add = (message: string): void => void lines.push(message);
  return { debug: add, info: add, warn: add, error: add };
}

function measureOf(route: string, n: number): Uint8Array {
  const { block, ...share } = noShare(route, "r/0");
  const counted = { ...block, canary: { ...block.canary, n } };
  return encodeShares([{ ...share, block: counted }], { digits: 2, samples: 0 });
}

t.test("measurements of replicas are added up in another thread", async (t) => {
  const merger = threadMerger(ENTRY, logInto([]));
  t.same(await merger.merge([]), []);
  const [sums, others] = await Promise.all([
    merger.merge([measureOf("app", 3), measureOf("app", 4), measureOf("other", 1), new Uint8Array([1])]),
    merger.merge([measureOf("app", 5)]),
  ]);
  t.match(sums, [
    { route: "app", block: { canary: { n: 7 } } },
    { route: "other", block: { canary: { n: 1 } } },
  ]);
  t.match(others, [{ block: { canary: { n: 5 } } }]);
  await merger.close();
  await merger.close();
});

t.test("what a thread that ends had in hand is no evidence, and the next one goes on", async (t) => {
  const merger = threadMerger(ENTRY, logInto([]));
  const lost = merger.merge([measureOf("app", 3)]);
  await merger.close();
  t.same(await lost, []);
  t.match(await merger.merge([measureOf("app", 4)]), [{ block: { canary: { n: 4 } } }]);
  await merger.close();
});

t.test("a thread that cannot begin is told of, and holds nobody up", async (t) => {
  const lines: string[] = [];
  const merger = threadMerger(new URL("../../src/no-such-file.ts", import.meta.url), logInto(lines));
  t.same(await merger.merge([measureOf("app", 3)]), []);
  t.same(lines, ["adding up measurements failed"]);
  await merger.close();
});
