/**
 * The clock of a fixed rate, in a thread of its own: it sleeps until the next request is due, to a few microseconds, and wakes the
 * generator. A timer of the event loop would be up to two milliseconds late, several times what is measured. The generator
 * decides itself what is due, so a wake-up that is late or doubled does no harm.
 */

import { parentPort, workerData } from "node:worker_threads";
import { monotonicMicros } from "../clock.ts";

/** Moments in microseconds of the system's monotonic clock. */
export interface Schedule {
  readonly startUs: number;
  readonly stepUs: number;
  readonly count: number;
}

const cell = new Int32Array(new SharedArrayBuffer(4));

if (parentPort !== null) {
  const { startUs, stepUs, count } = workerData as Schedule; // the generator's own message
  for (let index = 0; index < count; index += 1) {
    const waitMs = (startUs + index * stepUs - monotonicMicros()) / 1000;
    if (waitMs > 0) Atomics.wait(cell, 0, 0, waitMs);
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port, not a window's
    parentPort.postMessage(0);
  }
}
