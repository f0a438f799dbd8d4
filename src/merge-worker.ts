/** A thread that adds up what replicas have measured; started by `store/merger.ts`. */

import { parentPort } from "node:worker_threads";
import { mergeEncoded } from "./engine/shares.ts";
import type { MergeOrder, MergeReply } from "./store/merger.ts";

parentPort?.on("message", ({ id, measures }: MergeOrder) => {
  parentPort?.postMessage({ id, shares: mergeEncoded(measures) } satisfies MergeReply);
});
