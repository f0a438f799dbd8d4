/** Adds up replicas' measurements in a thread of its own: a thousand histograms a second are a good part of a second. */

import { Worker } from "node:worker_threads";
import type { Log, Merger, RouteShare } from "../engine/ports.ts";

/** What goes to the thread, and what comes back. */
export interface MergeOrder {
  readonly id: number;
  readonly measures: readonly Uint8Array[];
}
/** See `MergeOrder`. */
export interface MergeReply {
  readonly id: number;
  readonly shares: readonly RouteShare[];
}

/** A merger that ends. */
export interface RunningMerger extends Merger {
  close(): Promise<void>;
}

/**
 * A merger whose thread runs `entry`, from the first time on that there is something to merge. What a thread that dies had in hand is lost: it is a
 * second of evidence, and never a wrong one.
 */
export function threadMerger(entry: URL, log: Log): RunningMerger {
  const waiting = new Map<number, (shares: readonly RouteShare[]) => void>();
  let worker: Worker | undefined;
  let next = 0;

  function ended(one: Worker): void {
    if (worker !== one) return;
    worker = undefined;
    for (const resolve of waiting.values()) resolve([]);
    waiting.clear();
  }

  function begun(): Worker {
    const one = new Worker(entry, { name: "sluice merge" });
    one.on("message", ({ id, shares }: MergeReply) => {
      waiting.get(id)?.(shares);
      waiting.delete(id);
      // With nothing in hand it keeps nobody alive.
      if (waiting.size === 0) one.unref();
    });
    one.on("error", (error: unknown) => log.error("adding up measurements failed", { error }));
    one.on("exit", () => ended(one));
    return one;
  }

  return {
    merge(measures) {
      if (measures.length === 0) return Promise.resolve([]);
      const one = (worker ??= begun());
      const id = next++;
      return new Promise((resolve) => {
        waiting.set(id, resolve);
        one.ref();
        one.postMessage({ id, measures } satisfies MergeOrder);
      });
    },
    async close() {
      const one = worker;
      if (one === undefined) return;
      ended(one);
      await one.terminate();
    },
  };
}
