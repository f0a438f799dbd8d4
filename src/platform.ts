/**
 * The two adapters that may ask the platform for time and chance, and what the process may do here. Whatever else wants to know gets them as
 * arguments.
 */

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { millis } from "./domain/units.ts";
import type { Clock, Dice } from "./engine/ports.ts";

/** The platform's time. */
export const clock: Clock = {
  mono: () => millis(performance.now()),
  wall: () => Date.now(),
  every(interval, run) {
    const timer = setInterval(() => void run(), interval);
    timer.unref();
    return () => clearInterval(timer);
  },
};

// A call into the system's secure source costs microseconds, and every request without an id needs a few bytes of it.
const POOL_BYTES = 4096;
let pool = Buffer.alloc(0);

/** The platform's chance. */
export const dice: Dice = {
  random: () => Math.random(),
  token(bytes) {
    if (pool.length < bytes) pool = randomBytes(Math.max(POOL_BYTES, bytes));
    const token = pool.toString("base64url", 0, bytes);
    pool = pool.subarray(bytes);
    return token;
  },
};

/** How many files the process may have open; undefined where the system does not say so (only Linux does), or sets no limit. */
export function openFilesLimit(): number | undefined {
  try {
    const limits = readFileSync("/proc/self/limits", "latin1");
    const soft = /^Max open files +(\d+)/m.exec(limits)?.[1];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}
